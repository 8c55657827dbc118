//! The part of policy an agent acts on. Everything has a default, so that an old server can drive a new agent.

use serde::{Deserialize, Serialize};

/// Effective settings of one agent, pushed at connect and whenever they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AgentConfig {
    /// Seconds between samples, 10 to 3600.
    pub metrics_interval_seconds: u32,
    /// Whether samples carry the top processes.
    pub process_list: bool,
    /// Whether the agent asks for its public address.
    pub public_ip: bool,
    /// Whether the agent reports its network state.
    pub network_state: bool,
    /// Whether the agent reports the signed-in user and idle time.
    pub user_activity: bool,
    /// Output kept per command, in bytes.
    pub output_limit_bytes: u64,
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            metrics_interval_seconds: 60,
            process_list: true,
            public_ip: false,
            network_state: true,
            user_activity: true,
            output_limit_bytes: crate::limits::DEFAULT_OUTPUT_LIMIT_BYTES,
        }
    }
}
