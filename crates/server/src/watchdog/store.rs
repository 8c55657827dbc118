//! SQL of watchdogs' reports, which are kept as alerts only.

use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use uuid::Uuid;

pub async fn hostname(tx: &mut Tx<System>, agent_id: Uuid) -> Result<Option<String>, Error> {
    let hostname =
        sqlx::query_scalar!(r#"SELECT hostname AS "hostname!" FROM agent_directory WHERE id = $1"#, agent_id);
    Ok(hostname.fetch_optional(tx.conn()).await?)
}

/// Those of the agents whose session began before a time.
pub async fn connected_before(
    tx: &mut Tx<System>,
    agent_ids: &[Uuid],
    since: DateTime<Utc>,
) -> Result<Vec<Uuid>, Error> {
    let ids = sqlx::query_scalar!(
        r#"SELECT id AS "id!" FROM agent_builds WHERE id = ANY ($1) AND is_connected AND connected_since <= $2"#,
        agent_ids,
        since
    );
    Ok(ids.fetch_all(tx.conn()).await?)
}
