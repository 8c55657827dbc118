//! Which version is started next. Every change is on the disk before it is acted on: a watchdog that is killed between
//! any two steps goes on from there.

use crate::install;
use crate::update::ledger::{Build, Ledger, Outcome, Record, Successor, Trial};
use crate::update::programs::{Opened, Programs};
use crate::update::{UpdateError, own_version, parse_version};
use chrono::Utc;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

/// How often a watchdog may begin with a version that has not connected yet: the machine may go down once for reasons
/// of its own, but not again and again.
const MAX_STARTS: u32 = 3;

/// The watchdog's decisions.
#[derive(Debug)]
pub struct Plan {
    ledger: Ledger,
    programs: Programs,
    record: Record,
    own: PathBuf,
}

/// A version to start.
#[derive(Debug)]
pub struct Start {
    /// Which, for the log.
    pub version: String,
    /// Whether it has to show that it connects.
    pub is_trial: bool,
    /// The program's bytes, open and verified; `None` is the installed program.
    opened: Option<Opened>,
    own: PathBuf,
}

impl Start {
    /// What to execute: on Linux the very file that was hashed, whatever has its name by now. Elsewhere systems start
    /// by name only; there the folder's rights keep others from changing it, and it stays open meanwhile.
    pub fn program(&self) -> io::Result<OsString> {
        match &self.opened {
            Some(opened) => crate::os::executable(&opened.file, &opened.path),
            None => Ok(self.own.clone().into_os_string()),
        }
    }
}

impl Plan {
    /// Goes on from what is on the disk. `own` is the installed program, this one.
    pub fn load(ledger: Ledger, programs: Programs, own: PathBuf) -> Self {
        let mut record = ledger.record();
        let is_own = |build: &Build| build.version == crate::version();
        // A package brought a newer one: it runs, unless it is replaced again. What the updater put there itself did not
        // come with a package: then the machine was sent back to an older one.
        let is_older =
            |build: &Build| parse_version(&build.version).is_ok_and(|version| version < own_version());
        let is_a_packages = !record.watchdog.as_ref().is_some_and(is_own);
        if is_a_packages && record.confirmed.as_ref().is_some_and(is_older) {
            tracing::info!(
                version = crate::version(),
                "the installed version is newer than the one that ran last"
            );
            record.previous = record.confirmed.take();
        }
        let mut plan = Self { ledger, programs, record, own };
        plan.name_successor();
        plan
    }

    /// Whoever is confirmed is to be the watchdog as well, unless it was shown already that it cannot.
    fn name_successor(&mut self) {
        let build = self.record.confirmed.clone();
        let known = self.record.successor.take();
        self.record.successor = build.and_then(|build| match known {
            Some(known) if known.build == build => Some(known),
            _ if build.version == crate::version() => None,
            _ => Some(Successor { build, starts: 0, failure: None }),
        });
    }

    /// The version that is to be the watchdog instead of this one now, opened; not while a version is tried, which has to
    /// be confirmed first.
    pub fn successor(&mut self) -> Option<(Build, Opened)> {
        let successor = self.record.successor.as_ref()?;
        let is_due = successor.failure.is_none() && successor.build.version != crate::version();
        if !is_due || self.record.trial.is_some() || self.ledger.request().is_some() {
            return None;
        }
        let (build, starts) = (successor.build.clone(), successor.starts);
        if starts >= MAX_STARTS {
            self.does_not_succeed(&format!("its agent did not connect in {MAX_STARTS} starts"));
            return None;
        }
        match self.programs.open_verified(&build) {
            Ok(opened) => Some((build, opened)),
            Err(error) => {
                self.does_not_succeed(&error.to_string());
                None
            }
        }
    }

    /// Whether this is the successor and has yet to show that it can be the watchdog.
    pub fn is_successor(&self) -> bool {
        self.record.successor.as_ref().is_some_and(|successor| successor.build.version == crate::version())
    }

    /// Whether another process has this version started by the service manager by now.
    pub fn is_established(&self, build: &Build) -> bool {
        self.ledger.record().watchdog.as_ref() == Some(build)
    }

    /// The successor is about to be started. Not where that cannot be counted, as for a trial.
    pub fn succession_begins(&mut self) -> bool {
        if let Some(successor) = &mut self.record.successor {
            successor.starts += 1;
        }
        self.save()
    }

    /// This version stays the watchdog.
    pub fn does_not_succeed(&mut self, why: &str) {
        let Some(successor) = &mut self.record.successor else { return };
        tracing::error!(version = %successor.build.version, why, "the new version runs, and does not become the watchdog");
        successor.failure = Some(why.to_owned());
        self.save();
    }

