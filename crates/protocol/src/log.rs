//! The agent's own log: sent when someone asks for it, and after a crash.

use crate::command::Bytes;
use crate::ids::{CrashId, LogId};
use crate::limits::{
    MAX_LOG_BYTES, MAX_LOG_PART_BYTES, MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional,
};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Asks an agent for the newest part of its log. Asked again, it is sent again from its beginning.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogRequest {
    pub log_id: LogId,
    /// Bytes of it that are wanted at most; never more than [`MAX_LOG_BYTES`].
    pub max_bytes: u64,
}

/// A piece of a log that was asked for. `seq` counts from 1, without gaps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPart {
    pub log_id: LogId,
    pub seq: u32,
    /// At most [`MAX_LOG_PART_BYTES`]; a piece may end within a character.
    pub data: Bytes,
}

/// The end of a log that was asked for, after its last piece; or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    pub log_id: LogId,
    /// The `seq` of the last piece; 0 when there was none.
    pub last_seq: u32,
    /// Bytes of log the machine holds, sent or not.
    pub total_bytes: u64,
    /// Lines that could not be written, since the agent started.
    #[serde(default)]
    pub lost_lines: u64,
    /// Why it could not be read, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl LogEnd {
    /// Brings the text within its limit.
    pub fn clean(&mut self) {
        clean_optional(&mut self.error, MAX_TEXT_CHARS);
    }
}

/// What an agent found after it had ended without meaning to; sent again until acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashReport {
    /// Made by the agent: a report that comes twice is the same one.
    pub crash_id: CrashId,
    pub cause: CrashCause,
    /// When it ended; for one that was found later, when its log was last written.
    pub crashed_at: DateTime<Utc>,
    /// The version that crashed, which need not be the one that reports it.
    pub agent_version: String,
    /// What the program said, and where; absent when it could not say anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The newest part of its log, at most [`MAX_LOG_PART_BYTES`].
    pub log: Bytes,
}

impl CrashReport {
    /// Brings texts and the log within their limits.
    pub fn clean(&mut self) {
        clean(&mut self.agent_version, MAX_NAME_CHARS);
        clean_optional(&mut self.message, MAX_TEXT_CHARS);
        // A report without its time would not be one: the earliest that can be kept says as much.
        self.crashed_at = self.crashed_at.max(DateTime::UNIX_EPOCH);
        let over = self.log.0.len().saturating_sub(MAX_LOG_PART_BYTES);
        self.log.0.drain(..over);
    }
}

/// How an agent ended without meaning to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CrashCause {
    /// A fault of the program's own.
    Panic,
    /// It was gone without a word while the machine went on: killed, or ended by the system.
    Killed,
    /// A cause this build does not know.
    #[serde(other)]
    Other,
}

impl CrashCause {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::Killed => "killed",
            Self::Other => "other",
        }
    }
}

impl LogRequest {
    /// What is wanted, within the limit.
    pub fn wanted_bytes(&self) -> u64 {
        self.max_bytes.min(MAX_LOG_BYTES)
    }
}

// A piece is base64 in a control frame, with room for the fields around it.
const _: () = assert!(MAX_LOG_PART_BYTES / 3 * 4 + 4_096 < crate::limits::MAX_CONTROL_FRAME_BYTES);
