//! By the `sysinfo` library, on Windows and macOS. A process's start is compared right before anything is done to it.

use super::{Node, failed, gone};
use crate::os::account_names::Names;
use gururmm_protocol::tunnel::processes::{Priority, Process, ProcessAnswer, ProcessKey};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use std::io;
use sysinfo::{CpuRefreshKind, Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// The last look, to compare with.
#[derive(Default)]
pub(super) struct Table {
    system: Option<System>,
    machine: Machine,
    is_second: bool,
}

impl Table {
    /// Every process, and what the machine does as a whole.
    pub(super) fn look(&mut self) -> io::Result<(Vec<Process>, ProcessAnswer)> {
        let is_second = std::mem::replace(&mut self.is_second, true);
        let system = match &mut self.system {
            Some(system) => system,
            empty => {
                let system = empty.insert(System::new().map_err(io::Error::other)?);
                // The library's figures are per core; it must know how many there are.
                system.refresh_cpu_list(CpuRefreshKind::nothing());
                system
            }
        };
        let what = ProcessRefreshKind::nothing()
            .with_cpu()
            .with_memory()
            .with_user(UpdateKind::OnlyIfNotSet)
            .with_cmd(UpdateKind::OnlyIfNotSet);
        let (cpu_percent, memory_used_bytes, memory_bytes) = self.machine.look(system);
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
        let names = Names::read();
        let describe = |process: &sysinfo::Process| {
            let words: Vec<_> = process.cmd().iter().map(|word| word.to_string_lossy()).collect();
            Process {
                key: key(process),
                parent: process.parent().map(Pid::as_u32).filter(|parent| *parent > 0),
                name: process.name().to_string_lossy().into_owned(),
                command_line: Some(words.join(" ")).filter(|line| !line.is_empty()),
                user: process.user_id().map(|id| names.of(id)),
                cpu_percent: is_second.then(|| process.cpu_usage()),
                memory_bytes: process.memory(),
                priority: priority(process.pid().as_u32()),
                threads: None,
            }
        };
        let processes: Vec<_> = system.processes().values().map(describe).collect();
        let figures = ProcessAnswer::Figures {
            processes: processes.len() as u64,
            cpu_percent,
            memory_used_bytes,
            memory_bytes,
        };
        Ok((processes, figures))
    }
}

/// The machine as a whole. Windows tells it itself; the library would ask its performance counters there.
#[cfg(windows)]
#[derive(Default)]
struct Machine(crate::os::figures::CpuTimes);

#[cfg(windows)]
impl Machine {
    /// The processors' share of work since the last look, memory used, and all memory.
    fn look(&mut self, _system: &mut System) -> (f32, u64, u64) {
        use crate::os::figures;
        let now = figures::cpu_times().unwrap_or(self.0);
        let before = std::mem::replace(&mut self.0, now);
        let (busy, all) = (now.busy.saturating_sub(before.busy), now.total.saturating_sub(before.total));
        let memory = figures::memory().unwrap_or_default();
        let cpu_percent = if all > 0 { busy as f32 / all as f32 * 100.0 } else { 0.0 };
        (cpu_percent, memory.used_bytes, memory.total_bytes)
    }
}

/// The machine as a whole.
#[cfg(not(windows))]
#[derive(Default)]
struct Machine;

#[cfg(not(windows))]
impl Machine {
    /// The processors' share of work since the last look, memory used, and all memory.
    fn look(&mut self, system: &mut System) -> (f32, u64, u64) {
        system.refresh_cpu_usage();
        system.refresh_memory();
        (system.global_cpu_usage(), system.used_memory(), system.total_memory())
    }
}

fn key(process: &sysinfo::Process) -> ProcessKey {
    let started = i64::try_from(process.start_time()).unwrap_or(i64::MAX);
    ProcessKey { pid: process.pid().as_u32(), started_ms: started.saturating_mul(1_000) }
}

/// All processes with their parents.
pub(super) fn nodes() -> io::Result<Vec<Node>> {
    let mut system = System::new().map_err(io::Error::other)?;
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, ProcessRefreshKind::nothing());
    let node =
        |process: &sysinfo::Process| Node { key: key(process), parent: process.parent().map(Pid::as_u32) };
    Ok(system.processes().values().map(node).collect())
}

/// Looks at the one process, and does something if it is still the one that was listed.
fn with<T>(
    listed: ProcessKey,
    work: impl FnOnce(&sysinfo::Process) -> Result<T, ChannelError>,
) -> Result<T, ChannelError> {
    let mut system = System::new().map_err(|error| failed(&io::Error::other(error)))?;
    let pid = Pid::from_u32(listed.pid);
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, ProcessRefreshKind::nothing());
    let process = system.process(pid).filter(|process| key(process) == listed);
    work(process.ok_or_else(gone)?)
}

/// Asks a process to end, or ends it; on Windows there is nobody to ask.
pub(super) fn end(listed: ProcessKey, force: bool) -> Result<(), ChannelError> {
    with(listed, |process| {
        let asked = if force { None } else { process.kill_with(sysinfo::Signal::Term) };
        if asked.unwrap_or_else(|| process.kill()) {
            Ok(())
        } else {
            Err(ChannelError::new(ErrorCode::PermissionDenied, "the system does not let it be ended"))
        }
    })
}

/// Changes how much of the processor it gets.
pub(super) fn set_priority(listed: ProcessKey, priority: Priority) -> Result<(), ChannelError> {
    with(listed, |_| set(listed.pid, priority).map_err(|error| failed(&error)))
}

#[cfg(windows)]
fn priority(pid: u32) -> Option<Priority> {
    crate::os::priority::of(pid)
}

#[cfg(windows)]
fn set(pid: u32, priority: Priority) -> io::Result<()> {
    crate::os::priority::set(pid, priority)
}

#[cfg(not(windows))]
fn priority(pid: u32) -> Option<Priority> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw)?;
    rustix::process::getpriority_process(Some(pid)).ok().map(super::priority_of)
}

#[cfg(not(windows))]
fn set(pid: u32, priority: Priority) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::NotFound)?;
    Ok(rustix::process::setpriority_process(Some(pid), super::nice_of(priority))?)
}
