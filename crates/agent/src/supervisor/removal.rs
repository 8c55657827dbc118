//! Following an order to leave the machine: note it, say so, begin when the server has stored that, and look after the
//! process that does it.

use super::run::Supervised;
use crate::clock::ServerClock;
use crate::install::{Afterwards, InstallError, Layout};
use crate::removal::{Failure, LOCK, Note, Stage};
use crate::session::Session;
use crate::state::StateDir;
use gururmm_protocol::UninstallId;
use gururmm_protocol::uninstall::{UninstallOrder, UninstallReport, UninstallState};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is looked whether the process is at work.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it may take until it holds its lock.
const STARTS_WITHIN: Duration = Duration::from_secs(15);
/// A process that dies without a word is started again so many times: a power cut is no reason to stay.
const ATTEMPTS: u32 = 3;
/// What an agent says that somebody runs by hand, or in a folder of his own.
const NOT_INSTALLED: &str = "this agent was not installed as a service, so there is nothing to remove";

/// Starts the process.
type Launch = Box<dyn Fn(&Note) -> Result<Afterwards, InstallError> + Send>;

/// The removal that was ordered, if any.
pub(super) struct Removal {
    state: StateDir,
    /// Nothing where this agent is not an installed one.
    launch: Option<Launch>,
    note: Option<Note>,
    clock: Arc<ServerClock>,
    next_look: Option<Instant>,
    /// When the process was started last, by this agent.
    launched: Option<Instant>,
}

impl Removal {
    pub(super) fn open(state: &StateDir, clock: &Arc<ServerClock>, supervised: Option<&Supervised>) -> Self {
        let layout = Layout::system();
        let is_installed = supervised
            .is_some_and(|supervised| layout.is_installed_as(&supervised.program_folder, state.path()));
        let launch: Option<Launch> =
            is_installed.then(|| Box::new(move |note: &Note| layout.begin_removal(note)) as Launch);
        Self::with(state, clock, launch)
    }

    fn with(state: &StateDir, clock: &Arc<ServerClock>, launch: Option<Launch>) -> Self {
        let note = Note::load(state);
        let next_look = note.is_some().then(Instant::now);
        Self { state: state.clone(), launch, note, clock: Arc::clone(clock), next_look, launched: None }
    }

