//! Windows: a folder of programs, a folder of state, a service, a source in the event log.

use super::{Afterwards, InstallError, REMOVE, is_same_place};
use crate::os::{self, event_log, folders, products, service};
use crate::removal::Note;
use crate::update::programs::{Opened, VERSIONS};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::windows::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};
use windows_service::Error;
use windows_service::service::{
    Service, ServiceAccess, ServiceAction, ServiceActionType, ServiceErrorControl, ServiceFailureActions,
    ServiceFailureResetPeriod, ServiceInfo, ServiceStartType, ServiceState, ServiceType,
};
use windows_service::service_manager::{ServiceManager, ServiceManagerAccess};
use windows_sys::Win32::Foundation::{
    ERROR_INSTALL_ALREADY_RUNNING, ERROR_INVALID_LEVEL, ERROR_SERVICE_ALREADY_RUNNING,
    ERROR_SERVICE_DOES_NOT_EXIST, ERROR_SERVICE_EXISTS, ERROR_SERVICE_NOT_ACTIVE, ERROR_SUCCESS,
    ERROR_SUCCESS_REBOOT_INITIATED, ERROR_SUCCESS_REBOOT_REQUIRED, ERROR_UNKNOWN_PRODUCT,
};
use windows_sys::Win32::System::Threading::{CREATE_NEW_PROCESS_GROUP, CREATE_NO_WINDOW};

/// What all versions of the agent's MSI share.
const UPGRADE_CODE: &str = "{5E6B6C0E-6B0F-4D6C-9C0A-3B8B3E1B6F4D}";
/// Exit codes of Windows Installer: done; done, and a restart would complete it; the product is gone already.
const MSI_DONE: [u32; 4] =
    [ERROR_SUCCESS, ERROR_SUCCESS_REBOOT_REQUIRED, ERROR_SUCCESS_REBOOT_INITIATED, ERROR_UNKNOWN_PRODUCT];
/// How long another installation may be in the way of removing a package, and the removal itself may take.
const MSI_WITHIN: Duration = Duration::from_secs(300);
const MSI_AGAIN_AFTER: Duration = Duration::from_secs(5);
const DISPLAY_NAME: &str = "GuruRMM agent";
const DESCRIPTION: &str = "Manages this machine for a GuruRMM server.";
/// After a failure the service is started again; from the third on with this last pause.
const RESTART_AFTER: [Duration; 3] =
    [Duration::from_secs(5), Duration::from_secs(30), Duration::from_secs(60)];
/// Without a failure for so long, the next one is the first again.
const FORGIVE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How long a service may take to stop; an agent takes five seconds at most.
const STOPS_WITHIN: Duration = Duration::from_secs(20);
/// How long a file may stay in use by a process that is ending.
const GONE_WITHIN: Duration = Duration::from_secs(5);

/// Where everything stands.
#[derive(Debug, Clone)]
pub struct Layout {
    program_dir: PathBuf,
    state_dir: PathBuf,
}

impl Layout {
    /// This machine.
    pub fn system() -> Self {
        Self {
            program_dir: folders::program_files().join("GuruRMM"),
            state_dir: folders::program_data().join("GuruRMM"),
        }
    }

    /// The agent's state folder.
    pub fn state_dir(&self) -> PathBuf {
        self.state_dir.clone()
    }

    fn program(&self) -> PathBuf {
        self.program_dir.join("gururmm-agent.exe")
    }

    /// Copies this program to its place, unless it stands there. The service is stopped for it and started by
    /// [`Layout::install_service`].
    pub fn install_program(&self) -> Result<(), InstallError> {
        check_rights()?;
        let own = std::env::current_exe()
            .map_err(|source| InstallError::Io { path: PathBuf::from("gururmm-agent.exe"), source })?;
        let program = self.program();
        let failed = |source| InstallError::Io { path: program.clone(), source };
        fs::create_dir_all(&self.program_dir).map_err(failed)?;
        if let Ok(there) = fs::canonicalize(&program)
            && fs::canonicalize(&own).is_ok_and(|own| own == there)
        {
            return Ok(());
        }
        if let Some(service) = open(&manager(ServiceManagerAccess::CONNECT)?, ServiceAccess::all())? {
            stop(&service)?;
        }
        let temporary = program.with_extension("new");
        let copied = fs::copy(&own, &temporary).and_then(|_| retry(|| fs::rename(&temporary, &program)));
        if copied.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        copied.map_err(failed)
    }

