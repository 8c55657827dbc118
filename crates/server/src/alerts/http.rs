//! Routes of alerts.

use super::{Alert, Filter, Severity, Status};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManageAlerts, ReadFleet};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, SchemaName as _};
use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_alerts))
        .routes(routes!(get_alert, delete_alert))
        .routes(routes!(acknowledge_alert))
        .routes(routes!(resolve_alert))
}

/// Which alerts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct AlertFilter {
    status: Option<Status>,
    severity: Option<Severity>,
    agent_id: Option<Uuid>,
}

/// Alerts, newest first.
#[utoipa::path(get, path = "/api/v1/alerts", tag = "alerts", params(AlertFilter, PageQuery),
    responses((status = 200, body = Page<Alert>)))]
async fn list_alerts(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Query(AlertFilter { status, severity, agent_id }): Query<AlertFilter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Alert>>, Error> {
    super::list(&app, &scope, &Filter { status, severity, agent_id }, &page).await.map(Json)
}

/// One alert.
#[utoipa::path(get, path = "/api/v1/alerts/{id}", tag = "alerts", params(("id" = Uuid, Path)),
    responses((status = 200, body = Alert)))]
async fn get_alert(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(id): Path<Uuid>,
) -> Result<Json<Alert>, Error> {
    super::get(&app, &scope, id).await.map(Json)
}

/// Say that someone looks at it; 409 unless it is open.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/acknowledge", tag = "alerts", params(("id" = Uuid, Path)),
    responses((status = 200, body = Alert)))]
async fn acknowledge_alert(
    State(app): State<AppState>,
    scope: Scope<ManageAlerts>,
    Path(id): Path<Uuid>,
) -> Result<Json<Alert>, Error> {
    super::acknowledge(&app, &scope, id).await.map(Json)
}

/// Say that it is over; 409 when it is already.
#[utoipa::path(post, path = "/api/v1/alerts/{id}/resolve", tag = "alerts", params(("id" = Uuid, Path)),
    responses((status = 200, body = Alert)))]
async fn resolve_alert(
    State(app): State<AppState>,
    scope: Scope<ManageAlerts>,
    Path(id): Path<Uuid>,
) -> Result<Json<Alert>, Error> {
    super::resolve(&app, &scope, id).await.map(Json)
}

/// Remove an alert that is over; 409 while it is not.
#[utoipa::path(delete, path = "/api/v1/alerts/{id}", tag = "alerts", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete_alert(
    State(app): State<AppState>,
    scope: Scope<ManageAlerts>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    super::delete(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}
