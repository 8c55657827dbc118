//! SQL of agents. Row-level security confines every query to the transaction's partner and its confinement.

use super::admission::{Entrance, Hardware, Newcomer, PendingReason};
use super::credential::NewKey;
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use uuid::Uuid;

stored_as_text!(PendingReason);

/// An active agent whose identity a newcomer offers.
#[derive(Debug, Clone)]
pub struct Known {
    pub agent_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub hostname: String,
    pub board_serial: Option<String>,
    pub disk_serial: Option<String>,
    pub is_connected: bool,
}

/// A newcomer that waits, or was rejected.
pub struct Waiting {
    pub agent_id: Uuid,
    pub is_rejected: bool,
    pub board_serial: Option<String>,
    pub disk_serial: Option<String>,
}

impl Known {
    pub fn hardware(&self) -> Hardware<'_> {
        Hardware { board_serial: self.board_serial.as_deref(), disk_serial: self.disk_serial.as_deref() }
    }
}

impl Waiting {
    pub fn hardware(&self) -> Hardware<'_> {
        Hardware { board_serial: self.board_serial.as_deref(), disk_serial: self.disk_serial.as_deref() }
    }
}

/// The active agents with this identity, locked: one by its uid, more where someone found twins to be different
/// machines.
pub async fn known_machines<P>(tx: &mut Tx<P>, machine_uid: &str) -> Result<Vec<Known>, Error> {
    let known = sqlx::query_as!(
        Known,
        r#"SELECT a.id AS agent_id, a.client_id, a.site_id, a.hostname, a.board_serial, a.disk_serial,
             coalesce(s.is_connected, false) AS "is_connected!"
           FROM agents a LEFT JOIN agent_status s ON s.agent_id = a.id
           WHERE a.state = 'active' AND (a.machine_uid = $1 OR a.shared_uid = $1)
           ORDER BY a.id FOR UPDATE OF a"#,
        machine_uid
    );
    Ok(known.fetch_all(tx.conn()).await?)
}

pub async fn waiting_newcomers<P>(
    tx: &mut Tx<P>,
    machine_uid: &str,
    site_id: Uuid,
) -> Result<Vec<Waiting>, Error> {
    let waiting = sqlx::query_as!(
        Waiting,
        r#"SELECT id AS agent_id, state = 'rejected' AS "is_rejected!", board_serial, disk_serial
           FROM agents WHERE machine_uid = $1 AND site_id = $2 AND state <> 'active' ORDER BY id FOR UPDATE"#,
        machine_uid,
        site_id
    );
    Ok(waiting.fetch_all(tx.conn()).await?)
}

/// A new row; `None` when an active agent has the identity by now.
pub async fn insert<P>(
    tx: &mut Tx<P>,
    newcomer: &Newcomer,
    entrance: &Entrance,
    key: &NewKey,
    wait: Option<(PendingReason, Option<Uuid>)>,
) -> Result<Option<Uuid>, Error> {
    let (id, tenant) = (Uuid::now_v7(), tx.tenant()?);
    let inserted = sqlx::query!(
        "INSERT INTO agents (id, tenant_id, client_id, site_id, state, pending_reason, collides_with, hostname, os_type,
           os_version, arch, agent_version, machine_uid, machine_uid_source, board_serial, disk_serial, mac_addresses,
           key_digest, digest_key_id, enrolled_with)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
         ON CONFLICT (tenant_id, machine_uid) WHERE state = 'active' DO NOTHING",
        id,
        tenant,
        entrance.client_id,
        entrance.site_id,
        if wait.is_some() { "pending" } else { "active" },
        wait.map(|(reason, _)| reason.as_str()),
        wait.and_then(|(_, collides_with)| collides_with),
        newcomer.hostname,
        newcomer.os_type.as_str(),
        newcomer.os_version,
        newcomer.arch,
        newcomer.agent_version,
        newcomer.identity.machine_uid,
        newcomer.identity.machine_uid_source.as_str(),
        newcomer.identity.board_serial,
        newcomer.identity.disk_serial,
        &newcomer.mac_addresses,
        key.digest.as_slice(),
        key.digest_key_id,
        entrance.enrollment_key_id,
    )
    .execute(tx.conn())
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!("INSERT INTO agent_status (agent_id, tenant_id) VALUES ($1, $2)", id, tenant)
        .execute(tx.conn())
        .await?;
    Ok(Some(id))
}

/// A known row gets a new key and what the machine says of itself now; the old key is dead. With `wait` it waits
/// (again), without it stays what it is.
pub async fn rekey<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    newcomer: &Newcomer,
    entrance: &Entrance,
    key: &NewKey,
    wait: Option<(PendingReason, Option<Uuid>)>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agents SET state = CASE WHEN $2::text IS NULL THEN state ELSE 'pending' END, pending_reason = $2,
           collides_with = $3, hostname = $4, os_type = $5, os_version = $6, arch = $7, agent_version = $8,
           board_serial = $9, disk_serial = $10, mac_addresses = $11, key_digest = $12, digest_key_id = $13,
           key_revoked_at = NULL, enrolled_with = $14, session_epoch = session_epoch + 1
         WHERE id = $1",
        agent_id,
        wait.map(|(reason, _)| reason.as_str()),
        wait.and_then(|(_, collides_with)| collides_with),
        newcomer.hostname,
        newcomer.os_type.as_str(),
        newcomer.os_version,
        newcomer.arch,
        newcomer.agent_version,
        newcomer.identity.board_serial,
        newcomer.identity.disk_serial,
        &newcomer.mac_addresses,
        key.digest.as_slice(),
        key.digest_key_id,
        entrance.enrollment_key_id,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
