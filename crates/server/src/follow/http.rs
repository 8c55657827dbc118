//! Routes of this slice.

use super::{FollowInput, FollowStatus};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ManagePlatform;
use crate::error::Error;
use crate::http::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(follow_me_status, set_follow_me, withdraw_follow_me))
}

/// Where agents are to find their server, and how many have gone there.
#[utoipa::path(get, path = "/api/v1/system/follow-me", tag = "system",
    responses((status = 200, body = FollowStatus)))]
async fn follow_me_status(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
) -> Result<Json<FollowStatus>, Error> {
    super::status(&app, &scope).await.map(Json)
}

/// Send the agents of all partners to a renamed or new server.
///
/// The record is signed with the installation's key. Each agent tries the place for five minutes with the key it has, and
/// stays where a server welcomes it.
#[utoipa::path(put, path = "/api/v1/system/follow-me", tag = "system", request_body = FollowInput,
    responses((status = 200, body = FollowStatus)))]
async fn set_follow_me(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
    Json(input): Json<FollowInput>,
) -> Result<Json<FollowStatus>, Error> {
    super::set(&app, &scope, &input).await.map(Json)
}

/// Send no agent there any more. Those that went stay.
#[utoipa::path(delete, path = "/api/v1/system/follow-me", tag = "system", responses((status = 204)))]
async fn withdraw_follow_me(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
) -> Result<StatusCode, Error> {
    super::withdraw(&app, &scope).await.map(|()| StatusCode::NO_CONTENT)
}
