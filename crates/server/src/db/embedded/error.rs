//! What can keep the private PostgreSQL from running, each said in one sentence that names the way out.

use std::io;
use std::path::PathBuf;

/// Why the private PostgreSQL does not run. `Display` is meant for the operator's terminal.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    #[error(
        "no PostgreSQL {minimum} or newer found: install it (Debian, Ubuntu: apt-get install postgresql), name its \
         programs' folder in {variable}, or pass --database-url"
    )]
    NoBinaries { minimum: u32, variable: &'static str },

    #[error(
        "PostgreSQL {found} is too old, {minimum} or newer is needed: install a newer one or pass --database-url"
    )]
    TooOld { found: u32, minimum: u32 },

    #[error(
        "the database in {} was made by PostgreSQL {cluster}, and only {found} is installed: install PostgreSQL \
         {cluster} again, or move the data with pg_upgrade", folder.display()
    )]
    VersionMismatch { folder: PathBuf, cluster: u32, found: String },

    #[error(
        "the data folder is in use by another gururmm-server (pid {pid}): stop that one or choose another --data-dir"
    )]
    InUse { pid: String },

    #[error("{} was not made by gururmm-server: choose another --data-dir", folder.display())]
    Foreign { folder: PathBuf },

    #[error("{} belongs to user {owner}: run the server as that user or choose another --data-dir", folder.display())]
    NotOwned { folder: PathBuf, owner: String },

    #[error("the database in {} is damaged ({detail}): restore the data folder from a backup", folder.display())]
    Corrupt { folder: PathBuf, detail: String },

    #[error("cannot write to {}: give the user who runs gururmm-server the rights, or choose another --data-dir", folder.display())]
    NotWritable { folder: PathBuf, source: io::Error },

    #[error("the disk that holds {} is full: make room and start again", folder.display())]
    NoDisk { folder: PathBuf },

    #[error(
        "user {user} is unknown to this system, and PostgreSQL does not run without a user name: add it to /etc/passwd"
    )]
    UnknownUser { user: String },

    #[error(
        "process {pid} may be the PostgreSQL of {}, and this user may not look: give gururmm-server the capability \
         CAP_SYS_PTRACE, or stop that process", folder.display()
    )]
    Unrecognised { pid: u32, folder: PathBuf },

    #[error("initdb failed: {detail}")]
    InitFailed { detail: String },

    #[error("PostgreSQL does not start ({detail}): see {}", log.display())]
    StartFailed { detail: String, log: PathBuf },

    #[error("PostgreSQL was not ready within {seconds} s: see {}", log.display())]
    NotReady { seconds: u64, log: PathBuf },

    #[error("PostgreSQL ended again and again right after its start: see its log in the data folder")]
    KeepsDying,

    #[error("PostgreSQL (pid {pid}) could not be stopped")]
    StopFailed { pid: u32 },

    #[error(
        "{program} of PostgreSQL {minimum} or newer is not here: install PostgreSQL's client programs (Debian, Ubuntu: \
         apt-get install postgresql-client), or name their folder in {variable}"
    )]
    NoTool { program: &'static str, minimum: u32, variable: &'static str },

    #[error("{program} failed ({detail})")]
    ToolFailed { program: &'static str, detail: String },

    #[error("the database URL is not valid")]
    BadUrl,

    #[error("the private PostgreSQL refused the server's connection")]
    Connect(#[source] sqlx::Error),

    #[error("cannot {action}")]
    Io { action: String, source: io::Error },
}

impl EmbeddedError {
    /// Names what was being done when `source` came up.
    pub(super) fn io(action: impl Into<String>, source: io::Error) -> Self {
        Self::Io { action: action.into(), source }
    }

    /// The error of writing to `folder`, told apart by what the operator can do about it.
    pub(super) fn writing(folder: impl Into<PathBuf>, source: io::Error) -> Self {
        use io::ErrorKind::{PermissionDenied, ReadOnlyFilesystem, StorageFull};
        let folder = folder.into();
        match source.kind() {
            StorageFull => Self::NoDisk { folder },
            PermissionDenied | ReadOnlyFilesystem => Self::NotWritable { folder, source },
            _ => Self::io(format!("write to {}", folder.display()), source),
        }
    }
}
