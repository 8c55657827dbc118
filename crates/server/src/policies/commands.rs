//! The part of policy that says what becomes of commands for machines that are away.

use super::catalogue::{self, Effective};
use super::store;
use crate::db::{Tx, words};
use crate::error::Error;
use uuid::Uuid;

words! {
    /// What becomes of a command whose machine is not connected.
    #[schema(as = WhenOffline)]
    WhenOffline { Queue = "queue", Refuse = "refuse", }
}

/// What holds for commands that do not say it themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandPolicy {
    pub when_offline: WhenOffline,
    /// How long one may wait.
    pub expiry_seconds: i64,
}

/// What holds for one agent; `None` when it is not seen.
pub async fn command_policy<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<CommandPolicy>, Error> {
    let layers = store::layers_of(tx, agent_id).await?;
    Ok(layers.map(|layers| of(&catalogue::merge(layers.iter().map(|layer| ((), &layer.settings))))))
}

/// Every value fits its field's kind: the catalogue has seen to that.
fn of<S>(effective: &[Effective<S>]) -> CommandPolicy {
    let value = |name: &str| effective.iter().find(|one| one.field.name == name).map(|one| &one.value);
    let when_offline = value("command_when_offline").and_then(|value| WhenOffline::parse(value.as_str()?));
    let expiry = value("command_expiry_seconds").and_then(serde_json::Value::as_i64);
    CommandPolicy {
        when_offline: when_offline.unwrap_or(WhenOffline::Queue),
        expiry_seconds: expiry.unwrap_or(catalogue::DEFAULT_COMMAND_EXPIRY_SECONDS),
    }
}
