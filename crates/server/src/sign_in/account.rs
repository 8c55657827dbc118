//! One's own account: name, password, sessions.

use super::{Refusal, User, commit_revocation, current, prove_password, store};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::permission::OwnAccount;
use crate::auth::throttle::AccountLock;
use crate::auth::{Scope, password};
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use crate::tenancy::checked_name;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

/// A session in a list.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Session)]
pub struct SessionSummary {
    pub id: Uuid,
    /// `dashboard` or `api`.
    pub kind: String,
    pub created_at: DateTime<Utc>,
    /// To the minute.
    pub last_used_at: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    /// Where it was opened from.
    pub ip: Option<String>,
    pub user_agent: Option<String>,
    /// Whether the request itself came with it.
    pub current: bool,
}

/// What one may change about one's own account.
#[derive(Debug, Deserialize, ToSchema)]
pub struct ProfileInput {
    /// 1 to 120 characters.
    #[schema(min_length = 1, max_length = 120)]
    pub name: String,
}

/// A new password, and the old one as proof.
#[derive(Deserialize, ToSchema)]
pub struct PasswordInput {
    pub current_password: String,
    #[schema(min_length = 12, max_length = 200)]
    pub new_password: String,
}

/// One's own live sessions, newest first.
pub async fn list_sessions(
    app: &App,
    scope: &Scope<OwnAccount>,
    page: &PageQuery,
) -> Result<Page<SessionSummary>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let (user_id, current) = (scope.user()?, scope.session_id());
    let mut tx = app.db.begin(scope).await?;
    let total = store::count_sessions(&mut tx, user_id, None).await?;
    let sessions = store::list_sessions(&mut tx, user_id, None, current, after, limit + 1).await?;
    Page::of(sessions, limit, total, |session| (session.created_at, session.id))
}

/// Ends one of one's own sessions.
pub async fn revoke_session(app: &App, scope: &Scope<OwnAccount>, id: Uuid) -> Result<(), Error> {
    let user_id = scope.user()?;
    let mut tx = app.db.begin(scope).await?;
    if !store::is_live_session_of(&mut tx, id, user_id).await? {
        return Err(Error::not_found());
    }
    store::revoke_session(&mut tx, id).await?;
    tx.audit(Entry::new("session.revoke", "session", id)).await?;
    commit_revocation(app, tx, &[id]).await
}

/// Ends all of one's own sessions but this one.
pub async fn revoke_other_sessions(app: &App, scope: &Scope<OwnAccount>) -> Result<(), Error> {
    let user_id = scope.user()?;
    let mut tx = app.db.begin(scope).await?;
    let revoked = store::revoke_sessions(&mut tx, user_id, None, scope.session_id()).await?;
    let entry =
        Entry::new("session.revoke_others", "user", user_id).with(json!({ "sessions": revoked.len() }));
    tx.audit(entry).await?;
    commit_revocation(app, tx, &revoked).await
}

/// A member's live sessions in the transaction's partner, newest first.
pub(crate) async fn list_in_partner<P>(
    tx: &mut Tx<P>,
    user_id: Uuid,
    current: Option<Uuid>,
    page: &PageQuery,
) -> Result<Page<SessionSummary>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let tenant = Some(tx.tenant()?);
    let total = store::count_sessions(tx, user_id, tenant).await?;
    let sessions = store::list_sessions(tx, user_id, tenant, current, after, limit + 1).await?;
    Page::of(sessions, limit, total, |session| (session.created_at, session.id))
}

/// Revokes a member's live sessions in the transaction's partner; answers which, for `commit_revocation`.
pub(crate) async fn revoke_in_partner<P>(tx: &mut Tx<P>, user_id: Uuid) -> Result<Vec<Uuid>, Error> {
    let tenant = Some(tx.tenant()?);
    store::revoke_sessions(tx, user_id, tenant, None).await
}

/// Changes one's own name.
pub async fn rename(app: &App, scope: &Scope<OwnAccount>, input: ProfileInput) -> Result<User, Error> {
    let (name, user_id) = (checked_name(&input.name)?, scope.user()?);
    let mut tx = app.db.begin(scope).await?;
    let before = store::user(&mut tx, user_id).await?;
    store::rename_user(&mut tx, user_id, name).await?;
    let detail = json!({ "name": { "from": before.name, "to": name } });
    tx.audit(Entry::new("profile.update", "user", user_id).named(name).with(detail)).await?;
    tx.commit().await?;
    Ok(current(app, scope).await?.user)
}

/// Changes one's own password and ends all other sessions. A wrong current password counts as a failed sign-in.
pub async fn change_password(
    app: &App,
    scope: &Scope<OwnAccount>,
    input: PasswordInput,
) -> Result<(), Error> {
    app.limits.sign_in.check(scope.request())?;
    let user_id = scope.user()?;
    let user = store::user(&mut app.db.begin(scope).await?, user_id).await?;
    password::check_rules("new_password", &input.new_password, &user.email, &user.name)?;
    let account = app.db.lookup_login(&user.email).await?;
    let given = Zeroizing::new(input.current_password);
    match prove_password(app, &AccountLock::of_session(app, &user.email), account, given).await {
        Ok(_) => {}
        Err(Refusal::Wrong { .. }) => return Err(Error::new(Code::InvalidCredentials)),
        Err(Refusal::Failed(error)) => return Err(error),
    }
    let hash = password::hash(&Zeroizing::new(input.new_password)).await?;
    let mut tx = app.db.begin(scope).await?;
    store::set_password(&mut tx, user_id, &hash).await?;
    let revoked = store::revoke_sessions(&mut tx, user_id, None, scope.session_id()).await?;
    tx.audit(Entry::new("profile.change_password", "user", user_id)).await?;
    commit_revocation(app, tx, &revoked).await
}
