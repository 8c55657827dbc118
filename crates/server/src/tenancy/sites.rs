//! Sites: where machines stand.

use super::{checked_name, store};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManageTenancy, ReadFleet};
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// Characters of a site's code.
pub const CODE_LENGTH: usize = 8;
/// 32 characters that nobody takes for another when reading them out: no 0, 1, I, O.
const CODE_ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Codes have 40 random bits: a second try is rare, a fifth one means that something else is wrong.
const CODE_TRIES: usize = 5;

/// A place of a client.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Site {
    pub id: Uuid,
    pub client_id: Uuid,
    pub client_name: String,
    pub name: String,
    /// What an installer names the site by; not a secret.
    pub code: String,
    /// Whether new machines wait until someone approves them.
    pub approval_required: bool,
    pub created_at: DateTime<Utc>,
    pub agents_total: i64,
    pub agents_online: i64,
}

/// A new site.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SiteInput {
    pub client_id: Uuid,
    /// 1 to 120 characters, unique within the client.
    #[schema(min_length = 1, max_length = 120)]
    pub name: String,
    /// False when absent.
    #[serde(default)]
    pub approval_required: bool,
}

/// What changes about a site; absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
pub struct SiteUpdate {
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    pub approval_required: Option<bool>,
}

/// Which sites to list.
#[derive(Debug, Default)]
pub struct SiteFilter<'a> {
    pub id: Option<Uuid>,
    pub search: Option<&'a str>,
    pub client_id: Option<Uuid>,
}

/// One page of the sites the caller may see, by name.
pub async fn list_sites(
    app: &App,
    scope: &Scope<ReadFleet>,
    filter: SiteFilter<'_>,
    page: &PageQuery,
) -> Result<Page<Site>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(String, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count_sites(&mut tx, &filter).await?;
    let sites = store::list_sites(&mut tx, &filter, after, limit + 1).await?;
    Page::of(sites, limit, total, |site| (site.name.to_lowercase(), site.id))
}

/// The site that was made first, for the machine the server itself stands on.
pub async fn first_site<P>(tx: &mut Tx<P>) -> Result<Option<Site>, Error> {
    let sites = store::list_sites(tx, &SiteFilter::default(), None, i64::MAX).await?;
    Ok(sites.into_iter().min_by_key(|site| site.created_at))
}

/// One site.
pub async fn get_site(app: &App, scope: &Scope<ReadFleet>, id: Uuid) -> Result<Site, Error> {
    let mut tx = app.db.begin(scope).await?;
    store::get_site(&mut tx, id).await?.ok_or_else(Error::not_found)
}

/// Makes a site. 404 for a client of nobody's, 409 when the name is taken.
pub async fn create_site(app: &App, scope: &Scope<ManageTenancy>, input: SiteInput) -> Result<Site, Error> {
    let mut tx = app.db.begin(scope).await?;
    let site = add_site(&mut tx, input).await?;
    tx.audit(Entry::new("site.create", "site", site.id).named(&site.name)).await?;
    tx.commit().await?;
    Ok(site)
}

/// The same within a transaction, which the caller audits.
pub(crate) async fn add_site<P>(tx: &mut Tx<P>, input: SiteInput) -> Result<Site, Error> {
    let name = checked_name(&input.name)?;
    let (id, tenant) = (Uuid::now_v7(), tx.tenant()?);
    store::get_client(tx, input.client_id).await?.ok_or_else(Error::not_found)?;
    for _ in 0..CODE_TRIES {
        let new = store::NewSite {
            id,
            tenant,
            client_id: input.client_id,
            name,
            code: &random_code(),
            approval_required: input.approval_required,
        };
        if store::insert_site(tx, &new).await? {
            tx.emit(Event::new(Topic::SiteChanged, tenant, id).at(input.client_id, Some(id))).await?;
            return store::get_site(tx, id).await?.ok_or_else(Error::not_found);
        }
    }
    Err(Error::internal(anyhow::anyhow!("no free site code in {CODE_TRIES} tries")))
}

/// Changes a site.
pub async fn update_site(
    app: &App,
    scope: &Scope<ManageTenancy>,
    id: Uuid,
    input: SiteUpdate,
) -> Result<Site, Error> {
    let name = input.name.as_deref().map(checked_name).transpose()?;
    let mut tx = app.db.begin(scope).await?;
    let before = store::get_site(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let after = Site {
        name: name.unwrap_or(&before.name).to_owned(),
        approval_required: input.approval_required.unwrap_or(before.approval_required),
        ..before.clone()
    };
    store::update_site(&mut tx, &after).await?;
    tx.emit(Event::new(Topic::SiteChanged, tx.tenant()?, id).at(after.client_id, Some(id))).await?;
    let detail = json!({
        "name": { "from": before.name, "to": after.name },
        "approval_required": { "from": before.approval_required, "to": after.approval_required },
    });
    tx.audit(Entry::new("site.update", "site", id).named(&after.name).with(detail)).await?;
    tx.commit().await?;
    Ok(after)
}

/// Deletes a site that has no agents, not even pending ones; 409 otherwise.
pub async fn delete_site(app: &App, scope: &Scope<ManageTenancy>, id: Uuid) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let site = store::get_site(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if site.agents_total > 0 {
        return Err(Error::new(Code::SiteNotEmpty));
    }
    // Machines that wait or were turned away hold the site by its foreign key, which says the same.
    store::delete_site(&mut tx, id).await?;
    tx.emit(Event::new(Topic::SiteChanged, tx.tenant()?, id).at(site.client_id, Some(id))).await?;
    tx.audit(Entry::new("site.delete", "site", id).named(&site.name)).await?;
    tx.commit().await
}

fn random_code() -> String {
    let mut rng = rand::rng();
    (0..CODE_LENGTH).map(|_| char::from(CODE_ALPHABET[rng.random_range(0..CODE_ALPHABET.len())])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn codes_are_eight_characters_that_cannot_be_misread_and_hardly_ever_alike() {
        let codes: HashSet<String> = (0..1_000).map(|_| random_code()).collect();
        assert_eq!(codes.len(), 1_000);
        for code in codes {
            assert_eq!(code.len(), CODE_LENGTH);
            assert!(!code.contains(['0', '1', 'I', 'O']), "{code}");
            assert!(code.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()), "{code}");
        }
    }
}
