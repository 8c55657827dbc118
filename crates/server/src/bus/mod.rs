//! What happened, told to whoever listens, on every node. The row in `events`, written in the transaction that made it
//! happen, is what lasts; this is the signal after commit. A listener that missed something, because it fell behind or
//! because the way between nodes was cut, is told so ([`RecvError::Lagged`]) and must refetch.
//!
//! There are two ways between nodes: within one process, which is all that a single server has, and NATS. Both pass the
//! same tests (`tests/it/bus.rs`).

mod nats;
mod wire;

pub use nats::{NatsError, NatsLogin, NatsOptions, NatsTls};

use bytes::Bytes;
use nats::Link;
use serde::Serialize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use uuid::Uuid;

/// What may wait for a listener.
const CAPACITY: usize = 4_096;
/// Frames that may wait to be taken up from other nodes. What finds no room leaves a gap, which the frames' numbers show.
const CARRIED: usize = 1_024;
/// What one node may say to another in one piece.
pub const MAX_NOTE_BYTES: usize = 256 * 1024;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub topic: Topic,
    /// The partner it happened in; nil for the platform.
    pub tenant_id: Uuid,
    /// The object it is about.
    pub id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
    /// Where it stands in the hierarchy: people confined elsewhere are not told.
    pub client_id: Option<Uuid>,
    pub site_id: Option<Uuid>,
}

macro_rules! topics {
    ($($variant:ident = $topic:literal, $kind:literal;)*) => {
        /// What kind of thing happened. The words are what modules and integrators will subscribe to.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Topic { $($variant,)* }

        impl Topic {
            /// All topics.
            pub const ALL: &'static [Topic] = &[$(Topic::$variant,)*];

            /// `agent.online` and so on.
            pub fn as_str(self) -> &'static str {
                match self { $(Topic::$variant => $topic,)* }
            }
            /// Reads the word; `None` for one that this build does not know.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($topic => Some(Topic::$variant),)* _ => None }
            }
            /// The kind of object a dashboard has to fetch again.
            pub fn kind(self) -> &'static str {
                match self { $(Topic::$variant => $kind,)* }
            }
        }
    };
}

topics! {
    AgentEnrolled = "agent.enrolled", "agent";
    AgentPending = "agent.pending", "agent";
    AgentChanged = "agent.changed", "agent";
    AgentMoved = "agent.moved", "agent";
    AgentDeleted = "agent.deleted", "agent";
    AgentOnline = "agent.online", "agent";
    AgentOffline = "agent.offline", "agent";
    ClientChanged = "client.changed", "client";
    SiteChanged = "site.changed", "site";
    PartnerChanged = "partner.changed", "partner";
    CommandCreated = "command.created", "command";
    CommandChanged = "command.changed", "command";
    AlertRaised = "alert.raised", "alert";
    AlertChanged = "alert.changed", "alert";
    UserChanged = "user.changed", "user";
    SessionRevoked = "session.revoked", "session";
    KeyChanged = "enrollment_key.changed", "key";
    PolicyChanged = "policy.changed", "policy";
    AgentUpdateChanged = "agent_update.changed", "agent_update";
    RolloutChanged = "rollout.changed", "rollout";
    AgentLogChanged = "agent_log.changed", "agent_log";
    InstallReported = "install.reported", "install_report";
    TunnelChanged = "tunnel.changed", "tunnel";
}

impl Event {
    /// An event about one object of a partner.
    pub fn new(topic: Topic, tenant_id: Uuid, id: Uuid) -> Self {
        Self { topic, tenant_id, id: Some(id), agent_id: None, client_id: None, site_id: None }
    }

    /// Says where the object stands, so that confined people hear of their own part.
    pub fn at(mut self, client_id: Uuid, site_id: Option<Uuid>) -> Self {
        self.client_id = Some(client_id);
        self.site_id = site_id;
        self
    }

