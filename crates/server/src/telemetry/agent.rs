//! Samples from agents.

use super::ingest::Queued;
use super::live::LiveView;
use super::{Sample, storable_time};
use crate::app::App;
use crate::gateway::AgentSession;
use chrono::Utc;
use gururmm_protocol::{ServerMessage, metrics};

/// A stored sample is acknowledged after its commit, by the ingest; a live one goes to whoever looks and nowhere
/// else. Waits while the ingest's queue is full: the agent keeps what it cannot send.
pub async fn metrics(app: &App, session: &AgentSession, seq: u64, mut sample: metrics::Sample) {
    sample.clean();
    let time = storable_time(sample.taken_at, Utc::now(), session.retention_days);
    let sample = time.map(|time| Sample { t: time, ..sample.into() });
    match (seq, sample) {
        (0, Some(sample)) => LiveView::publish(app, session, sample),
        (0, None) => {}
        (seq, None) => {
            app.counters.samples_too_old.add(1);
            app.telemetry.ingest.put(Queued::new(session, seq, None)).await;
        }
        (seq, sample) => app.telemetry.ingest.put(Queued::new(session, seq, sample)).await,
    }
}

/// An agent that comes back is told at once when someone looks at it.
pub fn hello(app: &App, session: &AgentSession) -> Vec<ServerMessage> {
    app.telemetry.live.resume(&app.gateway, session.agent_id);
    Vec::new()
}
