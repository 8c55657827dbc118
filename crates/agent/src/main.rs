//! The agent's program: parses the command line, sets up logging and the runtime, and says what happened.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use gururmm_agent::enroll::{EnrollOptions, Enrolled, Key, enroll};
use gururmm_agent::install::package::{self, PackageError};
use gururmm_agent::logging::OwnLog;
use gururmm_agent::os::service::{self, Ending, Stop};
use gururmm_agent::supervisor::{Run, StartError, Stopped, Supervised, Supervisor};
use gururmm_agent::update::{self, fetch::check_published};
use gururmm_agent::watchdog::{self, WatchdogError};
use gururmm_agent::{install, logging, os, removal, state::StateDir, status, user_helper, version};
use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing::level_filters::LevelFilter;
use uuid::Uuid;

/// What a package's scripts are told where nothing says where the machine belongs.
const NOTHING_TO_ENROLL_WITH: u8 = 3;

#[derive(Parser)]
#[command(name = "gururmm-agent", version = version(), about = "Manages this machine for a GuruRMM server")]
struct Cli {
    /// Least severe log line to write: error, warn, info, debug or trace.
    #[arg(long, global = true, env = "GURURMM_LOG", default_value = "info")]
    log: LevelFilter,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make this machine known to a server.
    Enroll {
        #[command(flatten)]
        enrollment: Enrollment,
        #[command(flatten)]
        state: State,
    },
    /// Connect to the server and work until stopped.
    Run {
        #[command(flatten)]
        state: State,
        #[command(flatten)]
        supervision: Supervision,
    },
    /// Run the agent, start it again when it ends, and try its updates: what the service does.
    Watchdog {
        /// Another watchdog, which is the service, runs this one.
        #[arg(long, hide = true)]
        hosted: bool,
        #[command(flatten)]
        state: State,
        #[command(flatten)]
        watching: Watching,
    },
    /// For the watchdog: whether this version could be it.
    #[command(hide = true)]
    CheckWatchdog {
        #[command(flatten)]
        state: State,
        #[command(flatten)]
        watching: Watching,
    },
    /// Be the Windows service, a watchdog: what the service manager starts.
    Service {
        #[command(flatten)]
        state: State,
        #[command(flatten)]
        watching: Watching,
    },
    /// Say how the agent on this machine is.
    Status {
        /// As JSON, for programs.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        state: State,
    },
    /// Install the agent as a service; with --server, --site and --key-file, enroll first.
    Install {
        #[command(flatten)]
        enrollment: Option<Enrollment>,
    },
    /// Remove the service, the program and its state.
    Uninstall,
    /// What an agent starts whose server ordered it to leave the machine.
    #[command(hide = true)]
    UninstallOrdered,
    /// For packages' scripts: enroll with what standard input says, in lines `server=`, `sitekey=`, `package=`.
    #[command(hide = true)]
    EnrollFromPackage {
        #[command(flatten)]
        state: State,
    },
    /// For packages' scripts: remove what the agent has made beside the package's files.
    #[command(hide = true)]
    UninstallFromPackage,
    /// For the watchdog: tell it what only a program in a user's session can see.
    #[command(hide = true)]
    UserHelper {
        /// The watchdog's.
        #[arg(long)]
        socket: PathBuf,
    },
    /// For the agent, on macOS: become a user, and then a program.
    #[command(hide = true)]
    AsUser {
        uid: u32,
        #[arg(long)]
        directory: Option<PathBuf>,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
    /// For a release: whether agents of this build take the updates in a folder, and find this program there.
    #[command(hide = true)]
    CheckUpdates {
        /// The folder that holds metadata and targets.
        folder: PathBuf,
        /// Update roots other than the built-in ones, for development and tests.
        #[arg(long, hide = true)]
        update_root: Option<PathBuf>,
    },
    /// Say which version this is.
    Version,
}

#[derive(Args)]
struct State {
    /// Where the agent keeps its identity and its journal.
    #[arg(long)]
    state_dir: Option<PathBuf>,
}

/// What a watchdog is told.
#[derive(Args)]
struct Watching {
    /// Where the installed program and its versions stand.
    #[arg(long)]
    program_folder: Option<PathBuf>,
    /// Seconds a new version has to connect.
    #[arg(long, hide = true, default_value_t = watchdog::CONFIRM_WITHIN.as_secs())]
    confirm_within: u64,
    /// Update roots other than the built-in ones, for development and tests.
    #[arg(long, hide = true)]
    update_root: Option<PathBuf>,
}

impl Watching {
    fn options(self, state_dir: PathBuf) -> anyhow::Result<watchdog::Options> {
        let program_folder = match self.program_folder {
            Some(folder) => std::path::absolute(folder)?,
            None => watchdog::own_folder().context("the installed program cannot be found")?,
        };
        let mut arguments: Vec<OsString> = vec!["--program-folder".into(), program_folder.clone().into()];
        if let Some(root) = self.update_root {
            arguments.extend(["--update-root".into(), std::path::absolute(root)?.into()]);
        }
        let confirm_within = Duration::from_secs(self.confirm_within);
        Ok(watchdog::Options { state_dir, program_folder, confirm_within, arguments, is_hosted: false })
    }
}

/// What a watchdog tells the agent it runs.
#[derive(Args)]
struct Supervision {
    #[arg(long, hide = true, requires = "program_folder")]
    supervised: Option<Uuid>,
    #[arg(long, hide = true)]
    program_folder: Option<PathBuf>,
    #[arg(long, hide = true)]
    update_root: Option<PathBuf>,
}

#[derive(Args)]
struct Enrollment {
    /// The server: https://host[:port].
    #[arg(long)]
    server: String,
    /// Code of the site this machine belongs to.
    #[arg(long)]
    site: String,
    /// File that holds the enrollment key; - for standard input.
    #[arg(long)]
    key_file: PathBuf,
    /// Fingerprint of the server's own CA: sha256:HEX.
    #[arg(long)]
    ca_fingerprint: Option<String>,
    /// Enroll anew although this machine is enrolled.
    #[arg(long)]
    replace: bool,
}

impl State {
    /// From the root on: commands run in other folders, and find their files there.
    fn path(self) -> anyhow::Result<PathBuf> {
        let path = self.state_dir.unwrap_or_else(StateDir::default_path);
        std::path::absolute(&path).with_context(|| format!("{} is no folder", path.display()))
    }
}

impl From<Enrollment> for EnrollOptions {
    fn from(enrollment: Enrollment) -> Self {
        let Enrollment { server, site, key_file, ca_fingerprint, replace } = enrollment;
        Self { server, site, key: Key::File(key_file), ca_fingerprint, replace }
    }
}

impl Supervision {
    fn supervised(self) -> Option<Supervised> {
        let (run, program_folder) = (self.supervised?, self.program_folder?);
        Some(Supervised { run, program_folder, update_root: self.update_root })
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = Arc::new(OwnLog::default());
    let is_run = matches!(cli.command, Command::Run { .. });
    // Nobody reads what a service or its child writes to standard error, on systems that have a place for it.
    let is_service = match &cli.command {
        Command::Run { supervision, .. } => supervision.supervised.is_some(),
        Command::Watchdog { hosted, .. } => *hosted,
        command => matches!(command, Command::Service { .. } | Command::UninstallOrdered),
    };
    logging::init(cli.log, is_run.then(|| Arc::clone(&log)), is_service);
    match run(cli.command, log) {
        Ok(code) => code,
        Err(error) => {
            if let Some(PackageError::NothingToEnrollWith) = error.downcast_ref() {
                tracing::info!("{error}");
                return ExitCode::from(NOTHING_TO_ENROLL_WITH);
            }
            if let Some(WatchdogError::ForAnotherVersion) = error.downcast_ref() {
                return ExitCode::from(watchdog::FOR_ANOTHER_VERSION);
            }
            tracing::error!("{error:#}");
            ExitCode::from(if needs_a_person(&error) { watchdog::NEEDS_A_PERSON } else { 1 })
        }
    }
}

fn needs_a_person(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StartError::Identity(_) | StartError::State(_)))
        || matches!(error.downcast_ref(), Some(WatchdogError::NeedsAPerson | WatchdogError::State(_)))
}

