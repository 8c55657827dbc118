//! Windows and macOS, by the `sysinfo` library. The signed-in user and idle time are not read here yet.

use super::Ranked;
use chrono::DateTime;
use gururmm_protocol::metrics::{Disk, Process, Sample};
use gururmm_protocol::policy::AgentConfig;
use sysinfo::{
    DiskRefreshKind, Disks, Networks, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind, Users,
};

pub(super) struct Sampler {
    system: System,
    networks: Networks,
}

impl std::fmt::Debug for Sampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sampler")
    }
}

impl Sampler {
    pub(super) fn new() -> Self {
        let mut sampler = Self { system: System::new(), networks: Networks::new_with_refreshed_list() };
        sampler.system.refresh_cpu_usage();
        sampler.refresh_processes();
        sampler
    }

    fn refresh_processes(&mut self) {
        let what = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_user(UpdateKind::OnlyIfNotSet)
            .with_cmd(UpdateKind::OnlyIfNotSet);
        self.system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    }

    pub(super) fn fill(&mut self, sample: &mut Sample, config: &AgentConfig) {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.refresh_processes();
        self.networks.refresh(true);
        sample.cpu_percent = self.system.global_cpu_usage();
        sample.cpu_count = self.system.cpus().len() as u32;
        sample.memory_total_bytes = self.system.total_memory();
        sample.memory_used_bytes = self.system.used_memory();
        sample.swap_total_bytes = self.system.total_swap();
        sample.swap_used_bytes = self.system.used_swap();
        if !cfg!(windows) {
            let load = System::load_average();
            sample.load = Some([load.one, load.five, load.fifteen]);
        }
        sample.uptime_seconds = System::uptime();
        sample.boot_time =
            i64::try_from(System::boot_time()).ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        for data in self.networks.values() {
            sample.rx_bytes = sample.rx_bytes.saturating_add(data.received());
            sample.tx_bytes = sample.tx_bytes.saturating_add(data.transmitted());
        }
        let disks = Disks::new_with_refreshed_list_specifics(DiskRefreshKind::nothing().with_storage());
        sample.disks = disks
            .iter()
            .map(|disk| Disk {
                mount: disk.mount_point().to_string_lossy().into_owned(),
                device: disk.name().to_string_lossy().into_owned(),
                file_system: disk.file_system().to_string_lossy().into_owned(),
                used_bytes: disk.total_space().saturating_sub(disk.available_space()),
                total_bytes: disk.total_space(),
            })
            .collect();
        sample.process_count = self.system.processes().len() as u32;
        if config.process_list {
            let mut ranked: Vec<Ranked> = self
                .system
                .processes()
                .iter()
                .map(|(pid, process)| Ranked {
                    pid: pid.as_u32(),
                    cpu_percent: process.cpu_usage(),
                    memory_bytes: process.memory(),
                })
                .collect();
            let users = Users::new_with_refreshed_list();
            let describe = |ranked: Ranked| self.describe(ranked, &users);
            sample.top_cpu = super::top(&mut ranked, |process| process.cpu_percent.into(), describe);
            sample.top_memory = super::top(&mut ranked, |process| process.memory_bytes as f64, describe);
        }
    }

    fn describe(&self, ranked: Ranked, users: &Users) -> Option<Process> {
        let process = self.system.process(sysinfo::Pid::from_u32(ranked.pid))?;
        let user = process.user_id().and_then(|id| users.get_user_by_id(id));
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
}