    /// Registers the service, or brings an earlier registration up to date, and starts it.
    pub fn install_service(&self) -> Result<(), InstallError> {
        check_rights()?;
        event_log::register().map_err(|error| refused("registering the event source", error.to_string()))?;
        let manager = manager(ServiceManagerAccess::CONNECT | ServiceManagerAccess::CREATE_SERVICE)?;
        let info = service_info(self.program());
        let service = match manager.create_service(&info, ServiceAccess::all()) {
            Err(error) if is(&error, ERROR_SERVICE_EXISTS) => {
                let service = manager.open_service(service::NAME, ServiceAccess::all());
                let service = service.map_err(|error| manager_refused("opening the service", &error))?;
                service
                    .change_config(&info)
                    .map_err(|error| manager_refused("changing the service", &error))?;
                stop(&service)?;
                service
            }
            created => created.map_err(|error| manager_refused("creating the service", &error))?,
        };
        configure(&service)?;
        service.start::<&str>(&[]).map_err(|error| manager_refused("starting the service", &error))
    }

    /// After a package has registered the service and enrolled this machine: what packages have no words for.
    pub fn finish_package(&self) -> Result<(), InstallError> {
        check_rights()?;
        register_event_source()?;
        let service = open(&manager(ServiceManagerAccess::CONNECT)?, ServiceAccess::all())?;
        let service = service
            .ok_or_else(|| refused("opening the service", "the package registered none".to_owned()))?;
        // Windows Installer puts a path with spaces in quotes; that it is in quotes is not left to others.
        service
            .change_config(&service_info(self.program()))
            .map_err(|error| manager_refused("changing the service", &error))?;
        configure(&service)?;
        match service.start::<&str>(&[]) {
            Err(error) if !is(&error, ERROR_SERVICE_ALREADY_RUNNING) => {
                Err(manager_refused("starting the service", &error))
            }
            _ => Ok(()),
        }
    }

    /// What a package leaves to the agent when it goes: the state, versions beside the installed one, the event source.
    pub fn uninstall_from_package(&self) -> Result<(), InstallError> {
        check_rights()?;
        if let Some(service) = open(&manager(ServiceManagerAccess::CONNECT)?, ServiceAccess::all())? {
            stop(&service)?;
        }
        unregister_event_source()?;
        remove(&self.state_dir)?;
        remove(&self.program_dir.join(VERSIONS))
    }

    /// Stops the service and removes everything [`Layout::install_program`], [`Layout::install_service`] and the
    /// running agent made. This program, where it stands among that, is gone a moment after it has ended.
    pub fn uninstall(&self) -> Result<(), InstallError> {
        check_rights()?;
        if let Some(service) = open(&manager(ServiceManagerAccess::CONNECT)?, ServiceAccess::all())? {
            stop(&service)?;
            service.delete().map_err(|error| manager_refused("removing the service", &error))?;
        }
        event_log::unregister().map_err(|error| refused("removing the event source", error.to_string()))?;
        remove(&self.state_dir)?;
        let is_own = std::env::current_exe().is_ok_and(|own| own.starts_with(&self.program_dir));
        if is_own { remove_after_end(&self.program_dir) } else { remove(&self.program_dir) }
    }

    /// Whether an agent that runs from this folder on this state is the one that is installed here.
    pub fn is_installed_as(&self, program_folder: &Path, state_dir: &Path) -> bool {
        is_same_place(program_folder, state_dir, &self.program_dir, &self.state_dir)
    }

    /// Starts a copy of this program as the process that removes the agent: a program that runs is in the way of its own
    /// removal. The copy stands beside the agent's folder, where nobody but an administrator writes.
    pub fn begin_removal(&self, _note: &Note) -> Result<Afterwards, InstallError> {
        check_rights()?;
        let folder = self.removal_dir();
        let program = folder.join("gururmm-agent.exe");
        remove(&folder)?;
        let started = std::env::current_exe().and_then(|own| {
            fs::create_dir(&folder)?;
            fs::copy(own, &program)?;
            Command::new(&program)
                .arg(REMOVE)
                .current_dir(folders::system())
                .creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
        });
        started.map_err(|source| InstallError::Io { path: program, source })?;
        Ok(Afterwards::IsStopped)
    }

    fn removal_dir(&self) -> PathBuf {
        self.program_dir.with_file_name("GuruRMM removal")
    }

