//! Which versions the fleet is at, and the end of those that nobody speaks any more.

use super::store;
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManagePlatform, ReadFleet};
use crate::error::{Code, Error};
use chrono::{DateTime, Utc};
use gururmm_protocol::{SUPPORTED, Version};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// Machines of one agent version that speak one protocol version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct VersionCount {
    pub agent_version: String,
    /// Absent for machines that have not connected yet.
    pub protocol_version: Option<String>,
    pub agents: i64,
    pub connected: i64,
    /// When the last of them was heard.
    pub last_seen: Option<DateTime<Utc>>,
}

/// A protocol version and the machines of all partners that spoke it when they last connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ProtocolCount {
    pub version: String,
    pub agents: i64,
    pub connected: i64,
    pub last_seen: Option<DateTime<Utc>>,
    pub retired_at: Option<DateTime<Utc>>,
    /// Nobody speaks it, and it is not the newest.
    pub can_retire: bool,
}

/// The versions of the machines that the caller sees, the most common first.
pub async fn versions(app: &App, scope: &Scope<ReadFleet>) -> Result<Vec<VersionCount>, Error> {
    store::versions(&mut app.db.begin(scope).await?).await
}

/// The protocol versions this server was built with, oldest first.
pub async fn protocols(app: &App, scope: &Scope<ManagePlatform>) -> Result<Vec<ProtocolCount>, Error> {
    let mut tx = app.db.begin(scope).await?;
    let fleet = store::protocol_fleet(&mut tx).await?;
    let retired = store::retired_protocols(&mut tx).await?;
    let newest = SUPPORTED.iter().max();
    let count = |version: &Version| {
        let word = version.to_string();
        let counted = fleet.iter().find(|counted| counted.version == word);
        let retired_at = retired.iter().find(|(name, _)| *name == word).map(|(_, at)| *at);
        let agents = counted.map_or(0, |counted| counted.agents);
        ProtocolCount {
            can_retire: agents == 0 && retired_at.is_none() && Some(version) != newest,
            version: word,
            agents,
            connected: counted.map_or(0, |counted| counted.connected),
            last_seen: counted.and_then(|counted| counted.last_seen),
            retired_at,
        }
    };
    Ok(SUPPORTED.iter().map(count).collect())
}

/// Stops speaking a version. 409 while any machine of any partner speaks it, and for the newest; an agent that comes
/// back with it is told to upgrade.
pub async fn retire(
    app: &App,
    scope: &Scope<ManagePlatform>,
    version: &str,
) -> Result<Vec<ProtocolCount>, Error> {
    let version: Version = version.parse().map_err(|_| Error::not_found())?;
    if !SUPPORTED.contains(&version) {
        return Err(Error::not_found());
    }
    if SUPPORTED.iter().max() == Some(&version) {
        return Err(Error::with_detail(Code::ProtocolInUse, "it is the newest one this server speaks"));
    }
    let mut tx = app.db.begin(scope).await?;
    let word = version.to_string();
    if !store::retire_protocol(&mut tx, &word).await? {
        return Err(Error::new(Code::ProtocolInUse));
    }
    let detail = json!({ "version": word });
    tx.audit(Entry::new("protocol.retire", "protocol", Uuid::nil()).named(&word).with(detail)).await?;
    tx.commit().await?;
    learn_retired(app).await?;
    protocols(app, scope).await
}

/// Reads which versions are retired.
pub async fn learn_retired(app: &App) -> Result<(), Error> {
    let retired = app.db.retired_protocols().await?;
    app.protocols.set_retired(retired.iter().filter_map(|word| word.parse().ok()));
    Ok(())
}
