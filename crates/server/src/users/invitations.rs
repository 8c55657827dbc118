//! How people come in: a link with a one-time token, valid for a week.
//!
//! The inviter holds the link, so it must never open an account that is somebody's already: it sets the first
//! password of an account that has none, and nothing else. Whoever has an account signs in as usual and accepts
//! with that session.

use super::{MemberStatus, PartnerUser, load, rules, store};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::permission::ManageUsers;
use crate::auth::{Role, Scope, password};
use crate::bus::{Event, Topic};
use crate::db::{InvitationLookup, Tx};
use crate::error::{Code, Error};
use crate::http::RequestInfo;
use crate::keys::{Purpose, random_token};
use crate::tenancy::{self, checked_name};
use crate::users::checked_email;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

const LIFETIME: TimeDelta = TimeDelta::days(7);

/// Someone to be invited.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InviteInput {
    #[schema(min_length = 3, max_length = 254)]
    pub email: String,
    #[schema(min_length = 1, max_length = 120)]
    pub name: String,
    pub role: Role,
    /// Both lists absent or empty: the whole partner.
    #[serde(default)]
    #[schema(max_items = 200)]
    pub client_ids: Vec<Uuid>,
    #[serde(default)]
    #[schema(max_items = 200)]
    pub site_ids: Vec<Uuid>,
}

/// The link to hand over. Shown once.
#[derive(Serialize, ToSchema)]
pub struct Invitation {
    /// To be put behind the server's address. The token is in the fragment: it reaches no log.
    pub url_path: String,
    pub expires_at: DateTime<Utc>,
}

/// A new member with the link.
#[derive(Serialize, ToSchema)]
pub struct Invited {
    pub user: PartnerUser,
    pub invitation: Invitation,
}

/// What a link is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct InvitationInfo {
    pub email: String,
    pub name: String,
    pub partner_name: String,
    /// Then one signs in and accepts, instead of choosing a password.
    pub has_account: bool,
}

/// The answer to an invitation.
#[derive(Deserialize, ToSchema)]
pub struct Acceptance {
    pub token: String,
    /// For a new account; what the inviter wrote when absent.
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    /// For a new account.
    #[schema(min_length = 12, max_length = 200)]
    pub password: Option<String>,
}

/// Invites someone. 409 for a member, 404 for a client or site of another partner.
pub async fn invite(app: &App, scope: &Scope<ManageUsers>, input: InviteInput) -> Result<Invited, Error> {
    let actor = scope.role().ok_or_else(|| Error::new(Code::Forbidden))?;
    rules::check_ladder(actor, None, Some(input.role))?;
    rules::check_confinement(input.role, &input.client_ids, &input.site_ids)?;
    let account = app.db.lookup_user_by_email(input.email.trim()).await?;
    let mut tx = app.db.begin(scope).await?;
    if !tenancy::all_exist(&mut tx, &input.client_ids, &input.site_ids).await? {
        return Err(Error::not_found());
    }
    let (id, invitation) = add_member(app, &mut tx, account, &input).await?;
    let user = load(app, &mut tx, id).await?;
    let detail = json!({
        "email": user.email, "role": user.role, "client_ids": user.client_ids, "site_ids": user.site_ids,
    });
    tx.audit(Entry::new("user.invite", "user", id).named(&user.name).with(detail)).await?;
    tx.commit().await?;
    Ok(Invited { user, invitation })
}

/// Makes a member who still has to accept, and an account where there is none, within a transaction that the
/// caller audits. `account` is the one that has the address already.
pub(crate) async fn add_member<P>(
    app: &App,
    tx: &mut Tx<P>,
    account: Option<Uuid>,
    input: &InviteInput,
) -> Result<(Uuid, Invitation), Error> {
    let (email, name) = (checked_email("email", &input.email)?, checked_name(&input.name)?);
    let id = match account {
        Some(id) => id,
        None => store::insert_account(tx, email, name).await?,
    };
    store::insert_membership(tx, id, name, input).await?;
    let invitation = issue(app, tx, id).await?;
    tx.emit(Event::new(Topic::UserChanged, tx.tenant()?, id)).await?;
    Ok((id, invitation))
}

