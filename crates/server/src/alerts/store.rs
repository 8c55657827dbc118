//! SQL of alerts.

use super::{Alert, AlertCounts, Filter, NewAlert, PartnerAlert, Place, Severity, Status};
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

stored_as_text!(Severity, Status);

/// An alert that was raised, and whether it is a new one.
pub struct Raised {
    pub id: Uuid,
    pub is_new: bool,
}

pub async fn raise<P>(tx: &mut Tx<P>, id: Uuid, tenant: Uuid, alert: &NewAlert<'_>) -> Result<Raised, Error> {
    let raised = sqlx::query_as!(
        Raised,
        r#"INSERT INTO alerts (id, tenant_id, client_id, site_id, agent_id, kind, severity, title, detail, dedup_key)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
           ON CONFLICT (tenant_id, dedup_key) WHERE status <> 'resolved' DO UPDATE SET
             count = alerts.count + 1, last_raised_at = now(), title = excluded.title, detail = excluded.detail
           RETURNING id, id = $1 AS "is_new!""#,
        id,
        tenant,
        alert.subject.client_id,
        alert.subject.site_id,
        alert.subject.agent_id,
        alert.kind,
        alert.severity.as_str(),
        alert.title,
        alert.detail,
        alert.dedup_key,
    );
    Ok(raised.fetch_one(tx.conn()).await?)
}

pub async fn resolve_cause<P>(
    tx: &mut Tx<P>,
    dedup_key: &str,
    person: Option<Uuid>,
) -> Result<Option<Place>, Error> {
    let resolved = sqlx::query_as!(
        Place,
        "UPDATE alerts SET status = 'resolved', resolved_at = now(), resolved_by = $2
         WHERE dedup_key = $1 AND status <> 'resolved' RETURNING id, agent_id, client_id, site_id",
        dedup_key,
        person
    );
    Ok(resolved.fetch_optional(tx.conn()).await?)
}

pub async fn counts<P>(tx: &mut Tx<P>) -> Result<AlertCounts, Error> {
    let counts = sqlx::query_as!(
        AlertCounts,
        r#"SELECT count(*) FILTER (WHERE status = 'open') AS "open!",
             count(*) FILTER (WHERE status = 'acknowledged') AS "acknowledged!",
             count(*) FILTER (WHERE severity = 'critical') AS "critical!",
             count(*) FILTER (WHERE severity = 'warning') AS "warning!",
             count(*) FILTER (WHERE severity = 'info') AS "info!"
           FROM alerts WHERE status <> 'resolved'"#
    );
    Ok(counts.fetch_one(tx.conn()).await?)
}

