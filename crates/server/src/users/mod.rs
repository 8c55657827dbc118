//! People of a partner: members, their roles and confinement. How they come in is in [`invitations`].

mod email;
pub mod http;
pub mod invitations;
mod rules;
mod store;

pub use email::checked_email;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::permission::{ManageUsers, ReadUsers};
use crate::auth::throttle::AccountLock;
use crate::auth::{Role, Scope};
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use crate::sign_in::account::{self, SessionSummary};
use crate::sign_in::commit_revocation;
use crate::tenancy::{self, checked_name};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use uuid::Uuid;

/// A member of the partner.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PartnerUser {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub role: Role,
    pub status: MemberStatus,
    /// With `site_ids` empty as well: the whole partner.
    pub client_ids: Vec<Uuid>,
    pub site_ids: Vec<Uuid>,
    /// When the person was invited to this partner.
    pub created_at: DateTime<Utc>,
    pub last_sign_in_at: Option<DateTime<Utc>>,
    /// Until when sign-in is locked after too many failures.
    pub locked_until: Option<DateTime<Utc>>,
}

/// Where a member stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberStatus {
    /// The invitation is not accepted yet.
    Invited,
    Active,
    Suspended,
}

impl MemberStatus {
    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Active => "active",
            Self::Suspended => "suspended",
        }
    }

    fn parse(word: &str) -> Self {
        match word {
            "active" => Self::Active,
            "invited" => Self::Invited,
            _ => Self::Suspended,
        }
    }
}

/// What changes about a member; absent fields stay.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MemberUpdate {
    /// Only where the account is of this partner alone.
    #[schema(min_length = 1, max_length = 120)]
    pub name: Option<String>,
    pub role: Option<Role>,
    /// `active` or `suspended`, for someone who has accepted the invitation.
    pub status: Option<MemberStatus>,
    #[schema(max_items = 200)]
    pub client_ids: Option<Vec<Uuid>>,
    #[schema(max_items = 200)]
    pub site_ids: Option<Vec<Uuid>>,
}

/// One page of the partner's people, by e-mail address.
pub async fn list_users(
    app: &App,
    scope: &Scope<ReadUsers>,
    search: Option<&str>,
    page: &PageQuery,
) -> Result<Page<PartnerUser>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(String, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count_members(&mut tx, search).await?;
    let mut users = store::list_members(&mut tx, search, after, limit + 1).await?;
    add_locks(app, &mut tx, &mut users).await?;
    Page::of(users, limit, total, |user| (user.email.to_lowercase(), user.id))
}

/// One member.
pub async fn get_user(app: &App, scope: &Scope<ReadUsers>, id: Uuid) -> Result<PartnerUser, Error> {
    let mut tx = app.db.begin(scope).await?;
    load(app, &mut tx, id).await
}

/// Changes a member. The partner keeps an active owner, and nobody reaches above themselves.
pub async fn update_user(
    app: &App,
    scope: &Scope<ManageUsers>,
    id: Uuid,
    input: MemberUpdate,
) -> Result<PartnerUser, Error> {
    let actor = scope.role().ok_or_else(|| Error::new(Code::Forbidden))?;
    let name = input.name.as_deref().map(checked_name).transpose()?;
    let mut tx = app.db.begin(scope).await?;
    store::lock_members(&mut tx).await?;
    let before = load(app, &mut tx, id).await?;
    let after = PartnerUser {
        name: name.unwrap_or(&before.name).to_owned(),
        role: input.role.unwrap_or(before.role),
        status: input.status.unwrap_or(before.status),
        client_ids: input.client_ids.unwrap_or_else(|| before.client_ids.clone()),
        site_ids: input.site_ids.unwrap_or_else(|| before.site_ids.clone()),
        ..before.clone()
    };
    rules::check_ladder(actor, Some(before.role), Some(after.role))?;
    rules::check_confinement(after.role, &after.client_ids, &after.site_ids)?;
    let confines = after.client_ids != before.client_ids || after.site_ids != before.site_ids;
    if confines && !tenancy::all_exist(&mut tx, &after.client_ids, &after.site_ids).await? {
        return Err(Error::not_found());
    }
    if after.status != before.status
        && (before.status == MemberStatus::Invited || after.status == MemberStatus::Invited)
    {
        return Err(Error::with_detail(Code::InvalidState, "the invitation has not been accepted yet"));
    }
    if !is_active_owner(&after) {
        keep_an_owner(&mut tx, &before).await?;
    }
    if after.name != before.name {
        rename(&mut tx, &before, &after.name).await?;
    }
    store::update_membership(&mut tx, &after).await?;
    let is_out = after.status == MemberStatus::Suspended && before.status != after.status;
    let revoked = if is_out { account::revoke_in_partner(&mut tx, id).await? } else { Vec::new() };
    tx.emit(Event::new(Topic::UserChanged, tx.tenant()?, id)).await?;
    let entry = Entry::new("user.update", "user", id).named(&after.name).with(changes(&before, &after));
    tx.audit(entry).await?;
    commit_revocation(app, tx, &revoked).await?;
    Ok(after)
}

