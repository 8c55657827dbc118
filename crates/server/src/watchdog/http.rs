//! The watchdogs' route. Not in the OpenAPI document: it is no call for people or their scripts.

use crate::app::AppState;
use crate::error::Error;
use crate::gateway::http::AgentCaller;
use crate::http::Json;
use axum::extract::State;
use axum::routing::post;
use gururmm_protocol::watchdog::{REPORT_PATH, WatchdogReport};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;

/// Route of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().route(REPORT_PATH, post(report))
}

async fn report(
    State(app): State<AppState>,
    AgentCaller(session): AgentCaller,
    Json(report): Json<WatchdogReport>,
) -> Result<Json<Value>, Error> {
    super::reported(&app, &session, report).await?;
    Ok(Json(json!({})))
}
