//! Routes of enrollment and its keys.

use super::{DeploymentInput, Key, KeyOnce};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::{ManageKeys, ReadKeys};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, RequestInfo, SchemaName as _};
use axum::extract::State;
use axum::http::StatusCode;
use gururmm_protocol::bootstrap::{EnrollRequest, EnrollResponse};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(enroll))
        .routes(routes!(list_keys, create_deployment_key))
        .routes(routes!(rotate_key))
        .routes(routes!(revoke_key))
}

/// A machine asks to be let in with its site's enrollment key, and gets a key of its own.
///
/// 401 `ENROLLMENT_REFUSED` for whatever is wrong with site or key; 409 `ENROLL_SITE_CONFLICT` when the machine is
/// enrolled at another site of the partner.
#[utoipa::path(post, path = "/api/enroll", tag = "enrollment", security(()), request_body = EnrollRequest,
    responses((status = 201, body = EnrollResponse)))]
async fn enroll(
    State(app): State<AppState>,
    request: RequestInfo,
    Json(asked): Json<EnrollRequest>,
) -> Result<(StatusCode, Json<EnrollResponse>), Error> {
    super::enroll(&app, request, asked).await.map(|answer| (StatusCode::CREATED, Json(answer)))
}

/// A site's enrollment keys, newest first.
#[utoipa::path(get, path = "/api/v1/sites/{id}/enrollment-keys", tag = "enrollment",
    params(("id" = Uuid, Path), PageQuery), responses((status = 200, body = Page<Key>)))]
async fn list_keys(
    State(app): State<AppState>,
    scope: Scope<ReadKeys>,
    Path(site_id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<Key>>, Error> {
    super::list_keys(&app, &scope, site_id, &page).await.map(Json)
}

/// Mint a deployment token: a key with an end.
#[utoipa::path(post, path = "/api/v1/sites/{id}/enrollment-keys", tag = "enrollment", params(("id" = Uuid, Path)),
    request_body = DeploymentInput, responses((status = 201, body = KeyOnce)))]
async fn create_deployment_key(
    State(app): State<AppState>,
    scope: Scope<ManageKeys>,
    Path(site_id): Path<Uuid>,
    Json(input): Json<DeploymentInput>,
) -> Result<(StatusCode, Json<KeyOnce>), Error> {
    let once = super::create_deployment_key(&app, &scope, site_id, &input).await?;
    Ok((StatusCode::CREATED, Json(once)))
}

/// Replace the site's standing key. Enrolled machines do not notice.
#[utoipa::path(post, path = "/api/v1/sites/{id}/enrollment-keys/rotate", tag = "enrollment",
    params(("id" = Uuid, Path)), responses((status = 201, body = KeyOnce)))]
async fn rotate_key(
    State(app): State<AppState>,
    scope: Scope<ManageKeys>,
    Path(site_id): Path<Uuid>,
) -> Result<(StatusCode, Json<KeyOnce>), Error> {
    super::rotate_key(&app, &scope, site_id).await.map(|once| (StatusCode::CREATED, Json(once)))
}

/// Revoke a key for good.
#[utoipa::path(delete, path = "/api/v1/enrollment-keys/{id}", tag = "enrollment", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn revoke_key(
    State(app): State<AppState>,
    scope: Scope<ManageKeys>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    super::revoke_key(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}
