//! macOS, by the `sysinfo` library. Since when the signed-in user is idle is asked for beside (`user_idle`).

use super::processes::Processes;
use crate::os::console_user;
use chrono::DateTime;
use gururmm_protocol::metrics::{Disk, Sample};
use gururmm_protocol::policy::AgentConfig;
use sysinfo::{DiskRefreshKind, Disks, Networks, System};

pub(super) struct Sampler {
    /// Absent where the library does not know the system.
    system: Option<System>,
    processes: Option<Processes>,
    networks: Option<Networks>,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sampler")
    }
}

impl Sampler {
    pub(super) fn new() -> Self {
        let system = System::new().ok().map(|mut system| {
            system.refresh_cpu_usage();
            system
        });
        Self { system, processes: Processes::new(), networks: Networks::new_with_refreshed_list().ok() }
    }

    pub(super) fn fill(&mut self, sample: &mut Sample, config: &AgentConfig) {
        if let Some(system) = &mut self.system {
            fill_system(system, sample);
        }
        if config.user_activity {
            sample.logged_in_user = console_user();
        }
        if let Some(processes) = &mut self.processes {
            processes.fill(sample, config);
        }
        sample.uptime_seconds = System::uptime().unwrap_or_default();
        sample.boot_time = System::boot_time()
            .ok()
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        sample.load = System::load_average().ok().map(|load| [load.one, load.five, load.fifteen]);
        if let Some(networks) = &mut self.networks {
            networks.refresh(true);
            for data in networks.values() {
                sample.rx_bytes = sample.rx_bytes.saturating_add(data.received());
                sample.tx_bytes = sample.tx_bytes.saturating_add(data.transmitted());
            }
        }
        let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
        sample.disks = disks
            .iter()
            .flat_map(|disks| disks.iter())
            .map(|disk| Disk {
                mount: disk.mount_point().to_string_lossy().into_owned(),
                device: disk.name().to_string_lossy().into_owned(),
                file_system: disk.file_system().to_string_lossy().into_owned(),
                used_bytes: disk.total_space().saturating_sub(disk.available_space()),
                total_bytes: disk.total_space(),
            })
            .collect();
    }
}

fn fill_system(system: &mut System, sample: &mut Sample) {
    system.refresh_cpu_usage();
    system.refresh_memory();
    sample.cpu_percent = system.global_cpu_usage();
    sample.cpu_count = system.cpus().len() as u32;
    sample.memory_total_bytes = system.total_memory();
    sample.memory_used_bytes = system.used_memory();
    sample.swap_total_bytes = system.total_swap();
    sample.swap_used_bytes = system.used_swap();
}
