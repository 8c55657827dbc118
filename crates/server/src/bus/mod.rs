//! What happened, told to whoever listens in this process. The row in `events`, written in the transaction that
//! made it happen, is what lasts; this is the signal after commit. A listener that falls behind is told so
//! ([`Lagged`](tokio::sync::broadcast::error::RecvError::Lagged)) and must refetch.

use serde::Serialize;
use tokio::sync::broadcast;
use uuid::Uuid;

const CAPACITY: usize = 4_096;

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

/// The in-process bus.
#[derive(Clone)]
pub struct Bus {
    sender: broadcast::Sender<Event>,
}

impl Default for Bus {
    fn default() -> Self {
        Self { sender: broadcast::channel(CAPACITY).0 }
    }
}

impl Bus {
    /// Hears everything from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.sender.subscribe()
    }

    /// Tells everyone; nobody listening is fine. Called by `Tx::commit`, and for signals that have no row.
    pub fn publish(&self, event: Event) {
        let _nobody_listens = self.sender.send(event);
    }
}
