//! The partner one works in, and the whole of it as a tree.

use super::sites::Site;
use super::{checked_name, store};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::permission::{ManagePartner, ManagePlatform, ReadFleet};
use crate::auth::{Role, Scope};
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::Error;
use crate::http::{Page, PageQuery};
use crate::recordings::{self, Afterwards};
use crate::users::checked_email;
use crate::users::invitations::{self, Invitation, InviteInput};
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
    /// Whether what is typed in sessions with machines is put into the index that recordings are searched by.
    pub recordings_are_indexed: bool,
    /// What becomes of recordings past retention: `archive` or `delete`.
    pub recordings_afterwards: Afterwards,
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
    /// False empties the index, too.
    pub recordings_are_indexed: Option<bool>,
    pub recordings_afterwards: Option<Afterwards>,
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

impl From<Site> for TreeSite {
    fn from(site: Site) -> Self {
        let Site { id, client_id, name, code, agents_total, agents_online, .. } = site;
        Self { id, client_id, name, code, agents_total, agents_online }
    }
}

/// The caller's partner.
pub async fn get_partner(app: &App, scope: &Scope<ReadFleet>) -> Result<Partner, Error> {
    let mut tx = app.db.begin(scope).await?;
    let tenant = tx.tenant()?;
    store::get_partner(&mut tx, tenant).await?.ok_or_else(Error::not_found)
}

/// A partner to be made, and who will own it.
#[derive(Debug, Deserialize, ToSchema)]
pub struct PartnerInput {
    /// 1 to 120 characters, unique on this server.
    #[schema(min_length = 1, max_length = 120)]
    pub name: String,
    #[schema(min_length = 3, max_length = 254)]
    pub owner_email: String,
    #[schema(min_length = 1, max_length = 120)]
    pub owner_name: String,
}

/// A new partner with the link for its owner.
#[derive(Serialize, ToSchema)]
pub struct NewPartner {
    pub partner: Partner,
    pub invitation: Invitation,
}

/// One page of all partners, by name.
pub async fn list_partners(
    app: &App,
    scope: &Scope<ManagePlatform>,
    page: &PageQuery,
) -> Result<Page<Partner>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(String, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count_partners(&mut tx).await?;
    let partners = store::list_partners(&mut tx, after, limit + 1).await?;
    Page::of(partners, limit, total, |partner| (partner.name.to_lowercase(), partner.id))
}

/// Makes a partner and invites its owner.
pub async fn create_partner(
    app: &App,
    scope: &Scope<ManagePlatform>,
    input: PartnerInput,
) -> Result<NewPartner, Error> {
    let id = Uuid::now_v7();
    let owner = InviteInput {
        email: checked_email("owner_email", &input.owner_email)?.to_owned(),
        name: checked_name(&input.owner_name).map_err(|error| error.at_field("owner_name"))?.to_owned(),
        role: Role::Owner,
        client_ids: Vec::new(),
        site_ids: Vec::new(),
    };
    let account = app.db.lookup_user_by_email(&owner.email).await?;
    let mut tx = app.db.begin(&scope.in_new_partner(id)).await?;
    let partner = add_partner(&mut tx, id, &input.name).await?;
    let (_, invitation) = invitations::add_member(app, &mut tx, account, &owner).await?;
    let detail = json!({ "owner_email": owner.email });
    tx.audit(Entry::new("partner.create", "partner", id).named(&partner.name).with(detail)).await?;
    tx.commit().await?;
    Ok(NewPartner { partner, invitation })
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
        recordings_are_indexed: input.recordings_are_indexed.unwrap_or(before.recordings_are_indexed),
        recordings_afterwards: input.recordings_afterwards.unwrap_or(before.recordings_afterwards),
        ..before.clone()
    };
    store::update_partner(&mut tx, &after).await?;
    if !after.recordings_are_indexed {
        recordings::empty_index(&mut tx).await?;
    }
    tx.emit(Event::new(Topic::PartnerChanged, tenant, tenant)).await?;
    let detail = json!({
        "name": { "from": before.name, "to": after.name },
        "retention_days": { "from": before.retention_days, "to": after.retention_days },
        "recordings_are_indexed": { "from": before.recordings_are_indexed, "to": after.recordings_are_indexed },
        "recordings_afterwards": { "from": before.recordings_afterwards, "to": after.recordings_afterwards },
    });
    tx.audit(Entry::new("partner.update", "partner", tenant).named(&after.name).with(detail)).await?;
    tx.commit().await?;
    Ok(after)
}

/// The partner's retention class, in days.
pub(crate) async fn retention_days<P>(tx: &mut Tx<P>) -> Result<i16, Error> {
    let tenant = tx.tenant()?;
    Ok(store::get_partner(tx, tenant).await?.ok_or_else(Error::not_found)?.retention_days)
}

/// What a partner wants of recordings.
pub(crate) struct RecordingWishes {
    pub retention_days: i16,
    pub are_indexed: bool,
    pub afterwards: Afterwards,
}

/// What the partner wants of recordings; nobody changes it before the transaction ends.
pub(crate) async fn hold_recording_wishes<P>(tx: &mut Tx<P>) -> Result<RecordingWishes, Error> {
    store::hold_recording_wishes(tx).await?.ok_or_else(Error::not_found)
}

/// The partner's retention class, in days; nobody changes it before the transaction ends.
pub(crate) async fn hold_retention_days<P>(tx: &mut Tx<P>) -> Result<i16, Error> {
    store::hold_retention_days(tx).await?.ok_or_else(Error::not_found)
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
