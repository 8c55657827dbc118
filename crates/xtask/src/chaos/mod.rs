//! `xtask chaos`: kills server, agents and PostgreSQL at random, cuts and slows lines, sets clocks and fills disks while
//! commands run, then has an independent checker compare what happened on the machine with what the server says. Every
//! command writes its own start and end into a ledger file, so the checker believes neither server nor agent. Of samples it
//! knows how often they are taken, and what a kill may cost. With `--nodes` there are several servers, whose NATS and whose
//! lines to it break, too.

mod check;
mod driver;
mod link;
mod samples;
mod strike;
mod surroundings;

use crate::api::Api;
use crate::stack::{EMAIL, PASSWORD, Peers, Stack, Transport, wait_for};
use chrono::Utc;
use clap::Args;
use driver::{Driver, Submitted};
use link::Link;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};
use strike::{Scene, Strike};
use surroundings::{Disk, Meeting, World};

/// More than the server and its database need in such a run.
const SERVER_DISK_BYTES: u64 = 1536 * 1024 * 1024;

#[derive(Args)]
pub struct Options {
    /// How often something goes wrong
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Seed of all choices; the same seed makes the same choices
    #[arg(long)]
    seed: Option<u64>,
    /// Agents to run
    #[arg(long, default_value_t = 3)]
    agents: usize,
    /// Servers on one PostgreSQL, which meet at NATS where there are several
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
    nodes: u8,
    /// Most seconds between two rounds; above 15, agents are without a server for so long that samples go to disk
    #[arg(long, default_value_t = 1.5)]
    pause: f64,
    /// Where gururmm-server and gururmm-agent are
    #[arg(long, default_value = "target/debug")]
    bin_dir: PathBuf,
}

/// Runs it. Fails when anything was lost, doubled or left open.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    let Options { rounds, agents, nodes, .. } = options;
    println!("[INFO] chaos: {rounds} rounds, {agents} agents, --nodes {nodes} --seed {seed}");
    let folder = root.join(format!("target/chaos-{}", std::process::id()));
    let disk = Disk::mount(&folder.join("server"), SERVER_DISK_BYTES)?;
    if let Err(error) = run_in(root, &folder, disk.as_ref(), seed, options) {
        // What is mounted goes with this process.
        let kept = folder.join("kept");
        Command::new("cp").arg("-r").args([folder.join("server"), kept.clone()]).status()?;
        println!("[INFO] logs and data stay in {}", kept.display());
        return Err(error.context(format!("chaos found a fault; --seed {seed} makes the same choices")));
    }
    drop(disk);
    std::fs::remove_dir_all(folder)?;
    println!("[OK] nothing lost, nothing doubled, nothing left open");
    Ok(())
}

fn run_in(
    root: &Path,
    folder: &Path,
    server_disk: Option<&Disk>,
    seed: u64,
    options: &Options,
) -> anyhow::Result<()> {
    let bin_dir = &root.join(&options.bin_dir);
    let mut rng = StdRng::seed_from_u64(seed);
    let stack_folder = folder.join("server/stack");
    let (meeting, stack) = match options.nodes {
        1 => (None, Stack::start(bin_dir, &stack_folder)?),
        nodes => {
            let meeting = Meeting::new(root, &folder.join("nats"), nodes.into())?;
            let nats: Vec<SocketAddr> = meeting.lines.iter().map(Link::address).collect();
            let peers = Peers { nats: &nats, token: meeting.nats.token() };
            let stack = Stack::start_nodes(Transport::Plain, &peers, bin_dir, &stack_folder)?;
            (Some(meeting), stack)
        }
    };
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    let mut scene = Scene { stack, worlds: Vec::new(), server_disk, meeting, troubles: Vec::new() };
    for index in 0..options.agents {
        let world = World::new(&folder.join(format!("world-{index}")), scene.stack.addresses())?;
        scene.stack.add_agent_in(&api, world.surroundings())?;
        scene.worlds.push(world);
    }
    if !scene.has_disks() {
        println!("[INFO] no disk is filled: this user may not mount one");
    }
    wait_online(&api, options.agents)?;
    let began = samples::measure_often(&api)?;

    let apis = scene.stack.urls().iter().map(|url| api.at(url)).collect();
    let mut driver = Driver::new(apis, folder);
    for round in 1..=options.rounds {
        for _ in 0..rng.random_range(4..10) {
            let agent = rng.random_range(0..options.agents);
            driver.submit(&scene.stack.agents()[agent].id, &mut rng);
        }
        std::thread::sleep(Duration::from_secs_f64(rng.random_range(0.0..=options.pause.max(0.0))));
        // Mostly one thing at a time goes wrong, and now and then several.
        if rng.random_range(0..10) < 7 {
            scene.calm()?;
        }
        let strike = Strike::choose(&mut rng, &scene);
        println!("[INFO] round {round}: {strike:?}, {} commands so far", driver.submitted().len());
        strike.happen(&mut scene, &mut rng)?;
        driver.observe();
    }
    let agent = rng.random_range(0..options.agents);
    println!("[INFO] at last: {:?}", Strike::Spoil(agent));
    Strike::Spoil(agent).happen(&mut scene, &mut rng)?;
    scene.calm()?;
    let ended = Utc::now();
    scene.stack.wait_ready(Duration::from_secs(60))?;
    wait_online(&api, options.agents)?;
    driver.find_unanswered()?;
    let settled = settle(&mut driver);
    let mut findings = check::check(&driver, &folder.join("ledger"), &scene.troubles)?;
    let agents: Vec<String> = scene.stack.agents().iter().map(|agent| agent.id.clone()).collect();
    findings.add(samples::check(&api, &agents, (began, ended), &scene.troubles)?);
    print!("{}", findings.report());
    scene.stack.stop()?;
    settled.and(findings.verdict())
}

fn wait_online(api: &Api, agents: usize) -> anyhow::Result<()> {
    wait_for("all agents online", Duration::from_secs(120), || {
        let list = api.get("/api/agents").ok()?;
        let online = list.as_array()?.iter().filter(|agent| agent["status"] == "online").count();
        (online == agents).then_some(())
    })
}

/// Waits until every command has ended; not ending in two minutes is a fault by itself.
fn settle(driver: &mut Driver) -> anyhow::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        driver.observe();
        let open: Vec<&Submitted> = driver.submitted().iter().filter(|command| !command.is_final()).collect();
        if open.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            anyhow::bail!("{} commands did not end", open.len());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn fresh_seed() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.subsec_nanos().into()
}
