//! The partner one works in, and the whole of it as a tree.

use super::{checked_name, store};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManagePartner, ReadFleet};
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// A partner: the tenant.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Partner {
    pub id: Uuid,
    pub name: String,
    /// How long samples are kept: 30, 90, 365 or 1095.
    pub retention_days: i16,
    pub created_at: DateTime<Utc>,
}

/// What changes about a partner; absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PartnerUpdate {
    /// 1 to 120 characters, unique on this server.
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// 30, 90, 365 or 1095.
    #[schema(minimum = 30, maximum = 1095)]
    pub retention_days: Option<i16>,
}

/// What the caller sees of the partner: clients and their sites.
#[derive(Debug, Serialize, ToSchema)]
pub struct Tree {
    pub partner: TreePartner,
    pub clients: Vec<TreeClient>,
}

/// The root of the tree.
#[derive(Debug, Serialize, ToSchema)]
pub struct TreePartner {
    pub id: Uuid,
    pub name: String,
}

/// A client in the tree.
#[derive(Debug, Serialize, ToSchema)]
pub struct TreeClient {
    pub id: Uuid,
    pub name: String,
    pub sites: Vec<TreeSite>,
}

/// A site in the tree.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TreeSite {
    pub id: Uuid,
    #[serde(skip)]
    pub client_id: Uuid,
    pub name: String,
    pub code: String,
    pub agents_total: i64,
    pub agents_online: i64,
}

/// The caller's partner.
pub async fn get_partner(app: &App, scope: &Scope<ReadFleet>) -> Result<Partner, Error> {
    let mut tx = app.db.begin(scope).await?;
    let tenant = tx.tenant()?;
    store::get_partner(&mut tx, tenant).await?.ok_or_else(Error::not_found)
}

/// Makes a partner within a transaction that works in it already, which the caller audits. 409 when the name is
/// taken.
pub(crate) async fn add_partner<P>(tx: &mut Tx<P>, id: Uuid, name: &str) -> Result<Partner, Error> {
    store::insert_partner(tx, id, checked_name(name)?).await?;
    store::get_partner(tx, id).await?.ok_or_else(Error::not_found)
}

/// Changes the caller's partner.
pub async fn update_partner(
    app: &App,
    scope: &Scope<ManagePartner>,
    input: PartnerUpdate,
) -> Result<Partner, Error> {
    let name = input.name.as_deref().map(checked_name).transpose()?;
    let mut tx = app.db.begin(scope).await?;
    let tenant = tx.tenant()?;
    let before = store::get_partner(&mut tx, tenant).await?.ok_or_else(Error::not_found)?;
    let after = Partner {
        name: name.unwrap_or(&before.name).to_owned(),
        retention_days: input.retention_days.unwrap_or(before.retention_days),
        ..before.clone()
    };
    store::update_partner(&mut tx, &after).await?;
    tx.emit(Event::new(Topic::PartnerChanged, tenant, tenant)).await?;
    let detail = json!({
        "name": { "from": before.name, "to": after.name },
        "retention_days": { "from": before.retention_days, "to": after.retention_days },
    });
    tx.audit(Entry::new("partner.update", "partner", tenant).named(&after.name).with(detail)).await?;
    tx.commit().await?;
    Ok(after)
}

/// Clients and sites in one answer, both by name.
pub async fn tree(app: &App, scope: &Scope<ReadFleet>) -> Result<Tree, Error> {
    let mut tx = app.db.begin(scope).await?;
    let tenant = tx.tenant()?;
    let partner = store::get_partner(&mut tx, tenant).await?.ok_or_else(Error::not_found)?;
    let clients = store::tree_clients(&mut tx).await?;
    let sites = store::tree_sites(&mut tx).await?;
    let of = |client_id| sites.iter().filter(|site| site.client_id == client_id).cloned().collect();
    let clients = clients.into_iter().map(|(id, name)| TreeClient { id, name, sites: of(id) }).collect();
    Ok(Tree { partner: TreePartner { id: partner.id, name: partner.name }, clients })
}
