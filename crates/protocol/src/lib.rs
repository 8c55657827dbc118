//! Everything that crosses the wire between GuruRMM's server and its agents.
//!
//! One WebSocket per agent carries JSON text frames: [`ServerMessage`] to the agent, [`AgentMessage`] to the
//! server; binary frames carry the channels of techs' sessions ([`tunnel`]). This crate holds shapes, limits and version negotiation; it does no I/O and knows neither side.
//! Rules: a released version only ever gains fields and kinds; a receiver ignores what it does not know.

pub mod bootstrap;
pub mod command;
pub mod follow;
pub mod frame;
pub mod gap;
pub mod ids;
pub mod installer;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod network;
pub mod policy;
pub mod sensors;
pub mod system;
pub mod to_agent;
pub mod to_server;
pub mod tunnel;
pub mod uninstall;
pub mod update;
pub mod version;
pub mod virtualization;
pub mod watchdog;

pub use frame::{DecodeError, Decoded, decode_agent_message, decode_server_message, encode};
pub use ids::{AgentId, CommandId, CrashId, GapId, LogId, TunnelId, UninstallId, UpdateId};
pub use to_agent::ServerMessage;
pub use to_server::AgentMessage;
pub use version::{SUPPORTED, Version, negotiate};
