//! Messages from the server to an agent.

use crate::command::CommandStart;
use crate::follow::{FollowMe, FollowState};
use crate::ids::{AgentId, CommandId, CrashId, GapId, UninstallId, UpdateId};
use crate::log::LogRequest;
use crate::policy::AgentConfig;
use crate::tunnel::{TunnelClose, TunnelOpen};
use crate::uninstall::{UninstallOrder, UninstallState};
use crate::update::{UpdateOrder, UpdateState};
use crate::version::Version;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// A control message to an agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// The answer to a hello: the session stands.
    Welcome(Welcome),
    /// The answer to a heartbeat.
    HeartbeatAck {
        server_time: DateTime<Utc>,
        /// Since 1.1: agents that find this server gone come back spread over this time, for there are many of them. Absent
        /// where they are few.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reconnect_within_seconds: Option<u32>,
    },
    /// Metrics up to and including this sequence are stored for good.
    MetricsAck { seq: u64 },
    /// The network state with this sequence is stored for good.
    NetworkStateAck { seq: u64 },
    /// Run something.
    CommandStart(CommandStart),
    /// Kill a command's process tree. For a command not yet started: never start it.
    CommandCancel { command_id: CommandId },
    /// Output up to and including this sequence is stored for good.
    CommandOutputAck { command_id: CommandId, seq: u32 },
    /// The end is stored for good; the agent may forget the command's output, not that it ran.
    CommandEndAck { command_id: CommandId },
    /// New effective settings.
    ConfigUpdate { config: AgentConfig },
    /// Someone looks (`interval_ms` between samples, 1000 to 10000) or nobody does any more (absent).
    LiveMetrics {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval_ms: Option<u32>,
    },
    /// Someone wants to read the agent's own log.
    LogRequest(LogRequest),
    /// The crash report is stored for good; the agent may forget it.
    CrashReportAck { crash_id: CrashId },
    /// Become another version.
    UpdateOrder(UpdateOrder),
    /// This stage of an update is stored for good.
    UpdateReportAck { update_id: UpdateId, state: UpdateState },
    /// Remove yourself from the machine.
    UninstallOrder(UninstallOrder),
    /// The order is void: forget it, unless the removal has begun.
    UninstallCancel { uninstall_id: UninstallId },
    /// This stage of a removal is stored for good. The word that `uninstalling` is stored begins it.
    UninstallReportAck { uninstall_id: UninstallId, state: UninstallState },
    /// Where the server is to be found from now on, if that is elsewhere, and whose word about that counts.
    FollowMe(FollowMe),
    /// What became of this record is stored for good.
    FollowReportAck { serial: u64, state: FollowState },
    /// That these samples are lost is stored for good.
    GapAck { gap_id: GapId },
    /// A tech opened a session with this machine, or comes back to it.
    TunnelOpen(TunnelOpen),
    /// A tech's session is over.
    TunnelClose(TunnelClose),
    /// The server is about to close. The agent comes back after a random time within `reconnect_within_seconds`.
    Goodbye {
        reason: GoodbyeReason,
        #[serde(default)]
        reconnect_within_seconds: u32,
    },
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// First message of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Welcome {
    pub agent_id: AgentId,
    /// The version both sides speak from here on.
    pub protocol: Version,
    pub server_version: String,
    pub server_time: DateTime<Utc>,
    /// Seconds between heartbeats; silence of two and a half of them is a lost link.
    pub heartbeat_seconds: u32,
    pub config: AgentConfig,
    /// Whence the server sees the agent connect: its public address when that is a global one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_ip: Option<IpAddr>,
}

/// Why the server closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoodbyeReason {
    /// The server restarts or stops.
    ServerStopping,
    /// The same agent connected again; the newer session lives.
    Replaced,
    /// The agent was deleted, revoked or set aside.
    Revoked,
    /// The agent broke a limit or the protocol.
    ProtocolError,
    /// No common protocol version.
    NoCommonVersion,
    /// The agent did not take its messages in time.
    TooSlow,
    /// A reason this build does not know.
    #[serde(other)]
    Other,
}
