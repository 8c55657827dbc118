//! The agent, and what else the watchdog runs, as its children. Their standard input is a pipe that says nothing: where it ends, they stop, so
//! that none outlives its watchdog, on any system.

use super::plan::Start;
use crate::os;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{self, ChildStdin};
use tokio::time::timeout;
use uuid::Uuid;

/// Exit code of an agent that wants to become the version it asked for.
pub const FOR_ANOTHER_VERSION: u8 = 76;
/// Exit code of an agent that a restart does not help (`EX_CONFIG`).
pub const NEEDS_A_PERSON: u8 = 78;

pub(super) struct Child {
    process: process::Child,
    alive: Option<ChildStdin>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ended {
    Well,
    ForAnotherVersion,
    NeedsAPerson,
    Otherwise(String),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Well => f.write_str("it ended as if it had been told to"),
            Self::ForAnotherVersion => f.write_str("it asked for another version"),
            Self::NeedsAPerson => f.write_str("it needs a person"),
            Self::Otherwise(how) => f.write_str(how),
        }
    }
}

impl Child {
    pub(super) fn start(
        start: &Start,
        state_dir: &Path,
        run: Uuid,
        arguments: &[OsString],
    ) -> io::Result<Self> {
        let mut command = process::Command::new(start.program()?);
        command.arg("run").arg("--state-dir").arg(state_dir).arg("--supervised").arg(run.to_string());
        command.args(arguments);
        Self::spawn(command)
    }

    /// A version that is asked whether it can be the watchdog.
    pub(super) fn check(program: &OsStr, state_dir: &Path, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = process::Command::new(program);
        command.arg("check-watchdog").arg("--state-dir").arg(state_dir).args(arguments);
        Self::spawn(command)
    }

    /// A version that is the watchdog, for this process.
    pub(super) fn watchdog(program: &OsStr, arguments: &[OsString]) -> io::Result<Self> {
        let mut command = process::Command::new(program);
        command.args(arguments);
        Self::spawn(command)
    }

    fn spawn(mut command: process::Command) -> io::Result<Self> {
        command.stdin(Stdio::piped()).kill_on_drop(true);
        // A person's Ctrl+C is the watchdog's to pass on, and a service has no console to show.
        os::own_process_group(command.as_std_mut());
        let mut process = command.spawn()?;
        let alive = process.stdin.take();
        Ok(Self { process, alive })
    }

    /// To be asked again and again; nothing is lost when the answer is not waited for.
    pub(super) async fn ended(&mut self) -> Ended {
        match self.process.wait().await {
            Ok(status) => match status.code() {
                Some(0) => Ended::Well,
                Some(code) if code == i32::from(FOR_ANOTHER_VERSION) => Ended::ForAnotherVersion,
                Some(code) if code == i32::from(NEEDS_A_PERSON) => Ended::NeedsAPerson,
                _ => Ended::Otherwise(status.to_string()),
            },
            Err(error) => Ended::Otherwise(format!("it cannot be waited for: {error}")),
        }
    }

    /// Asks it to stop, and makes it stop when it does not within `time`.
    pub(super) async fn stop(mut self, time: Duration) {
        drop(self.alive.take());
        if timeout(time, self.process.wait()).await.is_err() {
            tracing::warn!("the agent does not stop, and is killed");
            if let Err(error) = self.process.kill().await {
                tracing::error!(%error, "the agent cannot be killed");
            }
        }
    }
}
