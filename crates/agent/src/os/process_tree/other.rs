//! Finding detached descendants is not built for this platform yet, and that is said.

use super::{ProcessTree, Severity};
use crate::os::Unsupported;
use gururmm_protocol::CommandId;
use std::io;
use std::process::Command;
use tokio::process::Child;

/// What holds a command's processes together; there is nothing like it here yet, and [`ProcessTree`] says so.
#[derive(Debug)]
pub enum Enclosure {}

impl Enclosure {
    /// None here.
    pub fn around(_command_id: CommandId, _command: &mut Command) -> Option<Self> {
        None
    }

    /// Nothing is to be done: there is none.
    pub fn take_in(&self, _child: &Child) -> io::Result<()> {
        match *self {}
    }
}

fn unsupported() -> io::Error {
    let reason = "ending a whole process tree is not built yet";
    io::Error::new(io::ErrorKind::Unsupported, Unsupported::here(reason))
}

pub(super) fn signal(_tree: &ProcessTree, _severity: Severity) -> io::Result<usize> {
    Err(unsupported())
}

pub(super) fn count(_tree: &ProcessTree) -> io::Result<usize> {
    Err(unsupported())
}
