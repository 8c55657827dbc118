//! Thousands of agents lose their servers at once, or one of several, or the servers their database, or both. They come back
//! by themselves, and people can work meanwhile.

use super::people::{Asked, Kind, Office};
use super::{Row, percentile, process};
use crate::api::Api;
use crate::fleet::{self, Fleet, Target};
use crate::nats::Nats;
use crate::stack::{EMAIL, PASSWORD, Peers, Stack, Transport, wait_for};
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Connected agents
    #[arg(long, default_value_t = 15_000)]
    agents: usize,
    /// Servers; several share a PostgreSQL and meet at NATS
    #[arg(long, default_value_t = 1)]
    servers: usize,
    /// What is lost: the servers, one of several, their database, or the servers and, when half of the agents are back, the
    /// database
    #[arg(long, value_enum, default_value_t = What::Servers)]
    lose: What,
    /// Seconds that the servers are away
    #[arg(long, default_value_t = 2)]
    away_seconds: u64,
    /// Seconds that the database is away
    #[arg(long, default_value_t = 10)]
    database_away_seconds: u64,
    /// Storms
    #[arg(long, default_value_t = 3)]
    storms: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Servers,
    Server,
    Database,
    Both,
}

impl What {
    /// Whether agents lose their sessions with it.
    fn is_storm(self) -> bool {
        self != Self::Database
    }
}

/// Long enough for every agent to have heard, with an answer to a heartbeat, how many they are.
const ACQUAINTED: Duration = Duration::from_secs(45);
/// How long people are timed from the return on.
const WATCHED: Duration = Duration::from_secs(120);
const BACK_WITHIN_SECONDS: f64 = 120.0;
/// Agents that get a session in a second, at most.
const ARRIVE_AT_MOST: f64 = 1_000.0;

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let (agents, storms) = (options.agents, options.storms.max(1));
    anyhow::ensure!(options.lose != What::Server || options.servers > 1, "one of several needs --servers");
    // A database that can be taken away alone is one that servers share, be it one server.
    let is_shared = options.servers > 1 || options.lose != What::Servers;
    let nats = is_shared.then(|| Nats::start(root, &folder.join("nats"))).transpose()?;
    let mut stack = match &nats {
        Some(nats) => {
            let addresses = vec![nats.address(); options.servers];
            let peers = Peers { nats: &addresses, token: nats.token() };
            Stack::start_nodes(Transport::Tls, &peers, bin_dir, &folder.join("stack"))?
        }
        None => Stack::start_over(Transport::Tls, bin_dir, &folder.join("stack"))?,
    };
    fleet::seed(&stack, bin_dir, agents)?;
    let target = Target { urls: stack.urls(), ..Target::of(&stack) };
    let api = stack.api()?.sign_in(EMAIL, PASSWORD)?;
    let fleet = Fleet::start_at(&target, bin_dir, agents, 0..agents, &[])?;
    fleet.wait_connected(agents, Duration::from_secs(600))?;
    let mut seen = Vec::new();
    for _ in 0..storms {
        thread::sleep(ACQUAINTED);
        fleet.wait_connected(agents, Duration::from_secs(120))?;
        seen.push(storm(&mut stack, &fleet, &api, options)?);
    }
    let has_lost = fleet.count("samples_dropped");
    drop(fleet);
    let waits = stack.said("pool timed out")?;
    stack.stop()?;
    drop(nats);
    std::fs::remove_dir_all(folder)?;

    let mut rows = arrivals(&seen, options);
    rows.extend(work(&seen));
    rows.extend([
        Row::alone(
            "waits for a database connection that were given up",
            waits as f64,
            "",
            matches!(options.lose, What::Servers | What::Server).then_some(0.0),
        ),
        Row::alone(
            "times agents were told to come again",
            seen.iter().map(|seen| seen.refused as f64).sum(),
            "",
            None,
        ),
        Row::alone("samples that agents let go", has_lost as f64, "", Some(0.0)),
    ]);
    Ok(rows)
}

/// What was seen of one storm.
struct Seen {
    returned: Returned,
    /// Sessions that broke, and attempts that failed.
    lost: u64,
    /// How often agents were told to come again.
    refused: u64,
    /// Sessions that began in a second, at most.
    arrived: f64,
    asked: Vec<Asked>,
    /// Seconds of CPU until all were back: of the servers and PostgreSQL, and of the fleet.
    cpu: (f64, f64),
    /// When there was no database.
    without: Option<(Instant, Instant)>,
}

