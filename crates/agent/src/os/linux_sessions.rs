//! Who is signed in at the machine, from logind's session files.

use super::linux_files::read_trimmed;
use std::fs;
use std::path::Path;

/// Where logind keeps them.
pub const SESSIONS_DIR: &str = "/run/systemd/sessions";

/// A session of a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginSession {
    /// logind's name for it.
    pub id: String,
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
    /// Whether it is the one in front on its seat; one without a seat always is.
    pub is_active: bool,
    /// When it began, in microseconds since 1970.
    pub began: u64,
    /// Lower is nearer to the machine.
    rank: u8,
}

/// Of a session on a seat.
const ON_SEAT: u8 = 0;

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
    signed_in(sessions_dir).filter(|session| session.is_active).min_by_key(|session| session.rank)
}

/// Whose session a command for the user runs in: the active one of a seat, else the one that began last.
pub fn foremost(sessions_dir: &Path) -> Option<LoginSession> {
    signed_in(sessions_dir).max_by_key(|session| (session.is_on_screen(), session.began))
}

/// All sessions of people, on whatever they are. Beside a session's file stands a pipe that its programs hold open
/// (`ID.ref`): whoever reads that waits for ever.
pub fn signed_in(sessions_dir: &Path) -> impl Iterator<Item = LoginSession> {
    let sessions = fs::read_dir(sessions_dir).into_iter().flatten().flatten();
    let sessions = sessions.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    sessions.filter_map(|entry| {
        let id = entry.file_name().into_string().ok()?;
        parse_session(&id, &read_trimmed(entry.path())?)
    })
}

impl LoginSession {
    fn is_on_screen(&self) -> bool {
        self.is_active && self.rank == ON_SEAT
    }
}

/// One that is closing has lost its user; only some of its programs are left.
fn parse_session(id: &str, text: &str) -> Option<LoginSession> {
    let field = |name: &str| {
        text.lines()
            .filter_map(|line| line.split_once('='))
            .find(|(key, _)| *key == name)
            .map(|(_, value)| value)
    };
    if field("CLASS") != Some("user") || field("STATE") == Some("closing") {
        return None;
    }
    let rank = match (field("SEAT"), field("REMOTE")) {
        (Some(_), _) => ON_SEAT,
        (None, Some("1")) => 2,
        _ => 1,
    };
    let kind = match field("TYPE") {
        Some("x11") => SessionKind::X11,
        Some("wayland" | "mir") => SessionKind::OtherGraphical,
        _ => SessionKind::Text,
    };
    Some(LoginSession {
        id: id.to_owned(),
        is_active: field("ACTIVE") == Some("1"),
        began: field("REALTIME").and_then(|time| time.parse().ok()).unwrap_or_default(),
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

    fn sessions(texts: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (id, text) in texts.iter().enumerate() {
            fs::write(folder.path().join(id.to_string()), text).unwrap();
        }
        folder
    }

    fn user(session: Option<LoginSession>) -> Option<String> {
        session.map(|session| session.user)
    }

    #[test]
    fn a_session_on_a_seat_is_nearer_than_one_from_afar() {
        let folder = sessions(&[
            "USER=bob\nACTIVE=1\nREMOTE=1\nCLASS=user\n",
            "UID=1000\nUSER=ada\nACTIVE=1\nSEAT=seat0\nTTY=tty2\nCLASS=user\n",
            "USER=gdm\nACTIVE=1\nSEAT=seat0\nCLASS=greeter\n",
        ]);
        let nearest = on_console(folder.path()).unwrap();
        assert_eq!((nearest.user.as_str(), nearest.terminal.as_deref()), ("ada", Some("tty2")));
        let away = sessions(&["USER=ada\nACTIVE=0\nSEAT=seat0\nCLASS=user\n"]);
        assert_eq!(on_console(away.path()), None);
    }

    #[test]
    fn the_pipe_beside_a_sessions_file_is_not_waited_for() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = sessions(&["UID=1000\nUSER=ada\nACTIVE=1\nSEAT=seat0\nCLASS=user\n"]);
        let pipe = folder.path().join("0.ref");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        // Somebody has it open, as the programs of a session do.
        let _writer = fs::File::options().read(true).write(true).open(&pipe).unwrap();
        assert_eq!(user(on_console(folder.path())).as_deref(), Some("ada"));
    }

    #[test]
    fn the_foremost_session_is_the_one_on_the_screen_or_else_the_newest() {
        let seat = "USER=ada\nACTIVE=1\nSEAT=seat0\nREALTIME=1\nCLASS=user\nSTATE=active\n";
        let away = "USER=eve\nACTIVE=0\nSEAT=seat0\nREALTIME=2\nCLASS=user\nSTATE=online\n";
        let old = "USER=old\nACTIVE=1\nREMOTE=1\nREALTIME=3\nCLASS=user\nSTATE=active\n";
        let new = "USER=new\nACTIVE=1\nREMOTE=1\nREALTIME=4\nCLASS=user\nSTATE=active\n";
        let closing = "USER=bob\nACTIVE=1\nREMOTE=1\nREALTIME=5\nCLASS=user\nSTATE=closing\n";
        let greeter = "USER=gdm\nACTIVE=1\nSEAT=seat0\nREALTIME=6\nCLASS=greeter\nSTATE=active\n";
        let foremost = |texts: &[&str]| user(foremost(sessions(texts).path()));
        assert_eq!(foremost(&[new, seat, away, old, closing, greeter]).as_deref(), Some("ada"));
        assert_eq!(foremost(&[away, old, new, closing, greeter]).as_deref(), Some("new"));
        assert_eq!(foremost(&[away, greeter]).as_deref(), Some("eve"));
        assert_eq!(foremost(&[closing, greeter]), None);
        assert_eq!(user(super::foremost(Path::new("/nonexistent"))), None);
    }

    #[test]
    fn a_graphical_session_is_told_from_a_terminal() {
        let kind = |name: &str| {
            let text = format!("USER=ada\nACTIVE=1\nSEAT=seat0\nTTY=tty2\nTYPE={name}\nCLASS=user\n");
            parse_session("2", &text).unwrap().kind
        };
        assert_eq!(kind("tty"), SessionKind::Text);
        assert_eq!(kind("x11"), SessionKind::X11);
        assert_eq!(kind("wayland"), SessionKind::OtherGraphical);
    }
}