    /// This is the successor, and its agent is connected: from now on the service manager starts it.
    pub fn succeeded(&mut self) {
        if !self.is_successor() {
            return;
        }
        let Some(successor) = &self.record.successor else { return };
        let started_from_now_on = self.programs.open_verified(&successor.build).and_then(|mut program| {
            install::start_service_with(&mut program, self.programs.installation())
                .map_err(|error| UpdateError::new("SERVICE", error))
        });
        match started_from_now_on {
            Ok(()) => {
                tracing::info!("this version is the watchdog from now on");
                self.record.watchdog = self.record.successor.take().map(|successor| successor.build);
                self.save();
            }
            // The one before is started at the next time, and hands over again.
            Err(error) => tracing::error!(%error, "the service manager cannot be given this version"),
        }
    }

    /// What to start now: what is being tried, what the agent asked for, or what was confirmed.
    pub fn next_start(&mut self) -> Start {
        self.take_request();
        if let Some(trial) = &mut self.record.trial {
            trial.starts += 1;
            if trial.starts > MAX_STARTS {
                self.failed(&format!("it did not connect in {MAX_STARTS} starts"));
            } else if self.save() {
                // Not started before it is counted: a version that takes the machine down would be started for ever.
                if let Some(start) = self.open_trial() {
                    return start;
                }
            } else {
                self.failed("its start cannot be recorded");
            }
        }
        match &self.record.confirmed {
            Some(build) => match self.programs.open_verified(build) {
                Ok(opened) => self.start(build.version.clone(), false, Some(opened)),
                Err(error) => {
                    tracing::error!(%error, version = %build.version, "the confirmed version cannot be started; the installed one is");
                    self.start(crate::version().to_owned(), false, None)
                }
            },
            None => self.start(crate::version().to_owned(), false, None),
        }
    }

    /// The version that is being tried has connected.
    pub fn confirmed(&mut self) {
        let Some(trial) = self.record.trial.take() else { return };
        tracing::info!(version = %trial.build.version, "the new version has connected, and stays");
        self.end(&trial, None);
        let before = self.record.confirmed.replace(trial.build);
        // Going back to the version before does not make the one that was left something to go back to.
        self.record.previous = before.filter(|before| Some(before) != self.record.confirmed.as_ref());
        self.name_successor();
        self.save();
        self.prune();
    }

    /// The version that is being tried is not going to stay.
    pub fn failed(&mut self, why: &str) {
        let Some(trial) = self.record.trial.take() else { return };
        tracing::error!(version = %trial.build.version, why, "the new version does not stay; the one before runs again");
        self.end(&trial, Some(why.to_owned()));
        self.save();
        self.prune();
    }

    /// What neither runs nor is gone back to does not fill the disk.
    fn prune(&self) {
        let keep = [&self.record.confirmed, &self.record.previous];
        let keep: Vec<&str> = keep.into_iter().flatten().map(|build| build.version.as_str()).collect();
        self.programs.prune(&keep, &self.own);
    }

    /// A request becomes a trial in one step: the record is written, then the request goes. Killed between the two, the
    /// same request is found again, and is known by its id.
    fn take_request(&mut self) {
        let Some(request) = self.ledger.request() else { return };
        let is_known = self.record.trial.as_ref().is_some_and(|trial| trial.update_id == request.update_id)
            || self.record.outcome.as_ref().is_some_and(|outcome| outcome.update_id == request.update_id);
        if !is_known {
            if self.record.confirmed.is_none() {
                self.record.confirmed = self.keep_own();
            }
            self.record.trial = Some(Trial { update_id: request.update_id, build: request.build, starts: 0 });
            if !self.save() {
                self.failed("the trial cannot be recorded");
            }
        }
        if let Err(error) = self.ledger.remove_request() {
            tracing::warn!(%error, "a request that was taken cannot be removed");
        }
    }

    /// The version to go back to has to outlive a package that replaces the installed program.
    fn keep_own(&self) -> Option<Build> {
        match self.programs.keep_own(&self.own, crate::version()) {
            Ok(build) => Some(build),
            Err(error) => {
                tracing::warn!(%error, "the installed version cannot be kept beside the new one");
                None
            }
        }
    }

    fn open_trial(&mut self) -> Option<Start> {
        let build = self.record.trial.as_ref()?.build.clone();
        match self.programs.open_verified(&build) {
            Ok(opened) => Some(self.start(build.version, true, Some(opened))),
            Err(error) => {
                self.failed(&error.to_string());
                None
            }
        }
    }

    fn start(&self, version: String, is_trial: bool, opened: Option<Opened>) -> Start {
        Start { version, is_trial, opened, own: self.own.clone() }
    }

    fn end(&mut self, trial: &Trial, failure: Option<String>) {
        self.record.outcome = Some(Outcome {
            update_id: trial.update_id,
            version: trial.build.version.clone(),
            failure,
            at: Utc::now(),
        });
    }

    fn save(&self) -> bool {
        let written = self.ledger.write_record(&self.record);
        if let Err(error) = &written {
            tracing::error!(%error, "the watchdog's record cannot be written");
        }
        written.is_ok()
    }
}
