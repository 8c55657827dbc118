//! Running commands: journal, process, output, end.

mod invocation;
mod process;
mod tree;

pub use tree::{Leader, end_tree};

use crate::clock::ServerClock;
use crate::journal::{Journal, SpoolState, SpoolWriter};
use crate::os;
use crate::os::process_tree::Enclosure;
use crate::os::user_session::{Launch, NoUserSession, UserSession};
use crate::session::ledger::never_ran;
use gururmm_protocol::CommandId;
use gururmm_protocol::command::{CommandEnd, CommandStart, Outcome, RunContext};
use invocation::Invocation;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::timeout;

/// How long it may take to learn who is signed in: a directory service may be asked.
const LOOKED_UP_WITHIN: Duration = Duration::from_secs(10);

/// What happened to a command.
#[derive(Debug)]
pub enum Event {
    /// It is in the journal and its process runs.
    Started {
        /// Which.
        command_id: CommandId,
        /// When, by the server's clock.
        started_at: chrono::DateTime<chrono::Utc>,
        /// What its spool holds, as it grows.
        spool: Arc<SpoolState>,
    },
    /// It ended; the journal has the end as far as the disk let it.
    Ended(CommandEnd),
}

/// Why a command is to end before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody asked.
    Cancel,
    /// The agent stops.
    Shutdown,
}

/// Ends a running command; dropping it changes nothing.
pub type StopHandle = watch::Sender<Option<Stop>>;

/// Folders for scripts' texts while they run.
#[derive(Debug, Clone)]
pub struct Scripts {
    /// A private one.
    pub own: PathBuf,
    /// For those that run as somebody else; made when the first does.
    pub of_users: PathBuf,
}

/// What every command needs.
#[derive(Debug)]
pub struct Runner {
    /// Where starts, output and ends are kept.
    pub journal: Arc<Journal>,
    /// What time it is.
    pub clock: Arc<ServerClock>,
    /// Where scripts' texts are while they run.
    pub scripts: Scripts,
    /// Where events go.
    pub events: mpsc::Sender<Event>,
    /// Told whenever some spool grew.
    pub output: Arc<Notify>,
}

impl Runner {
    /// Runs a command in a task of its own. Output beyond `output_limit_bytes` is counted and dropped.
    pub fn run(self: &Arc<Self>, start: CommandStart, output_limit_bytes: u64) -> StopHandle {
        let (stop, stopped) = watch::channel(None);
        let runner = Arc::clone(self);
        tokio::spawn(async move {
            let command_id = start.command_id;
            let end = runner.run_to_end(start, output_limit_bytes, stopped).await;
            tracing::info!(%command_id, outcome = end.outcome.as_str(), exit_code = end.exit_code, "command ended");
            // The receiver goes only when the agent does.
            let _ = runner.events.send(Event::Ended(end)).await;
        });
        stop
    }

    async fn run_to_end(
        &self,
        start: CommandStart,
        output_limit_bytes: u64,
        stopped: watch::Receiver<Option<Stop>>,
    ) -> CommandEnd {
        let command_id = start.command_id;
        tracing::info!(%command_id, kind = start.kind.as_str(), "command accepted");
        let spawned = match self.spawn(&start, output_limit_bytes, &stopped).await {
            Ok(spawned) => spawned,
            Err(NotRun::Stopped(outcome)) => return never_ran(command_id, outcome, self.clock.now()),
            Err(NotRun::Refused { code, error }) => {
                return CommandEnd {
                    error: Some(error),
                    error_code: Some(code.into()),
                    ..never_ran(command_id, Outcome::Failed, self.clock.now())
                };
            }
        };
        let Spawned { child, enclosure, script, mut spool, started_at } = spawned;
        let event = Event::Started { command_id, started_at, spool: spool.state() };
        let _ = self.events.send(event).await;
        let exit = process::drive(child, &start, &mut spool, &self.output, stopped).await;
        drop((enclosure, script));
        let end = CommandEnd {
            command_id,
            outcome: exit.outcome,
            exit_code: exit.exit_code,
            error: exit.error,
            error_code: exit.error_code.map(str::to_owned),
            stdout_bytes: spool.stdout_bytes,
            stderr_bytes: spool.stderr_bytes,
            truncated: spool.truncated,
            last_seq: spool.state().last_seq(),
            started_at: Some(started_at),
            ended_at: self.clock.now(),
        };
        self.record(&end);
        end
    }

