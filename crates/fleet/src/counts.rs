//! What a fleet did so far.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Times are counted by the millisecond up to this one; longer ones count as much.
const LONGEST_MS: usize = 60_000;

/// Counters that all agents of a process share.
#[derive(Debug, Default)]
pub struct Counts {
    pub connected: Counter,
    pub connects: Counter,
    pub refused: Counter,
    pub lost: Counter,
    pub samples_sent: Counter,
    pub samples_stored: Counter,
    pub samples_dropped: Counter,
    /// Samples that agents began with.
    pub samples_remembered: Counter,
    pub heartbeats: Counter,
    /// From a heartbeat to its answer.
    pub heartbeat_times: Times,
    pub commands_started: Counter,
    pub commands_stored: Counter,
}

/// The counters at one moment.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Sessions that stand now.
    pub connected: u64,
    /// Sessions that were begun.
    pub connects: u64,
    /// Attempts that the server answered with a refusal.
    pub refused: u64,
    /// Attempts and sessions that broke.
    pub lost: u64,
    /// Samples sent, repeated ones too.
    pub samples_sent: u64,
    /// Samples that the server says it has stored.
    pub samples_stored: u64,
    /// Samples that a full outbox let go.
    pub samples_dropped: u64,
    /// Samples that agents began with, measured before.
    pub samples_remembered: u64,
    pub heartbeats: u64,
    /// Of the heartbeats that were answered, and of those whose sessions ended without an answer, half took no longer
    /// (milliseconds).
    pub heartbeat_p50_ms: u64,
    /// The same for 99 of 100.
    pub heartbeat_p99_ms: u64,
    /// And for all.
    pub heartbeat_most_ms: u64,
    /// Commands run; a repeated order is not run again.
    pub commands_started: u64,
    /// Ends of commands that the server says it has stored.
    pub commands_stored: u64,
}

impl Counts {
    /// All of them.
    pub fn now(&self) -> Counted {
        Counted {
            connected: self.connected.get(),
            connects: self.connects.get(),
            refused: self.refused.get(),
            lost: self.lost.get(),
            samples_sent: self.samples_sent.get(),
            samples_stored: self.samples_stored.get(),
            samples_dropped: self.samples_dropped.get(),
            samples_remembered: self.samples_remembered.get(),
            heartbeats: self.heartbeats.get(),
            heartbeat_p50_ms: self.heartbeat_times.within(0.5),
            heartbeat_p99_ms: self.heartbeat_times.within(0.99),
            heartbeat_most_ms: self.heartbeat_times.within(1.0),
            commands_started: self.commands_started.get(),
            commands_stored: self.commands_stored.get(),
        }
    }
}

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn up(&self) {
        self.add(1);
    }

    /// Some more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// One less.
    pub fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// How often something took how many milliseconds.
#[derive(Debug)]
pub struct Times(Box<[Counter]>);

impl Default for Times {
    fn default() -> Self {
        Self((0..=LONGEST_MS).map(|_| Counter::default()).collect())
    }
}

impl Times {
    /// One more.
    pub fn add(&self, time: Duration) {
        let ms = usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        if let Some(counter) = self.0.get(ms.min(LONGEST_MS)) {
            counter.up();
        }
    }

    /// The whole milliseconds within which `share` (0 to 1) of them were over; 0 when there are none.
    fn within(&self, share: f64) -> u64 {
        let all: u64 = self.0.iter().map(Counter::get).sum();
        let enough = (all as f64 * share).ceil() as u64;
        let mut so_far = 0;
        let found = self.0.iter().position(|counter| {
            so_far += counter.get();
            so_far >= enough && so_far > 0
        });
        found.unwrap_or_default() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_that_were_added() {
        let times = Times::default();
        assert_eq!((times.within(0.5), times.within(1.0)), (0, 0));
        for ms in [5, 1, 4, 2, 3] {
            times.add(Duration::from_micros(ms * 1_000 + 700));
        }
        assert_eq!((times.within(0.5), times.within(0.99), times.within(1.0)), (3, 5, 5));
        times.add(Duration::from_secs(3_600));
        assert_eq!((times.within(0.5), times.within(1.0)), (3, LONGEST_MS as u64));
    }
}
