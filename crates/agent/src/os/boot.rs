//! Which start of the machine this is.

use crate::os::Unsupported;

/// The kernel's random id of this boot. A container has that of its host.
#[cfg(target_os = "linux")]
pub fn boot_id() -> Result<String, Unsupported> {
    crate::os::linux_files::read_trimmed("/proc/sys/kernel/random/boot_id")
        .filter(|id| !id.is_empty())
        .ok_or_else(|| Unsupported::here("the kernel's boot id cannot be read"))
}

/// macOS and Windows keep no such id, only the time of the last start, which moves when the clock is set.
#[cfg(not(target_os = "linux"))]
pub fn boot_id() -> Result<String, Unsupported> {
    Err(Unsupported::here("telling one start of the machine from the next is not built yet"))
}
