//! Going where the server is to be found: trying a new place for a while, staying where a server welcomes this agent, and
//! going back where none does.

use crate::clock::ServerClock;
use crate::follow::{Failure, Place, Previous, Stored, Trial};
use crate::session::Session;
use crate::state::StateDir;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::follow::{FollowMe, FollowRecord, FollowReport, FollowState, KEY_BYTES};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a new place has to welcome the agent, unless a test says otherwise.
pub const TRIAL: Duration = Duration::from_secs(300);
/// A record that was tried in vain is tried again so much later at the earliest.
const AGAIN_AFTER: TimeDelta = TimeDelta::hours(1);
/// How long the place before is kept once the new one has welcomed the agent.
const KEPT_FOR: TimeDelta = TimeDelta::hours(24);
/// Without a welcome for so long, the place before is asked in turn.
const FALL_BACK_AFTER: Duration = Duration::from_secs(300);

/// One of the places an agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    /// Where the server is.
    Current,
    /// Where it may be from now on.
    Trial,
    /// Where it was before.
    Previous,
}

/// Which places there are, and which one is next.
pub(super) struct Following {
    state: StateDir,
    clock: Arc<ServerClock>,
    stored: Stored,
    within: Duration,
    trial_ends: Option<Instant>,
    /// Why there was no welcome at the place that is tried.
    last_error: Option<String>,
    /// When this agent was connected last, or was started.
    last_online: Instant,
    target: Target,
}

impl Following {
    pub(super) fn open(state: &StateDir, clock: &Arc<ServerClock>, within: Duration, now: Instant) -> Self {
        let stored = Stored::load(state);
        let left = |trial: &Trial| (trial.until - clock.at(now)).to_std().unwrap_or_default().min(within);
        let trial_ends = stored.trial.as_ref().map(|trial| now + left(trial));
        Self {
            state: state.clone(),
            clock: Arc::clone(clock),
            stored,
            within,
            trial_ends,
            last_error: None,
            last_online: now,
            target: Target::Current,
        }
    }

    /// Where the next connection goes.
    pub(super) fn next_target(&mut self, now: Instant) -> Target {
        let is_lost = now.saturating_duration_since(self.last_online) >= FALL_BACK_AFTER;
        self.target = match self.target {
            _ if self.stored.trial.is_some() => Target::Trial,
            Target::Current if is_lost && self.stored.previous.is_some() => Target::Previous,
            _ => Target::Current,
        };
        self.target
    }

    /// The place of a target; nothing: the identity's.
    pub(super) fn place(&self, target: Target) -> Option<&Place> {
        match target {
            Target::Current => self.stored.place.as_ref(),
            Target::Trial => self.stored.trial.as_ref().map(|trial| &trial.place),
            Target::Previous => self.stored.previous.as_ref().and_then(|previous| previous.place.as_ref()),
        }
    }

    /// Whether a new place is being tried.
    pub(super) fn is_trying(&self) -> bool {
        self.stored.trial.is_some()
    }

