//! macOS: a folder of programs and state, a daemon of launchd's. Built here, not run.

use super::files::{remove, replace};
use super::{Afterwards, InstallError, REMOVE, is_same_place};
use crate::os;
use crate::removal::Note;
use crate::update::programs::VERSIONS;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PLIST: &str = include_str!("com.gururmm.agent.plist");
const PLIST_PATH: &str = "/Library/LaunchDaemons/com.gururmm.agent.plist";
const DAEMON: &str = "system/com.gururmm.agent";
/// What the package is called in the system's receipts.
const RECEIPT: &str = "com.gururmm.agent";
const FOLDER: &str = "/Library/Application Support/GuruRMM";

/// What is there for users' sessions; it goes with a restart of the machine, too.
const RUN_FOLDER: &str = "/var/run/gururmm-agent";

/// Where everything stands.
#[derive(Debug, Clone)]
pub struct Layout {
    folder: PathBuf,
}

impl Layout {
    /// This machine.
    pub fn system() -> Self {
        Self { folder: PathBuf::from(FOLDER) }
    }

    /// The agent's state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.folder.join("state")
    }

    fn program(&self) -> PathBuf {
        self.folder.join("bin/gururmm-agent")
    }

    /// Copies this program to its place; one that runs from there keeps running until its daemon restarts.
    pub fn install_program(&self) -> Result<(), InstallError> {
        check_rights()?;
        let source = std::env::current_exe()
            .map_err(|source| InstallError::Io { path: PathBuf::from("gururmm-agent"), source })?;
        let target = self.program();
        if let Some(parent) = target.parent() {
            let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(parent);
            made.map_err(|source| InstallError::Io { path: parent.to_owned(), source })?;
        }
        if fs::canonicalize(&source).ok() == fs::canonicalize(&target).ok() {
            return Ok(());
        }
        replace(&target, 0o755, |file| io::copy(&mut File::open(&source)?, file).map(drop))
    }

    /// Writes the daemon's description and starts it.
    pub fn install_service(&self) -> Result<(), InstallError> {
        check_rights()?;
        replace(Path::new(PLIST_PATH), 0o644, |file| io::Write::write_all(file, PLIST.as_bytes()))?;
        stop();
        launchctl(&["bootstrap", "system", PLIST_PATH])
    }

    /// Stops the daemon and removes everything [`Layout::install_program`], [`Layout::install_service`] and the running
    /// agent made.
    pub fn uninstall(&self) -> Result<(), InstallError> {
        check_rights()?;
        stop();
        remove(Path::new(PLIST_PATH))?;
        remove(Path::new(RUN_FOLDER))?;
        remove(&self.folder)
    }

    /// After a package has enrolled this machine: its own scripts start the daemon.
    pub fn finish_package(&self) -> Result<(), InstallError> {
        Ok(())
    }

    /// What a package leaves to the agent when it goes: the state, and versions beside the installed one.
    pub fn uninstall_from_package(&self) -> Result<(), InstallError> {
        check_rights()?;
        remove(&self.state_dir())?;
        remove(Path::new(RUN_FOLDER))?;
        remove(&self.folder.join("bin").join(VERSIONS))
    }

    /// Whether an agent that runs from this folder on this state is the one that is installed here.
    pub fn is_installed_as(&self, program_folder: &Path, state_dir: &Path) -> bool {
        is_same_place(program_folder, state_dir, &self.folder.join("bin"), &self.state_dir())
    }

    /// Starts this program as the process that removes the agent. launchd ends what is in the process group of a daemon
    /// that ends, so it gets one of its own.
    pub fn begin_removal(&self, _note: &Note) -> Result<Afterwards, InstallError> {
        check_rights()?;
        let program = std::env::current_exe()
            .map_err(|source| InstallError::Io { path: PathBuf::from("gururmm-agent"), source })?;
        let mut command = Command::new(&program);
        command.arg(REMOVE).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        os::own_process_group(&mut command);
        command.spawn().map_err(|source| InstallError::Io { path: program, source })?;
        Ok(Afterwards::IsStopped)
    }

    /// Packages have no way back here; the system only remembers that one was installed, and forgets it.
    pub async fn remove_package(&self) -> Result<(), InstallError> {
        let mut command = tokio::process::Command::new("/usr/sbin/pkgutil");
        command.args(["--forget", RECEIPT]).stdin(Stdio::null());
        if !command.output().await.is_ok_and(|output| output.status.success()) {
            tracing::debug!("no package has brought the agent");
        }
        Ok(())
    }

    /// Stops the daemon, until the machine starts again or [`Layout::uninstall`] has removed its description.
    pub fn stop_service(&self) -> Result<(), InstallError> {
        check_rights()?;
        stop();
        Ok(())
    }

    /// After a removal that failed, whose cause is told in any case: what can still run, runs.
    pub fn revive(&self) {
        if self.program().exists()
            && let Err(error) = launchctl(&["bootstrap", "system", PLIST_PATH])
        {
            tracing::warn!(%error, "the daemon cannot be started again");
        }
    }

    /// The last thing a removal does. Nothing is left of it here.
    pub fn leave_removal(&self) {}
}

fn check_rights() -> Result<(), InstallError> {
    if os::is_elevated() { Ok(()) } else { Err(InstallError::NotElevated) }
}

/// Waits until the daemon is gone. One that does not run is as good as stopped.
fn stop() {
    if let Err(error) = launchctl(&["bootout", DAEMON]) {
        tracing::debug!(%error, "the daemon did not run");
    }
}

fn launchctl(arguments: &[&str]) -> Result<(), InstallError> {
    let failed = |output: String| InstallError::ServiceManager {
        request: format!("launchctl {}", arguments.join(" ")),
        output,
    };
    let output =
        Command::new("/bin/launchctl").args(arguments).output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
