//! Seeded agents, connected: as many as the process may open files.

use crate::agent::{Agent, Manner, Shared};
use crate::counts::{Counted, Counts};
use crate::seed::Secret;
use crate::wire::Place;
use crate::world::World;
use chrono::{TimeDelta, Utc};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How quickly agents are started: the server is measured with agents that are there, unless arriving is measured.
pub const PER_SECOND: u32 = 500;
/// Between samples of the past: the default of a policy.
const BACKLOG_INTERVAL: TimeDelta = TimeDelta::minutes(1);

/// Runs machines `from` up to `to` of the seeded world until standard input ends; a line of JSON says every second what
/// they did.
///
/// # Errors
/// When standard output is gone.
pub async fn load(
    data_dir: &Path,
    world: World,
    (from, to): (usize, usize),
    per_second: u32,
    places: Vec<Place>,
    manner: Manner,
    backlog: TimeDelta,
) -> anyhow::Result<()> {
    let secret = Secret::of(data_dir)?;
    let now = Utc::now();
    let machines = world.machines.into_iter().skip(from).take(to.saturating_sub(from));
    let agents = machines
        .map(|machine| {
            let (id, key) = (secret.id(machine.number).to_string(), secret.key(machine.number));
            let mut agent = Agent::new(machine, id, key);
            agent.remember(now - backlog, now, BACKLOG_INTERVAL);
            agent
        })
        .collect();
    let counted = run(agents, per_second, places, manner, say).await?;
    // Some of it was done since the last line.
    say_counts(&counted).await
}

/// Runs agents until `meanwhile` ends, which sees what they do. Of several places they start evenly at all. Answers what
/// they did in all.
///
/// # Errors
/// Those of `meanwhile`.
pub async fn run(
    agents: Vec<Agent>,
    per_second: u32,
    places: Vec<Place>,
    manner: Manner,
    meanwhile: impl AsyncFnOnce(&Shared) -> anyhow::Result<()>,
) -> anyhow::Result<Counted> {
    let stop = CancellationToken::new();
    let shared = Arc::new(Shared { places, counts: Counts::default(), stop: stop.clone(), manner });
    let tracker = TaskTracker::new();
    let started = {
        let (shared, tracker) = (Arc::clone(&shared), tracker.clone());
        tokio::spawn(async move {
            let mut turn = interval(Duration::from_secs(1) / per_second.max(1));
            turn.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for agent in agents {
                tokio::select! {
                    _ = turn.tick() => {}
                    () = shared.stop.cancelled() => return,
                }
                shared.counts.samples_remembered.add(agent.remembered() as u64);
                tracker.spawn(agent.live(Arc::clone(&shared)));
            }
        })
    };
    let ended = meanwhile(&shared).await;
    stop.cancel();
    started.await?;
    tracker.close();
    tracker.wait().await;
    ended.map(|()| shared.counts.now())
}

/// Until standard input ends, a line of JSON a second.
async fn say(shared: &Shared) -> anyhow::Result<()> {
    let mut input = tokio::io::stdin();
    let mut second = interval(Duration::from_secs(1));
    let mut ignored = [0; 64];
    loop {
        tokio::select! {
            _ = second.tick() => say_counts(&shared.counts.now()).await?,
            read = input.read(&mut ignored) => if read? == 0 { return Ok(()) },
        }
    }
}

async fn say_counts(counted: &Counted) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(counted)?;
    line.push(b'\n');
    let mut output = tokio::io::stdout();
    output.write_all(&line).await?;
    Ok(output.flush().await?)
}
