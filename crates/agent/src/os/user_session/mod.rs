//! The signed-in user, and how a program is started as them, in their session.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

pub use platform::{Desktop, UserSession};

use super::Unsupported;
use std::ffi::OsString;
use std::io;
use std::path::Path;

/// Becomes the user with that number, and then the program with its arguments: the second half of starting something in
/// a session, where the system has that half done by a program. Comes back only when it cannot.
pub fn become_program(uid: u32, directory: Option<&Path>, program: &[OsString]) -> io::Error {
    #[cfg(target_os = "macos")]
    return platform::become_program(uid, directory, program);
    #[cfg(not(target_os = "macos"))]
    {
        let _ = (uid, directory, program);
        io::Error::new(
            io::ErrorKind::Unsupported,
            Unsupported::here("a program of a user's is started directly here"),
        )
    }
}

/// How a user's program is started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Launch<'a> {
    /// Where; at home, where nothing is said.
    pub directory: Option<&'a Path>,
    /// Whether its input is written to; it has none else.
    pub is_fed: bool,
    /// Whether its output is read; it goes nowhere else.
    pub is_read: bool,
    /// Whether an enclosure is going to take it in, and wakes it then.
    pub is_enclosed: bool,
}

/// Why there is nobody to run something as.
#[derive(Debug, thiserror::Error)]
pub enum NoUserSession {
    /// No person's session is open.
    #[error("nobody is signed in at this machine")]
    Nobody,
    /// This process may not act for them.
    #[error(transparent)]
    Unsupported(#[from] Unsupported),
    /// Somebody is, and the system does not say more about them.
    #[error("the account of the user who is signed in cannot be looked up: {0}")]
    Account(#[source] io::Error),
}
