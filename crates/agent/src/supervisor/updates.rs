//! Following an order to become another version: fetch, wait for commands to end, ask the watchdog, report.

use super::run::Supervised;
use crate::aside::Aside;
use crate::clock::ServerClock;
use crate::http::Credential;
use crate::identity::Identity;
use crate::session::Session;
use crate::state::StateDir;
use crate::transport::Connector;
use crate::update::fetch::{Source, check_order, download_verified};
use crate::update::ledger::{self, Build, Ledger, Request, Trial};
use crate::update::programs::Programs;
use crate::update::{BUILT_IN_ROOT, UpdateError, own_version};
use chrono::TimeDelta;
use gururmm_protocol::UpdateId;
use gururmm_protocol::update::{UpdateAbility, UpdateAction, UpdateOrder, UpdateReport, UpdateState};
use serde::{Deserialize, Serialize};
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The agent's own file: what it last said, and whether the server has it.
const REPORT: &str = "report.json";
/// How often it is looked whether something came of what is under way.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// An order of the agent's own is carried out at once or not at all.
const OWN_ORDER_VALID: TimeDelta = TimeDelta::hours(1);

/// The update that is under way, if any.
pub(super) struct Updates {
    means: Result<Means, String>,
    work: Work,
    /// Came while a trial was not over.
    after_trial: Option<UpdateOrder>,
    said: Option<Said>,
    /// This run began as a trial, after which the watchdog wants to become this version, too.
    is_to_make_way: bool,
    clock: Arc<ServerClock>,
    next_look: Option<Instant>,
}

/// What it takes to become another version.
struct Means {
    source: Source,
}

enum Work {
    None,
    Fetching {
        order: UpdateOrder,
        asking: Option<Aside<Result<Build, UpdateError>>>,
    },
    Ready {
        order: UpdateOrder,
        build: Build,
    },
    /// The request is written: the agent stops for it.
    Asked,
}

/// A report, and whether the server has it.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Said {
    report: UpdateReport,
    is_acknowledged: bool,
}

impl Updates {
    pub(super) fn open(
        state: &StateDir,
        identity: &Identity,
        connector: &Connector,
        clock: &Arc<ServerClock>,
        supervised: Option<&Supervised>,
    ) -> Self {
        let means = Means::find(state, identity, connector, clock, supervised);
        if let Err(reason) = &means {
            tracing::info!(%reason, "this agent does not update itself");
        }
        let trial = means.as_ref().ok().and_then(|means| means.source.ledger.record().trial);
        let said = means.as_ref().ok().and_then(|means| ledger::read(&means.source.ledger.file(REPORT)));
        Self {
            means,
            work: Work::None,
            after_trial: None,
            said,
            is_to_make_way: trial.is_some_and(|trial| trial.build.version == crate::version()),
            clock: Arc::clone(clock),
            next_look: Some(Instant::now()),
        }
    }

    /// The server is elsewhere from now on.
    pub(super) fn server_moved(&mut self, connector: &Connector) {
        if let Ok(means) = &mut self.means {
            means.source.connector = connector.clone();
        }
    }

    /// For the hello.
    pub(super) fn ability(&self) -> UpdateAbility {
        match &self.means {
            Ok(means) => UpdateAbility {
                supported: true,
                reason: None,
                previous_version: means.source.ledger.record().previous.map(|build| build.version),
            },
            Err(reason) => {
                UpdateAbility { supported: false, reason: Some(reason.clone()), previous_version: None }
            }
        }
    }

