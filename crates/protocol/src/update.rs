//! Updates of the agent itself, since protocol 1.1. An order only says what to look for: whether a program may run is
//! decided by signed metadata (TUF) that the agent fetches from its server and verifies against roots it was built with.

use crate::ids::UpdateId;
use crate::limits::{MAX_TEXT_CHARS, clean_optional};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Where the server has the metadata; a role's file name follows.
pub const METADATA_PATH: &str = "/api/v1/agent/updates/metadata/";
/// Where the server has the programs; a target's name follows.
pub const TARGETS_PATH: &str = "/api/v1/agent/updates/targets/";

/// Asks an agent to become another version. Asked again, it is answered with how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UpdateOrder {
    pub update_id: UpdateId,
    pub action: UpdateAction,
    /// The version to become.
    pub version: String,
    /// The channel it was published in: the signed metadata must name it.
    pub channel: String,
    /// The order is void from then on, unless the new version is already being tried.
    pub valid_until: DateTime<Utc>,
    /// Not to wait until no command runs; those that do are interrupted.
    #[serde(default)]
    pub at_once: bool,
}

/// How an agent becomes another version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum UpdateAction {
    /// Fetch it, verify it, try it. Never an older one.
    Install,
    /// Go back to the version that ran before and was kept.
    RollBack,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

/// How far an update is; sent again until acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateReport {
    pub update_id: UpdateId,
    pub state: UpdateState,
    /// The version it is about.
    pub version: String,
    /// Stable word for why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub at: DateTime<Utc>,
}

impl UpdateReport {
    /// Brings texts within their limits.
    pub fn clean(&mut self) {
        crate::limits::clean(&mut self.version, MAX_VERSION_CHARS);
        clean_optional(&mut self.error_code, 64);
        clean_optional(&mut self.error, MAX_TEXT_CHARS);
    }
}

/// Longest text of a version.
pub const MAX_VERSION_CHARS: usize = 64;

/// The stages of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateState {
    /// It is being fetched and verified.
    Downloading,
    /// It is verified and waits for running commands to end.
    Ready,
    /// It is started for the first time, and has to connect.
    Trying,
    /// It connected, and stays.
    Confirmed,
    /// It did not connect in time, or ended: the version before runs again.
    RolledBack,
    /// It was not tried at all.
    Failed,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

impl UpdateState {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Downloading => "downloading",
            Self::Ready => "ready",
            Self::Trying => "trying",
            Self::Confirmed => "confirmed",
            Self::RolledBack => "rolled_back",
            Self::Failed => "failed",
            Self::Other => "other",
        }
    }

    /// Whether nothing follows.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Confirmed | Self::RolledBack | Self::Failed)
    }
}

/// What an agent says about its own updating in its hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateAbility {
    /// Whether it can become another version: a watchdog runs it, and it has roots to verify with.
    pub supported: bool,
    /// Why not, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The version that was kept to go back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_version: Option<String>,
}

impl UpdateAbility {
    /// Brings texts within their limits.
    pub fn clean(&mut self) {
        clean_optional(&mut self.reason, MAX_TEXT_CHARS);
        clean_optional(&mut self.previous_version, MAX_VERSION_CHARS);
    }
}
