//! What the systems do differently and more than one part needs. Unsafe code lives only in leaf files below.

#[cfg(not(target_os = "linux"))]
pub mod account_names;
mod boot;
pub use boot::boot_id;
#[cfg(any(target_os = "macos", test))]
pub mod ioreg;
pub mod last_input;
#[cfg(target_os = "linux")]
pub mod linux_files;
#[cfg(target_os = "linux")]
pub mod linux_sessions;
pub mod local_socket;
#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
pub use macos::{IpFamily, console_user, event_log, routing_table, sysctl};
#[cfg(unix)]
pub mod own_limits;
#[cfg(unix)]
pub use own_limits::leave_no_core_dump;
pub mod process_tree;
pub mod run_folder;
pub mod service;
#[cfg(any(windows, test))]
pub mod smbios;
pub mod terminal;
pub mod user_session;

#[cfg(unix)]
mod unix;
#[cfg(unix)]
pub use unix::*;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::*;

use gururmm_protocol::system::OsType;

/// The system this build runs on.
pub const OS_TYPE: OsType = if cfg!(windows) {
    OsType::Windows
} else if cfg!(target_os = "macos") {
    OsType::Macos
} else {
    OsType::Linux
};

/// Returns when standard input ends; what comes in until then means nothing.
pub fn read_to_end_of_input() {
    use std::io::Read;
    let mut input = std::io::stdin().lock();
    let mut buffer = [0; 64];
    while input.read(&mut buffer).is_ok_and(|read| read > 0) {}
}

/// Something this platform cannot do, or this build does not do on it yet. Never a silent no-op.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not supported on {platform}: {reason}")]
pub struct Unsupported {
    /// `linux`, `macos` or `windows`.
    pub platform: &'static str,
    /// Why, for people.
    pub reason: &'static str,
}

impl Unsupported {
    /// On the platform this build runs on.
    pub fn here(reason: &'static str) -> Self {
        Self { platform: OS_TYPE.as_str(), reason }
    }
}
