//! Routes of commands. Those under `/api/agents` and `/api/commands` are in scripts out there: their shape stays.

use super::{Command, CommandFilter, CommandInput, Created, Output, whole};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ReadFleet, RunCommands};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(create_command))
        .routes(routes!(list_commands))
        .routes(routes!(get_command))
        .routes(routes!(cancel_command))
        .routes(routes!(page_commands))
        .routes(routes!(command_state))
        .routes(routes!(command_output))
}

/// Run a command on a machine.
#[utoipa::path(post, path = "/api/agents/{id}/command", tag = "commands", params(("id" = Uuid, Path)),
    request_body = CommandInput, responses((status = 200, body = Created)))]
async fn create_command(
    State(app): State<AppState>,
    scope: Scope<RunCommands>,
    Path(id): Path<Uuid>,
    Json(input): Json<CommandInput>,
) -> Result<Json<Created>, Error> {
    super::create(&app, &scope, id, input).await.map(Json)
}

/// How many.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Limit {
    /// 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// The newest commands, without output.
#[utoipa::path(get, path = "/api/commands", tag = "commands", params(CommandFilter, Limit),
    responses((status = 200, body = Vec<Command>)))]
async fn list_commands(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Query(filter): Query<CommandFilter>,
    Query(limit): Query<Limit>,
) -> Result<Json<Vec<Command>>, Error> {
    let page = PageQuery { cursor: None, limit: limit.limit };
    super::list(&app, &scope, filter, &page).await.map(|page| Json(page.items))
}

/// One command with its output.
#[utoipa::path(get, path = "/api/commands/{id}", tag = "commands", params(("id" = Uuid, Path)),
    responses((status = 200, body = Command)))]
async fn get_command(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Response, Error> {
    whole::answer(app, scope, id).await
}

/// Cancel a command. One that waits is `cancelled` at once. One that an agent has is ended by the agent, process tree and
/// all, which is waited for up to five seconds: an answer that is still `sent` or `running`, with `cancel_requested_at`,
/// means that the agent has not confirmed yet. The request stands, and goes out again when the agent is back; ask for
/// the command until it has ended. 409 when it ended in another way before.
#[utoipa::path(post, path = "/api/commands/{id}/cancel", tag = "commands", params(("id" = Uuid, Path)),
    responses((status = 200, body = Command)))]
async fn cancel_command(
    State(app): State<AppState>,
    scope: Scope<RunCommands>,
    Path(id): Path<Uuid>,
) -> Result<Response, Error> {
    super::cancel(&app, &scope, id).await?;
    whole::answer(app, scope, id).await
}

/// Commands, newest first, without output.
#[utoipa::path(get, path = "/api/v1/commands", tag = "commands", params(CommandFilter, PageQuery),
    responses((status = 200, body = Page<Command>)))]
async fn page_commands(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Query(filter): Query<CommandFilter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Command>>, Error> {
    super::list(&app, &scope, filter, &page).await.map(Json)
}

/// How long an answer may wait.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wait {
    /// Answer when the command has ended, or after so many seconds; at once when absent.
    #[param(minimum = 0, maximum = 30)]
    wait_seconds: Option<u32>,
}

/// One command, without output. A script that waits for the end names `wait_seconds` and asks again while the command has
/// not ended.
#[utoipa::path(get, path = "/api/v1/commands/{id}", tag = "commands", params(("id" = Uuid, Path), Wait),
    responses((status = 200, body = Command)))]
async fn command_state(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
    Query(wait): Query<Wait>,
) -> Result<Json<Command>, Error> {
    super::ended_or_as_it_is(&app, &scope, id, wait.wait_seconds.unwrap_or(0)).await.map(Json)
}

/// From where.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct After {
    /// Number of the last piece that is known; 0 when absent.
    #[param(minimum = 0)]
    after_seq: Option<i32>,
}

/// Output of a command, a bounded piece at a time.
#[utoipa::path(get, path = "/api/v1/commands/{id}/output", tag = "commands", params(("id" = Uuid, Path), After),
    responses((status = 200, body = Output)))]
async fn command_output(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
    Query(after): Query<After>,
) -> Result<Json<Output>, Error> {
    super::output(&app, &scope, id, after.after_seq.unwrap_or(0).max(0)).await.map(Json)
}
