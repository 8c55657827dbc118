//! X11: the session's display, by the cookie its user's programs have.

mod display;
#[cfg(test)]
mod tests;
mod x11;

use super::{Answer, Seen};
use crate::aside::Aside;
use crate::os::linux_sessions::{LoginSession, SESSIONS_DIR, SessionKind, on_console};
use display::Display;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long finding the display and asking it may take together.
const WITHIN: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Source {
    sessions_dir: PathBuf,
    /// Where the last answer came from.
    known: Option<Screen>,
    /// Held by a search. One that hangs in a user's file system is not joined by another.
    searching: Arc<()>,
}

/// A session and the display it is on.
#[derive(Debug)]
pub(super) struct Screen {
    session: LoginSession,
    display: Display,
}

impl Default for Source {
    fn default() -> Self {
        Self { sessions_dir: SESSIONS_DIR.into(), known: None, searching: Arc::default() }
    }
}

impl Source {
    /// `None`: there is no X display to ask.
    pub(super) fn ask(&mut self) -> Option<Aside<Option<Answer>>> {
        let session = on_console(&self.sessions_dir).filter(|session| session.kind == SessionKind::X11)?;
        // What does not answer is looked for anew: a display manager makes a new cookie when it starts again.
        let known = self.known.take().filter(|known| known.session == session);
        if known.is_none() && Arc::strong_count(&self.searching) > 1 {
            return None;
        }
        let searching = Arc::clone(&self.searching);
        Some(Aside::start(async move {
            let answer = tokio::time::timeout(WITHIN, answer(session, known, searching)).await;
            answer.unwrap_or_else(|_| {
                tracing::debug!("the display does not answer");
                None
            })
        }))
    }

    pub(super) fn keep(&mut self, screen: Screen) {
        self.known = Some(screen);
    }
}

async fn answer(session: LoginSession, known: Option<Screen>, searching: Arc<()>) -> Option<Answer> {
    let screen = match known {
        Some(screen) => screen,
        None => tokio::task::spawn_blocking(move || {
            let display = display::find(&session);
            drop(searching);
            Some(Screen { display: display?, session })
        })
        .await
        .ok()??,
    };
    match x11::idle(&screen.display).await {
        Ok(idle) => {
            let at = Instant::now();
            let last_input = at.checked_sub(idle).unwrap_or(at);
            Some(Answer { seen: Seen { user: screen.session.user.clone(), at, last_input }, screen })
        }
        Err(error) => {
            tracing::debug!(%error, "the display does not tell when its user was there");
            None
        }
    }
}
