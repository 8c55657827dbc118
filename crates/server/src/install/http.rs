//! Routes of downloads and install reports.

use super::{InstallReport, InstallReportInput, ServerInfo, no_agent};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{OwnAccount, ReadFleet};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, RequestInfo};
use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(linux_script))
        .routes(routes!(linux_agent))
        .routes(routes!(report))
        .routes(routes!(list_reports))
        .routes(routes!(server_info))
}

/// The installer for Linux. 404 while the server has no agent to hand out.
#[utoipa::path(get, path = "/install/linux.sh", tag = "install", security(()),
    responses((status = 200, body = String, content_type = "text/x-shellscript")))]
async fn linux_script(State(app): State<AppState>) -> Result<Response, Error> {
    let script = app.downloads.linux_script().await?.ok_or_else(no_agent)?;
    Ok(([(header::CONTENT_TYPE, "text/x-shellscript")], script).into_response())
}

/// The agent for Linux on x86_64. 404 while the server has none to hand out.
#[utoipa::path(get, path = "/install/agent/linux-x86_64", tag = "install", security(()),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn linux_agent(State(app): State<AppState>) -> Result<Response, Error> {
    let (file, length) = app.downloads.open_agent().await?.ok_or_else(no_agent)?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"gururmm-agent\"".to_owned()),
    ];
    Ok((headers, Body::from_stream(ReaderStream::new(file))).into_response())
}

/// An installer says that it failed. The answer is the same whether the site exists.
#[utoipa::path(post, path = "/api/install-reports", tag = "install", security(()),
    request_body = InstallReportInput, responses((status = 202)))]
async fn report(
    State(app): State<AppState>,
    request: RequestInfo,
    Json(input): Json<InstallReportInput>,
) -> Result<StatusCode, Error> {
    super::report(&app, request, input).await.map(|()| StatusCode::ACCEPTED)
}

/// What installers reported at a site, newest first.
#[utoipa::path(get, path = "/api/v1/sites/{id}/install-reports", tag = "install",
    params(("id" = Uuid, Path), PageQuery), responses((status = 200, body = Page<InstallReport>)))]
async fn list_reports(
    State(app): State<AppState>,
    scope: Scope<ReadFleet>,
    Path(site_id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<InstallReport>>, Error> {
    super::list_reports(&app, &scope, site_id, &page).await.map(Json)
}

/// Facts about this server.
#[utoipa::path(get, path = "/api/v1/server", tag = "install", responses((status = 200, body = ServerInfo)))]
async fn server_info(State(app): State<AppState>, _scope: Scope<OwnAccount>) -> Json<ServerInfo> {
    Json(super::server_info(&app))
}