    /// When [`Updates::run`] is to be called at the latest.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next_look
    }

    /// The server, or this agent itself, wants another version.
    pub(super) fn order(&mut self, order: UpdateOrder, session: &mut Session) {
        self.next_look = Some(Instant::now());
        match &mut self.work {
            Work::Fetching { order: known, .. } | Work::Ready { order: known, .. }
                if known.update_id == order.update_id =>
            {
                // Asked again, perhaps more urgently.
                *known = order;
                return self.say_again(session);
            }
            Work::Asked => return,
            _ => {}
        }
        if self
            .said
            .as_ref()
            .is_some_and(|said| said.report.update_id == order.update_id && said.report.state.is_final())
        {
            return self.say_again(session);
        }
        // This is the version that is being tried: whether it stays is the watchdog's to say, and soon.
        if let Some(trial) = self.trial() {
            if trial.update_id == order.update_id {
                self.say(session, &order, UpdateState::Trying, None);
            } else {
                self.after_trial = Some(order);
            }
            return;
        }
        tracing::info!(update_id = %order.update_id, version = %order.version, action = ?order.action, "an update is ordered");
        self.work = Work::None;
        match self.begin(&order) {
            Ok(Some(work)) => {
                let state = match &work {
                    Work::Ready { .. } => UpdateState::Ready,
                    _ => UpdateState::Downloading,
                };
                self.work = work;
                self.say(session, &order, state, None);
            }
            Ok(None) => self.say(session, &order, UpdateState::Confirmed, None),
            Err(error) => self.say(session, &order, UpdateState::Failed, Some(&error)),
        }
    }

    /// The server is older than this agent and does not take it: the version before may be one it takes.
    pub(super) fn go_back(&mut self, session: &mut Session) {
        let Ok(means) = &self.means else { return };
        let Some(previous) = means.source.ledger.record().previous else { return };
        if !matches!(self.work, Work::None) || previous.version == crate::version() {
            return;
        }
        self.order(
            UpdateOrder {
                update_id: UpdateId::new(),
                action: UpdateAction::RollBack,
                version: previous.version,
                channel: String::new(),
                valid_until: self.clock.now() + OWN_ORDER_VALID,
                at_once: false,
            },
            session,
        );
    }

    /// The server has this stage of the update.
    pub(super) fn acknowledged(&mut self, update_id: UpdateId, state: UpdateState) {
        let said = self
            .said
            .as_mut()
            .filter(|said| said.report.update_id == update_id && said.report.state == state);
        if let Some(said) = said {
            said.is_acknowledged = true;
            self.keep_said();
        }
    }

    /// Does what is due. True when the agent is to stop, so that the watchdog starts the other version.
    pub(super) fn run(&mut self, now: Instant, session: &mut Session, is_busy: bool) -> bool {
        if self.next_look.is_none_or(|due| now < due) {
            return false;
        }
        self.look_for_outcome(session);
        let is_over = self.after_trial.is_some() && self.trial().is_none();
        if let Some(order) = self.after_trial.take_if(|_| is_over) {
            self.order(order, session);
        }
        self.take_fetched(session);
        let stops = self.ask_watchdog(session, is_busy) || self.makes_way(is_busy);
        self.next_look = self.is_waiting().then(|| now + LOOK_EVERY);
        stops
    }

    fn is_waiting(&self) -> bool {
        !matches!(self.work, Work::None) || self.is_to_make_way || self.trial().is_some()
    }

    /// The trial the watchdog makes, which is of this agent.
    fn trial(&self) -> Option<Trial> {
        self.means.as_ref().ok()?.source.ledger.record().trial
    }

    /// Nothing where this version runs already.
    fn begin(&self, order: &UpdateOrder) -> Result<Option<Work>, UpdateError> {
        let means = self.means.as_ref().map_err(|reason| UpdateError::new("UNSUPPORTED", reason))?;
        if order.version == crate::version() {
            return Ok(None);
        }
        let now = self.clock.now();
        match order.action {
            UpdateAction::Install => {
                check_order(order, &own_version(), now)?;
                let (source, wanted) = (means.source.clone(), order.clone());
                let asking = Aside::start(async move { download_verified(source, &wanted).await });
                Ok(Some(Work::Fetching { order: order.clone(), asking: Some(asking) }))
            }
            UpdateAction::RollBack => {
                let previous = means.source.ledger.record().previous;
                let build = previous.filter(|build| build.version == order.version).ok_or_else(|| {
                    UpdateError::new(
                        "NO_PREVIOUS",
                        format_args!("{} was not kept on this machine", order.version),
                    )
                })?;
                means.source.programs.open_verified(&build)?;
                Ok(Some(Work::Ready { order: order.clone(), build }))
            }
            UpdateAction::Other => {
                Err(UpdateError::new("UNSUPPORTED", "this agent does not know the kind of update"))
            }
        }
    }

    fn take_fetched(&mut self, session: &mut Session) {
        let Work::Fetching { order, asking } = &mut self.work else { return };
        let Some(answer) = Aside::take(asking) else { return };
        let order = order.clone();
        let died = || Err(UpdateError::new("INTERNAL", "fetching the update died"));
        match answer.unwrap_or_else(died) {
            Ok(build) => {
                tracing::info!(version = %build.version, "the new version is fetched and verified");
                self.work = Work::Ready { order: order.clone(), build };
                self.say(session, &order, UpdateState::Ready, None);
            }
            Err(error) => {
                self.work = Work::None;
                self.say(session, &order, UpdateState::Failed, Some(&error));
            }
        }
    }

    fn ask_watchdog(&mut self, session: &mut Session, is_busy: bool) -> bool {
        let Work::Ready { order, build } = &self.work else { return matches!(self.work, Work::Asked) };
        let (order, build) = (order.clone(), build.clone());
        if order.valid_until <= self.clock.now() {
            self.work = Work::None;
            let error = UpdateError::new(
                "ORDER_EXPIRED",
                "commands ran, or a tech worked on the machine, until the order was no longer valid",
            );
            self.say(session, &order, UpdateState::Failed, Some(&error));
            return false;
        }
        if is_busy && !order.at_once {
            return false;
        }
        let Ok(means) = &self.means else { return false };
        let asked = means.source.ledger.write_request(&Request { update_id: order.update_id, build });
        match asked {
            Ok(()) => {
                self.work = Work::Asked;
                self.say(session, &order, UpdateState::Trying, None);
                true
            }
            Err(error) => {
                self.work = Work::None;
                let error = UpdateError::new("DISK", format_args!("the watchdog cannot be asked: {error}"));
                self.say(session, &order, UpdateState::Failed, Some(&error));
                false
            }
        }
    }

    /// The watchdog becomes the version that it has confirmed between two runs of the agent: this run ends for it once, when
    /// no command runs and the server knows that the update is over. Any other end of a run will do as well.
    fn makes_way(&mut self, is_busy: bool) -> bool {
        if !self.is_to_make_way {
            return false;
        }
        let record = self.means.as_ref().map(|means| means.source.ledger.record()).unwrap_or_default();
        let is_known = self.said.as_ref().is_none_or(|said| said.is_acknowledged);
        if record.trial.is_some() || !is_known || is_busy || !matches!(self.work, Work::None) {
            return false;
        }
        self.is_to_make_way = false;
        record.successor.is_some_and(|successor| {
            successor.build.version == crate::version()
                && successor.starts == 0
                && successor.failure.is_none()
        })
    }

    /// What became of the last trial, unless the server knows.
    fn look_for_outcome(&mut self, session: &mut Session) {
        let Ok(means) = &self.means else { return };
        let Some(outcome) = means.source.ledger.record().outcome else {
            return self.say_again(session);
        };
        let is_said = self.said.as_ref().is_some_and(|said| {
            said.report.update_id > outcome.update_id
                || (said.report.update_id == outcome.update_id && said.report.state.is_final())
        });
        if is_said {
            return self.say_again(session);
        }
        let state = if outcome.failure.is_some() { UpdateState::RolledBack } else { UpdateState::Confirmed };
        self.say_report(
            session,
            UpdateReport {
                update_id: outcome.update_id,
                state,
                version: outcome.version,
                error_code: outcome.failure.is_some().then(|| "DID_NOT_STAY".to_owned()),
                error: outcome.failure,
                at: outcome.at,
            },
        );
    }

    fn say(
        &mut self,
        session: &mut Session,
        order: &UpdateOrder,
        state: UpdateState,
        error: Option<&UpdateError>,
    ) {
        if let Some(error) = error {
            tracing::warn!(code = error.code, %error, version = %order.version, "the update is not made");
        }
        let report = UpdateReport {
            update_id: order.update_id,
            state,
            version: order.version.clone(),
            error_code: error.map(|error| error.code.to_owned()),
            error: error.map(|error| error.message.clone()),
            at: self.clock.now(),
        };
        self.say_report(session, report);
    }

    fn say_report(&mut self, session: &mut Session, mut report: UpdateReport) {
        report.clean();
        session.set_update_report(report.clone());
        self.said = Some(Said { report, is_acknowledged: false });
        self.keep_said();
    }

    fn say_again(&self, session: &mut Session) {
        if let Some(said) = self.said.as_ref().filter(|said| !said.is_acknowledged) {
            session.set_update_report(said.report.clone());
        }
    }

    fn keep_said(&self) {
        let (Ok(means), Some(said)) = (&self.means, &self.said) else { return };
        if let Err(error) = ledger::write(&means.source.ledger.file(REPORT), said) {
            tracing::warn!(%error, "how far the update is cannot be written down");
        }
    }
}

impl Means {
    /// Or why there are none, for people.
    fn find(
        state: &StateDir,
        identity: &Identity,
        connector: &Connector,
        clock: &Arc<ServerClock>,
        supervised: Option<&Supervised>,
    ) -> Result<Self, String> {
        let supervised = supervised.ok_or("no watchdog runs this agent")?;
        let root = match &supervised.update_root {
            Some(path) => {
                fs::read(path).map_err(|error| format!("the update roots cannot be read: {error}"))?
            }
            None => BUILT_IN_ROOT.ok_or("this build has no update roots")?.to_vec(),
        };
        let programs = Programs::open(&supervised.program_folder)
            .map_err(|error| format!("the program folder cannot be used: {error}"))?;
        let ledger = Ledger::open(state).map_err(|error| error.to_string())?;
        let credential = Credential { agent_id: identity.agent_id, key: identity.agent_key.clone() };
        let source = Source {
            connector: connector.clone(),
            credential,
            root: Arc::new(root),
            ledger,
            programs,
            clock: Arc::clone(clock),
        };
        Ok(Self { source })
    }
}
