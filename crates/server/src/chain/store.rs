//! SQL of reading chains whole. What is hashed is put together here with PostgreSQL's own functions, so that whoever
//! changed the functions of the schema is found out, too.

use super::walk::Link;
use crate::db::Tx;
use crate::error::Error;
use serde_json::Value;
use uuid::Uuid;

/// An entry of the recordings' chain.
pub struct RecordingLink {
    pub link: Link,
    pub recording: Uuid,
    pub kind: String,
    pub number: Option<i32>,
    pub detail: Value,
}

/// A recording as the table of recordings says it.
pub struct RecordingRow {
    pub id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub agent_id: Uuid,
    pub hostname: String,
    pub tech_id: Uuid,
    pub tech_name: String,
    pub segments: i32,
    pub state: String,
}

/// Entries of the audit log after a number, in order.
pub async fn audit<P>(tx: &mut Tx<P>, tenant: Uuid, after: i64, most: i64) -> Result<Vec<Link>, Error> {
    let links = sqlx::query_as!(
        Link,
        r#"SELECT seq, prev_hash, hash, jsonb_build_array(encode(prev_hash, 'hex'), tenant_id, seq, id,
             extract(epoch FROM at)::text, actor_kind, actor_id, actor_name, action, target_kind, target_id, target_name,
             detail, host(ip), request_id)::text AS "content!"
           FROM audit_log WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"#,
        tenant,
        after,
        most
    );
    Ok(links.fetch_all(tx.conn()).await?)
}

/// Entries of the recordings' chain after a number, in order.
pub async fn recordings<P>(
    tx: &mut Tx<P>,
    tenant: Uuid,
    after: i64,
    most: i64,
) -> Result<Vec<RecordingLink>, Error> {
    let rows = sqlx::query!(
        r#"SELECT seq, prev_hash, hash, jsonb_build_array(encode(prev_hash, 'hex'), tenant_id, seq, recording_id,
             extract(epoch FROM at)::text, kind, number, detail)::text AS "content!",
             recording_id, kind, number, detail
           FROM recording_entries WHERE tenant_id = $1 AND seq > $2 ORDER BY seq LIMIT $3"#,
        tenant,
        after,
        most
    );
    let rows = rows.fetch_all(tx.conn()).await?;
    Ok(rows
        .into_iter()
        .map(|row| RecordingLink {
            link: Link { seq: row.seq, prev_hash: row.prev_hash, hash: row.hash, content: row.content },
            recording: row.recording_id,
            kind: row.kind,
            number: row.number,
            detail: row.detail,
        })
        .collect())
}

/// The partner's recordings after an id, in order.
pub async fn recording_rows<P>(
    tx: &mut Tx<P>,
    tenant: Uuid,
    after: Uuid,
    most: i64,
) -> Result<Vec<RecordingRow>, Error> {
    let rows = sqlx::query_as!(
        RecordingRow,
        "SELECT id, client_id, site_id, agent_id, hostname, tech_id, tech_name, segments, state FROM recordings
         WHERE tenant_id = $1 AND id > $2 ORDER BY id LIMIT $3",
        tenant,
        after,
        most
    );
    Ok(rows.fetch_all(tx.conn()).await?)
}
