//! A program that panics says what happened before it is gone.

use super::{CrashCause, CrashReport, Crashes, Stored};
use crate::clock::ServerClock;
use crate::logging::{self, LOG_DIR, OwnLog, one_line};
use crate::state::StateDir;
use chrono::{SecondsFormat, Utc};
use gururmm_protocol::CrashId;
use gururmm_protocol::command::Bytes;
use std::panic::{self, PanicHookInfo};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use uuid::Uuid;

/// Reports of one run at most. A fault that comes back every second for weeks is told well enough by then.
const MAX_REPORTS: u32 = 16;

struct Reporter {
    run_id: Uuid,
    log: Arc<OwnLog>,
    log_dir: PathBuf,
    crashes: Arc<Crashes>,
    clock: Arc<ServerClock>,
    reports: AtomicU32,
}

/// From now on a panic of this process is logged and reported as one of `run_id`, beside what was done about it
/// before. Call once.
pub fn report_panics(
    state: &StateDir,
    run_id: Uuid,
    log: Arc<OwnLog>,
    crashes: Arc<Crashes>,
    clock: Arc<ServerClock>,
) {
    let log_dir = state.file(LOG_DIR);
    let reporter = Reporter { run_id, log, log_dir, crashes, clock, reports: AtomicU32::new(0) };
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        before(info);
        reporter.report(info);
    }));
}

impl Reporter {
    /// Takes no lock that the panicking thread may hold, and does nothing that could panic: that would be an abort.
    fn report(&self, info: &PanicHookInfo<'_>) {
        let message = describe(info);
        let now = Utc::now().to_rfc3339_opts(SecondsFormat::Micros, true);
        self.log.try_write(&format!("{now} ERROR gururmm_agent: the program panicked: {message}"));
        if self.reports.fetch_add(1, Ordering::Relaxed) >= MAX_REPORTS {
            return;
        }
        let report = CrashReport {
            crash_id: CrashId::new(),
            cause: CrashCause::Panic,
            crashed_at: self.clock.try_now().unwrap_or_else(Utc::now),
            agent_version: crate::version().to_owned(),
            message: Some(message),
            log: Bytes(logging::newest(&self.log_dir).unwrap_or_default()),
        };
        // A full disk: what is left is the marker, by which the next run at least knows that this one ended so.
        let _ = self.crashes.store(&Stored { run_id: Some(self.run_id), report });
    }
}

/// One line, without secrets: it leaves the machine.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let said = one_line(info.payload_as_str().unwrap_or("without a text"));
    match info.location() {
        // In front, where a long text does not cut it off.
        Some(at) => format!("{}:{}:{}: {said}", at.file(), at.line(), at.column()),
        None => said,
    }
}
