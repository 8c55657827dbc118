//! What a fleet did so far.

use serde::{Deserialize, Serialize};
use std::sync::atomic::{AtomicU64, Ordering};

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
    pub heartbeats: Counter,
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
    pub heartbeats: u64,
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
            heartbeats: self.heartbeats.get(),
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
