//! SQL of enrollment keys.

use super::{Key, KeyKind, KeyStatus, NewKey, secret};
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

stored_as_text!(KeyKind);

/// A site that is seen.
pub struct SiteRow {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub code: String,
}

struct KeyRow {
    id: Uuid,
    site_id: Uuid,
    kind: KeyKind,
    version: i32,
    fingerprint: String,
    note: Option<String>,
    created_at: DateTime<Utc>,
    created_by_name: Option<String>,
    expires_at: Option<DateTime<Utc>>,
    max_uses: Option<i32>,
    use_count: i32,
    last_used_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    is_expired: bool,
}

impl From<KeyRow> for Key {
    fn from(row: KeyRow) -> Self {
        let status = match row.max_uses {
            _ if row.revoked_at.is_some() => KeyStatus::Revoked,
            _ if row.is_expired => KeyStatus::Expired,
            Some(most) if row.use_count >= most => KeyStatus::UsedUp,
            _ => KeyStatus::Active,
        };
        Self {
            label: secret::label(row.version, &row.fingerprint),
            id: row.id,
            site_id: row.site_id,
            kind: row.kind,
            version: row.version,
            fingerprint: row.fingerprint,
            note: row.note,
            created_at: row.created_at,
            created_by_name: row.created_by_name,
            expires_at: row.expires_at,
            max_uses: row.max_uses,
            use_count: row.use_count,
            last_used_at: row.last_used_at,
            revoked_at: row.revoked_at,
            status,
        }
    }
}

pub async fn site<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<SiteRow>, Error> {
    let site = sqlx::query_as!(
        SiteRow,
        r#"SELECT id AS "id!", tenant_id AS "tenant_id!", client_id AS "client_id!", code AS "code!"
           FROM site_directory WHERE id = $1"#,
        id
    );
    Ok(site.fetch_optional(tx.conn()).await?)
}

pub async fn count_keys<P>(tx: &mut Tx<P>, site_id: Uuid) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM enrollment_keys WHERE site_id = $1"#,
        site_id
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list_keys<P>(
    tx: &mut Tx<P>,
    site_id: Uuid,
    before_version: Option<i32>,
    limit: i64,
) -> Result<Vec<Key>, Error> {
    let rows = sqlx::query_as!(
        KeyRow,
        r#"SELECT k.id, k.site_id, k.kind AS "kind: KeyKind", k.version, k.fingerprint, k.note, k.created_at,
             p.name AS "created_by_name?", k.expires_at, k.max_uses, k.use_count, k.last_used_at,
             k.revoked_at, coalesce(k.expires_at <= now(), false) AS "is_expired!"
           FROM enrollment_keys k LEFT JOIN people p ON p.id = k.created_by
           WHERE k.site_id = $1 AND ($2::integer IS NULL OR k.version < $2)
           ORDER BY k.version DESC LIMIT $3"#,
        site_id,
        before_version,
        limit
    );
    Ok(rows.fetch_all(tx.conn()).await?.into_iter().map(Key::from).collect())
}

pub async fn get_key<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Key>, Error> {
    let row = sqlx::query_as!(
        KeyRow,
        r#"SELECT k.id, k.site_id, k.kind AS "kind: KeyKind", k.version, k.fingerprint, k.note, k.created_at,
             p.name AS "created_by_name?", k.expires_at, k.max_uses, k.use_count, k.last_used_at,
             k.revoked_at, coalesce(k.expires_at <= now(), false) AS "is_expired!"
           FROM enrollment_keys k LEFT JOIN people p ON p.id = k.created_by
           WHERE k.id = $1"#,
        id
    );
    Ok(row.fetch_optional(tx.conn()).await?.map(Key::from))
}

/// The number of the site's next key. Nobody else gets it: the site's key makers queue until commit.
pub async fn next_version<P>(tx: &mut Tx<P>, site_id: Uuid) -> Result<i32, Error> {
    sqlx::query!(
        "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
        format!("enrollment_keys:{site_id}")
    )
    .fetch_one(tx.conn())
    .await?;
    let version = sqlx::query_scalar!(
        r#"SELECT coalesce(max(version), 0) + 1 AS "version!" FROM enrollment_keys WHERE site_id = $1"#,
        site_id
    );
    Ok(version.fetch_one(tx.conn()).await?)
}

pub async fn insert_key<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    site: &SiteRow,
    version: i32,
    fingerprint: &str,
    hash: &str,
    new: &NewKey<'_>,
) -> Result<(), Error> {
    let person = tx.actor().user_id();
    sqlx::query!(
        "INSERT INTO enrollment_keys (id, tenant_id, client_id, site_id, kind, version, fingerprint, key_hash, note,
           expires_at, max_uses, created_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        id,
        site.tenant_id,
        site.client_id,
        site.id,
        new.kind.as_str(),
        version,
        fingerprint,
        hash,
        new.note,
        new.expires_at,
        new.max_uses,
        person
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn revoke_standing<P>(tx: &mut Tx<P>, site_id: Uuid) -> Result<Vec<Uuid>, Error> {
    let revoked = sqlx::query_scalar!(
        "UPDATE enrollment_keys SET revoked_at = now()
         WHERE site_id = $1 AND kind = 'standing' AND revoked_at IS NULL RETURNING id",
        site_id
    );
    Ok(revoked.fetch_all(tx.conn()).await?)
}

pub async fn revoke<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let revoked = sqlx::query!(
        "UPDATE enrollment_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL",
        id
    );
    Ok(revoked.execute(tx.conn()).await?.rows_affected() == 1)
}

/// Counts a use, unless the key has ended meanwhile or has none left. Racing uses queue on the row.
pub async fn use_key<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let used = sqlx::query!(
        "UPDATE enrollment_keys SET use_count = use_count + 1, last_used_at = now()
         WHERE id = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
           AND (max_uses IS NULL OR use_count < max_uses)",
        id
    );
    Ok(used.execute(tx.conn()).await?.rows_affected() == 1)
}
