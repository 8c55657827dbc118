//! Thousands of agents lose their server at once. They come back by themselves, and people can work meanwhile.

use super::{Row, percentile};
use crate::api::Api;
use crate::fleet::{self, Fleet};
use crate::stack::{EMAIL, PASSWORD, Stack, Transport, wait_for};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Connected agents
    #[arg(long, default_value_t = 15_000)]
    agents: usize,
    /// Seconds that the server is away
    #[arg(long, default_value_t = 2)]
    away_seconds: u64,
    /// Storms
    #[arg(long, default_value_t = 3)]
    storms: usize,
}

/// Long enough for every agent to have heard, with an answer to a heartbeat, how many they are.
const ACQUAINTED: Duration = Duration::from_secs(45);
/// Between two requests of a busy office.
const REQUESTS_EVERY: Duration = Duration::from_millis(100);
/// How long people are timed from the server's return on.
const WATCHED: Duration = Duration::from_secs(120);
const BACK_WITHIN_SECONDS: f64 = 120.0;

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let mut stack = Stack::start_over(Transport::Tls, bin_dir, &folder)?;
    fleet::seed(&stack, bin_dir, options.agents)?;
    let fleet = Fleet::start(&stack, bin_dir, options.agents, 0..options.agents, &[])?;
    fleet.wait_connected(options.agents, Duration::from_secs(300))?;
    let (mut back, mut all_back, mut times, mut failed) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..options.storms.max(1) {
        thread::sleep(ACQUAINTED);
        fleet.wait_connected(options.agents, Duration::from_secs(120))?;
        let began = Instant::now();
        stack.kill_server()?;
        thread::sleep(Duration::from_secs(options.away_seconds));
        stack.start_server()?;
        let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
        let ended = AtomicBool::new(false);
        let (returned, asked) = thread::scope(|scope| {
            let people = scope.spawn(|| people(&api, &ended));
            let returned = returned(&fleet, options.agents, began);
            let rest = WATCHED.saturating_sub(began.elapsed());
            thread::sleep(rest);
            ended.store(true, Ordering::Relaxed);
            (returned, people.join())
        });
        let returned = returned?;
        back.push(returned.nearly_all);
        all_back.push(returned.all);
        let asked = asked.map_err(|_| anyhow::anyhow!("people could not be asked for"))??;
        failed += asked.failed;
        times.extend(asked.times);
    }
    let refused = fleet.count("refused");
    drop(fleet);
    let log = std::fs::read_to_string(folder.join("server.log"))?;
    let waits = log.lines().filter(|line| line.contains("pool timed out")).count();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    let agents = options.agents;
    Ok(vec![
        Row::alone(
            format!("99 % of {agents} agents are back (the slowest of {} storms)", back.len()),
            percentile(&mut back, 1.0),
            "s",
            Some(BACK_WITHIN_SECONDS),
        ),
        Row::alone("99 % are back, median", percentile(&mut back, 0.5), "s", None),
        Row::alone("all are back, median", percentile(&mut all_back, 0.5), "s", None),
        Row::alone("people's requests p50", percentile(&mut times, 0.5), "ms", None),
        Row::alone("people's requests p99", percentile(&mut times, 0.99), "ms", Some(1_000.0)),
        Row::alone("people's slowest request", percentile(&mut times, 1.0), "ms", None),
        Row::alone("people's requests that failed", f64::from(failed), "", Some(0.0)),
        Row::alone("waits for a database connection that were given up", waits as f64, "", Some(0.0)),
        Row::alone("times agents were told to come again", refused as f64, "", None),
    ])
}

/// Seconds from the loss on.
struct Returned {
    nearly_all: f64,
    all: f64,
}

fn returned(fleet: &Fleet, agents: usize, began: Instant) -> anyhow::Result<Returned> {
    let when = |share: f64| {
        let enough = (agents as f64 * share).ceil() as u64;
        wait_for("the agents' return", Duration::from_secs(300), || {
            (fleet.count("connected") >= enough).then(|| began.elapsed().as_secs_f64())
        })
        .with_context(|| format!("{} of {agents} are back", fleet.count("connected")))
    };
    // Until the fleet itself has noticed, it counts those that are gone.
    wait_for("the loss", Duration::from_secs(30), || {
        (fleet.count("connected") < agents as u64 / 2).then_some(())
    })?;
    Ok(Returned { nearly_all: when(0.99)?, all: when(1.0)? })
}

struct Asked {
    /// Milliseconds.
    times: Vec<f64>,
    failed: u32,
}

/// What an office does: the list, a machine, a command, ten times a second.
fn people(api: &Api, ended: &AtomicBool) -> anyhow::Result<Asked> {
    let first = api.get("/api/v1/agents?limit=50")?;
    let ids: Vec<&str> =
        first["items"].as_array().into_iter().flatten().filter_map(|agent| agent["id"].as_str()).collect();
    anyhow::ensure!(!ids.is_empty(), "there are no machines");
    let order = json!({ "command_type": "shell", "command": "hostname", "timeout_seconds": 30 });
    let mut asked = Asked { times: Vec::new(), failed: 0 };
    for (number, id) in ids.iter().cycle().enumerate() {
        if ended.load(Ordering::Relaxed) {
            break;
        }
        let started = Instant::now();
        let answer: anyhow::Result<Value> = match number % 3 {
            0 => api.get("/api/v1/agents?limit=50&sort=cpu&order=desc"),
            1 => api.get(&format!("/api/agents/{id}")),
            _ => api.post(&format!("/api/agents/{id}/command"), &order),
        };
        asked.times.push(started.elapsed().as_secs_f64() * 1_000.0);
        asked.failed += u32::from(answer.is_err());
        thread::sleep(REQUESTS_EVERY.saturating_sub(started.elapsed()));
    }
    Ok(asked)
}
