//! People at the door: passwords in, sessions out. What a person does with their own account is in [`account`].

pub mod account;
pub mod http;
mod store;

use crate::app::{App, AppState};
use crate::audit::Entry;
use crate::auth::credential::{self, SESSION_PREFIX, SessionKind};
use crate::auth::permission::{self, OwnAccount, System};
use crate::auth::throttle::AccountLock;
use crate::auth::{Role, Scope, password};
use crate::bus::{Event, Topic};
use crate::db::{LoginLookup, Tx};
use crate::error::{Code, Error};
use crate::http::RequestInfo;
use crate::keys::{Purpose, random_token};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

/// How long a dashboard session lives without being used; `db::touch_session` lets it slide.
const DASHBOARD_IDLE: TimeDelta = TimeDelta::hours(12);
/// The same for a session of an API client.
const API_IDLE: TimeDelta = TimeDelta::days(30);

/// An account as its owner sees it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct User {
    pub id: Uuid,
    pub email: String,
    pub name: String,
    pub is_platform_admin: bool,
    /// `active`; an account that is not cannot see itself.
    pub status: String,
    /// In the partner the session acts in; null when there is none.
    pub role: Option<Role>,
    pub partner_id: Option<Uuid>,
    pub partner_name: Option<String>,
    pub created_at: DateTime<Utc>,
    pub last_sign_in_at: Option<DateTime<Utc>>,
}

/// A partner one may act in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct OwnPartner {
    pub id: Uuid,
    pub name: String,
    pub role: Role,
    #[serde(skip)]
    pub is_confined: bool,
}

/// Id and name of a partner.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PartnerName {
    pub id: Uuid,
    pub name: String,
}

/// What a dashboard must know of its session.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct SessionInfo {
    pub session_id: Uuid,
    pub user: User,
    /// The partner the session acts in.
    pub partner: Option<PartnerName>,
    /// All partners it could act in.
    pub partners: Vec<OwnPartner>,
    pub role: Option<Role>,
    /// What the person may do here, in words.
    pub permissions: Vec<&'static str>,
    /// Whether parts of the partner are out of sight.
    pub confined: bool,
    /// To be sent as `X-CSRF-Token` with every request that changes something.
    pub csrf_token: String,
    /// When the session ends if it is not used any more.
    pub expires_at: DateTime<Utc>,
    pub server_version: &'static str,
}

/// What one signs in with.
#[derive(Deserialize, ToSchema)]
pub struct Credentials {
    pub email: String,
    pub password: String,
}

/// A new session and the secret that opens it, which is shown to its owner once.
pub struct OpenedSession {
    pub info: SessionInfo,
    pub token: Zeroizing<String>,
}

/// Signs someone in. The same answer after the same work whether the account exists, is active, or neither.
///
/// # Errors
/// `INVALID_CREDENTIALS`, `ACCOUNT_LOCKED`, `RATE_LIMITED`.
pub async fn sign_in(
    app: &AppState,
    request: RequestInfo,
    credentials: Credentials,
    kind: SessionKind,
) -> Result<OpenedSession, Error> {
    app.limits.sign_in.check(&request)?;
    let email = credentials.email.trim().to_owned();
    let account = app.db.lookup_login(&email).await?;
    let user_id = account.as_ref().map(|account| account.user_id);
    let given = Zeroizing::new(credentials.password);
    let lock = AccountLock::of(app, &email, user_id, &request).await?;
    let user_id = match prove_password(app, &lock, account, given).await {
        Ok(user_id) => user_id,
        Err(Refusal::Wrong { locks_now }) => {
            if let Some(user_id) = user_id.filter(|_| locks_now) {
                // Beside the answer, so that its time does not tell that the account exists.
                let (app, request) = (app.clone(), request.clone());
                tokio::spawn(async move { tell_partners_of_lock(&app, request, user_id).await });
            }
            return Err(Error::new(Code::InvalidCredentials));
        }
        Err(Refusal::Failed(error)) => return Err(error),
    };
    let person = Scope::proven("sign-in", None, Some((user_id, &email)), request);
    let mut tx = app.db.begin(&person).await?;
    let user = store::user(&mut tx, user_id).await?;
    let tenant = store::own_partners(&mut tx).await?.first().map(|partner| partner.id);
    drop(tx);
    let scope = Scope::proven("sign-in", tenant, Some((user_id, &user.name)), person.request().clone());
    let mut tx = app.db.begin(&scope).await?;
    store::note_sign_in(&mut tx, user_id).await?;
    let opened = open_session(app, &mut tx, user_id, kind).await?;
    tx.commit().await?;
    Ok(opened)
}

