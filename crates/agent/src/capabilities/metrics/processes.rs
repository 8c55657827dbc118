//! The process table on Windows and macOS, by the `sysinfo` library.

use super::Ranked;
use crate::os::account_names::Names;
use gururmm_protocol::metrics::{Process, Sample};
use gururmm_protocol::policy::AgentConfig;
use sysinfo::{CpuRefreshKind, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// The table as it was at the last look.
pub(super) struct Processes(System);

impl std::fmt::Debug for Processes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Processes")
    }
}

impl Processes {
    /// Takes the first look; `None` where the library does not know the system.
    pub(super) fn new() -> Option<Self> {
        let mut processes = Self(System::new().ok()?);
        // The library's figures are per core; it must know how many there are, and no more of them.
        processes.0.refresh_cpu_list(CpuRefreshKind::nothing());
        processes.refresh();
        Some(processes)
    }

    fn refresh(&mut self) {
        let what = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_user(UpdateKind::OnlyIfNotSet)
            .with_cmd(UpdateKind::OnlyIfNotSet);
        self.0.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    }

    /// Looks again, and writes into `sample` what the processes did since.
    pub(super) fn fill(&mut self, sample: &mut Sample, config: &AgentConfig) {
        self.refresh();
        let system = &self.0;
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
            let names = Names::read();
            let describe = |ranked: Ranked| describe(system, ranked, &names);
            sample.top_cpu = super::top(&mut ranked, |process| process.cpu_percent.into(), describe);
            sample.top_memory = super::top(&mut ranked, |process| process.memory_bytes as f64, describe);
        }
    }
}

fn describe(system: &System, ranked: Ranked, names: &Names) -> Option<Process> {
    let process = system.process(sysinfo::Pid::from_u32(ranked.pid))?;
    let words: Vec<_> = process.cmd().iter().map(|word| word.to_string_lossy()).collect();
    Some(Process {
        pid: ranked.pid,
        name: process.name().to_string_lossy().into_owned(),
        user: process.user_id().map(|id| names.of(id)).unwrap_or_default(),
        cpu_percent: ranked.cpu_percent,
        memory_bytes: ranked.memory_bytes,
        command_line: words.join(" "),
    })
}
