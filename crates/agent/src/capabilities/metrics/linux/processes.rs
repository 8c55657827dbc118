//! Processes between two looks at `/proc/*/stat`. Details are read for those in the lists only.

use super::users::Names;
use super::{Ranked, trimmed};
use crate::capabilities::metrics::MAX_COMMAND_LINE_CHARS;
use crate::os::linux_files::read_to;
use gururmm_protocol::metrics::Process;
use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;

/// CPU time of every process at the last look, by number.
#[derive(Debug, Default)]
pub(super) struct Table {
    seen: Vec<Seen>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    pid: u32,
    /// In ticks since boot: tells a reused number.
    start_time: u64,
    cpu_ticks: u64,
    memory_bytes: u64,
}

impl Table {
    /// Looks without comparing.
    pub(super) fn look(&mut self, buffer: &mut Vec<u8>) {
        self.seen = read_all(buffer);
    }

    /// Every process, with its share of one core since the last look.
    pub(super) fn compare(&mut self, buffer: &mut Vec<u8>, interval_seconds: f64) -> Vec<Ranked> {
        let before = std::mem::replace(&mut self.seen, read_all(buffer));
        let window_ticks = interval_seconds * rustix::param::clock_ticks_per_second() as f64;
        let ranked = self.seen.iter().map(|now| {
            let earlier = before
                .binary_search_by_key(&now.pid, |seen| seen.pid)
                .ok()
                .and_then(|at| before.get(at))
                .filter(|then| then.start_time == now.start_time);
            // A process that started in between used all its time in between.
            let ticks = now.cpu_ticks.saturating_sub(earlier.map_or(0, |then| then.cpu_ticks));
            let cpu_percent = if window_ticks > 0.0 { ticks as f64 / window_ticks * 100.0 } else { 0.0 };
            Ranked { pid: now.pid, cpu_percent: cpu_percent as f32, memory_bytes: now.memory_bytes }
        });
        ranked.collect()
    }
}

fn read_all(buffer: &mut Vec<u8>) -> Vec<Seen> {
    let mut path = String::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut seen: Vec<Seen> = entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            path.clear();
            write!(path, "/proc/{pid}/stat").ok()?;
            read_to(&path, buffer).ok()?;
            parse(pid, buffer)
        })
        .collect();
    seen.sort_unstable_by_key(|seen| seen.pid);
    seen.shrink_to_fit();
    seen
}

/// `proc_pid_stat(5)`: after the name in brackets, which may hold anything, utime and stime are fields 14 and 15,
/// starttime 22, rss in pages 24.
fn parse(pid: u32, stat: &[u8]) -> Option<Seen> {
    let rest = &stat[stat.iter().rposition(|byte| *byte == b')')? + 1..];
    let mut fields = std::str::from_utf8(rest).ok()?.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let start_time = fields.nth(6)?.parse().ok()?;
    let pages: u64 = fields.nth(1)?.parse().ok()?;
    let memory_bytes = pages.saturating_mul(rustix::param::page_size() as u64);
    Some(Seen { pid, start_time, cpu_ticks: user.saturating_add(system), memory_bytes })
}

/// Name, user and command line; `None` when the process is gone.
pub(super) fn describe(ranked: Ranked, names: &Names) -> Option<Process> {
    let directory = format!("/proc/{}", ranked.pid);
    let uid = fs::metadata(&directory).ok()?.uid();
    let mut command_line = Vec::new();
    // Absent for a kernel thread; a longer one is cut anyway.
    let _ = crate::os::linux_files::read_at_most(
        format!("{directory}/cmdline"),
        4 * MAX_COMMAND_LINE_CHARS,
        &mut command_line,
    );
    let words = command_line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let words: Vec<_> = words.map(String::from_utf8_lossy).collect();
    Some(Process {
        pid: ranked.pid,
        name: trimmed(format!("{directory}/comm"))?,
        user: names.of(uid),
        cpu_percent: ranked.cpu_percent,
        memory_bytes: ranked.memory_bytes,
        command_line: words.join(" "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_memory_are_found_behind_any_name() {
        let stat =
            b"7 (x) 1 2 (y) R 1 7 7 0 -1 0 1 2 3 4 55 11 8 9 20 0 1 0 4242 1000 3 18446744073709551615";
        let seen = parse(7, stat).unwrap();
        assert_eq!((seen.cpu_ticks, seen.start_time), (66, 4242));
        assert_eq!(seen.memory_bytes, 3 * rustix::param::page_size() as u64);
        assert!(parse(7, b"7 (x) R 1").is_none());
        assert!(parse(7, b"").is_none());
    }
}
