//! What agent and watchdog leave for each other in the state folder: the agent's request, the watchdog's record.

use crate::state::{StateDir, StateError, write_atomic};
use chrono::{DateTime, Utc};
use gururmm_protocol::UpdateId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The folder of both files.
const FOLDER: &str = "update";
const REQUEST: &str = "request.json";
const RECORD: &str = "watchdog.json";
/// Neither file comes near it.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// A program, named by what it is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Its version, which is the name of its folder.
    pub version: String,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// Their number.
    pub length: u64,
}

/// Written by the agent: try this one. The watchdog looks when the agent has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The server's id of the update.
    pub update_id: UpdateId,
    /// What to try.
    pub build: Build,
}

/// Written by the watchdog.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// What runs when nothing is tried; absent: the installed program.
    pub confirmed: Option<Build>,
    /// What ran before it, kept to go back to.
    pub previous: Option<Build>,
    /// What is being tried.
    pub trial: Option<Trial>,
    /// How the last trial ended.
    pub outcome: Option<Outcome>,
    /// What the updater has put where the service manager finds its program; absent: what a package put there.
    pub watchdog: Option<Build>,
    /// The confirmed version, as long as another one is the watchdog.
    pub successor: Option<Successor>,
}

/// A program that has yet to show that it connects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trial {
    /// The server's id of the update.
    pub update_id: UpdateId,
    /// What is tried.
    pub build: Build,
    /// How often a watchdog began with it: more than once when the machine went down meanwhile.
    pub starts: u32,
}

/// A confirmed version that is to be the watchdog as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Successor {
    /// What becomes the watchdog.
    pub build: Build,
    /// How often it was begun with and has not shown yet that it can.
    pub starts: u32,
    /// Why it does not become the watchdog; absent: it may yet.
    pub failure: Option<String>,
}

/// The end of a trial.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The server's id of the update.
    pub update_id: UpdateId,
    /// The version that was tried.
    pub version: String,
    /// Why it did not stay; absent: it stayed.
    pub failure: Option<String>,
    /// When, by the machine's clock.
    pub at: DateTime<Utc>,
}

/// The two files.
#[derive(Debug, Clone)]
pub struct Ledger {
    folder: PathBuf,
}

impl Ledger {
    /// In this state folder.
    pub fn open(state: &StateDir) -> Result<Self, StateError> {
        Ok(Self { folder: state.sub_dir(FOLDER)? })
    }

    /// Where the agent keeps what it saw of the metadata.
    pub fn metadata_folder(&self) -> PathBuf {
        self.folder.join("metadata")
    }

    /// A file of the agent's own beside the two.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The watchdog's record. One that cannot be read is none: then the installed program runs.
    pub fn record(&self) -> Record {
        read(&self.file(RECORD)).unwrap_or_default()
    }

    /// Replaces the record.
    pub fn write_record(&self, record: &Record) -> io::Result<()> {
        write(&self.file(RECORD), record)
    }

    /// The agent's request, if it left one.
    pub fn request(&self) -> Option<Request> {
        read(&self.file(REQUEST))
    }

    /// Asks for a trial.
    pub fn write_request(&self, request: &Request) -> io::Result<()> {
        write(&self.file(REQUEST), request)
    }

    /// The request is taken.
    pub fn remove_request(&self) -> io::Result<()> {
        match fs::remove_file(self.file(REQUEST)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Reads a small JSON file of the agent's own; `None` where there is none, or none that makes sense.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() && metadata.len() <= MAX_FILE_BYTES => fs::read(path).ok()?,
        Ok(_) => {
            tracing::warn!(path = %path.display(), "not a file of the agent's, and ignored");
            return None;
        }
        Err(_) => return None,
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Some(value),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a damaged file is ignored");
            None
        }
    }
}

pub(crate) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    write_atomic(path, &serde_json::to_vec(value)?)
}
