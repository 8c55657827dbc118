//! Where the server is to be found, when that is elsewhere than where this machine was enrolled.
//!
//! One file, replaced in one step, says it all: whose records are believed, where the server is, where it was before, and
//! which place is being tried. Killed at any moment, the agent connects to one of the places it knows.

use crate::http::ServerUrl;
use crate::identity::{CA_FILE, Identity};
use crate::state::{StateDir, StateError, remove_all, sync_parent, write_atomic};
use crate::transport::CaPin;
use chrono::{DateTime, Utc};
use gururmm_protocol::command::Bytes;
use gururmm_protocol::follow::{FollowRecord, FollowReport, KEY_BYTES, MAX_RECORD_BYTES, SignedRecord};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;

const FILE: &str = "follow.json";

/// An address, and who is trusted there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// `https://host[:port]`.
    pub server_url: String,
    /// `sha256:HEX` of the one authority that is trusted; those of the machine where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_fingerprint: Option<String>,
}

/// What is kept. Nothing, on a machine whose server never moved, but its key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Whose records are believed: the key that the first session told.
    pub key: Option<Bytes>,
    /// The newest record that was tried.
    pub serial: u64,
    /// Where the server is; nothing where that is the identity's address.
    pub place: Option<Place>,
    /// Where it was before that, for a while.
    pub previous: Option<Previous>,
    /// Where it is looked for at the moment.
    pub trial: Option<Trial>,
    /// The record that was tried last in vain.
    pub failure: Option<Failure>,
    /// What the server does not know yet.
    pub report: Option<FollowReport>,
}

/// A place that is kept until the new one has proved itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Previous {
    /// Nothing: the identity's address.
    pub place: Option<Place>,
    /// Forgotten then: an address that is given up may be somebody else's one day.
    pub until: DateTime<Utc>,
}

/// A place that is being tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The record that names it.
    pub serial: u64,
    /// The place.
    pub place: Place,
    /// Whose records are believed there, where that is another key.
    pub next_key: Option<Bytes>,
    /// When it is given up.
    pub until: DateTime<Utc>,
}

/// A record that was tried in vain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Which.
    pub serial: u64,
    /// When that was known.
    pub at: DateTime<Utc>,
}

/// Why a record is not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No session has told a key.
    #[error("this agent knows no key to verify records with")]
    NoKey,
    /// Of another installation, or changed on its way.
    #[error("the record is not signed with this installation's key")]
    Signature,
    /// It is no record.
    #[error("the record cannot be read")]
    Unreadable,
    /// A newer one was tried before.
    #[error("a newer record was followed before")]
    Older,
    /// Its time has not come.
    #[error("the record is not valid yet")]
    NotYet,
    /// Its time is over.
    #[error("the record has expired")]
    Expired,
    /// Nothing but `https`.
    #[error("the record names no https address")]
    Address,
    /// The authority.
    #[error("the record names no authority by its fingerprint")]
    Fingerprint,
    /// The next key.
    #[error("the record's next key is none")]
    NextKey,
}

impl Refusal {
    /// Stable word.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoKey => "NO_KEY",
            Self::Signature => "SIGNATURE",
            Self::Unreadable => "UNREADABLE",
            Self::Older => "OLDER",
            Self::NotYet => "NOT_YET",
            Self::Expired => "EXPIRED",
            Self::Address => "ADDRESS",
            Self::Fingerprint => "FINGERPRINT",
            Self::NextKey => "NEXT_KEY",
        }
    }
}

impl Stored {
    /// Reads it. What is damaged is as good as none: the address of the identity is left, and the key is told anew.
    pub fn load(state: &StateDir) -> Self {
        match fs::read(state.file(FILE)) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(%error, "{FILE} is damaged");
                Self::default()
            }),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::warn!(%error, "{FILE} cannot be read");
                }
                Self::default()
            }
        }
    }

    /// Writes it in one step that survives a power cut.
    pub fn save(&self, state: &StateDir) -> Result<(), StateError> {
        let path = state.file(FILE);
        let bytes = serde_json::to_vec(self).map_err(io::Error::other);
        bytes.and_then(|bytes| write_atomic(&path, &bytes)).map_err(|source| StateError::Io { path, source })
    }

    /// A machine that is enrolled anew starts from what it was told then.
    pub fn remove(state: &StateDir) -> Result<(), StateError> {
        let path = state.file(FILE);
        remove_all(&path).and_then(|()| sync_parent(&path)).map_err(|source| StateError::Io { path, source })
    }

    /// The record, if it is one to be followed: signed by whom this agent believes, in its time, not older than what was
    /// tried before, and to an address where the server has to prove itself.
    pub fn judge(&self, signed: &SignedRecord, now: DateTime<Utc>) -> Result<FollowRecord, Refusal> {
        let key = self.key.as_ref().ok_or(Refusal::NoKey)?;
        if signed.record.len() > MAX_RECORD_BYTES {
            return Err(Refusal::Unreadable);
        }
        UnparsedPublicKey::new(&ED25519, &key.0)
            .verify(&SignedRecord::signed_bytes(&signed.record), &signed.signature.0)
            .map_err(|_| Refusal::Signature)?;
        let record: FollowRecord = serde_json::from_str(&signed.record).map_err(|_| Refusal::Unreadable)?;
        if record.serial < self.serial {
            return Err(Refusal::Older);
        }
        if now < record.not_before {
            return Err(Refusal::NotYet);
        }
        if now >= record.expires_at {
            return Err(Refusal::Expired);
        }
        if !record.server_url.parse::<ServerUrl>().is_ok_and(|url| url.is_tls()) {
            return Err(Refusal::Address);
        }
        if record.ca_fingerprint.as_deref().is_some_and(|text| CaPin::fingerprint(text).is_err()) {
            return Err(Refusal::Fingerprint);
        }
        if record.next_key.as_ref().is_some_and(|key| key.0.len() != KEY_BYTES) {
            return Err(Refusal::NextKey);
        }
        Ok(record)
    }
}

