//! Reads `/proc` with buffers of its own: a general library's process table would be most of an idle agent.

mod disks;
mod processes;
mod users;

use super::Ranked;
use crate::os::linux_files::{read_to, read_trimmed};
use chrono::DateTime;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::policy::AgentConfig;
use std::path::Path;

#[derive(Debug, Default)]
pub(super) struct Sampler {
    buffer: Vec<u8>,
    cpu: CpuTimes,
    network: Traffic,
    processes: processes::Table,
}

/// Jiffies since boot over all cores.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct CpuTimes {
    busy: u64,
    total: u64,
}

/// Bytes since boot over all physical interfaces.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Traffic {
    received: u64,
    sent: u64,
}

impl Sampler {
    pub(super) fn new() -> Self {
        let mut sampler = Self::default();
        let stat = sampler.text("/proc/stat").map(parse_stat).unwrap_or_default();
        sampler.cpu = stat.times;
        sampler.network = sampler.traffic();
        sampler.processes.look(&mut sampler.buffer);
        sampler
    }

    pub(super) fn fill(&mut self, sample: &mut Sample, config: &AgentConfig) {
        let stat = self.text("/proc/stat").map(parse_stat).unwrap_or_default();
        sample.cpu_percent = busy_percent(self.cpu, stat.times);
        sample.cpu_count = stat.cores;
        sample.boot_time = stat.boot_time.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        self.cpu = stat.times;

        let memory = self.text("/proc/meminfo").map(parse_meminfo).unwrap_or_default();
        sample.memory_total_bytes = memory.total;
        sample.memory_used_bytes = memory.total.saturating_sub(memory.available);
        sample.swap_total_bytes = memory.swap_total;
        sample.swap_used_bytes = memory.swap_total.saturating_sub(memory.swap_free);
        sample.load = self.text("/proc/loadavg").and_then(parse_loadavg);
        sample.uptime_seconds = self.text("/proc/uptime").and_then(first_number).unwrap_or_default() as u64;

        let traffic = self.traffic();
        // An interface that was taken out and put in again starts at zero.
        sample.rx_bytes = traffic.received.saturating_sub(self.network.received);
        sample.tx_bytes = traffic.sent.saturating_sub(self.network.sent);
        self.network = traffic;

        sample.disks = self.text("/proc/self/mountinfo").map(disks::measure).unwrap_or_default();
        if config.user_activity
            && let Some(user) = users::on_console()
        {
            sample.logged_in_user = Some(user.name);
            sample.user_idle_seconds = user.idle_seconds;
        }
        let mut ranked = self.processes.compare(&mut self.buffer, sample.interval_seconds);
        sample.process_count = ranked.len() as u32;
        if config.process_list {
            let names = users::Names::read();
            let describe = |ranked: Ranked| processes::describe(ranked, &names);
            sample.top_cpu = super::top(&mut ranked, |process| process.cpu_percent.into(), describe);
            sample.top_memory = super::top(&mut ranked, |process| process.memory_bytes as f64, describe);
        }
    }

    fn text(&mut self, path: &str) -> Option<&str> {
        read_to(path, &mut self.buffer).ok()?;
        std::str::from_utf8(&self.buffer).ok()
    }

    fn traffic(&mut self) -> Traffic {
        self.text("/proc/net/dev").map(|text| parse_net_dev(text, is_physical)).unwrap_or_default()
    }
}

fn is_physical(interface: &str) -> bool {
    Path::new("/sys/class/net").join(interface).join("device").exists()
}

#[derive(Debug, Default, PartialEq)]
struct Stat {
    times: CpuTimes,
    cores: u32,
    boot_time: Option<i64>,
}

/// `proc_stat(5)`: `cpu user nice system idle iowait irq softirq steal guest guest_nice`. Guest time is part of user
/// time already; waiting for a disk is idle.
fn parse_stat(text: &str) -> Stat {
    let mut stat = Stat::default();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        match fields.next() {
            Some("cpu") => {
                let mut times = [0u64; 8];
                for (time, field) in times.iter_mut().zip(fields) {
                    *time = field.parse().unwrap_or_default();
                }
                let [.., idle, iowait, _irq, _softirq, _steal] = times;
                let total = times.iter().sum();
                stat.times = CpuTimes { busy: total - idle - iowait, total };
            }
            Some("btime") => stat.boot_time = fields.next().and_then(|seconds| seconds.parse().ok()),
            Some(name) if name.starts_with("cpu") => stat.cores += 1,
            _ => {}
        }
    }
    stat
}

