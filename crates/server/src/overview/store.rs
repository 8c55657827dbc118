//! Counts over what other slices publish.

use super::{AgentCounts, OsCount};
use crate::db::Tx;
use crate::error::Error;

/// How many places are seen.
pub struct Places {
    pub clients: i64,
    pub sites: i64,
}

pub async fn places<P>(tx: &mut Tx<P>) -> Result<Places, Error> {
    let places = sqlx::query_as!(
        Places,
        r#"SELECT (SELECT count(*) FROM client_directory) AS "clients!", (SELECT count(*) FROM site_directory) AS "sites!""#
    );
    Ok(places.fetch_one(tx.conn()).await?)
}

pub async fn agents<P>(tx: &mut Tx<P>) -> Result<AgentCounts, Error> {
    let counts = sqlx::query_as!(
        AgentCounts,
        r#"SELECT count(*) FILTER (WHERE state = 'active') AS "total!",
             count(*) FILTER (WHERE state = 'active' AND is_connected) AS "online!",
             count(*) FILTER (WHERE state = 'active' AND NOT is_connected) AS "offline!",
             count(*) FILTER (WHERE state = 'pending') AS "pending!"
           FROM agent_directory"#
    );
    Ok(counts.fetch_one(tx.conn()).await?)
}

pub async fn os<P>(tx: &mut Tx<P>) -> Result<Vec<OsCount>, Error> {
    let counts = sqlx::query_as!(
        OsCount,
        r#"SELECT os_type AS "os_type!", count(*) AS "count!" FROM agent_directory
           WHERE state = 'active' GROUP BY os_type ORDER BY count(*) DESC, os_type"#
    );
    Ok(counts.fetch_all(tx.conn()).await?)
}