    /// When [`Following::run`] is to be called at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.trial_ends
    }

    /// The server says where it is to be found. True when the agent goes there now.
    pub(super) fn told(&mut self, now: Instant, follow: &FollowMe, session: &mut Session) -> bool {
        if self.stored.key.is_none() && follow.key.0.len() == KEY_BYTES {
            self.stored.key = Some(follow.key.clone());
            self.save();
        }
        let Some(signed) = &follow.record else { return false };
        let time = self.clock.at(now);
        let record = match self.stored.judge(signed, time) {
            Ok(record) => record,
            Err(refusal) => {
                tracing::warn!(code = refusal.code(), "the server is not looked for elsewhere: {refusal}");
                // Which one is not followed is the sender's own word.
                if let Ok(named) = serde_json::from_str::<FollowRecord>(&signed.record) {
                    let why = Some((refusal.code(), refusal.to_string()));
                    self.report(session, named.serial, FollowState::Refused, why, time);
                }
                return false;
            }
        };
        let FollowRecord { serial, server_url, ca_fingerprint, next_key, .. } = record;
        let place = Place { server_url, ca_fingerprint };
        if self.stored.place.as_ref() == Some(&place) {
            // Said whenever it is asked, and kept nowhere: a server that was restored from a backup has forgotten it.
            session.set_follow_report(FollowReport {
                serial,
                state: FollowState::Confirmed,
                error_code: None,
                error: None,
                at: time,
            });
            return false;
        }
        let is_too_soon = |failure: &Failure| failure.serial == serial && time < failure.at + AGAIN_AFTER;
        if self.is_trying() || self.stored.failure.as_ref().is_some_and(is_too_soon) {
            return false;
        }
        tracing::warn!(serial, server_url = place.server_url, "the server is to be found elsewhere");
        let until = time + TimeDelta::from_std(self.within).unwrap_or(TimeDelta::zero());
        let before = self.stored.clone();
        self.stored.serial = serial;
        self.stored.trial = Some(Trial { serial, place, next_key, until });
        self.stored.report = None;
        if let Err(error) = self.stored.save(&self.state) {
            tracing::warn!(%error, "the new place cannot be noted, and is not tried");
            self.stored = before;
            return false;
        }
        self.trial_ends = Some(now + self.within);
        self.last_error = None;
        true
    }

    /// A server welcomed the agent where it looked last. True when the server is there from now on.
    pub(super) fn welcomed(&mut self, now: Instant, session: &mut Session) -> bool {
        if self.target != Target::Trial {
            self.say_again(session);
            return false;
        }
        let Some(trial) = self.stored.trial.take() else { return false };
        let time = self.clock.at(now);
        tracing::warn!(
            serial = trial.serial,
            server_url = trial.place.server_url,
            "the server is here from now on"
        );
        let before = self.stored.place.replace(trial.place);
        self.stored.previous = Some(Previous { place: before, until: time + KEPT_FOR });
        if let Some(key) = trial.next_key {
            self.stored.key = Some(key);
        }
        self.stored.failure = None;
        self.trial_ends = None;
        self.target = Target::Current;
        self.report(session, trial.serial, FollowState::Confirmed, None, time);
        true
    }

    /// There is no connection, and why.
    pub(super) fn not_connected(&mut self, reason: &str) {
        if self.is_trying() {
            self.last_error = Some(reason.to_owned());
        }
    }

    /// The server has what became of a record.
    pub(super) fn acknowledged(&mut self, serial: u64, state: FollowState) {
        if self.stored.report.as_ref().is_some_and(|report| (report.serial, report.state) == (serial, state))
        {
            self.stored.report = None;
            self.save();
        }
    }

    /// Does what is due. True when the agent goes back.
    pub(super) fn run(&mut self, now: Instant, is_online: bool, session: &mut Session) -> bool {
        if is_online {
            self.last_online = now;
        }
        let time = self.clock.at(now);
        let is_over = |previous: &Previous| time >= previous.until;
        if is_online && self.target == Target::Current && self.stored.previous.as_ref().is_some_and(is_over) {
            tracing::info!("the place where the server was before is forgotten");
            self.stored.previous = None;
            self.save();
        }
        if self.trial_ends.is_none_or(|end| now < end) {
            return false;
        }
        self.give_up(now, session)
    }

    /// The new place is not to be had.
    pub(super) fn give_up(&mut self, now: Instant, session: &mut Session) -> bool {
        self.trial_ends = None;
        let Some(trial) = self.stored.trial.take() else { return false };
        let time = self.clock.at(now);
        let why = self.last_error.take().unwrap_or_else(|| "no server welcomed this agent there".to_owned());
        tracing::warn!(serial = trial.serial, %why, "the server is looked for where it was");
        self.stored.failure = Some(Failure { serial: trial.serial, at: time });
        self.target = Target::Current;
        self.report(session, trial.serial, FollowState::Reverted, Some(("NOT_WELCOMED", why)), time);
        true
    }

    fn report(
        &mut self,
        session: &mut Session,
        serial: u64,
        state: FollowState,
        why: Option<(&str, String)>,
        at: DateTime<Utc>,
    ) {
        let (code, error) = why.unzip();
        let mut report = FollowReport { serial, state, error_code: code.map(str::to_owned), error, at };
        report.clean();
        session.set_follow_report(report.clone());
        self.stored.report = Some(report);
        self.save();
    }

    fn say_again(&self, session: &mut Session) {
        if let Some(report) = &self.stored.report {
            session.set_follow_report(report.clone());
        }
    }

    fn save(&self) {
        if let Err(error) = self.stored.save(&self.state) {
            tracing::warn!(%error, "where the server is to be found cannot be noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Outbox;
    use crate::session::ledger::Ledger;
    use gururmm_protocol::command::Bytes;
    use gururmm_protocol::follow::SignedRecord;
    use ring::signature::{Ed25519KeyPair, KeyPair};
    use std::collections::HashMap;
    use tempfile::TempDir;

    const WITHIN: Duration = Duration::from_secs(300);

    struct Machine {
        _dir: TempDir,
        state: StateDir,
        clock: Arc<ServerClock>,
        session: Session,
        now: Instant,
        key: Ed25519KeyPair,
    }

    impl Machine {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = StateDir::create(&dir.path().join("state")).unwrap();
            let now = Instant::now();
            let clock = Arc::new(ServerClock::load(&state));
            clock.set(now, Utc::now());
            let session = Session::new(now, 1, Ledger::new(Vec::new(), &[], HashMap::new()), Outbox::new(1));
            let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
            Self { _dir: dir, state, clock, session, now, key }
        }

        /// The agent starts: after a kill as after a stop.
        fn agent(&self) -> Following {
            Following::open(&self.state, &self.clock, WITHIN, self.now)
        }

        fn told(&self, serial: u64, host: &str) -> FollowMe {
            let time = self.clock.at(self.now);
            let record = FollowRecord {
                serial,
                server_url: format!("https://{host}"),
                ca_fingerprint: None,
                not_before: time - TimeDelta::minutes(1),
                expires_at: time + TimeDelta::days(365),
                next_key: None,
            };
            let record = serde_json::to_string(&record).unwrap();
            let signature = self.key.sign(&SignedRecord::signed_bytes(&record));
            let signature = Bytes(signature.as_ref().to_vec());
            FollowMe {
                key: Bytes(self.key.public_key().as_ref().to_vec()),
                record: Some(SignedRecord { record, signature }),
            }
        }

        fn pass(&mut self, seconds: u64) {
            self.now += Duration::from_secs(seconds);
        }
    }

    /// Where the agent would connect to next.
    fn host(agent: &mut Following, now: Instant) -> String {
        let target = agent.next_target(now);
        agent.place(target).map_or("home".to_owned(), |place| place.server_url.replace("https://", ""))
    }

    #[test]
    fn killed_at_any_step_the_agent_knows_where_to_go() {
        let mut machine = Machine::new();
        let mut agent = machine.agent();
        assert_eq!(host(&mut agent, machine.now), "home");
        let follow = machine.told(1, "new.example.com");
        assert!(agent.told(machine.now, &follow, &mut machine.session));
        // Killed before it connected there.
        let mut agent = machine.agent();
        assert_eq!(host(&mut agent, machine.now), "new.example.com");
        assert!(agent.welcomed(machine.now, &mut machine.session));
        // Killed once it was welcomed.
        let mut agent = machine.agent();
        assert_eq!(host(&mut agent, machine.now), "new.example.com");
        assert!(!agent.is_trying() && !agent.welcomed(machine.now, &mut machine.session));
        // Another move, which nobody welcomes: killed in its midst, and after it was given up.
        machine.pass(10);
        let follow = machine.told(2, "third.example.com");
        assert!(agent.told(machine.now, &follow, &mut machine.session));
        let mut agent = machine.agent();
        assert_eq!(host(&mut agent, machine.now), "third.example.com");
        machine.pass(301);
        let mut agent = machine.agent();
        assert!(agent.run(machine.now, false, &mut machine.session), "it was down for the rest of its time");
        assert_eq!(host(&mut agent, machine.now), "new.example.com");
        let mut agent = machine.agent();
        assert_eq!(host(&mut agent, machine.now), "new.example.com");
    }

    #[test]
    fn what_nobody_welcomed_is_tried_again_after_an_hour_or_for_a_newer_record() {
        let mut machine = Machine::new();
        let mut agent = machine.agent();
        let first = machine.told(1, "new.example.com");
        assert!(agent.told(machine.now, &first, &mut machine.session));
        machine.pass(300);
        assert!(agent.run(machine.now, false, &mut machine.session));
        for _ in 0..5 {
            machine.pass(600);
            assert!(!agent.told(machine.now, &first, &mut machine.session));
        }
        machine.pass(601);
        assert!(agent.told(machine.now, &first, &mut machine.session));
        machine.pass(300);
        assert!(agent.run(machine.now, false, &mut machine.session));
        let second = machine.told(2, "other.example.com");
        assert!(agent.told(machine.now, &second, &mut machine.session));
        // What is older is not followed any more, whoever says it again.
        agent.give_up(machine.now, &mut machine.session);
        machine.pass(7200);
        assert!(!agent.told(machine.now, &first, &mut machine.session));
    }

    #[test]
    fn the_place_before_is_asked_when_the_new_one_is_lost_and_forgotten_after_a_day() {
        let mut machine = Machine::new();
        let mut agent = machine.agent();
        let follow = machine.told(1, "new.example.com");
        assert!(agent.told(machine.now, &follow, &mut machine.session));
        assert_eq!(host(&mut agent, machine.now), "new.example.com");
        assert!(agent.welcomed(machine.now, &mut machine.session));
        machine.pass(3600);
        agent.run(machine.now, true, &mut machine.session);
        assert_eq!(host(&mut agent, machine.now), "new.example.com", "it has just been connected");
        machine.pass(301);
        let asked = [host(&mut agent, machine.now), host(&mut agent, machine.now)];
        assert_eq!(asked, ["home", "new.example.com"]);
        // A day later, connected there.
        machine.pass(86_400);
        agent.run(machine.now, true, &mut machine.session);
        machine.pass(301);
        let asked = [host(&mut agent, machine.now), host(&mut agent, machine.now)];
        assert_eq!(asked, ["new.example.com", "new.example.com"]);
    }

    #[test]
    fn the_first_key_is_kept_and_another_ones_records_are_not_followed() {
        let mut machine = Machine::new();
        let mut agent = machine.agent();
        let key = FollowMe { record: None, ..machine.told(1, "new.example.com") };
        assert!(!agent.told(machine.now, &key, &mut machine.session));
        machine.key = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        let foreign = machine.told(2, "other.example.com");
        assert!(!agent.told(machine.now, &foreign, &mut machine.session));
        let mut agent = machine.agent();
        assert!(!agent.told(machine.now, &foreign, &mut machine.session));
        assert_eq!(host(&mut agent, machine.now), "home");
    }
}