/// Seconds from the moment at which the servers were started again, or one of them, or the database, was lost.
struct Returned {
    nearly_all: f64,
    all: f64,
}

fn storm(stack: &mut Stack, fleet: &Fleet, api: &Api, options: &Options) -> anyhow::Result<Seen> {
    let (lost_before, refused_before) = (fleet.count("lost"), fleet.count("refused"));
    // One of several stays away until the others have its agents.
    let first = usize::from(options.lose == What::Server);
    let office = Office::new(stack.urls().iter().skip(first).map(|url| api.at(url)).collect())?;
    let lost_at = Instant::now();
    match options.lose {
        What::Servers | What::Both => stack.kill_servers()?,
        What::Server => stack.kill_node(0)?,
        What::Database => {}
    }
    if options.lose.is_storm() {
        // Until the fleet itself has noticed, it counts those that are gone.
        let left = if options.lose == What::Server {
            options.agents - options.agents / 10
        } else {
            options.agents / 2
        };
        wait_for("the loss", Duration::from_secs(30), || {
            (fleet.count("connected") < left as u64).then_some(())
        })?;
    }
    let from = match options.lose {
        What::Servers | What::Both => {
            thread::sleep(Duration::from_secs(options.away_seconds).saturating_sub(lost_at.elapsed()));
            Instant::now()
        }
        What::Server | What::Database => lost_at,
    };
    let ended = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let arrived = scope.spawn(|| busiest_second(fleet, &ended));
        let started = match options.lose {
            What::Servers | What::Both => stack.start_servers(),
            What::Server | What::Database => Ok(()),
        };
        let people = scope.spawn(|| office.ask(&ended));
        let before = cpu(stack, fleet);
        let watched = started.and_then(|()| watch(stack, fleet, options, from));
        let after = cpu(stack, fleet);
        thread::sleep(WATCHED.saturating_sub(from.elapsed()));
        ended.store(true, Ordering::Relaxed);
        let asked = people.join().map_err(|_| anyhow::anyhow!("people could not be asked for"))?;
        let arrived = arrived.join().map_err(|_| anyhow::anyhow!("arrivals were not counted"))?;
        let (returned, without) = watched?;
        let lost = fleet.count("lost") - lost_before;
        let refused = fleet.count("refused") - refused_before;
        let cpu = (after.0 - before.0, after.1 - before.1);
        anyhow::Ok(Seen { returned, lost, refused, arrived, asked, cpu, without })
    })?;
    if options.lose == What::Server {
        stack.start_node(0)?;
    }
    Ok(seen)
}

/// Seconds of CPU so far: of the servers with PostgreSQL, and of the fleet.
fn cpu(stack: &Stack, fleet: &Fleet) -> (f64, f64) {
    let roots: Vec<u32> = stack.node_pids().chain(stack.postmaster_pid()).collect();
    let all: BTreeSet<u32> = roots.iter().flat_map(|root| process::tree(*root)).collect();
    let ended: Duration = roots.iter().filter_map(|root| process::ended_children(*root).ok()).sum();
    ((process::cpu_of(all) + ended).as_secs_f64(), process::cpu_of(fleet.pids()).as_secs_f64())
}

/// Takes the database away where that is asked for, and waits for the agents.
fn watch(
    stack: &mut Stack,
    fleet: &Fleet,
    options: &Options,
    from: Instant,
) -> anyhow::Result<(Returned, Option<(Instant, Instant)>)> {
    let without = match options.lose {
        What::Servers | What::Server => None,
        What::Database => {
            // So that people are at work already.
            thread::sleep(Duration::from_secs(5));
            Some(database_away(stack, options)?)
        }
        What::Both => {
            back(fleet, options.agents, 0.5)?;
            Some(database_away(stack, options)?)
        }
    };
    back(fleet, options.agents, 0.99)?;
    let nearly_all = from.elapsed().as_secs_f64();
    back(fleet, options.agents, 1.0)?;
    Ok((Returned { nearly_all, all: from.elapsed().as_secs_f64() }, without))
}

/// Kills PostgreSQL and starts it again; when it went and when it was there.
fn database_away(stack: &mut Stack, options: &Options) -> anyhow::Result<(Instant, Instant)> {
    let gone = Instant::now();
    stack.kill_postgres()?;
    thread::sleep(Duration::from_secs(options.database_away_seconds));
    stack.start_postgres()?;
    Ok((gone, Instant::now()))
}

