//! What the slices count while they work. Read by the status screen and by Prometheus; lost at a restart.

use super::Requests;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::time::Instant;

/// The counters of one server. What a slice can tell when asked (connected agents, waiting samples) is not counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Agents' samples that were committed.
    pub samples_stored: Meter,
    /// Agents' samples that were acknowledged and not kept: older than the retention, or than any agent keeps them.
    pub samples_too_old: Meter,
    /// Hours of machines that were packed, some of them again.
    pub hours_packed: Meter,
    /// Samples that came to them.
    pub samples_packed: Meter,
    /// Samples of machines that sent more in an hour than are kept.
    pub samples_thinned: Meter,
    /// Bytes in channels of techs' sessions, to machines and from them.
    pub tunnel_bytes_to_machines: Meter,
    pub tunnel_bytes_from_machines: Meter,
    pub requests: Requests,
}

/// Counts things, and knows how many of them came in the last minute.
#[derive(Debug)]
pub struct Meter {
    since: Instant,
    state: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    total: u64,
    /// One bucket per second, at that second's number modulo 60.
    buckets: [u64; SECONDS],
    /// The second the newest bucket stands for.
    newest: u64,
}

const SECONDS: usize = 60;

impl Default for Meter {
    fn default() -> Self {
        let state = Mutex::new(Window { total: 0, buckets: [0; SECONDS], newest: 0 });
        Self { since: Instant::now(), state }
    }
}

impl Meter {
    /// Counts `n` more.
    pub fn add(&self, n: u64) {
        let mut window = self.now();
        let bucket = Window::place(window.newest);
        window.total += n;
        window.buckets[bucket] += n;
    }

    /// All since the start.
    pub fn total(&self) -> u64 {
        self.now().total
    }

    /// Those of the last 60 seconds.
    pub fn last_minute(&self) -> u64 {
        self.now().buckets.iter().sum()
    }

    fn now(&self) -> MutexGuard<'_, Window> {
        let mut window = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        window.advance(self.since.elapsed().as_secs());
        window
    }
}

impl Window {
    /// Empties the buckets of the seconds that have begun since.
    fn advance(&mut self, second: u64) {
        let first = (self.newest + 1).max(second.saturating_sub(SECONDS as u64 - 1));
        for begun in first..=second {
            self.buckets[Self::place(begun)] = 0;
        }
        self.newest = self.newest.max(second);
    }

    fn place(second: u64) -> usize {
        (second % SECONDS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn a_meter_forgets_what_is_older_than_a_minute_and_keeps_the_total() {
        let meter = Meter::default();
        meter.add(5);
        advance(Duration::from_secs(30)).await;
        meter.add(7);
        assert_eq!((meter.last_minute(), meter.total()), (12, 12));
        advance(Duration::from_secs(30)).await;
        assert_eq!((meter.last_minute(), meter.total()), (7, 12));
        advance(Duration::from_secs(29)).await;
        assert_eq!(meter.last_minute(), 7);
        advance(Duration::from_secs(1)).await;
        assert_eq!(meter.last_minute(), 0);
        advance(Duration::from_secs(100_000)).await;
        meter.add(1);
        assert_eq!((meter.last_minute(), meter.total()), (1, 13));
    }
}
