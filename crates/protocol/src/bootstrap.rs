//! Bodies of the two HTTP calls an agent makes without a socket: hello and enrollment.
//!
//! `POST /api/v1/bootstrap/hello` only ever gains fields: an agent that slept for years must be able to say it.

use crate::ids::AgentId;
use crate::system::{MachineIdentity, OsType};
use crate::update::UpdateOrder;
use crate::version::Version;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What an agent says before it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HelloRequest {
    pub agent_version: String,
    #[cfg_attr(feature = "schema", schema(value_type = String, example = "1.0"))]
    pub protocol_version: Version,
    pub os_type: OsType,
    pub arch: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentId>,
}

/// What the server answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct HelloResponse {
    pub server_version: String,
    /// Versions the server serves.
    #[cfg_attr(feature = "schema", schema(value_type = Vec<String>, example = json!(["1.0"])))]
    pub protocol_versions: Vec<Version>,
    pub server_time: DateTime<Utc>,
    pub action: BootstrapAction,
    /// Path of the agents' WebSocket.
    pub socket_path: String,
    /// Since 1.1: what an agent that may not connect is to become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateOrder>,
}

/// What the agent is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum BootstrapAction {
    /// Connect.
    Connect,
    /// The agent is too old to be served: update first.
    Upgrade,
    /// The agent is newer than this server speaks: go back to an older build.
    DowngradeRequired,
    /// A word this build does not know: connect and be told.
    #[serde(other)]
    Other,
}

/// `POST /api/enroll`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EnrollRequest {
    pub site_code: String,
    pub enrollment_key: String,
    pub hostname: String,
    pub os_type: OsType,
    pub os_version: String,
    pub arch: String,
    pub agent_version: String,
    #[serde(flatten)]
    pub identity: MachineIdentity,
    #[serde(default)]
    pub mac_addresses: Vec<String>,
}

/// The answer to an enrollment, 201.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct EnrollResponse {
    pub agent_id: AgentId,
    /// The machine's own key, `cak_…`; said once.
    pub agent_key: String,
    pub status: EnrollStatus,
    pub server_time: DateTime<Utc>,
}

/// Whether the machine may work at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum EnrollStatus {
    Active,
    /// Someone has to decide first; the agent keeps its key and asks again.
    Pending,
}
