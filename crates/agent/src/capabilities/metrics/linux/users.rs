//! Names of accounts, and who sits at the machine.

use super::trimmed;
use crate::os::linux_sessions::{self, SESSIONS_DIR, SessionKind};
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Local accounts' names by number; directory accounts keep their number.
#[derive(Debug)]
pub(super) struct Names(HashMap<u32, String>);

impl Names {
    pub(super) fn read() -> Self {
        Self(parse_passwd(&trimmed("/etc/passwd").unwrap_or_default()))
    }

    pub(super) fn of(&self, uid: u32) -> String {
        self.0.get(&uid).cloned().unwrap_or_else(|| uid.to_string())
    }
}

/// `passwd(5)`: `name:password:uid:…`; the first entry of a number counts.
fn parse_passwd(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(uid)) = (fields.next(), fields.nth(1).and_then(|uid| uid.parse().ok())) {
            names.entry(uid).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[derive(Debug, PartialEq)]
pub(super) struct User {
    pub name: String,
    pub idle_seconds: Option<u64>,
}

pub(super) fn on_console() -> Option<User> {
    let session = linux_sessions::on_console(Path::new(SESSIONS_DIR))?;
    // What is typed into a graphical session does not touch its terminal.
    let terminal = session.terminal.filter(|_| session.kind == SessionKind::Text);
    let idle_seconds = terminal.as_deref().and_then(terminal_idle_seconds);
    Some(User { name: session.user, idle_seconds })
}

/// A terminal's device is touched by every key stroke.
fn terminal_idle_seconds(terminal: &str) -> Option<u64> {
    if terminal.contains("..") {
        return None;
    }
    let touched = fs::metadata(format!("/dev/{terminal}")).ok()?.atime();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(now.saturating_sub(u64::try_from(touched).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_without_an_entry_keeps_its_number() {
        let names = Names(parse_passwd("root:x:0:0::/root:/bin/sh\nbroken\ntoor:x:0:0::/:/bin/sh\n"));
        assert_eq!((names.of(0).as_str(), names.of(4242).as_str()), ("root", "4242"));
    }
}
