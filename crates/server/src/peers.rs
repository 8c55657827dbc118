//! What nodes say to each other, beside events: that something is to be looked up. The node that holds an agent's socket
//! reads in the database what the agent is to be told, so whoever can write to NATS can order no machine to do anything.

use crate::bus::{Bus, MAX_NOTE_BYTES};
use crate::gateway::Met;
use crate::telemetry::Sample;
use gururmm_protocol::to_agent::GoodbyeReason;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// One thing that is said. Nodes of another release know more or fewer of them: each can be left out, for the database
/// is looked at again in any case, later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "snake_case")]
pub enum Signal {
    /// There is something for this agent.
    Look { agent_id: Uuid, at: Matter },
    /// These agents' effective settings are others than before.
    Settings { agent_ids: Vec<Uuid> },
    /// This agent's session may have ended: its key was taken away, or it has a newer one.
    Ended { agent_id: Uuid, reason: GoodbyeReason },
    /// Output of this command was stored.
    Output { command_id: Uuid },
    /// Someone looks at this agent for so many more seconds; nobody does any more: 0.
    Watch { agent_id: Uuid, seconds: u32 },
    /// What an agent measured that the other node's people look at.
    Sample { agent_id: Uuid, sample: Box<Sample> },
    /// There is something about a tech's session with this machine: for its host, for the node that the machine is
    /// connected to.
    Tunnel { session_id: Uuid, agent_id: Uuid },
    /// Which machine is at the other end of this agent's session.
    Who { question: Uuid, agent_id: Uuid },
    /// This one.
    This { question: Uuid, met: Box<Met> },
    /// From a newer node.
    #[serde(other)]
    Unknown,
}

/// What there is for an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matter {
    Commands,
    Update,
    Uninstall,
    Log,
    /// From a newer node.
    #[serde(other)]
    Unknown,
}

/// Tells all other nodes; nothing where there are none.
pub fn tell(bus: &Bus, tenant_id: Uuid, signal: &Signal) {
    say(bus, None, tenant_id, signal);
}

/// Tells one node.
pub fn tell_one(bus: &Bus, node_id: Uuid, tenant_id: Uuid, signal: &Signal) {
    say(bus, Some(node_id), tenant_id, signal);
}

fn say(bus: &Bus, to: Option<Uuid>, tenant_id: Uuid, signal: &Signal) {
    if !bus.has_others() {
        return;
    }
    match serde_json::to_string(signal) {
        Ok(text) => bus.tell(to, tenant_id, text),
        Err(error) => tracing::error!(%error, "a word to other nodes could not be written"),
    }
}

/// Reads what another node says; `None` when it is nothing.
pub fn read(text: &str) -> Option<Signal> {
    if text.len() > MAX_NOTE_BYTES {
        return None;
    }
    serde_json::from_str(text).ok().filter(|signal| *signal != Signal::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_read_back_and_what_is_not_known_is_nothing() {
        let id = Uuid::from_u128(1);
        for signal in [
            Signal::Look { agent_id: id, at: Matter::Commands },
            Signal::Settings { agent_ids: vec![id] },
            Signal::Ended { agent_id: id, reason: GoodbyeReason::Replaced },
            Signal::Output { command_id: id },
            Signal::Watch { agent_id: id, seconds: 30 },
            Signal::Who { question: id, agent_id: id },
            Signal::Tunnel { session_id: id, agent_id: id },
        ] {
            assert_eq!(read(&serde_json::to_string(&signal).unwrap()), Some(signal));
        }
        for nothing in
            ["", "{}", "[]", r#"{"say":"dance","to":"the music"}"#, r#"{"say":"look","agent_id":"x"}"#]
        {
            assert_eq!(read(nothing), None, "{nothing}");
        }
        let newer = format!(r#"{{"say":"look","agent_id":"{id}","at":"tea_leaves"}}"#);
        assert_eq!(read(&newer), Some(Signal::Look { agent_id: id, at: Matter::Unknown }));
    }
}