    /// Says which agent it concerns.
    pub fn on_agent(mut self, agent_id: Uuid) -> Self {
        self.agent_id = Some(agent_id);
        self
    }

    /// The row's payload.
    pub fn payload(&self) -> serde_json::Value {
        #[derive(Serialize)]
        struct Payload {
            id: Option<Uuid>,
            agent_id: Option<Uuid>,
            client_id: Option<Uuid>,
            site_id: Option<Uuid>,
        }
        let Self { id, agent_id, client_id, site_id, .. } = *self;
        serde_json::json!(Payload { id, agent_id, client_id, site_id })
    }
}

/// Something that is heard in this process.
#[derive(Debug, Clone)]
enum Heard {
    Event(Event),
    Note(Arc<Note>),
    /// Something of what other nodes said did not arrive.
    Missed,
}

/// What one node says to others, beside events. What stands in it is `peers`' affair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    pub from: Uuid,
    /// For this node only; `None`: for all others.
    pub to: Option<Uuid>,
    /// The partner it is about; nil for the platform.
    pub tenant_id: Uuid,
    pub text: String,
}

/// One node's part of the bus. Clones are the same node.
#[derive(Clone)]
pub struct Bus {
    node_id: Uuid,
    heard: broadcast::Sender<Heard>,
    /// Sealed frames of techs' sessions, each for one node.
    carried: broadcast::Sender<(Uuid, Bytes)>,
    others: Others,
}

/// The way to other nodes.
#[derive(Clone)]
enum Others {
    /// In this process, where there are any.
    InProcess(Arc<AtomicBool>),
    Nats(Arc<Link>),
}

/// Whether other nodes can be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// This server works by itself.
    Alone,
    Connected,
    /// NATS cannot be reached. What is in the database is seen all the same, later.
    Away,
}

impl Default for Bus {
    fn default() -> Self {
        Self::in_process(Uuid::now_v7())
    }
}

impl Bus {
    /// A node by itself.
    pub fn in_process(node_id: Uuid) -> Self {
        let others = Others::InProcess(Arc::default());
        let (heard, carried) = (broadcast::channel(CAPACITY).0, broadcast::channel(CARRIED).0);
        Self { node_id, heard, carried, others }
    }

    /// Another node in the same process; `None` where nodes meet elsewhere.
    pub fn beside(&self, node_id: Uuid) -> Option<Self> {
        match &self.others {
            Others::InProcess(has_others) => {
                has_others.store(true, Ordering::Relaxed);
                Some(Self { node_id, ..self.clone() })
            }
            Others::Nats(_) => None,
        }
    }

    /// A node among others, which meet at NATS. NATS may be away: then it is waited for in the background.
    ///
    /// # Errors
    /// What will not get better by waiting: a login that is refused, options that are wrong.
    pub async fn over_nats(node_id: Uuid, options: &NatsOptions) -> Result<Self, NatsError> {
        let (heard, carried) = (broadcast::channel(CAPACITY).0, broadcast::channel(CARRIED).0);
        let link = Link::open(node_id, options, heard.clone(), carried.clone()).await?;
        Ok(Self { node_id, heard, carried, others: Others::Nats(Arc::new(link)) })
    }

    /// Which node this is.
    pub fn node_id(&self) -> Uuid {
        self.node_id
    }

    /// Hears all events from now on.
    pub fn subscribe(&self) -> Events {
        Events(self.heard.subscribe())
    }

    /// Hears from now on what other nodes say to this one.
    pub fn notes(&self) -> Notes {
        Notes { heard: self.heard.subscribe(), node_id: self.node_id }
    }

    /// Tells everyone; nobody listening is fine. Called by `Tx::commit`, and for signals that have no row.
    pub fn publish(&self, event: Event) {
        if let Others::Nats(link) = &self.others {
            link.publish(&event);
        }
        let _nobody_listens = self.heard.send(Heard::Event(event));
    }

