//! Hash chains of what was done and of what was recorded, one of each kind per partner: every entry carries the hash of
//! the one before. They are written in the database (`audit_append`, `recording_append`); here their heads are anchored
//! elsewhere, and everything is held against everything.

mod anchor;
mod store;
mod verify;
mod walk;

pub use anchor::{Anchor, Anchored, FILE_JOB, STORE_JOB, keep_in_file, keep_in_store, read as read_anchors};
pub use verify::{Report, What, verify};

use uuid::Uuid;

/// Names of the chains.
pub const AUDIT: &str = "audit";
/// See [`AUDIT`].
pub const RECORDINGS: &str = "recordings";

/// How far a chain is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// [`AUDIT`] or [`RECORDINGS`].
    pub chain: String,
    /// The partner; nil for the platform.
    pub tenant: Uuid,
    pub seq: i64,
    pub hash: Vec<u8>,
}
