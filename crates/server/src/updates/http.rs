//! Routes of updates. Those for agents are not in the OpenAPI document: they are no calls for people or their scripts.

use super::census::{self, ProtocolCount, VersionCount};
use super::rollout::{self, Rollout, StepInput};
use super::{AgentUpdate, Ordered, Published, UpdateState, download};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManagePlatform, ManageRollouts, ReadFleet, ReadRollouts, RunCommands};
use crate::error::{Code, Error};
use crate::gateway::http::AgentCaller;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::StreamExt as _;
use gururmm_protocol::update::{METADATA_PATH, TARGETS_PATH};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .route(&format!("{METADATA_PATH}{{name}}"), get(metadata))
        .route(&format!("{TARGETS_PATH}{{name}}"), get(target))
        .routes(routes!(update_agent))
        .routes(routes!(roll_back_agent))
        .routes(routes!(list_agent_updates))
        .routes(routes!(agent_update_state))
        .routes(routes!(list_releases))
        .routes(routes!(check_releases))
        .routes(routes!(list_versions))
        .routes(routes!(list_protocols))
        .routes(routes!(retire_protocol))
        .routes(routes!(list_rollouts))
        .routes(routes!(step_rollout))
}

/// A file of the verified metadata. Names are looked up, never joined to a path.
async fn metadata(
    State(app): State<AppState>,
    _caller: AgentCaller,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let verified = app.updates.releases.verified().ok_or_else(Error::not_found)?;
    let bytes = verified.metadata(&name).ok_or_else(Error::not_found)?;
    Ok(([(header::CONTENT_TYPE, "application/json")], bytes.to_vec()).into_response())
}

/// A program of the verified metadata.
async fn target(
    State(app): State<AppState>,
    _caller: AgentCaller,
    Path(name): Path<String>,
) -> Result<Response, Error> {
    let busy = || Error::retry_after(Code::Unavailable, download::RETRY_AFTER_SECONDS);
    let place = app.updates.downloads.place().await.ok_or_else(busy)?;
    let (file, length) = app.updates.releases.open_target(&name).await?.ok_or_else(Error::not_found)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
    ];
    let chunks = ReaderStream::with_capacity(file.take(length), 64 * 1024).map(move |chunk| {
        // Held until the last piece is sent, or the agent is gone.
        let _place = &place;
        chunk
    });
    Ok((headers, Body::from_stream(chunks)).into_response())
}

/// Update a machine to the newest version of its channel now, outside of its maintenance window too.
///
/// It waits until no command runs there. 409 `UPDATE_UNSUPPORTED` when the machine cannot, `NO_UPDATE_PUBLISHED` when
/// there is nothing newer, `UPDATE_UNDER_WAY` while another one is.
#[utoipa::path(post, path = "/api/agents/{id}/update", tag = "updates", params(("id" = Uuid, Path)),
    responses((status = 202, body = Ordered)))]
async fn update_agent(
    State(app): State<AppState>,
    scope: Scope<RunCommands>,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<Ordered>), Error> {
    super::force(&app, &scope, id).await.map(|ordered| (StatusCode::ACCEPTED, Json(ordered)))
}

/// Send a machine back to the version it ran before.
///
/// 409 `NO_PREVIOUS_VERSION` when it kept none, `UPDATE_UNDER_WAY` while another update is.
#[utoipa::path(post, path = "/api/v1/agents/{id}/roll-back", tag = "updates", params(("id" = Uuid, Path)),
    responses((status = 202, body = Ordered)))]
async fn roll_back_agent(
    State(app): State<AppState>,
    scope: Scope<RunCommands>,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<Ordered>), Error> {
    super::roll_back(&app, &scope, id).await.map(|ordered| (StatusCode::ACCEPTED, Json(ordered)))
}

/// A machine's updates, newest first.
#[utoipa::path(get, path = "/api/v1/agents/{id}/updates", tag = "updates", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<AgentUpdate>)))]
async fn list_agent_updates(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<AgentUpdate>>, Error> {
    super::list(&app, &scope, id, &page).await.map(Json)
}

/// How a machine stands with updates: what it runs, what there is for it, what is under way.
#[utoipa::path(get, path = "/api/v1/agents/{id}/update-state", tag = "updates", params(("id" = Uuid, Path)),
    responses((status = 200, body = UpdateState)))]
async fn agent_update_state(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Json<UpdateState>, Error> {
    super::state_of(&app, &scope, id).await.map(Json)
}

/// What this server publishes for agents, and until when its signatures are good.
#[utoipa::path(get, path = "/api/v1/updates/releases", tag = "updates", responses((status = 200, body = Published)))]
async fn list_releases(State(app): State<AppState>, _scope: Scope<ReadFleet>) -> Json<Published> {
    Json(super::published(&app))
}

/// Look at the folder of releases now instead of within a minute.
#[utoipa::path(post, path = "/api/v1/updates/check", tag = "updates", responses((status = 200, body = Published)))]
async fn check_releases(State(app): State<AppState>, scope: Scope<ManagePlatform>) -> Json<Published> {
    Json(super::check(&app, &scope).await)
}

/// Which versions the machines are at.
#[utoipa::path(get, path = "/api/v1/updates/versions", tag = "updates",
    responses((status = 200, body = Vec<VersionCount>)))]
async fn list_versions(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
) -> Result<Json<Vec<VersionCount>>, Error> {
    census::versions(&app, &scope).await.map(Json)
}

/// The protocol versions of this server, with the machines of all partners that speak them.
#[utoipa::path(get, path = "/api/v1/updates/protocols", tag = "updates",
    responses((status = 200, body = Vec<ProtocolCount>)))]
async fn list_protocols(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
) -> Result<Json<Vec<ProtocolCount>>, Error> {
    census::protocols(&app, &scope).await.map(Json)
}

/// Stop speaking a protocol version. 409 `PROTOCOL_IN_USE` while any machine does, and for the newest.
#[utoipa::path(post, path = "/api/v1/updates/protocols/{version}/retire", tag = "updates",
    params(("version" = String, Path)), responses((status = 200, body = Vec<ProtocolCount>)))]
async fn retire_protocol(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
    Path(version): Path<String>,
) -> Result<Json<Vec<ProtocolCount>>, Error> {
    census::retire(&app, &scope, &version).await.map(Json)
}

/// The partner's rollouts, newest first.
#[utoipa::path(get, path = "/api/v1/updates/rollouts", tag = "updates", params(PageQuery),
    responses((status = 200, body = Page<Rollout>)))]
async fn list_rollouts(
    State(app): State<AppState>,
    scope: Scope<ReadRollouts>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Rollout>>, Error> {
    rollout::list(&app, &scope, &page).await.map(Json)
}

/// Promote, halt, resume a rollout, or take it back. 409 when it stands where that is not possible.
#[utoipa::path(post, path = "/api/v1/updates/rollouts/{id}/steps", tag = "updates", params(("id" = Uuid, Path)),
    request_body = StepInput, responses((status = 200, body = Rollout)))]
async fn step_rollout(
    State(app): State<AppState>,
    scope: Scope<ManageRollouts>,
    Path(id): Path<Uuid>,
    Json(StepInput { action }): Json<StepInput>,
) -> Result<Json<Rollout>, Error> {
    rollout::step(&app, &scope, id, action).await.map(Json)
}
