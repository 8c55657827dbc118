//! SQL of gaps.

use super::MetricGap;
use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use gururmm_protocol::gap::Gap;
use uuid::Uuid;

/// Keeps a gap, or what has been added to one. Whether there was anything new in it.
pub async fn keep(tx: &mut Tx<System>, agent_id: Uuid, gap: &Gap) -> Result<bool, Error> {
    let tenant = tx.tenant()?;
    let samples = gap.count.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
    let kept = sqlx::query!(
        "INSERT INTO metric_gaps AS g (tenant_id, agent_id, gap_id, starts_at, ends_at, samples, reason, error)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (agent_id, gap_id) DO UPDATE SET starts_at = least(g.starts_at, $4), ends_at = greatest(g.ends_at, $5),
           samples = greatest(g.samples, $6)
         WHERE g.starts_at > $4 OR g.ends_at < $5 OR coalesce(g.samples, 0) < coalesce($6, 0)",
        tenant,
        agent_id,
        gap.gap_id.0,
        gap.from,
        gap.to,
        samples,
        gap.reason.as_str(),
        gap.error
    );
    Ok(kept.execute(tx.conn()).await?.rows_affected() > 0)
}

/// Those of `from` are `to`'s, but for those that `to` has already.
pub async fn hand_over<P>(tx: &mut Tx<P>, from: Uuid, to: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE metric_gaps g SET agent_id = $2 WHERE agent_id = $1
           AND NOT EXISTS (SELECT FROM metric_gaps k WHERE k.agent_id = $2 AND k.gap_id = g.gap_id)",
        from,
        to
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Drops those of an agent that ended first, beyond so many.
pub async fn drop_beyond<P>(tx: &mut Tx<P>, agent_id: Uuid, most: i64) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM metric_gaps WHERE agent_id = $1 AND gap_id IN (SELECT gap_id FROM metric_gaps WHERE agent_id = $1
           ORDER BY ends_at DESC, gap_id OFFSET $2)",
        agent_id,
        most
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Those that touch a span, newest first.
pub async fn list<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    most: i64,
) -> Result<Vec<MetricGap>, Error> {
    let gaps = sqlx::query_as!(
        MetricGap,
        r#"SELECT starts_at AS "from", ends_at AS "to", samples AS count, reason, error, received_at
           FROM metric_gaps WHERE agent_id = $1 AND ends_at >= $2 AND starts_at < $3
           ORDER BY ends_at DESC, gap_id LIMIT $4"#,
        agent_id,
        from,
        to,
        most
    );
    Ok(gaps.fetch_all(tx.conn()).await?)
}

pub async fn prune(tx: &mut Tx<System>, before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let tenant = tx.tenant()?;
    let pruned = sqlx::query!(
        "DELETE FROM metric_gaps WHERE (agent_id, gap_id) IN (SELECT agent_id, gap_id FROM metric_gaps
           WHERE tenant_id = $1 AND ends_at < $2 ORDER BY ends_at LIMIT $3)",
        tenant,
        before,
        most
    );
    Ok(pruned.execute(tx.conn()).await?.rows_affected())
}
