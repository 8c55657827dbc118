//! From `/etc/os-release`, `/proc` and the SMBIOS tables as `/sys` shows them.

use super::is_told;
use crate::os::linux_files::read_trimmed;
use crate::os::{OS_TYPE, hostname};
use chrono::DateTime;
use gururmm_protocol::system::SystemInfo;

pub(super) fn read() -> SystemInfo {
    let cpu = read_trimmed("/proc/cpuinfo").unwrap_or_default();
    let dmi = |name: &str| read_trimmed(format!("/sys/class/dmi/id/{name}")).filter(|text| is_told(text));
    SystemInfo {
        hostname: hostname(),
        os_type: OS_TYPE,
        os_version: os_version(),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: Some(rustix::system::uname().release().to_string_lossy().into_owned()),
        cpu_model: field(&cpu, "model name").or_else(|| field(&cpu, "Model")).map(str::to_owned),
        cpu_cores: Some(cpu.lines().filter(|line| line.starts_with("processor")).count() as u32),
        memory_bytes: memory_bytes(),
        manufacturer: dmi("sys_vendor"),
        model: dmi("product_name"),
        serial: dmi("product_serial"),
        boot_time: boot_time(),
        virtualization: None,
    }
}

fn os_version() -> String {
    let text =
        read_trimmed("/etc/os-release").or_else(|| read_trimmed("/usr/lib/os-release")).unwrap_or_default();
    let pretty = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or("Linux", |name| name.trim_matches(['"', '\''])).to_owned()
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let pairs = text.lines().filter_map(|line| line.split_once(':'));
    pairs.map(|(key, value)| (key.trim(), value.trim())).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn memory_bytes() -> Option<u64> {
    let text = read_trimmed("/proc/meminfo")?;
    let kibibytes: u64 = field(&text, "MemTotal")?.split(' ').next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

fn boot_time() -> Option<DateTime<chrono::Utc>> {
    let text = read_trimmed("/proc/stat")?;
    let seconds = text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    DateTime::from_timestamp(seconds, 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_white_space() {
        assert_eq!(
            field("processor\t: 0\nmodel name\t: ACME 9000 @ 3:1\n", "model name"),
            Some("ACME 9000 @ 3:1")
        );
    }
}