/// Waits until a share of the agents is connected.
fn back(fleet: &Fleet, agents: usize, share: f64) -> anyhow::Result<()> {
    let enough = (agents as f64 * share).ceil() as u64;
    wait_for("the agents' return", Duration::from_secs(300), || {
        (fleet.count("connected") >= enough).then_some(())
    })
    .with_context(|| format!("{} of {agents} are back", fleet.count("connected")))
}

/// How many sessions began in a second, at most.
fn busiest_second(fleet: &Fleet, ended: &AtomicBool) -> f64 {
    let (mut most, mut before, mut since) = (0.0_f64, fleet.count("connects"), Instant::now());
    while !ended.load(Ordering::Relaxed) {
        // Longer than the fleet's own second, or one would count for two.
        thread::sleep(Duration::from_secs(3));
        let now = fleet.count("connects");
        most = most.max((now - before) as f64 / since.elapsed().as_secs_f64());
        (before, since) = (now, Instant::now());
    }
    most
}

fn arrivals(seen: &[Seen], options: &Options) -> Vec<Row> {
    let agents = options.agents;
    let most = |value: fn(&Seen) -> f64| seen.iter().map(value).fold(f64::NAN, f64::max);
    let lost = most(|seen| seen.lost as f64);
    if !options.lose.is_storm() {
        let connected = most(|seen| seen.returned.all);
        return vec![
            Row::alone(format!("sessions of {agents} agents that broke"), lost, "", Some(0.0)),
            Row::alone("all are connected, from the loss", connected, "s", None),
        ];
    }
    let since =
        if options.lose == What::Server { "after the loss" } else { "after the servers were started" };
    let mut rows = vec![
        Row::alone(
            format!("99 % of {agents} agents are back {since} (slowest of {})", seen.len()),
            most(|seen| seen.returned.nearly_all),
            "s",
            Some(BACK_WITHIN_SECONDS),
        ),
        Row::alone("all are back", most(|seen| seen.returned.all), "s", None),
        Row::alone("sessions that broke and attempts that failed", lost, "", None),
        Row::alone(
            "agents that arrived in a second (mean of three), at most",
            most(|seen| seen.arrived),
            "",
            Some(ARRIVE_AT_MOST),
        ),
    ];
    if options.lose != What::Both {
        // A PostgreSQL that was killed takes its account with it.
        rows.push(Row::alone("CPU until then: servers and PostgreSQL", most(|seen| seen.cpu.0), "s", None));
        rows.push(Row::alone(
            "CPU until then: the fleet, on the same cores",
            most(|seen| seen.cpu.1),
            "s",
            None,
        ));
    }
    rows
}

/// How people fared. While there is no database nobody can be served: that is counted by itself.
fn work(seen: &[Seen]) -> Vec<Row> {
    let (mut requests, mut lists, mut sign_ins, mut without) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut failed, mut failed_without) = (0.0, 0.0);
    for seen in seen {
        for asked in &seen.asked {
            let is_without =
                seen.without.is_some_and(|(gone, back)| asked.at < back && asked.at + asked.took > gone);
            let missed = if asked.is_answered { 0.0 } else { 1.0 };
            let times = match asked.kind {
                _ if is_without => &mut without,
                Kind::SignIn => &mut sign_ins,
                _ => &mut requests,
            };
            times.push(asked.ms());
            if asked.kind == Kind::List && !is_without {
                lists.push(asked.ms());
            }
            *(if is_without { &mut failed_without } else { &mut failed }) += missed;
        }
    }
    let mut rows = vec![
        Row::alone("people's requests p50", percentile(&mut requests, 0.5), "ms", None),
        Row::alone("people's requests p99", percentile(&mut requests, 0.99), "ms", Some(1_000.0)),
        Row::alone("people's slowest request", percentile(&mut requests, 1.0), "ms", None),
        Row::alone("of them the list of machines, sorted: p50", percentile(&mut lists, 0.5), "ms", None),
        Row::alone("and p99", percentile(&mut lists, 0.99), "ms", None),
        Row::alone("sign-ins p50", percentile(&mut sign_ins, 0.5), "ms", None),
        Row::alone("slowest sign-in", percentile(&mut sign_ins, 1.0), "ms", Some(1_000.0)),
        Row::alone("requests and sign-ins that failed", failed, "", Some(0.0)),
    ];
    if !without.is_empty() {
        rows.extend([
            Row::alone("without a database: requests", without.len() as f64, "", None),
            Row::alone("of which failed", failed_without, "", None),
            Row::alone("the slowest of them", percentile(&mut without, 1.0), "ms", None),
        ]);
    }
    rows
}
