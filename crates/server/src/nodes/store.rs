//! SQL of this slice.

use super::{Node, NodeBus, Status};
use crate::auth::permission::ManagePlatform;
use crate::db::Tx;
use crate::error::Error;
use uuid::Uuid;

/// All nodes. Theirs is a table of the platform, which only its functions touch.
pub async fn list(tx: &mut Tx<ManagePlatform>, here: Uuid) -> Result<Vec<Node>, Error> {
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", name AS "name!", version AS "version!", started_at AS "started_at!",
             last_seen AS "last_seen!", stopped_at, lost_at, reach AS "reach!",
             connected_agents AS "connected_agents!", browsers AS "browsers!",
             samples_per_minute AS "samples_per_minute!", ingest_queue_depth AS "ingest_queue_depth!",
             ingest_lag_ms AS "ingest_lag_ms!"
           FROM list_nodes()"#
    )
    .fetch_all(tx.conn())
    .await?;
    let nodes = rows.into_iter().map(|row| Node {
        is_this: row.id == here,
        id: row.id,
        name: row.name,
        version: row.version,
        status: match (row.stopped_at, row.lost_at) {
            (Some(_), _) => Status::Stopped,
            (None, Some(_)) => Status::Lost,
            (None, None) => Status::Running,
        },
        bus: match row.reach.as_str() {
            "connected" => NodeBus::Connected,
            "away" => NodeBus::Away,
            _ => NodeBus::Alone,
        },
        started_at: row.started_at,
        last_seen: row.last_seen,
        stopped_at: row.stopped_at,
        connected_agents: row.connected_agents,
        browsers: row.browsers,
        samples_per_minute: row.samples_per_minute,
        ingest_queue_depth: row.ingest_queue_depth,
        ingest_lag_ms: row.ingest_lag_ms,
    });
    Ok(nodes.collect())
}
