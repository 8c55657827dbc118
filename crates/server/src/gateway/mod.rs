//! Agents' sockets: who is connected to this server, and the way to them. Knows no feature: what a message means
//! stands in `agent_router`.

mod arrivals;
mod elsewhere;
pub mod http;
mod presence;
mod read_ahead;
mod registry;
mod session;
mod store;
mod visits;

pub use arrivals::Door;
pub use elsewhere::{Met, connected_elsewhere, ended, is_connected, keep_comparing, look, say_who};
pub use presence::{follow_moves, give_up_nodes, keep as keep_presence};
pub use registry::{Line, Machine, MachineClock};
pub use store::{hold, prune_visits, session_elsewhere};
pub use visits::Parting;

use crate::auth::Scope;
use crate::auth::permission::System;
use crate::bus::Bus;
use crate::error::Error;
use crate::peers::{self, Signal};
use arrivals::{Arrival, Arrivals};
use chrono::{DateTime, Utc};
use elsewhere::Questions;
use gururmm_protocol::ServerMessage;
use gururmm_protocol::to_agent::GoodbyeReason;
use registry::Registry;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// One connected agent, as the slices that get its messages know it. All of it comes from the authenticated
/// credential, nothing from a message, except the host name, which is for people.
#[derive(Debug, Clone)]
pub struct AgentSession {
    pub agent_id: Uuid,
    /// Short surrogate for the sample tables.
    pub num: i64,
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    /// The partner's retention class, in days.
    pub retention_days: i16,
    /// Grows with every session of this agent; the larger one is the living one.
    pub epoch: i64,
    pub hostname: String,
    /// The other node that held a session of this agent when this one began.
    pub held_by: Option<Uuid>,
}

impl AgentSession {
    /// The scope of what is done for this agent.
    pub fn scope(&self) -> Scope<System> {
        Scope::agent(self.agent_id, self.tenant_id, &self.hostname)
    }
}

/// How long things may take and how much an agent may send.
#[derive(Debug, Clone)]
pub struct Settings {
    /// From the upgrade to the agent's hello.
    pub hello_within: Duration,
    /// What agents are told to leave between heartbeats.
    pub heartbeat: Duration,
    /// A socket that is silent this long is lost.
    pub silence: Duration,
    /// A message that cannot be written within this time goes to an agent that is too slow.
    pub write_within: Duration,
    /// Messages an agent may send in a second, with as many as five seconds' worth at once.
    pub messages_per_second: u32,
    /// Bytes an agent may send in a second, with as many as a quarter of a second's worth at once.
    pub bytes_per_second: u32,
    /// An agent that has been held back this long without a break is abusive.
    pub throttled_at_most: Duration,
    /// How often changes of presence are written.
    pub presence_every: Duration,
    /// Agents that may be on their way in at a time; what is done for them all takes a second or two. Others are told to
    /// come again.
    pub arrivals: usize,
    /// Agents that may be connected; the server lowers it to what the system's limit of open files allows.
    pub room: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hello_within: Duration::from_secs(10),
            heartbeat: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            write_within: Duration::from_secs(20),
            messages_per_second: 200,
            bytes_per_second: 4 * 1024 * 1024,
            throttled_at_most: Duration::from_secs(60),
            presence_every: Duration::from_millis(250),
            arrivals: 512,
            room: 100_000,
        }
    }
}

/// The agents connected to this server.
pub struct Gateway {
    settings: Settings,
    registry: Registry,
    arrivals: Arc<Arrivals>,
    tasks: TaskTracker,
    stopping: CancellationToken,
    bus: Bus,
    pub questions: Questions,
}

