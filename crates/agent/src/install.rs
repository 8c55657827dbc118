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

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What becomes of the agent once the process that removes it is at work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// The service manager stops it.
    IsStopped,
    /// It ends by itself: there is no service manager that would.
    Stops,
}

/// The agent's command that carries a removal out.
const REMOVE: &str = "uninstall-ordered";

/// Whether an agent that runs from `program_folder` on `state_dir` is the one that a layout has in these folders.
fn is_same_place(
    program_folder: &Path,
    state_dir: &Path,
    own_program_folder: &Path,
    own_state_dir: &Path,
) -> bool {
    let is_same = |one: &Path, other: &Path| {
        fs::canonicalize(one).is_ok_and(|one| fs::canonicalize(other).is_ok_and(|other| one == other))
    };
    is_same(program_folder, own_program_folder) && is_same(state_dir, own_state_dir)
}

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
    /// The system's package manager, which installed the agent, refused to remove it.
    #[error("{request} failed: {output}")]
    PackageManager {
        /// What it was asked.
        request: String,
        /// What it said.
        output: String,
    },
    /// The service is stopped, and something still works on the state folder.
    #[error("the agent does not stop")]
    StillRunning,
    /// Not built for this platform.
    #[error(transparent)]
    Unsupported(#[from] crate::os::Unsupported),
}
