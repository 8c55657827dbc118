//! What history costs on disk and to read, against a plain table of rows with jsonb that holds the same samples.

use super::{Row, percentile};
use crate::fleet;
use crate::stack::Stack;
use clap::Args;
use serde::Deserialize;
use std::path::Path;

/// Samples of a machine: one a minute for a week.
const SAMPLES_OF_A_MACHINE: usize = 7 * 24 * 60;

/// Warm readings that count, of each run: of as many machines, in turns.
const WARM: usize = 20;

#[derive(Args)]
pub struct Options {
    /// Samples of all machines together, in each of the two
    #[arg(long, default_value_t = 10_000_000)]
    samples: usize,
    /// How often it is read cold, each time of other machines; warm twenty times as often
    #[arg(long, default_value_t = 5)]
    runs: usize,
}

#[derive(Deserialize)]
struct Sizes {
    samples: f64,
    ours_bytes: f64,
    theirs_bytes: f64,
    pack_milliseconds: f64,
}

#[derive(Deserialize)]
struct Times {
    ours_milliseconds: f64,
    theirs_milliseconds: f64,
}

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut stack = Stack::start(bin_dir, &root.join(format!("target/bench-{}", std::process::id())))?;
    let machines = options.samples.div_ceil(SAMPLES_OF_A_MACHINE).max(50);
    fleet::seed(&stack, bin_dir, machines)?;
    let (sizes, end): (Sizes, String) = fleet::ask(&stack, bin_dir, machines, &["history"])?;
    let read = |stack: &Stack, round: usize, times: usize| {
        let (round, times) = (round.to_string(), times.to_string());
        let arguments = ["history", "--end", &end, "--read", &round, "--times", &times];
        fleet::ask::<[Vec<Times>; 2]>(stack, bin_dir, machines, &arguments)
    };
    let (mut cold, mut warm) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    let mut is_cold = true;
    for round in 0..options.runs {
        stack.stop_server()?;
        is_cold &= drop_caches();
        stack.start_server()?;
        let times = read(&stack, round, 1)?;
        cold.iter_mut().zip(times).for_each(|(all, times)| all.extend(times));
        // The first ones are what is read for the first time.
        let times = read(&stack, round, 2 * WARM)?;
        warm.iter_mut().zip(times).for_each(|(all, times)| all.extend(times.into_iter().skip(WARM)));
    }
    let folder = stack.folder().to_owned();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    let per_sample = |bytes: f64| bytes / sizes.samples;
    let mut rows = vec![
        Row::alone("samples in each", sizes.samples, "", None),
        Row::against(
            "bytes of a sample with its processes, on disk",
            per_sample(sizes.ours_bytes),
            per_sample(sizes.theirs_bytes),
            "B",
            Some(0.2),
        ),
        Row::alone("packing an hour of a machine", sizes.pack_milliseconds, "ms", None),
    ];
    let cold_word = if is_cold { "cold" } else { "PostgreSQL anew, the system's cache warm" };
    for (word, times) in [(cold_word, &cold), ("warm", &warm)] {
        for (at, what) in ["every sample of a day", "chart of a day"].into_iter().enumerate() {
            let mut ours: Vec<f64> = times[at].iter().map(|times| times.ours_milliseconds).collect();
            let mut theirs: Vec<f64> = times[at].iter().map(|times| times.theirs_milliseconds).collect();
            for (share, which) in [(0.5, "median"), (0.0, "least"), (1.0, "most")] {
                let goal = (share == 0.5).then_some(1.0 / 3.0);
                let name = format!("{what}, {word}: {which}");
                let (ours, theirs) = (percentile(&mut ours, share), percentile(&mut theirs, share));
                rows.push(Row::against(name, ours, theirs, "ms", goal));
            }
        }
    }
    Ok(rows)
}

/// Has the kernel forget what it has read. False where this process may not ask it to.
fn drop_caches() -> bool {
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}
