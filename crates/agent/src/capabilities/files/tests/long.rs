//! What takes minutes, and what it shares with the others.

use std::fs;

/// Memory of this process that is in use, in KiB.
pub(super) fn memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_hundred_thousand_exchanges_lead_nowhere() {
    super::races::exchange(100_000);
}

#[tokio::test]
async fn four_gibibytes_come_up_and_down_in_a_few_mebibytes() {
    super::transfers::large(4 << 30).await;
}
