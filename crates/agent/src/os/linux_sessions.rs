//! Who is signed in at the machine, from logind's session files.

use super::linux_files::read_trimmed;
use std::fs;
use std::path::Path;

/// Where logind keeps them.
pub const SESSIONS_DIR: &str = "/run/systemd/sessions";

/// An active session of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSession {
    /// Account name.
    pub user: String,
    /// Account number.
    pub uid: Option<u32>,
    /// Its terminal below `/dev`.
    pub terminal: Option<String>,
    /// What the person looks at.
    pub kind: SessionKind,
    /// The X display, as `DISPLAY` names it; not every display manager tells.
    pub display: Option<String>,
    /// Lower is nearer to the machine.
    rank: u8,
}

/// What a person looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A terminal.
    Text,
    /// An X server's screen.
    X11,
    /// Another graphical screen: Wayland's compositors have no common way to tell when someone typed.
    OtherGraphical,
}

/// The active session on a seat, else on a terminal, else from afar.
pub fn on_console(sessions_dir: &Path) -> Option<LoginSession> {
    let sessions = fs::read_dir(sessions_dir).ok()?;
    let texts = sessions.flatten().filter_map(|entry| read_trimmed(entry.path()));
    texts.filter_map(|text| parse_session(&text)).min_by_key(|session| session.rank)
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
    let kind = match field("TYPE") {
        Some("x11") => SessionKind::X11,
        Some("wayland" | "mir") => SessionKind::OtherGraphical,
        _ => SessionKind::Text,
    };
    Some(LoginSession {
        user: field("USER")?.to_owned(),
        uid: field("UID").and_then(|uid| uid.parse().ok()),
        terminal: field("TTY").map(str::to_owned),
        kind,
        display: field("DISPLAY").map(str::to_owned),
        rank,
    })
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
    fn a_graphical_session_is_told_from_a_terminal() {
        let kind = |name: &str| {
            let text = format!("USER=ada\nACTIVE=1\nSEAT=seat0\nTTY=tty2\nTYPE={name}\nCLASS=user\n");
            parse_session(&text).unwrap().kind
        };
        assert_eq!(kind("tty"), SessionKind::Text);
        assert_eq!(kind("x11"), SessionKind::X11);
        assert_eq!(kind("wayland"), SessionKind::OtherGraphical);
    }
}