    /// When [`Removal::run`] is to be called at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next_look
    }

    /// The server wants the agent to go.
    pub(super) fn order(&mut self, order: &UninstallOrder, session: &mut Session) {
        let id = order.uninstall_id;
        match self.note.as_ref() {
            Some(note) if note.uninstall_id == id => return self.say(session),
            Some(Note { stage: Stage::Begun { .. }, .. }) => {
                return self.refuse(session, id, Failure::new("UNDER_WAY", "another removal is under way"));
            }
            _ => {}
        }
        if self.launch.is_none() {
            return self.refuse(session, id, Failure::new("NOT_INSTALLED", NOT_INSTALLED));
        }
        let now = self.clock.now();
        if order.valid_until <= now {
            return self.refuse(session, id, Failure::new("EXPIRED", "the order came after its time"));
        }
        tracing::warn!(uninstall_id = %id, "the server orders this agent's removal");
        let note = Note { uninstall_id: id, stage: Stage::Accepted, at: now };
        match note.save(&self.state) {
            Ok(()) => {
                self.note = Some(note);
                self.say(session);
            }
            Err(error) => self.refuse(session, id, Failure::of("STATE", &error)),
        }
    }

    /// The server does not want it any more. What has begun is not stopped.
    pub(super) fn cancelled(&mut self, id: UninstallId) {
        let is_meant = |note: &Note| note.uninstall_id == id && !matches!(note.stage, Stage::Begun { .. });
        if self.note.as_ref().is_some_and(is_meant) {
            tracing::info!(uninstall_id = %id, "the removal is taken back");
            self.forget();
        }
    }

    /// The server has this stage.
    pub(super) fn acknowledged(&mut self, now: Instant, id: UninstallId, state: UninstallState) {
        let Some(note) = self.note.as_ref().filter(|note| note.uninstall_id == id) else { return };
        match (&note.stage, state) {
            (Stage::Accepted, UninstallState::Uninstalling) => {
                self.begun(0);
                self.next_look = Some(now);
            }
            (Stage::Failed(_), UninstallState::Failed) => self.forget(),
            _ => {}
        }
    }

    /// Does what is due. True when the agent is to stop, since nobody else stops it.
    pub(super) fn run(&mut self, now: Instant, session: &mut Session) -> bool {
        if self.next_look.is_none_or(|due| now < due) {
            return false;
        }
        self.next_look = None;
        let Some(note) = &self.note else { return false };
        match note.stage {
            Stage::Accepted | Stage::Failed(_) => self.say(session),
            Stage::Begun { attempts } => return self.look_after(now, attempts, session),
        }
        false
    }

    /// The process is at work, or was to be.
    fn look_after(&mut self, now: Instant, attempts: u32, session: &mut Session) -> bool {
        self.next_look = Some(now + LOOK_EVERY);
        if let Some(note) = Note::load(&self.state).filter(|note| matches!(note.stage, Stage::Failed(_))) {
            self.note = Some(note);
            self.next_look = None;
            self.say(session);
            return false;
        }
        let is_starting = self.launched.is_some_and(|launched| now < launched + STARTS_WITHIN);
        // A lock that is to be had is held by nobody.
        let is_at_work = is_starting || !matches!(self.state.lock_named(LOCK), Ok(Some(_)));
        if is_at_work {
            return false;
        }
        if attempts >= ATTEMPTS {
            self.fail(
                Failure::new("DIED", "the process that removes the agent ended without a word"),
                session,
            );
            return false;
        }
        self.launch(now, attempts + 1, session)
    }

    /// Noted before each start, so that the starts are counted whatever becomes of them.
    fn begun(&mut self, attempts: u32) {
        let Some(note) = &mut self.note else { return };
        note.stage = Stage::Begun { attempts };
        note.at = self.clock.now();
        if let Err(error) = note.save(&self.state) {
            tracing::warn!(%error, "that the removal begins cannot be noted");
        }
    }

    fn launch(&mut self, now: Instant, attempts: u32, session: &mut Session) -> bool {
        self.begun(attempts);
        let (Some(launch), Some(note)) = (&self.launch, &self.note) else {
            self.fail(Failure::new("NOT_INSTALLED", NOT_INSTALLED), session);
            return false;
        };
        tracing::warn!(uninstall_id = %note.uninstall_id, attempts, "the agent's removal begins");
        self.launched = Some(now);
        match launch(note) {
            Ok(Afterwards::IsStopped) => false,
            Ok(Afterwards::Stops) => true,
            Err(error) => {
                self.fail(Failure::of("NOT_STARTED", &error), session);
                false
            }
        }
    }

    fn fail(&mut self, failure: Failure, session: &mut Session) {
        tracing::error!(code = failure.code, error = failure.message, "the agent is not removed");
        let Some(note) = &mut self.note else { return };
        note.stage = Stage::Failed(failure);
        note.at = self.clock.now();
        if let Err(error) = note.save(&self.state) {
            tracing::warn!(%error, "that the removal failed cannot be noted");
        }
        self.launched = None;
        self.next_look = None;
        self.say(session);
    }

    fn say(&self, session: &mut Session) {
        let Some(note) = &self.note else { return };
        let (state, failure) = match &note.stage {
            Stage::Accepted | Stage::Begun { .. } => (UninstallState::Uninstalling, None),
            Stage::Failed(failure) => (UninstallState::Failed, Some(failure)),
        };
        report(session, note.uninstall_id, state, failure, note.at);
    }

    /// Nothing is noted of it: asked again, it is answered again.
    fn refuse(&self, session: &mut Session, id: UninstallId, failure: Failure) {
        tracing::warn!(uninstall_id = %id, code = failure.code, "the ordered removal is refused");
        report(session, id, UninstallState::Failed, Some(&failure), self.clock.now());
    }

    fn forget(&mut self) {
        self.note = None;
        self.next_look = None;
        if let Err(error) = Note::remove(&self.state) {
            tracing::warn!(%error, "the note of the removal cannot be removed");
        }
    }
}

