//! Metadata and programs on their way to agents: few at a time, so that a fleet that updates leaves room for the rest.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Programs that are on their way at a time.
const AT_ONCE: usize = 32;
/// Agents that wait for their turn; who comes later is told to come again.
const WAITING: usize = 256;
/// How long they wait.
const PATIENCE: Duration = Duration::from_secs(20);
/// When to come again, in seconds.
pub const RETRY_AFTER_SECONDS: u64 = 60;

/// The places for downloads.
pub struct Downloads {
    places: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    patience: Duration,
}

impl Default for Downloads {
    fn default() -> Self {
        Self::new(AT_ONCE, WAITING, PATIENCE)
    }
}

impl Downloads {
    fn new(at_once: usize, waiting: usize, patience: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(at_once)), queue: Arc::new(Semaphore::new(waiting)), patience }
    }

    /// A place, to be held until the last byte is sent. `None` when there is none for now.
    pub async fn place(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return Some(place);
        }
        let _in_queue = self.queue.try_acquire().ok()?;
        timeout(self.patience, Arc::clone(&self.places).acquire_owned()).await.ok()?.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_waits_a_while_and_a_long_queue_takes_nobody() {
        let downloads = Arc::new(Downloads::new(1, 1, PATIENCE));
        let first = downloads.place().await.unwrap();
        let waiting = tokio::spawn({
            let downloads = Arc::clone(&downloads);
            async move { downloads.place().await.is_some() }
        });
        tokio::task::yield_now().await;
        assert!(downloads.place().await.is_none(), "the queue is full");
        drop(first);
        assert!(waiting.await.unwrap());
        let _held = downloads.place().await.unwrap();
        assert!(downloads.place().await.is_none(), "nobody waits for ever");
    }
}
