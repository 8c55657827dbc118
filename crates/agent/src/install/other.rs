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

    /// Not built here yet.
    pub fn uninstall(&self) -> Result<(), InstallError> {
        Err(unsupported())
    }
}
