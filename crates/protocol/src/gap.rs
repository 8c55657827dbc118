//! Samples that will never come, since protocol 1.1.
//!
//! An agent keeps what the server has not acknowledged. Where it cannot keep all of it, it says exactly what is missing.

use crate::ids::GapId;
use crate::limits::{MAX_TEXT_CHARS, clean_optional};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// Samples that were lost for one reason; sent again until acknowledged. Between two connections it may grow: then
/// it comes again with the same id, a larger count and a wider span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub gap_id: GapId,
    /// When the earliest of them was taken.
    pub from: DateTime<Utc>,
    /// When the latest of them was taken.
    pub to: DateTime<Utc>,
    /// How many there were; absent where nobody can tell any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    pub reason: GapReason,
    /// What the machine's system said, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Gap {
    /// Brings what an agent says within limits.
    pub fn clean(&mut self) {
        clean_optional(&mut self.error, MAX_TEXT_CHARS);
        if self.to < self.from {
            std::mem::swap(&mut self.from, &mut self.to);
        }
    }
}

/// Why samples were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// As much was kept as may be kept; the oldest went.
    OutboxFull,
    /// The disk was full, and memory holds few.
    DiskFull,
    /// They could not be written for another reason, and memory holds few.
    StoreFailed,
    /// What was kept on disk cannot be read: it is damaged, or a newer agent wrote it.
    StoreUnreadable,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

impl GapReason {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OutboxFull => "outbox_full",
            Self::DiskFull => "disk_full",
            Self::StoreFailed => "store_failed",
            Self::StoreUnreadable => "store_unreadable",
            Self::Other => "other",
        }
    }
}
