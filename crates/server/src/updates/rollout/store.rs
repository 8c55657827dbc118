//! SQL of rollouts.

use super::{RingHealth, Rollout, State};
use crate::auth::permission::System;
use crate::db::{Tx, stored_as_text};
use crate::error::Error;
use crate::updates::plan::Build;
use chrono::{DateTime, Utc};
use semver::Version;
use std::collections::HashMap;
use uuid::Uuid;

stored_as_text!(State);

/// A machine that updates can reach.
pub struct Member {
    pub id: Uuid,
    pub os_type: String,
    pub arch: String,
    pub agent_version: String,
    pub is_connected: bool,
    pub supported: bool,
}

impl Member {
    pub fn build(&self) -> Option<Build> {
        let version = Version::parse(&self.agent_version).ok()?;
        Some(Build { version, os: self.os_type.clone(), arch: self.arch.clone() })
    }

    /// Whether it can become another version now.
    pub fn is_ready(&self) -> bool {
        self.is_connected && self.supported
    }
}

/// A rollout, as far as one machine is concerned.
pub struct Allowed {
    pub rollout_id: Uuid,
    pub version: String,
    pub state: State,
    pub ring: i16,
    /// Absent for machines that came after it started: those are in the last ring.
    pub member_ring: Option<i16>,
}

impl Allowed {
    /// Whether its version is for the machine by now.
    pub fn reaches(&self) -> bool {
        match self.state {
            State::Running => self.member_ring.unwrap_or(super::LAST) <= self.ring,
            State::Done => true,
            State::Halted | State::RollingBack => false,
        }
    }
}

/// The partner's approved machines, in a fixed order.
pub async fn fleet(tx: &mut Tx<System>) -> Result<Vec<Member>, Error> {
    let fleet = sqlx::query_as!(
        Member,
        r#"SELECT b.id AS "id!", b.os_type AS "os_type!", b.arch AS "arch!", b.agent_version AS "agent_version!",
             b.is_connected AS "is_connected!", coalesce(u.supported, false) AS "supported!"
           FROM agent_builds b LEFT JOIN agent_update_abilities u ON u.agent_id = b.id
           WHERE b.state = 'active' ORDER BY b.id"#
    );
    Ok(fleet.fetch_all(tx.conn()).await?)
}

/// Every version that ever had a rollout here, and where that stands.
pub async fn versions(tx: &mut Tx<System>) -> Result<Vec<(String, State)>, Error> {
    let versions = sqlx::query!(r#"SELECT version, state AS "state: State" FROM update_rollouts"#);
    let versions = versions.fetch_all(tx.conn()).await?;
    Ok(versions.into_iter().map(|row| (row.version, row.state)).collect())
}

/// Writes a rollout with its members; `false` when the version has one by now.
pub async fn insert(
    tx: &mut Tx<System>,
    id: Uuid,
    version: &str,
    members: &[(Uuid, i16)],
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let tenant = tx.tenant()?;
    let inserted = sqlx::query!(
        "INSERT INTO update_rollouts (id, tenant_id, version, state, ring, ring_since, started_at, changed_at)
         VALUES ($1, $2, $3, 'running', 0, $4, $4, $4) ON CONFLICT DO NOTHING",
        id,
        tenant,
        version,
        now
    );
    if inserted.execute(tx.conn()).await?.rows_affected() == 0 {
        return Ok(false);
    }
    let (agents, rings): (Vec<Uuid>, Vec<i16>) = members.iter().copied().unzip();
    sqlx::query!(
        "INSERT INTO update_rollout_members (rollout_id, tenant_id, agent_id, ring)
         SELECT $1, $2, * FROM UNNEST($3::uuid[], $4::smallint[])",
        id,
        tenant,
        &agents,
        &rings
    )
    .execute(tx.conn())
    .await?;
    Ok(true)
}

struct Row {
    id: Uuid,
    version: String,
    state: State,
    ring: i16,
    ring_since: DateTime<Utc>,
    reason: Option<String>,
    started_at: DateTime<Utc>,
    changed_at: DateTime<Utc>,
}

impl From<Row> for Rollout {
    fn from(row: Row) -> Self {
        let Row { id, version, state, ring, ring_since, reason, started_at, changed_at } = row;
        let (next_ring_at, rings) = (None, Vec::new());
        Self { id, version, state, ring, ring_since, next_ring_at, reason, started_at, changed_at, rings }
    }
}

pub async fn count<P>(tx: &mut Tx<P>) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM update_rollouts"#);
    Ok(count.fetch_one(tx.conn()).await?)
}