    /// Has Windows Installer remove its package, if one has brought the agent.
    pub async fn remove_package(&self) -> Result<(), InstallError> {
        let refused = |request: &str, output: String| InstallError::PackageManager {
            request: request.to_owned(),
            output,
        };
        let found = products::of_family(UPGRADE_CODE)
            .map_err(|error| refused("asking Windows Installer", error.to_string()))?;
        for product in found {
            remove_product(&product).await.map_err(|said| refused(&format!("msiexec /x {product}"), said))?;
        }
        Ok(())
    }

    /// Stops the service; [`Layout::uninstall`] removes it.
    pub fn stop_service(&self) -> Result<(), InstallError> {
        check_rights()?;
        match open(&manager(ServiceManagerAccess::CONNECT)?, ServiceAccess::all())? {
            Some(service) => stop(&service),
            None => Ok(()),
        }
    }

    /// After a removal that failed, whose cause is told in any case: what can still run, runs.
    pub fn revive(&self) {
        let started = (|| {
            let manager = manager(ServiceManagerAccess::CONNECT)?;
            let Some(service) = open(&manager, ServiceAccess::all())? else { return Ok(()) };
            match service.start::<&str>(&[]) {
                Err(error) if !is(&error, ERROR_SERVICE_ALREADY_RUNNING) => {
                    Err(manager_refused("starting the service", &error))
                }
                _ => Ok(()),
            }
        })();
        if let Err(error) = started {
            tracing::warn!(%error, "the service cannot be started again");
        }
    }

    /// The last thing a removal does: its own program goes a moment after it has ended.
    pub fn leave_removal(&self) {
        if let Err(error) = remove_after_end(&self.removal_dir()) {
            tracing::warn!(%error, "the program that removed the agent stays");
        }
    }
}

async fn remove_product(product: &str) -> Result<(), String> {
    let until = Instant::now() + MSI_WITHIN;
    loop {
        let mut command = tokio::process::Command::new(folders::system().join("msiexec.exe"));
        command.args(["/x", product, "/qn", "/norestart"]).stdin(Stdio::null());
        let ended = tokio::time::timeout(MSI_WITHIN, command.status()).await;
        let status = ended.map_err(|_| format!("it did not end within {} seconds", MSI_WITHIN.as_secs()))?;
        let code = status.map_err(|error| error.to_string())?.code().map(i32::cast_unsigned);
        match code {
            Some(code) if MSI_DONE.contains(&code) => return Ok(()),
            Some(ERROR_INSTALL_ALREADY_RUNNING) if Instant::now() < until => {
                tokio::time::sleep(MSI_AGAIN_AFTER).await;
            }
            code => return Err(format!("exit code {}", code.unwrap_or_default())),
        }
    }
}

/// Has the service manager start this version's program from now on: one value of the service's changes. The installed
/// file could not be replaced while it runs, and between two renames the service would have no program.
pub fn start_service_with(program: &mut Opened, _installation: &Path) -> Result<(), InstallError> {
    let service = open(&manager(ServiceManagerAccess::CONNECT)?, ServiceAccess::CHANGE_CONFIG)?;
    let service = service
        .ok_or_else(|| refused("opening the service", "there is no service of the agent".to_owned()))?;
    service
        .change_config(&service_info(program.path.clone()))
        .map_err(|error| manager_refused("changing the service's program", &error))
}

fn service_info(program: PathBuf) -> ServiceInfo {
    ServiceInfo {
        name: OsString::from(service::NAME),
        display_name: OsString::from(DISPLAY_NAME),
        service_type: ServiceType::OWN_PROCESS,
        start_type: ServiceStartType::AutoStart,
        error_control: ServiceErrorControl::Normal,
        // The library puts it in quotes: a path with spaces and without quotes runs whatever stands at C:\Program.exe.
        executable_path: program,
        launch_arguments: vec![OsString::from("service")],
        dependencies: Vec::new(),
        // The system's own account.
        account_name: None,
        account_password: None,
    }
}

