//! Files of an installation, as Linux and macOS have them.

use super::InstallError;
use crate::os;
use crate::state::remove_all;
use crate::update::programs::{Opened, PROGRAM};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Replaces a file by renaming a complete one over it: a running program's file cannot be written to.
pub(super) fn replace(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), InstallError> {
    let temporary = path.with_extension("new");
    let written = (|| {
        remove_all(&temporary)?;
        let mut file = OpenOptions::new().create_new(true).write(true).mode(mode).open(&temporary)?;
        write(&mut file)?;
        // The rights asked for when it was made are cut by the caller's umask.
        file.set_permissions(PermissionsExt::from_mode(mode))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    written.map_err(|source| InstallError::Io { path: path.to_owned(), source })
}

/// Has the service manager start this version's program from now on: a copy takes the place of the installed one in one
/// step, so that there is a whole program at every moment, and what runs goes on.
pub fn start_service_with(program: &mut Opened, installation: &Path) -> Result<(), InstallError> {
    replace(&installation.join(PROGRAM), 0o755, |file| io::copy(&mut program.file, file).map(drop))?;
    os::sync_dir(installation).map_err(|source| InstallError::Io { path: installation.to_owned(), source })
}

/// Removes a file or a folder with all that is in it; a link itself. What is not there is no error.
pub(super) fn remove(path: &Path) -> Result<(), InstallError> {
    remove_all(path).map_err(|source| InstallError::Io { path: path.to_owned(), source })
}
