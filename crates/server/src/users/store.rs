//! SQL of members and invitations. Row-level security confines every query to the transaction's partner.

use super::invitations::InviteInput;
use super::{MemberStatus, PartnerUser};
use crate::auth::Role;
use crate::db::Tx;
use crate::error::{Code, Error};
use chrono::{DateTime, Utc};
use std::collections::HashMap;
use uuid::Uuid;

pub struct Invitee {
    pub email: String,
    pub name: String,
    pub partner_name: String,
    pub has_account: bool,
}

struct MemberRow {
    id: Uuid,
    email: String,
    name: String,
    role: String,
    status: String,
    client_ids: Vec<Uuid>,
    site_ids: Vec<Uuid>,
    created_at: DateTime<Utc>,
    last_sign_in_at: Option<DateTime<Utc>>,
}

impl MemberRow {
    fn into_user(self) -> PartnerUser {
        PartnerUser {
            id: self.id,
            email: self.email,
            name: self.name,
            // The column's constraint allows nothing else; the weakest is what a bug may cost.
            role: Role::parse(&self.role).unwrap_or(Role::ReadOnly),
            status: MemberStatus::parse(&self.status),
            client_ids: self.client_ids,
            site_ids: self.site_ids,
            created_at: self.created_at,
            last_sign_in_at: self.last_sign_in_at,
            locked_until: None,
        }
    }
}

/// Makes whoever changes members of this partner wait for their turn.
pub async fn lock_members<P>(tx: &mut Tx<P>) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!("SELECT id FROM partners WHERE id = $1 FOR NO KEY UPDATE", tenant)
        .fetch_one(tx.conn())
        .await?;
    Ok(())
}

pub async fn count_members<P>(tx: &mut Tx<P>, search: Option<&str>) -> Result<i64, Error> {
    let tenant = tx.tenant()?;
    let total = sqlx::query_scalar!(
        r#"SELECT count(*) AS "total!" FROM memberships m JOIN users u ON u.id = m.user_id
           WHERE m.tenant_id = $1 AND ($2::text IS NULL OR strpos(lower(u.email), lower($2)) > 0
             OR strpos(lower(CASE m.status WHEN 'invited' THEN coalesce(m.invited_name, u.name) ELSE u.name END), lower($2)) > 0)"#,
        tenant,
        search
    );
    Ok(total.fetch_one(tx.conn()).await?)
}

pub async fn list_members<P>(
    tx: &mut Tx<P>,
    search: Option<&str>,
    after: Option<(String, Uuid)>,
    limit: i64,
) -> Result<Vec<PartnerUser>, Error> {
    members(tx, None, search, after, limit).await
}

pub async fn get_member<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<PartnerUser>, Error> {
    Ok(members(tx, Some(id), None, None, 1).await?.pop())
}

/// What an account says of itself shows only once its person has joined: it may be another partner's until then.
async fn members<P>(
    tx: &mut Tx<P>,
    id: Option<Uuid>,
    search: Option<&str>,
    after: Option<(String, Uuid)>,
    limit: i64,
) -> Result<Vec<PartnerUser>, Error> {
    let (tenant, (after_email, after_id)) = (tx.tenant()?, after.unzip());
    let rows = sqlx::query_as!(
        MemberRow,
        r#"SELECT id AS "id!", email AS "email!", name AS "name!", role AS "role!", status AS "status!",
             client_ids AS "client_ids!", site_ids AS "site_ids!", created_at AS "created_at!", last_sign_in_at
           FROM (SELECT u.id, u.email, m.role, m.client_ids, m.site_ids, m.created_at,
               CASE m.status WHEN 'invited' THEN coalesce(m.invited_name, u.name) ELSE u.name END AS name,
               CASE WHEN 'invited' IN (m.status, u.status) THEN 'invited'
                 WHEN 'suspended' IN (m.status, u.status) THEN 'suspended' ELSE 'active' END AS status,
               CASE m.status WHEN 'invited' THEN NULL ELSE u.last_sign_in_at END AS last_sign_in_at
             FROM memberships m JOIN users u ON u.id = m.user_id WHERE m.tenant_id = $1) AS member
           WHERE ($2::uuid IS NULL OR id = $2)
             AND ($3::text IS NULL OR strpos(lower(email), lower($3)) > 0 OR strpos(lower(name), lower($3)) > 0)
             AND ($4::text IS NULL OR (lower(email), id) > ($4, $5))
           ORDER BY lower(email), id LIMIT $6"#,
        tenant,
        id,
        search,
        after_email,
        after_id,
        limit
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(MemberRow::into_user).collect())
}

/// Which of the keys are locked, and until when.
pub async fn locks<P>(tx: &mut Tx<P>, keys: &[Vec<u8>]) -> Result<HashMap<Vec<u8>, DateTime<Utc>>, Error> {
    let rows = sqlx::query!(
        r#"SELECT key AS "key!", locked_until AS "locked_until!" FROM throttle_locked($1)"#,
        keys
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|row| (row.key, row.locked_until)).collect())
}

pub async fn has_other_active_owner<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let tenant = tx.tenant()?;
    let has = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM memberships m JOIN users u ON u.id = m.user_id AND u.status = 'active'
             WHERE m.tenant_id = $1 AND m.user_id <> $2 AND m.role = 'owner' AND m.status = 'active') AS "has!""#,
        tenant,
        id
    );
    Ok(has.fetch_one(tx.conn()).await?)
}

