//! SQL of the first run.

use crate::db::Tx;
use crate::error::Error;
use uuid::Uuid;

pub struct FirstUser<'a> {
    pub id: Uuid,
    pub email: &'a str,
    pub name: &'a str,
    pub password_hash: &'a str,
}

/// Makes the platform's admin, and uses the token up. False when it is not valid or setup is over. Whoever comes
/// second waits here until the first one has committed.
pub async fn insert_first_user<P>(
    tx: &mut Tx<P>,
    token_digest: Option<&[u8]>,
    user: &FirstUser<'_>,
) -> Result<bool, Error> {
    let made = sqlx::query_scalar!(
        r#"SELECT setup_first_user($1, $2, $3, $4, $5) AS "made!""#,
        token_digest,
        user.id,
        user.email,
        user.name,
        user.password_hash
    );
    Ok(made.fetch_one(tx.conn()).await?)
}

pub async fn insert_owner<P>(tx: &mut Tx<P>, tenant: Uuid, user_id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "INSERT INTO memberships (id, tenant_id, user_id, role) VALUES ($1, $2, $3, 'owner')",
        Uuid::now_v7(),
        tenant,
        user_id
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