pub async fn count<P>(tx: &mut Tx<P>, filter: &Filter) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM alerts
           WHERE ($1::text IS NULL OR status = $1) AND ($2::text IS NULL OR severity = $2)
             AND ($3::uuid IS NULL OR agent_id = $3)"#,
        filter.status.map(Status::as_str),
        filter.severity.map(Severity::as_str),
        filter.agent_id,
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list<P>(
    tx: &mut Tx<P>,
    filter: &Filter,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Alert>, Error> {
    let (after_time, after_id) = after.unzip();
    let alerts = sqlx::query_as!(
        Alert,
        r#"SELECT l.id, l.kind, l.severity AS "severity: Severity", l.title, l.detail, l.status AS "status: Status",
             l.agent_id, a.hostname AS "agent_hostname?", l.site_id, l.client_id, l.raised_at, l.last_raised_at, l.count,
             l.acknowledged_at, k.name AS "acknowledged_by_name?", l.resolved_at, r.name AS "resolved_by_name?"
           FROM alerts l
           LEFT JOIN agent_directory a ON a.id = l.agent_id
           LEFT JOIN people k ON k.id = l.acknowledged_by
           LEFT JOIN people r ON r.id = l.resolved_by
           WHERE ($1::text IS NULL OR l.status = $1) AND ($2::text IS NULL OR l.severity = $2)
             AND ($3::uuid IS NULL OR l.agent_id = $3)
             AND ($4::timestamptz IS NULL OR (l.raised_at, l.id) < ($4, $5))
           ORDER BY l.raised_at DESC, l.id DESC LIMIT $6"#,
        filter.status.map(Status::as_str),
        filter.severity.map(Severity::as_str),
        filter.agent_id,
        after_time,
        after_id,
        limit
    );
    Ok(alerts.fetch_all(tx.conn()).await?)
}

pub async fn get<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Alert>, Error> {
    let alert = sqlx::query_as!(
        Alert,
        r#"SELECT l.id, l.kind, l.severity AS "severity: Severity", l.title, l.detail, l.status AS "status: Status",
             l.agent_id, a.hostname AS "agent_hostname?", l.site_id, l.client_id, l.raised_at, l.last_raised_at, l.count,
             l.acknowledged_at, k.name AS "acknowledged_by_name?", l.resolved_at, r.name AS "resolved_by_name?"
           FROM alerts l
           LEFT JOIN agent_directory a ON a.id = l.agent_id
           LEFT JOIN people k ON k.id = l.acknowledged_by
           LEFT JOIN people r ON r.id = l.resolved_by
           WHERE l.id = $1"#,
        id
    );
    Ok(alert.fetch_optional(tx.conn()).await?)
}

pub async fn lock<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Status>, Error> {
    let status =
        sqlx::query_scalar!(r#"SELECT status AS "status: Status" FROM alerts WHERE id = $1 FOR UPDATE"#, id);
    Ok(status.fetch_optional(tx.conn()).await?)
}

pub async fn set_status<P>(tx: &mut Tx<P>, id: Uuid, status: Status, person: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE alerts SET status = $2,
           acknowledged_at = CASE WHEN $2 = 'acknowledged' THEN now() ELSE acknowledged_at END,
           acknowledged_by = CASE WHEN $2 = 'acknowledged' THEN $3 ELSE acknowledged_by END,
           resolved_at = CASE WHEN $2 = 'resolved' THEN now() END,
           resolved_by = CASE WHEN $2 = 'resolved' THEN $3 END
         WHERE id = $1",
        id,
        status.as_str(),
        person
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn prune<P>(tx: &mut Tx<P>, resolved_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let tenant = tx.tenant()?;
    let pruned = sqlx::query!(
        "DELETE FROM alerts WHERE id IN (SELECT id FROM alerts
           WHERE tenant_id = $1 AND status = 'resolved' AND resolved_at < $2
           ORDER BY resolved_at LIMIT $3 FOR UPDATE SKIP LOCKED)",
        tenant,
        resolved_before,
        most
    );
    Ok(pruned.execute(tx.conn()).await?.rows_affected())
}

/// Raises an alert unless one stands for the cause; whether it did.
pub async fn stand<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    tenant: Uuid,
    alert: &PartnerAlert<'_>,
) -> Result<bool, Error> {
    let raised = sqlx::query!(
        "INSERT INTO alerts (id, tenant_id, kind, severity, title, detail, dedup_key) VALUES ($1, $2, $3, $4, $5, $6, $7)
         ON CONFLICT (tenant_id, dedup_key) WHERE status <> 'resolved' DO NOTHING",
        id,
        tenant,
        alert.kind,
        alert.severity.as_str(),
        alert.title,
        alert.detail,
        alert.dedup_key
    );
    Ok(raised.execute(tx.conn()).await?.rows_affected() == 1)
}

pub async fn standing<P>(
    tx: &mut Tx<P>,
    kind: &str,
    raised_before: DateTime<Utc>,
) -> Result<Vec<Uuid>, Error> {
    let standing = sqlx::query_scalar!(
        r#"SELECT agent_id AS "agent_id!" FROM alerts
           WHERE kind = $1 AND status <> 'resolved' AND last_raised_at <= $2 AND agent_id IS NOT NULL LIMIT 10000"#,
        kind,
        raised_before
    );
    Ok(standing.fetch_all(tx.conn()).await?)
}

pub async fn delete<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM alerts WHERE id = $1", id).execute(tx.conn()).await?;
    Ok(())
}
