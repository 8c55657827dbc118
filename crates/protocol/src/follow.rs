//! "Follow me": the server is to be found elsewhere, since protocol 1.1.
//!
//! A record names the new place and is signed with the installation's own key. An agent takes that key from the first
//! session it is told it in, and keeps it: whoever answers at the server's address later cannot send agents away. An
//! agent tries the new place with the key it has, and stays where a server welcomes it.

use crate::command::Bytes;
use crate::limits::{MAX_TEXT_CHARS, clean_optional};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// What is signed begins with this, so that a signature of another kind is never taken for one of a record.
const CONTEXT: &[u8] = b"gururmm follow-me 1\n";
/// Longest record, in bytes.
pub const MAX_RECORD_BYTES: usize = 4 * 1024;
/// Bytes of an Ed25519 key.
pub const KEY_BYTES: usize = 32;

/// Whose records are to be believed, and the one that stands. Said after every welcome, and when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowMe {
    /// The installation's public key, Ed25519. Only an agent that knows none takes it.
    pub key: Bytes,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<SignedRecord>,
}

/// A record as it was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedRecord {
    /// A [`FollowRecord`] in the very bytes that were signed.
    pub record: String,
    pub signature: Bytes,
}

impl SignedRecord {
    /// The bytes that are signed for a record.
    pub fn signed_bytes(record: &str) -> Vec<u8> {
        [CONTEXT, record.as_bytes()].concat()
    }
}

/// Where the server is to be found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowRecord {
    /// Grows with every record of an installation; an older one is never followed after a newer one.
    pub serial: u64,
    /// `https://host[:port]`.
    pub server_url: String,
    /// `sha256:HEX` of the one authority to be trusted there; those of the machine where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_fingerprint: Option<String>,
    pub not_before: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// Whose records are to be believed at the new place, where that is another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<Bytes>,
}

/// What became of a record; sent again until acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowReport {
    pub serial: u64,
    pub state: FollowState,
    /// Stable word for why it was not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    pub at: DateTime<Utc>,
}

impl FollowReport {
    /// Brings texts within their limits.
    pub fn clean(&mut self) {
        clean_optional(&mut self.error_code, 64);
        clean_optional(&mut self.error, MAX_TEXT_CHARS);
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FollowState {
    /// The agent was welcomed at the new place, and stays there.
    Confirmed,
    /// It was not welcomed in time, and is back where it was.
    Reverted,
    /// It did not try: the record is not one to be followed.
    Refused,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

impl FollowState {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Reverted => "reverted",
            Self::Refused => "refused",
            Self::Other => "other",
        }
    }
}
