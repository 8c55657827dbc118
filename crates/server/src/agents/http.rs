//! Routes of machines.

use super::{
    Agent, AgentDetail, AgentUninstall, ApproveAs, DecisionsInput, Duplicate, Filter, MachineType,
    MergeInput, Outcome, Sort, SortBy, Status, UninstallInput, WaitingMachine,
};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManageAgents, ManageKeys, ReadFleet};
use crate::enrollment::KeyOnce;
use crate::error::Error;
use crate::gateway::http::AgentCaller;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use gururmm_protocol::system::OsType;
use gururmm_protocol::uninstall::{REPORT_PATH, UninstallReport};
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_all_agents))
        .routes(routes!(get_agent, delete_agent))
        .routes(routes!(move_agent))
        .routes(routes!(list_agents))
        .routes(routes!(get_agent_detail))
        .routes(routes!(approve_agent))
        .routes(routes!(reject_agent))
        .routes(routes!(list_approvals))
        .routes(routes!(decide_approvals))
        .routes(routes!(retire_agent))
        .routes(routes!(restore_agent))
        .routes(routes!(list_duplicates))
        .routes(routes!(merge_agents))
        .routes(routes!(reenroll_agent))
        .routes(routes!(uninstall_agent))
        .routes(routes!(cancel_uninstall))
        .route(REPORT_PATH, post(report_uninstall))
}

/// Which machines, in which order.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AgentQuery {
    /// Part of host name, user, address, operating system, client or site, in any case.
    #[param(max_length = 200)]
    search: Option<String>,
    status: Option<Status>,
    client_id: Option<Uuid>,
    site_id: Option<Uuid>,
    os_type: Option<OsType>,
    machine_type: Option<MachineType>,
    /// `hostname` when absent.
    #[param(inline)]
    sort: Option<SortBy>,
    /// `asc` when absent.
    #[param(inline)]
    order: Option<Order>,
}

/// Upwards or downwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    Asc,
    Desc,
}

/// Where a machine goes.
#[derive(Debug, Deserialize, ToSchema)]
struct MoveInput {
    site_id: Uuid,
}

/// As what a machine is let in.
#[derive(Debug, Deserialize, ToSchema)]
struct ApproveInput {
    r#as: ApproveAs,
    /// `key_fingerprint` of the machine as it was looked at. Needed where it was given another key while it waits.
    #[schema(max_length = 64)]
    key_fingerprint: Option<String>,
}

/// All machines, by host name.
#[utoipa::path(get, path = "/api/agents", tag = "agents", responses((status = 200, body = Vec<Agent>)))]
async fn list_all_agents(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
) -> Result<Json<Vec<Agent>>, Error> {
    super::list_all(&app, &scope).await.map(Json)
}

/// One machine.
#[utoipa::path(get, path = "/api/agents/{id}", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 200, body = Agent)))]
async fn get_agent(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Json<Agent>, Error> {
    super::get(&app, &scope, id).await.map(Json)
}

/// Take a machine out of management, with its history.
#[utoipa::path(delete, path = "/api/agents/{id}", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete_agent(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    super::delete(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// Move a machine to another site of the partner.
#[utoipa::path(post, path = "/api/agents/{id}/move", tag = "agents", params(("id" = Uuid, Path)),
    request_body = MoveInput, responses((status = 200, body = Agent)))]
async fn move_agent(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
    Json(MoveInput { site_id }): Json<MoveInput>,
) -> Result<Json<Agent>, Error> {
    super::move_to(&app, &scope, id, site_id).await.map(Json)
}

/// Machines, filtered and ordered.
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", params(AgentQuery, PageQuery),
    responses((status = 200, body = Page<Agent>)))]
async fn list_agents(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Query(query): Query<AgentQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Agent>>, Error> {
    let AgentQuery { search, status, client_id, site_id, os_type, machine_type, sort, order } = query;
    let filter = Filter { search, status, client_id, site_id, os_type, machine_type, ..Filter::default() };
    let sort = Sort { by: sort.unwrap_or_default(), is_descending: order == Some(Order::Desc) };
    super::list(&app, &scope, &filter, sort, &page).await.map(Json)
}

/// One machine with all that is known of it.
#[utoipa::path(get, path = "/api/v1/agents/{id}", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 200, body = AgentDetail)))]
async fn get_agent_detail(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Json<AgentDetail>, Error> {
    super::get_detail(&app, &scope, id).await.map(Json)
}

/// Let a waiting machine in.
///
/// 409 when it does not wait, when the decision does not fit, or when its key is not the one that was looked at.
#[utoipa::path(post, path = "/api/v1/agents/{id}/approve", tag = "agents", params(("id" = Uuid, Path)),
    request_body = ApproveInput, responses((status = 200, body = Agent)))]
