//! Removal of the agent from its machine, since protocol 1.1.
//!
//! The agent notes the order for good and says `uninstalling`. Only the server's word that this is stored begins the
//! removal; until then the order can be taken back. The removal is another process, which says what came of it by HTTP,
//! with the key that the agent had.

use crate::ids::UninstallId;
use crate::limits::{MAX_TEXT_CHARS, clean_optional};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Where a removal posts what came of it.
pub const REPORT_PATH: &str = "/api/v1/agent/uninstall-reports";

/// Asks an agent to remove itself from its machine. Asked again, it is answered with how far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UninstallOrder {
    pub uninstall_id: UninstallId,
    /// The order is void from then on, unless the removal has begun.
    pub valid_until: DateTime<Utc>,
}

/// How far a removal is; sent again until acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct UninstallReport {
    pub uninstall_id: UninstallId,
    pub state: UninstallState,
    /// Stable word for why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub at: DateTime<Utc>,
}

impl UninstallReport {
    /// Brings texts within their limits.
    pub fn clean(&mut self) {
        clean_optional(&mut self.error_code, 64);
        clean_optional(&mut self.error, MAX_TEXT_CHARS);
    }
}

/// The stages of a removal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum UninstallState {
    /// The order is noted; the removal begins when the server has this.
    Uninstalling,
    /// Nothing of the agent is left.
    Uninstalled,
    /// The agent, or some of it, is still there.
    Failed,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}
