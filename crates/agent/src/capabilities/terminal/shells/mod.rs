//! The shells of this machine. A terminal starts one of them and nothing else.

#[cfg(unix)]
mod unix;
#[cfg(unix)]
use unix as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

use crate::os::terminal::Program;
use crate::os::user_session::UserSession;
use gururmm_protocol::tunnel::order::Shell;
use std::path::Path;

/// What there is, the one to take by default first. May ask a directory service.
pub fn found() -> Vec<Shell> {
    platform::found()
}

/// What to start for a request: one of those found, or by default the login shell of the user of that session, or the
/// first of all. `None`: the machine has no such shell.
pub fn choose(wanted: Option<&str>, session: Option<&UserSession>) -> Option<Program> {
    let found = found();
    let own = session.and_then(platform::login_shell);
    let path = match wanted {
        Some(wanted) => found.into_iter().find(|shell| shell.program == wanted)?.program,
        None => own.or_else(|| found.into_iter().next().map(|shell| shell.program))?,
    };
    Some(platform::program(Path::new(&path)))
}
