//! Tens of thousands of agents on three servers that share a PostgreSQL and meet at NATS, at normal rates, while commands go
//! from any of them to agents on any. What it costs, and whether anything is lost.

use super::{Row, percentile, process};
use crate::api::Api;
use crate::fleet::{self, Fleet, Target};
use crate::nats::Nats;
use crate::stack::{EMAIL, PASSWORD, Peers, Stack, Transport, wait_for};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const NODES: usize = 3;
/// Between two commands.
const COMMAND_EVERY: Duration = Duration::from_millis(500);
/// How long a server is asked to wait for a command's end.
const COMMAND_WITHIN_SECONDS: u32 = 10;

#[derive(Args)]
pub struct Options {
    /// Connected agents, on all servers together
    #[arg(long, default_value_t = 45_000)]
    agents: usize,
    /// How long they are watched
    #[arg(long, default_value_t = 10)]
    minutes: u64,
}

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let nats = Nats::start(root, &folder.join("nats"))?;
    let peers = Peers { nats: &[nats.address(); NODES], token: nats.token() };
    let stack = Stack::start_nodes(Transport::Tls, &peers, bin_dir, &folder.join("stack"))?;
    fleet::seed(&stack, bin_dir, options.agents)?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    let apis: Vec<Api> = stack.urls().iter().map(|url| api.at(url)).collect();
    let target = Target { urls: stack.urls(), ..Target::of(&stack) };
    let mut fleet = Fleet::start_at(&target, bin_dir, options.agents, 0..options.agents, &[])?;
    fleet.wait_connected(options.agents, Duration::from_secs(600))?;

    let parts = Part::all(&stack, &nats)?;
    let (before, lost, began) = (cpu_of(&parts)?, fleet.count("lost"), Instant::now());
    let commands = Commands::give(&apis, began + Duration::from_secs(60 * options.minutes))?;
    let watched = began.elapsed().as_secs_f64();
    let after = cpu_of(&parts)?;
    let mut rows = Vec::new();
    for (part, (before, after)) in parts.iter().zip(before.into_iter().zip(after)) {
        let share = after.saturating_sub(before).as_secs_f64() / watched * 100.0;
        rows.push(Row::alone(format!("{}: CPU, of one core", part.name), share, "%", None));
        let memory = process::pss_of(part.pids());
        rows.push(Row::alone(format!("{}: memory (PSS)", part.name), memory, "MB", None));
    }
    let (connected, lost_ever) = (fleet.count("connected"), fleet.count("lost"));
    fleet.stop()?;
    rows.extend(commands.rows());
    rows.extend(samples(&stack, &fleet, lost_ever > 0)?);
    rows.push(Row::at_least("agents connected at the end", connected as f64, "", options.agents as f64));
    rows.push(Row::alone("sessions that broke", (lost_ever - lost) as f64, "", Some(0.0)));
    stack.stop()?;
    drop(nats);
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

/// What the agents sent and heard, against what is in the database. Where sessions broke, some was sent again and counts twice
/// among what was sent.
fn samples(stack: &Stack, fleet: &Fleet, has_repeats: bool) -> anyhow::Result<Vec<Row>> {
    let (sent, acknowledged) = (fleet.count("samples_sent"), fleet.count("samples_stored"));
    // What is on its way to a server that nobody listens to any more is stored within a moment.
    let mut stored = 0;
    let all = wait_for("what was sent last", Duration::from_secs(30), || {
        stored = count_stored(stack).ok()?;
        (stored == sent).then_some(())
    });
    if all.is_err() {
        stored = count_stored(stack)?;
    }
    let missing = acknowledged.saturating_sub(stored);
    Ok(vec![
        Row::alone("samples sent", sent as f64, "", None),
        Row::alone("samples acknowledged", acknowledged as f64, "", None),
        Row::alone("samples in the database", stored as f64, "", None),
        Row::alone("acknowledged and not in the database", missing as f64, "", Some(0.0)),
        Row::alone(
            "sent (repeats included) and not in the database",
            sent.saturating_sub(stored) as f64,
            "",
            (!has_repeats).then_some(0.0),
        ),
        Row::alone("in the database and never sent", stored.saturating_sub(sent) as f64, "", Some(0.0)),
        Row::alone("samples that agents let go", fleet.count("samples_dropped") as f64, "", Some(0.0)),
    ])
}

