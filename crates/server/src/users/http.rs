//! Routes of a partner's people, and the two public ones of invitations.

use super::invitations::{self, Acceptance, Invitation, InvitationInfo, InviteInput, Invited};
use super::{MemberUpdate, PartnerUser};
use crate::app::AppState;
use crate::auth::permission::{ManageUsers, ReadUsers};
use crate::auth::{Scope, credential};
use crate::error::Error;
use crate::http::{Json, Page, PageQuery, Path, Query, RequestInfo, SchemaName as _};
use crate::sign_in::account::SessionSummary;
use axum::extract::{FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::Deserialize;
use std::convert::Infallible;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;

/// Routes of this slice.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_users, invite_user))
        .routes(routes!(get_user, update_user, remove_user))
        .routes(routes!(renew_invitation))
        .routes(routes!(list_user_sessions, revoke_user_sessions))
        .routes(routes!(check_invitation))
        .routes(routes!(accept_invitation))
}

#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Search {
    /// Part of the name or the address, in any case.
    #[param(max_length = 254)]
    search: Option<String>,
}

#[derive(Deserialize, ToSchema)]
struct InvitationToken {
    token: String,
}

/// Whose session came with a request that needs none.
struct SignedInAs(Option<Uuid>);

impl FromRequestParts<AppState> for SignedInAs {
    type Rejection = Infallible;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        // A stale session of someone else must not keep a newcomer from accepting.
        Ok(Self(credential::authenticate(app, parts).await.ok().map(|session| session.user_id)))
    }
}

/// The partner's people, by e-mail address.
#[utoipa::path(get, path = "/api/v1/users", tag = "users", params(Search, PageQuery),
    responses((status = 200, body = Page<PartnerUser>)))]
async fn list_users(
    State(app): State<AppState>,
    scope: Scope<ReadUsers>,
    Query(search): Query<Search>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<PartnerUser>>, Error> {
    super::list_users(&app, &scope, search.search.as_deref(), &page).await.map(Json)
}

/// Invite someone.
#[utoipa::path(post, path = "/api/v1/users", tag = "users", request_body = InviteInput,
    responses((status = 201, body = Invited)))]
async fn invite_user(
    State(app): State<AppState>,
    scope: Scope<ManageUsers>,
    Json(input): Json<InviteInput>,
) -> Result<(StatusCode, Json<Invited>), Error> {
    invitations::invite(&app, &scope, input).await.map(|invited| (StatusCode::CREATED, Json(invited)))
}

/// One member.
#[utoipa::path(get, path = "/api/v1/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 200, body = PartnerUser)))]
async fn get_user(
    State(app): State<AppState>,
    scope: Scope<ReadUsers>,
    Path(id): Path<Uuid>,
) -> Result<Json<PartnerUser>, Error> {
    super::get_user(&app, &scope, id).await.map(Json)
}

/// Change a member.
#[utoipa::path(patch, path = "/api/v1/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    request_body = MemberUpdate, responses((status = 200, body = PartnerUser)))]
async fn update_user(
    State(app): State<AppState>,
    scope: Scope<ManageUsers>,
    Path(id): Path<Uuid>,
    Json(input): Json<MemberUpdate>,
) -> Result<Json<PartnerUser>, Error> {
    super::update_user(&app, &scope, id, input).await.map(Json)
}

/// Take someone out of the partner.
#[utoipa::path(delete, path = "/api/v1/users/{id}", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn remove_user(
    State(app): State<AppState>,
    scope: Scope<ManageUsers>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    super::remove_user(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// A new link for someone who has not accepted yet; the one before is void.
#[utoipa::path(post, path = "/api/v1/users/{id}/invitation", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 201, body = Invitation)))]
async fn renew_invitation(
    State(app): State<AppState>,
    scope: Scope<ManageUsers>,
    Path(id): Path<Uuid>,
) -> Result<(StatusCode, Json<Invitation>), Error> {
    invitations::renew(&app, &scope, id).await.map(|invitation| (StatusCode::CREATED, Json(invitation)))
}

/// A member's sessions in this partner, newest first.
#[utoipa::path(get, path = "/api/v1/users/{id}/sessions", tag = "users", params(("id" = Uuid, Path), PageQuery),
    responses((status = 200, body = Page<SessionSummary>)))]
async fn list_user_sessions(
    State(app): State<AppState>,
    scope: Scope<ReadUsers>,
    Path(id): Path<Uuid>,
    Query(page): Query<PageQuery>,
) -> Result<Json<Page<SessionSummary>>, Error> {
    super::list_user_sessions(&app, &scope, id, &page).await.map(Json)
}

/// End a member's sessions in this partner.
#[utoipa::path(delete, path = "/api/v1/users/{id}/sessions", tag = "users", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn revoke_user_sessions(
    State(app): State<AppState>,
    scope: Scope<ManageUsers>,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Error> {
    super::revoke_user_sessions(&app, &scope, id).await.map(|()| StatusCode::NO_CONTENT)
}

/// What is this invitation link for?
#[utoipa::path(post, path = "/api/v1/invitations/check", tag = "users", security(()),
    request_body = InvitationToken, responses((status = 200, body = InvitationInfo)))]
async fn check_invitation(
    State(app): State<AppState>,
    request: RequestInfo,
    Json(input): Json<InvitationToken>,
) -> Result<Json<InvitationInfo>, Error> {
    invitations::check(&app, request, &input.token).await.map(Json)
}

/// Accept: with a first password, or with the session of the account one has.
#[utoipa::path(post, path = "/api/v1/invitations/accept", tag = "users", security((), ("bearer" = []), ("cookie" = [])),
    request_body = Acceptance, responses((status = 204)))]
async fn accept_invitation(
    State(app): State<AppState>,
    SignedInAs(signed_in_as): SignedInAs,
    request: RequestInfo,
    Json(input): Json<Acceptance>,
) -> Result<StatusCode, Error> {
    invitations::accept(&app, request, signed_in_as, input).await.map(|()| StatusCode::NO_CONTENT)
}
