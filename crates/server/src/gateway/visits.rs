//! Sessions that began and ended, until they are written down: why a machine was offline is asked days later.

use super::registry::{Goodbye, Line};
use crate::db::words;
use chrono::{DateTime, Utc};
use gururmm_protocol::to_agent::GoodbyeReason;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use uuid::Uuid;

/// Most that wait for a database that is away; beyond it the history has holes.
const WAIT_AT_MOST: usize = 100_000;

words! {
    /// Why a session ended.
    #[schema(as = ConnectionEnd)]
    Parting {
        /// The agent said goodbye: it was stopped, or became another version.
        AgentStopped = "agent_stopped",
        /// The link broke, or the machine went down with it.
        LinkLost = "link_lost",
        /// Nothing was heard for two and a half heartbeats.
        Silent = "silent",
        /// The server was stopped or restarted in order.
        ServerStopping = "server_stopping",
        /// The server was lost; the time is that when the agent was last heard.
        ServerLost = "server_lost",
        /// The agent connected anew before this session was known to be over.
        Replaced = "replaced",
        /// The agent was deleted, given another key, or set aside.
        Revoked = "revoked",
        /// The agent broke a limit or the protocol.
        ProtocolError = "protocol_error",
        /// The agent did not take its messages in time.
        TooSlow = "too_slow",
        /// The server could not store what the agent said.
        Failed = "failed",
    }
}

impl Parting {
    /// What the server told the agent, when it was the server that ended it.
    pub fn of(goodbye: Goodbye) -> Self {
        match goodbye.reason {
            GoodbyeReason::ServerStopping => Self::ServerStopping,
            GoodbyeReason::Replaced => Self::Replaced,
            GoodbyeReason::Revoked => Self::Revoked,
            GoodbyeReason::ProtocolError | GoodbyeReason::NoCommonVersion => Self::ProtocolError,
            GoodbyeReason::TooSlow => Self::TooSlow,
            GoodbyeReason::Other => Self::Failed,
        }
    }
}

/// One session, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    pub agent_id: Uuid,
    pub tenant_id: Uuid,
    pub epoch: i64,
    pub connected_at: DateTime<Utc>,
    pub ended: Option<(DateTime<Utc>, Parting)>,
    pub agent_version: String,
    pub address: Option<String>,
    pub boot_time: Option<DateTime<Utc>>,
}

impl Visit {
    /// Of a line that takes orders, or did.
    pub fn of(line: &Line, ended: Option<(DateTime<Utc>, Parting)>) -> Option<Self> {
        let machine = line.machine()?;
        Some(Self {
            agent_id: line.agent_id(),
            tenant_id: line.tenant_id(),
            epoch: line.epoch(),
            connected_at: line.connected_since(),
            ended,
            agent_version: machine.agent_version.clone(),
            address: machine.peer.map(|peer| peer.to_string()),
            boot_time: machine.system.boot_time,
        })
    }
}

/// What is to be written, the latest of each session.
#[derive(Debug, Default)]
pub struct Visits(HashMap<(Uuid, i64), Visit>);

impl Visits {
    /// Notes a session that began or ended.
    pub fn note(&mut self, visit: Visit) {
        let is_full = self.0.len() >= WAIT_AT_MOST;
        match self.0.entry((visit.agent_id, visit.epoch)) {
            Entry::Occupied(mut known) => drop(known.insert(visit)),
            Entry::Vacant(_) if is_full => {
                tracing::debug!("a session is left out of the history: too many wait to be written");
            }
            Entry::Vacant(room) => drop(room.insert(visit)),
        }
    }

    /// Takes all that wait.
    pub fn take(&mut self) -> Vec<Visit> {
        std::mem::take(&mut self.0).into_values().collect()
    }

    /// Could not be written; what is known meanwhile is newer.
    pub fn put_back(&mut self, visits: Vec<Visit>) {
        for visit in visits {
            if !self.0.contains_key(&(visit.agent_id, visit.epoch)) {
                self.note(visit);
            }
        }
    }
}
