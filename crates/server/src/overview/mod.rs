//! The first page after signing in: how the fleet stands.

pub mod http;
mod store;

use crate::agents::{self, Agent};
use crate::alerts::{self, AlertCounts};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::ReadFleet;
use crate::commands::{self, Command, CommandFilter};
use crate::error::Error;
use crate::http::PageQuery;
use serde::Serialize;
use utoipa::ToSchema;

/// Entries of each short list.
const SHORT_LIST: u32 = 8;

/// How the part of the fleet stands that the caller sees.
#[derive(Debug, Serialize, ToSchema)]
pub struct Overview {
    pub agents: AgentCounts,
    pub alerts: AlertCounts,
    pub clients_total: i64,
    pub sites_total: i64,
    pub commands: commands::Summary,
    /// At most eight machines that are offline or have alerts, those with the most alerts first.
    pub attention: Vec<Agent>,
    /// At most eight, newest first, without output.
    pub recent_commands: Vec<Command>,
    pub os: Vec<OsCount>,
}

/// How many machines there are.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentCounts {
    /// Approved ones.
    pub total: i64,
    pub online: i64,
    pub offline: i64,
    /// Those that wait for a decision.
    pub pending: i64,
}

/// How many machines run an operating system.
#[derive(Debug, Serialize, ToSchema)]
pub struct OsCount {
    pub os_type: String,
    pub count: i64,
}

/// How the fleet stands now.
pub async fn overview(app: &App, scope: &Scope<ReadFleet>) -> Result<Overview, Error> {
    let newest = PageQuery { limit: Some(SHORT_LIST), ..PageQuery::default() };
    let recent_commands = commands::list(app, scope, CommandFilter::default(), &newest).await?.items;
    let commands = commands::summary(app, scope).await?;
    let mut tx = app.db.begin(scope).await?;
    let places = store::places(&mut tx).await?;
    Ok(Overview {
        agents: store::agents(&mut tx).await?,
        alerts: alerts::counts(&mut tx).await?,
        clients_total: places.clients,
        sites_total: places.sites,
        commands,
        attention: agents::needing_attention(&mut tx, i64::from(SHORT_LIST)).await?,
        recent_commands,
        os: store::os(&mut tx).await?,
    })
}
