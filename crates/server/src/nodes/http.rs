//! Route of this slice.

use super::Node;
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ManagePlatform;
use crate::error::Error;
use crate::http::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Route of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list_nodes))
}

/// List the servers of this installation.
#[utoipa::path(get, path = "/api/v1/system/nodes", tag = "system",
    responses((status = 200, body = Vec<Node>)))]
async fn list_nodes(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
) -> Result<Json<Vec<Node>>, Error> {
    super::list(&app, &scope).await.map(Json)
}
