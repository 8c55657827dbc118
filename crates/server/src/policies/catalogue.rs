//! The fields of policy: one list for checking input, merging, and telling agents.

use crate::error::FieldError;
use gururmm_protocol::policy::AgentConfig;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// One setting.
#[derive(Debug)]
pub struct Field {
    /// Name in the API, in the database and in the agent's `AgentConfig`.
    pub name: &'static str,
    pub kind: Kind,
    /// For people.
    pub description: &'static str,
}

/// What a setting can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind {
    Bool,
    Integer { min: u64, max: u64 },
}

/// All settings. Their defaults are those of [`AgentConfig`].
pub const FIELDS: &[Field] = &[
    Field {
        name: "metrics_interval_seconds",
        kind: Kind::Integer { min: 10, max: 3_600 },
        description: "Seconds between two samples",
    },
    Field { name: "process_list", kind: Kind::Bool, description: "Samples carry the busiest processes" },
    Field { name: "public_ip", kind: Kind::Bool, description: "The agent asks for its public address" },
    Field {
        name: "network_state",
        kind: Kind::Bool,
        description: "The agent reports interfaces and addresses",
    },
    Field {
        name: "user_activity",
        kind: Kind::Bool,
        description: "The agent reports the signed-in user and idle time",
    },
    Field {
        name: "output_limit_bytes",
        kind: Kind::Integer { min: 64 * 1024, max: 16 * 1024 * 1024 },
        description: "Output kept per command, in bytes",
    },
];

/// Settings by name. What is not in it is inherited.
pub type Settings = Map<String, Value>;

/// Complaints about settings that someone wants to write; null clears a field.
pub fn complaints(settings: &Settings) -> Vec<FieldError> {
    let check = |(name, value): (&String, &Value)| {
        let (code, message) = match FIELDS.iter().find(|field| field.name == name) {
            None => ("INVALID", "is not a setting".to_owned()),
            Some(_) if value.is_null() => return None,
            Some(field) => field.kind.complaint(value)?,
        };
        // Of the caller's own text, bounded.
        let name: String = name.chars().filter(|c| !c.is_control()).take(64).collect();
        Some(FieldError { field: format!("settings.{name}").into(), code, message: message.into() })
    };
    settings.iter().filter_map(check).take(FIELDS.len()).collect()
}

impl Kind {
    fn complaint(self, value: &Value) -> Option<(&'static str, String)> {
        match self {
            Self::Bool if value.is_boolean() => None,
            Self::Bool => Some(("INVALID", "must be true or false".to_owned())),
            Self::Integer { min, max } => match value.as_u64() {
                Some(number) if (min..=max).contains(&number) => None,
                Some(_) => Some(("OUT_OF_RANGE", format!("must be {min} to {max}"))),
                None => Some(("INVALID", format!("must be a whole number, {min} to {max}"))),
            },
        }
    }
}

/// One value of an agent's effective policy, and whose it is.
#[derive(Debug, Clone)]
pub struct Effective<S> {
    pub field: &'static Field,
    pub value: Value,
    /// `None`: the default.
    pub source: Option<S>,
}

/// Merges layers, most general first: field by field the most specific one that says something wins. A value that
/// does not fit the catalogue (any more) counts as not said.
pub fn merge<'a, S: Copy>(layers: impl IntoIterator<Item = (S, &'a Settings)> + Clone) -> Vec<Effective<S>> {
    let defaults = defaults();
    let effective = |field: &'static Field| {
        let said = |(source, settings): (S, &'a Settings)| {
            let value = settings.get(field.name)?;
            (!value.is_null() && field.kind.complaint(value).is_none()).then(|| (source, value.clone()))
        };
        match layers.clone().into_iter().filter_map(said).last() {
            Some((source, value)) => Effective { field, value, source: Some(source) },
            None => {
                let value = defaults.get(field.name).cloned().unwrap_or_default();
                Effective { field, value, source: None }
            }
        }
    };
    FIELDS.iter().map(effective).collect()
}

/// What an agent is told of its effective policy.
pub fn agent_config<S>(effective: &[Effective<S>]) -> AgentConfig {
    let settings: Settings =
        effective.iter().map(|value| (value.field.name.to_owned(), value.value.clone())).collect();
    // Every value fits its field's kind, and a missing one has a default.
    serde_json::from_value(Value::Object(settings)).unwrap_or_default()
}

fn defaults() -> Settings {
    match serde_json::to_value(AgentConfig::default()) {
        Ok(Value::Object(defaults)) => defaults,
        _ => Settings::new(),
    }
}

#[cfg(test)]
mod tests;