/// Address and trust of a place; without one, those that this machine was enrolled with.
pub fn way_to(
    state: &StateDir,
    identity: &Identity,
    place: Option<&Place>,
) -> Result<(String, Option<CaPin>), StateError> {
    if let Some(Place { server_url, ca_fingerprint }) = place {
        // Judged when it was taken; what cannot be parsed now trusts nobody instead of everybody.
        let pin = ca_fingerprint
            .as_deref()
            .map(|text| CaPin::fingerprint(text).map_or(CaPin::Certificate(Vec::new()), |(pin, _)| pin));
        return Ok((server_url.clone(), pin));
    }
    let pin = if identity.ca_pinned {
        let path = state.file(CA_FILE);
        let der = fs::read(&path).map_err(|source| StateError::Io { path, source })?;
        Some(CaPin::Certificate(der))
    } else {
        None
    };
    Ok((identity.server_url.clone(), pin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use ring::signature::{Ed25519KeyPair, KeyPair};

    fn key_pair(seed: u8) -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
    }

    fn signed(key: &Ed25519KeyPair, record: &FollowRecord) -> SignedRecord {
        let record = serde_json::to_string(record).unwrap();
        let signature = key.sign(&SignedRecord::signed_bytes(&record));
        SignedRecord { record, signature: Bytes(signature.as_ref().to_vec()) }
    }

    fn record(now: DateTime<Utc>) -> FollowRecord {
        FollowRecord {
            serial: 7,
            server_url: "https://rmm.example.com".into(),
            ca_fingerprint: None,
            not_before: now - TimeDelta::hours(1),
            expires_at: now + TimeDelta::hours(1),
            next_key: None,
        }
    }

    fn trusting(key: &Ed25519KeyPair) -> Stored {
        let key = Some(Bytes(key.public_key().as_ref().to_vec()));
        Stored { key, serial: 7, ..Stored::default() }
    }

    #[test]
    fn only_a_record_of_the_known_key_in_its_time_is_followed() {
        let (ours, theirs, now) = (key_pair(1), key_pair(2), Utc::now());
        let stored = trusting(&ours);
        let good = record(now);
        assert_eq!(stored.judge(&signed(&ours, &good), now), Ok(good.clone()));
        // Of another installation; without any key; changed.
        assert_eq!(stored.judge(&signed(&theirs, &good), now), Err(Refusal::Signature));
        assert_eq!(Stored::default().judge(&signed(&ours, &good), now), Err(Refusal::NoKey));
        let mut changed = signed(&ours, &good);
        changed.record = changed.record.replace("rmm.", "rnm.");
        assert_eq!(stored.judge(&changed, now), Err(Refusal::Signature));
        // What was signed for another purpose.
        let bare = serde_json::to_string(&good).unwrap();
        let signature = Bytes(ours.sign(bare.as_bytes()).as_ref().to_vec());
        assert_eq!(stored.judge(&SignedRecord { record: bare, signature }, now), Err(Refusal::Signature));

        let bad = |change: fn(&mut FollowRecord)| {
            let mut record = record(now);
            change(&mut record);
            stored.judge(&signed(&ours, &record), now).unwrap_err()
        };
        assert_eq!(bad(|record| record.serial = 6), Refusal::Older);
        assert_eq!(bad(|record| record.expires_at -= TimeDelta::hours(2)), Refusal::Expired);
        assert_eq!(bad(|record| record.not_before += TimeDelta::hours(2)), Refusal::NotYet);
        assert_eq!(bad(|record| record.ca_fingerprint = Some("sha256:00".into())), Refusal::Fingerprint);
        assert_eq!(bad(|record| record.next_key = Some(Bytes(vec![0; 31]))), Refusal::NextKey);
        for url in [
            "http://rmm.example.com",
            "http://localhost:3001",
            "https://rmm.example.com/x",
            "rmm.example.com",
        ] {
            let record = FollowRecord { server_url: url.into(), ..good.clone() };
            assert_eq!(stored.judge(&signed(&ours, &record), now), Err(Refusal::Address), "{url}");
        }
    }

    #[test]
    fn a_damaged_file_leaves_the_address_of_the_identity() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("s")).unwrap();
        let stored = trusting(&key_pair(1));
        stored.save(&state).unwrap();
        assert_eq!(Stored::load(&state), stored);
        fs::write(state.file(FILE), "{").unwrap();
        assert_eq!(Stored::load(&state), Stored::default());
    }
}
