//! Routes of the audit log.

use super::{AuditEntry, AuditFilter, Format, Verification};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::ReadAudit;
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Query, SchemaName as _};
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(export)).routes(routes!(verify))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ExportQuery {
    /// `csv` or `jsonl`.
    #[param(inline)]
    format: Format,
}

/// What was done, newest first.
#[utoipa::path(get, path = "/api/v1/audit", tag = "audit", params(AuditFilter, PageQuery),
    responses((status = 200, body = Page<AuditEntry>)))]
async fn list(
    State(app): State<AppState>,
    scope: Scope<ReadAudit>,
    Query(filter): Query<AuditFilter>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<AuditEntry>>, Error> {
    super::list(&app, &scope, &filter, &page).await.map(Json)
}

/// The same as a file.
#[utoipa::path(get, path = "/api/v1/audit/export", tag = "audit", params(AuditFilter, ExportQuery),
    responses((status = 200, content((String = "text/csv"), (String = "application/x-ndjson")))))]
async fn export(
    State(app): State<AppState>,
    scope: Scope<ReadAudit>,
    Query(filter): Query<AuditFilter>,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Error> {
    let content_type = match query.format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Jsonl => "application/x-ndjson",
    };
    let disposition = format!("attachment; filename=\"audit.{}\"", query.format.as_str());
    let entries = super::export(app, scope, filter, query.format).await?;
    let headers =
        [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, disposition)];
    Ok((headers, Body::from_stream(entries)).into_response())
}

/// Is the log whole?
#[utoipa::path(get, path = "/api/v1/audit/verify", tag = "audit", responses((status = 200, body = Verification)))]
async fn verify(State(app): State<AppState>, scope: Scope<ReadAudit>) -> Result<Json<Verification>, Error> {
    super::verify(&app, &scope).await.map(Json)
}
