//! SQL of updates.

use super::census::VersionCount;
use super::{Action, AgentUpdate, Origin, Status};
use crate::auth::permission::{ManagePlatform, System};
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::update::{UpdateAbility, UpdateReport};
use uuid::Uuid;

stored_as_text!(Status, Action, Origin);

/// Rows that one round of the deadlines looks at.
const OVERDUE_AT_MOST: i64 = 1_000;

/// A machine, as far as updates are concerned.
pub struct Machine {
    pub id: Uuid,
    pub tenant_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub state: String,
    pub hostname: String,
    pub os_type: String,
    pub arch: String,
    pub agent_version: String,
    /// What it said at its last hello; nothing before protocol 1.1.
    pub supported: Option<bool>,
    pub reason: Option<String>,
    pub previous_version: Option<String>,
}

/// An order to be written.
pub struct NewUpdate {
    pub action: Action,
    pub origin: Origin,
    pub to_version: String,
    pub channel: String,
    /// Which one, and which of its rings.
    pub rollout: Option<(Uuid, i16)>,
    pub valid_until: DateTime<Utc>,
}

/// A locked row: what deciding about a report takes.
pub struct Known {
    pub status: Status,
    pub valid_until: DateTime<Utc>,
}

pub async fn machine<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<Machine>, Error> {
    let machine = sqlx::query_as!(
        Machine,
        r#"SELECT b.id AS "id!", b.tenant_id AS "tenant_id!", b.client_id AS "client_id!", b.site_id AS "site_id!",
             b.state AS "state!", b.hostname AS "hostname!", b.os_type AS "os_type!", b.arch AS "arch!",
             b.agent_version AS "agent_version!", u.supported AS "supported?", u.reason, u.previous_version
           FROM agent_builds b LEFT JOIN agent_update_abilities u ON u.agent_id = b.id
           WHERE b.id = $1 AND b.state NOT IN ('rejected', 'retired')"#,
        agent_id
    );
    Ok(machine.fetch_optional(tx.conn()).await?)
}

/// Notes what an agent said of itself, if it is not what stands there.
pub async fn set_ability(tx: &mut Tx<System>, agent_id: Uuid, ability: &UpdateAbility) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    sqlx::query!(
        "INSERT INTO agent_update_abilities AS a (agent_id, tenant_id, supported, reason, previous_version)
         VALUES ($1, $2, $3, $4, $5)
         ON CONFLICT (agent_id) DO UPDATE SET supported = $3, reason = $4, previous_version = $5
         WHERE (a.supported, a.reason, a.previous_version) IS DISTINCT FROM ($3, $4, $5)",
        agent_id,
        tenant,
        ability.supported,
        ability.reason,
        ability.previous_version
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

pub async fn forget_ability(tx: &mut Tx<System>, agent_id: Uuid) -> Result<(), Error> {
    sqlx::query!("DELETE FROM agent_update_abilities WHERE agent_id = $1", agent_id)
        .execute(tx.conn())
        .await?;
    Ok(())
}

/// Writes an order; `false` when the agent has an open one, or the id is taken.
pub async fn insert<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    machine: &Machine,
    order: &NewUpdate,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let person = tx.actor().user_id();
    let (rollout_id, ring) = order.rollout.unzip();
    let inserted = sqlx::query!(
        "INSERT INTO agent_updates (id, tenant_id, agent_id, action, origin, status, from_version, to_version, channel,
           ordered_by, rollout_id, ring, ordered_at, changed_at, valid_until, deadline)
         VALUES ($1, $2, $3, $4, $5, 'ordered', $6, $7, $8, $9, $10, $11, $12, $12, $13, $13)
         ON CONFLICT DO NOTHING",
        id,
        machine.tenant_id,
        machine.id,
        order.action.as_str(),
        order.origin.as_str(),
        machine.agent_version,
        order.to_version,
        order.channel,
        person,
        rollout_id,
        ring,
        now,
        order.valid_until
    );
    Ok(inserted.execute(tx.conn()).await?.rows_affected() == 1)
}

