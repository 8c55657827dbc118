//! From `/proc`. A process is signalled through a handle of it that was compared with what was listed.

use super::{Node, failed, gone, nice_of, priority_of};
use crate::os::linux_files::{read_at_most, read_to, read_trimmed};
use gururmm_protocol::limits::MAX_TEXT_CHARS;
use gururmm_protocol::tunnel::ChannelError;
use gururmm_protocol::tunnel::processes::{Priority, Process, ProcessAnswer, ProcessKey};
use nix::unistd::{Uid, User};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, setpriority_process};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;
use std::time::Instant;

/// When the machine started, in seconds since 1970, as it was first read: the kernel corrects it with its clock, and a
/// process would have another start from then on.
static BOOT: OnceLock<i64> = OnceLock::new();

/// The last look, to compare with.
#[derive(Debug, Default)]
pub(super) struct Table {
    seen: HashMap<ProcessKey, u64>,
    at: Option<Instant>,
    machine: Machine,
    names: HashMap<u32, String>,
}

/// The processors' ticks.
#[derive(Debug, Default, Clone, Copy)]
struct Machine {
    busy: u64,
    all: u64,
}

/// `proc_pid_stat(5)`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stat {
    key: ProcessKey,
    parent: u32,
    cpu_ticks: u64,
    nice: i32,
    threads: u32,
    memory_bytes: u64,
}

impl Table {
    /// Every process, and what the machine does as a whole.
    pub(super) fn look(&mut self) -> io::Result<(Vec<Process>, ProcessAnswer)> {
        let now = Instant::now();
        let seconds = self.at.replace(now).map(|at| now.duration_since(at).as_secs_f64());
        let window = seconds.map(|seconds| seconds * rustix::param::clock_ticks_per_second() as f64);
        let stats = stats()?;
        let before = std::mem::take(&mut self.seen);
        self.seen = stats.iter().map(|stat| (stat.key, stat.cpu_ticks)).collect();
        let processes: Vec<_> = stats
            .into_iter()
            .filter_map(|stat| {
                // One that started in between used all its time in between.
                let ticks = stat.cpu_ticks.saturating_sub(before.get(&stat.key).copied().unwrap_or_default());
                let share = window.filter(|window| *window > 0.0).map(|window| ticks as f64 / window * 100.0);
                self.describe(stat, share.map(|share| share as f32))
            })
            .collect();
        let machine = Machine::read().unwrap_or_default();
        let all = machine.all.saturating_sub(self.machine.all);
        let busy = machine.busy.saturating_sub(self.machine.busy);
        self.machine = machine;
        let cpu_percent = if all > 0 { busy as f32 / all as f32 * 100.0 } else { 0.0 };
        let (memory_used_bytes, memory_bytes) = memory();
        let figures = ProcessAnswer::Figures {
            processes: processes.len() as u64,
            cpu_percent,
            memory_used_bytes,
            memory_bytes,
        };
        Ok((processes, figures))
    }

    /// `None`: it is gone.
    fn describe(&mut self, stat: Stat, cpu_percent: Option<f32>) -> Option<Process> {
        let folder = format!("/proc/{}", stat.key.pid);
        let uid = fs::metadata(&folder).ok()?.uid();
        let mut line = Vec::new();
        // Absent for a kernel thread; a longer one is cut anyway.
        let _ = read_at_most(format!("{folder}/cmdline"), 4 * MAX_TEXT_CHARS, &mut line);
        let words: Vec<_> = line
            .split(|byte| *byte == 0)
            .filter(|word| !word.is_empty())
            .map(String::from_utf8_lossy)
            .collect();
        Some(Process {
            key: stat.key,
            parent: Some(stat.parent).filter(|parent| *parent > 0),
            name: read_trimmed(format!("{folder}/comm"))?,
            command_line: Some(words.join(" ")).filter(|line| !line.is_empty()),
            user: Some(self.name_of(uid)),
            cpu_percent,
            memory_bytes: stat.memory_bytes,
            priority: Some(priority_of(stat.nice)),
            threads: Some(stat.threads),
        })
    }

    fn name_of(&mut self, uid: u32) -> String {
        let look_up = || {
            let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
            user.map_or_else(|| uid.to_string(), |user| user.name)
        };
        self.names.entry(uid).or_insert_with(look_up).clone()
    }
}

/// All processes with their parents.
pub(super) fn nodes() -> io::Result<Vec<Node>> {
    let node = |stat: Stat| Node { key: stat.key, parent: Some(stat.parent) };
    Ok(stats()?.into_iter().map(node).collect())
}

/// Asks a process to end, or ends it.
pub(super) fn end(key: ProcessKey, force: bool) -> Result<(), ChannelError> {
    let pid = i32::try_from(key.pid).ok().and_then(Pid::from_raw).ok_or_else(gone)?;
    let failed = |error: rustix::io::Errno| match error {
        rustix::io::Errno::SRCH => gone(),
        error => failed(&error.into()),
    };
    let process = pidfd_open(pid, PidfdFlags::empty()).map_err(failed)?;
    check(key)?;
    pidfd_send_signal(&process, if force { Signal::KILL } else { Signal::TERM }).map_err(failed)
}

