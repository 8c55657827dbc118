//! The machine as it describes itself at every connect.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(not(any(target_os = "linux", windows)))]
mod portable;
#[cfg(not(any(target_os = "linux", windows)))]
use portable as platform;

use gururmm_protocol::system::SystemInfo;

/// Reads what the machine is. What cannot be read is absent.
pub fn read() -> SystemInfo {
    let mut info = platform::read();
    info.clean();
    info
}

/// Makers leave these where a value belongs.
pub(crate) fn is_told(text: &str) -> bool {
    const NOT_TOLD: &[&str] = &[
        "",
        "0",
        "none",
        "n/a",
        "default string",
        "not specified",
        "not applicable",
        "to be filled by o.e.m.",
        "system serial number",
        "system manufacturer",
        "system product name",
        "base board serial number",
        "unknown",
        "0123456789",
        "123456789",
        "1234567890",
        "xxxxxxxxxx",
        "..............",
    ];
    !NOT_TOLD.contains(&text.trim().to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_describes_itself() {
        let info = read();
        assert!(!info.hostname.is_empty() && !info.os_version.is_empty() && !info.arch.is_empty());
        assert!(info.memory_bytes.is_some_and(|bytes| bytes > 0));
        assert!(info.cpu_cores.is_some_and(|cores| cores > 0));
    }

    #[test]
    fn a_makers_filler_is_not_a_value() {
        assert!(!is_told("To Be Filled By O.E.M.") && !is_told(" ") && !is_told("Default string"));
        assert!(is_told("ACME-0001"));
    }
}
