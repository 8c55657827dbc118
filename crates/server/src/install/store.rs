//! SQL of install reports.

use super::{InstallReport, InstallReportInput};
use crate::db::{SiteLookup, Tx};
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub async fn sees_site<P>(tx: &mut Tx<P>, site_id: Uuid) -> Result<bool, Error> {
    let seen = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM site_directory WHERE id = $1) AS "seen!""#,
        site_id
    );
    Ok(seen.fetch_one(tx.conn()).await?)
}

pub async fn insert<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    site: &SiteLookup,
    report: &InstallReportInput,
) -> Result<(), Error> {
    let ip = tx.request().peer.map(|ip| ip.to_string());
    sqlx::query!(
        "INSERT INTO install_reports (id, tenant_id, client_id, site_id, stage, error, hostname, os_type, agent_version, ip)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, ($10::text)::inet)",
        id,
        site.tenant_id,
        site.client_id,
        site.site_id,
        report.stage,
        report.error,
        report.hostname,
        report.os_type,
        report.agent_version,
        ip
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn count<P>(tx: &mut Tx<P>, site_id: Uuid) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM install_reports WHERE site_id = $1"#,
        site_id
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list<P>(
    tx: &mut Tx<P>,
    site_id: Uuid,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<InstallReport>, Error> {
    let (after_time, after_id) = after.unzip();
    let reports = sqlx::query_as!(
        InstallReport,
        r#"SELECT id, stage, error, hostname, os_type, agent_version, host(ip) AS ip, reported_at
           FROM install_reports
           WHERE site_id = $1 AND ($2::timestamptz IS NULL OR (reported_at, id) < ($2, $3))
           ORDER BY reported_at DESC, id DESC LIMIT $4"#,
        site_id,
        after_time,
        after_id,
        limit
    );
    Ok(reports.fetch_all(tx.conn()).await?)
}
