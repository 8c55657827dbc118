//! The live view: while someone looks at an agent it measures every two seconds, and stops when nobody does. Who looks
//! may be connected to another node than the agent: then that node says so again and again, and gets the samples.

use super::Sample;
use crate::app::{App, AppState};
use crate::gateway::{AgentSession, Gateway};
use crate::peers::{self, Signal};
use gururmm_protocol::ServerMessage;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const INTERVAL_MS: u32 = 2_000;
/// How long another node looks without saying so again.
const LOOKS_FOR: Duration = Duration::from_secs(30);
/// How often a node says again what its people look at.
const TELLS_EVERY: Duration = Duration::from_secs(10);
/// Agents that are looked at from other nodes. Far more than people look at.
const ELSEWHERE_AT_MOST: usize = 10_000;
/// Nodes that look at one agent.
const NODES_AT_MOST: usize = 64;

type Latest = Option<Arc<Sample>>;

/// Who is looked at. The channel of an agent keeps its latest sample only: a slow screen misses some, and never
/// holds anything up.
#[derive(Default)]
pub struct LiveView {
    watched: Mutex<Watched>,
}

#[derive(Default)]
struct Watched {
    /// By people whose browser is connected here.
    here: HashMap<Uuid, (Uuid, watch::Sender<Latest>)>,
    /// By other nodes, and until when.
    elsewhere: HashMap<Uuid, HashMap<Uuid, Instant>>,
}

impl Watched {
    fn contains(&self, agent_id: Uuid) -> bool {
        self.here.contains_key(&agent_id) || self.elsewhere.contains_key(&agent_id)
    }
}

/// Someone looks at an agent, until this is dropped.
pub struct Watch {
    app: AppState,
    tenant_id: Uuid,
    agent_id: Uuid,
    latest: Option<watch::Receiver<Latest>>,
}

impl LiveView {
    /// Begins to look at a partner's agent.
    pub fn watch(app: &AppState, tenant_id: Uuid, agent_id: Uuid) -> Watch {
        let mut watched = app.telemetry.live.lock();
        let latest = match watched.here.get(&agent_id) {
            Some((_, sender)) => sender.subscribe(),
            None => {
                let (sender, latest) = watch::channel(None);
                let was_watched = watched.contains(agent_id);
                watched.here.insert(agent_id, (tenant_id, sender));
                if !was_watched {
                    tell(&app.gateway, agent_id, Some(INTERVAL_MS));
                }
                tell_others(app, tenant_id, agent_id, LOOKS_FOR);
                latest
            }
        };
        drop(watched);
        Watch { app: app.clone(), tenant_id, agent_id, latest: Some(latest) }
    }

    /// A live sample came from an agent that is connected here.
    pub fn publish(app: &App, session: &AgentSession, sample: Sample) {
        let watched = app.telemetry.live.lock();
        let agent_id = session.agent_id;
        let nodes: Vec<Uuid> =
            watched.elsewhere.get(&agent_id).into_iter().flat_map(|nodes| nodes.keys().copied()).collect();
        if let Some((_, sender)) = watched.here.get(&agent_id) {
            sender.send_replace(Some(Arc::new(sample.clone())));
        }
        drop(watched);
        if !nodes.is_empty() {
            let signal = Signal::Sample { agent_id, sample: Box::new(sample) };
            for node_id in nodes {
                peers::tell_one(&app.bus, node_id, session.tenant_id, &signal);
            }
        }
    }

    /// A live sample came from another node.
    pub fn show(&self, tenant_id: Uuid, agent_id: Uuid, sample: &Sample) {
        if let Some((_, sender)) = self.lock().here.get(&agent_id).filter(|(tenant, _)| *tenant == tenant_id)
        {
            sender.send_replace(Some(Arc::new(sample.clone())));
        }
    }

    /// Another node's people look at an agent for so long from now on; not any more: for no time.
    pub fn watched_elsewhere(app: &App, node_id: Uuid, agent_id: Uuid, looks_for: Duration) {
        let mut watched = app.telemetry.live.lock();
        let was_watched = watched.contains(agent_id);
        if looks_for.is_zero() {
            if let Some(nodes) = watched.elsewhere.get_mut(&agent_id) {
                nodes.remove(&node_id);
                if nodes.is_empty() {
                    watched.elsewhere.remove(&agent_id);
                }
            }
        } else if watched.elsewhere.len() < ELSEWHERE_AT_MOST || watched.elsewhere.contains_key(&agent_id) {
            let nodes = watched.elsewhere.entry(agent_id).or_default();
            if nodes.len() < NODES_AT_MOST || nodes.contains_key(&node_id) {
                nodes.insert(node_id, Instant::now() + looks_for.min(LOOKS_FOR));
            }
        }
        match (was_watched, watched.contains(agent_id)) {
            (false, true) => tell(&app.gateway, agent_id, Some(INTERVAL_MS)),
            (true, false) => tell(&app.gateway, agent_id, None),
            _ => {}
        }
    }

    /// Says to other nodes again what people here look at, and forgets what nobody looks at any more, until `stop`.
    pub async fn keep_telling(app: &App, stop: CancellationToken) {
        let mut tick = interval(TELLS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let now = Instant::now();
            let mut watched = app.telemetry.live.lock();
            for (agent_id, (tenant_id, _)) in &watched.here {
                tell_others(app, *tenant_id, *agent_id, LOOKS_FOR);
            }
            let mut left = Vec::new();
            watched.elsewhere.retain(|agent_id, nodes| {
                nodes.retain(|_, until| *until > now);
                if nodes.is_empty() {
                    left.push(*agent_id);
                }
                !nodes.is_empty()
            });
            for agent_id in left {
                if !watched.contains(agent_id) {
                    tell(&app.gateway, agent_id, None);
                }
            }
        }
    }

    /// The agent came back: it does not know that someone looks.
    pub fn resume(&self, gateway: &Gateway, agent_id: Uuid) {
        if self.lock().contains(agent_id) {
            tell(gateway, agent_id, Some(INTERVAL_MS));
        }
    }

    /// How many agents are looked at from here.
    pub fn watched(&self) -> usize {
        self.lock().here.len()
    }

    /// Agents are told under this lock, so that the last word said is the true one.
    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// The next sample; those that came meanwhile are passed over.
    pub async fn next(&mut self) -> Option<Arc<Sample>> {
        let latest = self.latest.as_mut()?;
        latest.changed().await.ok()?;
        latest.borrow_and_update().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = self.app.telemetry.live.lock();
        self.latest = None;
        if watched.here.get(&self.agent_id).is_some_and(|(_, sender)| sender.receiver_count() == 0) {
            watched.here.remove(&self.agent_id);
            if !watched.contains(self.agent_id) {
                tell(&self.app.gateway, self.agent_id, None);
            }
            tell_others(&self.app, self.tenant_id, self.agent_id, Duration::ZERO);
        }
    }
}

fn tell(gateway: &Gateway, agent_id: Uuid, interval_ms: Option<u32>) {
    // Not connected: it is told when it comes back.
    let _connected = gateway.send(agent_id, ServerMessage::LiveMetrics { interval_ms });
}

/// Whichever node holds the agent, now or in a moment.
fn tell_others(app: &App, tenant_id: Uuid, agent_id: Uuid, looks_for: Duration) {
    let seconds = u32::try_from(looks_for.as_secs()).unwrap_or(u32::MAX);
    peers::tell(&app.bus, tenant_id, &Signal::Watch { agent_id, seconds });
}
