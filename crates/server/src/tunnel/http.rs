//! Routes of sessions with machines.

use super::{Filter, Status, TunnelSession, TunnelTicket, Wish, scripts, socket};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{EndTunnels, UseTunnel};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::extract::State;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(open_tunnel))
        .routes(routes!(tunnel_status))
        .routes(routes!(close_tunnel))
        .routes(routes!(list_tunnels))
        .routes(routes!(end_tunnel))
        .routes(routes!(tunnel_ticket))
        .route(socket::SOCKET_PATH, get(socket::connect))
        .merge(scripts::routes())
}

/// With which machine, and why.
#[derive(Debug, Deserialize, ToSchema)]
struct OpenInput {
    agent_id: Uuid,
    /// Why; at most 500 characters. A policy may ask for it.
    #[serde(default)]
    reason: Option<String>,
    /// The ticket it is for; at most 64 characters. A policy may ask for it.
    #[serde(default)]
    ticket: Option<String>,
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
///
/// 409 when the machine is offline, 422 when its policy asks for a reason or a ticket and none is given.
#[utoipa::path(post, path = "/api/v1/tunnel/open", tag = "tunnel", request_body = OpenInput,
    responses((status = 200, body = Opened)))]
async fn open_tunnel(
    State(app): State<AppState>,
    scope: Scope<UseTunnel>,
    Json(OpenInput { agent_id, reason, ticket }): Json<OpenInput>,
) -> Result<Json<Opened>, Error> {
    let session = super::open(&app, &scope, agent_id, Wish { reason, ticket }).await?;
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

/// Which sessions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TunnelFilter {
    status: Option<Status>,
    /// Who was on this machine.
    agent_id: Option<Uuid>,
    tech_id: Option<Uuid>,
}

/// Sessions, open and closed, newest first: an admin's list has everybody's, a tech's her own.
#[utoipa::path(get, path = "/api/v1/tunnel/sessions", tag = "tunnel", params(TunnelFilter, PageQuery),
    responses((status = 200, body = Page<TunnelSession>)))]
async fn list_tunnels(
    State(app): State<AppState>,
    scope: Scope<UseTunnel>,
    Query(TunnelFilter { status, agent_id, tech_id }): Query<TunnelFilter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<TunnelSession>>, Error> {
    super::list(&app, &scope, Filter { status, agent_id, tech_id }, &page).await.map(Json)
}

/// End somebody's session.
#[utoipa::path(post, path = "/api/v1/tunnel/sessions/{id}/end", tag = "tunnel", params(("id" = Uuid, Path)),
    responses((status = 200, body = TunnelSession)))]
async fn end_tunnel(
    State(app): State<AppState>,
    scope: Scope<EndTunnels>,
    Path(id): Path<Uuid>,
) -> Result<Json<TunnelSession>, Error> {
    super::end(&app, &scope, id).await.map(Json)
}

/// Get a ticket for the socket of one's own session.
///
/// It is good for half a minute and for one socket of this session, and travels as a WebSocket subprotocol, never in the URL.
#[utoipa::path(post, path = "/api/v1/tunnel/{session_id}/ticket", tag = "tunnel",
    params(("session_id" = Uuid, Path)), responses((status = 200, body = TunnelTicket)))]
async fn tunnel_ticket(
    State(app): State<AppState>,
    scope: Scope<UseTunnel>,
    Path(id): Path<Uuid>,
) -> Result<Json<TunnelTicket>, Error> {
    super::ticket(&app, &scope, id).await.map(Json)
}