async fn approve_agent(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
    Json(input): Json<ApproveInput>,
) -> Result<Json<Agent>, Error> {
    super::approve(&app, &scope, id, input.r#as, input.key_fingerprint.as_deref()).await.map(Json)
}

/// Turn a waiting machine away. 409 when it does not wait.
#[utoipa::path(post, path = "/api/v1/agents/{id}/reject", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn reject_agent(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    super::reject(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// Which machines that wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct WaitingQuery {
    site_id: Option<Uuid>,
}

/// Machines that wait for a decision, with what speaks for and against them; the oldest first.
#[utoipa::path(get, path = "/api/v1/approvals", tag = "agents", params(WaitingQuery, PageQuery),
    responses((status = 200, body = Page<WaitingMachine>)))]
async fn list_approvals(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Query(WaitingQuery { site_id }): Query<WaitingQuery>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<WaitingMachine>>, Error> {
    super::list_waiting(&app, &scope, site_id, &page).await.map(Json)
}

/// Decide about many machines that wait.
///
/// Each decision stands for itself: the answer says for each, in the same order, what became of it.
#[utoipa::path(post, path = "/api/v1/approvals", tag = "agents", request_body = DecisionsInput,
    responses((status = 200, body = Vec<Outcome>)))]
async fn decide_approvals(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Json(input): Json<DecisionsInput>,
) -> Result<Json<Vec<Outcome>>, Error> {
    super::decide_many(&app, &scope, &input).await.map(Json)
}

/// Take a machine out of management and keep its history. 409 unless it is active.
#[utoipa::path(post, path = "/api/v1/agents/{id}/retire", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 200, body = Agent)))]
async fn retire_agent(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
) -> Result<Json<Agent>, Error> {
    super::retire(&app, &scope, id).await.map(Json)
}

/// Bring a retired machine back; the key it had is good again. 409 unless it is retired.
#[utoipa::path(post, path = "/api/v1/agents/{id}/restore", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 200, body = Agent)))]
async fn restore_agent(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
) -> Result<Json<Agent>, Error> {
    super::restore(&app, &scope, id).await.map(Json)
}

/// Records that may be other ones of the same machine, the likeliest first.
#[utoipa::path(get, path = "/api/v1/agents/{id}/duplicates", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 200, body = Vec<Duplicate>)))]
async fn list_duplicates(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Json<Vec<Duplicate>>, Error> {
    super::duplicates(&app, &scope, id).await.map(Json)
}

/// Make two records of one machine one; this one stays, and there is no way back.
///
/// 409 when both are connected, since then they are two machines.
#[utoipa::path(post, path = "/api/v1/agents/{id}/merge", tag = "agents", params(("id" = Uuid, Path)),
    request_body = MergeInput, responses((status = 200, body = Agent)))]
async fn merge_agents(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
    Json(input): Json<MergeInput>,
) -> Result<Json<Agent>, Error> {
    super::merge(&app, &scope, id, &input).await.map(Json)
}

/// Give up a machine's key, and mint a token for it to enroll anew as itself. 409 unless it is active.
#[utoipa::path(post, path = "/api/v1/agents/{id}/reenroll", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 201, body = KeyOnce)))]
async fn reenroll_agent(
    State(app): State<AppState>,
    scope: Scope<ManageKeys>,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<KeyOnce>), Error> {
    super::reenroll(&app, &scope, id).await.map(|once| (StatusCode::CREATED, Json(once)))
}

/// Order a machine's agent to remove itself, now or when it is next there.
///
/// 409 `AGENT_TOO_OLD` when it does not know how, `UNINSTALL_UNDER_WAY` while an order stands.
#[utoipa::path(post, path = "/api/v1/agents/{id}/uninstall", tag = "agents", params(("id" = Uuid, Path)),
    request_body = UninstallInput, responses((status = 202, body = AgentUninstall)))]
async fn uninstall_agent(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
    Json(input): Json<UninstallInput>,
) -> Result<(StatusCode, Json<AgentUninstall>), Error> {
    super::uninstall(&app, &scope, id, &input).await.map(|ordered| (StatusCode::ACCEPTED, Json(ordered)))
}

/// Take the order to uninstall back. 409 when there is none, or when the machine has begun.
#[utoipa::path(post, path = "/api/v1/agents/{id}/uninstall/cancel", tag = "agents", params(("id" = Uuid, Path)),
    responses((status = 200, body = AgentUninstall)))]
async fn cancel_uninstall(
    State(app): State<AppState>,
    scope: Scope<ManageAgents>,
    Path(id): Path<Uuid>,
) -> Result<Json<AgentUninstall>, Error> {
    super::cancel_uninstall(&app, &scope, id).await.map(Json)
}

/// What came of a removal, said by the process that did it. Not in the OpenAPI document: it is no call for people or
/// their scripts.
async fn report_uninstall(
    State(app): State<AppState>,
    AgentCaller(session): AgentCaller,
    Json(report): Json<UninstallReport>,
) -> Result<Json<Value>, Error> {
    super::on_uninstall_report(&app, &session, report).await?;
    Ok(Json(json!({})))
}
