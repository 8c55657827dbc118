//! The outbox's jobs, beside the loop: a disk that is slow or hangs must not keep the agent from its server.

use crate::outbox::Outbox;
use crate::outbox::store::{Done, Job, Store};
use gururmm_protocol::gap::GapReason;
use std::time::{Duration, Instant};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;

/// The store, or the job that has it.
#[derive(Debug)]
pub(super) struct Disk {
    store: Option<Store>,
    running: Option<JoinHandle<(Store, Done)>>,
}

impl Disk {
    pub(super) fn new(store: Store) -> Self {
        Self { store: Some(store), running: None }
    }

    /// Begins what is to be done.
    pub(super) fn run(&mut self, now: Instant, outbox: &mut Outbox) {
        if let Some(job) = outbox.next_job(now) {
            self.begin(job);
        }
    }

    fn begin(&mut self, job: Job) {
        let Some(mut store) = self.store.take() else { return };
        self.running = Some(spawn_blocking(move || {
            let done = store.run(&job);
            (store, done)
        }));
    }

    /// Waits for the job that runs; for ever when none does.
    pub(super) async fn done(&mut self) -> Done {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let ended = running.await;
        self.running = None;
        match ended {
            Ok((store, done)) => {
                self.store = Some(store);
                done
            }
            // Without a store there is memory.
            Err(error) => {
                Done::Failed { reason: GapReason::StoreFailed, error: error.to_string(), lost: None }
            }
        }
    }

    /// The agent stops: begins to write what is not on disk, if nothing else is being done there.
    pub(super) fn write_all(&mut self, outbox: &mut Outbox) {
        if let Some(job) = outbox.last_job() {
            self.begin(job);
        }
    }

    /// Finishes what runs, and writes what is left. A disk that takes longer keeps no agent from stopping.
    pub(super) async fn finish(&mut self, outbox: &mut Outbox, within: Duration) {
        let finishing = async {
            if self.running.is_some() {
                let done = self.done().await;
                outbox.job_done(Instant::now(), done);
            }
            self.write_all(outbox);
            if self.running.is_some() {
                let done = self.done().await;
                outbox.job_done(Instant::now(), done);
            }
        };
        if timeout(within, finishing).await.is_err() {
            tracing::warn!("the disk takes too long to keep the last samples");
        }
    }
}
