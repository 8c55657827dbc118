//! SQL of agents. Row-level security confines every query to the transaction's partner and its confinement.

use super::Agent;
use super::admission::{Entrance, Hardware, Newcomer, PendingReason};
use super::approvals::{KnownMachine, WaitingMachine};
use super::credential::NewKey;
use super::decision::WaitingAgent;
use super::life::{Likeness, MergeKey, Pruned};
use crate::db::{Said, Tx, stored_as_text};
use crate::enrollment;
use crate::error::Error;
use crate::gateway::{AgentSession, Machine};
use chrono::{DateTime, Utc};
use gururmm_protocol::system::MachineIdentity;
use sqlx::Connection as _;
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
    /// Whether it had a session ever, or came back; without that it may be a mere name.
    pub was_seen: bool,
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
             coalesce(s.is_connected, false) AS "is_connected!", a.session_epoch > 0 AS "was_seen!"
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
           FROM agents WHERE machine_uid = $1 AND site_id = $2 AND state IN ('pending', 'rejected') ORDER BY id FOR UPDATE"#,
        machine_uid,
        site_id
    );
    Ok(waiting.fetch_all(tx.conn()).await?)
}

/// A record for a machine that came with another's key, beside that one's. It waits, and has no key. `None` when `most`
/// such machines wait already.
pub async fn insert_copy<P>(
    tx: &mut Tx<P>,
    original: &AgentSession,
    copy: &Machine,
    key: &NewKey,
    most: i64,
) -> Result<Option<Uuid>, Error> {
    let id = Uuid::now_v7();
    let inserted = sqlx::query!(
        "INSERT INTO agents (id, tenant_id, client_id, site_id, state, pending_reason, collides_with, hostname, os_type,
           os_version, arch, agent_version, machine_uid, machine_uid_source, board_serial, disk_serial, key_digest,
           digest_key_id, key_revoked_at, asked_from, asked_at)
         SELECT $1, $2, $3, $4, 'pending', $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, now(),
           ($18::text)::inet, now()
         WHERE (SELECT count(*) FROM agents WHERE collides_with = $6 AND state = 'pending' AND pending_reason = $5) < $19",
        id,
        original.tenant_id,
        original.client_id,
        original.site_id,
        PendingReason::KeyCopied.as_str(),
        original.agent_id,
        copy.system.hostname,
        copy.system.os_type.as_str(),
        copy.system.os_version,
        copy.system.arch,
        copy.agent_version,
        copy.identity.machine_uid,
        copy.identity.machine_uid_source.as_str(),
        copy.identity.board_serial,
        copy.identity.disk_serial,
        key.digest.as_slice(),
        key.digest_key_id,
        copy.peer.map(|ip| ip.to_string()),
        most,
    )
    .execute(tx.conn())
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(None);
    }
    sqlx::query!("INSERT INTO agent_status (agent_id, tenant_id) VALUES ($1, $2)", id, original.tenant_id)
        .execute(tx.conn())
        .await?;
    Ok(Some(id))
}

