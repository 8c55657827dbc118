//! What the agent has to say of itself: crashes until they are acknowledged, and its log when someone asks.
//!
//! Knows no file: it says whose turn it is, and is told what is there.

use super::ledger::Sending;
use gururmm_protocol::{CrashId, LogId};

/// Commands go first. Where they never stop, one message of so many is a report's: an agent that busy is the one
/// whose log somebody wants to see.
const SHARE: u32 = 8;

/// Reports that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Reports {
    crashes: Vec<Crash>,
    /// The log that was asked for last, until its end is sent.
    log: Option<LogId>,
    /// How many messages about commands went since the last report.
    passed_over: u32,
}

#[derive(Debug)]
struct Crash {
    crash_id: CrashId,
    is_sent: bool,
}

impl Reports {
    /// A crash is to be reported.
    pub(super) fn found(&mut self, crash_id: CrashId) {
        if !self.crashes.iter().any(|crash| crash.crash_id == crash_id) {
            self.crashes.push(Crash { crash_id, is_sent: false });
        }
    }

    /// A crash need not be reported any more. Whether it was known.
    pub(super) fn forget(&mut self, crash_id: CrashId) -> bool {
        let before = self.crashes.len();
        self.crashes.retain(|crash| crash.crash_id != crash_id);
        self.crashes.len() < before
    }

    /// Someone wants the log, in place of whoever wanted it before.
    pub(super) fn want_log(&mut self, log_id: LogId) {
        self.log = Some(log_id);
    }

    /// That log's end is sent.
    pub(super) fn log_sent(&mut self, log_id: LogId) {
        self.log.take_if(|sending| *sending == log_id);
    }

    /// The connection is gone: crashes are reported again, a log only when it is asked for again. Whether one was
    /// being sent.
    pub(super) fn disconnected(&mut self) -> bool {
        self.crashes.iter_mut().for_each(|crash| crash.is_sent = false);
        self.log.take().is_some()
    }

    /// The next thing to send, a report or one of the `commands`.
    pub(super) fn poll_after(&mut self, mut commands: impl FnMut() -> Option<Sending>) -> Option<Sending> {
        if self.passed_over < SHARE
            && let Some(sending) = commands()
        {
            self.passed_over += 1;
            return Some(sending);
        }
        self.passed_over = 0;
        self.poll().or_else(commands)
    }

    fn poll(&mut self) -> Option<Sending> {
        if let Some(crash) = self.crashes.iter_mut().find(|crash| !crash.is_sent) {
            crash.is_sent = true;
            return Some(Sending::Crash(crash.crash_id));
        }
        self.log.map(Sending::Log)
    }
}
