//! Since when the people at this machine are idle, as their helpers say: written by the watchdog, which starts the
//! helpers, and read by the agent when a sample needs it.

use crate::os;
use crate::state::write_atomic_unsynced;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// In the run folder.
const NAME: &str = "user-activity.json";
/// Largest file that is read.
const MAX_BYTES: u64 = 64 * 1024;
/// What is older says nothing: a helper speaks four times in this time.
const FRESH: TimeDelta = TimeDelta::seconds(60);

/// What is known of the people, by session.
#[derive(Debug)]
pub struct Board {
    path: PathBuf,
    said: Mutex<BTreeMap<String, Said>>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    user: String,
    idle_seconds: u64,
    at: DateTime<Utc>,
}

impl Board {
    /// An empty one; what an earlier watchdog left in `run_folder` is replaced with the first word.
    pub fn new(run_folder: &Path) -> Self {
        Self { path: run_folder.join(NAME), said: Mutex::default() }
    }

    /// The helper of that session said so.
    pub fn note(&self, session: &str, user: &str, idle_seconds: u64) {
        let said = Said { user: user.to_owned(), idle_seconds, at: Utc::now() };
        self.change(|all| all.insert(session.to_owned(), said).is_some());
    }

    /// The session or its helper is gone.
    pub fn forget(&self, session: &str) {
        self.change(|all| all.remove(session).is_some());
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Said>) -> bool) {
        // Every change is one call.
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let (before, was_there) = (said.len(), change(&mut said));
        if !was_there && said.len() == before {
            return;
        }
        let written = serde_json::to_vec(&*said).map_err(io::Error::from);
        if let Err(error) = written.and_then(|bytes| write_atomic_unsynced(&self.path, &bytes)) {
            tracing::debug!(%error, "since when users are idle cannot be written down");
        }
    }
}

/// For how long `user` has been idle, in the session where they were active last.
pub fn idle(run_folder: &Path, user: &str, now: DateTime<Utc>) -> Option<Duration> {
    let said: BTreeMap<String, Said> = serde_json::from_slice(&read(&run_folder.join(NAME)).ok()?).ok()?;
    let theirs = said.values().filter(|said| said.user == user);
    let idle = theirs.filter_map(|said| {
        let age = now.signed_duration_since(said.at);
        let age = (age < FRESH).then(|| age.to_std().ok()).flatten()?;
        Some(Duration::from_secs(said.idle_seconds).saturating_add(age))
    });
    idle.min()
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut options = OpenOptions::new();
    os::no_links(options.read(true));
    let mut bytes = Vec::new();
    options.open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_as_idle_as_where_they_were_last() {
        let folder = tempfile::tempdir().unwrap();
        let idle_at = |user: &str, seconds: i64| {
            idle(folder.path(), user, Utc::now() + TimeDelta::seconds(seconds)).map(|idle| idle.as_secs())
        };
        assert_eq!(idle_at("ada", 0), None);
        let board = Board::new(folder.path());
        board.note("2", "ada", 100);
        board.note("5", "ada", 40);
        board.note("6", "eve", 7);
        assert_eq!((idle_at("ada", 0), idle_at("ada", 10), idle_at("eve", 0)), (Some(40), Some(50), Some(7)));
        assert_eq!(idle_at("bob", 0), None);
        // What a helper said a while ago, or will say by a clock that was set back, is no figure.
        assert_eq!((idle_at("ada", 61), idle_at("ada", -10)), (None, None));
        board.forget("5");
        assert_eq!(idle_at("ada", 0), Some(100));
        board.forget("2");
        assert_eq!(idle_at("ada", 0), None);
    }

    #[test]
    fn what_is_no_file_of_the_watchdogs_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(NAME);
        for text in ["", "{", "[]", "{\"2\":{}}", "\u{0}"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(idle(folder.path(), "ada", Utc::now()), None, "{text}");
        }
        #[cfg(unix)]
        {
            std::fs::remove_file(&path).unwrap();
            std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
            assert_eq!(idle(folder.path(), "ada", Utc::now()), None);
        }
    }
}
