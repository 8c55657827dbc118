//! Windows and macOS, by the `sysinfo` library. The signed-in user and idle time are not read here yet.

use super::Ranked;
use chrono::DateTime;
use gururmm_protocol::metrics::{Disk, Process, Sample};
use gururmm_protocol::policy::AgentConfig;
use sysinfo::{
    DiskRefreshKind, Disks, Networks, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind, Users,
};

pub(super) struct Sampler {
    /// Absent where the library does not know the system.
    system: Option<System>,
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
            refresh_processes(&mut system);
            system
        });
        Self { system, networks: Networks::new_with_refreshed_list().ok() }
    }

    pub(super) fn fill(&mut self, sample: &mut Sample, config: &AgentConfig) {
        if let Some(system) = &mut self.system {
            fill_system(system, sample, config);
        }
        sample.uptime_seconds = System::uptime().unwrap_or_default();
        sample.boot_time = System::boot_time()
            .ok()
            .and_then(|seconds| i64::try_from(seconds).ok())
            .and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        // Windows has none, and the library says so.
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

fn refresh_processes(system: &mut System) {
    let what = ProcessRefreshKind::nothing()
        .with_cpu()
        .with_memory()
        .with_user(UpdateKind::OnlyIfNotSet)
        .with_cmd(UpdateKind::OnlyIfNotSet);
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
}

fn fill_system(system: &mut System, sample: &mut Sample, config: &AgentConfig) {
    system.refresh_cpu_usage();
    system.refresh_memory();
    refresh_processes(system);
    sample.cpu_percent = system.global_cpu_usage();
    sample.cpu_count = system.cpus().len() as u32;
    sample.memory_total_bytes = system.total_memory();
    sample.memory_used_bytes = system.used_memory();
    sample.swap_total_bytes = system.total_swap();
    sample.swap_used_bytes = system.used_swap();
    sample.process_count = system.processes().len() as u32;
    if config.process_list {
        let mut ranked: Vec<Ranked> = system
            .processes()
            .iter()
            .map(|(pid, process)| Ranked {
                pid: pid.as_u32(),
                cpu_percent: process.cpu_usage(),
                memory_bytes: process.memory(),
            })
            .collect();
        let users = Users::new_with_refreshed_list().ok();
        let describe = |ranked: Ranked| describe(system, ranked, users.as_ref());
        sample.top_cpu = super::top(&mut ranked, |process| process.cpu_percent.into(), describe);
        sample.top_memory = super::top(&mut ranked, |process| process.memory_bytes as f64, describe);
    }
}

fn describe(system: &System, ranked: Ranked, users: Option<&Users>) -> Option<Process> {
    let process = system.process(sysinfo::Pid::from_u32(ranked.pid))?;
    let user = process.user_id().and_then(|id| users?.get_user_by_id(id));
    let words: Vec<_> = process.cmd().iter().map(|word| word.to_string_lossy()).collect();
    Some(Process {
        pid: ranked.pid,
        name: process.name().to_string_lossy().into_owned(),
        user: user.map(|user| user.name().to_owned()).unwrap_or_default(),
        cpu_percent: ranked.cpu_percent,
        memory_bytes: ranked.memory_bytes,
        command_line: words.join(" "),
    })
}
