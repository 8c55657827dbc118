//! One run of the agent on a state folder: what must stand before anything else is read from it.

use super::StartError;
use super::follow::TRIAL;
use crate::clock::ServerClock;
use crate::crash::{self, Crashes, Marker};
use crate::logging::OwnLog;
use crate::outbox::REPLAY_EVERY;
use crate::outbox::store::MAX_FILE_BYTES;
use crate::state::{RunLock, StateDir};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// What an agent that a watchdog runs is told by it.
#[derive(Debug, Clone)]
pub struct Supervised {
    /// The name of this run: the watchdog looks for it in the status file.
    pub run: Uuid,
    /// Where versions stand.
    pub program_folder: PathBuf,
    /// Update roots other than the built-in ones, for development and tests.
    pub update_root: Option<PathBuf>,
}

/// Holds the folder's lock, its log, and the marker by which the next run sees how this one ended.
#[derive(Debug)]
pub struct Run {
    pub(super) state: StateDir,
    pub(super) log: Arc<OwnLog>,
    pub(super) crashes: Arc<Crashes>,
    pub(super) clock: Arc<ServerClock>,
    // In this order: the marker goes while the folder is still held.
    pub(super) marker: Marker,
    pub(super) supervised: Option<Supervised>,
    pub(super) follow_within: Duration,
    pub(super) outbox_bytes: u64,
    pub(super) replay_every: Duration,
    _lock: RunLock,
}

impl Run {
    /// Begins to run on `state_dir`, unless another agent does. `log` is kept there from now on.
    pub fn begin(state_dir: &Path, log: Arc<OwnLog>) -> Result<Self, StartError> {
        let state = StateDir::open(state_dir)?;
        let lock = state.lock()?.ok_or(StartError::AlreadyRunning)?;
        let clock = Arc::new(ServerClock::load(&state));
        let crashes = Arc::new(Crashes::open(&state));
        let marker = Marker::begin(&state, &crashes, clock.now());
        log.keep_in(&state);
        Ok(Self {
            state,
            log,
            crashes,
            clock,
            marker,
            supervised: None,
            follow_within: TRIAL,
            outbox_bytes: MAX_FILE_BYTES,
            replay_every: REPLAY_EVERY,
            _lock: lock,
        })
    }

    /// A watchdog runs this agent, if any does.
    pub fn supervised(self, supervised: Option<Supervised>) -> Self {
        Self { supervised, ..self }
    }

    /// How long a new place of the server has to welcome the agent, for tests.
    pub fn following_within(self, follow_within: Duration) -> Self {
        Self { follow_within, ..self }
    }

    /// How large the outbox may grow on disk, and at which rate it is sent, for tests.
    pub fn with_outbox(self, outbox_bytes: u64, replay_every: Duration) -> Self {
        Self { outbox_bytes, replay_every, ..self }
    }

    /// From now on this process reports its panics. Call once.
    pub fn report_panics(&self) {
        crash::report_panics(
            &self.state,
            self.marker.run_id(),
            Arc::clone(&self.log),
            Arc::clone(&self.crashes),
            Arc::clone(&self.clock),
        );
    }
}
