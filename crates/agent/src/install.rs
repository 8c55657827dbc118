//! Putting the agent on a machine as a service, and taking it away without a trace.

#[cfg(unix)]
mod files;
#[cfg(unix)]
pub use files::start_service_with;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::Layout;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::{Layout, start_service_with};

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub use macos::Layout;

pub mod package;

use std::io;
use std::path::PathBuf;

/// Why installing or removing failed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// It takes full rights.
    #[error("this takes full rights: root's, or those of an administrator who confirmed")]
    NotElevated,
    /// A file cannot be written or removed.
    #[error("cannot change {}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// There is no service manager to run the agent.
    #[error("this machine does not run systemd; start `gururmm-agent run` by other means")]
    NoServiceManager,
    /// The service manager refused.
    #[error("{request} failed: {output}")]
    ServiceManager {
        /// What it was asked.
        request: String,
        /// What it said.
        output: String,
    },
    /// Not built for this platform.
    #[error(transparent)]
    Unsupported(#[from] crate::os::Unsupported),
}
