//! `xtask bench NAME`: measurements as programs. Every bench prints a table, or with `--json` one array of rows.

mod agent;
mod command;
mod connect;
mod first_run;
mod heartbeat;
mod history;
mod hostile_load;
mod idle;
mod ingest;
mod lists;
mod nodes;
mod people;
pub mod process;
mod replay;
mod storm;
mod tunnel;

use clap::{Args, Subcommand};
use serde::Serialize;
use std::borrow::Cow;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    bench: Bench,
    /// Print one JSON array of rows instead of a table
    #[arg(long, global = true)]
    json: bool,
    /// Where gururmm-server and gururmm-agent are
    #[arg(long, global = true, default_value = "target/cross/x86_64-unknown-linux-gnu/release")]
    bin_dir: PathBuf,
}

#[derive(Subcommand)]
enum Bench {
    /// What the agents that ./dev dist has built cost a machine: memory, idle CPU, sizes
    Agent(agent::Options),
    /// A command's round trip with real agents, against MeshCentral
    Command(command::Options),
    /// CPU of the server for an agent that comes back, against MeshCentral
    Connect(connect::Options),
    /// Warm start, sign-in to a live page, command round trip, memory, idle CPU
    FirstRun(first_run::Options),
    /// Samples a second, from many agents, stored and acknowledged
    Heartbeat(heartbeat::Options),
    /// Bytes and times of history, against a plain table with the same ten million samples
    History(history::Options),
    /// Ten thousand strangers' sockets, and an agent that floods its output
    HostileLoad(hostile_load::Options),
    /// Memory per connected agent, against bare sockets and MeshCentral
    Idle(idle::Options),
    /// What a sample costs from socket to commit, against bare inserts
    Ingest(ingest::Options),
    /// The list of machines with ten thousand of them, filtered and sorted
    Lists(lists::Options),
    /// Tens of thousands of agents on three servers with one PostgreSQL and NATS
    Nodes(nodes::Options),
    /// Thousands of agents tell at once what they measured without a line, beside those that were never away
    Replay(replay::Options),
    /// Thousands of agents lose their servers at once, or the servers their database, while people work
    Storm(storm::Options),
    /// Keys and files in a session with a machine, against OpenSSH
    Tunnel(tunnel::Options),
}

/// One measurement. `theirs` is what it was compared with in the same run, where there is something to compare with;
/// `goal` is the most that `ratio` may be, or `ours` where there is no `theirs`, unless it is made to be the least.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: Cow<'static, str>,
    pub ours: f64,
    pub theirs: Option<f64>,
    pub unit: &'static str,
    pub ratio: Option<f64>,
    pub goal: Option<f64>,
    pub ok: bool,
}

impl Row {
    /// A figure by itself, held against an absolute goal.
    pub fn alone(
        name: impl Into<Cow<'static, str>>,
        ours: f64,
        unit: &'static str,
        goal: Option<f64>,
    ) -> Self {
        let ok = ours.is_finite() && goal.is_none_or(|goal| ours <= goal);
        Self { name: name.into(), ours, theirs: None, unit, ratio: None, goal, ok }
    }

    /// A figure by itself, of which there cannot be too much.
    pub fn at_least(name: impl Into<Cow<'static, str>>, ours: f64, unit: &'static str, goal: f64) -> Self {
        let ok = ours >= goal;
        Self { name: name.into(), ours, theirs: None, unit, ratio: None, goal: Some(goal), ok }
    }

    /// A figure against another one of the same run.
    pub fn against(
        name: impl Into<Cow<'static, str>>,
        ours: f64,
        theirs: f64,
        unit: &'static str,
        goal: Option<f64>,
    ) -> Self {
        let ratio = ours / theirs;
        let ok = ratio.is_finite() && goal.is_none_or(|goal| ratio <= goal);
        Self { name: name.into(), ours, theirs: Some(theirs), unit, ratio: Some(ratio), goal, ok }
    }
}

/// Runs the bench and prints its rows. A missed goal is said in the rows and is no error.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let bin_dir = root.join(&options.bin_dir);
    let rows = match &options.bench {
        Bench::Agent(own) => agent::run(root, &bin_dir, own)?,
        Bench::Command(own) => command::run(root, &bin_dir, own)?,
        Bench::Connect(own) => connect::run(root, &bin_dir, own)?,
        Bench::FirstRun(own) => first_run::run(root, &bin_dir, own)?,
        Bench::Heartbeat(own) => heartbeat::run(root, &bin_dir, own)?,
        Bench::History(own) => history::run(root, &bin_dir, own)?,
        Bench::HostileLoad(own) => hostile_load::run(root, &bin_dir, own)?,
        Bench::Idle(own) => idle::run(root, &bin_dir, own)?,
        Bench::Ingest(own) => ingest::run(root, &bin_dir, own)?,
        Bench::Lists(own) => lists::run(root, &bin_dir, own)?,
        Bench::Nodes(own) => nodes::run(root, &bin_dir, own)?,
        Bench::Replay(own) => replay::run(root, &bin_dir, own)?,
        Bench::Storm(own) => storm::run(root, &bin_dir, own)?,
        Bench::Tunnel(own) => tunnel::run(root, &bin_dir, own)?,
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
    println!("{:<50} {:>10} {:>10} {:<6} {:>7} {:>8}", "", "ours", "theirs", "unit", "ratio", "goal");
    for row in rows {
        let mark = if row.ok { "[OK]" } else { "[WARNING]" };
        println!(
            "{:<50} {:>10.2} {:>10} {:<6} {:>7} {:>8} {mark}",
            row.name,
            row.ours,
            figure(row.theirs),
            row.unit,
            figure(row.ratio),
            figure(row.goal)
        );
    }
    Ok(())
}

/// The value below which `share` (0 to 1) of the values lie. The values get sorted.
pub fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let mut values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(percentile(&mut values, 0.5), 3.0);
        assert_eq!(percentile(&mut values, 0.99), 5.0);
        assert!(percentile(&mut [], 0.5).is_nan());
    }

    #[test]
    fn a_row_misses_its_goal_by_its_ratio() {
        assert!(Row::against("a", 2.0, 1.0, "ms", Some(2.0)).ok);
        assert!(!Row::against("a", 2.1, 1.0, "ms", Some(2.0)).ok);
        assert!(!Row::alone("a", 3.0, "MB", Some(2.0)).ok);
        assert!(!Row::alone("a", f64::NAN, "MB", None).ok);
        assert!(Row::at_least("a", 3.0, "1/s", 3.0).ok);
        assert!(!Row::at_least("a", 2.9, "1/s", 3.0).ok && !Row::at_least("a", f64::NAN, "1/s", 3.0).ok);
    }
}
