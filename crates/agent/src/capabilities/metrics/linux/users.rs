//! Names of accounts, and who sits at the machine.

use super::trimmed;
use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
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

/// From logind's session files: the active session on a seat, else on a terminal, else from afar.
pub(super) fn on_console() -> Option<User> {
    let sessions = fs::read_dir("/run/systemd/sessions").ok()?;
    let texts = sessions.flatten().filter_map(|entry| trimmed(entry.path()));
    let best = texts.filter_map(|text| parse_session(&text)).min_by_key(|session| session.rank)?;
    let idle_seconds = best.terminal.as_deref().and_then(terminal_idle_seconds);
    Some(User { name: best.user, idle_seconds })
}

#[derive(Debug, PartialEq)]
struct LoginSession {
    user: String,
    terminal: Option<String>,
    /// Lower is nearer to the machine.
    rank: u8,
}

fn parse_session(text: &str) -> Option<LoginSession> {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    if field("ACTIVE") != Some("1") || field("CLASS") != Some("user") {
        return None;
    }
    let rank = match (field("SEAT"), field("REMOTE")) {
        (Some(_), _) => 0,
        (None, Some("1")) => 2,
        _ => 1,
    };
    Some(LoginSession { user: field("USER")?.to_owned(), terminal: field("TTY").map(str::to_owned), rank })
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
    fn a_session_on_a_seat_is_nearer_than_one_from_afar() {
        let seat = parse_session("UID=1000\nUSER=ada\nACTIVE=1\nSEAT=seat0\nTTY=tty2\nCLASS=user\n").unwrap();
        let remote = parse_session("USER=bob\nACTIVE=1\nREMOTE=1\nCLASS=user\n").unwrap();
        assert!(seat.rank < remote.rank);
        assert_eq!(seat.terminal.as_deref(), Some("tty2"));
        assert_eq!(parse_session("USER=gdm\nACTIVE=1\nSEAT=seat0\nCLASS=greeter\n"), None);
        assert_eq!(parse_session("USER=ada\nACTIVE=0\nSEAT=seat0\nCLASS=user\n"), None);
    }

    #[test]
    fn an_account_without_an_entry_keeps_its_number() {
        let names = Names(parse_passwd("root:x:0:0::/root:/bin/sh\nbroken\ntoor:x:0:0::/:/bin/sh\n"));
        assert_eq!((names.of(0).as_str(), names.of(4242).as_str()), ("root", "4242"));
    }
}
