//! SQL of sessions with machines.

use super::{AgentRow, ClosedReason, Filter, Load, Open, Status, TunnelSession};
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

stored_as_text!(Status, ClosedReason);

/// Sessions without a limit of their own end after this time.
const HOURS_AT_MOST: i32 = 8;

pub async fn agent<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<AgentRow>, Error> {
    let agent = sqlx::query_as!(
        AgentRow,
        r#"SELECT id AS "id!", tenant_id AS "tenant_id!", client_id AS "client_id!", site_id AS "site_id!",
             hostname AS "hostname!", state = 'active' AS "is_active!"
           FROM agent_directory WHERE id = $1 AND state <> 'rejected'"#,
        id
    );
    Ok(agent.fetch_optional(tx.conn()).await?)
}

/// One at a time of this tech's opens, until the transaction ends: limits hold for those who race, too.
pub async fn take_turns<P>(tx: &mut Tx<P>, tech: Uuid) -> Result<(), Error> {
    sqlx::query!("SELECT pg_advisory_xact_lock(26, hashtext($1))", tech.to_string())
        .fetch_one(tx.conn())
        .await?;
    Ok(())
}

/// The tech's active session with the agent.
pub async fn active<P>(tx: &mut Tx<P>, agent: Uuid, tech: Uuid) -> Result<Option<Uuid>, Error> {
    let active = sqlx::query_scalar!(
        "UPDATE tunnel_sessions SET last_activity = now()
         WHERE agent_id = $1 AND tech_id = $2 AND status = 'active' RETURNING id",
        agent,
        tech
    );
    Ok(active.fetch_optional(tx.conn()).await?)
}

/// How much a tech has open, and opened lately.
pub async fn load<P>(tx: &mut Tx<P>, tech: Uuid) -> Result<Load, Error> {
    let load = sqlx::query_as!(
        Load,
        r#"SELECT count(*) FILTER (WHERE status = 'active') AS "active!",
             count(*) FILTER (WHERE opened_at > now() - interval '1 minute') AS "last_minute!",
             count(DISTINCT agent_id) FILTER (WHERE opened_at > now() - interval '10 minutes') AS "machines_lately!"
           FROM tunnel_sessions
           WHERE tech_id = $1 AND (status = 'active' OR opened_at > now() - interval '10 minutes')"#,
        tech
    );
    Ok(load.fetch_one(tx.conn()).await?)
}

/// The tech's active session with the agent, and whether it was opened just now. One at a time: racing opens get the
/// same.
pub async fn open<P>(
    tx: &mut Tx<P>,
    agent: &AgentRow,
    tech: Uuid,
    open: &Open,
) -> Result<(Uuid, bool), Error> {
    let opened = sqlx::query_scalar!(
        "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status, reason, ticket, ends_at)
         VALUES ($1, $2, $3, $4, $5, $6, 'active', $7, $8, now() + make_interval(mins => $9))
         ON CONFLICT (agent_id, tech_id) WHERE status = 'active' DO UPDATE SET last_activity = now()
         RETURNING id",
        open.id,
        agent.tenant_id,
        agent.client_id,
        agent.site_id,
        agent.id,
        tech,
        open.reason,
        open.ticket,
        open.minutes_at_most
    );
    let opened = opened.fetch_one(tx.conn()).await?;
    Ok((opened, opened == open.id))
}

pub async fn get<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<TunnelSession>, Error> {
    let session = sqlx::query_as!(
        TunnelSession,
        r#"SELECT t.id AS session_id, t.agent_id, t.tech_id, t.status AS "status: Status", t.opened_at, t.last_activity,
             t.closed_at, t.closed_reason AS "closed_reason: ClosedReason", t.reason, t.ticket,
             coalesce(t.ends_at, t.opened_at + make_interval(hours => $2)) AS "ends_at!",
             a.hostname AS "agent_hostname?", p.name AS "tech_name?", t.bytes_to_machine, t.bytes_from_machine,
             t.client_id, t.site_id
           FROM tunnel_sessions t LEFT JOIN agent_directory a ON a.id = t.agent_id LEFT JOIN people p ON p.id = t.tech_id
           WHERE t.id = $1"#,
        id,
        HOURS_AT_MOST
    );
    Ok(session.fetch_optional(tx.conn()).await?)
}

