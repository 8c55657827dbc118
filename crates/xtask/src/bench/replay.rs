//! Thousands of agents come with what they measured while they had no line, all at once. Those that were never away, and
//! people, must not notice.

use super::people::{Asked, Office};
use super::{Row, percentile};
use crate::fleet::{self, Fleet};
use crate::stack::{EMAIL, PASSWORD, Stack, Transport};
use clap::Args;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

#[derive(Args)]
pub struct Options {
    /// Agents that come with a backlog
    #[arg(long, default_value_t = 10_000)]
    replaying: usize,
    /// Agents that have none, whose heartbeats are timed
    #[arg(long, default_value_t = 1_000)]
    live: usize,
    /// For how long each of them measured without a line
    #[arg(long, default_value_t = 72)]
    hours: usize,
    /// How long the others are timed
    #[arg(long, default_value_t = 180)]
    seconds: u64,
}

/// Fewer samples a second would be no replay worth the name.
const RATE: f64 = 1_000.0;
/// Live heartbeats' p99 while others replay.
const HEARTBEAT_MS: f64 = 2_000.0;

pub fn run(root: &Path, bin_dir: &Path, options: &Options) -> anyhow::Result<Vec<Row>> {
    let folder = root.join(format!("target/bench-{}", std::process::id()));
    let stack = Stack::start_over(Transport::Tls, bin_dir, &folder)?;
    let (replaying, all) = (options.replaying, options.replaying + options.live);
    fleet::seed(&stack, bin_dir, all)?;
    let start = |agents, manner: &[&str]| Fleet::start(&stack, bin_dir, all, agents, manner);
    let watched = Duration::from_secs(options.seconds);
    let quiet = live(start(replaying..all, &[])?, options.live, watched)?;

    let away = start(0..replaying, &["--backlog-hours", &options.hours.to_string()])?;
    away.wait_connected(replaying, Duration::from_secs(300))?;
    let office = Office::new(vec![stack.api()?.sign_in(EMAIL, PASSWORD)?])?;
    let ended = AtomicBool::new(false);
    let (before, began) = (away.count("samples_stored"), Instant::now());
    let (beside, asked) = thread::scope(|scope| {
        let people = scope.spawn(|| office.ask(&ended));
        let beside = start(replaying..all, &[]).and_then(|fleet| live(fleet, options.live, watched));
        ended.store(true, Ordering::Relaxed);
        (beside, people.join())
    });
    let beside = beside?;
    let asked = asked.map_err(|_| anyhow::anyhow!("people could not be asked for"))?;
    let stored = away.count("samples_stored");
    let rate = (stored - before) as f64 / began.elapsed().as_secs_f64();
    let (lost, dropped) = (away.count("lost"), away.count("samples_dropped"));
    let left = away.count("samples_remembered").saturating_sub(stored);
    drop(away);
    let waits = stack.said("pool timed out")?;
    stack.stop()?;
    std::fs::remove_dir_all(folder)?;

    let mut times: Vec<f64> = asked.iter().map(Asked::ms).collect();
    let failed = asked.iter().filter(|asked| !asked.is_answered).count();
    Ok(vec![
        Row::at_least(format!("samples a second from {replaying} that replay"), rate, "1/s", RATE),
        // They were replaying to the end.
        Row::at_least("of their backlog, left at the end", left as f64, "", 1.0),
        Row::alone("sessions of theirs that broke", lost as f64, "", Some(0.0)),
        Row::alone("samples of theirs that they let go", dropped as f64, "", Some(0.0)),
        Row::alone("live heartbeats p50 before (whole milliseconds)", quiet.p50, "ms", None),
        Row::alone("live heartbeats p99 before", quiet.p99, "ms", None),
        Row::alone("live heartbeats p50 beside them", beside.p50, "ms", None),
        Row::alone("live heartbeats p99 beside them", beside.p99, "ms", Some(HEARTBEAT_MS)),
        Row::alone("slowest live heartbeat beside them", beside.most, "ms", None),
        // As many as before, but for those of the moment in which they connected.
        Row::at_least("live heartbeats beside them", beside.sent, "", quiet.sent * 0.9),
        Row::at_least("live agents connected at the end", beside.connected, "", options.live as f64),
        Row::alone("live sessions that broke", beside.lost, "", Some(0.0)),
        Row::alone("people's requests p99", percentile(&mut times, 0.99), "ms", Some(1_000.0)),
        Row::alone("people's requests that failed", failed as f64, "", Some(0.0)),
        Row::alone("waits for a database connection that were given up", waits as f64, "", Some(0.0)),
    ])
}

/// Watches agents without a backlog for a time from their start on, and has them leave.
fn live(mut fleet: Fleet, agents: usize, watched: Duration) -> anyhow::Result<Live> {
    let began = Instant::now();
    fleet.wait_connected(agents, Duration::from_secs(60))?;
    thread::sleep(watched.saturating_sub(began.elapsed()));
    let connected = fleet.count("connected") as f64;
    fleet.stop()?;
    let most = |name| fleet.most(name) as f64;
    Ok(Live {
        connected,
        lost: fleet.count("lost") as f64,
        sent: fleet.count("heartbeats") as f64,
        p50: most("heartbeat_p50_ms"),
        p99: most("heartbeat_p99_ms"),
        most: most("heartbeat_most_ms"),
    })
}

/// How they fared.
struct Live {
    connected: f64,
    lost: f64,
    sent: f64,
    /// Heartbeats' times, in milliseconds.
    p50: f64,
    p99: f64,
    most: f64,
}
