//! When a machine was connected, and why it was not: the history of its agent's sessions, which the gateway writes.

pub mod http;
mod store;

use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::ReadFleet;
use crate::error::Error;
use crate::gateway::Parting;
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// One session of a machine's agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Connection {
    /// Grows with every session.
    pub number: i64,
    pub connected_at: DateTime<Utc>,
    /// Absent while it lasts.
    pub disconnected_at: Option<DateTime<Utc>>,
    pub reason: Option<Parting>,
    pub agent_version: String,
    /// Whence it came, as the server saw it.
    pub address: Option<String>,
    /// Whether the machine started anew since the session before. Absent where it does not say when it started, and for
    /// the first session.
    pub restarted_before: Option<bool>,
}

/// A machine's sessions, the newest first.
pub async fn list(
    app: &App,
    scope: &Scope<ReadFleet>,
    agent_id: Uuid,
    page: &PageQuery,
) -> Result<Page<Connection>, Error> {
    let (limit, after) = (page.limit()?, page.after::<i64>()?);
    let mut tx = app.db.begin(scope).await?;
    if !store::is_seen(&mut tx, agent_id).await? {
        return Err(Error::not_found());
    }
    let total = store::count(&mut tx, agent_id).await?;
    let connections = store::list(&mut tx, agent_id, after, limit + 1).await?;
    Page::of(connections, limit, total, |connection| connection.number)
}