/// Takes someone out of the partner; the account stays where it is of others, too.
pub async fn remove_user(app: &App, scope: &Scope<ManageUsers>, id: Uuid) -> Result<(), Error> {
    let actor = scope.role().ok_or_else(|| Error::new(Code::Forbidden))?;
    let mut tx = app.db.begin(scope).await?;
    store::lock_members(&mut tx).await?;
    let user = load(app, &mut tx, id).await?;
    rules::check_ladder(actor, Some(user.role), None)?;
    keep_an_owner(&mut tx, &user).await?;
    let revoked = account::revoke_in_partner(&mut tx, id).await?;
    store::delete_open_invitations(&mut tx, id).await?;
    store::delete_membership(&mut tx, id).await?;
    tx.emit(Event::new(Topic::UserChanged, tx.tenant()?, id)).await?;
    let detail = json!({ "email": user.email, "role": user.role });
    tx.audit(Entry::new("user.remove", "user", id).named(&user.name).with(detail)).await?;
    commit_revocation(app, tx, &revoked).await
}

/// A member's sessions in this partner. Where and when a colleague works is a sensitive read.
pub async fn list_user_sessions(
    app: &App,
    scope: &Scope<ReadUsers>,
    id: Uuid,
    page: &PageQuery,
) -> Result<Page<SessionSummary>, Error> {
    let mut tx = app.db.begin(scope).await?;
    let user = load(app, &mut tx, id).await?;
    let sessions = account::list_in_partner(&mut tx, id, scope.session_id(), page).await?;
    if scope.actor().user_id() != Some(id) {
        tx.audit_read(Entry::new("user.read_sessions", "user", id).named(&user.name)).await?;
        tx.commit().await?;
    }
    Ok(sessions)
}

/// Ends a member's sessions in this partner.
pub async fn revoke_user_sessions(app: &App, scope: &Scope<ManageUsers>, id: Uuid) -> Result<(), Error> {
    let actor = scope.role().ok_or_else(|| Error::new(Code::Forbidden))?;
    let mut tx = app.db.begin(scope).await?;
    let user = load(app, &mut tx, id).await?;
    rules::check_ladder(actor, Some(user.role), None)?;
    let revoked = account::revoke_in_partner(&mut tx, id).await?;
    let entry = Entry::new("user.revoke_sessions", "user", id).named(&user.name);
    tx.audit(entry.with(json!({ "sessions": revoked.len() }))).await?;
    commit_revocation(app, tx, &revoked).await
}

async fn load<P>(app: &App, tx: &mut Tx<P>, id: Uuid) -> Result<PartnerUser, Error> {
    let mut found: Vec<_> = store::get_member(tx, id).await?.into_iter().collect();
    add_locks(app, tx, &mut found).await?;
    found.pop().ok_or_else(Error::not_found)
}

/// Locks are counted by address, so someone who has not joined yet shows none: it would tell about an account
/// that is still another partner's.
async fn add_locks<P>(app: &App, tx: &mut Tx<P>, users: &mut [PartnerUser]) -> Result<(), Error> {
    let keys: Vec<Vec<u8>> =
        users.iter().map(|user| AccountLock::of_world(app, &user.email).key().to_vec()).collect();
    let locks = store::locks(tx, &keys).await?;
    for (user, key) in users.iter_mut().zip(&keys) {
        if user.status != MemberStatus::Invited {
            user.locked_until = locks.get(key).copied();
        }
    }
    Ok(())
}

fn is_active_owner(user: &PartnerUser) -> bool {
    user.role == Role::Owner && user.status == MemberStatus::Active
}

/// Refuses when `leaving` is the last one. The members are locked: two owners cannot leave at the same time.
async fn keep_an_owner<P>(tx: &mut Tx<P>, leaving: &PartnerUser) -> Result<(), Error> {
    match is_active_owner(leaving) && !store::has_other_active_owner(tx, leaving.id).await? {
        true => Err(Error::new(Code::LastOwner)),
        false => Ok(()),
    }
}

/// Before someone has joined, the partner's own name for them; afterwards the account's, if it is nobody else's.
async fn rename<P>(tx: &mut Tx<P>, user: &PartnerUser, name: &str) -> Result<(), Error> {
    if user.status == MemberStatus::Invited {
        return store::rename_invited(tx, user.id, name).await;
    }
    if store::is_beyond_partner(tx, user.id).await? {
        let detail = "this account is not this partner's alone; its owner can change the name";
        return Err(Error::with_detail(Code::Forbidden, detail));
    }
    store::rename_account(tx, user.id, name).await
}

/// What differs, as `{field: {from, to}}`.
fn changes(before: &PartnerUser, after: &PartnerUser) -> Value {
    let pairs = [
        ("name", json!(before.name), json!(after.name)),
        ("role", json!(before.role), json!(after.role)),
        ("status", json!(before.status), json!(after.status)),
        ("client_ids", json!(before.client_ids), json!(after.client_ids)),
        ("site_ids", json!(before.site_ids), json!(after.site_ids)),
    ];
    let differing = pairs.into_iter().filter(|(_, from, to)| from != to);
    differing.map(|(field, from, to)| (field.to_owned(), json!({ "from": from, "to": to }))).collect()
}
