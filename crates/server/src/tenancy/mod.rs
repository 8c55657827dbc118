//! Partners, clients, sites: the hierarchy every machine stands in.

pub mod http;
pub mod partners;
pub mod sites;
mod store;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManageTenancy, ReadFleet};
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A partner's customer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Client {
    pub id: Uuid,
    pub name: String,
    pub created_at: DateTime<Utc>,
    pub sites_total: i64,
    pub agents_total: i64,
    pub agents_online: i64,
}

/// A new client, or a new name for one.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ClientInput {
    /// 1 to 120 characters, unique within the partner.
    #[schema(min_length = 1, max_length = 120)]
    pub name: String,
}

/// Which clients to list.
#[derive(Debug, Default)]
pub struct ClientFilter<'a> {
    pub id: Option<Uuid>,
    pub search: Option<&'a str>,
}

/// One page of the clients the caller may see, by name.
pub async fn list_clients(
    app: &App,
    scope: &Scope<ReadFleet>,
    filter: ClientFilter<'_>,
    page: &PageQuery,
) -> Result<Page<Client>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(String, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count_clients(&mut tx, &filter).await?;
    let clients = store::list_clients(&mut tx, &filter, after, limit + 1).await?;
    Page::of(clients, limit, total, |client| (client.name.to_lowercase(), client.id))
}

/// One client.
pub async fn get_client(app: &App, scope: &Scope<ReadFleet>, id: Uuid) -> Result<Client, Error> {
    let mut tx = app.db.begin(scope).await?;
    store::get_client(&mut tx, id).await?.ok_or_else(Error::not_found)
}

/// Makes a client. 409 when the name is taken.
pub async fn create_client(
    app: &App,
    scope: &Scope<ManageTenancy>,
    input: ClientInput,
) -> Result<Client, Error> {
    let mut tx = app.db.begin(scope).await?;
    let client = add_client(&mut tx, input).await?;
    tx.audit(Entry::new("client.create", "client", client.id).named(&client.name)).await?;
    tx.commit().await?;
    Ok(client)
}

/// The same within a transaction, which the caller audits.
pub(crate) async fn add_client<P>(tx: &mut Tx<P>, input: ClientInput) -> Result<Client, Error> {
    let name = checked_name(&input.name)?;
    let (id, tenant) = (Uuid::now_v7(), tx.tenant()?);
    store::insert_client(tx, id, tenant, name).await?;
    tx.emit(Event::new(Topic::ClientChanged, tenant, id).at(id, None)).await?;
    store::get_client(tx, id).await?.ok_or_else(Error::not_found)
}

/// Renames a client.
pub async fn rename_client(
    app: &App,
    scope: &Scope<ManageTenancy>,
    id: Uuid,
    input: ClientInput,
) -> Result<Client, Error> {
    let name = checked_name(&input.name)?;
    let mut tx = app.db.begin(scope).await?;
    let before = store::get_client(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    store::rename_client(&mut tx, id, name).await?;
    tx.emit(Event::new(Topic::ClientChanged, tx.tenant()?, id).at(id, None)).await?;
    let detail = serde_json::json!({ "name": { "from": before.name, "to": name } });
    tx.audit(Entry::new("client.update", "client", id).named(name).with(detail)).await?;
    tx.commit().await?;
    Ok(Client { name: name.to_owned(), ..before })
}

/// Deletes a client that has no sites; 409 otherwise.
pub async fn delete_client(app: &App, scope: &Scope<ManageTenancy>, id: Uuid) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let client = store::get_client(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if client.sites_total > 0 {
        return Err(Error::new(Code::ClientNotEmpty));
    }
    store::delete_client(&mut tx, id).await?;
    tx.emit(Event::new(Topic::ClientChanged, tx.tenant()?, id).at(id, None)).await?;
    tx.audit(Entry::new("client.delete", "client", id).named(&client.name)).await?;
    tx.commit().await
}

/// Whether all of these are clients and sites of the transaction's partner.
pub(crate) async fn all_exist<P>(
    tx: &mut Tx<P>,
    client_ids: &[Uuid],
    site_ids: &[Uuid],
) -> Result<bool, Error> {
    store::all_exist(tx, client_ids, site_ids).await
}

/// A name as it is kept: trimmed, 1 to 120 characters, no control characters.
pub(crate) fn checked_name(name: &str) -> Result<&str, Error> {
    let name = name.trim();
    if name.is_empty() {
        return Err(Error::field("name", "REQUIRED", "must not be empty"));
    }
    if name.chars().count() > 120 {
        return Err(Error::field("name", "TOO_LONG", "must have at most 120 characters"));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::field("name", "INVALID", "must not contain control characters"));
    }
    Ok(name)
}
