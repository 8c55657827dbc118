//! Messages from an agent to the server.

use crate::command::{CommandEnd, OutputChunk, ResumedCommand};
use crate::follow::FollowReport;
use crate::gap::Gap;
use crate::ids::{CommandId, TunnelId};
use crate::log::{CrashReport, LogEnd, LogPart};
use crate::metrics::Sample;
use crate::network::NetworkState;
use crate::system::{MachineIdentity, SystemInfo};
use crate::tunnel::{TunnelReady, TunnelRefused};
use crate::uninstall::UninstallReport;
use crate::update::{UpdateAbility, UpdateReport};
use crate::version::Version;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// A control message from an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    /// First message of a session.
    Hello(Hello),
    /// "I am here", every `heartbeat_seconds`.
    Heartbeat {
        /// What the machine's own clock shows. Nothing goes by it: all other times are the server's, as the agent last
        /// heard it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        clock: Option<DateTime<Utc>>,
    },
    /// One sample. `seq` is 0 for a live sample that is shown and not stored, else it grows by one per sample.
    Metrics {
        #[serde(default)]
        seq: u64,
        sample: Sample,
    },
    /// The network state changed. `seq` grows with every change.
    NetworkState { seq: u64, state: NetworkState },
    /// The command is in the agent's journal and its process runs.
    CommandStarted { command_id: CommandId, started_at: DateTime<Utc> },
    /// A piece of output; sent again until acknowledged.
    CommandOutput(OutputChunk),
    /// The end; sent again until acknowledged, after all output.
    CommandEnded(CommandEnd),
    /// A piece of a log that was asked for. Not acknowledged: after a lost link the server asks again.
    LogPart(LogPart),
    /// The end of a log that was asked for.
    LogEnd(LogEnd),
    /// The agent ended without meaning to; sent again until acknowledged.
    CrashReport(CrashReport),
    /// How far an update of the agent is; sent again until acknowledged.
    UpdateReport(UpdateReport),
    /// How far the agent's own removal is; sent again until acknowledged.
    UninstallReport(UninstallReport),
    /// What became of the record of the server's new place; sent again until acknowledged.
    FollowReport(FollowReport),
    /// Samples that will never come; sent again until acknowledged.
    Gap(Gap),
    /// A tech's session stands.
    TunnelReady(TunnelReady),
    /// A tech's session cannot be.
    TunnelRefused(TunnelRefused),
    /// The agent stops on purpose: do not wait for its silence.
    Goodbye {},
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// Who the agent is and what it still holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// Versions the agent speaks.
    pub protocols: Vec<Version>,
    pub agent_version: String,
    pub system: SystemInfo,
    pub identity: MachineIdentity,
    /// Every command in the journal whose end the server has not acknowledged.
    #[serde(default)]
    pub commands: Vec<ResumedCommand>,
    /// Since 1.1: whether the agent can update itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<UpdateAbility>,
    /// Since 1.1: techs' sessions that this machine still keeps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tunnels: Vec<TunnelId>,
}