fn run(command: Command, log: Arc<OwnLog>) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Enroll { enrollment, state } => {
            let enrolled = block_on(async { Ok(enroll(&state.path()?, &enrollment.into()).await?) })?;
            say(&describe(&enrolled))
        }
        Command::Run { state, supervision } => return block_on(work(state, supervision.supervised(), log)),
        Command::Watchdog { hosted, state, watching } => {
            let options = watchdog::Options { is_hosted: hosted, ..watching.options(state.path()?)? };
            block_on(async { Ok(watchdog::run(options, asked_to_stop(hosted)?).await?) })
        }
        Command::CheckWatchdog { state, watching } => Ok(watchdog::check(&watching.options(state.path()?)?)?),
        Command::Service { state, watching } => {
            let options = watching.options(state.path()?)?;
            let body = move |stop: Stop| match block_on(async { Ok(watchdog::run(options, stop).await?) }) {
                Ok(()) => Ending::Done,
                Err(error) => {
                    tracing::error!("{error:#}");
                    if needs_a_person(&error) { Ending::NeedsAPerson } else { Ending::Failed(1) }
                }
            };
            Ok(service::host(Box::new(body))?)
        }
        Command::Status { json, state } => {
            let status = status::read(&state.path()?)?;
            let text = if json { serde_json::to_string_pretty(&status)? } else { status.to_string() };
            say(&text)
        }
        Command::Install { enrollment } => {
            let layout = install::Layout::system();
            layout.install_program().context("the program cannot be installed")?;
            if let Some(enrollment) = enrollment {
                let enrolled =
                    block_on(async { Ok(enroll(&layout.state_dir(), &enrollment.into()).await?) })?;
                say(&describe(&enrolled))?;
            }
            layout.install_service().context("the service cannot be installed")?;
            say("the service is installed")
        }
        Command::Uninstall => {
            install::Layout::system().uninstall().context("the agent cannot be removed")?;
            say("the agent is removed")
        }
        Command::UninstallOrdered => {
            let layout = install::Layout::system();
            block_on(async { Ok(removal::carry_out(&layout).await?) }).context("the agent is not removed")
        }
        Command::EnrollFromPackage { state } => enroll_from_package(&state.path()?),
        Command::UninstallFromPackage => {
            install::Layout::system().uninstall_from_package().context("the agent's state cannot be removed")
        }
        Command::UserHelper { socket } => {
            block_on(async { Ok(user_helper::run(&socket, watchdog::stop_with_parent()).await?) })
        }
        Command::AsUser { uid, directory, program } => {
            let error = os::user_session::become_program(uid, directory.as_deref(), &program);
            Err(error).context("the program cannot be run as the user")
        }
        Command::CheckUpdates { folder, update_root } => {
            let root = match update_root {
                Some(path) => {
                    std::fs::read(&path).with_context(|| format!("{} is no root", path.display()))?
                }
                None => update::BUILT_IN_ROOT.context("this build has no update roots")?.to_vec(),
            };
            let own = std::env::current_exe().context("this program cannot be found")?;
            let found = block_on(async { Ok(check_published(&folder, &root, &own).await?) });
            say(&format!("[OK] {}", found.context("agents of this build would not take these updates")?))
        }
        Command::Version => say(version()),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The agent itself.
