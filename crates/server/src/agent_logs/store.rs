//! SQL of the agents' own logs.

use super::{AgentCrash, AgentLog, Cause, Machine, Status};
use crate::auth::permission::System;
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, Utc};
use gururmm_protocol::log::{CrashReport, LogEnd};
use uuid::Uuid;

stored_as_text!(Status, Cause);

/// Text that one transaction removes, in bytes.
const MOST_BYTES_PRUNED: i64 = 64 * 1024 * 1024;
/// Requests that one round of the deadlines looks at.
const OVERDUE_AT_MOST: i64 = 1_000;

pub async fn machine<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<Machine>, Error> {
    let machine = sqlx::query_as!(
        Machine,
        r#"SELECT state AS "state!", hostname AS "hostname!", client_id AS "client_id!", site_id AS "site_id!"
           FROM agent_directory WHERE id = $1"#,
        agent_id
    );
    Ok(machine.fetch_optional(tx.conn()).await?)
}

/// Notes a request; `false` when one of this machine is on its way already.
pub async fn insert<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    agent_id: Uuid,
    now: DateTime<Utc>,
    expires_at: DateTime<Utc>,
) -> Result<bool, Error> {
    let (tenant, requested_by) = (tx.tenant()?, tx.actor().user_id());
    let inserted = sqlx::query!(
        "INSERT INTO agent_logs (id, tenant_id, agent_id, status, requested_by, requested_at, expires_at)
         VALUES ($1, $2, $3, 'requested', $4, $5, $6)
         ON CONFLICT (agent_id) WHERE status = 'requested' DO NOTHING",
        id,
        tenant,
        agent_id,
        requested_by,
        now,
        expires_at
    );
    Ok(inserted.execute(tx.conn()).await?.rows_affected() == 1)
}

pub async fn get<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<AgentLog>, Error> {
    let log = sqlx::query_as!(
        AgentLog,
        r#"SELECT l.id, l.agent_id, l.status AS "status: Status", l.requested_at, p.name AS "requested_by_name?",
             l.ended_at, l.received_bytes, l.total_bytes, l.lost_lines, l.error
           FROM agent_logs l LEFT JOIN people p ON p.id = l.requested_by WHERE l.id = $1"#,
        id
    );
    Ok(log.fetch_optional(tx.conn()).await?)
}

/// The one that is on its way.
pub async fn open_of<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<AgentLog>, Error> {
    Ok(list(tx, agent_id).await?.into_iter().find(|log| log.status == Status::Requested))
}

pub async fn list<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Vec<AgentLog>, Error> {
    let logs = sqlx::query_as!(
        AgentLog,
        r#"SELECT l.id, l.agent_id, l.status AS "status: Status", l.requested_at, p.name AS "requested_by_name?",
             l.ended_at, l.received_bytes, l.total_bytes, l.lost_lines, l.error
           FROM agent_logs l LEFT JOIN people p ON p.id = l.requested_by
           WHERE l.agent_id = $1 ORDER BY l.requested_at DESC, l.id DESC"#,
        agent_id
    );
    Ok(logs.fetch_all(tx.conn()).await?)
}

/// Removes all but the newest; `newest` stays even if a clock was ahead when the others came.
pub async fn keep_newest_logs<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    newest: Uuid,
    kept: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM agent_logs WHERE agent_id = $1 AND id <> $2 AND id IN
           (SELECT id FROM agent_logs WHERE agent_id = $1 ORDER BY requested_at DESC, id DESC OFFSET $3)",
        agent_id,
        newest,
        kept
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A request that is not over, locked.
pub struct Open {
    pub id: Uuid,
    pub last_seq: i32,
    pub received_bytes: i64,
    pub restarts: i32,
}

pub async fn lock_open(tx: &mut Tx<System>, id: Uuid, agent_id: Uuid) -> Result<Option<Open>, Error> {
    let open = sqlx::query_as!(
        Open,
        "SELECT id, last_seq, received_bytes, restarts FROM agent_logs
         WHERE id = $1 AND agent_id = $2 AND status = 'requested' FOR UPDATE",
        id,
        agent_id
    );
    Ok(open.fetch_optional(tx.conn()).await?)
}

/// Requests that nothing came of in time, with their machines.
pub async fn lock_overdue(tx: &mut Tx<System>, now: DateTime<Utc>) -> Result<Vec<(Uuid, Uuid)>, Error> {
    let overdue = sqlx::query!(
        "SELECT id, agent_id FROM agent_logs WHERE status = 'requested' AND expires_at <= $1
         ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED",
        now,
        OVERDUE_AT_MOST
    );
    let overdue = overdue.fetch_all(tx.conn()).await?;
    Ok(overdue.into_iter().map(|log| (log.id, log.agent_id)).collect())
}

