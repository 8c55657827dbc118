//! Routes of this slice.

use super::{HelloInput, Readiness, ReadyStatus, SystemStatus};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ManagePlatform;
use crate::error::Error;
use crate::http::{Json, RequestInfo};
use axum::extract::State;
use axum::http::StatusCode;
use gururmm_protocol::bootstrap::HelloResponse;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(health))
        .routes(routes!(ready))
        .routes(routes!(hello))
        .routes(routes!(system_status))
}

/// Whether the server lives.
#[utoipa::path(get, path = "/health", tag = "system", security(()),
    responses((status = 200, body = String, content_type = "text/plain", example = "OK")))]
async fn health() -> &'static str {
    "OK"
}

/// Whether the server can work.
#[utoipa::path(get, path = "/ready", tag = "system", security(()),
    responses((status = 200, body = Readiness), (status = 503, body = Readiness, description = "It cannot")))]
async fn ready(State(app): State<AppState>) -> (StatusCode, Json<Readiness>) {
    let readiness = super::readiness(&app).await;
    let status = match readiness.status {
        ReadyStatus::Ready => StatusCode::OK,
        ReadyStatus::NotReady => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(readiness))
}

/// An agent asks what to do, before it connects.
#[utoipa::path(post, path = "/api/v1/bootstrap/hello", tag = "agents", security(()), request_body = HelloInput,
    responses((status = 200, body = HelloResponse)))]
async fn hello(
    State(app): State<AppState>,
    request: RequestInfo,
    Json(input): Json<HelloInput>,
) -> Result<Json<HelloResponse>, Error> {
    super::hello(&app, &request, &input).map(Json)
}

/// How the server does.
#[utoipa::path(get, path = "/api/v1/system/status", tag = "system",
    responses((status = 200, body = SystemStatus)))]
async fn system_status(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
) -> Result<Json<SystemStatus>, Error> {
    super::status(&app, &scope).await.map(Json)
}
