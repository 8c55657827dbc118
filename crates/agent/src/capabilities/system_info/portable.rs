//! macOS, by the `sysinfo` library. Maker, model and serial come from its registry of devices.

use super::is_told;
use crate::os::{OS_TYPE, hostname, ioreg};
use chrono::DateTime;
use gururmm_protocol::system::SystemInfo;
use sysinfo::{CpuRefreshKind, System};

pub(super) fn read() -> SystemInfo {
    let system = System::new().ok().map(|mut system| {
        system.refresh_memory();
        system.refresh_cpu_list(CpuRefreshKind::nothing());
        system
    });
    let printed = ioreg::class("IOPlatformExpertDevice").unwrap_or_default();
    let told = |name| ioreg::text(&printed, name).filter(|text| is_told(text));
    SystemInfo {
        hostname: System::host_name().unwrap_or_else(|_| hostname()),
        os_type: OS_TYPE,
        os_version: System::long_os_version().unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: System::kernel_version().ok(),
        cpu_model: system.as_ref().and_then(|system| Some(system.cpus().first()?.brand().to_owned())),
        cpu_cores: system.as_ref().map(|system| system.cpus().len() as u32),
        memory_bytes: system.as_ref().map(System::total_memory),
        manufacturer: told("manufacturer"),
        model: told("model"),
        serial: told("IOPlatformSerialNumber"),
        boot_time: System::boot_time()
            .ok()
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
        virtualization: None,
    }
}
