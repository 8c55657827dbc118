//! Routes of sessions with machines.

use super::{Status, TunnelSession};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::UseTunnel;
use crate::error::Error;
use crate::http::{Json, Path};
use axum::extract::State;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(open_tunnel))
        .routes(routes!(tunnel_status))
        .routes(routes!(close_tunnel))
}

/// With which machine.
#[derive(Debug, Deserialize, ToSchema)]
struct OpenInput {
    agent_id: Uuid,
}

/// A session that is open.
#[derive(Debug, Serialize, ToSchema)]
struct Opened {
    session_id: Uuid,
    status: Status,
}

/// Which session.
#[derive(Debug, Deserialize, ToSchema)]
struct CloseInput {
    session_id: Uuid,
}

/// A session that is closed.
#[derive(Debug, Serialize, ToSchema)]
struct Closed {
    status: Status,
}

/// Open a session with a machine; a second time the same tech gets the same session.
#[utoipa::path(post, path = "/api/v1/tunnel/open", tag = "tunnel", request_body = OpenInput,
    responses((status = 200, body = Opened)))]
async fn open_tunnel(
    State(app): State<AppState>,
    scope: Scope<UseTunnel>,
    Json(OpenInput { agent_id }): Json<OpenInput>,
) -> Result<Json<Opened>, Error> {
    let session = super::open(&app, &scope, agent_id).await?;
    Ok(Json(Opened { session_id: session.session_id, status: session.status }))
}

/// One's own session, open or closed. 403 for another tech's.
#[utoipa::path(get, path = "/api/v1/tunnel/status/{session_id}", tag = "tunnel",
    params(("session_id" = Uuid, Path)), responses((status = 200, body = TunnelSession)))]
async fn tunnel_status(
    State(app): State<AppState>,
    scope: Scope<UseTunnel>,
    Path(id): Path<Uuid>,
) -> Result<Json<TunnelSession>, Error> {
    super::status(&app, &scope, id).await.map(Json)
}

/// Close one's own session. 403 for another tech's.
#[utoipa::path(post, path = "/api/v1/tunnel/close", tag = "tunnel", request_body = CloseInput,
    responses((status = 200, body = Closed)))]
async fn close_tunnel(
    State(app): State<AppState>,
    scope: Scope<UseTunnel>,
    Json(CloseInput { session_id }): Json<CloseInput>,
) -> Result<Json<Closed>, Error> {
    let session = super::close(&app, &scope, session_id).await?;
    Ok(Json(Closed { status: session.status }))
}
