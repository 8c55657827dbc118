//! SQL of sessions and presence: `agents.session_epoch` and the connection columns of `agent_status`.

use super::AgentSession;
use super::registry::Presence;
use crate::app::App;
use crate::db::Tx;
use crate::error::Error;
use crate::gateway::presence::Change;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Counts a new session of the agent; the answer is its epoch.
pub async fn begin_session(app: &App, session: &AgentSession) -> Result<i64, Error> {
    let mut tx = app.db.begin(&session.scope()).await?;
    let epoch = sqlx::query_scalar!(
        "UPDATE agents SET session_epoch = session_epoch + 1 WHERE id = $1 AND state = 'active' RETURNING session_epoch",
        session.agent_id
    )
    .fetch_optional(tx.conn())
    .await?
    .ok_or_else(|| Error::new(crate::error::Code::AgentKeyRefused))?;
    sqlx::query!(
        "INSERT INTO agent_status (agent_id, tenant_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        session.agent_id,
        session.tenant_id
    )
    .execute(tx.conn())
    .await?;
    tx.commit().await?;
    Ok(epoch)
}

/// Whether nothing came between: no later session, no new key, no deletion.
pub async fn is_current(app: &App, session: &AgentSession) -> Result<bool, Error> {
    let mut tx = app.db.begin(&session.scope()).await?;
    let is_current = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM agents WHERE id = $1 AND state = 'active' AND session_epoch = $2) AS "is!""#,
        session.agent_id,
        session.epoch
    );
    Ok(is_current.fetch_one(tx.conn()).await?)
}

/// Writes who is connected; answers what is not as it was before, with the place of each agent.
pub async fn write_presence<P>(
    tx: &mut Tx<P>,
    presences: &[Presence],
    now: DateTime<Utc>,
) -> Result<Vec<Change>, Error> {
    let ids: Vec<Uuid> = presences.iter().map(|presence| presence.agent_id).collect();
    let since: Vec<Option<DateTime<Utc>>> =
        presences.iter().map(|presence| presence.connected_since).collect();
    let changes = sqlx::query_as!(
        Change,
        r#"WITH told AS (
             SELECT * FROM UNNEST($1::uuid[], $2::timestamptz[]) AS t (agent_id, since)),
           before AS (
             SELECT s.agent_id, s.is_connected FROM agent_status s
             WHERE s.agent_id = ANY ($1) ORDER BY s.agent_id FOR UPDATE)
           UPDATE agent_status s
           SET is_connected = t.since IS NOT NULL, connected_since = t.since, last_seen = $3
           FROM told t JOIN before b USING (agent_id) JOIN agent_directory a ON a.id = t.agent_id
           WHERE s.agent_id = t.agent_id
           RETURNING s.agent_id, s.is_connected, b.is_connected AS "was_connected!", a.client_id AS "client_id!",
             a.site_id AS "site_id!""#,
        &ids,
        &since as &[Option<DateTime<Utc>>],
        now
    );
    Ok(changes.fetch_all(tx.conn()).await?)
}

/// Notes when connected agents were last heard. Mixes partners: the ids come from authenticated sessions.
pub async fn write_last_seen(app: &App, agent_ids: &[Uuid], now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin_ingest().await?;
    sqlx::query!("UPDATE agent_status SET last_seen = $2 WHERE agent_id = ANY ($1)", agent_ids, now)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}
