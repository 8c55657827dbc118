//! "Follow me": signed records that send agents to a renamed or new server.
//!
//! One record stands at a time, for the whole installation. It is signed with a key that agents know since the first
//! session they were told it in; what they make of it they say themselves, from wherever they are then.

pub mod agent;
pub mod http;
mod store;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::ManagePlatform;
use crate::error::Error;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::ServerMessage;
use gururmm_protocol::command::Bytes;
use gururmm_protocol::follow::{FollowMe, FollowRecord, KEY_BYTES, SignedRecord};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use url::Url;
use utoipa::ToSchema;
use uuid::Uuid;

/// How often it is looked whether another record stands: the command line sets them, too.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// Agents that are told in a second: each goes at once.
const TOLD_PER_SECOND: usize = 200;
const DEFAULT_DAYS: i64 = 365;
const MAX_DAYS: i64 = 3_650;

/// The record that stands, as this server knows it.
#[derive(Debug, Default)]
pub struct Follow {
    standing: RwLock<Option<Standing>>,
    /// This server itself has changed it.
    changed: Notify,
}

/// A record that stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Standing {
    pub serial: i64,
    pub server_url: String,
    pub ca_fingerprint: Option<String>,
    pub not_before: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub record: String,
    pub signature: Vec<u8>,
    pub set_at: DateTime<Utc>,
    pub set_by: String,
}

/// The record that stands, without its signature.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct StandingRecord {
    pub serial: i64,
    pub server_url: String,
    /// The one authority that agents trust there; the machine's own where absent.
    pub ca_fingerprint: Option<String>,
    pub not_before: DateTime<Utc>,
    pub expires_at: DateTime<Utc>,
    pub set_at: DateTime<Utc>,
    /// Who set it.
    pub set_by: String,
}

/// Machines that did not follow, for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct NotFollowing {
    /// They tried, and are back.
    pub has_tried: bool,
    /// Stable word.
    pub error_code: Option<String>,
    /// What one of them said.
    pub error: Option<String>,
    pub agents: i64,
}

/// Where agents are sent, and how many went.
#[derive(Debug, Serialize, ToSchema)]
pub struct FollowStatus {
    /// The public key that agents know, in base64: what another server of this installation must have.
    pub key: String,
    pub record: Option<StandingRecord>,
    /// Machines of all partners that were welcomed there.
    pub confirmed: i64,
    /// Machines that have said nothing of it yet.
    pub waiting: i64,
    pub not_following: Vec<NotFollowing>,
}

/// Where agents are sent from now on.
#[derive(Debug, Default, Deserialize, ToSchema)]
pub struct FollowInput {
    /// `https://host[:port]`.
    #[schema(max_length = 300, example = "https://rmm.example.com")]
    pub server_url: String,
    /// `sha256:HEX` of the one authority to be trusted there; absent for a public certificate.
    #[schema(max_length = 200)]
    pub ca_fingerprint: Option<String>,
    /// Now when absent.
    pub not_before: Option<DateTime<Utc>>,
    /// 365 when absent.
    #[schema(minimum = 1, maximum = 3650)]
    pub valid_days: Option<i64>,
    /// The public key of the server there, in base64, where that is not this one's.
    #[schema(max_length = 64)]
    pub next_key: Option<String>,
}

/// Where agents are sent, and what became of that.
pub async fn status(app: &App, scope: &Scope<ManagePlatform>) -> Result<FollowStatus, Error> {
    let mut tx = app.db.begin(scope).await?;
    let standing = store::standing(&mut tx).await?;
    let mut status = FollowStatus {
        key: BASE64.encode(app.keys.follow_public()),
        record: standing.clone().map(Standing::shown),
        confirmed: 0,
        waiting: 0,
        not_following: Vec::new(),
    };
    let Some(standing) = standing else { return Ok(status) };
    for count in store::fleet(&mut tx, standing.serial).await? {
        match count.state.as_deref() {
            None => status.waiting += count.agents,
            Some("confirmed") => status.confirmed += count.agents,
            Some(state) => status.not_following.push(NotFollowing {
                has_tried: state == "reverted",
                error_code: count.error_code,
                error: count.error,
                agents: count.agents,
            }),
        }
    }
    Ok(status)
}

/// Sends the agents of all partners elsewhere, in place of any record before. 422 for anything but an `https` address.
pub async fn set(
    app: &App,
    scope: &Scope<ManagePlatform>,
    input: &FollowInput,
) -> Result<FollowStatus, Error> {
    let now = Utc::now();
    let days = input.valid_days.unwrap_or(DEFAULT_DAYS);
    if !(1..=MAX_DAYS).contains(&days) {
        return Err(Error::field("valid_days", "OUT_OF_RANGE", "must be 1 to 3650"));
    }
    let not_before = input.not_before.unwrap_or(now);
    let server_url = address(&input.server_url)?;
    let ca_fingerprint = input.ca_fingerprint.as_deref().map(fingerprint).transpose()?;
    let next_key = input.next_key.as_deref().map(key).transpose()?;
    let expires_at = not_before
        .checked_add_signed(TimeDelta::days(days))
        .filter(|end| *end > now)
        .ok_or_else(|| Error::field("not_before", "OUT_OF_RANGE", "must leave some time"))?;
    let mut tx = app.db.begin(scope).await?;
    let serial = store::next_serial(&mut tx).await?;
    let record = FollowRecord {
        serial: u64::try_from(serial).map_err(Error::internal)?,
        server_url,
        ca_fingerprint,
        not_before,
        expires_at,
        next_key,
    };
    let text = serde_json::to_string(&record).map_err(Error::internal)?;
    let signature = app.keys.sign_follow(&SignedRecord::signed_bytes(&text));
    let set_by = tx.actor().name.clone();
    store::put(&mut tx, &record, serial, &text, &signature, &set_by).await?;
    let detail =
        json!({ "serial": serial, "ca_fingerprint": record.ca_fingerprint, "expires_at": expires_at });
    let entry = Entry::new("follow_me.set", "platform", Uuid::nil()).named(&record.server_url);
    tx.audit(entry.with(detail)).await?;
    tx.commit().await?;
    app.follow.changed.notify_one();
    status(app, scope).await
}

