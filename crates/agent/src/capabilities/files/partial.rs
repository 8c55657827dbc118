//! What is not in its place yet: uploads under way, files about to replace another, copies that grow.
//!
//! It lies beside its place under a name of its own, so that it is renamed there in one step. What was left behind by a
//! transfer that nobody went on with is removed when its folder is used again, after a day.

use super::folder::{Folder, Identity};
use super::tree::Removal;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{OwnedMutexGuard, watch};

const BEGIN: &str = ".gururmm-";
const END: &str = ".part";
const DIGITS: usize = 32;
/// How long an upload can be gone on with.
const KEEP: Duration = Duration::from_hours(24);

/// The name of what is going to be `name`, the same for the same key.
pub(super) fn name_for(key: &str, name: &OsStr) -> OsString {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(key.as_bytes());
    context.update(&[0]);
    context.update(name.as_encoded_bytes());
    let digest = hex::encode(context.finish());
    format!("{BEGIN}{}{END}", digest.get(..DIGITS).unwrap_or_default()).into()
}

/// A name that nothing has.
pub(super) fn new_name() -> OsString {
    name_for(&uuid::Uuid::new_v4().to_string(), OsStr::new(""))
}

/// Whether a name is one of these.
pub(super) fn is_partial(name: &OsStr) -> bool {
    let digits = name.to_str().and_then(|name| name.strip_prefix(BEGIN)?.strip_suffix(END));
    digits.is_some_and(|digits| {
        digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

type Key = (Identity, OsString);

/// Those that something in this process works on.
static IN_USE: LazyLock<Mutex<HashMap<Key, Arc<Users>>>> = LazyLock::new(Mutex::default);

#[derive(Debug, Default)]
struct Users {
    /// How many wait for it.
    waiting: watch::Sender<usize>,
    /// Held by who works on it.
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// An entry of [`IN_USE`], which goes with the last of these.
#[derive(Debug)]
struct Entered {
    key: Key,
    users: Arc<Users>,
}

impl Drop for Entered {
    fn drop(&mut self) {
        let mut all = in_use();
        // This one and the list's own.
        if Arc::strong_count(&self.users) == 2 {
            all.remove(&self.key);
        }
    }
}

/// Counted among those that wait.
struct Waiting<'a>(&'a Users);

impl<'a> Waiting<'a> {
    fn new(users: &'a Users) -> Self {
        users.waiting.send_modify(|waiting| *waiting += 1);
        Self(users)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

/// Something not in its place yet that nobody else works on, as long as this is held.
#[derive(Debug)]
pub(super) struct Claim {
    _busy: OwnedMutexGuard<()>,
    entered: Entered,
}

impl Claim {
    /// Takes it over from whoever works on it: the latest is the one that somebody waits for.
    pub async fn take(folder: Identity, name: &OsStr) -> Self {
        let key = (folder, name.to_owned());
        let users = Arc::clone(in_use().entry(key.clone()).or_default());
        let entered = Entered { key, users };
        let busy = {
            let _waiting = Waiting::new(&entered.users);
            Arc::clone(&entered.users.busy).lock_owned().await
        };
        Self { _busy: busy, entered }
    }

    /// Ends when another wants it.
    pub async fn asked_for(&self) {
        let mut waiting = self.entered.users.waiting.subscribe();
        // Fails only without a sender, which is held here.
        let _ = waiting.wait_for(|waiting| *waiting > 0).await;
    }
}

fn in_use() -> MutexGuard<'static, HashMap<Key, Arc<Users>>> {
    IN_USE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `name` was left behind so long ago that nobody comes back for it.
pub(super) fn is_left_behind(folder: &Folder, name: &OsStr, now: SystemTime) -> io::Result<bool> {
    if !is_partial(name) || in_use().contains_key(&(folder.facts()?.identity, name.to_owned())) {
        return Ok(false);
    }
    let facts = folder.look(name)?;
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Ok(facts.is_ours() && facts.modified.is_some_and(|modified| modified + KEEP < since))
}

/// Removes what was left behind in a folder. Looks through all its names: to be called where that is done anyway, or where
/// an upload begins.
pub(super) fn sweep(folder: &Folder, now: SystemTime) -> io::Result<()> {
    let mut found = Vec::new();
    for name in folder.entries()? {
        let name = name?;
        if is_left_behind(folder, &name, now).unwrap_or(false) {
            found.push(name);
        }
    }
    remove(folder, &found);
    Ok(())
}

/// Removes what was left behind.
pub(super) fn remove(folder: &Folder, names: &[OsString]) {
    for name in names {
        if let Err(error) = Removal::all(folder.clone(), name.clone()) {
            tracing::warn!(name = %name.display(), error = %error.0, "what a transfer left behind stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_and_a_name_give_one_name() {
        let one = name_for("key", OsStr::new("disk.img"));
        assert_eq!(one, name_for("key", OsStr::new("disk.img")));
        assert_ne!(one, name_for("key", OsStr::new("disk.img2")));
        assert_ne!(one, name_for("key2", OsStr::new("disk.img")));
        assert!(is_partial(&one));
        assert!(!is_partial(OsStr::new(".gururmm-0123.part")));
        assert!(!is_partial(OsStr::new("disk.img")));
    }

    #[tokio::test]
    async fn whoever_comes_later_takes_over_when_the_one_before_lets_go() {
        let take = || Claim::take((1, 2), OsStr::new("taken-over"));
        let is_known = || in_use().contains_key(&((1, 2), "taken-over".into()));
        let first = take().await;
        let others = [tokio::spawn(take()), tokio::spawn(take())];
        first.asked_for().await;
        drop(first);
        let [second, third] = others;
        let second = second.await.unwrap();
        second.asked_for().await;
        drop(second);
        let third = third.await.unwrap();
        let given_up = tokio::spawn(take());
        third.asked_for().await;
        given_up.abort();
        assert!(given_up.await.unwrap_err().is_cancelled());
        let waits = tokio::time::timeout(Duration::from_millis(20), third.asked_for());
        assert!(waits.await.is_err(), "nobody waits any more");
        assert!(is_known());
        drop(third);
        assert!(!is_known());
    }
}
