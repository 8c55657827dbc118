//! What a machine measures. Bytes are bytes, percentages run from 0 to 100, times are UTC.

use crate::limits::{
    MAX_LIST_ITEMS, MAX_NAME_CHARS, MAX_TEXT_CHARS, MAX_TOP_PROCESSES, clean, clean_optional, clean_time,
};
use crate::sensors::Sensors;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// One measurement of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// When it was taken, by the agent's clock corrected with the server's.
    pub taken_at: DateTime<Utc>,
    /// Seconds since the sample before it; the window of the CPU figure and of the network deltas.
    #[serde(default)]
    pub interval_seconds: f64,
    /// Share of all cores that was busy, 0 to 100.
    #[serde(default)]
    pub cpu_percent: f32,
    /// Logical cores.
    #[serde(default)]
    pub cpu_count: u32,
    #[serde(default)]
    pub memory_used_bytes: u64,
    #[serde(default)]
    pub memory_total_bytes: u64,
    #[serde(default)]
    pub swap_used_bytes: u64,
    #[serde(default)]
    pub swap_total_bytes: u64,
    /// Load averages over 1, 5 and 15 minutes; absent on Windows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<[f64; 3]>,
    #[serde(default)]
    pub uptime_seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot_time: Option<DateTime<Utc>>,
    /// Bytes received on all physical interfaces since the sample before.
    #[serde(default)]
    pub rx_bytes: u64,
    /// Bytes sent on all physical interfaces since the sample before.
    #[serde(default)]
    pub tx_bytes: u64,
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// The user whose session is on the console, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged_in_user: Option<String>,
    /// Seconds since that user's last input, where the system tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_idle_seconds: Option<u64>,
    /// Public address, when policy asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_ip: Option<String>,
    #[serde(default)]
    pub process_count: u32,
    /// At most ten, busiest first.
    #[serde(default)]
    pub top_cpu: Vec<Process>,
    /// At most ten, largest first.
    #[serde(default)]
    pub top_memory: Vec<Process>,
    /// Since 1.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sensors: Option<Sensors>,
}

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Disk {
    /// Mount point, or drive letter.
    pub mount: String,
    #[serde(default)]
    pub device: String,
    #[serde(default)]
    pub file_system: String,
    pub used_bytes: u64,
    /// Used and still available to ordinary programs; what a file system keeps for root is in neither.
    pub total_bytes: u64,
}

/// One process, as the lists show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub name: String,
    #[serde(default)]
    pub user: String,
    /// Share of one core, so that a busy process of many threads exceeds 100.
    pub cpu_percent: f32,
    pub memory_bytes: u64,
    #[serde(default)]
    pub command_line: String,
}

impl Sample {
    /// Brings agent-supplied values within limits; nothing an agent sends is trusted to be sane.
    pub fn clean(&mut self) {
        self.interval_seconds = finite(self.interval_seconds, 86_400.0);
        self.cpu_percent = finite(f64::from(self.cpu_percent), 100.0) as f32;
        if let Some(load) = &mut self.load {
            load.iter_mut().for_each(|value| *value = finite(*value, 1e6));
        }
        clean_time(&mut self.boot_time);
        self.disks.truncate(MAX_LIST_ITEMS);
        for disk in &mut self.disks {
            clean(&mut disk.mount, MAX_NAME_CHARS);
            clean(&mut disk.device, MAX_NAME_CHARS);
            clean(&mut disk.file_system, MAX_NAME_CHARS);
            disk.total_bytes = storable(disk.total_bytes);
            disk.used_bytes = disk.used_bytes.min(disk.total_bytes);
        }
        for list in [&mut self.top_cpu, &mut self.top_memory] {
            list.truncate(MAX_TOP_PROCESSES);
            for process in list {
                clean(&mut process.name, MAX_NAME_CHARS);
                clean(&mut process.user, MAX_NAME_CHARS);
                clean(&mut process.command_line, MAX_TEXT_CHARS);
                process.cpu_percent = finite(f64::from(process.cpu_percent), 1e6) as f32;
                process.memory_bytes = storable(process.memory_bytes);
            }
        }
        if let Some(sensors) = &mut self.sensors {
            sensors.clean();
        }
        clean_optional(&mut self.logged_in_user, MAX_NAME_CHARS);
        clean_optional(&mut self.public_ip, 64);
        for value in [
            &mut self.memory_used_bytes,
            &mut self.memory_total_bytes,
            &mut self.swap_used_bytes,
            &mut self.swap_total_bytes,
            &mut self.uptime_seconds,
            &mut self.rx_bytes,
            &mut self.tx_bytes,
        ] {
            *value = storable(*value);
        }
    }

    /// How full the fullest disk is, 0 to 100.
    pub fn disk_percent(&self) -> Option<f32> {
        self.disks
            .iter()
            .filter(|disk| disk.total_bytes > 0)
            .map(|disk| (disk.used_bytes as f64 / disk.total_bytes as f64 * 100.0) as f32)
            .reduce(f32::max)
    }

    /// Used share of memory, 0 to 100.
    pub fn memory_percent(&self) -> Option<f32> {
        (self.memory_total_bytes > 0).then(|| {
            (self.memory_used_bytes as f64 / self.memory_total_bytes as f64 * 100.0).min(100.0) as f32
        })
    }
}

fn finite(value: f64, max: f64) -> f64 {
    if value.is_finite() { value.clamp(0.0, max) } else { 0.0 }
}

/// PostgreSQL's bigint is signed.
fn storable(value: u64) -> u64 {
    value.min(i64::MAX as u64)
}
