//! Linux with systemd.

mod packages;

use super::files::{remove, replace};
use super::{Afterwards, InstallError, REMOVE, is_same_place};
use crate::os;
use crate::removal::{Note, Stage};
use crate::update::programs::VERSIONS;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const UNIT: &str = include_str!("gururmm-agent.service");
const UNIT_NAME: &str = "gururmm-agent.service";

/// Where everything stands, below a root folder that is `/` outside tests.
#[derive(Debug, Clone)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// This machine.
    pub fn system() -> Self {
        Self { root: PathBuf::from("/") }
    }

    /// The agent's state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("var/lib/gururmm-agent")
    }

    /// What is there for users' sessions; it goes with a restart of the machine, too.
    fn run_folder(&self) -> PathBuf {
        self.root.join("run/gururmm-agent")
    }

    fn program_dir(&self) -> PathBuf {
        self.root.join("usr/local/lib/gururmm")
    }

    fn program(&self) -> PathBuf {
        self.program_dir().join("gururmm-agent")
    }

    fn unit(&self) -> PathBuf {
        self.root.join("etc/systemd/system").join(UNIT_NAME)
    }

    /// Copies this program to its place; one that runs from there keeps running until its service restarts.
    pub fn install_program(&self) -> Result<(), InstallError> {
        self.check_rights()?;
        let source = std::env::current_exe()
            .map_err(|source| InstallError::Io { path: PathBuf::from("/proc/self/exe"), source })?;
        let target = self.program();
        create_dir_all(&self.program_dir())?;
        if fs::canonicalize(&source).ok() == fs::canonicalize(&target).ok() {
            return Ok(());
        }
        replace(&target, 0o755, |file| io::copy(&mut File::open(&source)?, file).map(drop))
    }

    /// Writes the unit and starts the service.
    pub fn install_service(&self) -> Result<(), InstallError> {
        self.check_rights()?;
        self.write_unit()?;
        if !self.has_systemd() {
            return Err(InstallError::NoServiceManager);
        }
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", UNIT_NAME])?;
        systemctl(&["restart", UNIT_NAME])
    }

    fn write_unit(&self) -> Result<(), InstallError> {
        let path = self.unit();
        if let Some(parent) = path.parent() {
            create_dir_all(parent)?;
        }
        replace(&path, 0o644, |file| io::Write::write_all(file, UNIT.as_bytes()))
    }

    /// Stops the service and removes everything [`Layout::install_program`], [`Layout::install_service`] and the
    /// running agent made.
    pub fn uninstall(&self) -> Result<(), InstallError> {
        self.stop_service()?;
        remove(&self.unit())?;
        if self.has_systemd() {
            systemctl(&["daemon-reload"])?;
        }
        remove(&self.state_dir())?;
        remove(&self.run_folder())?;
        remove(&self.program_dir())
    }

    /// After a package has enrolled this machine: its own scripts start the service.
    pub fn finish_package(&self) -> Result<(), InstallError> {
        Ok(())
    }

    /// What a package leaves to the agent when it goes: the state, and versions beside the installed one.
    pub fn uninstall_from_package(&self) -> Result<(), InstallError> {
        self.check_rights()?;
        remove(&self.state_dir())?;
        remove(&self.run_folder())?;
        remove(&self.program_dir().join(VERSIONS))
    }

    /// Whether an agent that runs from this folder on this state is the one that is installed here.
    pub fn is_installed_as(&self, program_folder: &Path, state_dir: &Path) -> bool {
        is_same_place(program_folder, state_dir, &self.program_dir(), &self.state_dir())
    }

    /// Starts this program as the process that removes the agent, where the service's end does not reach it: as a unit of
    /// its own, since systemd ends everything in the control group of the agent's.
    pub fn begin_removal(&self, note: &Note) -> Result<Afterwards, InstallError> {
        self.check_rights()?;
        let program = std::env::current_exe()
            .map_err(|source| InstallError::Io { path: PathBuf::from("/proc/self/exe"), source })?;
        if self.has_systemd() {
            run(removal_unit(&program, note))?;
            return Ok(Afterwards::IsStopped);
        }
        let mut command = Command::new(&program);
        command.arg(REMOVE).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        os::own_process_group(&mut command);
        command.spawn().map_err(|source| InstallError::Io { path: program, source })?;
        Ok(Afterwards::Stops)
    }

    /// Has the package manager remove the package that brought the agent, if one did.
    pub async fn remove_package(&self) -> Result<(), InstallError> {
        packages::remove_owner(&self.root, &self.packaged()).await
    }

    /// Stops the service for good.
    pub fn stop_service(&self) -> Result<(), InstallError> {
        self.check_rights()?;
        if self.has_systemd() && self.unit().exists() {
            systemctl(&["disable", "--now", UNIT_NAME])?;
        }
        Ok(())
    }

    /// After a removal that failed, whose cause is told in any case: what can still run, runs.
    pub fn revive(&self) {
        if self.has_systemd()
            && self.program().exists()
            && let Err(error) = systemctl(&["enable", "--now", UNIT_NAME])
        {
            tracing::warn!(%error, "the service cannot be started again");
        }
    }

    /// The last thing a removal does. Nothing is left of it here.
    pub fn leave_removal(&self) {}

    /// The program as a package brings it; its scripts copy it to its place.
    fn packaged(&self) -> PathBuf {
        self.root.join("usr/lib/gururmm/gururmm-agent")
    }

    fn check_rights(&self) -> Result<(), InstallError> {
        let is_system = self.root == Path::new("/");
        if is_system && !os::is_elevated() { Err(InstallError::NotElevated) } else { Ok(()) }
    }

    /// `sd_booted(3)`.
    fn has_systemd(&self) -> bool {
        self.root.join("run/systemd/system").is_dir()
    }
}