/// A session that was refused as a copy's leaves the epoch to the one that goes on.
pub async fn give_back_epoch<P>(tx: &mut Tx<P>, refused: &AgentSession, epoch: i64) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agents SET session_epoch = $3 WHERE id = $1 AND session_epoch = $2",
        refused.agent_id,
        refused.epoch,
        epoch
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Records of a machine that was only found with another's key.
pub async fn drop_copies<P>(tx: &mut Tx<P>, machine_uid: &str, site_id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM agents WHERE machine_uid = $1 AND site_id = $2 AND state = 'pending' AND pending_reason = $3",
        machine_uid,
        site_id,
        PendingReason::KeyCopied.as_str()
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The agent with this identity that was retired last.
pub async fn retired_machine<P>(tx: &mut Tx<P>, machine_uid: &str) -> Result<Option<Uuid>, Error> {
    let retired = sqlx::query_scalar!(
        "SELECT id FROM agents WHERE state = 'retired' AND (machine_uid = $1 OR shared_uid = $1)
         ORDER BY retired_at DESC, id LIMIT 1",
        machine_uid
    );
    Ok(retired.fetch_optional(tx.conn()).await?)
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
    let asked_from = tx.request().peer.map(|ip| ip.to_canonical().to_string());
    let inserted = sqlx::query!(
        "INSERT INTO agents (id, tenant_id, client_id, site_id, state, pending_reason, collides_with, hostname, os_type,
           os_version, arch, agent_version, machine_uid, machine_uid_source, board_serial, disk_serial, mac_addresses,
           key_digest, digest_key_id, enrolled_with, asked_from, asked_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
           ($21::text)::inet, now())
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
        asked_from,
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
    let asked_from = tx.request().peer.map(|ip| ip.to_canonical().to_string());
    sqlx::query!(
        "UPDATE agents SET state = CASE WHEN $2::text IS NULL THEN state ELSE 'pending' END, pending_reason = $2,
           key_changes = CASE WHEN state = 'pending' THEN key_changes + 1 ELSE 0 END,
           collides_with = $3, hostname = $4, os_type = $5, os_version = $6, arch = $7, agent_version = $8,
           board_serial = $9, disk_serial = $10, mac_addresses = $11, key_digest = $12, digest_key_id = $13,
           key_revoked_at = NULL, enrolled_with = $14, session_epoch = session_epoch + 1,
           asked_from = ($15::text)::inet, asked_at = now()
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
        asked_from,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What an agent is known by.
pub struct Identity {
    pub machine_uid: String,
    pub machine_uid_source: String,
    /// The uid a twin offers.
    pub shared_uid: Option<String>,
}

pub async fn identity<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<Identity>, Error> {
    let identity = sqlx::query_as!(
        Identity,
        "SELECT machine_uid, machine_uid_source, shared_uid FROM agents WHERE id = $1",
        agent_id
    );
    Ok(identity.fetch_optional(tx.conn()).await?)
}

/// Gives an agent the better uid it offers; `false` when another agent has it.
pub async fn upgrade_identity<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    offered: &MachineIdentity,
) -> Result<bool, Error> {
    let mut savepoint = tx.conn().begin().await?;
    let upgraded = sqlx::query!(
        "UPDATE agents SET machine_uid = $2, machine_uid_source = $3, shared_uid = NULL,
           board_serial = coalesce($4, board_serial), disk_serial = coalesce($5, disk_serial)
         WHERE id = $1",
        agent_id,
        offered.machine_uid,
        offered.machine_uid_source.as_str(),
        offered.board_serial,
        offered.disk_serial
    )
    .execute(&mut *savepoint)
    .await;
    settle(savepoint, upgraded).await
}

/// Writes what the machine says of itself, if it is not what stands there.
pub async fn set_system<P>(tx: &mut Tx<P>, session: &AgentSession, said: &Said<'_>) -> Result<bool, Error> {
    let changed = sqlx::query!(
        "UPDATE agents SET hostname = $3, os_type = $4, os_version = $5, arch = $6, agent_version = $7,
           protocol_version = $8, system = $9, machine_type = $10
         WHERE id = $1 AND session_epoch = $2
           AND (hostname, os_type, os_version, arch, agent_version, protocol_version, system, machine_type)
             IS DISTINCT FROM ($3, $4, $5, $6, $7, $8, $9, $10)",
        session.agent_id,
        session.epoch,
        said.hostname,
        said.os_type,
        said.os_version,
        said.arch,
        said.agent_version,
        said.protocol,
        said.system,
        said.machine_type
    );
    Ok(changed.execute(tx.conn()).await?.rows_affected() == 1)
}

/// Writes the network state, if it is not the one that stands there.
pub async fn set_network<P>(
    tx: &mut Tx<P>,
    session: &AgentSession,
    state: &serde_json::Value,
) -> Result<bool, Error> {
    let changed = sqlx::query!(
        "UPDATE agents SET network = $3, network_received_at = now()
         WHERE id = $1 AND session_epoch = $2 AND network IS DISTINCT FROM $3",
        session.agent_id,
        session.epoch,
        state
    );
    Ok(changed.execute(tx.conn()).await?.rows_affected() == 1)
}

/// What the detail page shows beyond the list.
pub struct Facts {
    pub system: serde_json::Value,
    pub network: Option<serde_json::Value>,
    pub network_received_at: Option<DateTime<Utc>>,
    pub machine_uid: String,
    pub board_serial: Option<String>,
    pub disk_serial: Option<String>,
}

pub async fn facts<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Facts>, Error> {
    let facts = sqlx::query_as!(
        Facts,
        "SELECT system, network, network_received_at, machine_uid, board_serial, disk_serial FROM agents WHERE id = $1",
        id
    );
    Ok(facts.fetch_optional(tx.conn()).await?)
}

/// Name and place of an agent.
pub struct Named {
    pub hostname: String,
    pub client_id: Uuid,
    pub site_id: Uuid,
}

pub async fn delete<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Named>, Error> {
    let deleted = sqlx::query_as!(
        Named,
        "DELETE FROM agents WHERE id = $1 AND state <> 'rejected' RETURNING hostname, client_id, site_id",
        id
    );
    Ok(deleted.fetch_optional(tx.conn()).await?)
}

/// A site that is seen.
pub struct SiteRow {
    pub client_id: Uuid,
}

pub async fn site<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<SiteRow>, Error> {
    let site =
        sqlx::query_as!(SiteRow, r#"SELECT client_id AS "client_id!" FROM site_directory WHERE id = $1"#, id);
    Ok(site.fetch_optional(tx.conn()).await?)
}

/// Moves an agent. Commands, alerts and sessions repeat its place; a trigger (migration 0006) lets them follow.
pub async fn set_place<P>(tx: &mut Tx<P>, id: Uuid, client_id: Uuid, site_id: Uuid) -> Result<(), Error> {
    lock_place(tx, id).await?;
    sqlx::query!("UPDATE agents SET client_id = $2, site_id = $3 WHERE id = $1", id, client_id, site_id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Where an agent stands; it stays there until the transaction ends. What an agent says of itself meanwhile waits for
/// nobody.
pub async fn hold_place<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<(Uuid, Uuid)>, Error> {
    let place = sqlx::query!("SELECT client_id, site_id FROM agents WHERE id = $1 FOR KEY SHARE", id);
    Ok(place.fetch_optional(tx.conn()).await?.map(|place| (place.client_id, place.site_id)))
}

/// Waits for those who hold the place ([`hold_place`]), and makes others wait: an update by itself would do neither.
async fn lock_place<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("SELECT id FROM agents WHERE id = $1 FOR UPDATE", id).fetch_optional(tx.conn()).await?;
    Ok(())
}

pub async fn lock_waiting<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<WaitingAgent>, Error> {
    let agent = sqlx::query_as!(
        WaitingAgent,
        r#"SELECT client_id, site_id, state, hostname, pending_reason AS "pending_reason: PendingReason", collides_with,
             key_changes, left(encode(key_digest, 'hex'), 8) AS "key_fingerprint!"
           FROM agents WHERE id = $1 FOR UPDATE"#,
        id
    );
    Ok(agent.fetch_optional(tx.conn()).await?)
}

/// Lets a machine in under the identity it offers; `false` when another has it.
pub async fn activate<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let mut savepoint = tx.conn().begin().await?;
    let activated = sqlx::query!(
        "UPDATE agents SET state = 'active', pending_reason = NULL, collides_with = NULL WHERE id = $1",
        id
    )
    .execute(&mut *savepoint)
    .await;
    settle(savepoint, activated).await
}

/// Lets a machine in under an identity of its own; the one it offers is kept beside it.
pub async fn activate_as_twin<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agents SET state = 'active', pending_reason = NULL, collides_with = NULL, shared_uid = machine_uid,
           machine_uid = machine_uid || '#' || id WHERE id = $1",
        id
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The newcomer is the known machine: that agent gets its key, its place and what it says of itself, and the newcomer's
/// row goes; its id stays as another name of the agent. A retired agent is back by that. `false` when the known agent is
/// gone.
pub async fn take_over<P>(tx: &mut Tx<P>, known: Uuid, newcomer: Uuid) -> Result<bool, Error> {
    lock_place(tx, known).await?;
    let taken = sqlx::query!(
        "UPDATE agents k SET client_id = n.client_id, site_id = n.site_id, hostname = n.hostname, os_type = n.os_type, os_version = n.os_version, arch = n.arch,
           agent_version = n.agent_version, board_serial = n.board_serial, disk_serial = n.disk_serial,
           mac_addresses = n.mac_addresses, key_digest = n.key_digest, digest_key_id = n.digest_key_id,
           key_revoked_at = NULL, enrolled_with = n.enrolled_with, session_epoch = k.session_epoch + 1,
           asked_from = n.asked_from, asked_at = n.asked_at, state = 'active', retired_at = NULL, retired_by = NULL
         FROM agents n WHERE k.id = $1 AND n.id = $2 AND k.state IN ('active', 'retired')",
        known,
        newcomer
    );
    if taken.execute(tx.conn()).await?.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query!("DELETE FROM agents WHERE id = $1", newcomer).execute(tx.conn()).await?;
    sqlx::query!(
        "INSERT INTO agent_aliases (alias, tenant_id, agent_id) SELECT $1, tenant_id, id FROM agents WHERE id = $2",
        newcomer,
        known
    )
    .execute(tx.conn())
    .await?;
    Ok(true)
}

pub async fn reject<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    sqlx::query!("UPDATE agents SET state = 'rejected', key_revoked_at = now() WHERE id = $1", id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Takes an active agent out; `false` when it is not active.
pub async fn retire<P>(tx: &mut Tx<P>, id: Uuid, person: Option<Uuid>) -> Result<bool, Error> {
    let retired = sqlx::query!(
        "UPDATE agents SET state = 'retired', retired_at = now(), retired_by = $2, session_epoch = session_epoch + 1
         WHERE id = $1 AND state = 'active'",
        id,
        person
    );
    Ok(retired.execute(tx.conn()).await?.rows_affected() == 1)
}

/// Brings a retired agent back; `false` when another has its identity.
pub async fn restore<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let mut savepoint = tx.conn().begin().await?;
    let restored = sqlx::query!(
        "UPDATE agents SET state = 'active', retired_at = NULL, retired_by = NULL WHERE id = $1 AND state = 'retired'",
        id
    )
    .execute(&mut *savepoint)
    .await;
    settle(savepoint, restored).await
}

/// An active agent's key is dead from now on; `false` when it is not active.
pub async fn revoke_key<P>(tx: &mut Tx<P>, id: Uuid) -> Result<bool, Error> {
    let revoked = sqlx::query!(
        "UPDATE agents SET key_revoked_at = now(), session_epoch = session_epoch + 1 WHERE id = $1 AND state = 'active'",
        id
    );
    Ok(revoked.execute(tx.conn()).await?.rows_affected() == 1)
}

/// Two agents stay as they are until the transaction ends; always in one order, so that nobody waits for each other.
pub async fn lock_both<P>(tx: &mut Tx<P>, one: Uuid, other: Uuid) -> Result<(), Error> {
    let locked =
        sqlx::query!("SELECT id FROM agents WHERE id IN ($1, $2) ORDER BY id FOR UPDATE", one, other);
    match locked.fetch_all(tx.conn()).await?.len() {
        2 => Ok(()),
        _ => Err(Error::not_found()),
    }
}

/// The merged agent's history is the kept one's, its id another name of it, and its row gone.
pub async fn merge<P>(tx: &mut Tx<P>, kept: Uuid, merged: Uuid, key: MergeKey) -> Result<(), Error> {
    sqlx::query!("SELECT merge_agent_history($1, $2)", kept, merged).fetch_one(tx.conn()).await?;
    let gone = sqlx::query!(
        "DELETE FROM agents WHERE id = $1 RETURNING tenant_id, hostname, os_type, os_version, arch, agent_version,
           protocol_version, machine_uid, machine_uid_source, shared_uid, board_serial, disk_serial, mac_addresses,
           key_digest, digest_key_id, key_revoked_at, system, network, network_received_at, enrolled_with,
           host(asked_from) AS asked_from, asked_at",
        merged
    )
    .fetch_one(tx.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO agent_aliases (alias, tenant_id, agent_id) VALUES ($1, $2, $3)",
        merged,
        gone.tenant_id,
        kept
    )
    .execute(tx.conn())
    .await?;
    if key == MergeKey::Kept {
        return Ok(());
    }
    sqlx::query!(
        "UPDATE agents SET hostname = $2, os_type = $3, os_version = $4, arch = $5, agent_version = $6,
           protocol_version = $7, machine_uid = $8, machine_uid_source = $9, shared_uid = $10, board_serial = $11,
           disk_serial = $12, mac_addresses = $13, key_digest = $14, digest_key_id = $15, key_revoked_at = $16,
           system = $17, network = $18, network_received_at = $19, enrolled_with = $20,
           asked_from = ($21::text)::inet, asked_at = $22, session_epoch = session_epoch + 1
         WHERE id = $1",
        kept,
        gone.hostname,
        gone.os_type,
        gone.os_version,
        gone.arch,
        gone.agent_version,
        gone.protocol_version,
        gone.machine_uid,
        gone.machine_uid_source,
        gone.shared_uid,
        gone.board_serial,
        gone.disk_serial,
        &gone.mac_addresses,
        gone.key_digest,
        gone.digest_key_id,
        gone.key_revoked_at,
        gone.system,
        gone.network,
        gone.network_received_at,
        gone.enrolled_with,
        gone.asked_from,
        gone.asked_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Other active or retired agents that have something of this one, those that have most of it first.
pub async fn alike<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    board_serial: Option<&str>,
    disk_serial: Option<&str>,
    most: i64,
) -> Result<Vec<Likeness>, Error> {
    let alike = sqlx::query_as!(
        Likeness,
        r#"SELECT id AS "id!", same_uid AS "same_uid!", same_board AS "same_board!", same_disk AS "same_disk!",
             same_mac AS "same_mac!", same_name AS "same_name!"
           FROM (SELECT o.id,
               coalesce(o.shared_uid, o.machine_uid) = coalesce(a.shared_uid, a.machine_uid) AS same_uid,
               coalesce(o.board_serial = $2, false) AS same_board, coalesce(o.disk_serial = $3, false) AS same_disk,
               o.mac_addresses && a.mac_addresses AS same_mac,
               o.hostname_key = a.hostname_key AND o.client_id = a.client_id AS same_name
             FROM agents a JOIN agents o ON o.id <> a.id AND o.state IN ('active', 'retired') WHERE a.id = $1) likeness
           WHERE same_uid OR same_board OR same_disk OR same_mac OR same_name
           ORDER BY same_uid::integer * 4 + same_board::integer * 2 + same_disk::integer * 2 + same_mac::integer
             + same_name::integer DESC, id LIMIT $4"#,
        id,
        board_serial,
        disk_serial,
        most
    );
    Ok(alike.fetch_all(tx.conn()).await?)
}

pub async fn prune_retired<P>(
    tx: &mut Tx<P>,
    retired_before: DateTime<Utc>,
    most: i64,
) -> Result<Vec<Pruned>, Error> {
    let gone = sqlx::query_as!(
        Pruned,
        "DELETE FROM agents WHERE id IN (SELECT id FROM agents WHERE state = 'retired' AND retired_at < $1
           ORDER BY retired_at, id LIMIT $2 FOR UPDATE) RETURNING id, hostname, client_id, site_id, retired_at",
        retired_before,
        most
    );
    Ok(gone.fetch_all(tx.conn()).await?)
}

/// What there is to see of a machine that waits, beyond the list of machines.
pub struct WaitingFacts {
    pub id: Uuid,
    asked_from: Option<String>,
    asked_at: Option<DateTime<Utc>>,
    mac_addresses: Vec<String>,
    board_serial: Option<String>,
    disk_serial: Option<String>,
    key_version: Option<i32>,
    key_fingerprint: Option<String>,
    key_note: Option<String>,
    known_id: Option<Uuid>,
    known_hostname: Option<String>,
    known_is_connected: Option<bool>,
    known_state: Option<String>,
    known_last_seen: Option<DateTime<Utc>>,
}

impl WaitingFacts {
    /// The machine as people see it.
    pub fn about(self, agent: Agent) -> WaitingMachine {
        let known = self.known_id.zip(self.known_hostname).map(|(id, hostname)| KnownMachine {
            id,
            hostname,
            is_connected: self.known_is_connected.unwrap_or_default(),
            is_retired: self.known_state.as_deref() == Some("retired"),
            last_seen: self.known_last_seen,
        });
        let key = self.key_version.zip(self.key_fingerprint);
        WaitingMachine {
            agent,
            asked_from: self.asked_from,
            asked_at: self.asked_at,
            mac_addresses: self.mac_addresses,
            board_serial: self.board_serial,
            disk_serial: self.disk_serial,
            key_label: key.map(|(version, fingerprint)| enrollment::key_label(version, &fingerprint)),
            key_note: self.key_note,
            collides_with: known,
        }
    }
}

pub async fn waiting_facts<P>(
    tx: &mut Tx<P>,
    site_id: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<WaitingFacts>, Error> {
    let facts = sqlx::query_as!(
        WaitingFacts,
        r#"SELECT a.id, host(a.asked_from) AS asked_from, a.asked_at, a.mac_addresses, a.board_serial, a.disk_serial,
             k.version AS "key_version?", k.fingerprint AS "key_fingerprint?", k.note AS "key_note?", d.id AS "known_id?",
             d.hostname AS "known_hostname?", d.is_connected AS "known_is_connected?", d.state AS "known_state?",
             d.last_seen AS "known_last_seen?"
           FROM agents a
           LEFT JOIN enrollment_key_directory k ON k.id = a.enrolled_with
           LEFT JOIN agent_directory d ON d.id = a.collides_with
           WHERE a.state = 'pending' AND ($1::uuid IS NULL OR a.site_id = $1) AND ($2::uuid IS NULL OR a.id > $2)
           ORDER BY a.id LIMIT $3"#,
        site_id,
        after,
        limit
    );
    Ok(facts.fetch_all(tx.conn()).await?)
}

/// Keeps what was done unless another agent has the identity: then it is as if nothing was tried.
async fn settle(
    savepoint: sqlx::Transaction<'_, sqlx::Postgres>,
    done: Result<sqlx::postgres::PgQueryResult, sqlx::Error>,
) -> Result<bool, Error> {
    match done {
        Ok(done) => {
            savepoint.commit().await?;
            Ok(done.rows_affected() == 1)
        }
        Err(error) => {
            let constraint = error.as_database_error().and_then(|database| database.constraint());
            if constraint != Some("agents_machine_uid_key") {
                return Err(error.into());
            }
            savepoint.rollback().await?;
            Ok(false)
        }
    }
}
