//! SQL of sessions with machines.

use super::{AgentRow, Status, TunnelSession};
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

stored_as_text!(Status);

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

/// The tech's active session with the agent, and whether it was opened just now. One at a time: racing opens get the
/// same.
pub async fn open<P>(tx: &mut Tx<P>, id: Uuid, agent: &AgentRow, tech: Uuid) -> Result<(Uuid, bool), Error> {
    let opened = sqlx::query_scalar!(
        "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status)
         VALUES ($1, $2, $3, $4, $5, $6, 'active')
         ON CONFLICT (agent_id, tech_id) WHERE status = 'active' DO UPDATE SET last_activity = now()
         RETURNING id",
        id,
        agent.tenant_id,
        agent.client_id,
        agent.site_id,
        agent.id,
        tech
    );
    let opened = opened.fetch_one(tx.conn()).await?;
    Ok((opened, opened == id))
}

pub async fn get<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<TunnelSession>, Error> {
    let session = sqlx::query_as!(
        TunnelSession,
        r#"SELECT id AS session_id, agent_id, tech_id, status AS "status: Status", opened_at, last_activity, closed_at
           FROM tunnel_sessions WHERE id = $1"#,
        id
    );
    Ok(session.fetch_optional(tx.conn()).await?)
}

pub async fn close<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let closed = sqlx::query!(
        "UPDATE tunnel_sessions SET status = 'closed', closed_at = now() WHERE id = $1 AND status = 'active'",
        id
    );
    Ok(closed.execute(tx.conn()).await?.rows_affected() == 1)
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
