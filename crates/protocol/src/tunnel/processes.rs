//! Processes.

use serde::{Deserialize, Serialize};

/// Processes in one part of an answer.
pub const PROCESSES_PER_PART: usize = 100;

/// Something about processes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ProcessRequest {
    /// All processes: parts with processes, then a reply with their number and the machine's figures.
    List {},
    /// The same again and again, each time ended by a part with the figures, at this interval (1000 to 60000). Ends with the
    /// channel, or with the next `watch`; 0 ends it.
    Watch {
        interval_ms: u32,
    },
    /// Ends a process, with its descendants when `tree`. `force`: without asking it (SIGKILL); on Windows always.
    Kill {
        process: ProcessKey,
        #[serde(default)]
        tree: bool,
        #[serde(default)]
        force: bool,
    },
    SetPriority {
        process: ProcessKey,
        priority: Priority,
    },
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// A process and no other one that got its number later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct ProcessKey {
    pub pid: u32,
    /// When it started, in milliseconds since 1970, as it was listed.
    pub started_ms: i64,
}

/// How much of the processor a process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Windows: idle; nice 19.
    Lowest,
    /// Nice 10.
    Low,
    /// Nice 0.
    Normal,
    /// Nice -5.
    High,
    /// Nice -15; Windows: high.
    Highest,
}

/// What comes back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ProcessAnswer {
    Processes {
        processes: Vec<Process>,
    },
    /// The end of one list.
    Figures {
        processes: u64,
        cpu_percent: f32,
        memory_used_bytes: u64,
        memory_bytes: u64,
    },
    /// How many processes were ended.
    Killed {
        processes: u32,
    },
    Done {},
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct Process {
    #[serde(flatten)]
    pub key: ProcessKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<u32>,
    pub name: String,
    /// At most [`crate::limits::MAX_TEXT_CHARS`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command_line: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Of one core, since the list before; absent in the first list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f32>,
    pub memory_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<Priority>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<u32>,
}
