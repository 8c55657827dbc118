//! Samples with everything in them, from many agents at once, as fast as the server stores and acknowledges them.

use super::{Row, percentile, process};
use crate::fleet::{self, Fleet};
use crate::stack::Stack;
use anyhow::Context as _;
use clap::Args;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Agents that send
    #[arg(long, default_value_t = 200)]
    agents: usize,
    /// Samples that each has on its way
    #[arg(long, default_value_t = 20)]
    window: usize,
    /// Seconds of one run
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs; the median is what counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let stack = Stack::start(bin_dir, &root.join(format!("target/bench-{}", std::process::id())))?;
    fleet::seed(&stack, bin_dir, options.agents)?;
    let window = options.window.to_string();
    let fleet = Fleet::start(&stack, bin_dir, options.agents, 0..options.agents, &["--flood", &window])?;
    fleet.wait_connected(options.agents, Duration::from_secs(60))?;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for _ in 0..options.runs.max(1) {
        let (stored, cpu, began) = (fleet.count("samples_stored"), cpu_of(&stack)?, Instant::now());
        thread::sleep(Duration::from_secs(options.seconds));
        let stored = (fleet.count("samples_stored") - stored) as f64;
        rates.push(stored / began.elapsed().as_secs_f64());
        costs.push((cpu_of(&stack)? - cpu).as_secs_f64() * 1e6 / stored);
    }
    let lost = fleet.count("lost") + fleet.count("refused");
    drop(fleet);
    let folder = stack.folder().to_owned();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    let (least, most) = (percentile(&mut rates, 0.0), percentile(&mut rates, 1.0));
    Ok(vec![
        Row::at_least("samples stored in a second (median)", percentile(&mut rates, 0.5), "1/s", 5_000.0),
        Row::alone("the slowest run", least, "1/s", None),
        Row::alone("the quickest run", most, "1/s", None),
        Row::alone("CPU of server and PostgreSQL per sample", percentile(&mut costs, 0.5), "µs", None),
        Row::alone("sessions that broke", lost as f64, "", Some(0.0)),
    ])
}

/// What the server and its PostgreSQL have used so far, with those of its backends that have ended.
pub fn cpu_of(stack: &Stack) -> anyhow::Result<Duration> {
    let server = stack.server_pid().context("the server does not run")?;
    let postmaster = stack.postmaster_pid().context("PostgreSQL does not run")?;
    let mut all = process::tree(server);
    all.extend(process::tree(postmaster));
    // One of them may end between the two looks: then its parent has counted it.
    let running: Duration = all.into_iter().filter_map(|pid| process::cpu_time(pid).ok()).sum();
    Ok(running + process::ended_children(postmaster)?)
}
