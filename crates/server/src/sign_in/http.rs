//! Routes of sign-in: what API scripts use under /api/auth, and the dashboard's.

use super::account::{self, PasswordInput, ProfileInput, SessionSummary};
use super::{Credentials, OpenedSession, SessionInfo, User};
use crate::app::{App, AppState};
use crate::auth::Scope;
use crate::auth::credential::{self, SessionKind};
use crate::auth::permission::OwnAccount;
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, RequestInfo, SchemaName as _};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// The cookie may outlive the session, never the other way round: the server decides when a session ends.
const COOKIE_SECONDS: i64 = 7 * 24 * 60 * 60;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(login))
        .routes(routes!(me))
        .routes(routes!(logout))
        .routes(routes!(open_session, current_session, close_session))
        .routes(routes!(switch_partner))
        .routes(routes!(list_sessions, revoke_other_sessions))
        .routes(routes!(revoke_session))
        .routes(routes!(rename))
        .routes(routes!(change_password))
}

/// A session for an API client.
#[derive(Serialize, ToSchema)]
pub struct ApiSession {
    /// To be sent as `Authorization: Bearer …`.
    pub token: String,
    pub user: User,
}

impl From<OpenedSession> for ApiSession {
    fn from(opened: OpenedSession) -> Self {
        Self { token: opened.token.to_string(), user: opened.info.user }
    }
}

/// The header that hands a dashboard its new session.
pub(crate) fn session_cookie(app: &App, opened: &OpenedSession) -> Result<HeaderMap, Error> {
    cookie(app, &opened.token, COOKIE_SECONDS)
}

#[derive(Deserialize, ToSchema)]
struct PartnerChoice {
    partner_id: Uuid,
}

/// Sign in from a script.
#[utoipa::path(post, path = "/api/auth/login", tag = "session", security(()), request_body = Credentials,
    responses((status = 200, body = ApiSession)))]
async fn login(
    State(app): State<AppState>,
    request: RequestInfo,
    Json(credentials): Json<Credentials>,
) -> Result<Json<ApiSession>, Error> {
    super::sign_in(&app, request, credentials, SessionKind::Api).await.map(|opened| Json(opened.into()))
}

/// The signed-in user.
#[utoipa::path(get, path = "/api/auth/me", tag = "session", responses((status = 200, body = User)))]
async fn me(State(app): State<AppState>, scope: Scope<OwnAccount>) -> Result<Json<User>, Error> {
    super::current(&app, &scope).await.map(|session| Json(session.user))
}

/// Sign out from a script.
#[utoipa::path(post, path = "/api/auth/logout", tag = "session", responses((status = 204)))]
async fn logout(State(app): State<AppState>, scope: Scope<OwnAccount>) -> Result<impl IntoResponse, Error> {
    super::sign_out(&app, &scope).await?;
    Ok((StatusCode::NO_CONTENT, cookie(&app, "", 0)?))
}

/// Sign in from the dashboard: the session travels in a cookie.
#[utoipa::path(post, path = "/api/v1/session", tag = "session", security(()), request_body = Credentials,
    responses((status = 200, body = SessionInfo)))]
async fn open_session(
    State(app): State<AppState>,
    request: RequestInfo,
    Json(credentials): Json<Credentials>,
) -> Result<impl IntoResponse, Error> {
    let opened = super::sign_in(&app, request, credentials, SessionKind::Dashboard).await?;
    Ok((session_cookie(&app, &opened)?, Json(opened.info)))
}

/// The session, its person and what they may do.
#[utoipa::path(get, path = "/api/v1/session", tag = "session", responses((status = 200, body = SessionInfo)))]
async fn current_session(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
) -> Result<Json<SessionInfo>, Error> {
    super::current(&app, &scope).await.map(Json)
}

/// Sign out.
#[utoipa::path(delete, path = "/api/v1/session", tag = "session", responses((status = 204)))]
async fn close_session(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
) -> Result<impl IntoResponse, Error> {
    super::sign_out(&app, &scope).await?;
    Ok((StatusCode::NO_CONTENT, cookie(&app, "", 0)?))
}

/// Act in another partner.
#[utoipa::path(put, path = "/api/v1/session/partner", tag = "session", request_body = PartnerChoice,
    responses((status = 200, body = SessionInfo)))]
async fn switch_partner(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
    Json(choice): Json<PartnerChoice>,
) -> Result<Json<SessionInfo>, Error> {
    super::switch_partner(&app, &scope, choice.partner_id).await.map(Json)
}

/// One's own sessions, newest first.
#[utoipa::path(get, path = "/api/v1/sessions", tag = "session", params(PageQuery),
    responses((status = 200, body = Page<SessionSummary>)))]
async fn list_sessions(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<SessionSummary>>, Error> {
    account::list_sessions(&app, &scope, &page).await.map(Json)
}

/// End one of one's own sessions.
#[utoipa::path(delete, path = "/api/v1/sessions/{id}", tag = "session", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn revoke_session(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    account::revoke_session(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// End all of one's own sessions but this one.
#[utoipa::path(delete, path = "/api/v1/sessions", tag = "session", responses((status = 204)))]
async fn revoke_other_sessions(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
) -> Result<StatusCode, Error> {
    account::revoke_other_sessions(&app, &scope).await.map(|()| StatusCode::NO_CONTENT)
}

/// Change one's own name.
#[utoipa::path(patch, path = "/api/v1/profile", tag = "session", request_body = ProfileInput,
    responses((status = 200, body = User)))]
async fn rename(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
    Json(input): Json<ProfileInput>,
) -> Result<Json<User>, Error> {
    account::rename(&app, &scope, input).await.map(Json)
}

/// Change one's own password; all other sessions end.
#[utoipa::path(post, path = "/api/v1/profile/password", tag = "session", request_body = PasswordInput,
    responses((status = 204)))]
async fn change_password(
    State(app): State<AppState>,
    scope: Scope<OwnAccount>,
    Json(input): Json<PasswordInput>,
) -> Result<StatusCode, Error> {
    account::change_password(&app, &scope, input).await.map(|()| StatusCode::NO_CONTENT)
}

fn cookie(app: &App, token: &str, seconds: i64) -> Result<HeaderMap, Error> {
    let mut value =
        HeaderValue::from_str(&credential::set_cookie(app, token, seconds)).map_err(Error::internal)?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(header::SET_COOKIE, value)]))
}
