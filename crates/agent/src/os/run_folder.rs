//! A folder for what other accounts of this machine may reach and must not change: the texts of scripts that run as them,
//! and the sockets of their helpers. What stands in it means nothing once the agent has ended.

use crate::os;
use crate::state::{StateDir, remove_all};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The part of it for scripts.
pub const SCRIPTS: &str = "scripts";

/// The one of the agent with this state folder; it may not be there yet.
pub fn of(state: &StateDir) -> PathBuf {
    os::run_folder(state.path())
}

/// Makes `folder` and the one above it where they are missing. Fails when others can change one of them, or something
/// else stands there.
pub fn open_sub(folder: &Path) -> io::Result<&Path> {
    if let Some(above) = folder.parent() {
        open(above)?;
    }
    open(folder)
}

/// The same for `folder` alone.
pub fn open(folder: &Path) -> io::Result<&Path> {
    match os::create_passable_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    os::check_only_ours(folder)?;
    if !folder.is_dir() {
        return Err(io::Error::other(format!("{} is not a folder", folder.display())));
    }
    Ok(folder)
}

/// Removes what an agent that was killed has left in `folder`.
pub fn clear(folder: &Path) {
    let is_ours = folder.parent().is_some_and(|above| os::check_only_ours(above).is_ok())
        && os::check_only_ours(folder).is_ok();
    let entries = is_ours.then(|| fs::read_dir(folder).ok()).flatten();
    for entry in entries.into_iter().flatten().flatten() {
        if let Err(error) = remove_all(&entry.path()) {
            tracing::warn!(%error, "a leftover script cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_agent_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("run/scripts");
        clear(&folder);
        open_sub(&folder).unwrap();
        fs::create_dir(folder.join("one")).unwrap();
        fs::write(folder.join("one/text"), "x").unwrap();
        clear(&folder);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_can_change_and_a_link_are_not_used() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let (run, elsewhere) = (dir.path().join("run"), dir.path().join("elsewhere"));
        let folder = run.join("scripts");
        assert_eq!(open_sub(&folder).unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o711);
        fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(open_sub(&folder).is_err());
        fs::write(folder.join("canary"), "x").unwrap();
        clear(&folder);
        assert!(folder.join("canary").exists());
        fs::rename(&run, &elsewhere).unwrap();
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o711)).unwrap();
        symlink(&elsewhere, &run).unwrap();
        assert!(open_sub(&folder).is_err());
        clear(&folder);
        assert!(elsewhere.join("scripts/canary").exists());
    }
}
