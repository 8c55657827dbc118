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

pub use platform::UserSession;

use super::Unsupported;
use std::io;

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
