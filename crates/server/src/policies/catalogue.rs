//! The fields of policy: one list for checking input, merging, and telling agents.

use super::tunnel;
use super::window::MaintenanceWindow;
use crate::error::FieldError;
use gururmm_protocol::policy::AgentConfig;
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;

/// One setting.
#[derive(Debug)]
pub struct Field {
    /// Name in the API, in the database and, where agents act on it, in their `AgentConfig`.
    pub name: &'static str,
    pub kind: Kind,
    /// Who acts on it.
    pub of: Of,
    /// For people.
    pub description: &'static str,
}

/// Who acts on a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// The agent is told; the default is [`AgentConfig`]'s.
    Agent,
    /// The server goes by it, and the agent does not hear of it.
    Server,
}

/// What a setting can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Kind {
    Bool,
    Integer {
        min: u64,
        max: u64,
    },
    Choice {
        options: &'static [&'static str],
    },
    /// Some of these words, each once.
    Choices {
        options: &'static [&'static str],
    },
    /// Folders, each whole.
    Paths,
    /// `host:port`, each of them possibly `*`, hosts also as networks.
    Addresses,
    /// `{"days": ["sat"], "from": "22:00", "to": "05:00", "time_zone": "Europe/Berlin"}`; absent: at any time.
    MaintenanceWindow,
}

/// All settings.
pub const FIELDS: &[Field] = &[
    Field {
        name: "metrics_interval_seconds",
        kind: Kind::Integer { min: 10, max: 3_600 },
        of: Of::Agent,
        description: "Seconds between two samples",
    },
    Field {
        name: "process_list",
        kind: Kind::Bool,
        of: Of::Agent,
        description: "Samples carry the busiest processes",
    },
    Field {
        name: "public_ip",
        kind: Kind::Bool,
        of: Of::Agent,
        description: "The agent asks for its public address",
    },
    Field {
        name: "network_state",
        kind: Kind::Bool,
        of: Of::Agent,
        description: "The agent reports interfaces and addresses",
    },
    Field {
        name: "user_activity",
        kind: Kind::Bool,
        of: Of::Agent,
        description: "The agent reports the signed-in user and idle time",
    },
    Field {
        name: "output_limit_bytes",
        kind: Kind::Integer { min: 64 * 1024, max: 16 * 1024 * 1024 },
        of: Of::Agent,
        description: "Output kept per command, in bytes",
    },
    Field {
        name: "command_when_offline",
        kind: Kind::Choice { options: &["queue", "refuse"] },
        of: Of::Server,
        description: "What becomes of a command that does not say it, while the machine is away",
    },
    Field {
        name: "command_expiry_seconds",
        kind: Kind::Integer { min: 10, max: 604_800 },
        of: Of::Server,
        description: "How long a command that does not say it waits for the machine",
    },
    Field {
        name: "update_enabled",
        kind: Kind::Bool,
        of: Of::Server,
        description: "The agent is updated by itself",
    },
    Field {
        name: "update_channel",
        kind: Kind::Choice { options: &["stable", "current", "beta"] },
        of: Of::Server,
        description: "Which releases it takes: current takes stable ones too, beta takes all",
    },
    Field {
        name: "update_defer_hours",
        kind: Kind::Integer { min: 0, max: 2_160 },
        of: Of::Server,
        description: "Hours a release has to be out before it is taken",
    },
    Field {
        name: "update_window",
        kind: Kind::MaintenanceWindow,
        of: Of::Server,
        description: "When updates may be made",
    },
    Field {
        name: "tunnel_channels_tech",
        kind: Kind::Choices { options: tunnel::CHANNELS },
        of: Of::Server,
        description: "What techs may use in sessions with the machine",
    },
    Field {
        name: "tunnel_channels_admin",
        kind: Kind::Choices { options: tunnel::CHANNELS },
        of: Of::Server,
        description: "What admins may use in sessions with the machine",
    },
    Field {
        name: "tunnel_channels_owner",
        kind: Kind::Choices { options: tunnel::CHANNELS },
        of: Of::Server,
        description: "What owners may use in sessions with the machine",
    },
    Field {
        name: "tunnel_paths",
        kind: Kind::Paths,
        of: Of::Server,
        description: "Folders that files may be reached in; unset: all",
    },
    Field {
        name: "tunnel_forwards",
        kind: Kind::Addresses,
        of: Of::Server,
        description: "Addresses that may be reached through the machine",
    },
    Field {
        name: "tunnel_consent",
        kind: Kind::Choice { options: &["never", "when_signed_in", "always"] },
        of: Of::Server,
        description: "Whether the machine's user is asked before a session",
    },
    Field {
        name: "tunnel_reason",
        kind: Kind::Choice { options: &["none", "optional", "required", "ticket"] },
        of: Of::Server,
        description: "What is asked when a session is opened",
    },
    Field {
        name: "tunnel_idle_minutes",
        kind: Kind::Integer { min: 1, max: 480 },
        of: Of::Server,
        description: "Minutes without input before a session is closed",
    },
    Field {
        name: "tunnel_max_minutes",
        kind: Kind::Integer { min: 5, max: 1_440 },
        of: Of::Server,
        description: "Minutes a session may be open",
    },
    Field {
        name: "tunnel_sessions_per_tech",
        kind: Kind::Integer { min: 1, max: 100 },
        of: Of::Server,
        description: "Sessions that one person may have open when opening one with the machine",
    },
];

