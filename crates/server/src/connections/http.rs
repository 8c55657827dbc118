//! Routes of connection histories.

use super::Connection;
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ReadFleet;
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_connections))
}

/// When a machine was connected, the newest session first, and why each ended.
#[utoipa::path(get, path = "/api/v1/agents/{id}/connections", tag = "agents", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<Connection>)))]
async fn list_connections(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Connection>>, Error> {
    super::list(&app, &scope, id, &page).await.map(Json)
}