fn busy_percent(before: CpuTimes, after: CpuTimes) -> f32 {
    let total = after.total.saturating_sub(before.total);
    if total == 0 {
        return 0.0;
    }
    (after.busy.saturating_sub(before.busy) as f64 / total as f64 * 100.0) as f32
}

/// Bytes.
#[derive(Debug, Default, PartialEq)]
struct Memory {
    total: u64,
    available: u64,
    swap_total: u64,
    swap_free: u64,
}

fn parse_meminfo(text: &str) -> Memory {
    let mut memory = Memory::default();
    for line in text.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        let field = match name {
            "MemTotal" => &mut memory.total,
            "MemAvailable" => &mut memory.available,
            "SwapTotal" => &mut memory.swap_total,
            "SwapFree" => &mut memory.swap_free,
            _ => continue,
        };
        let kibibytes: u64 = first_number(value).unwrap_or_default() as u64;
        *field = kibibytes * 1024;
    }
    memory
}

fn parse_loadavg(text: &str) -> Option<[f64; 3]> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??])
}

fn first_number(text: &str) -> Option<f64> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

/// `proc_net_dev(5)`: received bytes are the first figure, sent bytes the ninth. A machine without a physical
/// interface (a container) counts all but the loopback.
fn parse_net_dev(text: &str, is_physical: impl Fn(&str) -> bool) -> Traffic {
    let mut physical = None;
    let mut others = Traffic::default();
    for line in text.lines() {
        let Some((name, figures)) = line.split_once(':') else { continue };
        let name = name.trim();
        let mut figures = figures.split_ascii_whitespace().map(|figure| figure.parse().unwrap_or(0u64));
        let (received, sent) = (figures.next().unwrap_or(0), figures.nth(7).unwrap_or(0));
        let sum = match name {
            "lo" => continue,
            name if is_physical(name) => physical.get_or_insert_default(),
            _ => &mut others,
        };
        *sum =
            Traffic { received: sum.received.saturating_add(received), sent: sum.sent.saturating_add(sent) };
    }
    physical.unwrap_or(others)
}

/// Used by the parts below: a file's text without the white space around it.
fn trimmed(path: impl AsRef<Path>) -> Option<String> {
    read_trimmed(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_time_leaves_out_idle_and_waiting_for_disks() {
        let before =
            parse_stat("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nbtime 1700000000\n");
        assert_eq!(before.times, CpuTimes { busy: 200, total: 1000 });
        assert_eq!((before.cores, before.boot_time), (2, Some(1_700_000_000)));
        let after = parse_stat("cpu  150 0 125 800 125 0 0 0 50 0\n");
        assert!((busy_percent(before.times, after.times) - 37.5).abs() < 0.01);
        assert_eq!(busy_percent(after.times, after.times), 0.0);
        assert_eq!(parse_stat("cpu x\n\0"), Stat::default());
    }

    #[test]
    fn only_physical_interfaces_count_where_there_is_one() {
        let text = "Inter-|   Receive\n face |bytes\n    lo: 9 1 0 0 0 0 0 0 9 1\n  eth0: 1000 1 0 0 0 0 0 0 200 2 0\n\
                    docker0: 5 1 0 0 0 0 0 0 6 2 0\n";
        assert_eq!(parse_net_dev(text, |name| name == "eth0"), Traffic { received: 1000, sent: 200 });
        assert_eq!(parse_net_dev(text, |_| false), Traffic { received: 1005, sent: 206 });
    }

    #[test]
    fn memory_is_bytes() {
        let memory =
            parse_meminfo("MemTotal:  100 kB\nMemFree: 1 kB\nMemAvailable: 40 kB\nSwapTotal: 0 kB\n");
        assert_eq!(memory, Memory { total: 102_400, available: 40_960, swap_total: 0, swap_free: 0 });
    }
}