/// Of all its threads: the kernel has no priority of a process.
pub(super) fn set_priority(key: ProcessKey, priority: Priority) -> Result<(), ChannelError> {
    check(key)?;
    let threads = fs::read_dir(format!("/proc/{}/task", key.pid)).map_err(|_| gone())?;
    let ids = threads.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for thread in ids.filter_map(Pid::from_raw) {
        match setpriority_process(Some(thread), nice_of(priority)) {
            // A thread that ended meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(failed(&error.into())),
        }
    }
    Ok(())
}

/// Whether it is still the process that was listed.
fn check(key: ProcessKey) -> Result<(), ChannelError> {
    let now = Stat::read(key.pid, &mut Vec::new());
    if now.is_some_and(|now| now.key == key) { Ok(()) } else { Err(gone()) }
}

fn stats() -> io::Result<Vec<Stat>> {
    let mut buffer = Vec::new();
    let entries = fs::read_dir("/proc")?.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    Ok(pids.filter_map(|pid| Stat::read(pid, &mut buffer)).collect())
}

impl Stat {
    fn read(pid: u32, buffer: &mut Vec<u8>) -> Option<Self> {
        read_to(format!("/proc/{pid}/stat"), buffer).ok()?;
        let boot = *BOOT.get_or_init(|| boot().unwrap_or_default());
        Self::parse(pid, buffer, boot)
    }

    /// After the name in brackets, which may hold anything: ppid is field 4, utime 14, stime 15, nice 19, threads 20,
    /// starttime 22 and rss 24.
    fn parse(pid: u32, stat: &[u8], boot: i64) -> Option<Self> {
        let rest = stat.get(stat.iter().rposition(|byte| *byte == b')')? + 1..)?;
        let fields: Vec<&str> = std::str::from_utf8(rest).ok()?.split_ascii_whitespace().collect();
        let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
        let ticks_per_second = i64::try_from(rustix::param::clock_ticks_per_second()).ok()?.max(1);
        let started_ticks = i64::try_from(number(22)?).ok()?;
        let started_ms =
            boot.saturating_mul(1_000).saturating_add(started_ticks.saturating_mul(1_000) / ticks_per_second);
        Some(Self {
            key: ProcessKey { pid, started_ms },
            parent: u32::try_from(number(4)?).ok()?,
            cpu_ticks: number(14)?.saturating_add(number(15)?),
            nice: fields.get(19 - 3)?.parse().ok()?,
            threads: u32::try_from(number(20)?).ok()?,
            memory_bytes: number(24)?.saturating_mul(rustix::param::page_size() as u64),
        })
    }
}

fn boot() -> Option<i64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime ")).and_then(|time| time.trim().parse().ok())
}

impl Machine {
    /// `proc_stat(5)`: user, nice, system, idle, iowait, irq, softirq, steal; what guests use is in user and nice.
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let times: Vec<u64> = stat
            .lines()
            .next()?
            .split_ascii_whitespace()
            .skip(1)
            .take(8)
            .filter_map(|time| time.parse().ok())
            .collect();
        let all = times.iter().sum::<u64>();
        let idle = times.iter().skip(3).take(2).sum::<u64>();
        Some(Self { busy: all - idle, all })
    }
}

/// Used, and all.
fn memory() -> (u64, u64) {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    let all = kibibytes("MemTotal").unwrap_or_default() * 1024;
    let available = kibibytes("MemAvailable").unwrap_or_default() * 1024;
    (all.saturating_sub(available), all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::tunnel::ErrorCode;

    #[test]
    fn fields_are_found_behind_any_name() {
        let stat =
            b"7 (x) 1 2 (y) S 3 7 7 0 -1 0 1 2 3 4 55 11 8 9 20 -5 6 0 4250 1000 3 18446744073709551615";
        let ticks = rustix::param::clock_ticks_per_second() as i64;
        let stat = Stat::parse(7, stat, 1_000).unwrap();
        assert_eq!(stat.key, ProcessKey { pid: 7, started_ms: 1_000_000 + 4_250_000 / ticks });
        assert_eq!((stat.parent, stat.cpu_ticks, stat.nice, stat.threads), (3, 66, -5, 6));
        assert_eq!(stat.memory_bytes, 3 * rustix::param::page_size() as u64);
        assert_eq!(Stat::parse(7, b"7 (x) R 1", 0), None);
        assert_eq!(Stat::parse(7, b"", 0), None);
    }

    #[test]
    fn a_process_is_ended_and_its_priority_is_changed() {
        let mut child = std::process::Command::new("sleep").arg("300").spawn().unwrap();
        let key = Stat::read(child.id(), &mut Vec::new()).unwrap().key;
        set_priority(key, Priority::Lowest).unwrap();
        assert_eq!(Stat::read(child.id(), &mut Vec::new()).unwrap().nice, 19);
        end(key, false).unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(child.wait().unwrap().signal(), Some(15));
        assert_eq!(end(key, true).unwrap_err().code, ErrorCode::NotFound);
    }
}
