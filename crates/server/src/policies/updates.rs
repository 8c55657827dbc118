//! The part of policy that says how agents are updated.

use super::catalogue::{self, Effective};
use super::store::{self, AgentPlace};
use super::{MaintenanceWindow, Target};
use crate::db::{Tx, words};
use crate::error::Error;
use serde_json::Value;
use std::collections::HashMap;
use uuid::Uuid;

words! {
    /// Where releases are published, the most careful one first.
    #[schema(as = UpdateChannel)]
    Channel { Stable = "stable", Current = "current", Beta = "beta", }
}

impl Channel {
    /// All channels, the most careful one first.
    pub const ALL: [Self; 3] = [Self::Stable, Self::Current, Self::Beta];

    /// Whether an agent that follows this channel takes what is published in `other`: a more adventurous channel takes
    /// everything that a more careful one does, so that a beta machine is never behind a stable one.
    pub fn takes(self, other: Self) -> bool {
        let rank = |channel| Self::ALL.iter().position(|known| *known == channel);
        rank(other) <= rank(self)
    }
}

/// How an agent is updated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdatePolicy {
    pub is_enabled: bool,
    pub channel: Channel,
    pub defer_hours: u32,
    /// `None`: at any time.
    pub window: Option<MaintenanceWindow>,
}

/// What holds for one agent; `None` when it is not seen.
pub async fn update_policy<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<UpdatePolicy>, Error> {
    let layers = store::layers_of(tx, agent_id).await?;
    Ok(layers.map(|layers| of(&catalogue::merge(layers.iter().map(|layer| ((), &layer.settings))))))
}

/// What holds for each approved agent of the partner.
pub async fn update_policies<P>(tx: &mut Tx<P>) -> Result<HashMap<Uuid, UpdatePolicy>, Error> {
    let layers = store::all_layers(tx).await?;
    let agents = store::agents_below(tx, &Target::platform()).await?;
    // Agents of one site differ only where one has settings of its own: a fleet is merged once per site.
    let has_own = |agent: &AgentPlace| layers.iter().any(|layer| layer.agent_id == Some(agent.id));
    let merged = |agent: &AgentPlace| {
        let mine = layers.iter().filter(|layer| layer.covers(agent));
        of(&catalogue::merge(mine.map(|layer| ((), &layer.settings))))
    };
    let mut of_site: HashMap<Uuid, UpdatePolicy> = HashMap::new();
    let policies = agents.into_iter().map(|agent| {
        let policy = if has_own(&agent) {
            merged(&agent)
        } else {
            of_site.entry(agent.site_id).or_insert_with(|| merged(&agent)).clone()
        };
        (agent.id, policy)
    });
    Ok(policies.collect())
}

fn of<S>(effective: &[Effective<S>]) -> UpdatePolicy {
    let value = |name: &str| {
        let found = effective.iter().find(|effective| effective.field.name == name);
        found.map_or(&Value::Null, |effective| &effective.value)
    };
    // Every value fits the catalogue: what does not counts as not said.
    UpdatePolicy {
        is_enabled: value("update_enabled").as_bool().unwrap_or(true),
        channel: value("update_channel").as_str().and_then(Channel::parse).unwrap_or(Channel::Stable),
        defer_hours: value("update_defer_hours")
            .as_u64()
            .and_then(|hours| u32::try_from(hours).ok())
            .unwrap_or_default(),
        window: MaintenanceWindow::parse(value("update_window")).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policies::Settings;
    use serde_json::json;

    fn settings(value: Value) -> Settings {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn agents_are_updated_from_stable_at_any_time_unless_someone_says_otherwise() {
        let policy = of(&catalogue::merge::<()>([]));
        let expected =
            UpdatePolicy { is_enabled: true, channel: Channel::Stable, defer_hours: 0, window: None };
        assert_eq!(policy, expected);
        let said = settings(json!({
            "update_enabled": false, "update_channel": "beta", "update_defer_hours": 48,
            "update_window": { "days": ["sat"], "from": "22:00", "to": "05:00" },
        }));
        let policy = of(&catalogue::merge([((), &said)]));
        assert_eq!((policy.is_enabled, policy.channel, policy.defer_hours), (false, Channel::Beta, 48));
        assert!(policy.window.is_some());
    }
}
