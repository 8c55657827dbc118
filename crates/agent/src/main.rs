//! The agent's program: parses the command line, sets up logging and the runtime, and says what happened.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use gururmm_agent::enroll::{EnrollOptions, Enrolled, enroll};
use gururmm_agent::logging::OwnLog;
use gururmm_agent::supervisor::{Run, StartError, Supervisor};
use gururmm_agent::{VERSION, install, logging, os, state::StateDir, status};
use std::future::Future;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tracing::level_filters::LevelFilter;

/// The service manager does not restart an agent that needs a person first (`EX_CONFIG`).
const NEEDS_A_PERSON: u8 = 78;

#[derive(Parser)]
#[command(name = "gururmm-agent", version, about = "Manages this machine for a GuruRMM server")]
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
    /// Say which version this is.
    Version,
}

#[derive(Args)]
struct State {
    /// Where the agent keeps its identity and its journal.
    #[arg(long)]
    state_dir: Option<PathBuf>,
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
        Self { server, site, key_file, ca_fingerprint, replace }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let log = Arc::new(OwnLog::default());
    let is_run = matches!(cli.command, Command::Run { .. });
    logging::init(cli.log, is_run.then(|| Arc::clone(&log)));
    match run(cli.command, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            let needs_a_person =
                matches!(error.downcast_ref(), Some(StartError::Identity(_) | StartError::State(_)));
            ExitCode::from(if needs_a_person { NEEDS_A_PERSON } else { 1 })
        }
    }
}

fn run(command: Command, log: Arc<OwnLog>) -> anyhow::Result<()> {
    match command {
        Command::Enroll { enrollment, state } => {
            let enrolled = block_on(async { Ok(enroll(&state.path()?, &enrollment.into()).await?) })?;
            say(&describe(&enrolled))
        }
        Command::Run { state } => block_on(async {
            os::leave_no_core_dump().context("core dumps cannot be kept off")?;
            let run = Run::begin(&state.path()?, log)?;
            run.report_panics();
            let supervisor = Supervisor::open(run)?;
            supervisor.run(os::stop_signal().context("signals cannot be watched")?).await;
            Ok(())
        }),
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
        Command::Version => say(VERSION),
    }
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
        .max_blocking_threads(4)
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