async fn work(state: State, supervised: Option<Supervised>, log: Arc<OwnLog>) -> anyhow::Result<ExitCode> {
    os::leave_no_core_dump().context("core dumps cannot be kept off")?;
    let is_supervised = supervised.is_some();
    let run = Run::begin(&state.path()?, log)?.supervised(supervised);
    run.report_panics();
    let supervisor = Supervisor::open(run)?;
    Ok(match supervisor.run(asked_to_stop(is_supervised)?).await {
        Stopped::Asked => ExitCode::SUCCESS,
        Stopped::ForAnotherVersion => ExitCode::from(watchdog::FOR_ANOTHER_VERSION),
        // It must not be started again.
        Stopped::ForRemoval => ExitCode::from(watchdog::NEEDS_A_PERSON),
    })
}

/// Ends when the system or a person asks, or the process that runs this one is gone or wants it to stop.
fn asked_to_stop(has_parent: bool) -> anyhow::Result<impl Future<Output = ()>> {
    let asked = os::stop_signal().context("signals cannot be watched")?;
    Ok(async move {
        if has_parent {
            tokio::select! {
                () = asked => {}
                () = watchdog::stop_with_parent() => {}
            }
        } else {
            asked.await;
        }
    })
}

fn enroll_from_package(state_dir: &Path) -> anyhow::Result<()> {
    let layout = install::Layout::system();
    match package::read(std::io::stdin().lock()) {
        // A newer version of an agent that knows where it belongs.
        Err(PackageError::NothingToEnrollWith) if status::read(state_dir)?.enrolled => {}
        told => {
            let told = told?;
            let options = EnrollOptions {
                server: told.server,
                site: told.site_key.site_code,
                key: Key::Given(told.site_key.enrollment_key.into()),
                ca_fingerprint: told.site_key.ca_fingerprint,
                replace: false,
            };
            let enrolled = block_on(async { Ok(enroll(state_dir, &options).await?) });
            if enrolled.is_err() {
                // A package that is undone leaves nothing. A folder that was not empty before stays.
                let _ = std::fs::remove_dir(state_dir);
            }
            say(&describe(&enrolled?))?;
        }
    }
    layout.finish_package().context("the service cannot be started")
}

fn describe(enrolled: &Enrolled) -> String {
    match enrolled {
        Enrolled::Already(id) => format!("this machine is enrolled already, as agent {id}"),
        Enrolled::Active(id) => format!("enrolled as agent {id}"),
        Enrolled::Pending(id) => {
            format!("enrolled as agent {id}; someone has to approve it in the dashboard")
        }
    }
}

/// One thread: an agent waits nearly always, and every further thread costs memory.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(os::BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(2))
        .build()
        .context("the runtime cannot be started")?;
    let result = runtime.block_on(future);
    // A name look-up or a disk that hangs must not keep a stopped agent.
    runtime.shutdown_timeout(Duration::from_millis(200));
    result
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").context("standard output cannot be written")
}
