//! The servers that work together on one database: who they are, that they live, and how each does.

pub mod http;
mod store;

use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::ManagePlatform;
use crate::bus::Reach;
use crate::db::NodeFigures;
use crate::error::Error;
use crate::private_file;
use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

/// Names the job that gives up nodes which fell silent.
pub const JOB: &str = "lost nodes";
/// How often a node says that it lives.
const LIVES_EVERY: Duration = Duration::from_secs(5);
/// In the data folder: which node this is, for as long as the folder lasts.
const FILE: &str = "node-id";

/// Whether a node lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = NodeStatus)]
pub enum Status {
    Running,
    /// In order.
    Stopped,
    /// It fell silent: its agents were said to be offline, unless they are connected elsewhere.
    Lost,
}

/// Whether a node can hear the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = NodeBus)]
pub enum NodeBus {
    /// It works by itself.
    Alone,
    Connected,
    /// NATS is away: what happens on other nodes is noticed later.
    Away,
}

/// One server of this installation.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Node {
    pub id: Uuid,
    pub name: String,
    pub version: String,
    pub status: Status,
    pub bus: NodeBus,
    /// The one that answers.
    pub is_this: bool,
    pub started_at: DateTime<Utc>,
    pub last_seen: DateTime<Utc>,
    pub stopped_at: Option<DateTime<Utc>>,
    /// Agents with a session on it.
    pub connected_agents: i64,
    /// Open live sockets of browsers.
    pub browsers: i64,
    /// Samples stored in the last 60 seconds.
    pub samples_per_minute: i64,
    /// Samples that wait to be stored.
    pub ingest_queue_depth: i64,
    /// How old the oldest sample of the last batch was when it was stored.
    pub ingest_lag_ms: i64,
}

/// All nodes that were seen in the last 30 days, as they said themselves a few seconds ago.
pub async fn list(app: &App, scope: &Scope<ManagePlatform>) -> Result<Vec<Node>, Error> {
    store::list(&mut app.db.begin(scope).await?, app.bus.node_id()).await
}

/// The id of the node that this data folder belongs to; made the first time.
pub fn identity(data_dir: &Path) -> anyhow::Result<Uuid> {
    let path = data_dir.join(FILE);
    if !path.exists() {
        private_file::create(&path, Uuid::now_v7().to_string().as_bytes())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    text.trim().parse().with_context(|| format!("{} is damaged", path.display()))
}

/// What this machine is called.
pub fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

/// Says that this node lives until `stop`, and then that it has stopped.
pub async fn keep_alive(app: &App, stop: CancellationToken) {
    let mut tick = interval(LIVES_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        if let Err(error) = live(app).await {
            tracing::warn!(%error, "this node could not say that it lives");
        }
    }
}

async fn live(app: &App) -> Result<(), Error> {
    let ingest = &app.telemetry.ingest;
    let figures = NodeFigures {
        agents: count(app.gateway.connected_count()),
        browsers: count(app.live.open_sockets()),
        samples_per_minute: i64::try_from(app.counters.samples_stored.last_minute()).unwrap_or(i64::MAX),
        queue_depth: count(ingest.depth()),
        lag_ms: i64::try_from(ingest.lag().as_millis()).unwrap_or(i64::MAX),
    };
    let (node_id, reach) = (app.bus.node_id(), word(app.bus.reach()));
    match app.db.node_lives(node_id, reach, figures).await? {
        Some(false) => {}
        Some(true) => {
            tracing::warn!("the others had given this node up: its agents are said to be connected again");
            app.gateway.write_presence_again();
        }
        None => {
            app.db.node_started(node_id, &app.config.node_name, reach).await?;
            app.gateway.write_presence_again();
        }
    }
    Ok(())
}

/// The word for it in the database.
pub fn word(reach: Reach) -> &'static str {
    match reach {
        Reach::Alone => "alone",
        Reach::Connected => "connected",
        Reach::Away => "away",
    }
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_folder_is_one_node_for_ever() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let id = identity(one.path()).unwrap();
        assert_eq!(identity(one.path()).unwrap(), id);
        assert_ne!(identity(other.path()).unwrap(), id);
        std::fs::write(one.path().join(FILE), "not an id").unwrap();
        assert!(identity(one.path()).is_err());
    }
}
