//! From agents' sockets to committed rows: what a sample costs server and PostgreSQL together, against bare inserts of the
//! same samples on the same PostgreSQL, in turns.

use super::heartbeat::cpu_of;
use super::{Row, percentile};
use crate::fleet::{self, Fleet};
use crate::stack::{Stack, Transport};
use anyhow::Context as _;
use clap::Args;
use serde::Deserialize;
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
    /// Seconds of each part of a run
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Runs; the medians are what counts
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

#[derive(Deserialize)]
struct Inserted {
    rows: f64,
    seconds: f64,
    cpu_seconds: f64,
}

/// CPU in microseconds for a sample, and samples in a second.
#[derive(Default)]
struct Figures {
    costs: Vec<f64>,
    rates: Vec<f64>,
}

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let stack = Stack::start_over(
        Transport::Tls,
        bin_dir,
        &root.join(format!("target/bench-{}", std::process::id())),
    )?;
    fleet::seed(&stack, bin_dir, options.agents)?;
    let window = options.window.to_string();
    let (mut ours, mut together, mut alone) = (Figures::default(), Figures::default(), Figures::default());
    for _ in 0..options.runs.max(1) {
        ours.of_agents(&stack, bin_dir, options, &window)?;
        together.of_inserts(&stack, bin_dir, options, "500")?;
        alone.of_inserts(&stack, bin_dir, options, "1")?;
    }
    let folder = stack.folder().to_owned();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    let mut rows = Vec::new();
    for (share, which) in [(0.5, "median"), (0.0, "least"), (1.0, "most")] {
        let goal = (share == 0.5).then_some(3.0);
        let name = format!("CPU of a sample, against 500 in an insert: {which}");
        let (ours, theirs) = (percentile(&mut ours.costs, share), percentile(&mut together.costs, share));
        rows.push(Row::against(name, ours, theirs, "µs", goal));
    }
    let (rate, single) = (percentile(&mut ours.rates, 0.5), percentile(&mut alone.rates, 0.5));
    rows.push(Row::at_least("rate over that of one insert per sample", rate / single, "times", 3.0));
    for (name, figures) in [
        ("samples a second from agents", &mut ours),
        ("samples a second, 500 in an insert", &mut together),
        ("samples a second, one insert each", &mut alone),
    ] {
        rows.push(Row::alone(name, percentile(&mut figures.rates, 0.5), "1/s", None));
    }
    Ok(rows)
}

impl Figures {
    fn of_agents(
        &mut self,
        stack: &Stack,
        bin_dir: &Path,
        options: &Options,
        window: &str,
    ) -> anyhow::Result<()> {
        let fleet = Fleet::start(stack, bin_dir, options.agents, 0..options.agents, &["--flood", window])?;
        fleet.wait_connected(options.agents, Duration::from_secs(60))?;
        let (stored, cpu, began) = (fleet.count("samples_stored"), cpu_of(stack)?, Instant::now());
        thread::sleep(Duration::from_secs(options.seconds));
        let stored = (fleet.count("samples_stored") - stored) as f64;
        self.rates.push(stored / began.elapsed().as_secs_f64());
        self.costs.push((cpu_of(stack)? - cpu).as_secs_f64() * 1e6 / stored);
        Ok(())
    }

    fn of_inserts(
        &mut self,
        stack: &Stack,
        bin_dir: &Path,
        options: &Options,
        at_once: &str,
    ) -> anyhow::Result<()> {
        let seconds = options.seconds.to_string();
        let arguments = ["insert", "--at-once", at_once, "--seconds", &seconds];
        let cpu = cpu_of(stack)?;
        let done: Inserted = fleet::ask(stack, bin_dir, options.agents, &arguments)?;
        // The server rests meanwhile; the backend that inserted has ended, and its parent counts it.
        let of_database = (cpu_of(stack)?.checked_sub(cpu).context("time went back")?).as_secs_f64();
        self.rates.push(done.rows / done.seconds);
        self.costs.push((of_database + done.cpu_seconds) * 1e6 / done.rows);
        Ok(())
    }
}