/// The one that is not over, if any.
pub async fn open_of<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<AgentUpdate>, Error> {
    let open = sqlx::query_as!(
        AgentUpdate,
        r#"SELECT u.id, u.agent_id, u.action AS "action: Action", u.origin AS "origin: Origin",
             u.status AS "status: Status", u.from_version, u.to_version, u.channel, p.name AS "ordered_by_name?",
             u.rollout_id, u.ring, u.ordered_at, u.changed_at, u.valid_until, u.ended_at, u.error_code, u.error
           FROM agent_updates u LEFT JOIN people p ON p.id = u.ordered_by
           WHERE u.agent_id = $1 AND u.ended_at IS NULL"#,
        agent_id
    );
    Ok(open.fetch_optional(tx.conn()).await?)
}

pub async fn count<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM agent_updates WHERE agent_id = $1"#,
        agent_id
    );
    Ok(count.fetch_one(tx.conn()).await?)
}

pub async fn list<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<AgentUpdate>, Error> {
    let (after_time, after_id) = after.unzip();
    let updates = sqlx::query_as!(
        AgentUpdate,
        r#"SELECT u.id, u.agent_id, u.action AS "action: Action", u.origin AS "origin: Origin",
             u.status AS "status: Status", u.from_version, u.to_version, u.channel, p.name AS "ordered_by_name?",
             u.rollout_id, u.ring, u.ordered_at, u.changed_at, u.valid_until, u.ended_at, u.error_code, u.error
           FROM agent_updates u LEFT JOIN people p ON p.id = u.ordered_by
           WHERE u.agent_id = $1 AND ($2::timestamptz IS NULL OR (u.ordered_at, u.id) < ($2, $3))
           ORDER BY u.ordered_at DESC, u.id DESC LIMIT $4"#,
        agent_id,
        after_time,
        after_id,
        limit
    );
    Ok(updates.fetch_all(tx.conn()).await?)
}

/// An update of this agent, locked.
pub async fn lock(tx: &mut Tx<System>, id: Uuid, agent_id: Uuid) -> Result<Option<Known>, Error> {
    let known = sqlx::query_as!(
        Known,
        r#"SELECT status AS "status: Status", valid_until FROM agent_updates
           WHERE id = $1 AND agent_id = $2 FOR UPDATE"#,
        id,
        agent_id
    );
    Ok(known.fetch_optional(tx.conn()).await?)
}

