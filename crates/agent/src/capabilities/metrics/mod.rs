//! Samples: what the machine measures between two looks.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(not(any(target_os = "linux", windows)))]
mod portable;
#[cfg(not(any(target_os = "linux", windows)))]
use portable as platform;

#[cfg(not(target_os = "linux"))]
mod processes;

use chrono::{DateTime, Utc};
use gururmm_protocol::limits::{MAX_TOP_PROCESSES, clean};
use gururmm_protocol::metrics::{Process, Sample};
use gururmm_protocol::policy::AgentConfig;
use std::time::Instant;

/// Longest command line in a sample, in characters: twenty of them come with every sample and are kept for months.
const MAX_COMMAND_LINE_CHARS: usize = 256;

/// One series of samples. Rates and deltas run from the sample before it in the same series, so that watching a
/// machine live does not shorten the windows of what is stored.
#[derive(Debug)]
pub struct Sampler {
    platform: platform::Sampler,
    last: Instant,
}

impl Sampler {
    /// Takes the first look, which the first sample compares with.
    pub fn new(now: Instant) -> Self {
        Self { platform: platform::Sampler::new(), last: now }
    }

    /// Measures. What cannot be read stays at zero or absent.
    pub fn sample(&mut self, config: &AgentConfig, now: Instant, taken_at: DateTime<Utc>) -> Sample {
        let interval_seconds = now.saturating_duration_since(self.last).as_secs_f64();
        self.last = now;
        let mut sample = Sample {
            taken_at,
            interval_seconds,
            cpu_percent: 0.0,
            cpu_count: 0,
            memory_used_bytes: 0,
            memory_total_bytes: 0,
            swap_used_bytes: 0,
            swap_total_bytes: 0,
            load: None,
            uptime_seconds: 0,
            boot_time: None,
            rx_bytes: 0,
            tx_bytes: 0,
            disks: Vec::new(),
            logged_in_user: None,
            user_idle_seconds: None,
            public_ip: None,
            process_count: 0,
            top_cpu: Vec::new(),
            top_memory: Vec::new(),
            sensors: None,
        };
        self.platform.fill(&mut sample, config);
        for process in sample.top_cpu.iter_mut().chain(&mut sample.top_memory) {
            clean(&mut process.command_line, MAX_COMMAND_LINE_CHARS);
        }
        sample.clean();
        sample
    }
}

/// A process as the lists rank it, before its details are read.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Ranked {
    pid: u32,
    cpu_percent: f32,
    memory_bytes: u64,
}

/// The processes that use most of something, most first.
fn top(
    processes: &mut [Ranked],
    by: impl Fn(&Ranked) -> f64,
    describe: impl Fn(Ranked) -> Option<Process>,
) -> Vec<Process> {
    let order = |a: &Ranked, b: &Ranked| by(b).total_cmp(&by(a)).then(a.pid.cmp(&b.pid));
    let count = MAX_TOP_PROCESSES.min(processes.len());
    if count > 0 && count < processes.len() {
        processes.select_nth_unstable_by(count - 1, order);
    }
    let top = &mut processes[..count];
    top.sort_unstable_by(order);
    top.iter().filter_map(|ranked| describe(*ranked)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_lists_hold_the_ten_busiest_and_the_ten_largest_in_order() {
        let mut ranked: Vec<_> = (0..50)
            .map(|n| Ranked { pid: n, cpu_percent: (n * 7 % 50) as f32, memory_bytes: u64::from(n * 3 % 50) })
            .collect();
        let describe = |r: Ranked| {
            Some(Process {
                pid: r.pid,
                name: String::new(),
                user: String::new(),
                cpu_percent: r.cpu_percent,
                memory_bytes: r.memory_bytes,
                command_line: String::new(),
            })
        };
        let cpu = top(&mut ranked, |r| r.cpu_percent.into(), describe);
        assert_eq!(
            cpu.iter().map(|p| p.cpu_percent as u32).collect::<Vec<_>>(),
            (40..50).rev().collect::<Vec<_>>()
        );
        let memory = top(&mut ranked, |r| r.memory_bytes as f64, describe);
        assert_eq!(
            memory.iter().map(|p| p.memory_bytes).collect::<Vec<_>>(),
            (40..50).rev().collect::<Vec<_>>()
        );
        assert!(top(&mut [], |r| r.memory_bytes as f64, describe).is_empty());
    }

    /// A sample of a time in which this process did nothing but work.
    fn busy_for(time: Duration, sampler: &mut Sampler) -> Sample {
        let until = Instant::now() + time;
        let mut spin = 0u64;
        while Instant::now() < until {
            spin = spin.wrapping_mul(31).wrapping_add(1);
        }
        std::hint::black_box(spin);
        sampler.sample(&AgentConfig::default(), Instant::now(), Utc::now())
    }

    #[test]
    fn this_machine_gives_a_sane_sample() {
        let mut sampler = Sampler::new(Instant::now());
        // The library of the other systems looks no closer than a fifth of a second.
        let spin = Duration::from_millis(if cfg!(target_os = "linux") { 50 } else { 300 });
        // What single processes use Wine only makes up.
        let is_busy = |p: &Process| cfg!(windows) || p.cpu_percent > 1.0;
        let is_listed =
            |sample: &Sample| sample.top_cpu.iter().any(|p| is_busy(p) && p.pid == std::process::id());
        let mut sample = busy_for(spin, &mut sampler);
        // On a crowded machine others may have been busier meanwhile.
        for _ in 0..9 {
            if is_listed(&sample) {
                break;
            }
            sample = busy_for(spin, &mut sampler);
        }
        assert!(is_listed(&sample), "{:?}", sample.top_cpu);
        assert!(sample.cpu_percent > 0.0 && sample.cpu_percent <= 100.0, "{}", sample.cpu_percent);
        assert!(sample.interval_seconds >= 0.05);
        assert!(sample.memory_used_bytes > 0 && sample.memory_used_bytes <= sample.memory_total_bytes);
        assert!(sample.cpu_count > 0 && sample.uptime_seconds > 0 && sample.process_count > 0);
        assert!(sample.top_memory.windows(2).all(|w| w[0].memory_bytes >= w[1].memory_bytes));
        assert!(!sample.disks.is_empty());
    }

    #[test]
    fn policy_leaves_sections_out() {
        let mut sampler = Sampler::new(Instant::now());
        let config = AgentConfig { process_list: false, user_activity: false, ..AgentConfig::default() };
        let sample = sampler.sample(&config, Instant::now(), Utc::now());
        assert!(sample.top_cpu.is_empty() && sample.top_memory.is_empty());
        assert_eq!(sample.logged_in_user, None);
    }
}
