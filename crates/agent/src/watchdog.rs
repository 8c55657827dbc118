//! The watchdog: a process of its own that runs the agent, starts it again when it ends, tries new versions of it and
//! goes back from those that do not connect. It knows no capability and opens no connection but to raise an alarm.

mod alarm;
mod child;
mod helpers;
pub mod plan;
mod succession;

pub use child::{FOR_ANOTHER_VERSION, NEEDS_A_PERSON};
pub use succession::check;

use crate::os;
use crate::state::{RunLock, StateDir, StateError};
use crate::status::RuntimeStatus;
use crate::update::ledger::Ledger;
use crate::update::programs::{self, Programs};
use alarm::Alarm;
use child::{Child, Ended};
use helpers::Helpers;
use plan::{Plan, Start};
use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use uuid::Uuid;

/// How long a new version has to connect, unless a test says otherwise.
pub const CONFIRM_WITHIN: Duration = Duration::from_secs(180);
/// How often it is looked whether it did.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Between two starts of an agent that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// An agent that ran this long did not fail, whatever ended it.
const GOOD_AFTER: Duration = Duration::from_secs(600);
/// Failures in a row that someone should hear of.
const ALARM_AFTER: u32 = 3;
/// How long a child may take to stop: a little more than it needs itself.
const STOP_WITHIN: Duration = Duration::from_millis(5_500);
/// Held by the watchdog of a state folder.
const LOCK: &str = "watchdog.lock";

/// What a watchdog is started with.
#[derive(Debug, Clone)]
pub struct Options {
    /// The agent's state folder.
    pub state_dir: PathBuf,
    /// The folder of the installed program; versions stand below it.
    pub program_folder: PathBuf,
    /// How long a new version has to connect.
    pub confirm_within: Duration,
    /// Further arguments of the agent, and of a watchdog after this one.
    pub arguments: Vec<OsString>,
    /// Another watchdog, which is the service, runs this one as its child.
    pub is_hosted: bool,
}

