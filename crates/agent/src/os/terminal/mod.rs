//! A program in a terminal that nobody sits at: a pseudo-terminal, ConPTY on Windows, pipes where that is missing.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

pub use platform::Terminal;
#[cfg(unix)]
pub use platform::{attach_streams, own_session, take_control};

use std::ffi::OsString;
use std::path::PathBuf;

/// A shell to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
}