/// What a removal's unit starts. Its name is this order's and this attempt's: systemd keeps the name of one that failed.
fn removal_unit(program: &Path, note: &Note) -> Command {
    let attempts = if let Stage::Begun { attempts } = note.stage { attempts } else { 0 };
    let mut command = Command::new("systemd-run");
    command.arg(format!("--unit=gururmm-removal-{}-{attempts}", note.uninstall_id));
    command.args(["--description=Removal of the GuruRMM agent", "--"]);
    command.arg(program).arg(REMOVE);
    command
}

fn systemctl(arguments: &[&str]) -> Result<(), InstallError> {
    let mut command = Command::new("systemctl");
    command.args(arguments);
    run(command)
}

fn run(mut command: Command) -> Result<(), InstallError> {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let request = words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let output = match command.output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => error.to_string(),
    };
    Err(InstallError::ServiceManager { request, output })
}

fn create_dir_all(path: &Path) -> Result<(), InstallError> {
    fs::create_dir_all(path).map_err(|source| InstallError::Io { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn files_below(root: &Path) -> BTreeSet<PathBuf> {
        let mut files = BTreeSet::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap().flatten() {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    files.insert(entry.path());
                }
            }
        }
        files
    }

    #[test]
    fn uninstalling_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout { root: root.path().to_owned() };
        layout.install_program().unwrap();
        // Again, as an update does.
        layout.install_program().unwrap();
        assert!(matches!(layout.install_service(), Err(InstallError::NoServiceManager)));
        crate::state::StateDir::create(&layout.state_dir()).unwrap().sub_dir("journal").unwrap();
        fs::write(layout.state_dir().join("identity.json"), "{}").unwrap();
        fs::create_dir_all(layout.run_folder()).unwrap();
        fs::write(layout.run_folder().join("leftover"), "").unwrap();
        assert_eq!(files_below(root.path()).len(), 4);
        layout.uninstall().unwrap();
        assert_eq!(files_below(root.path()), BTreeSet::new());
        layout.uninstall().unwrap();
    }

    #[test]
    fn the_unit_starts_the_installed_program() {
        let layout = Layout::system();
        assert!(UNIT.contains(&format!("ExecStart={} watchdog\n", layout.program().display())));
    }
}
