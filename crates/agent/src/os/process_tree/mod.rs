//! All processes that stem from one command, found again however they detached.
//!
//! A command's first process gets the environment variable [`MARK`]; its descendants inherit it through `fork`,
//! `setsid` and double forks, where process groups and parents are lost. Where the system has something that holds
//! them together whatever they do, they also get an [`Enclosure`].

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

pub use platform::Enclosure;
#[cfg(windows)]
pub(in crate::os) use platform::{Job, wake};

use gururmm_protocol::CommandId;
use std::io;

/// Environment variable that marks a command's processes; its value is the command's id.
pub const MARK: &str = "GURURMM_COMMAND_ID";

#[cfg(unix)]
pub use platform::{in_session, started};

/// How hard to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// To end by itself.
    Terminate,
    /// To be gone.
    Kill,
}

/// The processes of one command.
#[derive(Debug, Clone, Copy)]
pub struct ProcessTree {
    /// The command.
    pub command_id: CommandId,
    /// The first process, which leads the process group; `None` once it was waited for, since its number may then
    /// belong to somebody else.
    pub leader: Option<u32>,
}

impl ProcessTree {
    /// Signals every live process of the tree; returns how many there were.
    pub fn signal(&self, severity: Severity) -> io::Result<usize> {
        platform::signal(self, severity)
    }

    /// How many processes of the tree live.
    pub fn count(&self) -> io::Result<usize> {
        platform::count(self)
    }
}
