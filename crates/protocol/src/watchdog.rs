//! What a machine's watchdog says of an agent that cannot speak for itself, since protocol 1.1. One HTTP call with the
//! agent's own credential.

use crate::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional};
use serde::{Deserialize, Serialize};

/// Where it is posted.
pub const REPORT_PATH: &str = "/api/v1/agent/watchdog-reports";

/// The state of an agent, by its watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct WatchdogReport {
    pub condition: Condition,
    /// Failures in a row.
    #[serde(default)]
    pub failures: u32,
    /// The watchdog's own version.
    pub agent_version: String,
    /// How the agent ended, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl WatchdogReport {
    /// Brings texts within their limits.
    pub fn clean(&mut self) {
        clean(&mut self.agent_version, MAX_NAME_CHARS);
        clean_optional(&mut self.reason, MAX_TEXT_CHARS);
    }
}

/// How an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Condition {
    /// It ends again and again.
    Failing,
    /// It runs and is connected.
    Recovered,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}
