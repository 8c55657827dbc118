//! The machine as it describes itself at every connect.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(not(target_os = "linux"))]
mod portable;
#[cfg(not(target_os = "linux"))]
use portable as platform;

#[cfg(target_os = "linux")]
pub(crate) use linux::is_told;

use gururmm_protocol::system::SystemInfo;

/// Reads what the machine is. What cannot be read is absent.
pub fn read() -> SystemInfo {
    let mut info = platform::read();
    info.clean();
    info
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_machine_describes_itself() {
        let info = super::read();
        assert!(!info.hostname.is_empty() && !info.os_version.is_empty() && !info.arch.is_empty());
        assert!(info.memory_bytes.is_some_and(|bytes| bytes > 0));
        assert!(info.cpu_cores.is_some_and(|cores| cores > 0));
    }
}