pub async fn count<P>(tx: &mut Tx<P>, filter: &Filter) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM tunnel_sessions
           WHERE ($1::text IS NULL OR status = $1) AND ($2::uuid IS NULL OR agent_id = $2)
             AND ($3::uuid IS NULL OR tech_id = $3)"#,
        filter.status.map(Status::as_str),
        filter.agent_id,
        filter.tech_id
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list<P>(
    tx: &mut Tx<P>,
    filter: &Filter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<TunnelSession>, Error> {
    let (after_time, after_id) = after.unzip();
    let sessions = sqlx::query_as!(
        TunnelSession,
        r#"SELECT t.id AS session_id, t.agent_id, t.tech_id, t.status AS "status: Status", t.opened_at, t.last_activity,
             t.closed_at, t.closed_reason AS "closed_reason: ClosedReason", t.reason, t.ticket,
             coalesce(t.ends_at, t.opened_at + make_interval(hours => $7)) AS "ends_at!",
             a.hostname AS "agent_hostname?", p.name AS "tech_name?", t.bytes_to_machine, t.bytes_from_machine,
             t.client_id, t.site_id
           FROM tunnel_sessions t LEFT JOIN agent_directory a ON a.id = t.agent_id LEFT JOIN people p ON p.id = t.tech_id
           WHERE ($1::text IS NULL OR t.status = $1) AND ($2::uuid IS NULL OR t.agent_id = $2)
             AND ($3::uuid IS NULL OR t.tech_id = $3)
             AND ($4::timestamptz IS NULL OR (t.opened_at, t.id) < ($4, $5))
           ORDER BY t.opened_at DESC, t.id DESC LIMIT $6"#,
        filter.status.map(Status::as_str),
        filter.agent_id,
        filter.tech_id,
        after_time,
        after_id,
        limit,
        HOURS_AT_MOST
    );
    Ok(sessions.fetch_all(tx.conn()).await?)
}

pub async fn close<P>(tx: &mut Tx<P>, id: Uuid, reason: ClosedReason) -> Result<bool, Error> {
    let closed = sqlx::query!(
        "UPDATE tunnel_sessions SET status = 'closed', closed_at = now(), closed_reason = $2
         WHERE id = $1 AND status = 'active'",
        id,
        reason.as_str()
    );
    Ok(closed.execute(tx.conn()).await?.rows_affected() == 1)
}

/// Who holds a session, and what its machine is told.
#[derive(Debug)]
pub struct Held {
    pub agent_id: Uuid,
    pub is_active: bool,
    pub closed_reason: Option<ClosedReason>,
    pub host_node: Option<Uuid>,
    pub host_key: Option<Uuid>,
    pub orders: Option<Value>,
    pub ends_at: Option<DateTime<Utc>>,
}

pub async fn held<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Held>, Error> {
    let held = sqlx::query_as!(
        Held,
        r#"SELECT agent_id, status = 'active' AS "is_active!", closed_reason AS "closed_reason: ClosedReason", host_node,
             host_key, orders, ends_at
           FROM tunnel_sessions WHERE id = $1"#,
        id
    );
    Ok(held.fetch_optional(tx.conn()).await?)
}

/// A node becomes the host of an active session, or is it anew, under another key. Answers who was it before; `None` when the
/// session is not active any more.
pub async fn claim<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    node: Uuid,
    key: Uuid,
    orders: &Value,
) -> Result<Option<Option<Uuid>>, Error> {
    let before = sqlx::query_scalar!(
        "UPDATE tunnel_sessions t SET host_node = $2, host_key = $3, host_seen = now(), orders = $4
         FROM (SELECT id, host_node FROM tunnel_sessions WHERE id = $1 FOR UPDATE) AS before
         WHERE t.id = before.id AND t.status = 'active' RETURNING before.host_node",
        id,
        node,
        key,
        orders
    );
    Ok(before.fetch_optional(tx.conn()).await?)
}

