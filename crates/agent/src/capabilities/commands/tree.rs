//! Ending all of a command's processes: asked first, then made to.

use crate::os::process_tree::{ProcessTree, Severity};
use gururmm_protocol::CommandId;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How long processes may take to end by themselves.
const ASKED: Duration = Duration::from_secs(2);
/// How long the system may take to end them; one that waits for a dead disk cannot be ended at all.
const MADE: Duration = Duration::from_millis(1_500);

/// The number of a command's first process, as long as it is its own.
#[derive(Debug, Clone)]
pub struct Leader(Arc<AtomicU32>);

impl Leader {
    pub(super) fn new(pid: Option<u32>) -> Self {
        Self(Arc::new(AtomicU32::new(pid.unwrap_or_default())))
    }

    /// No first process is known any more.
    pub fn unknown() -> Self {
        Self::new(None)
    }

    /// It was waited for: its number may now be another's.
    pub(super) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn get(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|pid| *pid != 0)
    }
}

/// Ends all processes of a command; returns how many are left.
pub async fn end_tree(command_id: CommandId, leader: Leader) -> io::Result<usize> {
    let tree = || ProcessTree { command_id, leader: leader.get() };
    let mut pause = Duration::from_millis(5);
    let asked_until = Instant::now() + ASKED;
    let mut left = tree().signal(Severity::Terminate)?;
    while left > 0 && Instant::now() < asked_until {
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_millis(160));
        left = tree().count()?;
    }
    let made_until = Instant::now() + MADE;
    // Again and again: a process may have forked while it was looked for.
    while left > 0 && Instant::now() < made_until {
        left = tree().signal(Severity::Kill)?;
        sleep(Duration::from_millis(10)).await;
    }
    if left > 0 {
        left = tree().count()?;
    }
    Ok(left)
}
