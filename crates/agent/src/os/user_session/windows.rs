//! Not built yet.

use super::NoUserSession;
use crate::os::Unsupported;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::Path;
use tokio::process::{Child, Command};

/// There is none.
#[derive(Debug, Clone)]
pub enum UserSession {}

impl UserSession {
    /// Nobody's.
    pub fn foremost() -> Result<Self, NoUserSession> {
        Err(Unsupported::here("running in the signed-in user's session is not built yet").into())
    }

    /// Of nobody.
    pub fn search_path(&self) -> OsString {
        match *self {}
    }

    /// Of nobody.
    pub fn set_base_environment(&self, _command: &mut std::process::Command) {
        match *self {}
    }

    /// For nobody.
    pub fn create_folder(&self, _path: &Path) -> io::Result<()> {
        match *self {}
    }

    /// To nobody.
    pub fn hand_over(&self, _file: &File) -> io::Result<()> {
        match *self {}
    }

    /// As nobody.
    pub fn spawn(&self, _command: &mut Command, _directory: Option<&Path>) -> io::Result<Child> {
        match *self {}
    }
}