/// Opens a session for someone who has just proved who they are, in the transaction's partner.
pub(crate) async fn open_session(
    app: &App,
    tx: &mut Tx<System>,
    user_id: Uuid,
    kind: SessionKind,
) -> Result<OpenedSession, Error> {
    let (session_id, token) = (Uuid::now_v7(), random_token(SESSION_PREFIX));
    let idle = match kind {
        SessionKind::Dashboard => DASHBOARD_IDLE,
        SessionKind::Api => API_IDLE,
    };
    let digest = app.keys.digest(Purpose::SessionToken, &token);
    store::insert_session(tx, session_id, user_id, kind, &digest, Utc::now() + idle).await?;
    let info = describe(app, tx, session_id, user_id).await?;
    tx.audit(Entry::new("session.create", "session", session_id).with(json!({ "kind": kind.as_str() })))
        .await?;
    Ok(OpenedSession { info, token })
}

/// The caller's session.
pub async fn current(app: &App, scope: &Scope<OwnAccount>) -> Result<SessionInfo, Error> {
    let session_id = scope.session_id().ok_or_else(|| Error::new(Code::Unauthenticated))?;
    let mut tx = app.db.begin(scope).await?;
    describe(app, &mut tx, session_id, scope.user()?).await
}

/// Ends the caller's session.
pub async fn sign_out(app: &App, scope: &Scope<OwnAccount>) -> Result<(), Error> {
    let session_id = scope.session_id().ok_or_else(|| Error::new(Code::Unauthenticated))?;
    let mut tx = app.db.begin(scope).await?;
    store::revoke_session(&mut tx, session_id).await?;
    tx.audit(Entry::new("session.revoke", "session", session_id)).await?;
    commit_revocation(app, tx, &[session_id]).await
}

/// Lets the session act in another partner of its person. 404 where the person is no member.
pub async fn switch_partner(
    app: &App,
    scope: &Scope<OwnAccount>,
    partner_id: Uuid,
) -> Result<SessionInfo, Error> {
    let session_id = scope.session_id().ok_or_else(|| Error::new(Code::Unauthenticated))?;
    let mut tx = app.db.begin(scope).await?;
    let partners = store::own_partners(&mut tx).await?;
    let partner = partners.iter().find(|partner| partner.id == partner_id).ok_or_else(Error::not_found)?;
    store::move_session(&mut tx, session_id, partner_id).await?;
    let entry = Entry::new("session.switch_partner", "partner", partner_id).named(&partner.name);
    tx.audit(entry).await?;
    // What the session holds open still belongs to the partner before.
    commit_and_tell(app, tx, Topic::UserChanged, &[scope.user()?]).await?;
    let moved = Scope::proven(
        "session",
        Some(partner_id),
        Some((scope.user()?, &scope.actor().name)),
        scope.request().clone(),
    );
    let mut tx = app.db.begin(&moved).await?;
    describe(app, &mut tx, session_id, scope.user()?).await
}

/// Commits, and lets everything that the sessions hold open end at once.
pub(crate) async fn commit_revocation<P>(app: &App, tx: Tx<P>, session_ids: &[Uuid]) -> Result<(), Error> {
    commit_and_tell(app, tx, Topic::SessionRevoked, session_ids).await
}

