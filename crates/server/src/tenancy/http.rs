//! Routes of the hierarchy.

use super::partners::{self, NewPartner, Partner, PartnerInput, PartnerUpdate, Tree};
use super::sites::{self, Site, SiteFilter, SiteInput, SiteUpdate};
use super::{Client, ClientFilter, ClientInput};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManagePartner, ManagePlatform, ManageTenancy, ReadFleet};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_partner, update_partner))
        .routes(routes!(list_partners, create_partner))
        .routes(routes!(tree))
        .routes(routes!(list_clients, create_client))
        .routes(routes!(get_client, rename_client, delete_client))
        .routes(routes!(list_sites, create_site))
        .routes(routes!(get_site, update_site, delete_site))
}

/// Part of a name.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Search {
    /// Part of the name, in any case.
    #[param(max_length = 120)]
    search: Option<String>,
}

/// Clients, by name.
#[utoipa::path(get, path = "/api/v1/clients", tag = "clients", params(Search, PageQuery),
    responses((status = 200, body = Page<Client>)))]
async fn list_clients(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Query(search): Query<Search>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Client>>, Error> {
    let filter = ClientFilter { search: search.search.as_deref(), ..ClientFilter::default() };
    super::list_clients(&app, &scope, filter, &page).await.map(Json)
}

/// Make a client.
#[utoipa::path(post, path = "/api/v1/clients", tag = "clients", request_body = ClientInput,
    responses((status = 201, body = Client)))]
async fn create_client(
    State(app): State<AppState>,
    scope: Scope<ManageTenancy>,
    Json(input): Json<ClientInput>,
) -> Result<(StatusCode, Json<Client>), Error> {
    super::create_client(&app, &scope, input).await.map(|client| (StatusCode::CREATED, Json(client)))
}

/// One client.
#[utoipa::path(get, path = "/api/v1/clients/{id}", tag = "clients", params(("id" = Uuid, Path)),
    responses((status = 200, body = Client)))]
async fn get_client(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Json<Client>, Error> {
    super::get_client(&app, &scope, id).await.map(Json)
}

/// Rename a client.
#[utoipa::path(patch, path = "/api/v1/clients/{id}", tag = "clients", params(("id" = Uuid, Path)),
    request_body = ClientInput, responses((status = 200, body = Client)))]
async fn rename_client(
    State(app): State<AppState>,
    scope: Scope<ManageTenancy>,
    Path(id): Path<Uuid>,
    Json(input): Json<ClientInput>,
) -> Result<Json<Client>, Error> {
    super::rename_client(&app, &scope, id, input).await.map(Json)
}

/// Delete a client without sites.
#[utoipa::path(delete, path = "/api/v1/clients/{id}", tag = "clients", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete_client(
    State(app): State<AppState>,
    scope: Scope<ManageTenancy>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    super::delete_client(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// Which sites.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct SiteQuery {
    /// Part of the name, in any case.
    #[param(max_length = 120)]
    search: Option<String>,
    /// Of this client only.
    client_id: Option<Uuid>,
}

/// Sites, by name.
#[utoipa::path(get, path = "/api/v1/sites", tag = "sites", params(SiteQuery, PageQuery),
    responses((status = 200, body = Page<Site>)))]
async fn list_sites(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Query(query): Query<SiteQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Site>>, Error> {
    let filter = SiteFilter { id: None, search: query.search.as_deref(), client_id: query.client_id };
    sites::list_sites(&app, &scope, filter, &page).await.map(Json)
}

/// Make a site.
#[utoipa::path(post, path = "/api/v1/sites", tag = "sites", request_body = SiteInput,
    responses((status = 201, body = Site)))]
async fn create_site(
    State(app): State<AppState>,
    scope: Scope<ManageTenancy>,
    Json(input): Json<SiteInput>,
) -> Result<(StatusCode, Json<Site>), Error> {
    sites::create_site(&app, &scope, input).await.map(|site| (StatusCode::CREATED, Json(site)))
}

/// One site.
#[utoipa::path(get, path = "/api/v1/sites/{id}", tag = "sites", params(("id" = Uuid, Path)),
    responses((status = 200, body = Site)))]
async fn get_site(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Json<Site>, Error> {
    sites::get_site(&app, &scope, id).await.map(Json)
}

/// Change a site.
#[utoipa::path(patch, path = "/api/v1/sites/{id}", tag = "sites", params(("id" = Uuid, Path)),
    request_body = SiteUpdate, responses((status = 200, body = Site)))]
async fn update_site(
    State(app): State<AppState>,
    scope: Scope<ManageTenancy>,
    Path(id): Path<Uuid>,
    Json(input): Json<SiteUpdate>,
) -> Result<Json<Site>, Error> {
    sites::update_site(&app, &scope, id, input).await.map(Json)
}

/// Delete a site without machines.
#[utoipa::path(delete, path = "/api/v1/sites/{id}", tag = "sites", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete_site(
    State(app): State<AppState>,
    scope: Scope<ManageTenancy>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    sites::delete_site(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// The partner one works in.
#[utoipa::path(get, path = "/api/v1/partner", tag = "partner", responses((status = 200, body = Partner)))]
async fn get_partner(State(app): State<AppState>, scope: Scope<ReadFleet>) -> Result<Json<Partner>, Error> {
    partners::get_partner(&app, &scope).await.map(Json)
}

/// Change the partner's name or retention.
#[utoipa::path(patch, path = "/api/v1/partner", tag = "partner", request_body = PartnerUpdate,
    responses((status = 200, body = Partner)))]
async fn update_partner(
    State(app): State<AppState>,
    scope: Scope<ManagePartner>,
    Json(input): Json<PartnerUpdate>,
) -> Result<Json<Partner>, Error> {
    partners::update_partner(&app, &scope, input).await.map(Json)
}

/// Clients and sites as a tree.
#[utoipa::path(get, path = "/api/v1/tree", tag = "partner", responses((status = 200, body = Tree)))]
async fn tree(State(app): State<AppState>, scope: Scope<ReadFleet>) -> Result<Json<Tree>, Error> {
    partners::tree(&app, &scope).await.map(Json)
}

/// All partners, by name.
#[utoipa::path(get, path = "/api/v1/partners", tag = "platform", params(PageQuery),
    responses((status = 200, body = Page<Partner>)))]
async fn list_partners(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Partner>>, Error> {
    partners::list_partners(&app, &scope, &page).await.map(Json)
}

/// Make a partner and invite its owner.
#[utoipa::path(post, path = "/api/v1/partners", tag = "platform", request_body = PartnerInput,
    responses((status = 201, body = NewPartner)))]
async fn create_partner(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
    Json(input): Json<PartnerInput>,
) -> Result<(StatusCode, Json<NewPartner>), Error> {
    partners::create_partner(&app, &scope, input).await.map(|made| (StatusCode::CREATED, Json(made)))
}
