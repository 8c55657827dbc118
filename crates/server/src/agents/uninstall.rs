//! Removal of the agent from its machine: ordered by a person, kept until the machine is there, followed to its end.
//!
//! An order is a row; it is committed before the agent hears of it and sent again at every hello until it ends. The agent
//! begins only when the word that it will is stored here, so an order that was taken back in time is never carried out.

use super::life::changed;
use super::{Agent, Status as AgentStatus, find, store, uninstall_store};
use crate::alerts::{self, NewAlert, Severity, Subject};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::{ManageAgents, System};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use crate::gateway::{self, AgentSession};
use crate::jobs;
use crate::peers::Matter;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::uninstall::{UninstallOrder, UninstallReport, UninstallState};
use gururmm_protocol::{ServerMessage, UninstallId, Version, negotiate};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// Names the job that ends what nothing came of.
pub const JOB: &str = "uninstall deadlines";
/// The protocol version since which an agent knows the order.
const SINCE: Version = Version { major: 1, minor: 1 };
/// How long a machine that began may be silent: its package manager may have to wait for another one first.
const REMOVED_WITHIN: TimeDelta = TimeDelta::hours(1);
/// How long an order waits for its machine when nobody says.
const DEFAULT_DAYS: i64 = 30;
const MAX_DAYS: i64 = 365;
const FAILED: &str = "agent.uninstall_failed";

words! {
    /// How far a removal is.
    #[schema(as = UninstallStatus)]
    Status {
        /// The machine has not begun: it may be away.
        Ordered = "ordered",
        Uninstalling = "uninstalling",
        Uninstalled = "uninstalled",
        /// It began, and was never heard of again.
        Unconfirmed = "unconfirmed",
        Failed = "failed",
        Cancelled = "cancelled",
        /// The machine was not there in time.
        Expired = "expired",
    }
}

/// The removal of an agent from its machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentUninstall {
    pub id: Uuid,
    pub status: Status,
    pub ordered_by_name: Option<String>,
    pub ordered_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    /// The machine does not begin with it afterwards.
    pub valid_until: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// Stable word for why it failed.
    pub error_code: Option<String>,
    pub error: Option<String>,
}

/// Which machine is meant, and how long the order waits for it.
#[derive(Debug, Deserialize, ToSchema)]
pub struct UninstallInput {
    /// The machine's name as it was looked at: an order for another machine is refused.
    #[schema(max_length = 255)]
    pub hostname: String,
    /// 30 when absent.
    #[schema(minimum = 1, maximum = 365)]
    pub valid_days: Option<i64>,
}

/// A locked row: what deciding about a report takes.
pub(super) struct Known {
    pub id: Uuid,
    pub agent_id: Uuid,
    pub status: Status,
    pub valid_until: DateTime<Utc>,
    pub ordered_by: Option<Uuid>,
}

/// Orders a machine's agent to remove itself, now or when it is next there. 409 unless the machine is active and its agent
/// knows how, and while another removal is under way.
pub async fn uninstall(
    app: &App,
    scope: &Scope<ManageAgents>,
    id: Uuid,
    input: &UninstallInput,
) -> Result<AgentUninstall, Error> {
    let days = input.valid_days.unwrap_or(DEFAULT_DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Error::field("valid_days", "OUT_OF_RANGE", "must be 1 to 365"));
    }
    let now = Utc::now();
    let mut tx = app.db.begin(scope).await?;
    store::hold_place(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let agent = find(&mut tx, id).await?;
    if !matches!(agent.status, AgentStatus::Online | AgentStatus::Offline) {
        return Err(Error::new(Code::AgentNotActive));
    }
    if input.hostname != agent.hostname {
        return Err(Error::field("hostname", "INVALID", "is not this machine's name"));
    }
    if is_too_old(agent.protocol_version.as_deref()) {
        return Err(Error::new(Code::AgentTooOld));
    }
    let (order, valid_until) = (UninstallId::new(), now + TimeDelta::days(days));
    if !uninstall_store::insert(&mut tx, order.0, id, valid_until, now).await? {
        return Err(Error::new(Code::UninstallUnderWay));
    }
    changed(&mut tx, id, "agent.uninstall", json!({ "valid_until": valid_until })).await?;
    let ordered = newest(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    tx.commit().await?;
    // What is lost is sent again at its next hello.
    if !app.gateway.send(id, message(order, valid_until)) {
        gateway::look(app, scope.tenant()?, id, Matter::Uninstall);
    }
    Ok(ordered)
}

/// Takes an order back. 409 when there is none, or when the machine has begun.
pub async fn cancel_uninstall(
    app: &App,
    scope: &Scope<ManageAgents>,
    id: Uuid,
) -> Result<AgentUninstall, Error> {
    let mut tx = app.db.begin(scope).await?;
    find(&mut tx, id).await?;
    match uninstall_store::lock_open(&mut tx, id).await? {
        Some(open) if open.status == Status::Ordered => {
            uninstall_store::end(&mut tx, open.id, Status::Cancelled, None, Utc::now()).await?;
            changed(&mut tx, id, "agent.uninstall_cancel", json!({})).await?;
            let cancelled = newest(&mut tx, id).await?.ok_or_else(Error::not_found)?;
            tx.commit().await?;
            if !app.gateway.send(id, ServerMessage::UninstallCancel { uninstall_id: open.id.into() }) {
                gateway::look(app, scope.tenant()?, id, Matter::Uninstall);
            }
            Ok(cancelled)
        }
        Some(_) => Err(Error::with_detail(Code::InvalidState, "the machine has begun")),
        None => Err(Error::with_detail(Code::InvalidState, "the machine is not to be uninstalled")),
    }
}

/// Another node says that the removal of a machine that is connected here was ordered, or taken back.
pub async fn look_for_uninstall(app: &App, scope: &Scope<System>, agent_id: Uuid) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let Some(newest) = newest(&mut tx, agent_id).await? else { return Ok(()) };
    match newest.status {
        Status::Ordered => app.gateway.send(agent_id, message(newest.id.into(), newest.valid_until)),
        Status::Cancelled => {
            app.gateway.send(agent_id, ServerMessage::UninstallCancel { uninstall_id: newest.id.into() })
        }
        _ => false,
    };
    Ok(())
}

