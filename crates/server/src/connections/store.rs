//! SQL of connection histories: the gateway's view.

use super::Connection;
use crate::db::Tx;
use crate::error::Error;
use crate::gateway::Parting;
use chrono::{DateTime, Utc};
use uuid::Uuid;

struct Row {
    number: i64,
    connected_at: DateTime<Utc>,
    disconnected_at: Option<DateTime<Utc>>,
    reason: Option<String>,
    agent_version: String,
    address: Option<String>,
    restarted_before: Option<bool>,
}

/// Whether the caller may see the agent.
pub async fn is_seen<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<bool, Error> {
    let seen = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT 1 FROM agent_directory WHERE id = $1) AS "seen!""#,
        agent_id
    );
    Ok(seen.fetch_one(tx.conn()).await?)
}

/// How many sessions are remembered.
pub async fn count<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<i64, Error> {
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM agent_connection_history WHERE agent_id = $1"#,
        agent_id
    );
    Ok(count.fetch_one(tx.conn()).await?)
}

/// The newest ones before session `after`.
pub async fn list<P>(
    tx: &mut Tx<P>,
    agent_id: Uuid,
    after: Option<i64>,
    most: i64,
) -> Result<Vec<Connection>, Error> {
    let rows = sqlx::query_as!(
        Row,
        r#"SELECT epoch AS "number!", connected_at AS "connected_at!", disconnected_at, reason,
             agent_version AS "agent_version!", address, restarted_before
           FROM agent_connection_history
           WHERE agent_id = $1 AND ($2::bigint IS NULL OR epoch < $2) ORDER BY epoch DESC LIMIT $3"#,
        agent_id,
        after,
        most
    );
    let rows = rows.fetch_all(tx.conn()).await?;
    Ok(rows.into_iter().map(Connection::from).collect())
}

impl From<Row> for Connection {
    fn from(row: Row) -> Self {
        Self {
            number: row.number,
            connected_at: row.connected_at,
            disconnected_at: row.disconnected_at,
            // A word of a later version is no reason that this one knows.
            reason: row.reason.as_deref().and_then(Parting::parse),
            agent_version: row.agent_version,
            address: row.address,
            restarted_before: row.restarted_before,
        }
    }
}
