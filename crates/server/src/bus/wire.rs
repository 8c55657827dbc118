//! What crosses NATS. Every message says who sent it and, where it is for all, its number in what that node sent: so a
//! node that hears the next one notices what it missed. Nothing that comes from NATS is believed further than that
//! something is to be looked up: see `docs/decisions/0011-several-nodes.md`.

use super::{Event, Note, Topic};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use uuid::Uuid;

/// What is for all nodes.
pub(super) const FOR_ALL: &str = "rmm.v1.*.all";
/// Nodes that are remembered. Far more than there ever are, for whoever can write to NATS can invent some.
const NODES_AT_MOST: usize = 256;

/// Where what is for all nodes and about this partner goes.
pub(super) fn subject_for_all(tenant_id: Uuid) -> String {
    format!("rmm.v1.{tenant_id}.all")
}

/// Where what is for one node goes.
pub(super) fn subject_for(node_id: Uuid, tenant_id: Uuid) -> String {
    format!("rmm.v1.{tenant_id}.node.{node_id}")
}

/// Where sealed frames for one node go.
pub(super) fn subject_of_frames(node_id: Uuid, tenant_id: Uuid) -> String {
    format!("rmm.v1.{tenant_id}.frames.{node_id}")
}

/// Sealed frames that are for a node.
pub(super) fn own_frames(node_id: Uuid) -> String {
    format!("rmm.v1.*.frames.{node_id}")
}

/// What a node hears that is for it alone.
pub(super) fn own_subjects(node_id: Uuid) -> String {
    format!("rmm.v1.*.node.{node_id}")
}

/// The partner that a subject names.
pub(super) fn tenant_of(subject: &str) -> Option<Uuid> {
    subject.strip_prefix("rmm.v1.")?.split('.').next()?.parse().ok()
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    pub from: Uuid,
    /// Tells one run of a node from the next: numbers begin again with each.
    pub run: u64,
    /// Absent in what is for one node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    pub body: Body,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub(super) enum Body {
    Event(Happened),
    Note {
        text: String,
    },
    /// Nothing, but by its number one notices that what came before is missing.
    Beacon,
    /// From a newer node.
    #[serde(other)]
    Unknown,
}

/// An event; its partner stands in the subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Happened {
    topic: String,
    id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client_id: Option<Uuid>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    site_id: Option<Uuid>,
}

impl From<&Event> for Happened {
    fn from(event: &Event) -> Self {
        let Event { topic, id, agent_id, client_id, site_id, .. } = *event;
        Self { topic: topic.as_str().to_owned(), id, agent_id, client_id, site_id }
    }
}

impl Happened {
    /// `None` for a topic that this build does not know.
    pub fn event(&self, tenant_id: Uuid) -> Option<Event> {
        let Self { id, agent_id, client_id, site_id, .. } = *self;
        Some(Event { topic: Topic::parse(&self.topic)?, tenant_id, id, agent_id, client_id, site_id })
    }
}

/// What one message means here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Event(Event),
    Note(Note),
    Nothing,
}

impl Message {
    /// Reads a message. `None` when it is none.
    pub fn read(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// What it means to the node `here`.
    pub fn meaning(self, subject: &str, here: Uuid) -> Meaning {
        let Some(tenant_id) = tenant_of(subject) else { return Meaning::Nothing };
        match self.body {
            Body::Event(happened) => happened.event(tenant_id).map_or(Meaning::Nothing, Meaning::Event),
            Body::Note { text } => {
                let to = self.number.is_none().then_some(here);
                Meaning::Note(Note { from: self.from, to, tenant_id, text })
            }
            Body::Beacon | Body::Unknown => Meaning::Nothing,
        }
    }
}

/// How far each other node has been heard.
#[derive(Debug, Default)]
pub(super) struct Heads(HashMap<Uuid, (u64, u64)>);

impl Heads {
    /// Notes a message that is for all; answers whether some before it are missing.
    pub fn is_behind_a_gap(&mut self, from: Uuid, run: u64, number: u64) -> bool {
        if self.0.len() >= NODES_AT_MOST && !self.0.contains_key(&from) {
            self.0.clear();
        }
        match self.0.insert(from, (run, number)) {
            Some((same, before)) if same == run => number != before + 1,
            // Its first words, or the first that are heard here.
            _ => number != 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: Uuid = Uuid::from_u128(1);
    const NODE: Uuid = Uuid::from_u128(2);
    const HERE: Uuid = Uuid::from_u128(3);

    fn event() -> Event {
        Event::new(Topic::CommandChanged, TENANT, Uuid::from_u128(9))
            .on_agent(Uuid::from_u128(8))
            .at(Uuid::from_u128(7), Some(Uuid::from_u128(6)))
    }

    fn arrives(message: &str, subject: &str) -> Meaning {
        Message::read(message.as_bytes()).map_or(Meaning::Nothing, |message| message.meaning(subject, HERE))
    }

    #[test]
    fn an_event_arrives_as_it_was_sent() {
        let body = Body::Event(Happened::from(&event()));
        let message = Message { from: NODE, run: 5, number: Some(1), body };
        let text = serde_json::to_string(&message).unwrap();
        assert_eq!(arrives(&text, &subject_for_all(TENANT)), Meaning::Event(event()));
    }

    #[test]
    fn every_topic_is_read_back() {
        for topic in Topic::ALL {
            assert_eq!(Topic::parse(topic.as_str()), Some(*topic));
        }
    }

    #[test]
    fn what_is_not_known_means_nothing_and_is_counted() {
        let all = subject_for_all(TENANT);
        let newer = format!(r#"{{"from":"{NODE}","run":5,"number":7,"body":{{"is":"newer","x":1}}}}"#);
        assert_eq!(Message::read(newer.as_bytes()).and_then(|message| message.number), Some(7));
        assert_eq!(arrives(&newer, &all), Meaning::Nothing);
        let topic = format!(
            r#"{{"from":"{NODE}","run":5,"number":7,"body":{{"is":"event","topic":"tea.ready","id":null}}}}"#
        );
        assert_eq!(arrives(&topic, &all), Meaning::Nothing);
        for hostile in ["", "{}", "[]", "\u{0}", r#"{"from":"x"}"#, &"[".repeat(100_000)] {
            assert!(Message::read(hostile.as_bytes()).is_none());
        }
    }

    #[test]
    fn the_partner_is_the_subjects() {
        assert_eq!(tenant_of(&subject_for(NODE, TENANT)), Some(TENANT));
        for wrong in ["", "rmm.v1", "rmm.v1.", "rmm.v1.nobody.all", "rmm.v2.0.all", "other"] {
            assert_eq!(tenant_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_gap_is_noticed_by_the_next_number() {
        let mut heads = Heads::default();
        assert!(!heads.is_behind_a_gap(NODE, 1, 1));
        assert!(!heads.is_behind_a_gap(NODE, 1, 2));
        assert!(heads.is_behind_a_gap(NODE, 1, 4));
        assert!(!heads.is_behind_a_gap(NODE, 1, 5));
        assert!(!heads.is_behind_a_gap(NODE, 2, 1), "it was started again");
        assert!(heads.is_behind_a_gap(HERE, 9, 40), "it spoke before it was heard");
        for other in 0..10_000 {
            heads.is_behind_a_gap(Uuid::from_u128(other), 1, 1);
        }
        assert!(heads.0.len() <= NODES_AT_MOST);
    }
}
