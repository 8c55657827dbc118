//! From the kernel's own counters; only the process table is a library's. There is no load average here.

use super::processes::Processes;
use crate::os::figures::{self, CpuTimes, Traffic};
use crate::os::{hardware, sessions};
use gururmm_protocol::metrics::{Disk, Sample};
use gururmm_protocol::policy::AgentConfig;

#[derive(Debug)]
pub(super) struct Sampler {
    cpu: CpuTimes,
    traffic: Traffic,
    /// Absent where the library does not know the system.
    processes: Option<Processes>,
}

impl Sampler {
    pub(super) fn new() -> Self {
        Self {
            cpu: figures::cpu_times().unwrap_or_default(),
            traffic: figures::traffic().unwrap_or_default(),
            processes: Processes::new(),
        }
    }

    pub(super) fn fill(&mut self, sample: &mut Sample, config: &AgentConfig) {
        if let Some(cpu) = figures::cpu_times() {
            sample.cpu_percent = busy_percent(self.cpu, cpu);
            self.cpu = cpu;
        }
        sample.cpu_count = figures::cpu_count();
        if let Some(memory) = figures::memory() {
            sample.memory_total_bytes = memory.total_bytes;
            sample.memory_used_bytes = memory.used_bytes;
            sample.swap_total_bytes = memory.swap_total_bytes;
            sample.swap_used_bytes = memory.swap_used_bytes;
        }
        sample.uptime_seconds = hardware::uptime_seconds();
        sample.boot_time = hardware::boot_time();
        if let Some(traffic) = figures::traffic() {
            // An interface that was taken out and put in again starts at zero.
            sample.rx_bytes = traffic.received.saturating_sub(self.traffic.received);
            sample.tx_bytes = traffic.sent.saturating_sub(self.traffic.sent);
            self.traffic = traffic;
        }
        sample.disks = figures::volumes()
            .into_iter()
            .map(|volume| Disk {
                mount: volume.root,
                device: volume.label,
                file_system: volume.file_system,
                used_bytes: volume.total_bytes.saturating_sub(volume.free_bytes),
                total_bytes: volume.total_bytes,
            })
            .collect();
        if config.user_activity
            && let Some(user) = sessions::signed_in()
        {
            sample.logged_in_user = Some(user.name);
            sample.user_idle_seconds = user.idle_seconds;
        }
        if let Some(processes) = &mut self.processes {
            processes.fill(sample, config);
        }
    }
}

fn busy_percent(before: CpuTimes, now: CpuTimes) -> f32 {
    let total = now.total.saturating_sub(before.total);
    let busy = now.busy.saturating_sub(before.busy).min(total);
    if total == 0 { 0.0 } else { (busy as f64 / total as f64 * 100.0) as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_work_is_between_none_and_all() {
        let times = |busy, total| CpuTimes { busy, total };
        assert_eq!(busy_percent(times(10, 100), times(60, 300)), 25.0);
        assert_eq!(busy_percent(times(10, 100), times(10, 100)), 0.0);
        // Counters that went backwards, as after a processor was taken out.
        assert_eq!(busy_percent(times(50, 100), times(20, 300)), 0.0);
    }
}
