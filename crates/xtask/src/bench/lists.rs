//! The dashboard's list of machines, filtered and sorted as people do, in a large fleet.

use super::{Row, percentile};
use crate::api::Api;
use crate::fleet::{self, Fleet};
use crate::stack::{EMAIL, PASSWORD, Stack};
use anyhow::Context as _;
use clap::Args;
use std::path::Path;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Enrolled machines
    #[arg(long, default_value_t = 10_000)]
    machines: usize,
    /// Machines that are connected, sending heartbeats and samples meanwhile
    #[arg(long, default_value_t = 1_000)]
    connected: usize,
    /// How often each page is asked for
    #[arg(long, default_value_t = 100)]
    times: usize,
}

/// As the dashboard asks for them.
const PAGES: &[&str] = &[
    "limit=50",
    "limit=50&sort=last_seen&order=desc",
    "limit=50&sort=cpu&order=desc",
    "limit=50&sort=disk&order=desc&status=online",
    "limit=50&status=offline&os_type=windows",
    "limit=50&search=srv-0",
    "limit=50&search=acm&sort=memory&order=desc",
];

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let stack = Stack::start(bin_dir, &root.join(format!("target/bench-{}", std::process::id())))?;
    fleet::seed(&stack, bin_dir, options.machines)?;
    let connected = options.connected.min(options.machines);
    let fleet = Fleet::start(&stack, bin_dir, options.machines, 0..connected, &[])?;
    fleet.wait_connected(connected, Duration::from_secs(120))?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    let mut all = Vec::new();
    let mut rows = Vec::new();
    let deeper = second_page(&api)?;
    for page in PAGES.iter().copied().chain([deeper.as_str()]) {
        let mut times = Vec::with_capacity(options.times);
        for _ in 0..options.times {
            let started = Instant::now();
            let answer = api.get(&format!("/api/v1/agents?{page}"))?;
            times.push(started.elapsed().as_secs_f64() * 1_000.0);
            anyhow::ensure!(
                answer["items"].as_array().is_some_and(|items| !items.is_empty()),
                "{page} is empty"
            );
        }
        all.extend_from_slice(&times);
        // A cursor says nothing to people.
        let name = if page == deeper { "limit=50&cursor=…" } else { page };
        rows.push(Row::alone(format!("{name}: p99"), percentile(&mut times, 0.99), "ms", Some(50.0)));
    }
    rows.insert(0, Row::alone("all pages: p50", percentile(&mut all, 0.5), "ms", Some(30.0)));
    rows.insert(1, Row::alone("all pages: p99", percentile(&mut all, 0.99), "ms", Some(50.0)));
    drop(fleet);
    let folder = stack.folder().to_owned();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

fn second_page(api: &Api) -> anyhow::Result<String> {
    let first = api.get("/api/v1/agents?limit=50&sort=hostname")?;
    let cursor = first["next_cursor"].as_str().context("the list has one page")?;
    Ok(format!("limit=50&sort=hostname&cursor={cursor}"))
}
