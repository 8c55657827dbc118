//! Policy: settings at five levels, platform, partner, client, site, agent. The most specific value wins, field by
//! field; connected agents hear of a change at once.

mod catalogue;
mod commands;
pub mod http;
mod push;
mod store;
mod tunnel;
mod updates;
mod window;

pub use catalogue::{Kind, Settings};
pub use commands::{CommandPolicy, WhenOffline, command_policy};
pub use push::moved;
pub use tunnel::{AsksReason, TunnelPolicy, tunnel_policy};
pub use updates::{Channel, UpdatePolicy, update_policies, update_policy};
pub use window::MaintenanceWindow;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManagePlatform, ManagePolicies, ReadFleet};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::Error;
use chrono::{DateTime, Utc};
use gururmm_protocol::policy::AgentConfig;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

words! {
    /// A level policy is set at, most general first.
    Level { Platform = "platform", Partner = "partner", Client = "client", Site = "site", Agent = "agent", }
}

/// Where a value comes from: the default where nothing is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceLevel {
    Default,
    Platform,
    Partner,
    Client,
    Site,
    Agent,
}

/// The settings of one level.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Policy {
    /// Field by field; what is absent is inherited.
    #[schema(value_type = Object)]
    pub settings: Settings,
    pub updated_at: Option<DateTime<Utc>>,
    pub updated_by_name: Option<String>,
}

/// Settings to be written into a level; null clears a field, what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PolicyInput {
    #[schema(value_type = Object)]
    pub settings: Settings,
}

/// An agent's effective policy.
#[derive(Debug, Serialize, ToSchema)]
pub struct EffectivePolicy {
    pub fields: Vec<EffectiveField>,
}

/// One value with where it comes from.
#[derive(Debug, Serialize, ToSchema)]
pub struct EffectiveField {
    pub name: &'static str,
    /// For people.
    pub description: &'static str,
    #[schema(inline)]
    pub kind: Kind,
    pub value: Value,
    pub source: Source,
}

/// Whose value it is.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Source {
    pub scope: SourceLevel,
    pub id: Option<Uuid>,
    pub name: Option<String>,
}

/// Something policy can be set for. `client_id` and `site_id` say where it stands.
#[derive(Debug, Clone)]
pub struct Target {
    pub level: Level,
    pub id: Uuid,
    pub name: String,
    pub client_id: Option<Uuid>,
    pub site_id: Option<Uuid>,
}

impl Target {
    fn platform() -> Self {
        let name = "Platform".to_owned();
        Self { level: Level::Platform, id: Uuid::nil(), name, client_id: None, site_id: None }
    }
}

/// The settings of a level of the partner. 404 for what the caller does not see.
pub async fn get(app: &App, scope: &Scope<ReadFleet>, level: Level, id: Uuid) -> Result<Policy, Error> {
    let mut tx = app.db.begin(scope).await?;
    let target = target(&mut tx, level, id).await?;
    store::get(&mut tx, &target).await
}

/// The platform's own settings.
pub async fn get_platform(app: &App, scope: &Scope<ManagePlatform>) -> Result<Policy, Error> {
    let mut tx = app.db.begin(scope).await?;
    store::get(&mut tx, &Target::platform()).await
}

/// Writes settings of a level of the partner, and tells its connected agents.
pub async fn put(
    app: &App,
    scope: &Scope<ManagePolicies>,
    level: Level,
    id: Uuid,
    input: PolicyInput,
) -> Result<Policy, Error> {
    let mut tx = app.db.begin(scope).await?;
    // The platform's is written through its own route.
    let target = target(&mut tx, level, id).await?;
    let (policy, before) = write(&mut tx, &target, input).await?;
    let tenant = tx.tenant()?;
    let mut event = Event::new(Topic::PolicyChanged, tenant, id);
    (event.client_id, event.site_id) = (target.client_id, target.site_id);
    tx.emit(event).await?;
    tx.commit().await?;
    push::changed(app, &[tenant], &target, &before).await?;
    Ok(policy)
}

