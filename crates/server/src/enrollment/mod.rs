//! Enrollment: the keys a site lets machines in with, and the way in. A key only lets a machine ask; what it gets
//! is a key of its own (`agents`).

mod enroll;
pub mod http;
mod secret;
mod store;

pub use enroll::enroll;
pub use secret::label as key_label;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::permission::{ManageKeys, ReadKeys};
use crate::auth::{Scope, password};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::Error;
use crate::http::{Page, PageQuery};
use crate::install;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

/// An enrollment key as people see it; its secret is shown once, when it is made.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Key {
    pub id: Uuid,
    pub site_id: Uuid,
    pub kind: KeyKind,
    /// Grows by one with every key of a site.
    pub version: i32,
    /// Four hex digits of the secret's digest.
    pub fingerprint: String,
    /// `v3 (7F2A)`.
    pub label: String,
    pub note: Option<String>,
    pub created_at: DateTime<Utc>,
    pub created_by_name: Option<String>,
    pub expires_at: Option<DateTime<Utc>>,
    pub max_uses: Option<i32>,
    pub use_count: i32,
    /// When it last let a machine in, or had it wait.
    pub last_used_at: Option<DateTime<Utc>>,
    pub revoked_at: Option<DateTime<Utc>>,
    pub status: KeyStatus,
}

words! {
    /// What a key is for.
    KeyKind {
        /// The site's own: one is valid at a time.
        Standing = "standing",
        /// For one download or link.
        Deployment = "deployment",
    }
}

words! {
    /// Whether a key lets machines in, and if not, why.
    KeyStatus { Active = "active", Revoked = "revoked", Expired = "expired", UsedUp = "used_up", }
}

/// A key just made, with its secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeyOnce {
    pub key: Key,
    /// `gek_3_…`; never shown again.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub secret: Zeroizing<String>,
    pub install: InstallCommands,
}

/// What to type on a machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct InstallCommands {
    /// One line for a shell; null where `reason` says why there is none.
    #[serde(serialize_with = "expose_optional")]
    #[schema(value_type = Option<String>)]
    pub linux: Option<Zeroizing<String>>,
    /// Why a command is null, in a sentence; null where none is.
    pub reason: Option<&'static str>,
    /// `SERVER` of the Windows installer.
    pub server: String,
    /// `SITEKEY` of the Windows installer: site, key, and the server's own CA where it has one.
    #[serde(serialize_with = "expose")]
    #[schema(value_type = String)]
    pub site_key: Zeroizing<String>,
}

/// Limits of a deployment token.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DeploymentInput {
    /// 1 to 8,760; absent: it does not expire.
    #[schema(minimum = 1, maximum = 8760)]
    pub expires_in_hours: Option<i64>,
    /// Machines it lets in, 1 to 100,000; absent: as many as ask.
    #[schema(minimum = 1, maximum = 100_000)]
    pub max_uses: Option<i32>,
    /// What it is for, at most 120 characters.
    #[schema(max_length = 120)]
    pub label: Option<String>,
}

/// What a new key is made from.
struct NewKey<'a> {
    kind: KeyKind,
    note: Option<&'a str>,
    expires_at: Option<DateTime<Utc>>,
    max_uses: Option<i32>,
}

/// One page of a site's keys, newest first.
pub async fn list_keys(
    app: &App,
    scope: &Scope<ReadKeys>,
    site_id: Uuid,
    page: &PageQuery,
) -> Result<Page<Key>, Error> {
    let (limit, before) = (page.limit()?, page.after::<i32>()?);
    let mut tx = app.db.begin(scope).await?;
    store::site(&mut tx, site_id).await?.ok_or_else(Error::not_found)?;
    let total = store::count_keys(&mut tx, site_id).await?;
    let keys = store::list_keys(&mut tx, site_id, before, limit + 1).await?;
    Page::of(keys, limit, total, |key| key.version)
}

/// Gives a site a new standing key and revokes the one before. Enrolled agents do not notice.
pub async fn rotate_key(app: &App, scope: &Scope<ManageKeys>, site_id: Uuid) -> Result<KeyOnce, Error> {
    let mut tx = app.db.begin(scope).await?;
    let once = create_standing_key(app, &mut tx, site_id).await?;
    tx.commit().await?;
    Ok(once)
}

/// The standing key of a site, in the caller's transaction: setup makes site and key in one. Revokes the key before.
/// 404 for a site the transaction does not see.
pub async fn create_standing_key<P>(app: &App, tx: &mut Tx<P>, site_id: Uuid) -> Result<KeyOnce, Error> {
    let new = NewKey { kind: KeyKind::Standing, note: None, expires_at: None, max_uses: None };
    create_key(app, tx, site_id, &new).await
}

/// Mints a deployment token. 422 for limits out of range.
pub async fn create_deployment_key(
    app: &App,
    scope: &Scope<ManageKeys>,
    site_id: Uuid,
    input: &DeploymentInput,
) -> Result<KeyOnce, Error> {
    let mut tx = app.db.begin(scope).await?;
    let once = create_key(app, &mut tx, site_id, &checked(input)?).await?;
    tx.commit().await?;
    Ok(once)
}

