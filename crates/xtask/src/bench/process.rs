//! What processes cost, from /proc.

use anyhow::Context as _;
use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

/// Proportional set size of one process, in megabytes (10^6 bytes).
pub fn pss_megabytes(pid: u32) -> anyhow::Result<f64> {
    let text =
        fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).context("cannot read a process's memory")?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).context("no Pss in smaps_rollup")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).context("no figure in smaps_rollup")?.parse()?;
    Ok(kibibytes * 1_024.0 / 1e6)
}

/// The same of several processes together, as far as they are still there.
pub fn pss_of(pids: impl IntoIterator<Item = u32>) -> f64 {
    pids.into_iter().filter_map(|pid| pss_megabytes(pid).ok()).sum()
}

/// CPU time of several processes so far, as far as they are still there.
pub fn cpu_of(pids: impl IntoIterator<Item = u32>) -> Duration {
    pids.into_iter().filter_map(|pid| cpu_time(pid).ok()).sum()
}

/// What the kernel keeps in its own structures for all processes, in megabytes (10^6 bytes).
pub fn slab_megabytes() -> anyhow::Result<f64> {
    let text = fs::read_to_string("/proc/meminfo")?;
    let line = text.lines().find(|line| line.starts_with("Slab:")).context("no Slab in meminfo")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).context("no figure in meminfo")?.parse()?;
    Ok(kibibytes * 1_024.0 / 1e6)
}

/// Resident memory of one process, in MiB.
pub fn rss_mebibytes(pid: u32) -> anyhow::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).context("cannot read a process's memory")?;
    let line = text.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS in status")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).context("no figure in status")?.parse()?;
    Ok(kibibytes / 1_024.0)
}

/// CPU time of one process so far: user and system, without its children.
pub fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    ticks(pid, 11)
}

/// CPU time of those children of a process that have ended.
pub fn ended_children(pid: u32) -> anyhow::Result<Duration> {
    ticks(pid, 13)
}

/// Two fields of a process's counts, those behind so many others, together.
fn ticks(pid: u32, behind: usize) -> anyhow::Result<Duration> {
    /// Linux counts in hundredths of a second for user space, whatever the kernel's own tick.
    const TICK: Duration = Duration::from_millis(10);
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).context("cannot read a process's CPU time")?;
    // The name in parentheses may hold blanks; the fields after it do not.
    let (_, fields) = text.rsplit_once(')').context("no name in stat")?;
    let fields = fields.split_whitespace().skip(behind).take(2);
    let ticks = fields.map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    Ok(TICK * ticks)
}

/// A process and everything it started, as far as it still hangs under it.
pub fn tree(pid: u32) -> BTreeSet<u32> {
    let mut all = BTreeSet::from([pid]);
    let mut next = vec![pid];
    while let Some(parent) = next.pop() {
        let children =
            fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
        next.extend(
            children
                .split_whitespace()
                .filter_map(|child| child.parse().ok())
                .filter(|child| all.insert(*child)),
        );
    }
    all
}