/// What came so far is worth nothing: it comes again.
pub async fn restart(tx: &mut Tx<System>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM agent_log_parts WHERE log_id = $1", id).execute(tx.conn()).await?;
    sqlx::query!("UPDATE agent_logs SET restarts = restarts + 1 WHERE id = $1", id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub async fn put_part(
    tx: &mut Tx<System>,
    id: Uuid,
    seq: i32,
    data: &[u8],
    received_bytes: i64,
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "INSERT INTO agent_log_parts (tenant_id, log_id, seq, data) VALUES ($1, $2, $3, $4)",
        tenant,
        id,
        seq,
        data
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "UPDATE agent_logs SET last_seq = $2, received_bytes = $3,
           expires_at = least($4, requested_at + interval '30 minutes') WHERE id = $1",
        id,
        seq,
        received_bytes,
        expires_at
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn end(
    tx: &mut Tx<System>,
    id: Uuid,
    status: Status,
    end: Option<&LogEnd>,
    error: Option<&str>,
    at: DateTime<Utc>,
) -> Result<(), Error> {
    let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    sqlx::query!(
        "UPDATE agent_logs SET status = $2, ended_at = $3, total_bytes = $4, lost_lines = $5, error = $6 WHERE id = $1",
        id,
        status.as_str(),
        at,
        end.map(|end| count(end.total_bytes)),
        end.map(|end| count(end.lost_lines)),
        error
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// All that came of a log, in order.
pub async fn bytes<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Vec<u8>, Error> {
    let parts = sqlx::query_scalar!("SELECT data FROM agent_log_parts WHERE log_id = $1 ORDER BY seq", id);
    Ok(parts.fetch_all(tx.conn()).await?.concat())
}

pub async fn count_crashes(
    tx: &mut Tx<System>,
    agent_id: Uuid,
    since: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM agent_crashes
           WHERE agent_id = $1 AND received_at > $2 AND received_at <= $3"#,
        agent_id,
        since,
        until
    );
    Ok(count.fetch_one(tx.conn()).await?)
}

/// Stores a crash and answers its id; `None` when it is known already.
pub async fn insert_crash(
    tx: &mut Tx<System>,
    agent_id: Uuid,
    report: &CrashReport,
    now: DateTime<Utc>,
) -> Result<Option<Uuid>, Error> {
    let tenant = tx.tenant()?;
    let id = sqlx::query_scalar!(
        "INSERT INTO agent_crashes (id, tenant_id, agent_id, crash_id, cause, crashed_at, received_at, agent_version,
           message, log)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (agent_id, crash_id) DO NOTHING RETURNING id",
        Uuid::now_v7(),
        tenant,
        agent_id,
        report.crash_id.0,
        report.cause.as_str(),
        report.crashed_at,
        now,
        report.agent_version,
        report.message,
        report.log.0
    );
    Ok(id.fetch_optional(tx.conn()).await?)
}

/// Removes all but the newest; `newest` stays even if a clock was ahead when the others came.
pub async fn keep_newest_crashes(
    tx: &mut Tx<System>,
    agent_id: Uuid,
    newest: Uuid,
    kept: i64,
) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM agent_crashes WHERE agent_id = $1 AND id <> $2 AND id IN
           (SELECT id FROM agent_crashes WHERE agent_id = $1 ORDER BY received_at DESC, id DESC OFFSET $3)",
        agent_id,
        newest,
        kept
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn list_crashes<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Vec<AgentCrash>, Error> {
    let crashes = sqlx::query_as!(
        AgentCrash,
        r#"SELECT id, agent_id, cause AS "cause: Cause", crashed_at, received_at, agent_version, message
           FROM agent_crashes WHERE agent_id = $1 ORDER BY received_at DESC, id DESC"#,
        agent_id
    );
    Ok(crashes.fetch_all(tx.conn()).await?)
}

/// A crash and the end of the log before it.
pub async fn get_crash<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<(AgentCrash, Vec<u8>)>, Error> {
    let crash = sqlx::query!(
        r#"SELECT id, agent_id, cause AS "cause: Cause", crashed_at, received_at, agent_version, message, log
           FROM agent_crashes WHERE id = $1"#,
        id
    );
    let crash = crash.fetch_optional(tx.conn()).await?;
    Ok(crash.map(|row| {
        let crash = AgentCrash {
            id: row.id,
            agent_id: row.agent_id,
            cause: row.cause,
            crashed_at: row.crashed_at,
            received_at: row.received_at,
            agent_version: row.agent_version,
            message: row.message,
        };
        (crash, row.log)
    }))
}

pub async fn prune_logs(tx: &mut Tx<System>, before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let tenant = tx.tenant()?;
    let pruned = sqlx::query!(
        "DELETE FROM agent_logs WHERE id IN (
           SELECT id FROM (
             SELECT id, (sum(received_bytes) OVER (ORDER BY requested_at, id ROWS UNBOUNDED PRECEDING)
               - received_bytes)::bigint AS before
             FROM (SELECT id, requested_at, received_bytes FROM agent_logs
               WHERE tenant_id = $1 AND requested_at < $2 ORDER BY requested_at, id LIMIT $3 FOR UPDATE SKIP LOCKED) AS oldest
           ) AS measured WHERE before <= $4)",
        tenant,
        before,
        most,
        MOST_BYTES_PRUNED
    );
    Ok(pruned.execute(tx.conn()).await?.rows_affected())
}

pub async fn prune_crashes(tx: &mut Tx<System>, before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let tenant = tx.tenant()?;
    let pruned = sqlx::query!(
        "DELETE FROM agent_crashes WHERE id IN (SELECT id FROM agent_crashes
           WHERE tenant_id = $1 AND received_at < $2 ORDER BY received_at LIMIT $3)",
        tenant,
        before,
        most
    );
    Ok(pruned.execute(tx.conn()).await?.rows_affected())
}
