//! Which version is started next. Every change is on the disk before it is acted on: a watchdog that is killed between
//! any two steps goes on from there.

use crate::update::ledger::{Build, Ledger, Outcome, Record, Trial};
use crate::update::programs::{Opened, Programs};
use crate::update::{own_version, parse_version};
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
        // A package brought a newer one: it runs, unless it is replaced again.
        let is_older =
            |build: &Build| parse_version(&build.version).is_ok_and(|version| version < own_version());
        if record.confirmed.as_ref().is_some_and(is_older) {
            tracing::info!(
                version = crate::version(),
                "the installed version is newer than the one that ran last"
            );
            record.previous = record.confirmed.take();
        }
        Self { ledger, programs, record, own }
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
        self.programs.prune(&keep);
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
