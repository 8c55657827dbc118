//! SQL of reading the audit log.

use super::{AuditEntry, AuditFilter, Verification};
use crate::db::Tx;
use crate::error::Error;

pub async fn count<P>(tx: &mut Tx<P>, filter: &AuditFilter) -> Result<i64, Error> {
    let tenant = tx.tenant()?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM audit_log
           WHERE tenant_id = $1
             AND ($2::text IS NULL OR action = $2 OR (right($2, 1) = '.' AND starts_with(action, $2)))
             AND ($3::uuid IS NULL OR actor_id = $3) AND ($4::uuid IS NULL OR target_id = $4)
             AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
             AND ($7::text IS NULL OR strpos(lower(concat_ws(' ', actor_name, target_name, action)), lower($7)) > 0)"#,
        tenant,
        filter.action,
        filter.actor_id,
        filter.target_id,
        filter.from,
        filter.to,
        filter.search
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list<P>(
    tx: &mut Tx<P>,
    filter: &AuditFilter,
    before: Option<i64>,
    limit: i64,
) -> Result<Vec<AuditEntry>, Error> {
    let tenant = tx.tenant()?;
    let entries = sqlx::query_as!(
        AuditEntry,
        r#"SELECT id, seq, at, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name, detail,
             host(ip) AS ip, request_id
           FROM audit_log
           WHERE tenant_id = $1
             AND ($2::text IS NULL OR action = $2 OR (right($2, 1) = '.' AND starts_with(action, $2)))
             AND ($3::uuid IS NULL OR actor_id = $3) AND ($4::uuid IS NULL OR target_id = $4)
             AND ($5::timestamptz IS NULL OR at >= $5) AND ($6::timestamptz IS NULL OR at < $6)
             AND ($7::text IS NULL OR strpos(lower(concat_ws(' ', actor_name, target_name, action)), lower($7)) > 0)
             AND ($8::bigint IS NULL OR seq < $8)
           ORDER BY seq DESC LIMIT $9"#,
        tenant,
        filter.action,
        filter.actor_id,
        filter.target_id,
        filter.from,
        filter.to,
        filter.search,
        before,
        limit
    );
    Ok(entries.fetch_all(tx.conn()).await?)
}

pub async fn verify<P>(tx: &mut Tx<P>) -> Result<Verification, Error> {
    let row = sqlx::query!(r#"SELECT entries AS "entries!", head, first_bad FROM audit_verify()"#)
        .fetch_one(tx.conn())
        .await?;
    Ok(Verification {
        ok: row.first_bad.is_none(),
        entries: row.entries,
        head: row.head.filter(|head| !head.is_empty()),
        first_bad_seq: row.first_bad,
    })
}
