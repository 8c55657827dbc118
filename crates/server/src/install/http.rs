//! Routes of downloads and install reports.

use super::{
    Arch, InstallReport, InstallReportInput, InstallerInput, Opened, PackageKind, ServerInfo, no_agent,
};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManageKeys, OwnAccount, ReadFleet};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, RequestInfo, SchemaName as _};
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(linux_script))
        .routes(routes!(linux_agent))
        .routes(routes!(linux_agent_aarch64))
        .routes(routes!(package))
        .routes(routes!(create_installer))
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
    agent(&app, Arch::X86_64).await
}

/// The agent for Linux on aarch64. 404 while the server has none to hand out.
#[utoipa::path(get, path = "/install/agent/linux-aarch64", tag = "install", security(()),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn linux_agent_aarch64(State(app): State<AppState>) -> Result<Response, Error> {
    agent(&app, Arch::Aarch64).await
}

async fn agent(app: &AppState, arch: Arch) -> Result<Response, Error> {
    let (file, length) = app.downloads.open_agent(arch).await?.ok_or_else(no_agent)?;
    Ok(attachment("application/octet-stream", "gururmm-agent", file, length))
}

/// A package for machines, the same bytes for everyone.
///
/// 404 `INSTALLER_MISSING` when the file is not the one its manifest names.
#[utoipa::path(get, path = "/install/packages/{file}", tag = "install", security(()),
    params(("file" = String, Path, description = "`file` of one of the server's `packages`")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn package(State(app): State<AppState>, Path(file): Path<String>) -> Result<Response, Error> {
    let Opened { package, file } = super::open_package(&app, &file).await?;
    Ok(attachment(content_type(package.kind), &package.file, file, package.size))
}

/// Mint a deployment token, and download a package under a name that carries it.
///
/// The bytes are those of `/install/packages/`; whoever runs the file enrolls a machine at the site. The token is a
/// secret: it stands in `Content-Disposition` only, and `X-Enrollment-Key-Id` says which one it is in the list of keys.
/// 404 `INSTALLER_MISSING` when the file is not the one its manifest names.
#[utoipa::path(post, path = "/api/v1/sites/{id}/installers", tag = "install", params(("id" = Uuid, Path)),
    request_body = InstallerInput,
    responses((status = 201, body = Vec<u8>, content_type = "application/octet-stream")))]
async fn create_installer(
    State(app): State<AppState>,
    scope: Scope<ManageKeys>,
    Path(site_id): Path<Uuid>,
    Json(input): Json<InstallerInput>,
) -> Result<Response, Error> {
    let installer = super::create_installer(&app, &scope, site_id, &input).await?;
    let Opened { package, file } = installer.opened;
    let mut response = attachment(content_type(package.kind), &installer.name, file, package.size);
    *response.status_mut() = StatusCode::CREATED;
    let key_id = HeaderValue::from_str(&installer.key.id.to_string()).map_err(Error::internal)?;
    response.headers_mut().insert("x-enrollment-key-id", key_id);
    Ok(response)
}

fn content_type(kind: PackageKind) -> &'static str {
    match kind {
        PackageKind::Msi => "application/x-msi",
        PackageKind::Deb => "application/vnd.debian.binary-package",
        PackageKind::Rpm => "application/x-rpm",
        PackageKind::Agent | PackageKind::Pkg => "application/octet-stream",
    }
}

/// A file to be saved. The name has no quotes in it.
fn attachment(content_type: &'static str, name: &str, file: tokio::fs::File, length: u64) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type.to_owned()),
        (header::CONTENT_LENGTH, length.to_string()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    (headers, Body::from_stream(ReaderStream::new(file.take(length)))).into_response()
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
    Json(super::server_info(&app).await)
}
