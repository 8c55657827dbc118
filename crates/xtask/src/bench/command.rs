//! A command's round trip, as a script of a tech sees it: from the order to the result, with real agents that start a shell
//! for each.

use super::{Row, percentile};
use crate::api::Api;
use crate::meshcentral::MeshCentral;
use crate::stack::{EMAIL, PASSWORD, Stack, Transport, signal, wait_for};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Agents, which get the commands in turns
    #[arg(long, default_value_t = 10)]
    agents: usize,
    /// Commands of one run
    #[arg(long, default_value_t = 200)]
    commands: usize,
    /// Runs, in turns with MeshCentral
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Compare with MeshCentral, which is installed into target/
    #[arg(long)]
    with_meshcentral: bool,
}

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let mut stack = Stack::start_over(Transport::Tls, bin_dir, &folder)?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    for _ in 0..options.agents {
        stack.add_agent(&api)?;
    }
    let ids: Vec<String> = stack.agents().iter().map(|agent| agent.id.clone()).collect();
    round_trips(&api, &ids, 3 * ids.len())?;
    let meshcentral =
        options.with_meshcentral.then(|| Rival::start(root, &folder, options.agents)).transpose()?;
    let (mut ours, mut theirs) = (Figures::default(), Figures::default());
    for _ in 0..options.runs.max(1) {
        ours.add(round_trips(&api, &ids, options.commands)?);
        if let Some(rival) = &meshcentral {
            theirs.add(rival.server.round_trips(options.agents, options.commands)?);
        }
    }
    drop(meshcentral);
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    let mut rows = Vec::new();
    for (name, goal, ours, theirs) in [
        ("p50", Some(1.0), &mut ours.p50, &mut theirs.p50),
        ("p95", Some(0.25), &mut ours.p95, &mut theirs.p95),
        ("p99", None, &mut ours.p99, &mut theirs.p99),
    ] {
        let median = percentile(ours, 0.5);
        rows.push(match theirs.is_empty() {
            true => Row::alone(format!("command round trip {name}"), median, "ms", None),
            false => {
                let name = format!("command round trip {name} (theirs: MeshCentral)");
                Row::against(name, median, percentile(theirs, 0.5), "ms", goal)
            }
        });
        let (least, most) = (percentile(ours, 0.0), percentile(ours, 1.0));
        rows.push(Row::alone(format!("{name}, the least of {} runs", ours.len()), least, "ms", None));
        rows.push(Row::alone(format!("{name}, the most"), most, "ms", None));
    }
    Ok(rows)
}

#[derive(Default)]
struct Figures {
    p50: Vec<f64>,
    p95: Vec<f64>,
    p99: Vec<f64>,
}

impl Figures {
    fn add(&mut self, mut times: Vec<f64>) {
        self.p50.push(percentile(&mut times, 0.5));
        self.p95.push(percentile(&mut times, 0.95));
        self.p99.push(percentile(&mut times, 0.99));
    }
}

/// From the request to the result.
fn round_trips(api: &Api, agents: &[String], count: usize) -> anyhow::Result<Vec<f64>> {
    let body = json!({ "command_type": "shell", "command": "true", "timeout_seconds": 30 });
    let one = |agent: &String| {
        let started = Instant::now();
        let id = api.post(&format!("/api/agents/{agent}/command"), &body)?;
        let id = id["command_id"].as_str().context("no command_id")?.to_owned();
        // The answer comes with the end.
        while api.get(&format!("/api/v1/commands/{id}?wait_seconds=10"))?["status"] != "completed" {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(30), "a command did not end");
        }
        Ok(started.elapsed().as_secs_f64() * 1_000.0)
    };
    agents.iter().cycle().take(count).map(one).collect()
}

/// MeshCentral with its own agents.
struct Rival {
    agents: Vec<Child>,
    server: MeshCentral,
}

impl Rival {
    fn start(root: &Path, folder: &Path, agents: usize) -> anyhow::Result<Self> {
        let mut rival = Self { server: MeshCentral::start(root)?, agents: Vec::new() };
        for number in 0..agents {
            rival.agents.push(rival.server.real_agent(&folder.join(format!("meshagent-{number}")))?);
        }
        rival.server.round_trips(agents, 3 * agents)?;
        Ok(rival)
    }
}

impl Drop for Rival {
    fn drop(&mut self) {
        for agent in &mut self.agents {
            let _ = signal(agent.id(), "TERM");
            if wait_for("an agent's end", Duration::from_secs(5), || agent.try_wait().ok().flatten()).is_err()
            {
                let _ = agent.kill();
                let _ = agent.wait();
            }
        }
    }
}
