//! The route of the overview.

use super::Overview;
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ReadFleet;
use crate::error::Error;
use crate::http::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_overview))
}

/// How the fleet stands.
#[utoipa::path(get, path = "/api/v1/overview", tag = "overview", responses((status = 200, body = Overview)))]
async fn get_overview(State(app): State<AppState>, scope: Scope<ReadFleet>) -> Result<Json<Overview>, Error> {
    super::overview(&app, &scope).await.map(Json)
}
