//! SQL of records of the new place, and of what agents made of them.

use super::Standing;
use crate::auth::permission::{ManagePlatform, System};
use crate::db::Tx;
use crate::error::{Code, Error};
use gururmm_protocol::follow::{FollowRecord, FollowReport};
use uuid::Uuid;

/// Machines of which the same is known.
pub struct Count {
    pub state: Option<String>,
    pub error_code: Option<String>,
    pub error: Option<String>,
    pub agents: i64,
}

pub async fn standing(tx: &mut Tx<ManagePlatform>) -> Result<Option<Standing>, Error> {
    let standing = sqlx::query_as!(
        Standing,
        r#"SELECT serial AS "serial!", server_url AS "server_url!", ca_fingerprint, not_before AS "not_before!",
             expires_at AS "expires_at!", record AS "record!", signature AS "signature!", set_at AS "set_at!",
             set_by AS "set_by!" FROM standing_follow_record()"#
    );
    Ok(standing.fetch_optional(tx.conn()).await?)
}

pub async fn next_serial(tx: &mut Tx<ManagePlatform>) -> Result<i64, Error> {
    let serial = sqlx::query_scalar!("SELECT next_follow_serial()").fetch_one(tx.conn()).await?;
    serial.ok_or_else(|| Error::new(Code::Forbidden))
}

pub async fn put(
    tx: &mut Tx<ManagePlatform>,
    record: &FollowRecord,
    serial: i64,
    text: &str,
    signature: &[u8],
    set_by: &str,
) -> Result<(), Error> {
    let put = sqlx::query_scalar!(
        r#"SELECT put_follow_record($1, $2, $3, $4, $5, $6, $7, $8) AS "put!""#,
        serial,
        record.server_url,
        record.ca_fingerprint,
        record.not_before,
        record.expires_at,
        text,
        signature,
        set_by
    );
    if put.fetch_one(tx.conn()).await? { Ok(()) } else { Err(Error::new(Code::Forbidden)) }
}

/// `false` when none stands.
pub async fn withdraw(tx: &mut Tx<ManagePlatform>) -> Result<bool, Error> {
    let withdrawn = sqlx::query_scalar!(r#"SELECT withdraw_follow_record() AS "withdrawn!""#);
    Ok(withdrawn.fetch_one(tx.conn()).await?)
}

pub async fn fleet(tx: &mut Tx<ManagePlatform>, serial: i64) -> Result<Vec<Count>, Error> {
    let counts = sqlx::query_as!(
        Count,
        r#"SELECT state, error_code, error, agents AS "agents!" FROM follow_fleet($1)"#,
        serial
    );
    Ok(counts.fetch_all(tx.conn()).await?)
}

/// Keeps what an agent said last, unless that was of a newer record.
pub async fn keep(
    tx: &mut Tx<System>,
    agent_id: Uuid,
    serial: i64,
    report: &FollowReport,
) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "INSERT INTO agent_follows AS f (agent_id, tenant_id, serial, state, error_code, error)
         VALUES ($1, $2, $3, $4, $5, $6)
         ON CONFLICT (agent_id) DO UPDATE SET serial = $3, state = $4, error_code = $5, error = $6, changed_at = now()
         WHERE f.serial <= $3 AND (f.serial, f.state, f.error_code, f.error) IS DISTINCT FROM ($3, $4, $5, $6)",
        agent_id,
        tenant,
        serial,
        report.state.as_str(),
        report.error_code,
        report.error
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
