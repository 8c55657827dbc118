//! The agent's removal from its machine, as its server ordered it: what is noted of it, and the process that does it.
//!
//! The agent notes the order before it says so, and begins when the server has stored that. From then on another process
//! is at work, which outlives the service it stops: it alone writes the note until it says there why it failed.

mod process;

pub use process::{RemovalError, carry_out};

use crate::state::{StateDir, StateError, remove_all, sync_parent, write_atomic};
use chrono::{DateTime, Utc};
use gururmm_protocol::UninstallId;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

const FILE: &str = "uninstall.json";
/// Held by the process that removes, as long as there is something left to hold.
pub const LOCK: &str = "uninstall.lock";

/// The order as it is noted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The server's name for it.
    pub uninstall_id: UninstallId,
    /// How far it is.
    pub stage: Stage,
    /// Since when.
    pub at: DateTime<Utc>,
}

/// How far a removal is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// It begins when the server has stored that it will.
    Accepted,
    /// The process was started, for so many times.
    Begun { attempts: u32 },
    /// It did not come to its end.
    Failed(Failure),
}

/// Why a removal failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable word.
    pub code: String,
    /// For people.
    pub message: String,
}

impl Failure {
    /// In these words.
    pub fn new(code: &str, message: &str) -> Self {
        Self { code: code.to_owned(), message: message.to_owned() }
    }

    /// Of an error and its causes.
    pub fn of(code: &str, error: &dyn std::error::Error) -> Self {
        let mut message = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Self { code: code.to_owned(), message }
    }
}

impl Note {
    /// What is noted, if anything is. A note that cannot be read is as good as none: nothing is removed for it, and the
    /// server says again what it wants.
    pub fn load(state: &StateDir) -> Option<Self> {
        let bytes = match fs::read(state.file(FILE)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(%error, "the note of the removal cannot be read");
                return None;
            }
        };
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(%error, "the note of the removal is damaged"))
            .ok()
    }

    /// Writes it in one step that survives a power cut.
    pub fn save(&self, state: &StateDir) -> Result<(), StateError> {
        let path = state.file(FILE);
        let bytes = serde_json::to_vec(self).map_err(io::Error::other);
        bytes.and_then(|bytes| write_atomic(&path, &bytes)).map_err(|source| StateError::Io { path, source })
    }

    /// Forgets it.
    pub fn remove(state: &StateDir) -> Result<(), StateError> {
        let path = state.file(FILE);
        remove_all(&path).and_then(|()| sync_parent(&path)).map_err(|source| StateError::Io { path, source })
    }
}