/// Commits and tells of something that may concern someone without a partner. Events are a partner's: where there is
/// none, it is a signal only.
async fn commit_and_tell<P>(app: &App, mut tx: Tx<P>, topic: Topic, ids: &[Uuid]) -> Result<(), Error> {
    match tx.tenant() {
        Ok(tenant) => {
            for id in ids {
                tx.emit(Event::new(topic, tenant, *id)).await?;
            }
            tx.commit().await
        }
        Err(_) => {
            tx.commit().await?;
            ids.iter().for_each(|id| app.bus.publish(Event::new(topic, Uuid::nil(), *id)));
            Ok(())
        }
    }
}

/// Why a password did not prove anything.
enum Refusal {
    Wrong { locks_now: bool },
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// One run of Argon2 on every way through. The lock is looked at afterwards: of many guesses in flight none gets
/// in once enough of them have failed, and a locked account refuses the right password, too.
async fn prove_password(
    app: &App,
    lock: &AccountLock,
    account: Option<LoginLookup>,
    given: Zeroizing<String>,
) -> Result<Uuid, Refusal> {
    let account = account.filter(|account| account.is_active);
    let stored = account.as_ref().and_then(|account| account.password_hash.clone());
    let is_right = match &stored {
        Some(hash) => password::verify(&given, hash).await?,
        None => password::verify_dummy(&given).await.map(|()| false)?,
    };
    lock.check(app).await?;
    match account.filter(|_| is_right) {
        Some(account) => {
            lock.clear(app).await?;
            Ok(account.user_id)
        }
        None => Err(Refusal::Wrong { locks_now: lock.failed(app).await? }),
    }
}

async fn tell_partners_of_lock(app: &App, request: RequestInfo, user_id: Uuid) {
    let told: Result<(), Error> = async {
        let person = Scope::proven("sign-in", None, Some((user_id, "sign-in")), request.clone());
        let partners = store::own_partners(&mut app.db.begin(&person).await?).await?;
        for partner in partners {
            let scope = Scope::proven("sign-in", Some(partner.id), None, request.clone());
            let mut tx = app.db.begin(&scope).await?;
            tx.audit(Entry::new("user.lock", "user", user_id)).await?;
            tx.commit().await?;
        }
        Ok(())
    }
    .await;
    if let Err(error) = told {
        tracing::error!(%user_id, error = %error, "a lock-out could not be written to the audit log");
    }
}

async fn describe<P>(
    app: &App,
    tx: &mut Tx<P>,
    session_id: Uuid,
    user_id: Uuid,
) -> Result<SessionInfo, Error> {
    let expires_at = store::session_expiry(tx, session_id).await?;
    let partners = store::own_partners(tx).await?;
    let here = tx.tenant().ok().and_then(|tenant| partners.iter().find(|partner| partner.id == tenant));
    let (role, confined) =
        (here.map(|partner| partner.role), here.is_some_and(|partner| partner.is_confined));
    let partner = here.map(|partner| PartnerName { id: partner.id, name: partner.name.clone() });
    let user = describe_user(store::user(tx, user_id).await?, here);
    Ok(SessionInfo {
        session_id,
        permissions: permission::names(role, confined, user.is_platform_admin),
        user,
        partner,
        partners,
        role,
        confined,
        csrf_token: credential::csrf_token(app, session_id),
        expires_at,
        server_version: env!("CARGO_PKG_VERSION"),
    })
}

fn describe_user(row: store::UserRow, here: Option<&OwnPartner>) -> User {
    User {
        id: row.id,
        email: row.email,
        name: row.name,
        is_platform_admin: row.is_platform_admin,
        status: row.status,
        role: here.map(|partner| partner.role),
        partner_id: here.map(|partner| partner.id),
        partner_name: here.map(|partner| partner.name.clone()),
        created_at: row.created_at,
        last_sign_in_at: row.last_sign_in_at,
    }
}
