//! What agents send of their logs. An agent touches what was asked of itself, and its own crashes.

use super::store::{self, Open};
use super::{KEPT, Machine, SILENCE, Status, request};
use crate::alerts::{self, NewAlert, Severity, Subject};
use crate::app::App;
use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::gateway::AgentSession;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::limits::{MAX_LOG_BYTES, MAX_LOG_PART_BYTES};
use gururmm_protocol::log::{CrashReport, LogEnd, LogPart};
use gururmm_protocol::{LogId, ServerMessage};
use serde_json::json;

/// How often a log is begun anew before the link is said to be too bad for it.
const RESTARTS: i32 = 8;
/// Pieces of one log. Sixteen times what an agent needs that fills them.
const MOST_PARTS: i32 = 1_024;
/// Over this time no more than [`KEPT`] crashes of one machine are stored: what is beyond is said in the log.
const CRASHES_OVER: TimeDelta = TimeDelta::minutes(1);

/// The agent is back: what was asked of its former session and has not come is asked again.
pub async fn hello(
    app: &App,
    tx: &mut Tx<System>,
    session: &AgentSession,
) -> Result<Vec<ServerMessage>, Error> {
    // The line took orders before this hello was handled: what went out on it is on its way.
    let connected_since = app.gateway.connected_since(session.agent_id);
    let open = store::open_of(tx, session.agent_id)
        .await?
        .filter(|log| connected_since.is_none_or(|since| log.requested_at < since));
    Ok(open.into_iter().map(|log| request(LogId(log.id))).collect())
}

/// A piece. The first one begins anew, whatever came before: the link was lost, and it was asked again.
pub async fn part(app: &App, session: &AgentSession, part: &LogPart) -> Result<(), Error> {
    let invalid = |what: &'static str| Err(Error::with_detail(Code::ValidationFailed, what));
    if part.data.0.len() > MAX_LOG_PART_BYTES {
        return invalid("a piece of a log is too large");
    }
    let mut tx = app.db.begin(&session.scope()).await?;
    let mut open = own(&mut tx, session, part.log_id).await?;
    if part.seq == 1 && open.last_seq > 0 {
        if open.restarts >= RESTARTS {
            let why = Some("the link broke too often");
            store::end(&mut tx, open.id, Status::Failed, None, why, Utc::now()).await?;
            tx.emit(place(session).event(session.tenant_id, session.agent_id, open.id)).await?;
            return tx.commit().await;
        }
        store::restart(&mut tx, open.id).await?;
        (open.last_seq, open.received_bytes) = (0, 0);
    }
    let next = open.last_seq + 1;
    if i64::from(part.seq) != i64::from(next) || next > MOST_PARTS {
        return invalid("a piece of a log is out of order");
    }
    let bytes = open.received_bytes + i64::try_from(part.data.0.len()).unwrap_or(i64::MAX);
    if u64::try_from(bytes).is_ok_and(|bytes| bytes > MAX_LOG_BYTES) {
        return invalid("a log is larger than what was asked for");
    }
    store::put_part(&mut tx, open.id, next, &part.data.0, bytes, Utc::now() + SILENCE).await?;
    tx.commit().await
}

/// The end: all of it has come, or why it cannot.
pub async fn ended(app: &App, session: &AgentSession, mut end: LogEnd) -> Result<(), Error> {
    end.clean();
    let mut tx = app.db.begin(&session.scope()).await?;
    let open = own(&mut tx, session, end.log_id).await?;
    if end.error.is_none() && i64::from(end.last_seq) != i64::from(open.last_seq) {
        end.error = Some("pieces of the log are missing".to_owned());
    }
    let status = if end.error.is_none() { Status::Complete } else { Status::Failed };
    store::end(&mut tx, open.id, status, Some(&end), end.error.as_deref(), Utc::now()).await?;
    tx.emit(place(session).event(session.tenant_id, session.agent_id, open.id)).await?;
    tx.commit().await
}

/// The agent had crashed. Stored once, however often it is said.
pub async fn crashed(
    app: &App,
    session: &AgentSession,
    mut report: CrashReport,
) -> Result<Vec<ServerMessage>, Error> {
    report.clean();
    let (crash_id, now) = (report.crash_id, Utc::now());
    // The machine's clock is believed between its beginning and now.
    report.crashed_at = report.crashed_at.clamp(DateTime::UNIX_EPOCH, now);
    let acknowledged = Ok(vec![ServerMessage::CrashReportAck { crash_id }]);
    let mut tx = app.db.begin(&session.scope()).await?;
    if store::count_crashes(&mut tx, session.agent_id, now - CRASHES_OVER, now).await? >= KEPT {
        tracing::warn!(agent_id = %session.agent_id, %crash_id, "too many crashes in a minute: one is not kept");
        return acknowledged;
    }
    let Some(id) = store::insert_crash(&mut tx, session.agent_id, &report, now).await? else {
        return acknowledged;
    };
    store::keep_newest_crashes(&mut tx, session.agent_id, id, KEPT).await?;
    let machine = place(session);
    let title = format!("The agent of {} crashed", machine.hostname);
    let alert = NewAlert {
        kind: "agent.crashed",
        severity: Severity::Warning,
        title: &title,
        detail: json!({
            "crash_id": id,
            "cause": report.cause.as_str(),
            "crashed_at": report.crashed_at,
            "agent_version": report.agent_version,
            "message": report.message,
        }),
        dedup_key: &format!("agent.crashed:{}", session.agent_id),
        subject: Subject {
            agent_id: session.agent_id,
            client_id: session.client_id,
            site_id: session.site_id,
        },
    };
    alerts::raise(&mut tx, alert).await?;
    tx.emit(machine.event(session.tenant_id, session.agent_id, id)).await?;
    tx.commit().await?;
    tracing::info!(agent_id = %session.agent_id, cause = report.cause.as_str(), "an agent had crashed");
    acknowledged
}

/// The log, if it was asked of this agent and is not over.
async fn own(tx: &mut Tx<System>, session: &AgentSession, id: LogId) -> Result<Open, Error> {
    store::lock_open(tx, id.0, session.agent_id)
        .await?
        .ok_or_else(|| Error::with_detail(Code::NotFound, format!("log {id} is not asked of this agent")))
}

fn place(session: &AgentSession) -> Machine {
    Machine {
        state: "active".to_owned(),
        hostname: session.hostname.clone(),
        client_id: session.client_id,
        site_id: session.site_id,
    }
}