/// What is not part of creating a service. A service manager that does not know one of these (Wine's) still runs the
/// agent, and that is said.
fn configure(service: &Service) -> Result<(), InstallError> {
    let restart = |delay| ServiceAction { action_type: ServiceActionType::Restart, delay };
    let recovery = ServiceFailureActions {
        reset_period: ServiceFailureResetPeriod::After(FORGIVE_AFTER),
        reboot_msg: None,
        command: None,
        actions: Some(RESTART_AFTER.map(restart).to_vec()),
    };
    let settings = [
        ("the service's description", service.set_description(DESCRIPTION)),
        ("the service's delayed start", service.set_delayed_auto_start(true)),
        ("restarting the service after a crash", service.update_failure_actions(recovery)),
        // A service that stops with an error failed just as one that crashed.
        ("restarting the service after an error", service.set_failure_actions_on_non_crash_failures(true)),
    ];
    for (what, set) in settings {
        match set {
            Err(error) if is(&error, ERROR_INVALID_LEVEL) => {
                tracing::warn!("this system's service manager does not know {what}");
            }
            set => set.map_err(|error| manager_refused(&format!("setting {what}"), &error))?,
        }
    }
    Ok(())
}

fn register_event_source() -> Result<(), InstallError> {
    event_log::register().map_err(|error| refused("registering the event source", error.to_string()))
}

fn unregister_event_source() -> Result<(), InstallError> {
    event_log::unregister().map_err(|error| refused("removing the event source", error.to_string()))
}

fn check_rights() -> Result<(), InstallError> {
    if os::is_elevated() { Ok(()) } else { Err(InstallError::NotElevated) }
}

fn manager(access: ServiceManagerAccess) -> Result<ServiceManager, InstallError> {
    ServiceManager::local_computer(None::<&str>, access)
        .map_err(|error| manager_refused("opening the service manager", &error))
}

/// The service, if there is one.
fn open(manager: &ServiceManager, access: ServiceAccess) -> Result<Option<Service>, InstallError> {
    match manager.open_service(service::NAME, access) {
        Err(error) if is(&error, ERROR_SERVICE_DOES_NOT_EXIST) => Ok(None),
        opened => opened.map(Some).map_err(|error| manager_refused("opening the service", &error)),
    }
}

/// Stops a service and waits until it has.
fn stop(service: &Service) -> Result<(), InstallError> {
    let failed = |error: Error| manager_refused("stopping the service", &error);
    match service.stop() {
        Err(error) if !is(&error, ERROR_SERVICE_NOT_ACTIVE) => return Err(failed(error)),
        _ => {}
    }
    let until = Instant::now() + STOPS_WITHIN;
    while service.query_status().map_err(failed)?.current_state != ServiceState::Stopped {
        if Instant::now() > until {
            return Err(refused("stopping the service", "it does not stop".to_owned()));
        }
        sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn is(error: &Error, code: u32) -> bool {
    matches!(error, Error::Winapi(error) if error.raw_os_error() == Some(code as i32))
}

fn manager_refused(request: &str, error: &Error) -> InstallError {
    let text = match error {
        Error::Winapi(cause) => cause.to_string(),
        other => other.to_string(),
    };
    refused(request, text)
}

fn refused(request: &str, output: String) -> InstallError {
    InstallError::ServiceManager { request: request.to_owned(), output }
}

fn remove(path: &Path) -> Result<(), InstallError> {
    let removed = retry(|| match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        // A link to a folder, whose removal leaves the folder alone.
        Ok(metadata) if metadata.is_symlink() => fs::remove_dir(path).or_else(|_| fs::remove_file(path)),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    });
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(InstallError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// A program's file stays in use until its process is gone altogether, a little after the service says it has stopped.
fn retry(mut attempt: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let until = Instant::now() + GONE_WITHIN;
    loop {
        match attempt() {
            Err(error) if error.kind() != io::ErrorKind::NotFound && Instant::now() < until => {
                sleep(Duration::from_millis(100));
            }
            result => return result,
        }
    }
}

/// A running program cannot remove its own file here: a command interpreter does it once this one has ended.
fn remove_after_end(folder: &Path) -> Result<(), InstallError> {
    let system = folders::system();
    let (ping, folder_text) = (system.join("ping.exe"), folder.display());
    let script = format!(
        "/d /q /c \"for /l %i in (1,1,30) do (if exist \"{folder_text}\" (\"{}\" -n 2 127.0.0.1 >nul & rmdir /s /q \
         \"{folder_text}\" 2>nul))\"",
        ping.display()
    );
    let started = Command::new(system.join("cmd.exe"))
        .raw_arg(script)
        .current_dir(&system)
        .creation_flags(CREATE_NO_WINDOW | CREATE_NEW_PROCESS_GROUP)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    started.map(drop).map_err(|source| InstallError::Io { path: folder.to_owned(), source })
}
