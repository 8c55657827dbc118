//! Makes the cluster once, and brings its postmaster up: by adopting the one that runs or by starting one.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::time::{Instant, sleep, timeout};

use super::account::{self, Account};
use super::binaries::Binaries;
use super::error::EmbeddedError;
use super::layout::Layout;
use super::postmaster::{Found, Postmaster};
use super::settings::{self, SUPERUSER};
use super::{DATABASE, Endpoint};

/// How long the replay of the log after a crash may take.
const READY_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a postmaster that runs, but does not listen where we look, is waited for before it is replaced.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the processes of a killed postmaster may keep its memory; they notice within about two seconds.
const LEFTOVER_TIMEOUT: Duration = Duration::from_secs(30);
/// What one connection may take. A postmaster that hangs accepts it, for the kernel does, and says nothing.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);
/// What making the server's database may take.
const DATABASE_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const LOG_MAX_BYTES: u64 = 8 * 1024 * 1024;

/// A cluster on disk and all that is needed to run it.
#[derive(Debug)]
pub(super) struct Cluster {
    layout: Layout,
    binaries: Binaries,
    postgres: Account,
    /// Whether PostgreSQL runs as another user than this process.
    drops_rights: bool,
}

impl Cluster {
    /// Opens the cluster of `layout`, made now if it is not there.
    pub async fn open(layout: Layout) -> Result<Self, EmbeddedError> {
        let own = Account::own()?;
        layout.prepare()?;
        let postgres = Account::for_postgres(&own, account::owner_of(&layout.cluster))?;
        let major = cluster_major(&layout.cluster, &postgres)?;
        let binaries = Binaries::find(major, &layout.cluster)?;
        let cluster = Self { binaries, drops_rights: own.uid != postgres.uid, postgres, layout };
        if major.is_none() {
            cluster.layout.check_room()?;
            cluster.initialise().await?;
        }
        cluster.layout.prepare_runtime(&cluster.postgres)?;
        settings::write(&cluster.layout, &own)?;
        Ok(cluster)
    }

    /// The postmaster that runs, else a new one; it answers when this returns.
    pub async fn bring_up(&self) -> Result<Postmaster, EmbeddedError> {
        let deadline = Instant::now() + LEFTOVER_TIMEOUT;
        loop {
            let foreign_pid = match Postmaster::find(&self.layout)? {
                Found::Living(postmaster) => match self.adopt(postmaster).await? {
                    Some(postmaster) => return Ok(postmaster),
                    None => continue,
                },
                Found::Gone { foreign_pid } => foreign_pid,
            };
            match self.start(foreign_pid).await? {
                Some(postmaster) => return Ok(postmaster),
                None if Instant::now() < deadline => sleep(Duration::from_millis(100)).await,
                None => {
                    let detail = "processes of its predecessor do not end".into();
                    return Err(EmbeddedError::StartFailed { detail, log: self.layout.log.clone() });
                }
            }
        }
    }

    /// Stops whatever postmaster runs, and removes socket and settings.
    pub async fn shut_down(&self) -> Result<(), EmbeddedError> {
        if let Found::Living(postmaster) = Postmaster::find(&self.layout)? {
            postmaster.stop().await?;
        }
        let runtime = &self.layout.runtime;
        std::fs::remove_dir_all(runtime).map_err(|e| EmbeddedError::writing(runtime, e))
    }

    /// Makes the server's database where it is missing.
    pub async fn ensure_database(&self) -> Result<(), EmbeddedError> {
        let connect = async {
            let mut connection = PgConnection::connect_with(&self.maintenance()).await?;
            let exists: bool =
                sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
                    .bind(DATABASE)
                    .fetch_one(&mut connection)
                    .await?;
            if !exists {
                connection.execute("CREATE DATABASE gururmm").await?;
            }
            connection.close().await
        };
        match timeout(DATABASE_TIMEOUT, connect).await {
            Ok(done) => done.map_err(EmbeddedError::Connect),
            Err(_) => Err(self.not_ready(DATABASE_TIMEOUT)),
        }
    }

    /// Keeps the log within its limit. PostgreSQL holds the file open and appends, so that cutting it is enough; a
    /// line written while it is copied may be lost.
    pub fn trim_log(&self) {
        let log = &self.layout.log;
        let is_long = std::fs::metadata(log).is_ok_and(|found| found.len() > LOG_MAX_BYTES);
        if !is_long {
            return;
        }
        let trimmed = std::fs::copy(log, log.with_extension("log.1"))
            .and_then(|_| OpenOptions::new().write(true).open(log))
            .and_then(|file| file.set_len(0));
        if let Err(error) = trimmed {
            tracing::warn!(%error, "cannot shorten PostgreSQL's log");
        }
    }