/// The same in the caller's transaction. Without a label, the token is called by what it is for.
pub(crate) async fn mint_for(
    app: &App,
    tx: &mut Tx<ManageKeys>,
    site_id: Uuid,
    input: &DeploymentInput,
    purpose: &str,
) -> Result<KeyOnce, Error> {
    let new = checked(input)?;
    create_key(app, tx, site_id, &NewKey { note: new.note.or(Some(purpose)), ..new }).await
}

fn checked(input: &DeploymentInput) -> Result<NewKey<'_>, Error> {
    let out_of_range = |field, message| Error::field(field, "OUT_OF_RANGE", message);
    if input.expires_in_hours.is_some_and(|hours| !(1..=8_760).contains(&hours)) {
        return Err(out_of_range("expires_in_hours", "must be 1 to 8760"));
    }
    if input.max_uses.is_some_and(|uses| !(1..=100_000).contains(&uses)) {
        return Err(out_of_range("max_uses", "must be 1 to 100000"));
    }
    Ok(NewKey {
        kind: KeyKind::Deployment,
        note: checked_note(input.label.as_deref())?,
        expires_at: input.expires_in_hours.map(|hours| Utc::now() + TimeDelta::hours(hours)),
        max_uses: input.max_uses,
    })
}

/// A deployment token for one machine, in the caller's transaction. 404 for a site the transaction does not see.
pub async fn create_single_use_key<P>(
    app: &App,
    tx: &mut Tx<P>,
    site_id: Uuid,
    note: &str,
    lifetime: TimeDelta,
) -> Result<KeyOnce, Error> {
    let new = NewKey {
        kind: KeyKind::Deployment,
        note: Some(note),
        expires_at: Some(Utc::now() + lifetime),
        max_uses: Some(1),
    };
    create_key(app, tx, site_id, &new).await
}

/// Revokes a key for good; a second time changes nothing.
pub async fn revoke_key(app: &App, scope: &Scope<ManageKeys>, id: Uuid) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let key = store::get_key(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if !store::revoke(&mut tx, id).await? {
        return Ok(());
    }
    let site = store::site(&mut tx, key.site_id).await?.ok_or_else(Error::not_found)?;
    let event = Event::new(Topic::KeyChanged, tx.tenant()?, id);
    tx.emit(event.at(site.client_id, Some(site.id))).await?;
    let detail = json!({ "site_id": site.id });
    tx.audit(Entry::new("enrollment_key.revoke", "enrollment_key", id).named(&key.label).with(detail))
        .await?;
    tx.commit().await
}

async fn create_key<P>(app: &App, tx: &mut Tx<P>, site_id: Uuid, new: &NewKey<'_>) -> Result<KeyOnce, Error> {
    let site = store::site(tx, site_id).await?.ok_or_else(Error::not_found)?;
    let (id, version) = (Uuid::now_v7(), store::next_version(tx, site_id).await?);
    let secret = secret::generate(version);
    let fingerprint = secret::fingerprint(&secret);
    let hash = password::hash(&secret).await?;
    let revoked = match new.kind {
        KeyKind::Standing => store::revoke_standing(tx, site_id).await?,
        KeyKind::Deployment => Vec::new(),
    };
    store::insert_key(tx, id, &site, version, &fingerprint, &hash, new).await?;
    let key = store::get_key(tx, id).await?.ok_or_else(Error::not_found)?;
    let (linux, reason) = match install::linux_command(app, &site.code, &secret).await? {
        Ok(linux) => (Some(linux), None),
        Err(reason) => (None, Some(reason)),
    };
    let site_key = install::site_key(app, &site.code, &secret);
    let install = InstallCommands { linux, reason, server: install::origin(app), site_key };
    tx.emit(Event::new(Topic::KeyChanged, tx.tenant()?, id).at(site.client_id, Some(site_id))).await?;
    let detail = json!({ "site_id": site_id, "kind": new.kind, "revoked": revoked });
    tx.audit(Entry::new("enrollment_key.create", "enrollment_key", id).named(&key.label).with(detail))
        .await?;
    Ok(KeyOnce { key, secret, install })
}

fn checked_note(note: Option<&str>) -> Result<Option<&str>, Error> {
    let note = note.map(str::trim).filter(|note| !note.is_empty());
    if note.is_some_and(|note| note.chars().count() > 120) {
        return Err(Error::field("label", "TOO_LONG", "must have at most 120 characters"));
    }
    if note.is_some_and(|note| note.chars().any(char::is_control)) {
        return Err(Error::field("label", "INVALID", "must not contain control characters"));
    }
    Ok(note)
}

/// The one place a secret leaves: to the person who asked for it, once.
fn expose<S: serde::Serializer>(secret: &Zeroizing<String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret)
}

fn expose_optional<S: serde::Serializer>(
    secret: &Option<Zeroizing<String>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.as_str()),
        None => serializer.serialize_none(),
    }
}
