//! SQL of accounts and sessions.

use super::OwnPartner;
use super::account::SessionSummary;
use crate::auth::Role;
use crate::auth::credential::SessionKind;
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub struct UserRow {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub is_platform_admin: bool,
    pub status: String,
    pub created_at: DateTime<Utc>,
    pub last_sign_in_at: Option<DateTime<Utc>>,
}

pub async fn user<P>(tx: &mut Tx<P>, id: Uuid) -> Result<UserRow, Error> {
    let user = sqlx::query_as!(
        UserRow,
        "SELECT id, email, name, is_platform_admin, status, created_at, last_sign_in_at FROM users WHERE id = $1",
        id
    );
    Ok(user.fetch_one(tx.conn()).await?)
}

/// Where the transaction's person is an active member, in the order of joining.
pub async fn own_partners<P>(tx: &mut Tx<P>) -> Result<Vec<OwnPartner>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", name AS "name!", role AS "role!", is_confined AS "is_confined!" FROM own_partners()"#
    )
    .fetch_all(tx.conn())
    .await?;
    let known = rows.into_iter().filter_map(|row| {
        let role = Role::parse(&row.role)?;
        Some(OwnPartner { id: row.id, name: row.name, role, is_confined: row.is_confined })
    });
    Ok(known.collect())
}

pub async fn note_sign_in<P>(tx: &mut Tx<P>, user_id: Uuid) -> Result<(), Error> {
    sqlx::query!("UPDATE users SET last_sign_in_at = now() WHERE id = $1", user_id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub async fn rename_user<P>(tx: &mut Tx<P>, user_id: Uuid, name: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE users SET name = $2 WHERE id = $1", user_id, name).execute(tx.conn()).await?;
    Ok(())
}

pub async fn set_password<P>(tx: &mut Tx<P>, user_id: Uuid, hash: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE users SET password_hash = $2 WHERE id = $1", user_id, hash)
        .execute(tx.conn())
        .await?;
    Ok(())
}

pub async fn insert_session<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    user_id: Uuid,
    kind: SessionKind,
    digest: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    let (tenant, request) = (tx.tenant().ok(), tx.request().clone());
    sqlx::query!(
        "INSERT INTO sessions (id, user_id, tenant_id, kind, token_digest, ip, user_agent, expires_at)
         VALUES ($1, $2, $3, $4, $5, ($6::text)::inet, $7, $8)",
        id,
        user_id,
        tenant,
        kind.as_str(),
        digest,
        request.peer.map(|ip| ip.to_string()),
        request.user_agent,
        expires_at
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn session_expiry<P>(tx: &mut Tx<P>, id: Uuid) -> Result<DateTime<Utc>, Error> {
    Ok(sqlx::query_scalar!("SELECT expires_at FROM sessions WHERE id = $1", id).fetch_one(tx.conn()).await?)
}

pub async fn move_session<P>(tx: &mut Tx<P>, id: Uuid, tenant: Uuid) -> Result<(), Error> {
    sqlx::query!("UPDATE sessions SET tenant_id = $2 WHERE id = $1", id, tenant).execute(tx.conn()).await?;
    Ok(())
}

pub async fn is_live_session_of<P>(tx: &mut Tx<P>, id: Uuid, user_id: Uuid) -> Result<bool, Error> {
    let is_live = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM sessions WHERE id = $1 AND user_id = $2
             AND revoked_at IS NULL AND expires_at > now()) AS "is_live!""#,
        id,
        user_id
    );
    Ok(is_live.fetch_one(tx.conn()).await?)
}

pub async fn revoke_session<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("UPDATE sessions SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Revokes the live sessions of a person, those in `tenant` where that is given, but one; answers which.
pub async fn revoke_sessions<P>(
    tx: &mut Tx<P>,
    user_id: Uuid,
    tenant: Option<Uuid>,
    but: Option<Uuid>,
) -> Result<Vec<Uuid>, Error> {
    let revoked = sqlx::query_scalar!(
        "UPDATE sessions SET revoked_at = now()
         WHERE user_id = $1 AND ($2::uuid IS NULL OR tenant_id = $2) AND id IS DISTINCT FROM $3
           AND revoked_at IS NULL AND expires_at > now()
         RETURNING id",
        user_id,
        tenant,
        but
    );
    Ok(revoked.fetch_all(tx.conn()).await?)
}

pub async fn count_sessions<P>(tx: &mut Tx<P>, user_id: Uuid, tenant: Option<Uuid>) -> Result<i64, Error> {
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM sessions
           WHERE user_id = $1 AND ($2::uuid IS NULL OR tenant_id = $2) AND revoked_at IS NULL AND expires_at > now()"#,
        user_id,
        tenant
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list_sessions<P>(
    tx: &mut Tx<P>,
    user_id: Uuid,
    tenant: Option<Uuid>,
    current: Option<Uuid>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<SessionSummary>, Error> {
    let (after_time, after_id) = after.unzip();
    let sessions = sqlx::query_as!(
        SessionSummary,
        r#"SELECT id, kind, created_at, last_used_at, expires_at, host(ip) AS ip, user_agent,
             (id IS NOT DISTINCT FROM $3) AS "current!"
           FROM sessions
           WHERE user_id = $1 AND ($2::uuid IS NULL OR tenant_id = $2) AND revoked_at IS NULL AND expires_at > now()
             AND ($4::timestamptz IS NULL OR (created_at, id) < ($4, $5))
           ORDER BY created_at DESC, id DESC LIMIT $6"#,
        user_id,
        tenant,
        current,
        after_time,
        after_id,
        limit
    );
    Ok(sessions.fetch_all(tx.conn()).await?)
}