    async fn initialise(&self) -> Result<(), EmbeddedError> {
        let folder = &self.layout.cluster_new;
        let failed = |e| EmbeddedError::writing(&self.layout.folder, e);
        match std::fs::remove_dir_all(folder) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(failed(e)),
            _ => {}
        }
        self.layout.make_for(folder, &self.postgres)?;
        let place = Place::of(folder, self.drops_rights)?;
        let mut command = self.command(&self.binaries.initdb());
        command
            .arg("--pgdata")
            .arg(&place.path)
            .args(["--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C.UTF-8", "--data-checksums"])
            // What someone gets who starts this cluster by hand, without our settings.
            .args(["--auth-local", "peer", "--auth-host", "reject"]);
        let output = tokio::process::Command::from(command)
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| EmbeddedError::io("run initdb", e))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(match self.known_cause(&said) {
                Some(cause) => cause,
                None => EmbeddedError::InitFailed { detail: last_line(&said) },
            });
        }
        // From here on it is a whole cluster; one that a crash left half made is thrown away above.
        std::fs::rename(folder, &self.layout.cluster).map_err(failed)?;
        File::open(&self.layout.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// `None`: it does not answer where it should, and was stopped.
    async fn adopt(&self, mut postmaster: Postmaster) -> Result<Option<Postmaster>, EmbeddedError> {
        postmaster.reload();
        match self.ready(&mut postmaster, ADOPT_TIMEOUT).await {
            Readiness::Ready => {
                tracing::info!(pid = postmaster.pid(), "took over the running PostgreSQL");
                Ok(Some(postmaster))
            }
            Readiness::Ended => Ok(None),
            Readiness::TimedOut | Readiness::Refused(_) => {
                tracing::warn!(
                    pid = postmaster.pid(),
                    "PostgreSQL hangs or runs with other settings, restarting it"
                );
                postmaster.stop().await?;
                Ok(None)
            }
        }
    }

    /// `None`: what a killed predecessor left is still there, try again.
    async fn start(&self, foreign_pid: Option<u32>) -> Result<Option<Postmaster>, EmbeddedError> {
        self.remove_socket()?;
        self.trim_log();
        let log = OpenOptions::new().create(true).append(true).mode(0o600).open(&self.layout.log);
        let log = log.map_err(|e| EmbeddedError::writing(&self.layout.folder, e))?;
        let said_before = log.metadata().map_or(0, |found| found.len());
        let errors = log.try_clone().map_err(|e| EmbeddedError::io("open PostgreSQL's log", e))?;

        let place = Place::of(&self.layout.cluster, self.drops_rights)?;
        let mut command = self.command(&self.binaries.postgres());
        command.arg("-D").arg(&place.path).args(settings::arguments(&self.layout)).stdout(log).stderr(errors);
        if let Some(pid) = foreign_pid {
            // PostgreSQL believes in any living process that its old pid file names, except in this one. It is meant
            // for pg_ctl's caller, and keeps the check for processes that still use the cluster's memory.
            command.env("PG_GRANDPARENT_PID", pid.to_string());
        }
        let child = command.spawn().map_err(|e| EmbeddedError::io("start PostgreSQL", e))?;
        drop(place);

        let mut starting = Starting(Some(Postmaster::from_child(child)?));
        let readiness = match starting.0.as_mut() {
            Some(postmaster) => self.ready(postmaster, READY_TIMEOUT).await,
            None => Readiness::Ended,
        };
        match readiness {
            Readiness::Ready => Ok(starting.0.take()),
            Readiness::Refused(error) => Err(EmbeddedError::Connect(error)),
            Readiness::TimedOut => Err(self.not_ready(READY_TIMEOUT)),
            Readiness::Ended => {
                let said = self.log_since(said_before);
                if said.contains("pre-existing shared memory block") {
                    return Ok(None);
                }
                Err(self.known_cause(&said).unwrap_or_else(|| EmbeddedError::StartFailed {
                    detail: last_fatal(&said),
                    log: self.layout.log.clone(),
                }))
            }
        }
    }

    async fn ready(&self, postmaster: &mut Postmaster, patience: Duration) -> Readiness {
        let mut deadline = Instant::now() + patience;
        loop {
            let options = self.maintenance();
            let attempt = async {
                let connection = PgConnection::connect_with(&options).await?;
                // It has answered; how the farewell goes does not matter.
                let _ = connection.close().await;
                Ok(())
            };
            match timeout(ATTEMPT_TIMEOUT, attempt).await {
                Ok(Ok(())) => return Readiness::Ready,
                Ok(Err(sqlx::Error::Database(e))) if e.code().as_deref() == Some("57P03") => {
                    // It replays its log: that takes what it takes.
                    deadline = deadline.max(Instant::now() + READY_TIMEOUT);
                }
                Err(_) | Ok(Err(sqlx::Error::Io(_))) => {}
                Ok(Err(error)) => return Readiness::Refused(error),
            }
            tokio::select! {
                () = postmaster.exited() => return Readiness::Ended,
                () = sleep(POLL_INTERVAL) => {}
            }
            if Instant::now() >= deadline {
                return Readiness::TimedOut;
            }
        }
    }

    fn not_ready(&self, patience: Duration) -> EmbeddedError {
        EmbeddedError::NotReady { seconds: patience.as_secs(), log: self.layout.log.clone() }
    }

    fn maintenance(&self) -> sqlx::postgres::PgConnectOptions {
        Endpoint::new(&self.layout).connect_options(SUPERUSER).database("postgres")
    }

    /// A program of PostgreSQL with nothing of our surroundings: no environment, no folder, no terminal's signals,
    /// and not root.
    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("LC_ALL", "C")
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null());
        if self.drops_rights {
            command.uid(self.postgres.uid).gid(self.postgres.gid);
        }
        command
    }

    /// The socket of a postmaster that is gone, and its lock file with a pid that may be someone else's by now.
    fn remove_socket(&self) -> Result<(), EmbeddedError> {
        let failed = |e| EmbeddedError::writing(&self.layout.socket, e);
        for entry in self.layout.socket.read_dir().map_err(failed)? {
            std::fs::remove_file(entry.map_err(failed)?.path()).map_err(failed)?;
        }
        Ok(())
    }

    fn log_since(&self, offset: u64) -> String {
        const READ_MAX_BYTES: u64 = 64 * 1024;
        let mut said = Vec::new();
        let read = File::open(&self.layout.log).and_then(|mut log| {
            log.seek(SeekFrom::Start(offset))?;
            log.take(READ_MAX_BYTES).read_to_end(&mut said)
        });
        if let Err(error) = read {
            tracing::warn!(%error, "cannot read PostgreSQL's log");
        }
        String::from_utf8_lossy(&said).into_owned()
    }

    fn known_cause(&self, said: &str) -> Option<EmbeddedError> {
        let folder = self.layout.cluster.clone();
        if said.contains("No space left on device") {
            return Some(EmbeddedError::NoDisk { folder });
        }
        let damage = [
            "could not locate a valid checkpoint record",
            "database files are incompatible with server",
            "incorrect checksum in control file",
            "could not read file \"global/pg_control\"",
            "could not find the database system",
            "invalid page in block",
            "is not a valid data directory",
        ];
        let is_damaged = damage.iter().any(|sign| said.contains(sign));
        is_damaged.then(|| EmbeddedError::Corrupt { folder, detail: last_fatal(said) })
    }
}

