//! A folder that is held open, and what can be done with the names in it.
//!
//! Every call takes one name and goes by the held handle: nothing outside the folder can be meant, whatever is renamed or
//! linked meanwhile, and no call follows a link. What the systems do differently is in `unix.rs` and `windows.rs`, which
//! have the same functions.

#[cfg(unix)]
#[path = "unix.rs"]
mod system;
#[cfg(windows)]
#[path = "windows.rs"]
mod system;

pub(super) use system::{
    Accounts, Entries, keep, keep_facts, of_file, open_below, open_path, open_root, places, read_at,
    set_file_mode, write_at,
};

use cap_std::fs::Dir;
use gururmm_protocol::tunnel::files::EntryKind;
use std::sync::Arc;
use std::time::Duration;

/// Mode of folders that are made.
pub(super) const FOLDER_MODE: u32 = 0o755;
/// Mode of files that are made.
pub(super) const FILE_MODE: u32 = 0o644;
/// Mode of what is not in its place yet.
pub(super) const PRIVATE_FILE: u32 = 0o600;
/// The same, of folders.
pub(super) const PRIVATE_FOLDER: u32 = 0o700;
/// Bits that make a program run as its owner or group.
#[cfg(unix)]
pub(super) const SETS_ID: u32 = 0o6000;

/// A folder that is held open. Clones are the same handle.
#[derive(Debug, Clone)]
pub(super) struct Folder(Arc<Dir>);

impl Folder {
    pub fn new(dir: Dir) -> Self {
        Self(Arc::new(dir))
    }

    /// For looking up what is more than one name away: stays below the folder, links and all.
    pub fn dir(&self) -> &Dir {
        &self.0
    }
}

/// What tells one file from every other, as long as both exist.
pub(super) type Identity = (u64, u64);

/// What the system knows of an entry itself; of a link, not of what it points to.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub kind: EntryKind,
    pub size: u64,
    /// Since 1970.
    pub modified: Option<Duration>,
    pub identity: Identity,
    /// Names that the file has.
    pub names: u64,
    /// Permission bits, with user's and group's number: what Windows does not have.
    pub mode: Option<u32>,
    pub owner: Option<(u32, u32)>,
    pub is_hidden: bool,
}

impl Facts {
    /// Of what cannot be looked at.
    pub fn unknown() -> Self {
        Self {
            kind: EntryKind::Other,
            size: 0,
            modified: None,
            identity: (0, 0),
            names: 0,
            mode: None,
            owner: None,
            is_hidden: false,
        }
    }

    pub fn modified_ms(&self) -> Option<i64> {
        self.modified.and_then(|since| i64::try_from(since.as_millis()).ok())
    }

    /// Whether it belongs to this account, where that is known.
    pub fn is_ours(&self) -> bool {
        self.owner.is_none_or(|(owner, _)| owner == system::own_account())
    }

    /// The file system it is on.
    pub fn volume(&self) -> u64 {
        self.identity.0
    }
}
