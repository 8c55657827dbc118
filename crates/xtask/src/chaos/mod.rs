//! `xtask chaos`: kills server, agents and PostgreSQL at random while commands run, then has an independent checker
//! compare what happened on the machine with what the server says. Every command writes its own start and end
//! into a ledger file, so the checker believes neither server nor agent.

mod check;
mod driver;

use crate::api::Api;
use crate::stack::{EMAIL, PASSWORD, Stack, wait_for};
use clap::Args;
use driver::{Driver, Submitted};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

#[derive(Args)]
pub struct Options {
    /// How often something is killed
    #[arg(long, default_value_t = 20)]
    rounds: u32,
    /// Seed of all choices; the same seed makes the same choices
    #[arg(long)]
    seed: Option<u64>,
    /// Agents to run
    #[arg(long, default_value_t = 3)]
    agents: usize,
    /// Where gururmm-server and gururmm-agent are
    #[arg(long, default_value = "target/debug")]
    bin_dir: PathBuf,
}

/// What is killed in a round.
#[derive(Debug, Clone, Copy)]
enum Victim {
    Server,
    Postgres,
    ServerAndPostgres,
    Agent(usize),
    AgentAndServer(usize),
}

/// Runs it. Fails when anything was lost, doubled or left open.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(fresh_seed);
    println!("[INFO] chaos: {} rounds, {} agents, --seed {seed}", options.rounds, options.agents);
    let mut rng = StdRng::seed_from_u64(seed);
    let bin_dir = root.join(&options.bin_dir);
    let mut stack = Stack::start(&bin_dir, &root.join(format!("target/chaos-{}", std::process::id())))?;
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    for _ in 0..options.agents {
        stack.add_agent(&api)?;
    }
    wait_online(&api, options.agents)?;

    let mut driver = Driver::new(api.clone(), stack.folder());
    let mut killed_agents = Vec::new();
    for round in 1..=options.rounds {
        for _ in 0..rng.random_range(4..10) {
            let agent = rng.random_range(0..options.agents);
            driver.submit(&stack.agents()[agent].id, &mut rng);
        }
        std::thread::sleep(Duration::from_millis(rng.random_range(0..1_500)));
        let victim = choose(&mut rng, options.agents);
        strike(&mut stack, victim, &mut rng, &mut killed_agents)?;
        driver.observe();
        println!("[INFO] round {round}: {victim:?}, {} commands so far", driver.submitted().len());
    }
    stack.wait_ready(Duration::from_secs(60))?;
    wait_online(&api, options.agents)?;
    driver.find_unanswered()?;
    let settled = settle(&mut driver);
    let findings = check::check(&driver, &stack.folder().join("ledger"), &killed_agents)?;
    print!("{}", findings.report());
    if let Err(error) = settled.and(findings.verdict()) {
        println!("[INFO] logs and data stay in {}", stack.folder().display());
        stack.stop()?;
        return Err(error.context(format!("chaos found a fault; --seed {seed} makes the same choices")));
    }
    let folder = stack.folder().to_owned();
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;
    println!("[OK] nothing lost, nothing doubled, nothing left open");
    Ok(())
}

/// An agent that was killed, and when: only its commands may be interrupted.
pub struct AgentKill {
    pub agent_id: String,
    pub at: SystemTime,
}

fn choose(rng: &mut StdRng, agents: usize) -> Victim {
    match rng.random_range(0..10) {
        0..=2 => Victim::Server,
        3..=4 => Victim::Postgres,
        5 => Victim::ServerAndPostgres,
        6 => Victim::AgentAndServer(rng.random_range(0..agents)),
        _ => Victim::Agent(rng.random_range(0..agents)),
    }
}

fn strike(
    stack: &mut Stack,
    victim: Victim,
    rng: &mut StdRng,
    kills: &mut Vec<AgentKill>,
) -> anyhow::Result<()> {
    let (server, postgres, agent) = match victim {
        Victim::Server => (true, false, None),
        Victim::Postgres => (false, true, None),
        Victim::ServerAndPostgres => (true, true, None),
        Victim::Agent(index) => (false, false, Some(index)),
        Victim::AgentAndServer(index) => (true, false, Some(index)),
    };
    if let Some(index) = agent {
        kills.push(AgentKill { agent_id: stack.agents()[index].id.clone(), at: SystemTime::now() });
        stack.kill_agent(index)?;
    }
    if server {
        stack.kill_server()?;
    }
    if postgres {
        stack.kill_postgres()?;
    }
    std::thread::sleep(Duration::from_millis(rng.random_range(0..700)));
    if server {
        stack.start_server()?;
    }
    if let Some(index) = agent {
        stack.start_agent(index)?;
    }
    Ok(())
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