    /// Everything up to a running process. The start is journaled last before it, so that what never could have run
    /// leaves no start behind.
    async fn spawn(
        &self,
        start: &CommandStart,
        output_limit_bytes: u64,
        stopped: &watch::Receiver<Option<Stop>>,
    ) -> Result<Spawned, NotRun> {
        let session = session_for(start).await?;
        let Invocation { mut command, script, session } = invocation::prepare(start, &self.scripts, session)?;
        match *stopped.borrow() {
            Some(Stop::Cancel) => return Err(NotRun::Stopped(Outcome::Cancelled)),
            Some(Stop::Shutdown) => return Err(NotRun::Stopped(Outcome::Interrupted)),
            None => {}
        }
        let started_at = self.clock.now();
        let journal = Arc::clone(&self.journal);
        let command_id = start.command_id;
        let begun =
            tokio::task::spawn_blocking(move || journal.begin(command_id, started_at, output_limit_bytes));
        let spool = begun.await.map_err(io::Error::other).flatten().map_err(|error| {
            tracing::error!(%command_id, %error, "a command is refused: the journal cannot be written");
            NotRun::refused("JOURNAL_FAILED", format!("the agent's journal cannot be written: {error}"))
        })?;
        let enclosure = Enclosure::around(command_id, command.as_std_mut());
        let spawned = match &session {
            Some(session) => {
                let launch = Launch {
                    directory: start.working_directory.as_deref().map(Path::new),
                    is_fed: start.stdin.is_some(),
                    is_read: true,
                    is_enclosed: enclosure.is_some(),
                };
                session.spawn(&mut command, launch)
            }
            None => os::spawn(&mut command),
        };
        let spawned = spawned.and_then(|child| {
            enclosure.as_ref().map_or(Ok(()), |enclosure| enclosure.take_in(&child))?;
            Ok(child)
        });
        match spawned {
            Ok(child) => Ok(Spawned { child, enclosure, script, spool, started_at }),
            Err(error) => {
                let refused =
                    NotRun::refused("SPAWN_FAILED", format!("the command cannot be started: {error}"));
                Err(refused)
            }
        }
    }

    fn record(&self, end: &CommandEnd) {
        if let Err(error) = self.journal.end(end) {
            // It is still sent; only if the agent dies before it is acknowledged, it becomes `interrupted`.
            tracing::error!(command_id = %end.command_id, %error, "an end cannot be journaled");
        }
        let journal = Arc::clone(&self.journal);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = journal.sync() {
                tracing::error!(%error, "the journal cannot be brought to disk");
            }
        });
    }
}

struct Spawned {
    child: os::Process,
    enclosure: Option<Enclosure>,
    script: Option<invocation::ScriptFile>,
    spool: SpoolWriter,
    started_at: chrono::DateTime<chrono::Utc>,
}

/// Why there is no process.
#[derive(Debug)]
enum NotRun {
    Stopped(Outcome),
    Refused { code: &'static str, error: String },
}

impl NotRun {
    fn refused(code: &'static str, error: impl Into<String>) -> Self {
        Self::Refused { code, error: error.into() }
    }
}

/// As whom the command runs, if not as the agent.
async fn session_for(start: &CommandStart) -> Result<Option<UserSession>, NotRun> {
    let unsupported = |reason| Err(NotRun::refused("UNSUPPORTED", os::Unsupported::here(reason).to_string()));
    match start.context {
        RunContext::System if start.elevated && !os::is_elevated() => {
            unsupported("this agent does not run with full rights")
        }
        RunContext::System => Ok(None),
        RunContext::UserSession if start.elevated => {
            unsupported("in a user's session a command has that user's rights and no others")
        }
        RunContext::UserSession => {
            let looking = tokio::task::spawn_blocking(UserSession::foremost);
            let found = timeout(LOOKED_UP_WITHIN, looking).await;
            let found = found.map_err(io::Error::from).and_then(|found| found.map_err(io::Error::other));
            found.map_err(NoUserSession::Account).flatten().map(Some).map_err(|error| {
                let code = match error {
                    NoUserSession::Nobody => "NO_USER_SESSION",
                    NoUserSession::Unsupported(_) => "UNSUPPORTED",
                    NoUserSession::Account(_) => "SPAWN_FAILED",
                };
                NotRun::refused(code, error.to_string())
            })
        }
    }
}
