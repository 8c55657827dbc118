//! Time since the signed-in user's last input, where only the screen's server can tell: it is asked shortly before a
//! sample is due, beside the loop, since it may be slow or dead. Where it tells the user's own programs only, the user's
//! helper has asked it, and what it said is read.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

use crate::aside::Aside;
use crate::user_activity;
use chrono::Utc;
use gururmm_protocol::metrics::Sample;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long before a sample is asked.
const LEAD: Duration = Duration::from_millis(500);
/// An answer as old as this is none.
const FRESH: Duration = Duration::from_secs(5);

/// What the screen last told. Asks nothing while samples need nothing.
#[derive(Debug, Default)]
pub struct UserIdle {
    source: platform::Source,
    asking: Option<Aside<Option<Answer>>>,
    seen: Option<Seen>,
    is_needed: bool,
    /// The sample that was asked for.
    asked_for: Option<Instant>,
    /// Where the watchdog writes down what users' helpers say.
    run_folder: PathBuf,
}

#[derive(Debug)]
struct Seen {
    user: String,
    at: Instant,
    last_input: Instant,
}

/// An answer, and where it came from, so that it need not be looked for again.
#[derive(Debug)]
struct Answer {
    seen: Seen,
    screen: platform::Screen,
}

impl UserIdle {
    /// Nothing is known yet.
    pub fn new(run_folder: PathBuf) -> Self {
        Self { run_folder, ..Self::default() }
    }

    /// When [`UserIdle::run`] is to be called for the sample that is `due`.
    pub fn next(&self, due: Instant) -> Option<Instant> {
        let is_asked = self.asked_for == Some(due) || self.asking.is_some();
        (self.is_needed && !is_asked).then(|| due.checked_sub(LEAD).unwrap_or(due))
    }

    /// Asks when the sample that is `due` is near.
    pub fn run(&mut self, now: Instant, due: Instant) {
        self.collect();
        if self.next(due).is_some_and(|at| at <= now) {
            self.asked_for = Some(due);
            self.asking = self.source.ask();
        }
    }

    /// Writes the time into a sample that names a user and not since when they are idle.
    pub fn complete(&mut self, now: Instant, sample: &mut Sample) {
        self.collect();
        let user = sample.logged_in_user.as_ref().filter(|_| sample.user_idle_seconds.is_none());
        self.is_needed = user.is_some();
        let seen = self.seen.as_ref().filter(|seen| now.saturating_duration_since(seen.at) < FRESH);
        if let (Some(user), Some(seen)) = (user, seen)
            && *user == seen.user
        {
            sample.user_idle_seconds = Some(now.saturating_duration_since(seen.last_input).as_secs());
        }
        if let (Some(user), None) = (&sample.logged_in_user, sample.user_idle_seconds) {
            let idle = user_activity::idle(&self.run_folder, user, Utc::now());
            sample.user_idle_seconds = idle.map(|idle| idle.as_secs());
        }
    }

    fn collect(&mut self) {
        if let Some(answer) = Aside::take(&mut self.asking) {
            self.seen = answer.flatten().map(|answer| {
                self.source.keep(answer.screen);
                answer.seen
            });
        }
    }
}