/// Goes on to a state that is not the last.
pub async fn advance(
    tx: &mut Tx<System>,
    id: Uuid,
    status: Status,
    deadline: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agent_updates SET status = $2, deadline = $3, changed_at = $4 WHERE id = $1",
        id,
        status.as_str(),
        deadline,
        now
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Ends an update, with what the agent said of it.
pub async fn end<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    status: Status,
    report: Option<&UpdateReport>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agent_updates SET status = $2, ended_at = $3, changed_at = $3, error_code = $4, error = $5 WHERE id = $1",
        id,
        status.as_str(),
        now,
        report.and_then(|report| report.error_code.as_deref()),
        report.and_then(|report| report.error.as_deref())
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// What an agent runs stays, and what it ran before is kept: known before its next hello, in which it says so itself.
pub async fn note_kept(tx: &mut Tx<System>, update_id: Uuid) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agent_update_abilities a SET previous_version = u.from_version FROM agent_updates u
         WHERE u.id = $1 AND u.action = 'install' AND u.status = 'confirmed' AND a.agent_id = u.agent_id",
        update_id
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Removes all but the newest that are over; `newest` stays even if a clock was ahead when the others came.
pub async fn keep_newest<P>(tx: &mut Tx<P>, agent_id: Uuid, newest: Uuid, kept: i64) -> Result<(), Error> {
    sqlx::query!(
        "DELETE FROM agent_updates WHERE agent_id = $1 AND id <> $2 AND ended_at IS NOT NULL AND id IN
           (SELECT id FROM agent_updates WHERE agent_id = $1 ORDER BY ordered_at DESC, id DESC OFFSET $3)",
        agent_id,
        newest,
        kept
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Versions that an agent is not ordered by itself now: those it went back from, and, for a time that doubles with
/// every try, those it could not take.
pub async fn spared_versions(
    tx: &mut Tx<System>,
    agent_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<String>, Error> {
    struct Past {
        version: String,
        was_left: bool,
        failures: i64,
        last_failure: Option<DateTime<Utc>>,
    }
    let past = sqlx::query_as!(
        Past,
        r#"SELECT CASE WHEN action = 'roll_back' THEN from_version ELSE to_version END AS "version!",
             bool_or(status = 'rolled_back' OR (action = 'roll_back' AND status = 'confirmed')) AS "was_left!",
             count(*) FILTER (WHERE status = 'failed') AS "failures!",
             max(ended_at) FILTER (WHERE status = 'failed') AS last_failure
           FROM agent_updates WHERE agent_id = $1 AND ended_at IS NOT NULL GROUP BY 1"#,
        agent_id
    );
    let past = past.fetch_all(tx.conn()).await?;
    let is_spared = |past: &Past| {
        let hours = 1_i64 << past.failures.clamp(1, 7).saturating_sub(1);
        past.was_left || past.last_failure.is_some_and(|last| last + TimeDelta::hours(hours.min(24)) > now)
    };
    Ok(past.into_iter().filter(is_spared).map(|past| past.version).collect())
}

/// Updates that nothing came of in time, with their machines.
pub async fn lock_overdue(tx: &mut Tx<System>, now: DateTime<Utc>) -> Result<Vec<(Uuid, Uuid)>, Error> {
    let overdue = sqlx::query!(
        "SELECT id, agent_id FROM agent_updates WHERE ended_at IS NULL AND deadline <= $1
         ORDER BY deadline LIMIT $2 FOR UPDATE SKIP LOCKED",
        now,
        OVERDUE_AT_MOST
    );
    let overdue = overdue.fetch_all(tx.conn()).await?;
    Ok(overdue.into_iter().map(|update| (update.id, update.agent_id)).collect())
}

/// Removes the oldest that ended before a time.
pub async fn prune(tx: &mut Tx<System>, ended_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    let gone = sqlx::query!(
        "DELETE FROM agent_updates WHERE id IN
           (SELECT id FROM agent_updates WHERE ended_at < $1 ORDER BY ended_at LIMIT $2)",
        ended_before,
        most
    );
    Ok(gone.execute(tx.conn()).await?.rows_affected())
}

/// Machines by version, those of the caller.
pub async fn versions<P>(tx: &mut Tx<P>) -> Result<Vec<VersionCount>, Error> {
    let versions = sqlx::query_as!(
        VersionCount,
        r#"SELECT agent_version AS "agent_version!", protocol_version, count(*) AS "agents!",
             count(*) FILTER (WHERE is_connected) AS "connected!", max(last_seen) AS last_seen
           FROM agent_builds WHERE state = 'active' GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 500"#
    );
    Ok(versions.fetch_all(tx.conn()).await?)
}

/// A protocol version and its machines, of all partners.
pub struct Spoken {
    pub version: String,
    pub agents: i64,
    pub connected: i64,
    pub last_seen: Option<DateTime<Utc>>,
}

pub async fn protocol_fleet(tx: &mut Tx<ManagePlatform>) -> Result<Vec<Spoken>, Error> {
    let fleet = sqlx::query_as!(
        Spoken,
        r#"SELECT version AS "version!", agents AS "agents!", connected AS "connected!", last_seen FROM protocol_fleet()"#
    );
    Ok(fleet.fetch_all(tx.conn()).await?)
}

pub async fn retired_protocols(tx: &mut Tx<ManagePlatform>) -> Result<Vec<(String, DateTime<Utc>)>, Error> {
    let retired = sqlx::query!(
        r#"SELECT version AS "version!", retired_at AS "retired_at!" FROM list_retired_protocols()"#
    );
    let retired = retired.fetch_all(tx.conn()).await?;
    Ok(retired.into_iter().map(|row| (row.version, row.retired_at)).collect())
}

/// `false` while a machine speaks it.
pub async fn retire_protocol(tx: &mut Tx<ManagePlatform>, version: &str) -> Result<bool, Error> {
    let retired = sqlx::query_scalar!(r#"SELECT retire_protocol($1) AS "retired!""#, version);
    Ok(retired.fetch_one(tx.conn()).await?)
}