/// Sends no agent there any more; those that are there stay. Nothing where no record stands.
pub async fn withdraw(app: &App, scope: &Scope<ManagePlatform>) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    if !store::withdraw(&mut tx).await? {
        return Ok(());
    }
    tx.audit(Entry::new("follow_me.withdraw", "platform", Uuid::nil())).await?;
    tx.commit().await?;
    app.follow.changed.notify_one();
    Ok(())
}

/// Tells connected agents when another record stands, until `stop`. Every server tells its own.
pub async fn keep_telling(app: &App, stop: CancellationToken) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut look = async || {
        tokio::select! {
            _ = tick.tick() => {}
            () = app.follow.changed.notified() => {}
        }
    };
    while stop.run_until_cancelled(look()).await.is_some() {
        match tell_if_new(app, &stop).await {
            Ok(()) => {}
            Err(error) => tracing::debug!(%error, "the record of the new place is read again"),
        }
    }
}

async fn tell_if_new(app: &App, stop: &CancellationToken) -> Result<(), Error> {
    let standing = app.db.standing_follow_record().await?;
    if !app.follow.learn(standing) || app.follow.valid(Utc::now()).is_none() {
        return Ok(());
    }
    for lines in app.gateway.connected().chunks(TOLD_PER_SECOND) {
        for line in lines {
            line.send(&message(app));
        }
        if stop.run_until_cancelled(tokio::time::sleep(Duration::from_secs(1))).await.is_none() {
            break;
        }
    }
    Ok(())
}

/// What an agent is told: whose word counts, and what that is.
fn message(app: &App) -> ServerMessage {
    let record = app.follow.valid(Utc::now());
    ServerMessage::FollowMe(FollowMe {
        key: Bytes(app.keys.follow_public()),
        record: record
            .map(|standing| SignedRecord { record: standing.record, signature: Bytes(standing.signature) }),
    })
}

impl Follow {
    /// Notes what stands. Whether that is another record than before.
    fn learn(&self, standing: Option<Standing>) -> bool {
        let mut known = self.standing.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = *known != standing;
        *known = standing;
        is_new
    }

    fn valid(&self, now: DateTime<Utc>) -> Option<Standing> {
        let known = self.standing.read().unwrap_or_else(PoisonError::into_inner);
        known.clone().filter(|standing| (standing.not_before..standing.expires_at).contains(&now))
    }
}

impl Standing {
    fn shown(self) -> StandingRecord {
        let Self { serial, server_url, ca_fingerprint, not_before, expires_at, set_at, set_by, .. } = self;
        StandingRecord { serial, server_url, ca_fingerprint, not_before, expires_at, set_at, set_by }
    }
}

/// `https://host[:port]` and nothing else.
fn address(text: &str) -> Result<String, Error> {
    let invalid = || Error::field("server_url", "INVALID", "must be https://host or https://host:port");
    let url = Url::parse(text.trim()).map_err(|_| invalid())?;
    let is_plain = url.scheme() == "https"
        && url.has_host()
        && url.path() == "/"
        && url.query().is_none()
        && url.fragment().is_none()
        && url.username().is_empty()
        && url.password().is_none();
    if is_plain { Ok(url.origin().ascii_serialization()) } else { Err(invalid()) }
}

/// `sha256:` and 64 hex digits, with or without colons between the bytes.
fn fingerprint(text: &str) -> Result<String, Error> {
    let invalid = || Error::field("ca_fingerprint", "INVALID", "must be sha256: and 64 hex digits");
    let hex = text.trim().strip_prefix("sha256:").ok_or_else(invalid)?;
    let hex: String = hex.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    let is_whole = hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    if is_whole { Ok(format!("sha256:{hex}")) } else { Err(invalid()) }
}

fn key(text: &str) -> Result<Bytes, Error> {
    let bytes = BASE64.decode(text.trim()).ok().filter(|bytes| bytes.len() == KEY_BYTES);
    bytes.map(Bytes).ok_or_else(|| Error::field("next_key", "INVALID", "must be 32 bytes in base64"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_sent_to_https_addresses_only() {
        assert_eq!(address("https://New.example.com/").unwrap(), "https://new.example.com");
        assert_eq!(address("https://new.example.com:8443").unwrap(), "https://new.example.com:8443");
        for bad in [
            "http://new.example.com",
            "https://new.example.com/rmm",
            "https://new.example.com/?a=b",
            "https://olive@new.example.com",
            "new.example.com",
            "",
        ] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fingerprint_is_whole() {
        let hex = "AB".repeat(32);
        assert_eq!(fingerprint(&format!("sha256:{hex}")).unwrap(), format!("sha256:{}", "ab".repeat(32)));
        let colons = vec!["ab"; 32].join(":");
        assert_eq!(fingerprint(&format!("sha256:{colons}")).unwrap(), format!("sha256:{}", "ab".repeat(32)));
        for bad in [hex.as_str(), "sha256:", "sha256:ab", "sha1:ab"] {
            assert!(fingerprint(bad).is_err(), "{bad}");
        }
    }
}
