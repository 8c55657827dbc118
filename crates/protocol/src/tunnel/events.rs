//! The system's log: journald, Windows' event log, macOS's log.

use serde::{Deserialize, Serialize};

/// Entries in one part of an answer.
pub const EVENTS_PER_PART: usize = 50;
/// Most entries that one query answers.
pub const MAX_EVENTS: u32 = 5_000;

/// What to read. The machine sends [`EventsMessage`]s: what there is, oldest first; then, if it follows, what comes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenEvents {
    /// Windows: `System`, `Application`, …; journald: a unit. Absent: all, on Windows `System` and `Application`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// The least grave to show.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// Milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<i64>,
    /// What the text contains, in any case.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The last so many, at most [`MAX_EVENTS`].
    pub limit: u32,
    pub follow: bool,
}

/// How grave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    Critical,
    Error,
    Warning,
    Info,
    Debug,
}

/// From the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum EventsMessage {
    Events {
        events: Vec<LogEntry>,
    },
    /// What there is was sent; `more` were left out beyond the limit, where that is known. If it follows, new ones come now.
    Caught {
        #[serde(default)]
        more: bool,
    },
}

/// One entry of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct LogEntry {
    /// Milliseconds since 1970.
    pub time_ms: i64,
    pub level: Level,
    /// Windows: the provider; journald: unit or program; macOS: the process.
    pub source: String,
    /// Windows: the log it stands in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Windows: the event's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// At most [`crate::limits::MAX_TEXT_CHARS`].
    pub text: String,
}
