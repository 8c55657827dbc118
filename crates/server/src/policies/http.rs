//! Routes of policy.

use super::{EffectivePolicy, Level, Policy, PolicyInput};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManagePlatform, ManagePolicies, ReadFleet};
use crate::error::Error;
use crate::http::{Json, Path};
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(get_platform_policy, put_platform_policy))
        .routes(routes!(get_policy, put_policy))
        .routes(routes!(effective_policy))
}

/// The platform's settings, which every partner inherits. The id is the nil UUID.
#[utoipa::path(get, path = "/api/v1/policies/platform/{id}", tag = "policies", params(("id" = Uuid, Path)),
    responses((status = 200, body = Policy)))]
async fn get_platform_policy(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
    Path(id): Path<Uuid>,
) -> Result<Json<Policy>, Error> {
    check_nil(id)?;
    super::get_platform(&app, &scope).await.map(Json)
}

/// Change the platform's settings; null clears a field. Connected agents hear of it.
#[utoipa::path(put, path = "/api/v1/policies/platform/{id}", tag = "policies", params(("id" = Uuid, Path)),
    request_body = PolicyInput, responses((status = 200, body = Policy)))]
async fn put_platform_policy(
    State(app): State<AppState>,
    scope: Scope<ManagePlatform>,
    Path(id): Path<Uuid>,
    Json(input): Json<PolicyInput>,
) -> Result<Json<Policy>, Error> {
    check_nil(id)?;
    super::put_platform(&app, &scope, input).await.map(Json)
}

/// The settings of a partner, client, site or agent.
#[utoipa::path(get, path = "/api/v1/policies/{scope}/{id}", tag = "policies",
    params(("scope" = inline(Level), Path), ("id" = Uuid, Path)), responses((status = 200, body = Policy)))]
async fn get_policy(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path((level, id)): Path<(Level, Uuid)>,
) -> Result<Json<Policy>, Error> {
    super::get(&app, &scope, level, id).await.map(Json)
}

/// Change the settings of a partner, client, site or agent; null clears a field. Connected agents hear of it.
#[utoipa::path(put, path = "/api/v1/policies/{scope}/{id}", tag = "policies",
    params(("scope" = inline(Level), Path), ("id" = Uuid, Path)), request_body = PolicyInput,
    responses((status = 200, body = Policy)))]
async fn put_policy(
    State(app): State<AppState>,
    scope: Scope<ManagePolicies>,
    Path((level, id)): Path<(Level, Uuid)>,
    Json(input): Json<PolicyInput>,
) -> Result<Json<Policy>, Error> {
    super::put(&app, &scope, level, id, input).await.map(Json)
}

/// What holds for one agent, and where each value comes from.
#[utoipa::path(get, path = "/api/v1/agents/{id}/policy", tag = "policies", params(("id" = Uuid, Path)),
    responses((status = 200, body = EffectivePolicy)))]
async fn effective_policy(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(agent_id): Path<Uuid>,
) -> Result<Json<EffectivePolicy>, Error> {
    super::effective(&app, &scope, agent_id).await.map(Json)
}

fn check_nil(id: Uuid) -> Result<(), Error> {
    if id.is_nil() { Ok(()) } else { Err(Error::not_found()) }
}