/// Writes the platform's settings, and tells the connected agents of all partners, and whoever looks at theirs.
pub async fn put_platform(
    app: &App,
    scope: &Scope<ManagePlatform>,
    input: PolicyInput,
) -> Result<Policy, Error> {
    let mut tx = app.db.begin(scope).await?;
    let target = Target::platform();
    let (policy, before) = write(&mut tx, &target, input).await?;
    tx.commit().await?;
    let tenants = app.db.list_tenants().await?;
    // Without a row: it is the platform's, and whoever misses it looks again by himself.
    for tenant in &tenants {
        app.bus.publish(Event::new(Topic::PolicyChanged, *tenant, target.id));
    }
    push::changed(app, &tenants, &target, &before).await?;
    Ok(policy)
}

/// What holds for one agent, with where each value comes from.
pub async fn effective(
    app: &App,
    scope: &Scope<ReadFleet>,
    agent_id: Uuid,
) -> Result<EffectivePolicy, Error> {
    let mut tx = app.db.begin(scope).await?;
    let layers = store::layers_of(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let merged = catalogue::merge(layers.iter().map(|layer| (layer, &layer.settings)));
    let fields = merged
        .into_iter()
        .map(|effective| EffectiveField {
            name: effective.field.name,
            description: effective.field.description,
            kind: effective.field.kind,
            value: effective.value,
            source: match effective.source {
                Some(layer) => layer.source(),
                None => Source { scope: SourceLevel::Default, id: None, name: None },
            },
        })
        .collect();
    Ok(EffectivePolicy { fields })
}

/// What an agent is told when it connects, of the settings that hold for it, most general first. To be read after the agent's
/// socket is registered: a change that comes between is then pushed.
pub fn config_of(settings: Option<Value>) -> AgentConfig {
    let layers: Vec<Settings> = match settings {
        Some(Value::Array(layers)) => layers.into_iter().map(store::object).collect(),
        _ => Vec::new(),
    };
    catalogue::agent_config(&catalogue::merge(layers.iter().map(|settings| ((), settings))))
}

/// What an agent is told when its settings changed.
async fn agent_config<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<AgentConfig, Error> {
    let layers = store::layers_of(tx, agent_id).await?.ok_or_else(Error::not_found)?;
    Ok(catalogue::agent_config(&catalogue::merge(layers.iter().map(|layer| ((), &layer.settings)))))
}

/// Merges the input into what stands; answers the policy as it is now and the settings before.
async fn write<P>(tx: &mut Tx<P>, target: &Target, input: PolicyInput) -> Result<(Policy, Settings), Error> {
    let complaints = catalogue::complaints(&input.settings);
    if !complaints.is_empty() {
        return Err(Error::fields(complaints));
    }
    let before = store::lock(tx, target).await?;
    store::write(tx, target, &input.settings).await?;
    let policy = store::get(tx, target).await?;
    let detail = json!({ "scope": target.level, "from": before, "to": policy.settings });
    tx.audit(Entry::new("policy.update", "policy", target.id).named(&target.name).with(detail)).await?;
    Ok((policy, before))
}

async fn target<P>(tx: &mut Tx<P>, level: Level, id: Uuid) -> Result<Target, Error> {
    match level {
        Level::Platform => Err(Error::not_found()),
        Level::Partner if tx.tenant()? != id => Err(Error::not_found()),
        _ => store::target(tx, level, id).await?.ok_or_else(Error::not_found),
    }
}

impl From<Level> for SourceLevel {
    fn from(level: Level) -> Self {
        match level {
            Level::Platform => Self::Platform,
            Level::Partner => Self::Partner,
            Level::Client => Self::Client,
            Level::Site => Self::Site,
            Level::Agent => Self::Agent,
        }
    }
}
