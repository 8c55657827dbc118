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
use crate::error::Error;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::time::Duration;
use tokio::time::timeout;
use utoipa::ToSchema;

/// How long the database may take to answer.
const DATABASE_ANSWERS_WITHIN: Duration = Duration::from_secs(2);

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
    pub pools: Vec<Pool>,
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
    let pools = app.db.pools().map(|pool| Pool { name: pool.name, size: pool.size, idle: pool.idle });
    Ok(SystemStatus {
        version: env!("CARGO_PKG_VERSION"),
        started_at: app.started_at,
        uptime_seconds: (Utc::now() - app.started_at).num_seconds().max(0),
        connected_agents: app.gateway.connected_count(),
        browsers: app.live.open_sockets(),
        database_bytes,
        samples_per_minute: app.counters.samples_stored.last_minute(),
        ingest_queue_depth: app.telemetry.ingest.depth(),
        pools: pools.into(),
    })
}
