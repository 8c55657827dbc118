//! What someone who tries the product meets first.

use super::{Row, percentile, process};
use crate::api::Api;
use crate::stack::{EMAIL, PASSWORD, Stack, wait_for};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Commands to time
    #[arg(long, default_value_t = 200)]
    commands: usize,
    /// Seconds over which idle CPU is measured
    #[arg(long, default_value_t = 60)]
    idle_seconds: u64,
    /// Leave the browser out (no Chromium here)
    #[arg(long)]
    without_browser: bool,
}

const STARTS: usize = 5;

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut stack = Stack::start(bin_dir, &root.join(format!("target/bench-{}", std::process::id())))?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    stack.add_agent(&api)?;
    let agent = stack.agents()[0].id.clone();
    wait_online(&api, &agent)?;

    let mut rows = vec![warm_start(&mut stack)?];
    wait_online(&api, &agent)?;
    if !options.without_browser {
        rows.push(Row::alone(
            "sign-in to live agent page",
            browser(root, &stack.url(), &agent)?,
            "ms",
            Some(3_000.0),
        ));
    }
    rows.extend(round_trips(&api, &agent, options.commands)?);
    rows.extend(costs(&stack, Duration::from_secs(options.idle_seconds))?);
    let folder = stack.folder().to_owned();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

/// A server with data, from its start to the first page served; median.
fn warm_start(stack: &mut Stack) -> anyhow::Result<Row> {
    let mut times = Vec::new();
    for _ in 0..STARTS {
        stack.stop_server()?;
        let started = Instant::now();
        stack.start_server()?;
        stack.api()?.get("/").context("the first page did not come")?;
        times.push(milliseconds(started.elapsed()));
    }
    Ok(Row::alone("warm start to first page (median)", percentile(&mut times, 0.5), "ms", Some(3_000.0)))
}

/// Signs in with a real browser and waits until the agent's page shows live figures.
fn browser(root: &Path, url: &str, agent: &str) -> anyhow::Result<f64> {
    let output = Command::new("node")
        .arg("e2e/first-run-bench.mjs")
        .current_dir(root.join("dashboard"))
        .env("BENCH_URL", url)
        .env("BENCH_EMAIL", EMAIL)
        .env("BENCH_PASSWORD", PASSWORD)
        .env("BENCH_AGENT", agent)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run node")?;
    anyhow::ensure!(output.status.success(), "the browser's part failed");
    let answer: Value =
        serde_json::from_slice(&output.stdout).context("the browser's part printed no JSON")?;
    answer["milliseconds"].as_f64().context("the browser's part named no time")
}

/// From the request to the result, alternating with the same program started directly on this machine.
fn round_trips(api: &Api, agent: &str, count: usize) -> anyhow::Result<Vec<Row>> {
    let body = json!({ "command_type": "shell", "command": "true", "timeout_seconds": 30 });
    let (mut ours, mut direct) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let started = Instant::now();
        let id = api.post(&format!("/api/agents/{agent}/command"), &body)?;
        let id = id["command_id"].as_str().context("no command_id")?.to_owned();
        // Asked without pause: a pause would be what is measured.
        while api.get(&format!("/api/commands/{id}"))?["status"] != "completed" {
            anyhow::ensure!(started.elapsed() < Duration::from_secs(30), "a command did not end");
        }
        ours.push(milliseconds(started.elapsed()));
        let started = Instant::now();
        Command::new("/bin/sh").args(["-c", "true"]).status()?;
        direct.push(milliseconds(started.elapsed()));
    }
    let mut row = |name, share| {
        Row::against(name, percentile(&mut ours, share), percentile(&mut direct, share), "ms", None)
    };
    Ok(vec![
        row("command round trip p50 (theirs: sh directly)", 0.5),
        row("command round trip p95 (theirs: sh directly)", 0.95),
        row("command round trip p99 (theirs: sh directly)", 0.99),
    ])
}

fn costs(stack: &Stack, idle: Duration) -> anyhow::Result<Vec<Row>> {
    let server = stack.server_pid().context("the server does not run")?;
    let agent = stack.agents()[0].pid().context("the agent does not run")?;
    let postmaster = stack.postmaster_pid().context("PostgreSQL does not run")?;
    // Whatever the commands before this left to be done.
    std::thread::sleep(Duration::from_secs(5));
    let before = (process::cpu_time(server)?, process::cpu_time(agent)?);
    std::thread::sleep(idle);
    let after = (process::cpu_time(server)?, process::cpu_time(agent)?);
    let percent = |from: Duration, to: Duration| (to - from).as_secs_f64() / idle.as_secs_f64() * 100.0;
    let database: f64 =
        process::tree(postmaster).into_iter().filter_map(|pid| process::pss_megabytes(pid).ok()).sum();
    Ok(vec![
        Row::alone("server memory (PSS)", process::pss_megabytes(server)?, "MB", Some(120.0)),
        Row::alone("private PostgreSQL memory (PSS)", database, "MB", None),
        Row::alone("agent memory (PSS)", process::pss_megabytes(agent)?, "MB", Some(15.0)),
        Row::alone("server idle CPU", percent(before.0, after.0), "%", Some(1.0)),
        Row::alone("agent idle CPU", percent(before.1, after.1), "%", Some(0.3)),
    ])
}

fn wait_online(api: &Api, agent: &str) -> anyhow::Result<()> {
    wait_for("the agent", Duration::from_secs(60), || {
        (api.get(&format!("/api/agents/{agent}")).ok()?["status"] == "online").then_some(())
    })
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}
