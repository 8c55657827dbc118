//! What is macOS' own.

pub mod event_log;
mod routing;

pub use routing::{IpFamily, routing_table};

use std::os::unix::fs::MetadataExt;
use std::process::Command;

/// Who sits at the machine: the screen belongs to them. Nobody when it is the system's own.
pub fn console_user() -> Option<String> {
    let uid = std::fs::metadata("/dev/console").ok()?.uid();
    if uid == 0 {
        return None;
    }
    let output = Command::new("/usr/bin/id").args(["-un", &uid.to_string()]).output().ok()?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(if output.status.success() && !name.is_empty() { name } else { uid.to_string() })
}

/// The kernel's random id of this start of the machine.
pub(super) fn boot_session() -> Option<String> {
    sysctl("kern.bootsessionuuid")
}

/// A word of the kernel about itself.
pub fn sysctl(name: &str) -> Option<String> {
    let output = Command::new("/usr/sbin/sysctl").args(["-n", name]).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}
