//! A file that stands as long as an agent runs. Found at a start, it tells that the one before ended without a word.

use super::{CrashCause, CrashReport, Crashes, Stored, read_bounded};
use crate::logging::{self, LOG_DIR};
use crate::os;
use crate::state::{StateDir, write_atomic};
use chrono::{DateTime, Utc};
use gururmm_protocol::CrashId;
use gururmm_protocol::command::Bytes;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::PathBuf;
use uuid::Uuid;

const FILE: &str = "running.json";

/// This run's marker. Dropping it is an end in order; the one of an agent that panics stays.
#[derive(Debug)]
pub struct Marker {
    path: PathBuf,
    run_id: Uuid,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    run_id: Uuid,
    boot_id: String,
    agent_version: String,
    started_at: DateTime<Utc>,
    pid: u32,
}

impl Marker {
    /// Reports what the marker of an earlier run tells, and puts this run's in its place. To be called by the agent
    /// that holds the folder's lock, before it writes to its log: the end of that is the earlier run's.
    ///
    /// Where one boot of the machine cannot be told from the next there is no marker: every power cut would look like
    /// an agent that was killed.
    pub fn begin(state: &StateDir, crashes: &Crashes, started_at: DateTime<Utc>) -> Self {
        let marker = Self { path: state.file(FILE), run_id: Uuid::new_v4() };
        let boot_id = match os::boot_id() {
            Ok(boot_id) => boot_id,
            Err(unsupported) => {
                tracing::info!(%unsupported, "an agent that is killed will not be noticed");
                return marker;
            }
        };
        marker.look_back(state, crashes, &boot_id);
        let record = Record {
            run_id: marker.run_id,
            boot_id,
            agent_version: crate::version().to_owned(),
            started_at,
            pid: std::process::id(),
        };
        let written = serde_json::to_vec(&record)
            .map_err(io::Error::from)
            .and_then(|bytes| write_atomic(&marker.path, &bytes));
        if let Err(error) = written {
            tracing::warn!(%error, "this agent's marker cannot be written: should it be killed, nobody will know");
            // Or the earlier run's end would be told twice.
            marker.remove();
        }
        marker
    }

    /// The id of this run.
    pub fn run_id(&self) -> Uuid {
        self.run_id
    }

    fn look_back(&self, state: &StateDir, crashes: &Crashes, boot_id: &str) {
        let found = match read_bounded(&self.path) {
            Ok(bytes) => serde_json::from_slice::<Record>(&bytes).ok(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(error) => {
                tracing::warn!(%error, "the marker of the agent before cannot be read");
                return;
            }
        };
        match &found {
            Some(record) if record.boot_id != boot_id => return,
            Some(record) if crashes.tells_of(record.run_id) => return,
            _ => {}
        }
        tracing::warn!("the agent before this one was killed");
        let log_dir = state.file(LOG_DIR);
        let log = logging::newest(&log_dir).unwrap_or_else(|error| {
            tracing::warn!(%error, "its log cannot be read");
            Vec::new()
        });
        // By the machine's clock, which dated the file; the server also knows when it lost the connection.
        let last_written = logging::last_written(&log_dir);
        let started_at = found.as_ref().map(|record| record.started_at);
        let report = CrashReport {
            crash_id: CrashId::new(),
            cause: CrashCause::Killed,
            crashed_at: last_written.max(started_at).unwrap_or_else(Utc::now),
            // A damaged marker does not say.
            agent_version: found.as_ref().map_or("unknown", |record| &record.agent_version).to_owned(),
            message: None,
            log: Bytes(log),
        };
        if let Err(error) = crashes.store(&Stored { run_id: found.map(|record| record.run_id), report }) {
            tracing::warn!(%error, "the crash report cannot be kept");
        }
    }

    fn remove(&self) {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "the agent's marker cannot be removed");
            }
            _ => {}
        }
    }
}

impl Drop for Marker {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.remove();
        }
    }
}
