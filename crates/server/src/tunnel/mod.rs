//! Sessions of techs with machines: who has opened one, and when it ended. What travels through them is a later
//! slice's.

pub mod http;
mod store;

use crate::agents;
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{System, UseTunnel};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// A tech's session with a machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TunnelSession {
    pub session_id: Uuid,
    pub agent_id: Uuid,
    pub tech_id: Uuid,
    pub status: Status,
    pub opened_at: DateTime<Utc>,
    pub last_activity: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
}

words! {
    /// Where a session stands.
    Status { Active = "active", Closed = "closed", }
}

/// Opens a session with a machine, or answers the one this tech has with it already. 409 for a machine that waits
/// for approval.
pub async fn open(app: &App, scope: &Scope<UseTunnel>, agent_id: Uuid) -> Result<TunnelSession, Error> {
    let tech = scope.user()?;
    let mut tx = app.db.begin(scope).await?;
    let mut agent = store::agent(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    if !agent.is_active {
        return Err(Error::new(Code::AgentNotActive));
    }
    (agent.client_id, agent.site_id) =
        agents::hold_place(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let (id, is_new) = store::open(&mut tx, Uuid::now_v7(), &agent, tech).await?;
    let session = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if is_new {
        report(&mut tx, "tunnel.open", &session, &agent).await?;
    }
    tx.commit().await?;
    Ok(session)
}

/// Removes the oldest sessions that were closed before a time, at most `most`; answers how many.
pub async fn prune(tx: &mut Tx<System>, closed_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    store::prune(tx, closed_before, most).await
}

/// A session, open or closed, for the tech whose it is. 403 for another tech.
pub async fn status(app: &App, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelSession, Error> {
    let mut tx = app.db.begin(scope).await?;
    own(&mut tx, scope, id).await
}

/// Closes a session; closing it again changes nothing. 403 for another tech.
pub async fn close(app: &App, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelSession, Error> {
    let mut tx = app.db.begin(scope).await?;
    own(&mut tx, scope, id).await?;
    if store::close(&mut tx, id).await? {
        let session = own(&mut tx, scope, id).await?;
        let agent = store::agent(&mut tx, session.agent_id).await?.ok_or_else(Error::not_found)?;
        report(&mut tx, "tunnel.close", &session, &agent).await?;
        tx.commit().await?;
        return Ok(session);
    }
    own(&mut tx, scope, id).await
}

async fn own<P>(tx: &mut Tx<P>, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelSession, Error> {
    let session = store::get(tx, id).await?.ok_or_else(Error::not_found)?;
    if session.tech_id != scope.user()? {
        return Err(Error::with_detail(Code::Forbidden, "the session is another person's"));
    }
    Ok(session)
}

/// A machine as a session needs it.
struct AgentRow {
    id: Uuid,
    tenant_id: Uuid,
    client_id: Uuid,
    site_id: Uuid,
    hostname: String,
    is_active: bool,
}

async fn report<P>(
    tx: &mut Tx<P>,
    action: &'static str,
    session: &TunnelSession,
    agent: &AgentRow,
) -> Result<(), Error> {
    let event = Event::new(Topic::TunnelChanged, agent.tenant_id, session.session_id);
    tx.emit(event.at(agent.client_id, Some(agent.site_id)).on_agent(agent.id)).await?;
    let entry = Entry::new(action, "tunnel", session.session_id).named(&agent.hostname);
    tx.audit(entry.with(json!({ "agent_id": agent.id }))).await
}
