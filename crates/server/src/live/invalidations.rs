//! Which events a session may hear of, and how many: each kind and id at most ten times a second.

use crate::auth::credential::Session;
use crate::auth::permission::{
    self, Permission as _, ReadAgentLogs, ReadAudit, ReadFleet, ReadKeys, ReadUsers,
};
use crate::bus::{Event, Topic};
use std::collections::BTreeSet;
use uuid::Uuid;

/// More than this at once is said as "everything of that kind".
const PENDING_AT_MOST: usize = 256;

/// Something to fetch again: kind, id (absent: all of the kind), agent it concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Invalidation {
    pub kind: &'static str,
    pub id: Option<Uuid>,
    pub agent_id: Option<Uuid>,
}

/// What waits to be told; each thing once.
#[derive(Debug, Default)]
pub struct Pending(BTreeSet<Invalidation>);

impl Pending {
    /// Notes an event.
    pub fn add(&mut self, event: &Event) {
        let kind = event.topic.kind();
        if self.0.len() >= PENDING_AT_MOST {
            self.0.retain(|pending| pending.kind != kind);
            self.add_kind(kind);
        } else if !self.0.contains(&Invalidation { kind, id: None, agent_id: None }) {
            self.0.insert(Invalidation { kind, id: event.id, agent_id: event.agent_id });
        }
    }

    /// Events were missed: everything may have changed.
    pub fn add_everything(&mut self) {
        self.0.clear();
        Topic::ALL.iter().for_each(|topic| self.add_kind(topic.kind()));
    }

    fn add_kind(&mut self, kind: &'static str) {
        self.0.insert(Invalidation { kind, id: None, agent_id: None });
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes what is to be told now.
    pub fn take(&mut self) -> BTreeSet<Invalidation> {
        std::mem::take(&mut self.0)
    }
}

/// Whether a session may know that this happened.
pub fn may_hear(session: &Session, event: &Event) -> bool {
    let kind = event.topic.kind();
    let own = event.id.is_some_and(|id| id == session.user_id || id == session.session_id);
    if matches!(kind, "user" | "session") && own {
        return true;
    }
    if event.tenant_id != session.tenant_id.unwrap_or(Uuid::nil()) {
        return kind == "partner" && session.is_platform_admin;
    }
    let needs = match kind {
        "user" | "session" => ReadUsers::NEEDS,
        "audit" => ReadAudit::NEEDS,
        "agent_log" => ReadAgentLogs::NEEDS,
        "key" | "install_report" => ReadKeys::NEEDS,
        _ => ReadFleet::NEEDS,
    };
    let is_confined = session.confinement.is_confined();
    if !permission::allows(needs, session.role, is_confined, session.is_platform_admin) {
        return false;
    }
    let is_parent =
        kind == "client" && event.id.is_some_and(|id| session.confinement.parent_client_ids.contains(&id));
    // What happened nowhere in particular is the partner's: confined people hear of its name and nothing else.
    kind == "partner" || is_parent || session.confinement.shows(event.client_id, event.site_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::credential::SessionKind;
    use crate::auth::{Confinement, Role};
    use chrono::Utc;

    const TENANT: Uuid = Uuid::from_u128(1);
    const CLIENT: Uuid = Uuid::from_u128(2);
    const SITE: Uuid = Uuid::from_u128(3);

    fn session(role: Role, confinement: Confinement) -> Session {
        Session {
            session_id: Uuid::from_u128(10),
            user_id: Uuid::from_u128(11),
            user_name: "Tess Tech".into(),
            kind: SessionKind::Dashboard,
            tenant_id: Some(TENANT),
            is_platform_admin: false,
            role: Some(role),
            confinement,
            expires_at: Utc::now(),
            last_used_at: Utc::now(),
        }
    }

    fn event(topic: Topic) -> Event {
        Event::new(topic, TENANT, Uuid::from_u128(99)).at(CLIENT, Some(SITE))
    }

    #[test]
    fn another_partners_events_are_never_heard() {
        let owner = session(Role::Owner, Confinement::default());
        for topic in Topic::ALL {
            let foreign = Event { tenant_id: Uuid::from_u128(77), ..event(*topic) };
            assert!(!may_hear(&owner, &foreign), "{}", topic.as_str());
        }
    }

    #[test]
    fn confined_people_hear_of_their_part_only() {
        let here = Confinement { site_ids: vec![SITE], ..Confinement::default() };
        let elsewhere = Confinement { site_ids: vec![Uuid::from_u128(4)], ..Confinement::default() };
        assert!(may_hear(&session(Role::Tech, here), &event(Topic::AgentOnline)));
        let confined = session(Role::Tech, elsewhere);
        for topic in Topic::ALL {
            let heard = may_hear(&confined, &event(*topic));
            assert_eq!(heard, *topic == Topic::PartnerChanged, "{}", topic.as_str());
            let nowhere = Event::new(*topic, TENANT, Uuid::from_u128(99));
            assert_eq!(may_hear(&confined, &nowhere), *topic == Topic::PartnerChanged, "{}", topic.as_str());
        }
    }

    #[test]
    fn readers_do_not_hear_of_other_people_but_of_themselves() {
        let reader = session(Role::ReadOnly, Confinement::default());
        assert!(!may_hear(&reader, &event(Topic::UserChanged)));
        assert!(may_hear(&reader, &Event { id: Some(reader.user_id), ..event(Topic::UserChanged) }));
        assert!(!may_hear(&reader, &event(Topic::KeyChanged)));
    }

    #[test]
    fn a_storm_becomes_one_line_per_kind() {
        let mut pending = Pending::default();
        for _ in 0..3 {
            pending.add(&event(Topic::AgentChanged));
        }
        assert_eq!(pending.take().len(), 1, "the same thing is told once");
        for _ in 0..2_000 {
            pending.add(&Event::new(Topic::AgentChanged, TENANT, Uuid::now_v7()));
        }
        let told = pending.take();
        assert_eq!(told.len(), 1);
        assert!(told.iter().all(|invalidation| invalidation.id.is_none()));
    }
}
