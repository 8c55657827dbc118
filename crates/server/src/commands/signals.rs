//! Who follows which command, and counts for the metrics.

use super::Status;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;
use uuid::Uuid;

/// Wakes those who follow a command when something of it was committed. What it was, they read from the database,
/// each at its own pace.
#[derive(Clone, Default)]
pub struct Signals {
    followed: Arc<Mutex<HashMap<Uuid, watch::Sender<()>>>>,
}

/// Follows one command until it is dropped.
pub struct Signal {
    signals: Signals,
    command_id: Uuid,
    changed: Option<watch::Receiver<()>>,
}

impl Signals {
    /// Begins to follow; what happens from now on is noticed.
    pub fn follow(&self, command_id: Uuid) -> Signal {
        let changed = self.lock().entry(command_id).or_insert_with(|| watch::channel(()).0).subscribe();
        Signal { signals: self.clone(), command_id, changed: Some(changed) }
    }

    /// Something of this command was committed.
    pub fn wake(&self, command_id: Uuid) {
        if let Some(sender) = self.lock().get(&command_id) {
            sender.send_replace(());
        }
    }

    /// Something of any command may have been committed.
    pub fn wake_all(&self) {
        self.lock().values().for_each(|sender| sender.send_replace(()));
    }

    /// Whether anyone follows this command.
    pub fn is_followed(&self, command_id: Uuid) -> bool {
        self.lock().contains_key(&command_id)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, watch::Sender<()>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Signal {
    /// Waits until something was committed since the last call.
    pub async fn changed(&mut self) {
        if let Some(changed) = &mut self.changed {
            // The sender lives as long as anyone follows.
            let _lives = changed.changed().await;
        }
    }
}

impl Drop for Signal {
    fn drop(&mut self) {
        let mut followed = self.signals.lock();
        self.changed = None;
        if followed.get(&self.command_id).is_some_and(|sender| sender.receiver_count() == 0) {
            followed.remove(&self.command_id);
        }
    }
}

/// How many commands reached each state since the start.
#[derive(Debug, Default)]
pub struct Reached([AtomicU64; Status::ALL.len()]);

impl Reached {
    /// One more.
    pub fn count(&self, status: Status) {
        if let Some(counter) = self.counter(status) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each state with its count.
    pub fn all(&self) -> impl Iterator<Item = (Status, u64)> {
        Status::ALL.into_iter().zip(self.0.iter().map(|counter| counter.load(Ordering::Relaxed)))
    }

    fn counter(&self, status: Status) -> Option<&AtomicU64> {
        Status::ALL.iter().position(|other| *other == status).and_then(|at| self.0.get(at))
    }
}
