//! Routes of the agents' own logs.

use super::{AgentCrash, AgentCrashText, AgentLog, AgentLogText};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ReadAgentLogs;
use crate::error::Error;
use crate::http::{Json, Path};
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(ask_agent_log))
        .routes(routes!(list_agent_logs))
        .routes(routes!(get_agent_log))
        .routes(routes!(list_agent_crashes))
        .routes(routes!(get_agent_crash))
}

/// Ask a machine for its agent's own log. Ask for the log until it is no longer `requested`.
#[utoipa::path(post, path = "/api/v1/agents/{id}/logs", tag = "agent logs", params(("id" = Uuid, Path)),
    responses((status = 202, body = AgentLog)))]
async fn ask_agent_log(
    State(app): State<AppState>,
    scope: Scope<ReadAgentLogs>,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<AgentLog>), Error> {
    super::ask(&app, &scope, id).await.map(|log| (StatusCode::ACCEPTED, Json(log)))
}

/// The newest logs that were asked of a machine's agent, ten at most, without text.
#[utoipa::path(get, path = "/api/v1/agents/{id}/logs", tag = "agent logs", params(("id" = Uuid, Path)),
    responses((status = 200, body = Vec<AgentLog>)))]
async fn list_agent_logs(
    State(app): State<AppState>,
    scope: Scope<ReadAgentLogs>,
    Path(id): Path<Uuid>,
) -> Result<Json<Vec<AgentLog>>, Error> {
    super::list(&app, &scope, id).await.map(Json)
}

/// An agent's log with what has come of it.
#[utoipa::path(get, path = "/api/v1/agent-logs/{id}", tag = "agent logs", params(("id" = Uuid, Path)),
    responses((status = 200, body = AgentLogText)))]
async fn get_agent_log(
    State(app): State<AppState>,
    scope: Scope<ReadAgentLogs>,
    Path(id): Path<Uuid>,
) -> Result<Json<AgentLogText>, Error> {
    super::read(&app, &scope, id).await.map(Json)
}

/// The newest crashes of a machine's agent, ten at most, without the log.
#[utoipa::path(get, path = "/api/v1/agents/{id}/crashes", tag = "agent logs", params(("id" = Uuid, Path)),
    responses((status = 200, body = Vec<AgentCrash>)))]
async fn list_agent_crashes(
    State(app): State<AppState>,
    scope: Scope<ReadAgentLogs>,
    Path(id): Path<Uuid>,
) -> Result<Json<Vec<AgentCrash>>, Error> {
    super::list_crashes(&app, &scope, id).await.map(Json)
}

/// A crash with the end of the log before it.
#[utoipa::path(get, path = "/api/v1/agent-crashes/{id}", tag = "agent logs", params(("id" = Uuid, Path)),
    responses((status = 200, body = AgentCrashText)))]
async fn get_agent_crash(
    State(app): State<AppState>,
    scope: Scope<ReadAgentLogs>,
    Path(id): Path<Uuid>,
) -> Result<Json<AgentCrashText>, Error> {
    super::read_crash(&app, &scope, id).await.map(Json)
}
