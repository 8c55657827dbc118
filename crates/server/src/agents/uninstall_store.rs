//! SQL of removals.

use super::uninstall::{AgentUninstall, Known, Status};
use crate::auth::permission::System;
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

stored_as_text!(Status);

/// Rows that one round of the deadlines looks at.
const OVERDUE_AT_MOST: i64 = 1_000;

/// Writes an order; `false` when the agent has an open one.
pub async fn insert<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    agent_id: Uuid,
    valid_until: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let (tenant, person) = (tx.tenant()?, tx.actor().user_id());
    let inserted = sqlx::query!(
        "INSERT INTO agent_uninstalls (id, tenant_id, agent_id, status, ordered_by, ordered_at, changed_at, valid_until,
           deadline)
         VALUES ($1, $2, $3, 'ordered', $4, $5, $5, $6, $6) ON CONFLICT DO NOTHING",
        id,
        tenant,
        agent_id,
        person,
        now,
        valid_until
    );
    Ok(inserted.execute(tx.conn()).await?.rows_affected() == 1)
}

pub async fn newest<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<AgentUninstall>, Error> {
    let newest = sqlx::query_as!(
        AgentUninstall,
        r#"SELECT u.id, u.status AS "status: Status", p.name AS "ordered_by_name?", u.ordered_at, u.changed_at,
             u.valid_until, u.ended_at, u.error_code, u.error
           FROM agent_uninstalls u LEFT JOIN people p ON p.id = u.ordered_by
           WHERE u.agent_id = $1 ORDER BY u.ordered_at DESC, u.id DESC LIMIT 1"#,
        agent_id
    );
    Ok(newest.fetch_optional(tx.conn()).await?)
}

/// The one of this agent that is not over, locked.
pub async fn lock_open<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<Known>, Error> {
    let open = sqlx::query_as!(
        Known,
        r#"SELECT id, agent_id, status AS "status: Status", valid_until, ordered_by FROM agent_uninstalls
           WHERE agent_id = $1 AND ended_at IS NULL FOR UPDATE"#,
        agent_id
    );
    Ok(open.fetch_optional(tx.conn()).await?)
}

/// A removal of this agent, locked.
pub async fn lock(tx: &mut Tx<System>, id: Uuid, agent_id: Uuid) -> Result<Option<Known>, Error> {
    let known = sqlx::query_as!(
        Known,
        r#"SELECT id, agent_id, status AS "status: Status", valid_until, ordered_by FROM agent_uninstalls
           WHERE id = $1 AND agent_id = $2 FOR UPDATE"#,
        id,
        agent_id
    );
    Ok(known.fetch_optional(tx.conn()).await?)
}

/// The machine has begun.
pub async fn begin(
    tx: &mut Tx<System>,
    id: Uuid,
    deadline: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agent_uninstalls SET status = 'uninstalling', deadline = $2, changed_at = $3, ended_at = NULL WHERE id = $1",
        id,
        deadline,
        now
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Ends a removal, with the word and the sentence for why it failed.
pub async fn end<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    status: Status,
    error: Option<(&str, Option<&str>)>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let (error_code, error) = error.unzip();
    sqlx::query!(
        "UPDATE agent_uninstalls SET status = $2, ended_at = $3, changed_at = $3, error_code = $4, error = $5 WHERE id = $1",
        id,
        status.as_str(),
        now,
        error_code,
        error.flatten()
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Removals that nothing came of in time.
pub async fn lock_overdue(tx: &mut Tx<System>, now: DateTime<Utc>) -> Result<Vec<Known>, Error> {
    let overdue = sqlx::query_as!(
        Known,
        r#"SELECT id, agent_id, status AS "status: Status", valid_until, ordered_by FROM agent_uninstalls
           WHERE ended_at IS NULL AND deadline <= $1 ORDER BY deadline LIMIT $2 FOR UPDATE SKIP LOCKED"#,
        now,
        OVERDUE_AT_MOST
    );
    Ok(overdue.fetch_all(tx.conn()).await?)
}

/// What is known of one record's removals is the other's.
pub async fn hand_over<P>(tx: &mut Tx<P>, from: Uuid, to: Uuid) -> Result<(), Error> {
    sqlx::query!("UPDATE agent_uninstalls SET agent_id = $2 WHERE agent_id = $1", from, to)
        .execute(tx.conn())
        .await?;
    Ok(())
}