/// The removal that was ordered last.
pub(super) async fn newest<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<AgentUninstall>, Error> {
    uninstall_store::newest(tx, agent_id).await
}

/// A record becomes another machine's, or nobody's: what was ordered for it is not carried out on whatever comes.
pub(super) async fn call_off<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<(), Error> {
    if let Some(open) = uninstall_store::lock_open(tx, agent_id).await? {
        uninstall_store::end(tx, open.id, Status::Cancelled, None, Utc::now()).await?;
    }
    Ok(())
}

/// The agent is there: its open order is sent, or sent again.
pub async fn on_uninstall_hello(
    app: &App,
    tx: &mut Tx<System>,
    session: &AgentSession,
    hello: &Hello,
) -> Result<Vec<ServerMessage>, Error> {
    let now = Utc::now();
    let Some(open) = uninstall_store::lock_open(tx, session.agent_id).await? else {
        return Ok(Vec::new());
    };
    let spoken = negotiate(&app.protocols.served(), &hello.protocols);
    if open.status == Status::Ordered && spoken.is_none_or(|version| version < SINCE) {
        let error = ("AGENT_TOO_OLD", "the agent is too old to remove itself: update it first");
        failed(tx, session, open.id, error.0, Some(error.1), now).await?;
        return Ok(Vec::new());
    }
    if open.status == Status::Ordered && open.valid_until <= now {
        uninstall_store::end(tx, open.id, Status::Expired, None, now).await?;
        emit_changed(tx, session).await?;
        return Ok(Vec::new());
    }
    Ok(vec![message(open.id.into(), open.valid_until)])
}

/// How far a removal is, said by the agent or by the process that removes it. Stored before it is acknowledged; twice,
/// late, or in another order is no harm.
pub async fn on_uninstall_report(
    app: &App,
    session: &AgentSession,
    mut report: UninstallReport,
) -> Result<Vec<ServerMessage>, Error> {
    report.clean();
    let now = Utc::now();
    let UninstallReport { uninstall_id, state, .. } = report;
    let acknowledged = vec![ServerMessage::UninstallReportAck { uninstall_id, state }];
    let void = vec![ServerMessage::UninstallCancel { uninstall_id }];
    let mut tx = app.db.begin(&session.scope()).await?;
    let Some(known) = uninstall_store::lock(&mut tx, uninstall_id.0, session.agent_id).await? else {
        tracing::warn!(agent_id = %session.agent_id, %uninstall_id, "a removal that nobody ordered is reported");
        return Ok(if state == UninstallState::Uninstalling { void } else { acknowledged });
    };
    let mut is_gone = false;
    match (state, known.status) {
        (UninstallState::Uninstalling, Status::Ordered) if known.valid_until <= now => {
            uninstall_store::end(&mut tx, known.id, Status::Expired, None, now).await?;
            emit_changed(&mut tx, session).await?;
            tx.commit().await?;
            return Ok(void);
        }
        (UninstallState::Uninstalling, Status::Ordered | Status::Unconfirmed) => {
            uninstall_store::begin(&mut tx, known.id, now + REMOVED_WITHIN, now).await?;
            emit_changed(&mut tx, session).await?;
        }
        // Said again.
        (UninstallState::Uninstalling, Status::Uninstalling) => {}
        (UninstallState::Uninstalling, _) => return Ok(void),
        (UninstallState::Uninstalled, Status::Uninstalling | Status::Unconfirmed | Status::Failed) => {
            uninstall_store::end(&mut tx, known.id, Status::Uninstalled, None, now).await?;
            // Its key has no use any more but somebody else's.
            is_gone = store::retire(&mut tx, session.agent_id, known.ordered_by).await?;
            alerts::resolve_cause(&mut tx, &dedup_key(session.agent_id)).await?;
            changed(&mut tx, session.agent_id, "agent.uninstalled", json!({})).await?;
        }
        (UninstallState::Failed, Status::Ordered | Status::Uninstalling | Status::Unconfirmed) => {
            let code = report.error_code.as_deref().unwrap_or("UNKNOWN");
            failed(&mut tx, session, known.id, code, report.error.as_deref(), now).await?;
        }
        (UninstallState::Uninstalled | UninstallState::Failed | UninstallState::Other, _) => {}
    }
    tx.commit().await?;
    if is_gone {
        app.gateway.disconnect(session.agent_id, GoodbyeReason::Revoked);
    }
    Ok(acknowledged)
}

