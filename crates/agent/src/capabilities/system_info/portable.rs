//! Windows and macOS, by the `sysinfo` library. Maker, model and serial are not read here yet and stay absent.

use crate::os::{OS_TYPE, hostname};
use chrono::DateTime;
use gururmm_protocol::system::SystemInfo;
use sysinfo::{CpuRefreshKind, System};

pub(super) fn read() -> SystemInfo {
    let mut system = System::new();
    system.refresh_memory();
    system.refresh_cpu_list(CpuRefreshKind::nothing());
    SystemInfo {
        hostname: System::host_name().unwrap_or_else(hostname),
        os_type: OS_TYPE,
        os_version: System::long_os_version().unwrap_or_default(),
        arch: std::env::consts::ARCH.to_owned(),
        kernel: System::kernel_version(),
        cpu_model: system.cpus().first().map(|cpu| cpu.brand().to_owned()),
        cpu_cores: Some(system.cpus().len() as u32),
        memory_bytes: Some(system.total_memory()),
        manufacturer: None,
        model: None,
        serial: None,
        boot_time: i64::try_from(System::boot_time())
            .ok()
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
    }
}
