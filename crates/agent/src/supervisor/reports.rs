//! The agent's crashes and its log, as messages.

use super::run::Run;
use crate::crash::Crashes;
use crate::logging::{OwnLog, Tail};
use crate::session::Session;
use gururmm_protocol::command::Bytes;
use gururmm_protocol::log::{LogEnd, LogPart, LogRequest};
use gururmm_protocol::{AgentMessage, CrashId, LogId};
use std::io;
use std::sync::Arc;
use uuid::Uuid;

/// Reads what the session wants to send.
#[derive(Debug)]
pub(super) struct Reports {
    run_id: Uuid,
    log: Arc<OwnLog>,
    crashes: Arc<Crashes>,
    /// The log that is being sent.
    sending: Option<Pieces>,
}

/// A log on its way.
#[derive(Debug)]
struct Pieces {
    log_id: LogId,
    tail: io::Result<Tail>,
    total_bytes: u64,
    last_seq: u32,
}

impl Reports {
    pub(super) fn new(run: &Run) -> Self {
        Self {
            run_id: run.marker.run_id(),
            log: Arc::clone(&run.log),
            crashes: Arc::clone(&run.crashes),
            sending: None,
        }
    }

    /// Tells the session of crashes it does not know: those of earlier runs, then what this one outlived.
    pub(super) fn look_for_crashes(&self, session: &mut Session) {
        if self.crashes.take_news() {
            self.crashes.outlived(self.run_id);
            self.crashes.ids().into_iter().for_each(|crash_id| session.crash_found(crash_id));
        }
    }

    /// A crash report; `None` when there is none any more.
    pub(super) fn crash(&self, session: &mut Session, crash_id: CrashId) -> Option<AgentMessage> {
        let report = self.crashes.read(crash_id);
        if report.is_none() {
            session.crash_lost(crash_id);
        }
        report.map(AgentMessage::CrashReport)
    }

    pub(super) fn forget_crash(&self, crash_id: CrashId) {
        self.crashes.forget(crash_id);
    }

    /// Somebody asks for the log, or nobody does any more. What is sent is the log of this moment.
    pub(super) fn read_log(&mut self, request: Option<LogRequest>) {
        self.sending = request.map(|request| {
            // Whose machine it is can see in the log that the log was asked for.
            tracing::info!(log_id = %request.log_id, "the server asks for this log");
            let tail = self.log.tail(request.wanted_bytes());
            let total_bytes = tail.as_ref().map_or(0, Tail::total_bytes);
            Pieces { log_id: request.log_id, tail, total_bytes, last_seq: 0 }
        });
    }

    /// The next piece of that log, or its end.
    pub(super) fn log_piece(&mut self, session: &mut Session, log_id: LogId) -> Option<AgentMessage> {
        let Some(pieces) = self.sending.as_mut().filter(|pieces| pieces.log_id == log_id) else {
            session.log_sent(log_id);
            return None;
        };
        let error = match pieces.tail.as_mut().map(Tail::next_piece) {
            Ok(Ok(data)) if !data.is_empty() => {
                pieces.last_seq += 1;
                return Some(AgentMessage::LogPart(LogPart {
                    log_id,
                    seq: pieces.last_seq,
                    data: Bytes(data),
                }));
            }
            Ok(Ok(_)) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(error) = &error {
            tracing::warn!(%error, "the agent's own log cannot be read");
        }
        let mut end = LogEnd {
            log_id,
            last_seq: pieces.last_seq,
            total_bytes: pieces.total_bytes,
            lost_lines: self.log.lost_lines(),
            error,
        };
        end.clean();
        self.sending = None;
        session.log_sent(log_id);
        Some(AgentMessage::LogEnd(end))
    }
}
