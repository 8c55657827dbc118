//! Service managers other than systemd are not built yet, and that is said.

use super::InstallError;
use crate::os::{self, Unsupported};
use std::path::PathBuf;

/// Where everything stands.
#[derive(Debug, Clone)]
pub struct Layout;

fn unsupported() -> InstallError {
    Unsupported::here("installing as a service is not built yet").into()
}

impl Layout {
    /// This machine.
    pub fn system() -> Self {
        Self
    }

    /// The agent's state folder.
    pub fn state_dir(&self) -> PathBuf {
        os::default_state_dir()
    }

    /// Not built here yet.
    pub fn install_program(&self) -> Result<(), InstallError> {
        Err(unsupported())
    }

    /// Not built here yet.
    pub fn install_service(&self) -> Result<(), InstallError> {
        Err(unsupported())
    }

    /// After a package has enrolled this machine: the package registers the service itself.
    pub fn finish_package(&self) -> Result<(), InstallError> {
        Ok(())
    }

    /// What a package leaves to the agent when it goes: the state.
    pub fn uninstall_from_package(&self) -> Result<(), InstallError> {
        let path = self.state_dir();
        match std::fs::remove_dir_all(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(InstallError::Io { path, source })
            }
            _ => Ok(()),
        }
    }

    /// Not built here yet.
    pub fn uninstall(&self) -> Result<(), InstallError> {
        Err(unsupported())
    }
}
