//! Anchors: the heads of chains, written where whoever can change the database cannot reach. A chain whose newest
//! entries were taken away looks whole; beside an anchor it does not.
//!
//! One JSON object a line, signed with a key derived from the installation's.

use super::Head;
use crate::app::App;
use crate::error::Error;
use crate::keys::{Keys, Purpose};
use anyhow::Context as _;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;
use std::sync::PoisonError;
use uuid::Uuid;

/// Names the job that writes into the object store.
pub const STORE_JOB: &str = "audit anchors";
/// Names the job that writes into a file.
pub const FILE_JOB: &str = "audit anchor file";
/// Where anchors lie in the object store.
pub(super) const FOLDER: &str = "anchors";
const NEWEST: &str = "anchors/newest.jsonl";

/// What was anchored last, in either place.
#[derive(Debug, Default)]
pub struct Anchored {
    store: Vec<Head>,
    file: Vec<Head>,
}

/// The head of a chain at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anchor {
    pub at: DateTime<Utc>,
    pub chain: String,
    pub tenant: Uuid,
    pub seq: i64,
    /// In hex.
    pub hash: String,
    mac: String,
}

impl Anchor {
    /// Of a head, as of now.
    pub fn of(keys: &Keys, head: &Head, at: DateTime<Utc>) -> Self {
        let Head { chain, tenant, seq, hash } = head.clone();
        let mut anchor = Self { at, chain, tenant, seq, hash: hex::encode(hash), mac: String::new() };
        anchor.mac = anchor.expected_mac(keys);
        anchor
    }

    /// Whether this installation wrote it.
    pub fn is_ours(&self, keys: &Keys) -> bool {
        self.mac == self.expected_mac(keys)
    }

    fn expected_mac(&self, keys: &Keys) -> String {
        let Self { at, chain, tenant, seq, hash, .. } = self;
        let at = at.to_rfc3339_opts(SecondsFormat::Nanos, true);
        hex::encode(keys.digest(Purpose::AuditAnchor, &format!("{at} {chain} {tenant} {seq} {hash}")))
    }
}

/// Reads anchors; lines that are none are answered by their numbers.
pub fn read(text: &str) -> (Vec<Anchor>, Vec<usize>) {
    let (mut anchors, mut others) = (Vec::new(), Vec::new());
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        match serde_json::from_str(line) {
            Ok(anchor) => anchors.push(anchor),
            Err(_) => others.push(index + 1),
        }
    }
    (anchors, others)
}

/// Writes all heads into the object store when one has moved: the newest, and the last of each day.
pub async fn keep_in_store(app: &App) -> Result<(), Error> {
    let heads = app.db.chain_heads().await?;
    let last = app.recordings.anchored.lock().unwrap_or_else(PoisonError::into_inner).store.clone();
    if heads == last {
        return Ok(());
    }
    let now = Utc::now();
    let text = Bytes::from(lines(&app.keys, &heads, now)?);
    let of_the_day = format!("{FOLDER}/{}.jsonl", now.format("%Y-%m-%d"));
    for path in [of_the_day.as_str(), NEWEST] {
        app.recordings.objects.put(path, text.clone()).await.map_err(Error::internal)?;
    }
    app.recordings.anchored.lock().unwrap_or_else(PoisonError::into_inner).store = heads;
    Ok(())
}

/// Adds the heads that have moved to the file that the operator chose, if any.
pub async fn keep_in_file(app: &App) -> Result<(), Error> {
    let Some(path) = app.recordings.options.anchor.clone() else { return Ok(()) };
    let heads = app.db.chain_heads().await?;
    let last = app.recordings.anchored.lock().unwrap_or_else(PoisonError::into_inner).file.clone();
    let moved: Vec<Head> = heads.iter().filter(|head| !last.contains(head)).cloned().collect();
    if moved.is_empty() {
        return Ok(());
    }
    let text = lines(&app.keys, &moved, Utc::now())?;
    let written = tokio::task::spawn_blocking(move || append(&path, &text));
    written.await.map_err(Error::internal)?.map_err(Error::internal)?;
    app.recordings.anchored.lock().unwrap_or_else(PoisonError::into_inner).file = heads;
    Ok(())
}

fn lines(keys: &Keys, heads: &[Head], at: DateTime<Utc>) -> Result<String, Error> {
    let mut text = String::new();
    for head in heads {
        let line = serde_json::to_string(&Anchor::of(keys, head, at)).map_err(Error::internal)?;
        text.push_str(&line);
        text.push('\n');
    }
    Ok(text)
}

/// Opened anew each time, so that the file may be moved away and begun again.
fn append(path: &Path, text: &str) -> anyhow::Result<()> {
    let write = || {
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_data()
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_is_signed_as_a_whole() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::load_or_create(folder.path()).unwrap();
        let head =
            Head { chain: "audit".to_owned(), tenant: Uuid::from_u128(1), seq: 7, hash: vec![1, 2, 3] };
        let text = lines(&keys, &[head], Utc::now()).unwrap();
        let (anchors, others) = read(&format!("{text}\nnonsense\n"));
        assert_eq!((anchors.len(), others), (1, vec![3]));
        assert!(anchors[0].is_ours(&keys));
        for forged in [
            Anchor { seq: 6, ..anchors[0].clone() },
            Anchor { hash: "010204".to_owned(), ..anchors[0].clone() },
            Anchor { tenant: Uuid::from_u128(2), ..anchors[0].clone() },
            Anchor { chain: "recordings".to_owned(), ..anchors[0].clone() },
        ] {
            assert!(!forged.is_ours(&keys), "{forged:?}");
        }
    }
}