/// Raw ones, and those of hours that were packed meanwhile.
fn count_stored(stack: &Stack) -> anyhow::Result<u64> {
    let text = stack.query(
        "SELECT (SELECT count(*) FROM metric_samples) + (SELECT coalesce(sum(samples), 0) FROM metric_hours)",
    )?;
    text.parse().with_context(|| format!("{text:?} is no count"))
}

/// One part of the installation.
struct Part {
    name: String,
    pid: u32,
}

impl Part {
    fn all(stack: &Stack, nats: &Nats) -> anyhow::Result<Vec<Self>> {
        let servers = (0..NODES).map(|node| (format!("server {}", node + 1), stack.node_pid(node)));
        let others = [("PostgreSQL", stack.postmaster_pid()), ("NATS", nats.pid())];
        servers
            .chain(others.map(|(name, pid)| (name.to_owned(), pid)))
            .map(|(name, pid)| Ok(Self { pid: pid.with_context(|| format!("{name} does not run"))?, name }))
            .collect()
    }

    fn pids(&self) -> impl Iterator<Item = u32> + use<> {
        process::tree(self.pid).into_iter()
    }
}

/// CPU time of each part so far, with that of its processes that have ended.
fn cpu_of(parts: &[Part]) -> anyhow::Result<Vec<Duration>> {
    let of = |part: &Part| Ok(process::cpu_of(part.pids()) + process::ended_children(part.pid)?);
    parts.iter().map(of).collect()
}

/// Commands that were given at one server and watched at the next.
#[derive(Default)]
struct Commands {
    /// Milliseconds.
    times: Vec<f64>,
    failed: u32,
}

impl Commands {
    fn give(apis: &[Api], until: Instant) -> anyhow::Result<Self> {
        let agents = apis[0].get("/api/v1/agents?limit=200")?;
        let agents = agents["items"].as_array().context("there is no list of agents")?;
        let ids: Vec<&str> = agents.iter().filter_map(|agent| agent["id"].as_str()).collect();
        anyhow::ensure!(!ids.is_empty(), "there are no agents");
        let mut commands = Self::default();
        for (number, id) in ids.iter().cycle().enumerate() {
            let began = Instant::now();
            if began >= until {
                break;
            }
            let (here, there) = (&apis[number % apis.len()], &apis[(number + 1) % apis.len()]);
            if Self::is_completed(here, there, id).unwrap_or(false) {
                commands.times.push(began.elapsed().as_secs_f64() * 1_000.0);
            } else {
                commands.failed += 1;
            }
            thread::sleep(COMMAND_EVERY.saturating_sub(began.elapsed()));
        }
        Ok(commands)
    }

    fn is_completed(here: &Api, there: &Api, agent_id: &str) -> anyhow::Result<bool> {
        let order = json!({ "command_type": "shell", "command": "hostname", "timeout_seconds": 30 });
        let given = here.post(&format!("/api/agents/{agent_id}/command"), &order)?;
        let id = given["command_id"].as_str().context("a command without an id")?;
        let ended = there.get(&format!("/api/v1/commands/{id}?wait_seconds={COMMAND_WITHIN_SECONDS}"))?;
        Ok(ended["status"] == "completed")
    }

    fn rows(mut self) -> [Row; 4] {
        [
            Row::alone(
                "commands given at one server, seen ended at another",
                self.times.len() as f64,
                "",
                None,
            ),
            Row::alone("commands p50", percentile(&mut self.times, 0.5), "ms", None),
            Row::alone("commands p95", percentile(&mut self.times, 0.95), "ms", None),
            Row::alone("commands that were not completed", f64::from(self.failed), "", Some(0.0)),
        ]
    }
}
