//! What an agent that is connected and does what it usually does costs the server's memory; against the least that any
//! server with these libraries can do, and against MeshCentral.

use super::{Row, percentile, process};
use crate::fleet::{self, Fleet, Floor, Manner, Target};
use crate::meshcentral::MeshCentral;
use crate::reporter::Reporter;
use crate::stack::{Stack, Transport, wait_for};
use anyhow::Context as _;
use clap::Args;
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::Duration;

#[derive(Args)]
pub struct Options {
    /// Connected agents
    #[arg(long, default_value_t = 15_000)]
    agents: usize,
    /// Runs of the server and of the floor, in turns
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Seconds that agents are left in peace before memory is read: more than two heartbeats and a sample
    #[arg(long, default_value_t = 70)]
    settle_seconds: u64,
    /// Compare with MeshCentral, which is installed into target/
    #[arg(long)]
    with_meshcentral: bool,
    /// Simulated agents of MeshCentral [default: as many]
    #[arg(long)]
    meshcentral_agents: Option<usize>,
    /// Runs with MeshCentral: with thousands of agents one takes more than three minutes
    #[arg(long, default_value_t = 1)]
    meshcentral_runs: usize,
}

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let mut stack = Stack::start_over(Transport::Tls, bin_dir, &folder)?;
    fleet::seed(&stack, bin_dir, options.agents)?;
    let settle = Duration::from_secs(options.settle_seconds);
    let (mut ours, mut floors, mut slabs) = (Vec::new(), Vec::new(), Vec::new());
    let mut database = Vec::new();
    for _ in 0..options.runs.max(1) {
        let cost = of_server(&mut stack, bin_dir, options.agents, settle)?;
        ours.push(cost.resident);
        slabs.push(cost.slab);
        database.push(cost.database);
        floors.push(of_floor(&stack, bin_dir, options.agents, settle)?);
    }
    let per_agent = "server memory per agent";
    let median = |values: &mut Vec<f64>| percentile(values, 0.5);
    let (floor, ours_median) = (median(&mut floors), median(&mut ours));
    let mut rows = vec![
        Row::against(format!("{per_agent} (theirs: bare sockets)"), ours_median, floor, "kB", Some(1.5)),
        Row::alone(
            format!("{per_agent}, the least of {} runs", ours.len()),
            percentile(&mut ours, 0.0),
            "kB",
            None,
        ),
        Row::alone(format!("{per_agent}, the most"), percentile(&mut ours, 1.0), "kB", None),
        Row::alone("bare sockets, the least", percentile(&mut floors, 0.0), "kB", None),
        Row::alone("bare sockets, the most", percentile(&mut floors, 1.0), "kB", None),
        Row::alone("kernel slab per agent, both ends of it", median(&mut slabs), "kB", None),
        Row::alone("PostgreSQL, all of it (PSS)", median(&mut database), "MB", None),
    ];
    if options.with_meshcentral {
        let agents = options.meshcentral_agents.unwrap_or(options.agents);
        let (mut ours, mut theirs, mut strangers) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..options.meshcentral_runs.max(1) {
            // Anew each time: it has not met its agents.
            let mut meshcentral = MeshCentral::start(root)?;
            strangers.push(of_meshcentral(&meshcentral, agents, settle)?);
            meshcentral.stop_server()?;
            meshcentral.start_server()?;
            theirs.push(of_meshcentral(&meshcentral, agents, settle)?);
            drop(meshcentral);
            ours.push(of_server(&mut stack, bin_dir, agents, settle)?.resident);
        }
        let ours = median(&mut ours);
        let name = |known: &str| format!("{per_agent}, {agents} {known} (theirs: MeshCentral)");
        rows.push(Row::against(name("known"), ours, median(&mut theirs), "kB", Some(0.5)));
        rows.push(Row::against(name("of which it knew none"), ours, median(&mut strangers), "kB", None));
    }
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    Ok(rows)
}

struct Cost {
    /// Kilobytes for each agent.
    resident: f64,
    /// Kilobytes for each agent, the simulated agent's side included.
    slab: f64,
    /// Megabytes in all.
    database: f64,
}

/// A server that has just started and knows all of them: without them, and with them.
fn of_server(stack: &mut Stack, bin_dir: &Path, agents: usize, settle: Duration) -> anyhow::Result<Cost> {
    stack.stop_server()?;
    stack.start_server()?;
    let pid = stack.server_pid().context("the server does not run")?;
    // What everybody's first request makes once.
    thread::sleep(Duration::from_secs(5));
    let (before, slab) = (process::pss_megabytes(pid)?, process::slab_megabytes()?);
    let fleet = connected(&Target::of(stack), bin_dir, agents, &[])?;
    thread::sleep(settle);
    let (after, slab_after) = (process::pss_megabytes(pid)?, process::slab_megabytes()?);
    let lost = fleet.count("lost");
    anyhow::ensure!(fleet.count("connected") == agents as u64, "agents went away ({lost} losses)");
    let postmaster = stack.postmaster_pid().context("PostgreSQL does not run")?;
    Ok(Cost {
        resident: kilobytes_each(after - before, agents),
        slab: kilobytes_each(slab_after - slab, agents),
        database: process::pss_of(process::tree(postmaster)),
    })
}

fn of_floor(stack: &Stack, bin_dir: &Path, agents: usize, settle: Duration) -> anyhow::Result<f64> {
    let listen = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let floor = Floor::start(stack, bin_dir, listen)?;
    thread::sleep(Duration::from_secs(2));
    let before = process::pss_megabytes(floor.pid())?;
    // Bare: it hears a hello and heartbeats, and no samples, which are larger.
    let fleet = connected(&floor.target, bin_dir, agents, &["--interval-seconds", "3600"])?;
    thread::sleep(settle);
    let after = process::pss_megabytes(floor.pid())?;
    drop(fleet);
    Ok(kilobytes_each(after - before, agents))
}

/// It keeps what it knows of machines in its own memory: they are in the figure where they came for the first time.
fn of_meshcentral(server: &MeshCentral, agents: usize, settle: Duration) -> anyhow::Result<f64> {
    thread::sleep(Duration::from_secs(5));
    let before = process::pss_of(server.processes());
    let connected = all_of(server, agents)?;
    thread::sleep(settle);
    let after = process::pss_of(server.processes());
    anyhow::ensure!(connected.count("connected") == agents as u64, "agents went away");
    Ok(kilobytes_each(after - before, agents))
}

fn all_of(server: &MeshCentral, agents: usize) -> anyhow::Result<Reporter> {
    let simulated = server.agents(agents)?;
    // Its agents' keys are made the first time.
    let longest = Duration::from_secs(300 + agents as u64 / 20);
    wait_for("MeshCentral's agents", longest, || (simulated.count("ready") >= agents as u64).then_some(()))
        .with_context(|| format!("{} are connected", simulated.count("connected")))?;
    Ok(simulated)
}

fn connected(target: &Target, bin_dir: &Path, agents: usize, manner: Manner) -> anyhow::Result<Fleet> {
    let fleet = Fleet::start_at(target, bin_dir, agents, 0..agents, manner)?;
    fleet.wait_connected(agents, Duration::from_secs(300))?;
    Ok(fleet)
}

fn kilobytes_each(megabytes: f64, agents: usize) -> f64 {
    megabytes * 1_000.0 / agents as f64
}
