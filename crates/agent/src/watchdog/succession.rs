//! A confirmed version becomes the watchdog, too. It is the watchdog for a while before it is installed as one: the
//! running watchdog becomes it (on Unix by executing it, so that the service manager sees the same process; on Windows
//! by running it as a child), and only once its own agent is connected does it give the service manager its own program.
//! Until then the service manager starts what it has always started.

use super::child::{Child, Ended};
use super::{LOOK_EVERY, Once, Options, STOP_WITHIN, Watchdog, WatchdogError, load};
use crate::os;
use crate::state::StateDir;
use crate::update::ledger::Build;
use crate::update::programs::Opened;
use std::ffi::OsString;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};

/// How long a version may take to show that it finds its way in this installation.
const CHECK_WITHIN: Duration = Duration::from_secs(20);
/// What stopping takes a watchdog beside what it takes its agent.
const STOPPING: Duration = Duration::from_millis(500);

/// What a version is asked before it becomes the watchdog: whether it starts, and can read what it would work with. Run
/// beside the watchdog, it changes nothing.
pub fn check(options: &Options) -> Result<(), WatchdogError> {
    let state = StateDir::open(&options.state_dir)?;
    load(options, &state).map(drop)
}

impl Watchdog {
    /// Where another version is to be the watchdog: becomes it, if it can be. `None` where this one goes on.
    pub(super) async fn hand_over(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Once>, WatchdogError> {
        let Some((build, opened)) = self.plan.successor() else { return Ok(None) };
        if self.options.is_hosted {
            // Whoever runs this one as a child is to run that one instead.
            self.stop_helpers().await;
            return Err(WatchdogError::ForAnotherVersion);
        }
        let checked = tokio::select! {
            () = stop.as_mut() => return Ok(Some(Once::Stopped)),
            checked = self.check_successor(&opened) => checked,
        };
        if let Err(why) = checked {
            self.plan.does_not_succeed(&why);
            return Ok(None);
        }
        if !self.plan.succession_begins() {
            return Ok(None);
        }
        tracing::info!(version = %build.version, "the new version takes over as the watchdog");
        // It starts its own; nobody would wait for these any more.
        self.stop_helpers().await;
        self.become_successor(&build, &opened, stop).await
    }

    async fn check_successor(&self, opened: &Opened) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("it cannot be started: {error}");
        let program = os::executable(&opened.file, &opened.path).map_err(failed)?;
        let mut child = Child::check(&program, self.options.state_dir.as_path(), &self.options.arguments)
            .map_err(failed)?;
        match timeout(CHECK_WITHIN, child.ended()).await {
            Ok(Ended::Well) => Ok(()),
            Ok(ended) => Err(format!("it does not find its way here: {ended}")),
            Err(_) => Err(format!("it found nothing out in {} seconds", CHECK_WITHIN.as_secs())),
        }
    }

    fn successors_arguments(&self) -> Vec<OsString> {
        let seconds = self.options.confirm_within.as_secs().to_string();
        let mut arguments: Vec<OsString> = vec!["watchdog".into(), "--state-dir".into()];
        arguments.push(self.options.state_dir.clone().into());
        arguments.extend(["--confirm-within".into(), seconds.into()]);
        arguments.extend(self.options.arguments.iter().cloned());
        arguments
    }

    /// Executes it in this process's place, where the system does such a thing, and runs it as a child else. Whatever it
    /// does, it is ended when its agent does not connect in time.
    async fn become_successor(
        &mut self,
        build: &Build,
        opened: &Opened,
        stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<Option<Once>, WatchdogError> {
        let mut arguments = self.successors_arguments();
        let started = os::executable(&opened.file, &opened.path).and_then(|program| {
            os::become_program(&program, &opened.path, &arguments, self.options.confirm_within)?;
            arguments.push("--hosted".into());
            Child::watchdog(&program, &arguments)
        });
        let child = match started {
            Ok(child) => child,
            Err(error) => {
                self.plan.does_not_succeed(&format!("it cannot be started: {error}"));
                return Ok(None);
            }
        };
        // It is the watchdog now, and the record its own.
        self.lock = None;
        let ended = self.host(build, child, stop).await;
        self.lock = Some(self.state.lock_named(super::LOCK)?.ok_or(WatchdogError::AlreadyRunning)?);
        self.plan = load(&self.options, &self.state)?;
        Ok(Some(match ended {
            None => Once::Stopped,
            Some(Ended::NeedsAPerson) => Once::NeedsAPerson,
            Some(Ended::ForAnotherVersion) => Once::AgainNow,
            Some(ended) => Once::Failed(format!("the watchdog {}: {ended}", build.version)),
        }))
    }

    /// Stays the service for a watchdog that is a child: until it ends, and `None` when all is to stop.
    async fn host(
        &self,
        build: &Build,
        mut child: Child,
        mut stop: Pin<&mut impl Future<Output = ()>>,
    ) -> Option<Ended> {
        let mut proves_until = Some(Instant::now() + self.options.confirm_within);
        let ended = loop {
            tokio::select! {
                () = stop.as_mut() => break None,
                ended = child.ended() => return Some(ended),
                () = sleep(LOOK_EVERY), if proves_until.is_some() => {}
            }
            if self.plan.is_established(build) {
                proves_until = None;
            }
            if proves_until.is_some_and(|end| Instant::now() >= end) {
                break Some(Ended::Otherwise("its agent did not connect in time".to_owned()));
            }
        };
        child.stop(STOP_WITHIN + STOPPING).await;
        ended
    }
}
