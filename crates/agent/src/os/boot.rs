//! Which start of the machine this is.

use crate::os::Unsupported;

/// The kernel's random id of this boot. A container has that of its host.
#[cfg(target_os = "linux")]
pub fn boot_id() -> Result<String, Unsupported> {
    crate::os::linux_files::read_trimmed("/proc/sys/kernel/random/boot_id")
        .filter(|id| !id.is_empty())
        .ok_or_else(|| Unsupported::here("the kernel's boot id cannot be read"))
}

/// The time of the start by the clock of then, in 100 ns: the kernel keeps by how much the clock was set since.
#[cfg(windows)]
pub fn boot_id() -> Result<String, Unsupported> {
    super::hardware::boot_id()
        .map(|time| format!("{time:x}"))
        .ok_or_else(|| Unsupported::here("the kernel does not say when it started"))
}

/// The kernel's random id of this boot.
#[cfg(target_os = "macos")]
pub fn boot_id() -> Result<String, Unsupported> {
    super::macos::boot_session().ok_or_else(|| Unsupported::here("the kernel's boot id cannot be read"))
}
