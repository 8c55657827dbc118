//! SQL of sessions and presence: `agents.session_epoch`, the connection columns of `agent_status`, `agent_connections`.

use super::AgentSession;
use super::registry::Presence;
use super::visits::Visit;
use crate::app::App;
use crate::db::Tx;
use crate::error::Error;
use crate::gateway::presence::Change;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Whether this is still the agent's newest session. It stays so until the transaction ends.
pub async fn hold<P>(tx: &mut Tx<P>, session: &AgentSession) -> Result<bool, Error> {
    let epoch =
        sqlx::query_scalar!("SELECT session_epoch FROM agents WHERE id = $1 FOR SHARE", session.agent_id);
    Ok(epoch.fetch_optional(tx.conn()).await? == Some(session.epoch))
}

/// Writes who is connected to this node; answers what is not as it was before, with the place of each agent. An agent
/// that has had a later session since is another node's.
pub async fn write_presence<P>(
    tx: &mut Tx<P>,
    node_id: Uuid,
    presences: &[Presence],
    now: DateTime<Utc>,
) -> Result<Vec<Change>, Error> {
    let epochs: Vec<i64> = presences.iter().map(|presence| presence.epoch).collect();
    let ids: Vec<Uuid> = presences.iter().map(|presence| presence.agent_id).collect();
    let since: Vec<Option<DateTime<Utc>>> =
        presences.iter().map(|presence| presence.connected_since).collect();
    let changes = sqlx::query_as!(
        Change,
        r#"WITH told AS (
             SELECT * FROM UNNEST($1::uuid[], $2::timestamptz[], $4::bigint[]) AS t (agent_id, since, epoch)),
           before AS (
             SELECT s.agent_id, s.is_connected FROM agent_status s
             WHERE s.agent_id = ANY ($1) ORDER BY s.agent_id FOR UPDATE)
           UPDATE agent_status s
           SET is_connected = t.since IS NOT NULL, connected_since = t.since, last_seen = $3, node_id = $5,
             session_epoch = t.epoch
           FROM told t JOIN before b USING (agent_id) JOIN agent_directory a ON a.id = t.agent_id
           WHERE s.agent_id = t.agent_id AND s.session_epoch <= t.epoch
           RETURNING s.agent_id, s.is_connected, b.is_connected AS "was_connected!", a.client_id AS "client_id!",
             a.site_id AS "site_id!""#,
        &ids,
        &since as &[Option<DateTime<Utc>>],
        now,
        &epochs,
        node_id
    );
    Ok(changes.fetch_all(tx.conn()).await?)
}

/// Says that a partner's agents that were connected to a node that is gone are offline.
pub async fn clear_presence<P>(tx: &mut Tx<P>, node_id: Uuid) -> Result<Vec<Change>, Error> {
    let changes = sqlx::query_as!(
        Change,
        r#"UPDATE agent_status s SET is_connected = false, connected_since = NULL
           FROM agent_directory a WHERE a.id = s.agent_id AND s.is_connected AND s.node_id = $1
           RETURNING s.agent_id, s.is_connected, true AS "was_connected!", a.client_id AS "client_id!",
             a.site_id AS "site_id!""#,
        node_id
    );
    Ok(changes.fetch_all(tx.conn()).await?)
}

/// Which of these agents are connected to another node than this one.
pub async fn connected_elsewhere<P>(
    tx: &mut Tx<P>,
    node_id: Uuid,
    agent_ids: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    let connected = sqlx::query_scalar!(
        "SELECT agent_id FROM agent_status WHERE agent_id = ANY ($1) AND is_connected AND node_id <> $2",
        agent_ids,
        node_id
    );
    Ok(connected.fetch_all(tx.conn()).await?)
}

/// Which other node than this one an agent is connected to, and the number of its session there.
pub async fn session_elsewhere<P>(
    tx: &mut Tx<P>,
    node_id: Uuid,
    agent_id: Uuid,
) -> Result<Option<(Uuid, i64)>, Error> {
    let session = sqlx::query!(
        r#"SELECT node_id AS "node_id!", session_epoch FROM agent_status
           WHERE agent_id = $1 AND is_connected AND node_id <> $2"#,
        agent_id,
        node_id
    );
    Ok(session.fetch_optional(tx.conn()).await?.map(|session| (session.node_id, session.session_epoch)))
}

/// Notes when connected agents were last heard. Mixes partners: the ids come from authenticated sessions.
pub async fn write_last_seen(app: &App, agent_ids: &[Uuid], now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin_ingest().await?;
    sqlx::query!("UPDATE agent_status SET last_seen = $2 WHERE agent_id = ANY ($1)", agent_ids, now)
        .execute(&mut *tx)
        .await?;
    Ok(tx.commit().await?)
}

/// Writes down sessions that began or ended. One that was thought to be lost with its node goes on.
pub async fn write_visits<P>(tx: &mut Tx<P>, node_id: Uuid, visits: &[Visit]) -> Result<(), Error> {
    fn column<T>(visits: &[Visit], value: impl Fn(&Visit) -> T) -> Vec<T> {
        visits.iter().map(value).collect()
    }
    let reason = |visit: &Visit| visit.ended.map(|(_, parting)| parting.as_str().to_owned());
    sqlx::query!(
        "INSERT INTO agent_connections AS c (agent_id, tenant_id, epoch, connected_at, disconnected_at, reason,
           agent_version, address, boot_time, node_id)
         SELECT v.agent_id, a.tenant_id, v.epoch, v.connected_at, v.disconnected_at, v.reason, v.agent_version, v.address,
           v.boot_time, $9
         FROM UNNEST($1::uuid[], $2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
             $8::timestamptz[])
           AS v (agent_id, epoch, connected_at, disconnected_at, reason, agent_version, address, boot_time)
         JOIN agent_directory a ON a.id = v.agent_id
         ON CONFLICT (agent_id, epoch) DO UPDATE SET disconnected_at = excluded.disconnected_at, reason = excluded.reason
         WHERE c.disconnected_at IS NULL OR c.reason = 'server_lost'",
        &column(visits, |visit| visit.agent_id),
        &column(visits, |visit| visit.epoch),
        &column(visits, |visit| visit.connected_at),
        &column(visits, |visit| visit.ended.map(|(at, _)| at)) as &[Option<DateTime<Utc>>],
        &column(visits, reason) as &[Option<String>],
        &column(visits, |visit| visit.agent_version.clone()),
        &column(visits, |visit| visit.address.clone()) as &[Option<String>],
        &column(visits, |visit| visit.boot_time) as &[Option<DateTime<Utc>>],
        node_id
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A node is gone: a partner's sessions with it ended when their agents were last heard.
pub async fn end_visits<P>(tx: &mut Tx<P>, node_id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agent_connections c
         SET disconnected_at = greatest(c.connected_at, coalesce(s.last_seen, c.connected_at)), reason = 'server_lost'
         FROM agent_status s
         WHERE s.agent_id = c.agent_id AND c.disconnected_at IS NULL AND c.node_id = $1",
        node_id
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Removes the oldest sessions that ended before a time, at most `most`; answers how many.
pub async fn prune_visits<P>(tx: &mut Tx<P>, ended_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let gone = sqlx::query!(
        "DELETE FROM agent_connections WHERE (agent_id, epoch) IN (
           SELECT agent_id, epoch FROM agent_connections
           WHERE tenant_id = $1 AND disconnected_at < $2 ORDER BY disconnected_at LIMIT $3)",
        tx.tenant()?,
        ended_before,
        most
    )
    .execute(tx.conn())
    .await?;
    Ok(gone.rows_affected())
}
