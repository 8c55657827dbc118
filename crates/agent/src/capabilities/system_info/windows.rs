//! From the registry, the kernel and the SMBIOS tables.

use super::is_told;
use crate::os::{OS_TYPE, figures, hardware, hostname, registry};
use gururmm_protocol::system::SystemInfo;

const CURRENT_VERSION: &str = r"SOFTWARE\Microsoft\Windows NT\CurrentVersion";
const FIRST_CPU: &str = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0";
/// From this build on it is Windows 11, whatever the registry still calls it.
const FIRST_BUILD_OF_11: u32 = 22_000;

pub(super) fn read() -> SystemInfo {
    let smbios = hardware::smbios();
    let told = |text: Option<String>| text.filter(|text| is_told(text));
    let version = |name| registry::read_text(CURRENT_VERSION, name);
    let build = version("CurrentBuild").or_else(|| version("CurrentBuildNumber"));
    let number = build.as_deref().and_then(|build| build.parse().ok()).unwrap_or_default();
    let product = version("ProductName").unwrap_or_else(|| "Windows".to_owned());
    SystemInfo {
        hostname: hostname(),
        os_type: OS_TYPE,
        os_version: os_version(&product, number, version("DisplayVersion").as_deref()),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: build,
        cpu_model: registry::read_text(FIRST_CPU, "ProcessorNameString"),
        cpu_cores: Some(figures::cpu_count()),
        memory_bytes: figures::memory().map(|memory| memory.total_bytes),
        manufacturer: told(smbios.manufacturer),
        model: told(smbios.product),
        serial: told(smbios.serial),
        boot_time: hardware::boot_time(),
        virtualization: None,
    }
}

/// `Windows 11 Pro 23H2`: the registry kept the name of the version before.
fn os_version(product: &str, build: u32, release: Option<&str>) -> String {
    let is_server = product.contains("Server");
    let product = if build >= FIRST_BUILD_OF_11 && !is_server {
        product.replace("Windows 10", "Windows 11")
    } else {
        product.to_owned()
    };
    match release.filter(|release| !release.is_empty()) {
        Some(release) => format!("{product} {release}"),
        None => product,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_11_is_called_so() {
        assert_eq!(os_version("Windows 10 Pro", 22_631, Some("23H2")), "Windows 11 Pro 23H2");
        assert_eq!(os_version("Windows 10 Pro", 19_045, Some("22H2")), "Windows 10 Pro 22H2");
        assert_eq!(os_version("Windows Server 2022 Standard", 20_348, None), "Windows Server 2022 Standard");
    }
}