#[derive(Debug)]
enum Readiness {
    Ready,
    Ended,
    TimedOut,
    Refused(sqlx::Error),
}

/// A postmaster that nobody has been given yet: if the start is given up it is ended, so that none is forgotten.
struct Starting(Option<Postmaster>);

impl Drop for Starting {
    fn drop(&mut self) {
        if let Some(postmaster) = &self.0 {
            postmaster.abort();
        }
    }
}

/// How PostgreSQL is told its folder. One that runs as another user may not be able to walk there (`/root` is closed),
/// so that it inherits the open folder instead. Its parent is closed to that user: there is no way up from it.
struct Place {
    path: PathBuf,
    /// Open until the child has been spawned.
    _inherited: Option<OwnedFd>,
}

impl Place {
    fn of(folder: &Path, inherit: bool) -> Result<Self, EmbeddedError> {
        if !inherit {
            return Ok(Self { path: folder.to_owned(), _inherited: None });
        }
        // `dup` makes a descriptor that the child inherits, which the standard library's never are.
        let opened = File::open(folder).and_then(|folder| Ok(rustix::io::dup(folder)?));
        let opened = opened.map_err(|e| EmbeddedError::io(format!("open {}", folder.display()), e))?;
        Ok(Self { path: format!("/proc/self/fd/{}", opened.as_raw_fd()).into(), _inherited: Some(opened) })
    }
}

/// The major version of the cluster in `folder`; `None` where there is none yet.
fn cluster_major(folder: &Path, postgres: &Account) -> Result<Option<u32>, EmbeddedError> {
    let Some(owner) = account::owner_of(folder) else { return Ok(None) };
    if owner != postgres.uid {
        return Err(EmbeddedError::NotOwned { folder: folder.to_owned(), owner: account::name_of(owner) });
    }
    let corrupt = |detail: &str| EmbeddedError::Corrupt { folder: folder.to_owned(), detail: detail.into() };
    let version =
        std::fs::read_to_string(folder.join("PG_VERSION")).map_err(|_| corrupt("PG_VERSION is missing"))?;
    let major = version.trim().parse().map_err(|_| corrupt("PG_VERSION holds no version"))?;
    if !folder.join("global/pg_control").is_file() {
        return Err(corrupt("global/pg_control is missing"));
    }
    Ok(Some(major))
}

fn last_line(said: &str) -> String {
    said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("no message").trim().to_owned()
}

/// PostgreSQL's last word on why it ended, without time and process.
fn last_fatal(said: &str) -> String {
    let marks = ["FATAL:  ", "PANIC:  "];
    let fatal = said.lines().rev().find_map(|line| marks.iter().find_map(|mark| line.split_once(mark)));
    fatal.map_or_else(|| last_line(said), |(_, message)| message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_of_a_failed_start_is_its_last_fatal_line() {
        let said = "2026-01-01 [7] LOG:  starting\n2026-01-01 [7] FATAL:  could not create lock file\n\
                    2026-01-01 [7] LOG:  database system is shut down\n";
        assert_eq!(last_fatal(said), "could not create lock file");
        assert_eq!(last_fatal("\n"), "no message");
    }
}
