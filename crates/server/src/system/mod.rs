//! The server about itself: whether it lives, whether it can work, how it does; and what it says to an agent that
//! has not connected yet.

mod hello;
pub mod http;
mod store;

pub use hello::{HelloInput, hello};

use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::ManagePlatform;
use crate::bus::Reach;
use crate::db::words;
use crate::error::Error;
use crate::gateway::Door;
use crate::telemetry::history::{self, LEVELS, Level};
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::timeout;
use utoipa::ToSchema;

/// How long the database may take to answer.
const DATABASE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How many tables are named, the largest first.
const LARGEST_TABLES: usize = 8;

/// Whether the server can work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Readiness {
    pub status: ReadyStatus,
    pub checks: Checks,
}

/// All checks together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadyStatus {
    Ready,
    NotReady,
}

/// What the server needs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checks {
    pub database: CheckStatus,
    /// The way to the other servers, where there are several. Without it this one works on: it is ready all the same.
    pub peers: CheckStatus,
}

/// One check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckStatus {
    Ok,
    /// It works, and not all of it.
    Degraded,
    Failed,
}

/// How the server does.
#[derive(Debug, Serialize, ToSchema)]
pub struct SystemStatus {
    pub version: &'static str,
    pub started_at: DateTime<Utc>,
    pub uptime_seconds: i64,
    /// Agents with a session.
    pub connected_agents: usize,
    /// Open live sockets of browsers.
    pub browsers: usize,
    /// Size of the database on disk.
    pub database_bytes: i64,
    /// Samples stored in the last 60 seconds.
    pub samples_per_minute: u64,
    /// Samples that wait to be stored.
    pub ingest_queue_depth: usize,
    /// How old the oldest sample of the last batch was when it was stored.
    pub ingest_lag_ms: u64,
    /// Agents on their way in, and those told to come again, at this server.
    pub arrivals: Door,
    /// What the room on disk goes to, the most first; together as much as `database_bytes`.
    pub storage: Vec<StorageUse>,
    /// A partition is a table of its own.
    pub largest_tables: Vec<TableUse>,
    /// The retention classes that partners have, the shortest first.
    pub retention: Vec<RetentionUse>,
    /// How far the job that packs history is behind.
    pub history: history::Lag,
    pub pools: Vec<Pool>,
}

words! {
    /// What is kept in the database.
    #[derive(PartialOrd, Ord)]
    StorageKind {
        /// Of hours that are not over, or not packed yet.
        Samples = "samples",
        /// Samples of hours that are over, and the names in them.
        PackedHistory = "packed_history",
        Rollups = "rollups",
        CommandOutput = "command_output",
        AgentLogs = "agent_logs",
        AuditLog = "audit_log",
        /// With PostgreSQL's own catalogue.
        Other = "other",
    }
}

/// Room that one kind of thing takes, with its indexes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct StorageUse {
    pub kind: StorageKind,
    pub bytes: i64,
}

/// Room that a table takes, with its indexes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TableUse {
    pub name: String,
    pub kind: StorageKind,
    pub bytes: i64,
}

/// A retention class in use.
#[derive(Debug, Serialize, ToSchema)]
pub struct RetentionUse {
    /// What its partners have chosen.
    pub days: i16,
    pub partners: i64,
    /// How long what charts are drawn from is kept then.
    pub kept: Vec<KeptFor>,
}

/// How long samples or averages are kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeptFor {
    pub level: Level,
    pub days: i16,
}

/// Connections to the database that serve one kind of work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Pool {
    pub name: &'static str,
    /// Open connections.
    pub size: u32,
    /// Those that have nothing to do.
    pub idle: usize,
}

/// Checks what the server needs. Answers within a little more than two seconds.
pub async fn readiness(app: &App) -> Readiness {
    let database = match timeout(DATABASE_ANSWERS_WITHIN, app.db.ping()).await {
        Ok(Ok(())) => CheckStatus::Ok,
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the database does not answer");
            CheckStatus::Failed
        }
        Err(_) => {
            tracing::warn!("not ready: the database takes too long to answer");
            CheckStatus::Failed
        }
    };
    let status = match database {
        CheckStatus::Ok | CheckStatus::Degraded => ReadyStatus::Ready,
        CheckStatus::Failed => ReadyStatus::NotReady,
    };
    let peers = match app.bus.reach() {
        Reach::Alone | Reach::Connected => CheckStatus::Ok,
        Reach::Away => CheckStatus::Degraded,
    };
    Readiness { status, checks: Checks { database, peers } }
}

