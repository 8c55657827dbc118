//! Routes of the first run. Once it is over they are not there: 404 for every method, before anything of the
//! request is looked at. Only /api/auth/register, which scripts know, says 403 instead.

use super::{Done, FirstRun, Proof, local_part};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::credential::SessionKind;
use crate::enrollment::KeyOnce;
use crate::error::{Code, Error};
use crate::http::{Json, RequestInfo};
use crate::sign_in::http::{ApiSession, session_cookie};
use crate::sign_in::{self, OpenedSession, PartnerName, SessionInfo};
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouterExt as _};
use utoipa_axum::routes;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(check).map(|methods| methods.fallback(setup_by_other_method)))
        .routes(routes!(setup).map(|methods| methods.fallback(setup_by_other_method)))
        .routes(routes!(register).map(|methods| methods.fallback(register_by_other_method)))
}

#[derive(Deserialize, ToSchema)]
struct TokenInput {
    setup_token: String,
}

#[derive(Deserialize, ToSchema)]
struct SetupInput {
    /// From the link that the server printed.
    setup_token: String,
    #[schema(min_length = 3, max_length = 254)]
    email: String,
    #[schema(min_length = 1, max_length = 120)]
    name: String,
    #[schema(min_length = 12, max_length = 200)]
    password: String,
    #[schema(min_length = 1, max_length = 120)]
    partner_name: String,
    #[schema(min_length = 1, max_length = 120)]
    client_name: String,
    #[schema(min_length = 1, max_length = 120)]
    site_name: String,
}

#[derive(Deserialize, ToSchema)]
struct RegisterInput {
    /// From the link that the server printed.
    setup_token: String,
    #[schema(min_length = 3, max_length = 254)]
    email: String,
    #[schema(min_length = 12, max_length = 200)]
    password: String,
    /// What stands before the `@` when absent.
    #[schema(min_length = 1, max_length = 120)]
    name: Option<String>,
    #[schema(min_length = 1, max_length = 120)]
    partner_name: Option<String>,
    #[schema(min_length = 1, max_length = 120)]
    client_name: Option<String>,
    #[schema(min_length = 1, max_length = 120)]
    site_name: Option<String>,
}

/// What setup made, and the session of its admin.
#[derive(Serialize, ToSchema)]
struct SetupAnswer {
    session: SessionInfo,
    partner: PartnerName,
    client: SetupClient,
    site: SetupSite,
    enrollment_key: KeyOnce,
}

#[derive(Serialize, ToSchema)]
struct SetupClient {
    id: Uuid,
    name: String,
}

#[derive(Serialize, ToSchema)]
struct SetupSite {
    id: Uuid,
    code: String,
    name: String,
}

/// Is this setup link good?
#[utoipa::path(post, path = "/api/v1/setup/check", tag = "setup", security(()), request_body = TokenInput,
    responses((status = 204)))]
async fn check(
    State(app): State<AppState>,
    _open: SetupIsOpen,
    request: RequestInfo,
    Json(input): Json<TokenInput>,
) -> Result<StatusCode, Error> {
    super::check_token(&app, &request, &input.setup_token).await.map(|()| StatusCode::NO_CONTENT)
}

/// Make the first account, partner, client and site.
#[utoipa::path(post, path = "/api/v1/setup", tag = "setup", security(()), request_body = SetupInput,
    responses((status = 201, body = SetupAnswer)))]
async fn setup(
    State(app): State<AppState>,
    _open: SetupIsOpen,
    request: RequestInfo,
    Json(input): Json<SetupInput>,
) -> Result<impl IntoResponse, Error> {
    let first_run = FirstRun {
        email: input.email,
        name: input.name,
        password: Zeroizing::new(input.password),
        partner_name: input.partner_name,
        client_name: input.client_name,
        site_name: input.site_name,
    };
    let done = super::run(&app, request.clone(), Proof::Token(&input.setup_token), first_run).await?;
    let opened = open_session(&app, request, &done, SessionKind::Dashboard).await?;
    let cookie = session_cookie(&app, &opened)?;
    let answer = SetupAnswer {
        session: opened.info,
        partner: PartnerName { id: done.partner_id, name: done.partner_name },
        client: SetupClient { id: done.client.id, name: done.client.name },
        site: SetupSite { id: done.site.id, code: done.site.code, name: done.site.name },
        enrollment_key: done.enrollment_key,
    };
    Ok((StatusCode::CREATED, cookie, Json(answer)))
}

/// Make the first account from a script. 403 once there is one.
#[utoipa::path(post, path = "/api/auth/register", tag = "setup", security(()), request_body = RegisterInput,
    responses((status = 200, body = ApiSession)))]
async fn register(
    State(app): State<AppState>,
    _open: RegistrationIsOpen,
    request: RequestInfo,
    Json(input): Json<RegisterInput>,
) -> Result<Json<ApiSession>, Error> {
    let first_run = FirstRun {
        name: input.name.unwrap_or_else(|| local_part(&input.email)),
        email: input.email,
        password: Zeroizing::new(input.password),
        partner_name: input.partner_name.unwrap_or_else(|| "My company".to_owned()),
        client_name: input.client_name.unwrap_or_else(|| "Internal".to_owned()),
        site_name: input.site_name.unwrap_or_else(|| "Main".to_owned()),
    };
    let done = super::run(&app, request.clone(), Proof::Token(&input.setup_token), first_run).await.map_err(
        |error| match error.code() {
            Code::NotFound => Error::new(Code::RegistrationClosed),
            _ => error,
        },
    )?;
    open_session(&app, request, &done, SessionKind::Api).await.map(|opened| Json(opened.into()))
}

/// Proof that setup is not over; 404 otherwise.
struct SetupIsOpen;

impl FromRequestParts<AppState> for SetupIsOpen {
    type Rejection = Error;
    async fn from_request_parts(_parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        match app.db.setup_is_open().await? {
            true => Ok(Self),
            false => Err(Error::not_found()),
        }
    }
}

/// The same for the one route that scripts know: 403 otherwise.
struct RegistrationIsOpen;

impl FromRequestParts<AppState> for RegistrationIsOpen {
    type Rejection = Error;
    async fn from_request_parts(_parts: &mut Parts, app: &AppState) -> Result<Self, Error> {
        match app.db.setup_is_open().await? {
            true => Ok(Self),
            false => Err(Error::new(Code::RegistrationClosed)),
        }
    }
}

async fn setup_by_other_method(_open: SetupIsOpen) -> Error {
    Error::new(Code::MethodNotAllowed)
}

async fn register_by_other_method(_open: RegistrationIsOpen) -> Error {
    Error::new(Code::MethodNotAllowed)
}

async fn open_session(
    app: &AppState,
    request: RequestInfo,
    done: &Done,
    kind: SessionKind,
) -> Result<OpenedSession, Error> {
    let person = Some((done.user_id, done.user_name.as_str()));
    let mut tx = app.db.begin(&Scope::proven("setup", Some(done.partner_id), person, request)).await?;
    let opened = sign_in::open_session(app, &mut tx, done.user_id, kind).await?;
    tx.commit().await?;
    Ok(opened)
}
