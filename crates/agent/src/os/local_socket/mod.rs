//! A socket on this machine for one process, which is known before it connects.
//!
//! Who connects is asked of the system and not of the other side. A process number alone says little: it is somebody
//! else's once its process has ended; so the start of the process counts, too.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

pub use platform::{Listener, Stream, connect};

/// A process at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its number.
    pub pid: u32,
    /// Whose it is: the number of the account, on Windows of the session.
    pub owner: u32,
    /// When it began, in the system's own measure.
    pub started: u64,
}