/// The figures of the status screen.
pub async fn status(app: &App, scope: &Scope<ManagePlatform>) -> Result<SystemStatus, Error> {
    let mut tx = app.db.begin(scope).await?;
    let database_bytes = store::database_bytes(&mut tx).await?;
    let mut tables = store::tables(&mut tx).await?;
    let retention = store::retention_classes(&mut tx).await?;
    drop(tx);
    let storage = storage(&tables, database_bytes);
    tables.truncate(LARGEST_TABLES);
    let pools = app.db.pools().map(|pool| Pool { name: pool.name, size: pool.size, idle: pool.idle });
    let ingest = &app.telemetry.ingest;
    Ok(SystemStatus {
        version: env!("CARGO_PKG_VERSION"),
        started_at: app.started_at,
        uptime_seconds: (Utc::now() - app.started_at).num_seconds().max(0),
        connected_agents: app.gateway.connected_count(),
        browsers: app.live.open_sockets(),
        database_bytes,
        samples_per_minute: app.counters.samples_stored.last_minute(),
        ingest_queue_depth: ingest.depth(),
        ingest_lag_ms: u64::try_from(ingest.lag().as_millis()).unwrap_or(u64::MAX),
        arrivals: app.gateway.door(Instant::now()),
        storage,
        largest_tables: tables,
        retention: retention.into_iter().map(RetentionUse::from).collect(),
        history: history::lag(app, scope).await?,
        pools: pools.into(),
    })
}

/// What all tables take by kind, the most first. What is no table of ours is the rest.
fn storage(tables: &[TableUse], database_bytes: i64) -> Vec<StorageUse> {
    let mut by_kind = BTreeMap::new();
    for table in tables.iter().filter(|table| table.kind != StorageKind::Other) {
        *by_kind.entry(table.kind).or_insert(0) += table.bytes;
    }
    // Tables may have grown since the whole was measured.
    let rest = (database_bytes - by_kind.values().sum::<i64>()).max(0);
    by_kind.insert(StorageKind::Other, rest);
    let mut storage: Vec<_> = by_kind.into_iter().map(|(kind, bytes)| StorageUse { kind, bytes }).collect();
    storage.sort_by_key(|kind| Reverse(kind.bytes));
    storage
}

impl StorageKind {
    /// What a table keeps, by its name; partitions are called after what they are part of.
    fn of(table: &str) -> Self {
        let is =
            |name: &str| table.strip_prefix(name).is_some_and(|end| end.is_empty() || end.starts_with('_'));
        if is("metric_samples") {
            Self::Samples
        } else if is("metric_hours") || is("process_names") {
            Self::PackedHistory
        } else if is("metric_rollups") {
            Self::Rollups
        } else if is("command_output") {
            Self::CommandOutput
        } else if is("agent_logs") || is("agent_log_parts") || is("agent_crashes") {
            Self::AgentLogs
        } else if is("audit_log") {
            Self::AuditLog
        } else {
            Self::Other
        }
    }
}

impl From<(i16, i64)> for RetentionUse {
    fn from((days, partners): (i16, i64)) -> Self {
        let kept = LEVELS.map(|level| KeptFor { level, days: level.keep_days(days) });
        Self { days, partners, kept: kept.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, bytes: i64) -> TableUse {
        TableUse { name: name.to_owned(), kind: StorageKind::of(name), bytes }
    }

    #[test]
    fn room_is_added_up_by_kind_and_comes_to_the_whole() {
        let tables = [
            table("metric_samples_30_20260301", 50),
            table("metric_samples_1095_20260301", 20),
            table("metric_hours_30_20260301", 40),
            table("process_names", 5),
            table("agents", 3),
            table("audit_log", 2),
        ];
        let found: Vec<_> = storage(&tables, 200).iter().map(|kind| (kind.kind, kind.bytes)).collect();
        let expected = [
            (StorageKind::Other, 83),
            (StorageKind::Samples, 70),
            (StorageKind::PackedHistory, 45),
            (StorageKind::AuditLog, 2),
        ];
        assert_eq!(found, expected);
        assert_eq!(
            storage(&tables, 100).iter().find(|kind| kind.kind == StorageKind::Other).unwrap().bytes,
            0
        );
    }

    #[test]
    fn a_table_whose_name_only_begins_like_another_is_of_another_kind() {
        assert_eq!(StorageKind::of("metric_rollups_90_20260301"), StorageKind::Rollups);
        assert_eq!(StorageKind::of("audit_logs"), StorageKind::Other);
        assert_eq!(StorageKind::of("audit_heads"), StorageKind::Other);
    }
}