impl Gateway {
    /// Nobody is connected yet.
    pub fn new(settings: Settings, bus: Bus) -> Self {
        Self {
            bus,
            questions: Questions::default(),
            arrivals: Arrivals::new(settings.arrivals, settings.room, Instant::now()),
            settings,
            registry: Registry::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// Puts a message into the agent's queue. `false` when it is not connected here, or so slow that its queue is full
    /// (it is then disconnected): what must arrive is a row in the database and is sent again at its next hello.
    pub fn send(&self, agent_id: Uuid, message: ServerMessage) -> bool {
        self.registry.line(agent_id).is_some_and(|line| line.send(&message))
    }

    /// [`Gateway::send`], but only to the session of this epoch: for answers to what that session said.
    pub fn answer(&self, agent_id: Uuid, epoch: i64, message: ServerMessage) -> bool {
        self.registry
            .line(agent_id)
            .filter(|line| line.epoch() == epoch)
            .is_some_and(|line| line.send(&message))
    }

    /// Says goodbye to an agent and closes its socket, on whichever node that is; it is offline from now on. Nothing when
    /// it is not connected.
    pub fn disconnect(&self, agent_id: Uuid, reason: GoodbyeReason) {
        match self.registry.line(agent_id) {
            Some(line) => line.close(reason, Duration::ZERO),
            None => peers::tell(&self.bus, Uuid::nil(), &Signal::Ended { agent_id, reason }),
        }
    }

    /// Has everyone who is here written down as connected once more.
    pub fn write_presence_again(&self) {
        self.registry.put_all_back();
    }

    /// The way to an agent that has a session here.
    pub fn line(&self, agent_id: Uuid) -> Option<Arc<Line>> {
        self.registry.line(agent_id)
    }

    /// Whether the agent has a session here.
    pub fn is_connected(&self, agent_id: Uuid) -> bool {
        self.registry.line(agent_id).is_some()
    }

    /// The partner of an agent that has a session here.
    pub fn tenant_of(&self, agent_id: Uuid) -> Option<Uuid> {
        self.registry.line(agent_id).map(|line| line.tenant_id())
    }

    /// Since when the agent has its session here.
    pub fn connected_since(&self, agent_id: Uuid) -> Option<DateTime<Utc>> {
        self.registry.line(agent_id).map(|line| line.connected_since())
    }

    /// What the machine's own clock shows, if it is connected and said so.
    pub fn machine_clock(&self, agent_id: Uuid) -> Option<MachineClock> {
        self.registry.line(agent_id)?.machine_clock()
    }

    /// Notes what the machine's own clock shows, for as long as this session lasts.
    pub fn set_machine_clock(&self, session: &AgentSession, clock: MachineClock) {
        if let Some(line) = self.registry.line(session.agent_id).filter(|line| line.epoch() == session.epoch)
        {
            line.set_machine_clock(clock);
        }
    }

    /// How many agents have a session here.
    pub fn connected_count(&self) -> usize {
        self.registry.len()
    }

    /// Limits and times.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The agents connected now.
    pub fn connected(&self) -> Vec<Arc<Line>> {
        self.registry.lines()
    }

    /// Whether new sessions are refused.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// An agent knocks; see [`Arrivals::knock`].
    fn knock(&self, now: Instant) -> Result<Arrival, Error> {
        self.arrivals.knock(self.registry.len(), now)
    }

    /// Agents on their way in, and those that were told to come again later.
    pub fn door(&self, now: Instant) -> Door {
        self.arrivals.door(self.registry.len(), now)
    }

    /// Over what time agents come back that find this server gone; `None` while they are few.
    fn spread(&self) -> Option<Duration> {
        let seconds = self.registry.len() as u64 / AGENTS_BACK_PER_SECOND;
        (seconds >= FEW_SECONDS).then(|| Duration::from_secs(seconds.min(MOST_SECONDS)))
    }

    fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Sends every agent away, to come back spread over a time that grows with their number, and waits until all
    /// sockets are closed, `within` at most.
    pub async fn stop(&self, within: Duration) {
        self.stopping.cancel();
        let lines = self.registry.lines();
        let spread = Duration::from_secs((lines.len() as u64 / AGENTS_BACK_PER_SECOND).clamp(5, 300));
        lines.iter().for_each(|line| line.close(GoodbyeReason::ServerStopping, spread));
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "some agents' sockets did not close in time");
        }
    }
}

/// How many reconnects per second a restarted server is meant to see: half of what two cores can take.
const AGENTS_BACK_PER_SECOND: u64 = 250;
/// Agents that are back within this time need not be spread.
const FEW_SECONDS: u64 = 5;
/// An agent waits no longer for a server that went without a word.
const MOST_SECONDS: u64 = 90;