/// Why a watchdog cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// The state folder.
    #[error(transparent)]
    State(#[from] StateError),
    /// Another one works on it.
    #[error("a watchdog already works on this state folder")]
    AlreadyRunning,
    /// The folder of the programs.
    #[error("the program folder {} cannot be used", .0.display())]
    Programs(PathBuf, #[source] io::Error),
    /// This program cannot find itself.
    #[error("the installed program cannot be found")]
    Own(#[source] io::Error),
    /// One that is run as a child: its parent is to run another version.
    #[error("another version is to be the watchdog")]
    ForAnotherVersion,
    /// A restart would not help.
    #[error("the agent needs a person: see its log")]
    NeedsAPerson,
}

/// Runs the agent until `stop` resolves, then stops it within six seconds.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), WatchdogError> {
    let mut watchdog = Watchdog::open(options)?;
    let mut stop = std::pin::pin!(stop);
    let mut failures = Failures::default();
    tracing::info!(version = crate::version(), "watchdog started");
    loop {
        let begun = Instant::now();
        let once = match watchdog.hand_over(stop.as_mut()).await? {
            Some(once) => once,
            None => watchdog.run_once(stop.as_mut(), &mut failures).await,
        };
        match once {
            Once::Stopped => break,
            Once::AgainNow => {}
            Once::NeedsAPerson => return Err(WatchdogError::NeedsAPerson),
            Once::Failed(why) => {
                let pause = failures.next(begun.elapsed());
                tracing::warn!(%why, failures = failures.in_a_row, pause_seconds = pause.as_secs(), "the agent ended");
                if failures.in_a_row >= ALARM_AFTER {
                    watchdog.alarm.failing(failures.in_a_row, &why);
                }
                if timeout(pause, stop.as_mut()).await.is_ok() {
                    break;
                }
            }
        }
    }
    watchdog.stop_helpers().await;
    tracing::info!("watchdog stopped");
    Ok(())
}

/// Failures in a row, and the pause after each.
#[derive(Debug, Default)]
struct Failures {
    in_a_row: u32,
}

impl Failures {
    fn next(&mut self, ran_for: Duration) -> Duration {
        if ran_for >= GOOD_AFTER {
            self.in_a_row = 0;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.in_a_row.min(16)).min(LONGEST_PAUSE);
        self.in_a_row += 1;
        pause
    }
}

struct Watchdog {
    options: Options,
    state: StateDir,
    plan: Plan,
    alarm: Alarm,
    /// None while another watchdog has its own.
    helpers: Option<Helpers>,
    /// Lent to the watchdog that this one runs, on Windows.
    lock: Option<RunLock>,
}

/// How one run of the agent went.
enum Once {
    Stopped,
    AgainNow,
    Failed(String),
    NeedsAPerson,
}

/// What a running agent is waited for.
enum Wake {
    Stop,
    Ended(Ended),
    Look,
}

impl Watchdog {
    fn open(options: Options) -> Result<Self, WatchdogError> {
        let state = StateDir::open(&options.state_dir)?;
        let lock = state.lock_named(LOCK)?.ok_or(WatchdogError::AlreadyRunning)?;
        let plan = load(&options, &state)?;
        let alarm = Alarm::new(state.clone());
        Ok(Self { options, state, plan, alarm, helpers: None, lock: Some(lock) })
    }

    async fn run_once(
        &mut self,
        mut stop: Pin<&mut impl Future<Output = ()>>,
        failures: &mut Failures,
    ) -> Once {
        self.helpers.get_or_insert_with(|| Helpers::start(&self.state));
        let start = self.plan.next_start();
        let run = Uuid::new_v4();
        let mut child = match self.start(&start, run) {
            Ok(child) => child,
            Err(error) if start.is_trial => {
                self.plan.failed(&format!("it cannot be started: {error}"));
                return Once::AgainNow;
            }
            Err(error) => return Once::Failed(format!("it cannot be started: {error}")),
        };
        let mut trial_ends = start.is_trial.then(|| Instant::now() + self.options.confirm_within);
        let mut is_connected = false;
        let mut is_to_succeed = self.plan.is_successor();
        loop {
            let is_waiting =
                trial_ends.is_some() || is_to_succeed || (failures.in_a_row > 0 && !is_connected);
            let wake = tokio::select! {
                () = stop.as_mut() => Wake::Stop,
                ended = child.ended() => Wake::Ended(ended),
                () = sleep(LOOK_EVERY), if is_waiting => Wake::Look,
            };
            match wake {
                Wake::Stop => {
                    child.stop(STOP_WITHIN).await;
                    return Once::Stopped;
                }
                Wake::Ended(ended) => return self.ended(ended, trial_ends.is_some()),
                Wake::Look => {}
            }
            is_connected = RuntimeStatus::is_connected(&self.state, run);
            if is_connected && trial_ends.take().is_some() {
                self.plan.confirmed();
            }
            if is_connected {
                failures.in_a_row = 0;
                self.alarm.recovered();
                if std::mem::take(&mut is_to_succeed) {
                    os::do_not_end_this_process();
                    self.plan.succeeded();
                }
            }
            if trial_ends.is_some_and(|end| Instant::now() >= end) {
                let seconds = self.options.confirm_within.as_secs();
                self.plan.failed(&format!("it did not connect within {seconds} seconds"));
                child.stop(STOP_WITHIN).await;
                return Once::AgainNow;
            }
        }
    }

    fn ended(&mut self, ended: Ended, is_trial: bool) -> Once {
        match ended {
            Ended::ForAnotherVersion if !is_trial => Once::AgainNow,
            ended if is_trial => {
                self.plan.failed(&format!("it ended before it had connected: {ended}"));
                Once::AgainNow
            }
            Ended::NeedsAPerson => Once::NeedsAPerson,
            // Nobody told it to.
            ended => Once::Failed(ended.to_string()),
        }
    }

    async fn stop_helpers(&mut self) {
        if let Some(helpers) = self.helpers.take() {
            helpers.stop().await;
        }
    }

    fn start(&mut self, start: &Start, run: Uuid) -> io::Result<Child> {
        tracing::info!(version = %start.version, trial = start.is_trial, "the agent is started");
        Child::start(start, &self.options.state_dir, run, &self.options.arguments)
    }
}

fn load(options: &Options, state: &StateDir) -> Result<Plan, WatchdogError> {
    let folder = &options.program_folder;
    let programs = Programs::open(folder).map_err(|error| WatchdogError::Programs(folder.clone(), error))?;
    let own = std::env::current_exe().map_err(WatchdogError::Own)?;
    Ok(Plan::load(Ledger::open(state)?, programs, own))
}

/// The folder of the installation that the running program belongs to.
pub fn own_folder() -> io::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().ok_or(io::ErrorKind::NotFound)?;
    Ok(programs::installation_of(folder).to_owned())
}

/// Ends when whoever started this process is gone, or wants it to stop: what it holds of the pipe is closed then.
pub fn stop_with_parent() -> impl Future<Output = ()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        os::read_to_end_of_input();
        // The agent has stopped by itself when nobody listens.
        let _ = sender.send(());
    });
    async {
        let _ = receiver.await;
    }
}