/// Goes through all partners' removals: orders whose machine was not there in time, and machines that began and fell
/// silent.
pub async fn keep_uninstall_deadlines(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_of(app, tenant, now).await);
    }
    Ok(())
}

async fn keep_of(app: &App, tenant: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin(&Scope::system(JOB, tenant)).await?;
    for overdue in uninstall_store::lock_overdue(&mut tx, now).await? {
        let agent = find(&mut tx, overdue.agent_id).await?;
        let status = match overdue.status {
            Status::Ordered => Status::Expired,
            _ if agent.is_connected => Status::Failed,
            _ => Status::Unconfirmed,
        };
        let error = (status == Status::Failed)
            .then_some(("STILL_THERE", "it began, and is still there an hour later"));
        uninstall_store::end(&mut tx, overdue.id, status, error.map(|(c, e)| (c, Some(e))), now).await?;
        if let Some((code, error)) = error {
            raise_failed(&mut tx, &agent, code, Some(error)).await?;
        }
        let action = match status {
            Status::Expired => "agent.uninstall_expired",
            Status::Failed => "agent.uninstall_failed",
            _ => "agent.uninstall_unconfirmed",
        };
        changed(&mut tx, agent.id, action, json!({})).await?;
    }
    tx.commit().await
}

async fn failed(
    tx: &mut Tx<System>,
    session: &AgentSession,
    id: Uuid,
    code: &str,
    error: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    uninstall_store::end(tx, id, Status::Failed, Some((code, error)), now).await?;
    let detail = json!({ "error_code": code, "error": error });
    let agent = changed(tx, session.agent_id, "agent.uninstall_failed", detail).await?;
    raise_failed(tx, &agent, code, error).await
}

/// Someone believes that the machine is rid of it.
async fn raise_failed(
    tx: &mut Tx<System>,
    agent: &Agent,
    code: &str,
    error: Option<&str>,
) -> Result<(), Error> {
    let title = format!("{} was not uninstalled", agent.hostname);
    let alert = NewAlert {
        kind: FAILED,
        severity: Severity::Warning,
        title: &title,
        detail: json!({ "error_code": code, "error": error }),
        dedup_key: &dedup_key(agent.id),
        subject: Subject { agent_id: agent.id, client_id: agent.client_id, site_id: agent.site_id },
    };
    alerts::raise(tx, alert).await
}

fn dedup_key(agent_id: Uuid) -> String {
    format!("{FAILED}:{agent_id}")
}

fn message(uninstall_id: UninstallId, valid_until: DateTime<Utc>) -> ServerMessage {
    ServerMessage::UninstallOrder(UninstallOrder { uninstall_id, valid_until })
}

/// What it spoke when it last connected. An agent that never did is told by its first hello.
/// Whether an agent does not know techs' sessions either: they came with the same version.
pub async fn is_too_old_for_sessions<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    Ok(is_too_old(find(tx, id).await?.protocol_version.as_deref()))
}

fn is_too_old(protocol: Option<&str>) -> bool {
    protocol.and_then(|version| version.parse::<Version>().ok()).is_some_and(|version| version < SINCE)
}

async fn emit_changed(tx: &mut Tx<System>, session: &AgentSession) -> Result<(), Error> {
    let event = Event::new(Topic::AgentChanged, session.tenant_id, session.agent_id);
    tx.emit(event.at(session.client_id, Some(session.site_id)).on_agent(session.agent_id)).await
}
