//! The state folder: owned by the account the agent runs as, readable by nobody else.

use crate::os;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// An opened and checked state folder.
#[derive(Debug, Clone)]
pub struct StateDir {
    path: PathBuf,
}

/// Why a state folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It does not exist, so nothing was enrolled here.
    #[error("{} does not exist: enroll this machine first", .0.display())]
    Missing(PathBuf),
    /// The credential's owner and the process that reads it must be the same account.
    #[error("{} belongs to another account ({owner}) than this process ({process})", .path.display())]
    ForeignOwner {
        /// The file or folder.
        path: PathBuf,
        /// Who owns it.
        owner: String,
        /// Who wants to use it.
        process: String,
    },
    /// A link stands where a folder or file of the agent belongs.
    #[error("{} is not a plain file or folder", .0.display())]
    NotPlain(PathBuf),
    /// Reading or writing failed.
    #[error("cannot use {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Held while an agent runs on a state folder; the lock ends with the process.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl StateDir {
    /// Where the state lives unless `--state-dir` says otherwise.
    pub fn default_path() -> PathBuf {
        os::default_state_dir()
    }

    /// Opens an existing folder; owner and rights are checked, rights that are too wide are narrowed.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        match fs::symlink_metadata(path) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(StateError::NotPlain(path.to_owned())),
            Err(source) if source.kind() == io::ErrorKind::NotFound => {
                return Err(StateError::Missing(path.to_owned()));
            }
            Err(source) => return Err(StateError::Io { path: path.to_owned(), source }),
        }
        os::check_private(path)?;
        Ok(Self { path: path.to_owned() })
    }

    /// Opens the folder, making it if needed.
    pub fn create(path: &Path) -> Result<Self, StateError> {
        create_private_dir(path)?;
        Self::open(path)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A private folder in it, made if needed.
    pub fn sub_dir(&self, name: &str) -> Result<PathBuf, StateError> {
        let path = self.path.join(name);
        create_private_dir(&path)?;
        os::check_private(&path)?;
        if !path.is_dir() {
            return Err(StateError::NotPlain(path));
        }
        Ok(path)
    }

    /// Makes sure that only one agent runs on this folder. `None` when another one does.
    pub fn lock(&self) -> Result<Option<RunLock>, StateError> {
        self.lock_named("lock")
    }

    /// The same for another kind of process.
    pub fn lock_named(&self, name: &str) -> Result<Option<RunLock>, StateError> {
        let path = self.file(name);
        let failed = |source| StateError::Io { path: path.clone(), source };
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).write(true);
        os::private_mode(&mut options);
        let file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(RunLock { _file: file })),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

fn create_private_dir(path: &Path) -> Result<(), StateError> {
    let failed = |source| StateError::Io { path: path.to_owned(), source };
    if fs::symlink_metadata(path).is_ok() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(failed)?;
    }
    match os::create_private_dir(path) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => Err(failed(source)),
        _ => Ok(()),
    }
}

/// Replaces `path` in one step: after a power cut it holds the old bytes or the new ones.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, true)?;
    sync_parent(path)
}

/// Replaces `path` in one step for readers of a running system; a power cut may lose it.
pub fn write_atomic_unsynced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace(path, bytes, false)
}

fn replace(path: &Path, bytes: &[u8], is_synced: bool) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let written = (|| {
        // A leftover of a crash may be there; `create_new` keeps a planted link from being followed.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = OpenOptions::new();
        options.create_new(true).write(true);
        os::private_mode(&mut options);
        let mut file = options.open(&temporary)?;
        file.write_all(bytes)?;
        if is_synced {
            file.sync_all()?;
        }
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // Nothing of a failed write stays to fill a full disk further.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// Removes a file or a folder with all that is in it; a link itself. What is not there is no error.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a rename or a new name in `path`'s folder survive a power cut.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), os::sync_dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_agent_runs_on_a_state_folder() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let lock = state.lock().unwrap();
        assert!(lock.is_some());
        assert!(state.lock().unwrap().is_none());
        drop(lock);
        assert!(state.lock().unwrap().is_some());
    }

    #[test]
    fn a_missing_folder_is_said_and_a_link_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(StateDir::open(&dir.path().join("none")), Err(StateError::Missing(_))));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
            assert!(matches!(StateDir::open(&dir.path().join("link")), Err(StateError::NotPlain(_))));
        }
    }

    #[cfg(unix)]
    #[test]
    fn rights_that_are_too_wide_are_narrowed_on_open() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        StateDir::create(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        StateDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    /// Needs root to make a file another account's; elsewhere there is nothing to show.
    #[cfg(unix)]
    #[test]
    fn a_folder_of_another_account_is_refused() {
        if !os::is_elevated() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let state = StateDir::create(&path).unwrap();
        fs::write(state.file("identity.json"), "{}").unwrap();
        std::os::unix::fs::chown(state.file("identity.json"), Some(65_534), None).unwrap();
        let refused = crate::identity::Identity::load(&state).unwrap_err();
        assert!(refused.to_string().contains("belongs to another account (uid 65534)"), "{refused}");
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let refused = StateDir::open(&path).unwrap_err();
        assert!(
            matches!(&refused, StateError::ForeignOwner { owner, process, .. } if owner == "uid 65534" && process == "uid 0")
        );
    }

    #[cfg(unix)]
    #[test]
    fn an_atomic_write_leaves_a_private_file_and_no_other() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("f");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