/// Makes a new link for someone who has not accepted; the one before is void.
pub async fn renew(app: &App, scope: &Scope<ManageUsers>, id: Uuid) -> Result<Invitation, Error> {
    let actor = scope.role().ok_or_else(|| Error::new(Code::Forbidden))?;
    let mut tx = app.db.begin(scope).await?;
    let user = load(app, &mut tx, id).await?;
    rules::check_ladder(actor, Some(user.role), None)?;
    if user.status != MemberStatus::Invited {
        return Err(Error::with_detail(Code::InvalidState, "this person has accepted already"));
    }
    let invitation = issue(app, &mut tx, id).await?;
    tx.audit(Entry::new("user.invite_again", "user", id).named(&user.name)).await?;
    tx.commit().await?;
    Ok(invitation)
}

/// What a link is for.
///
/// # Errors
/// `INVITATION_INVALID`, `RATE_LIMITED`.
pub async fn check(app: &App, request: RequestInfo, token: &str) -> Result<InvitationInfo, Error> {
    let found = find(app, &request, token).await?;
    let mut tx = app.db.begin(&Scope::proven("invitation", Some(found.tenant_id), None, request)).await?;
    let invitee = invitee(&mut tx, &found).await?;
    Ok(InvitationInfo {
        email: invitee.email,
        name: invitee.name,
        partner_name: invitee.partner_name,
        has_account: invitee.has_account,
    })
}

/// Accepts. `signed_in_as` is whose session came with the request, if any.
///
/// # Errors
/// `INVITATION_INVALID`; `UNAUTHENTICATED` where the invited person has an account and is not signed in to it.
pub async fn accept(
    app: &App,
    request: RequestInfo,
    signed_in_as: Option<Uuid>,
    input: Acceptance,
) -> Result<(), Error> {
    let found = find(app, &request, &input.token).await?;
    let proven = Scope::proven("invitation", Some(found.tenant_id), None, request.clone());
    let invitee = invitee(&mut app.db.begin(&proven).await?, &found).await?;
    let name = input.name.as_deref().map_or(Ok(invitee.name.as_str()), checked_name)?.to_owned();
    let first_password = match invitee.has_account {
        true if signed_in_as != Some(found.user_id) => {
            let detail = "you have an account; sign in to it, then accept";
            return Err(Error::with_detail(Code::Unauthenticated, detail));
        }
        true => None,
        false => {
            let password = Zeroizing::new(input.password.unwrap_or_default());
            password::check_rules("password", &password, &invitee.email, &name)?;
            Some(password::hash(&password).await?)
        }
    };
    let person = Some((found.user_id, name.as_str()));
    let mut tx = app.db.begin(&Scope::proven("invitation", Some(found.tenant_id), person, request)).await?;
    let mut is_good = store::use_invitation(&mut tx, found.invitation_id).await?;
    if let Some(hash) = first_password {
        is_good = is_good && store::open_account(&mut tx, found.user_id, &name, &hash).await?;
    }
    is_good = is_good && store::join(&mut tx, found.user_id).await?;
    if !is_good {
        return Err(Error::new(Code::InvitationInvalid));
    }
    tx.emit(Event::new(Topic::UserChanged, found.tenant_id, found.user_id)).await?;
    tx.audit(Entry::new("user.accept_invitation", "user", found.user_id).named(&name)).await?;
    tx.commit().await
}

async fn find(app: &App, request: &RequestInfo, token: &str) -> Result<InvitationLookup, Error> {
    app.limits.one_time_link.check(request)?;
    let digest = app.keys.digest(Purpose::InvitationToken, token);
    app.db.lookup_invitation(&digest).await?.ok_or_else(|| Error::new(Code::InvitationInvalid))
}

async fn invitee<P>(tx: &mut Tx<P>, found: &InvitationLookup) -> Result<store::Invitee, Error> {
    store::invitee(tx, found.user_id).await?.ok_or_else(|| Error::new(Code::InvitationInvalid))
}

async fn issue<P>(app: &App, tx: &mut Tx<P>, user_id: Uuid) -> Result<Invitation, Error> {
    let (token, expires_at) = (random_token("giv_"), Utc::now() + LIFETIME);
    store::delete_open_invitations(tx, user_id).await?;
    let digest = app.keys.digest(Purpose::InvitationToken, &token);
    store::insert_invitation(tx, user_id, &digest, expires_at).await?;
    Ok(Invitation { url_path: format!("/invite#token={}", token.as_str()), expires_at })
}