/// How long a command waits for its machine where nobody says anything.
pub const DEFAULT_COMMAND_EXPIRY_SECONDS: i64 = 3_600;

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
            Self::Choice { options } if value.as_str().is_some_and(|word| options.contains(&word)) => None,
            Self::Choice { options } => Some(("INVALID", format!("must be one of {}", options.join(", ")))),
            Self::Choices { options } => {
                let words = value.as_array().filter(|words| words.len() <= options.len());
                let fits = words.is_some_and(|words| {
                    words.iter().enumerate().all(|(place, word)| {
                        word.as_str().is_some_and(|word| options.contains(&word))
                            && !words.iter().take(place).any(|before| before == word)
                    })
                });
                let complaint = || format!("must be a list of some of {}", options.join(", "));
                (!fits).then(|| ("INVALID", complaint()))
            }
            Self::Paths => tunnel::paths_complaint(value).map(|complaint| ("INVALID", complaint)),
            Self::Addresses => tunnel::addresses_complaint(value).map(|complaint| ("INVALID", complaint)),
            Self::MaintenanceWindow => {
                MaintenanceWindow::parse(value).err().map(|complaint| ("INVALID", complaint.to_owned()))
            }
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
    let told = effective.iter().filter(|value| value.field.of == Of::Agent);
    let settings: Settings = told.map(|value| (value.field.name.to_owned(), value.value.clone())).collect();
    // Every value fits its field's kind, and a missing one has a default.
    serde_json::from_value(Value::Object(settings)).unwrap_or_default()
}

/// Where nobody says anything. A window that is absent is always open, and absent folders are all.
fn defaults() -> Settings {
    let mut defaults = match serde_json::to_value(AgentConfig::default()) {
        Ok(Value::Object(defaults)) => defaults,
        _ => Settings::new(),
    };
    let of_server = [
        ("command_when_offline", json!("queue")),
        ("command_expiry_seconds", json!(DEFAULT_COMMAND_EXPIRY_SECONDS)),
        ("update_enabled", json!(true)),
        ("update_channel", json!("stable")),
        ("update_defer_hours", json!(0)),
        ("update_window", Value::Null),
        ("tunnel_channels_tech", json!(tunnel::CHANNELS)),
        ("tunnel_channels_admin", json!(tunnel::CHANNELS)),
        ("tunnel_channels_owner", json!(tunnel::CHANNELS)),
        ("tunnel_paths", Value::Null),
        ("tunnel_forwards", json!([])),
        ("tunnel_consent", json!("never")),
        ("tunnel_reason", json!("none")),
        ("tunnel_idle_minutes", json!(15)),
        ("tunnel_max_minutes", json!(480)),
        ("tunnel_sessions_per_tech", json!(10)),
    ];
    defaults.extend(of_server.map(|(name, value)| (name.to_owned(), value)));
    defaults
}

#[cfg(test)]
mod tests;