fn report(
    session: &mut Session,
    uninstall_id: UninstallId,
    state: UninstallState,
    failure: Option<&Failure>,
    at: chrono::DateTime<chrono::Utc>,
) {
    let (error_code, error) = failure.map(|failure| (failure.code.clone(), failure.message.clone())).unzip();
    let mut report = UninstallReport { uninstall_id, state, error_code, error, at };
    report.clean();
    session.set_uninstall_report(report);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Outbox;
    use crate::session::ledger::Ledger;
    use chrono::{TimeDelta, Utc};
    use std::sync::Mutex;
    use tempfile::TempDir;

    /// How often the process was started, and what becomes of that.
    type Launched = Arc<Mutex<u32>>;

    struct Machine {
        _dir: TempDir,
        state: StateDir,
        clock: Arc<ServerClock>,
        launched: Launched,
        session: Session,
        now: Instant,
    }

    impl Machine {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let state = StateDir::create(&dir.path().join("state")).unwrap();
            let clock = Arc::new(ServerClock::load(&state));
            let now = Instant::now();
            let session = Session::new(
                now,
                1,
                Ledger::new(Vec::new(), &[], std::collections::HashMap::new()),
                Outbox::new(1),
            );
            Self { _dir: dir, state, clock, launched: Launched::default(), session, now }
        }

        /// The agent starts.
        fn agent(&self) -> Removal {
            let launched = Arc::clone(&self.launched);
            let launch: Launch = Box::new(move |_| {
                *launched.lock().unwrap() += 1;
                Ok(Afterwards::IsStopped)
            });
            Removal::with(&self.state, &self.clock, Some(launch))
        }

        /// Time passes, with everything that is due.
        fn pass(&mut self, removal: &mut Removal, time: Duration) {
            let until = self.now + time;
            while self.now < until {
                removal.run(self.now, &mut self.session);
                self.now += LOOK_EVERY;
            }
        }

        fn launched(&self) -> u32 {
            *self.launched.lock().unwrap()
        }

        fn noted(&self) -> Option<Stage> {
            Note::load(&self.state).map(|note| note.stage)
        }
    }

    fn order() -> UninstallOrder {
        UninstallOrder { uninstall_id: UninstallId::new(), valid_until: Utc::now() + TimeDelta::days(30) }
    }

    #[test]
    fn the_removal_begins_when_the_server_has_stored_that_it_will() {
        let (mut machine, order) = (Machine::new(), order());
        let mut agent = machine.agent();
        agent.order(&order, &mut machine.session);
        assert_eq!(machine.noted(), Some(Stage::Accepted), "noted before it is said");
        // Killed now, it says so again and has not begun.
        let mut agent = machine.agent();
        machine.pass(&mut agent, Duration::from_secs(60));
        assert_eq!(machine.launched(), 0);
        agent.acknowledged(machine.now, UninstallId::new(), UninstallState::Uninstalling);
        machine.pass(&mut agent, Duration::from_secs(60));
        assert_eq!(machine.launched(), 0, "that was about another one");
        agent.acknowledged(machine.now, order.uninstall_id, UninstallState::Uninstalling);
        machine.pass(&mut agent, Duration::from_secs(5));
        assert_eq!((machine.launched(), machine.noted()), (1, Some(Stage::Begun { attempts: 1 })));
    }

    #[test]
    fn what_the_server_takes_back_before_is_forgotten_and_after_is_not() {
        let (mut machine, first, second) = (Machine::new(), order(), order());
        let mut agent = machine.agent();
        agent.order(&first, &mut machine.session);
        agent.cancelled(UninstallId::new());
        assert_eq!(machine.noted(), Some(Stage::Accepted));
        agent.cancelled(first.uninstall_id);
        assert_eq!(machine.noted(), None);
        agent.acknowledged(machine.now, first.uninstall_id, UninstallState::Uninstalling);
        machine.pass(&mut agent, Duration::from_secs(5));
        assert_eq!(machine.launched(), 0);
        agent.order(&second, &mut machine.session);
        agent.acknowledged(machine.now, second.uninstall_id, UninstallState::Uninstalling);
        agent.cancelled(second.uninstall_id);
        machine.pass(&mut agent, Duration::from_secs(5));
        assert_eq!(machine.launched(), 1);
    }

    #[test]
    fn a_removal_that_a_power_cut_ended_is_begun_anew_three_times_at_most() {
        let (mut machine, order) = (Machine::new(), order());
        let mut agent = machine.agent();
        agent.order(&order, &mut machine.session);
        agent.acknowledged(machine.now, order.uninstall_id, UninstallState::Uninstalling);
        machine.pass(&mut agent, Duration::from_secs(1));
        // Each time the machine goes down with the process.
        for attempts in [2, 3] {
            agent = machine.agent();
            machine.pass(&mut agent, Duration::from_secs(1));
            assert_eq!(machine.noted(), Some(Stage::Begun { attempts }));
        }
        agent = machine.agent();
        machine.pass(&mut agent, Duration::from_secs(1));
        assert_eq!(machine.launched(), 3);
        let Some(Stage::Failed(failure)) = machine.noted() else { panic!("it did not fail") };
        assert_eq!(failure.code, "DIED");
        // Said until the server has it.
        agent = machine.agent();
        agent.acknowledged(machine.now, order.uninstall_id, UninstallState::Failed);
        assert_eq!(machine.noted(), None);
    }

    #[test]
    fn a_process_that_is_at_work_is_left_alone_and_heard() {
        let (mut machine, order) = (Machine::new(), order());
        let mut agent = machine.agent();
        agent.order(&order, &mut machine.session);
        agent.acknowledged(machine.now, order.uninstall_id, UninstallState::Uninstalling);
        machine.pass(&mut agent, Duration::from_secs(1));
        let lock = machine.state.lock_named(LOCK).unwrap().unwrap();
        machine.pass(&mut agent, Duration::from_secs(600));
        assert_eq!(machine.launched(), 1);
        let failure = Failure::new("PACKAGE_MANAGER", "no space left");
        let failed = Note { uninstall_id: order.uninstall_id, stage: Stage::Failed(failure), at: Utc::now() };
        failed.save(&machine.state).unwrap();
        drop(lock);
        machine.pass(&mut agent, Duration::from_secs(60));
        assert_eq!((machine.launched(), machine.noted()), (1, Some(failed.stage)));
    }

    #[test]
    fn an_agent_that_was_not_installed_notes_nothing() {
        let (mut machine, order) = (Machine::new(), order());
        let mut agent = Removal::with(&machine.state, &machine.clock, None);
        agent.order(&order, &mut machine.session);
        agent.acknowledged(machine.now, order.uninstall_id, UninstallState::Uninstalling);
        machine.pass(&mut agent, Duration::from_secs(5));
        assert_eq!(machine.noted(), None);
        // Nor does it when the order is old.
        let mut agent = machine.agent();
        agent.order(
            &UninstallOrder { valid_until: Utc::now() - TimeDelta::hours(1), ..order },
            &mut machine.session,
        );
        assert_eq!(machine.noted(), None);
    }
}
