//! Commands: what to run, what it prints, how it ends.

use crate::ids::CommandId;
use base64::Engine as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::collections::BTreeMap;

/// An order to run something. The agent journals it before it starts, so that a resend never starts it twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandStart {
    pub command_id: CommandId,
    pub kind: CommandKind,
    /// The command line, or the script's text.
    pub command: String,
    /// Program that runs a `script`, for example `/usr/bin/perl`; given the script's file as its last argument.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<String>,
    #[serde(default)]
    pub context: RunContext,
    #[serde(default)]
    pub elevated: bool,
    /// Seconds after which the whole process tree is killed.
    pub timeout_seconds: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_directory: Option<String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
}

/// What runs the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandKind {
    /// `/bin/sh -c`, on Windows `cmd /c`.
    Shell,
    Powershell,
    Python,
    Script,
}

impl CommandKind {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shell => "shell",
            Self::Powershell => "powershell",
            Self::Python => "python",
            Self::Script => "script",
        }
    }
}

/// As whom a command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunContext {
    /// As the agent's own account.
    #[default]
    System,
    /// In the signed-in user's session.
    UserSession,
}

impl RunContext {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::UserSession => "user_session",
        }
    }
}

/// A stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A piece of output. `seq` counts from 1 per command over both streams, without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputChunk {
    pub command_id: CommandId,
    pub seq: u32,
    pub stream: Stream,
    /// At most [`MAX_OUTPUT_CHUNK_BYTES`](crate::limits::MAX_OUTPUT_CHUNK_BYTES).
    pub data: Bytes,
}

/// How a command ended, with what it produced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandEnd {
    pub command_id: CommandId,
    pub outcome: Outcome,
    /// The process's exit code; absent when it was killed by a signal or never ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Why it could not run, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Stable word beside `error`: `UNSUPPORTED`, `NOT_FOUND`, `SPAWN_FAILED`, `JOURNAL_FAILED`, `SIGNAL`,
    /// `BUSY`, `NO_USER_SESSION`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// Bytes the command wrote to each stream, kept or not.
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    /// Whether output beyond the limit was dropped.
    pub truncated: bool,
    /// The `seq` of the last chunk; 0 when there was no output.
    pub last_seq: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: DateTime<Utc>,
}

/// The final states an agent can report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Ended by itself with exit code 0.
    Completed,
    /// Ended by itself with another code, or could not be started.
    Failed,
    /// Killed at its time limit.
    Timeout,
    /// Killed on request.
    Cancelled,
    /// The agent died between start and end: how far it got is unknown.
    Interrupted,
}

impl Outcome {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
        }
    }
}

/// A command the agent still holds in its journal, named in its hello.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumedCommand {
    pub command_id: CommandId,
    /// Whether its end is already known (and will be sent again until acknowledged).
    pub ended: bool,
}

/// Bytes that travel as base64 in JSON.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&base64::engine::general_purpose::STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        base64::engine::general_purpose::STANDARD.decode(text).map(Self).map_err(de::Error::custom)
    }
}