pub async fn update_membership<P>(tx: &mut Tx<P>, user: &PartnerUser) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "UPDATE memberships SET role = $3, client_ids = $5, site_ids = $6,
           status = CASE WHEN $4 = 'invited' THEN status ELSE $4 END
         WHERE tenant_id = $1 AND user_id = $2",
        tenant,
        user.id,
        user.role.as_str(),
        user.status.as_str(),
        &user.client_ids,
        &user.site_ids
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn delete_membership<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!("DELETE FROM memberships WHERE tenant_id = $1 AND user_id = $2", tenant, id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Whether others have a say in the account: another partner, or the platform.
pub async fn is_beyond_partner<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let is = sqlx::query_scalar!(
        r#"SELECT is_shared_account($1) OR EXISTS (SELECT 1 FROM users WHERE id = $1 AND is_platform_admin) AS "is!""#,
        id
    );
    Ok(is.fetch_one(tx.conn()).await?)
}

pub async fn rename_account<P>(tx: &mut Tx<P>, id: Uuid, name: &str) -> Result<(), Error> {
    sqlx::query!("UPDATE users SET name = $2 WHERE id = $1", id, name).execute(tx.conn()).await?;
    Ok(())
}

pub async fn rename_invited<P>(tx: &mut Tx<P>, id: Uuid, name: &str) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "UPDATE memberships SET invited_name = $3 WHERE tenant_id = $1 AND user_id = $2",
        tenant,
        id,
        name
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// An account without a password, which nobody can sign in to; the one that has the address where another partner was
/// quicker.
pub async fn insert_account<P>(tx: &mut Tx<P>, email: &str, name: &str) -> Result<Uuid, Error> {
    let id = Uuid::now_v7();
    let inserted = sqlx::query!(
        "INSERT INTO users (id, email, name, status) VALUES ($1, $2, $3, 'invited') ON CONFLICT DO NOTHING",
        id,
        email,
        name
    )
    .execute(tx.conn())
    .await?;
    if inserted.rows_affected() == 1 {
        return Ok(id);
    }
    let theirs = sqlx::query_scalar!("SELECT lookup_user_by_email($1)", email);
    theirs.fetch_one(tx.conn()).await?.ok_or_else(|| Error::new(Code::Unavailable))
}

pub async fn insert_membership<P>(
    tx: &mut Tx<P>,
    user_id: Uuid,
    invited_name: &str,
    input: &InviteInput,
) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "INSERT INTO memberships (id, tenant_id, user_id, role, status, invited_name, client_ids, site_ids)
         VALUES ($1, $2, $3, $4, 'invited', $5, $6, $7)",
        Uuid::now_v7(),
        tenant,
        user_id,
        input.role.as_str(),
        invited_name,
        &input.client_ids,
        &input.site_ids
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn insert_invitation<P>(
    tx: &mut Tx<P>,
    user_id: Uuid,
    digest: &[u8],
    expires_at: DateTime<Utc>,
) -> Result<(), Error> {
    let (tenant, created_by) = (tx.tenant()?, tx.actor().user_id());
    sqlx::query!(
        "INSERT INTO invitations (id, tenant_id, user_id, token_digest, created_by, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        Uuid::now_v7(),
        tenant,
        user_id,
        digest,
        created_by,
        expires_at
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn delete_open_invitations<P>(tx: &mut Tx<P>, user_id: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM invitations WHERE user_id = $1 AND used_at IS NULL", user_id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Who is invited; nobody who is suspended or has joined.
pub async fn invitee<P>(tx: &mut Tx<P>, user_id: Uuid) -> Result<Option<Invitee>, Error> {
    let tenant = tx.tenant()?;
    let invitee = sqlx::query_as!(
        Invitee,
        r#"SELECT u.email, coalesce(m.invited_name, u.name) AS "name!", p.name AS partner_name,
             (u.status <> 'invited') AS "has_account!"
           FROM memberships m JOIN users u ON u.id = m.user_id JOIN partners p ON p.id = m.tenant_id
           WHERE m.tenant_id = $1 AND m.user_id = $2 AND u.status <> 'suspended' AND m.status <> 'suspended'
             AND 'invited' IN (m.status, u.status)"#,
        tenant,
        user_id
    );
    Ok(invitee.fetch_optional(tx.conn()).await?)
}

/// Uses the link up. False when someone was quicker or its time is over.
pub async fn use_invitation<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let used = sqlx::query!(
        "UPDATE invitations SET used_at = now() WHERE id = $1 AND used_at IS NULL AND expires_at > now()",
        id
    )
    .execute(tx.conn())
    .await?;
    Ok(used.rows_affected() == 1)
}

/// Gives an account its first password. False when it has one: an invitation never changes that.
pub async fn open_account<P>(tx: &mut Tx<P>, id: Uuid, name: &str, hash: &str) -> Result<bool, Error> {
    let opened = sqlx::query!(
        "UPDATE users SET name = $2, password_hash = $3, status = 'active'
         WHERE id = $1 AND status = 'invited' AND password_hash IS NULL",
        id,
        name,
        hash
    )
    .execute(tx.conn())
    .await?;
    Ok(opened.rows_affected() == 1)
}

/// Makes the invited person a member. False when the membership is gone or was suspended meanwhile.
pub async fn join<P>(tx: &mut Tx<P>, user_id: Uuid) -> Result<bool, Error> {
    let tenant = tx.tenant()?;
    let joined = sqlx::query!(
        "UPDATE memberships SET status = 'active' WHERE tenant_id = $1 AND user_id = $2 AND status <> 'suspended'",
        tenant,
        user_id
    )
    .execute(tx.conn())
    .await?;
    Ok(joined.rows_affected() == 1)
}
