//! What belongs to one installation and must be the same on all of its servers. The database remembers fingerprints of
//! it, and no server that has something else works on it.

use crate::keys::{Keys, PEPPER_KEY_ID, Purpose};
use anyhow::Context as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, PgConnection};

const FOLLOW_KEY_ID: &str = "follow-me";
const AUTHORITY_ID: &str = "authority";

/// A data folder whose keys are another installation's.
#[derive(Debug, thiserror::Error)]
pub enum ForeignKey {
    #[error(
        "this database was made with other keys than those in the data folder: give the data folder it belongs to, or \
         restore its keys from the backup; another server of the same installation needs a copy of the first one's"
    )]
    Pepper,
    #[error(
        "keys/follow-me is not this installation's, and no agent would believe it: restore it from the backup, or copy \
         it from the first server"
    )]
    FollowMe,
    #[error(
        "keys/ca.pem is not this installation's, and its agents would not connect to this server: copy it from the first \
         server, and remove keys/tls.pem"
    )]
    Authority,
    #[error("the database does not say whose it is")]
    Unknown(#[from] sqlx::Error),
}

/// Refuses other keys than those the database was first opened with: its digests would match nothing any more.
pub(super) async fn check_keys(connection: &mut PgConnection, keys: &Keys) -> Result<(), ForeignKey> {
    let pepper = keys.digest(Purpose::KeyFingerprint, PEPPER_KEY_ID);
    if !is_known(connection, PEPPER_KEY_ID, pepper).await? {
        return Err(ForeignKey::Pepper);
    }
    let follow = *blake3::hash(&keys.follow_public()).as_bytes();
    match is_known(connection, FOLLOW_KEY_ID, follow).await? {
        true => Ok(()),
        false => Err(ForeignKey::FollowMe),
    }
}

/// Refuses another certificate authority of one's own than the first server has that meets others: their agents pin it.
pub async fn check_authority(owner: PgConnectOptions, fingerprint: &str) -> anyhow::Result<()> {
    let mut connection = owner.connect().await.context("cannot connect to the database as its owner")?;
    let fingerprint = *blake3::hash(fingerprint.as_bytes()).as_bytes();
    match is_known(&mut connection, AUTHORITY_ID, fingerprint).await? {
        true => Ok(()),
        false => Err(ForeignKey::Authority.into()),
    }
}

/// Whether this is the key that was seen first under this name; now, if none was.
async fn is_known(
    connection: &mut PgConnection,
    id: &str,
    fingerprint: [u8; 32],
) -> Result<bool, ForeignKey> {
    sqlx::query("INSERT INTO installation_keys (key_id, fingerprint) VALUES ($1, $2) ON CONFLICT DO NOTHING")
        .bind(id)
        .bind(fingerprint.as_slice())
        .execute(&mut *connection)
        .await?;
    let first: Vec<u8> = sqlx::query_scalar("SELECT fingerprint FROM installation_keys WHERE key_id = $1")
        .bind(id)
        .fetch_one(connection)
        .await?;
    Ok(first == fingerprint)
}