    /// Says something to the node `to`, or to all others. Nothing waits for it and nobody says whether it was heard.
    pub fn tell(&self, to: Option<Uuid>, tenant_id: Uuid, text: String) {
        let note = Note { from: self.node_id, to, tenant_id, text };
        match &self.others {
            Others::Nats(link) => link.tell(note),
            Others::InProcess(_) => {
                let _nobody_listens = self.heard.send(Heard::Note(Arc::new(note)));
            }
        }
    }

    /// Sends a sealed frame to the node `to`. Like [`Bus::tell`], without a promise; frames of one sender keep their order.
    pub fn carry(&self, to: Uuid, tenant_id: Uuid, frame: Bytes) {
        match &self.others {
            Others::Nats(link) => link.carry(to, tenant_id, frame),
            Others::InProcess(_) => {
                let _nobody_listens = self.carried.send((to, frame));
            }
        }
    }

    /// Takes up from now on what other nodes send to this one.
    pub fn carried(&self) -> Carried {
        Carried { carried: self.carried.subscribe(), node_id: self.node_id }
    }

    /// Whether there may be other nodes at all.
    pub fn has_others(&self) -> bool {
        match &self.others {
            Others::InProcess(has_others) => has_others.load(Ordering::Relaxed),
            Others::Nats(_) => true,
        }
    }

    /// Whether other nodes can be heard now.
    pub fn reach(&self) -> Reach {
        match &self.others {
            Others::Nats(link) if link.is_connected() => Reach::Connected,
            Others::Nats(_) => Reach::Away,
            Others::InProcess(has_others) if has_others.load(Ordering::Relaxed) => Reach::Connected,
            Others::InProcess(_) => Reach::Alone,
        }
    }
}

/// Events, one after the other.
pub struct Events(broadcast::Receiver<Heard>);

impl Events {
    /// The next one. Cancel safe.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] when some were missed: everything may have changed.
    pub async fn recv(&mut self) -> Result<Event, RecvError> {
        loop {
            match self.0.recv().await? {
                Heard::Event(event) => return Ok(event),
                Heard::Missed => return Err(RecvError::Lagged(1)),
                Heard::Note(_) => {}
            }
        }
    }

    /// The next one that is there already.
    ///
    /// # Errors
    /// [`TryRecvError::Lagged`] when some were missed, [`TryRecvError::Empty`] when there is none.
    pub fn try_recv(&mut self) -> Result<Event, TryRecvError> {
        loop {
            match self.0.try_recv()? {
                Heard::Event(event) => return Ok(event),
                Heard::Missed => return Err(TryRecvError::Lagged(1)),
                Heard::Note(_) => {}
            }
        }
    }
}

/// Sealed frames from other nodes.
pub struct Carried {
    carried: broadcast::Receiver<(Uuid, Bytes)>,
    node_id: Uuid,
}

impl Carried {
    /// The next one. Cancel safe.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] when some were missed.
    pub async fn recv(&mut self) -> Result<Bytes, RecvError> {
        loop {
            let (to, frame) = self.carried.recv().await?;
            if to == self.node_id {
                return Ok(frame);
            }
        }
    }
}

/// What other nodes say to this one.
pub struct Notes {
    heard: broadcast::Receiver<Heard>,
    node_id: Uuid,
}

impl Notes {
    /// The next one. Cancel safe.
    ///
    /// # Errors
    /// [`RecvError::Lagged`] when some were missed.
    pub async fn recv(&mut self) -> Result<Arc<Note>, RecvError> {
        loop {
            match self.heard.recv().await? {
                Heard::Note(note)
                    if note.from != self.node_id && note.to.is_none_or(|to| to == self.node_id) =>
                {
                    return Ok(note);
                }
                Heard::Missed => return Err(RecvError::Lagged(1)),
                Heard::Event(_) | Heard::Note(_) => {}
            }
        }
    }
}