pub async fn list<P>(
    tx: &mut Tx<P>,
    after: Option<(DateTime<Utc>, Uuid)>,
    limit: i64,
) -> Result<Vec<Rollout>, Error> {
    let (after_time, after_id) = after.unzip();
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, version, state AS "state: State", ring, ring_since, reason, started_at, changed_at
           FROM update_rollouts WHERE $1::timestamptz IS NULL OR (started_at, id) < ($1, $2)
           ORDER BY started_at DESC, id DESC LIMIT $3"#,
        after_time,
        after_id,
        limit
    );
    Ok(rows.fetch_all(tx.conn()).await?.into_iter().map(Rollout::from).collect())
}

/// Those that run, locked.
pub async fn unfinished(tx: &mut Tx<System>) -> Result<Vec<Rollout>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT id, version, state AS "state: State", ring, ring_since, reason, started_at, changed_at
           FROM update_rollouts WHERE state = 'running' ORDER BY started_at, id FOR UPDATE"#
    );
    Ok(rows.fetch_all(tx.conn()).await?.into_iter().map(Rollout::from).collect())
}

pub async fn lock<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<Rollout>, Error> {
    let row = sqlx::query_as!(
        Row,
        r#"SELECT id, version, state AS "state: State", ring, ring_since, reason, started_at, changed_at
           FROM update_rollouts WHERE id = $1 FOR UPDATE"#,
        id
    );
    Ok(row.fetch_optional(tx.conn()).await?.map(Rollout::from))
}

