//! What the agent has to say of itself: crashes, how far an update or its removal is, what became of the server's new
//! place until they are acknowledged, and its log when someone asks.
//!
//! Knows no file: it says whose turn it is, and is told what is there.

use super::ledger::Sending;
use gururmm_protocol::follow::{FollowReport, FollowState};
use gururmm_protocol::uninstall::{UninstallReport, UninstallState};
use gururmm_protocol::update::{UpdateReport, UpdateState};
use gururmm_protocol::{AgentMessage, CrashId, LogId, UninstallId, UpdateId};

/// Commands go first. Where they never stop, one message of so many is a report's: an agent that busy is the one
/// whose log somebody wants to see.
const SHARE: u32 = 8;

/// Reports that are to be sent.
#[derive(Debug, Default)]
pub(super) struct Reports {
    crashes: Vec<Crash>,
    /// The log that was asked for last, until its end is sent.
    log: Option<LogId>,
    update: Option<Update>,
    uninstall: Option<Uninstall>,
    follow: Option<Follow>,
    /// How many messages about commands went since the last report.
    passed_over: u32,
}

#[derive(Debug)]
struct Crash {
    crash_id: CrashId,
    is_sent: bool,
}

/// How far an update is; only the newest stage is worth telling.
#[derive(Debug)]
struct Update {
    report: UpdateReport,
    is_sent: bool,
}

/// How far the agent's removal is.
#[derive(Debug)]
struct Uninstall {
    report: UninstallReport,
    is_sent: bool,
}

/// What became of the record of the server's new place.
#[derive(Debug)]
struct Follow {
    report: FollowReport,
    is_sent: bool,
}

impl Reports {
    /// This became of a record. Said before, it is not said again on the same connection.
    pub(super) fn set_follow(&mut self, report: FollowReport) {
        if self.follow.as_ref().is_none_or(|follow| follow.report != report) {
            self.follow = Some(Follow { report, is_sent: false });
        }
    }

    /// The server has it. Whether it was the one to be told.
    pub(super) fn forget_follow(&mut self, serial: u64, state: FollowState) -> bool {
        let told = |follow: &mut Follow| (follow.report.serial, follow.report.state) == (serial, state);
        self.follow.take_if(told).is_some()
    }

    /// The removal came this far. Said before, it is not said again on the same connection.
    pub(super) fn set_uninstall(&mut self, report: UninstallReport) {
        if self.uninstall.as_ref().is_none_or(|uninstall| uninstall.report != report) {
            self.uninstall = Some(Uninstall { report, is_sent: false });
        }
    }

    /// The server has this stage. Whether it was the one to be told.
    pub(super) fn forget_uninstall(&mut self, id: UninstallId, state: UninstallState) -> bool {
        let told = |uninstall: &mut Uninstall| {
            uninstall.report.uninstall_id == id && uninstall.report.state == state
        };
        self.uninstall.take_if(told).is_some()
    }

    /// Nothing is to be said of this removal any more.
    pub(super) fn drop_uninstall(&mut self, id: UninstallId) {
        self.uninstall.take_if(|uninstall| uninstall.report.uninstall_id == id);
    }

    /// An update came this far. Said before, it is not said again on the same connection.
    pub(super) fn set_update(&mut self, report: UpdateReport) {
        if self.update.as_ref().is_none_or(|update| update.report != report) {
            self.update = Some(Update { report, is_sent: false });
        }
    }

    /// The server has this stage. Whether it was the one to be told.
    pub(super) fn forget_update(&mut self, update_id: UpdateId, state: UpdateState) -> bool {
        let told = |update: &mut Update| update.report.update_id == update_id && update.report.state == state;
        self.update.take_if(told).is_some()
    }

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
        self.update.iter_mut().for_each(|update| update.is_sent = false);
        self.uninstall.iter_mut().for_each(|uninstall| uninstall.is_sent = false);
        self.follow.iter_mut().for_each(|follow| follow.is_sent = false);
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
        if let Some(follow) = self.follow.as_mut().filter(|follow| !follow.is_sent) {
            follow.is_sent = true;
            return Some(Sending::Message(AgentMessage::FollowReport(follow.report.clone())));
        }
        if let Some(uninstall) = self.uninstall.as_mut().filter(|uninstall| !uninstall.is_sent) {
            uninstall.is_sent = true;
            return Some(Sending::Message(AgentMessage::UninstallReport(uninstall.report.clone())));
        }
        if let Some(update) = self.update.as_mut().filter(|update| !update.is_sent) {
            update.is_sent = true;
            return Some(Sending::Message(AgentMessage::UpdateReport(update.report.clone())));
        }
        if let Some(crash) = self.crashes.iter_mut().find(|crash| !crash.is_sent) {
            crash.is_sent = true;
            return Some(Sending::Crash(crash.crash_id));
        }
        self.log.map(Sending::Log)
    }
}