/// The machine is to be told something else from now on.
pub async fn set_orders<P>(tx: &mut Tx<P>, id: Uuid, key: Uuid, orders: &Value) -> Result<(), Error> {
    sqlx::query!("UPDATE tunnel_sessions SET orders = $3 WHERE id = $1 AND host_key = $2", id, key, orders)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// What a host notes of its session.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    pub last_activity: DateTime<Utc>,
    pub bytes_to_machine: i64,
    pub bytes_from_machine: i64,
}

/// The host is there, and so much went through it since it said so last. One that leaves says so. Answers all that the session
/// has moved.
pub async fn note<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    key: Uuid,
    figures: &Figures,
    leaves: bool,
) -> Result<i64, Error> {
    let all = sqlx::query_scalar!(
        r#"UPDATE tunnel_sessions SET host_seen = now(), last_activity = greatest(last_activity, $3),
           bytes_to_machine = bytes_to_machine + $4, bytes_from_machine = bytes_from_machine + $5,
           host_node = CASE WHEN $6 AND host_key = $2 THEN NULL ELSE host_node END
         WHERE id = $1 RETURNING bytes_to_machine + bytes_from_machine AS "all!""#,
        id,
        key,
        figures.last_activity,
        figures.bytes_to_machine,
        figures.bytes_from_machine,
        leaves
    );
    // Deleted with its machine: nothing.
    Ok(all.fetch_optional(tx.conn()).await?.unwrap_or_default())
}

/// Which of these sessions are not this agent's active ones.
pub async fn not_active<P>(tx: &mut Tx<P>, agent: Uuid, ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    let over = sqlx::query_scalar!(
        r#"SELECT asked.id AS "id!" FROM UNNEST($2::uuid[]) AS asked (id)
           WHERE NOT EXISTS (SELECT FROM tunnel_sessions t
             WHERE t.id = asked.id AND t.agent_id = $1 AND t.status = 'active')"#,
        agent,
        ids
    );
    Ok(over.fetch_all(tx.conn()).await?)
}

/// Active sessions that nobody has held for so long, and those that are open for longer than they may.
pub async fn overdue<P>(
    tx: &mut Tx<P>,
    minutes_without_host: i32,
) -> Result<Vec<(Uuid, ClosedReason)>, Error> {
    let overdue = sqlx::query!(
        r#"SELECT id, coalesce(ends_at, opened_at + make_interval(hours => $3)) < now() AS "is_too_long!"
           FROM tunnel_sessions
           WHERE tenant_id = $1 AND status = 'active' AND (
             greatest(opened_at, coalesce(host_seen, opened_at)) < now() - make_interval(mins => $2)
             OR coalesce(ends_at, opened_at + make_interval(hours => $3)) < now() - interval '1 minute')
           ORDER BY opened_at LIMIT 1000"#,
        tx.tenant()?,
        minutes_without_host,
        HOURS_AT_MOST
    );
    let overdue = overdue.fetch_all(tx.conn()).await?;
    let why = |is_too_long| if is_too_long { ClosedReason::TooLong } else { ClosedReason::Unused };
    Ok(overdue.into_iter().map(|row| (row.id, why(row.is_too_long))).collect())
}

pub async fn prune<P>(tx: &mut Tx<P>, closed_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let tenant = tx.tenant()?;
    let pruned = sqlx::query!(
        "DELETE FROM tunnel_sessions WHERE id IN (SELECT id FROM tunnel_sessions
           WHERE tenant_id = $1 AND status = 'closed' AND closed_at < $2
           ORDER BY closed_at LIMIT $3 FOR UPDATE SKIP LOCKED)",
        tenant,
        closed_before,
        most
    );
    Ok(pruned.execute(tx.conn()).await?.rows_affected())
}