pub async fn write<P>(tx: &mut Tx<P>, rollout: &Rollout, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE update_rollouts SET state = $2, ring = $3, ring_since = $4, reason = $5, changed_at = $6 WHERE id = $1",
        rollout.id,
        rollout.state.as_str(),
        rollout.ring,
        rollout.ring_since,
        rollout.reason,
        now
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Takes back what the rollout ordered and no machine has begun with.
pub async fn withdraw<P>(tx: &mut Tx<P>, rollout_id: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    sqlx::query!(
        "UPDATE agent_updates SET status = $3, ended_at = $2, changed_at = $2
         WHERE rollout_id = $1 AND action = 'install' AND status = 'ordered'",
        rollout_id,
        now,
        super::WITHDRAWN.as_str()
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Orders of the partner that are open.
pub async fn count_open(tx: &mut Tx<System>) -> Result<i64, Error> {
    let count =
        sqlx::query_scalar!(r#"SELECT count(*) AS "count!" FROM agent_updates WHERE ended_at IS NULL"#);
    Ok(count.fetch_one(tx.conn()).await?)
}

/// Machines that are there, able, without an open order, and either reached by a rollout of another version than they
/// run, or at a version that is taken back (`true`).
pub async fn candidates(tx: &mut Tx<System>) -> Result<HashMap<Uuid, bool>, Error> {
    let candidates = sqlx::query!(
        r#"SELECT b.id AS "id!", bool_or(r.state = 'rolling_back') AS "is_bad!"
           FROM agent_builds b
           JOIN agent_update_abilities u ON u.agent_id = b.id AND u.supported
           JOIN update_rollouts r ON r.tenant_id = b.tenant_id
           LEFT JOIN update_rollout_members m ON m.rollout_id = r.id AND m.agent_id = b.id
           WHERE b.state = 'active' AND b.is_connected
             AND NOT EXISTS (SELECT 1 FROM agent_updates o WHERE o.agent_id = b.id AND o.ended_at IS NULL)
             AND CASE r.state WHEN 'rolling_back' THEN r.version = b.agent_version
               WHEN 'running' THEN coalesce(m.ring, $1) <= r.ring AND r.version <> b.agent_version
               WHEN 'done' THEN r.version <> b.agent_version ELSE false END
           GROUP BY b.id"#,
        super::LAST
    );
    let candidates = candidates.fetch_all(tx.conn()).await?;
    Ok(candidates.into_iter().map(|row| (row.id, row.is_bad)).collect())
}

/// What the rollouts of the partner say about one machine.
pub async fn allowed<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Vec<Allowed>, Error> {
    let allowed = sqlx::query_as!(
        Allowed,
        r#"SELECT r.id AS rollout_id, r.version, r.state AS "state: State", r.ring, m.ring AS "member_ring?"
           FROM update_rollouts r LEFT JOIN update_rollout_members m ON m.rollout_id = r.id AND m.agent_id = $1"#,
        agent_id
    );
    Ok(allowed.fetch_all(tx.conn()).await?)
}

/// The figures of every ring that has machines: of each machine, what its last order of this rollout came to.
pub async fn health<P>(
    tx: &mut Tx<P>,
    rollout: &Rollout,
    trial_lost_before: DateTime<Utc>,
    away_before: DateTime<Utc>,
) -> Result<Vec<RingHealth>, Error> {
    let rings = sqlx::query_as!(
        RingHealth,
        r#"WITH last AS (
             SELECT DISTINCT ON (agent_id) agent_id, status, changed_at FROM agent_updates
             WHERE rollout_id = $1 AND action = 'install' ORDER BY agent_id, ordered_at DESC, id DESC),
           machine AS (
             SELECT m.ring, b.id, b.agent_version, b.is_connected, b.last_seen, u.supported, l.status, l.changed_at,
               l.status = 'confirmed' AS stayed,
               coalesce((l.status = 'trying' AND l.changed_at < $3)
                 OR (l.status = 'expired' AND b.agent_version = $2), false) AS lost,
               EXISTS (SELECT 1 FROM agent_crash_directory c
                 WHERE c.agent_id = b.id AND c.agent_version = $2 AND c.received_at >= $5) AS crashed
             FROM update_rollout_members m JOIN agent_builds b ON b.id = m.agent_id
             LEFT JOIN agent_update_abilities u ON u.agent_id = b.id
             LEFT JOIN last l ON l.agent_id = m.agent_id
             WHERE m.rollout_id = $1 AND b.state = 'active')
           SELECT ring AS "ring!", count(*) AS "machines!",
             count(*) FILTER (WHERE status IN ('ordered', 'downloading', 'ready', 'trying') AND NOT lost) AS "open!",
             count(*) FILTER (WHERE stayed) AS "confirmed!",
             count(*) FILTER (WHERE status = 'rolled_back') AS "rolled_back!",
             count(*) FILTER (WHERE lost) AS "lost!",
             count(*) FILTER (WHERE status = 'failed') AS "failed!",
             count(*) FILTER (WHERE supported AND agent_version <> $2
               AND (status IS NULL OR status IN ('expired', 'superseded'))) AS "pending!",
             count(*) FILTER (WHERE stayed AND crashed) AS "crashed!",
             count(*) FILTER (WHERE stayed AND NOT is_connected AND last_seen < $4) AS "away!"
           FROM machine GROUP BY ring ORDER BY ring"#,
        rollout.id,
        rollout.version,
        trial_lost_before,
        away_before,
        rollout.started_at
    );
    Ok(rings.fetch_all(tx.conn()).await?)
}

/// The numbers of some machines that stayed with the version, and since when.
pub async fn stayed(tx: &mut Tx<System>, rollout_id: Uuid) -> Result<Vec<(i64, DateTime<Utc>)>, Error> {
    let stayed = sqlx::query!(
        r#"SELECT b.num AS "num!", u.changed_at FROM agent_updates u JOIN agent_builds b ON b.id = u.agent_id
           WHERE u.rollout_id = $1 AND u.action = 'install' AND u.status = 'confirmed'
           ORDER BY u.changed_at LIMIT 50"#,
        rollout_id
    );
    let stayed = stayed.fetch_all(tx.conn()).await?;
    Ok(stayed.into_iter().map(|machine| (machine.num, machine.changed_at)).collect())
}
