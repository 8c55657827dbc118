//! Routes of the hierarchy.

use super::{Client, ClientInput};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManageTenancy, ReadFleet};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_clients, create_client)).routes(routes!(
        get_client,
        rename_client,
        delete_client
    ))
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
    super::list_clients(&app, &scope, search.search.as_deref(), &page).await.map(Json)
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
