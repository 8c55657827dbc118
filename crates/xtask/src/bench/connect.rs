//! What it costs the server when an agent that it knows comes back: TLS, key, session, hello, and all that is compared and
//! written for it, PostgreSQL included.

use super::{Row, percentile, process};
use crate::fleet::{self, Fleet};
use crate::meshcentral::MeshCentral;
use crate::stack::{EMAIL, PASSWORD, Stack, Transport, wait_for};
use anyhow::Context as _;
use clap::Args;
use std::path::Path;
use std::thread;
use std::time::Duration;

#[derive(Args)]
pub struct Options {
    /// Agents that come back
    #[arg(long, default_value_t = 3_000)]
    agents: usize,
    /// How many of them in a second
    #[arg(long, default_value_t = 300)]
    per_second: u32,
    /// Runs, in turns with MeshCentral
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Compare with MeshCentral, which is installed into target/
    #[arg(long)]
    with_meshcentral: bool,
    /// Simulated agents of MeshCentral
    #[arg(long, default_value_t = 1_000)]
    meshcentral_agents: usize,
}

/// What is done after the welcome counts, too.
const AFTERWARDS: Duration = Duration::from_secs(3);

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let stack = Stack::start_over(Transport::Tls, bin_dir, &folder)?;
    fleet::seed(&stack, bin_dir, options.agents)?;
    // The first time they are only known from the database's own words.
    of_server(&stack, bin_dir, options)?;
    let mut meshcentral = options.with_meshcentral.then(|| MeshCentral::start(root)).transpose()?;
    if let Some(meshcentral) = &mut meshcentral {
        of_meshcentral(meshcentral, options.meshcentral_agents)?;
    }
    let (mut all, mut server, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..options.runs.max(1) {
        let cost = of_server(&stack, bin_dir, options)?;
        all.push(cost.server + cost.database);
        server.push(cost.server);
        if let Some(meshcentral) = &mut meshcentral {
            theirs.push(of_meshcentral(meshcentral, options.meshcentral_agents)?);
        }
    }
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    let name = "CPU of server and PostgreSQL per reconnect";
    let median = percentile(&mut all, 0.5);
    let mut rows = match theirs.is_empty() {
        true => vec![Row::alone(name, median, "ms", None)],
        false => {
            let theirs = percentile(&mut theirs, 0.5);
            vec![Row::against(format!("{name} (theirs: MeshCentral)"), median, theirs, "ms", Some(0.1))]
        }
    };
    rows.push(Row::alone("of that the server alone (median)", percentile(&mut server, 0.5), "ms", None));
    let (least, most) = (percentile(&mut all, 0.0), percentile(&mut all, 1.0));
    rows.push(Row::alone(format!("the least of {} runs", all.len()), least, "ms", None));
    rows.push(Row::alone("the most", most, "ms", None));
    if !theirs.is_empty() {
        let (least, most) = (percentile(&mut theirs, 0.0), percentile(&mut theirs, 1.0));
        rows.push(Row::alone("MeshCentral, the least", least, "ms", None));
        rows.push(Row::alone("MeshCentral, the most", most, "ms", None));
    }
    Ok(rows)
}

/// Milliseconds of CPU for each agent.
struct Cost {
    server: f64,
    database: f64,
}

fn of_server(stack: &Stack, bin_dir: &Path, options: &Options) -> anyhow::Result<Cost> {
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    let Options { agents, per_second, .. } = *options;
    wait_for("the agents' leave", Duration::from_secs(60), || {
        let online = api.get("/api/v1/agents?status=online&limit=1").ok()?;
        (online["total"] == 0).then_some(())
    })?;
    let server = stack.server_pid().context("the server does not run")?;
    let postmaster = stack.postmaster_pid().context("PostgreSQL does not run")?;
    let used = || (process::cpu_of([server]), process::cpu_of(process::tree(postmaster)));
    let before = used();
    let per_second = per_second.to_string();
    // Samples are not what is measured.
    let manner = ["--per-second", &per_second, "--interval-seconds", "3600"];
    let fleet = Fleet::start(stack, bin_dir, agents, 0..agents, &manner)?;
    fleet.wait_connected(agents, Duration::from_secs(300))?;
    thread::sleep(AFTERWARDS);
    let after = used();
    anyhow::ensure!(fleet.count("connects") == agents as u64, "some agents had to connect twice");
    let each = |from: Duration, to: Duration| (to - from).as_secs_f64() * 1_000.0 / agents as f64;
    Ok(Cost { server: each(before.0, after.0), database: each(before.1, after.1) })
}

fn of_meshcentral(server: &MeshCentral, agents: usize) -> anyhow::Result<f64> {
    // Those of the run before have gone when their process has; the server notices within a moment.
    thread::sleep(AFTERWARDS);
    let before = process::cpu_of(server.processes());
    let simulated = server.agents(agents)?;
    let longest = Duration::from_secs(300 + agents as u64 / 20);
    wait_for("MeshCentral's agents", longest, || (simulated.count("ready") >= agents as u64).then_some(()))?;
    thread::sleep(AFTERWARDS);
    let used = process::cpu_of(server.processes()) - before;
    Ok(used.as_secs_f64() * 1_000.0 / agents as f64)
}
