//! The service control manager, as far as a tech asks for it.
#![expect(unsafe_code, reason = "the system's calls about services")]

use super::wide::{text_at, wide};
use gururmm_protocol::tunnel::services::{ServiceState, Startup};
use std::io;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{
    ERROR_INSUFFICIENT_BUFFER, ERROR_MORE_DATA, ERROR_SERVICE_ALREADY_RUNNING, ERROR_SERVICE_DOES_NOT_EXIST,
    ERROR_SERVICE_NOT_ACTIVE,
};
use windows_sys::Win32::System::Services::{
    ChangeServiceConfig2W, ChangeServiceConfigW, CloseServiceHandle, ControlService,
    ENUM_SERVICE_STATUS_PROCESSW, EnumServicesStatusExW, OpenSCManagerW, OpenServiceW, QUERY_SERVICE_CONFIGW,
    QueryServiceConfig2W, QueryServiceConfigW, QueryServiceStatusEx, SC_ENUM_PROCESS_INFO, SC_HANDLE,
    SC_MANAGER_CONNECT, SC_MANAGER_ENUMERATE_SERVICE, SC_STATUS_PROCESS_INFO, SERVICE_AUTO_START,
    SERVICE_CHANGE_CONFIG, SERVICE_CONFIG_DELAYED_AUTO_START_INFO, SERVICE_CONTINUE_PENDING,
    SERVICE_CONTROL_STOP, SERVICE_DELAYED_AUTO_START_INFO, SERVICE_DEMAND_START, SERVICE_DISABLED,
    SERVICE_NO_CHANGE, SERVICE_PAUSE_PENDING, SERVICE_PAUSED, SERVICE_QUERY_CONFIG, SERVICE_QUERY_STATUS,
    SERVICE_RUNNING, SERVICE_START, SERVICE_START_PENDING, SERVICE_STATE_ALL, SERVICE_STATUS,
    SERVICE_STATUS_PROCESS, SERVICE_STOP, SERVICE_STOP_PENDING, SERVICE_STOPPED, SERVICE_WIN32,
    StartServiceW,
};

/// As large as the system lets a list or a configuration be at a time.
const MAX_BYTES: usize = 256 * 1024;

/// A service as it is.
#[derive(Debug, Clone)]
pub struct Found {
    pub name: String,
    pub display_name: String,
    pub state: ServiceState,
    pub startup: Option<Startup>,
    pub pid: Option<u32>,
    pub user: Option<String>,
}

struct Handle(SC_HANDLE);

impl Handle {
    fn of(handle: SC_HANDLE) -> io::Result<Self> {
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }

    fn manager() -> io::Result<Self> {
        // SAFETY: this machine, its usual database.
        Self::of(unsafe { OpenSCManagerW(null(), null(), SC_MANAGER_CONNECT | SC_MANAGER_ENUMERATE_SERVICE) })
    }

    fn service(manager: &Self, name: &str, rights: u32) -> io::Result<Self> {
        let name = wide(name);
        // SAFETY: the manager is open and the name ends with a NUL.
        Self::of(unsafe { OpenServiceW(manager.0, name.as_ptr(), rights) })
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed once.
        unsafe { CloseServiceHandle(self.0) };
    }
}

/// Whether there is no such service.
pub fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(ERROR_SERVICE_DOES_NOT_EXIST as i32)
}

/// All that are programs; drivers are none.
pub fn all() -> io::Result<Vec<Found>> {
    let manager = Handle::manager()?;
    // Aligned as the structures in it have to be.
    let mut buffer = vec![0u64; MAX_BYTES / 8];
    let mut resume = 0;
    let mut found = Vec::new();
    loop {
        let (mut needed, mut count) = (0, 0);
        // SAFETY: the buffer is as large as is said, and lives until its content was read below.
        let is_all = unsafe {
            EnumServicesStatusExW(
                manager.0,
                SC_ENUM_PROCESS_INFO,
                SERVICE_WIN32,
                SERVICE_STATE_ALL,
                buffer.as_mut_ptr().cast(),
                MAX_BYTES as u32,
                &mut needed,
                &mut count,
                &mut resume,
                null(),
            )
        } != 0;
        let error = io::Error::last_os_error();
        if !is_all && error.raw_os_error() != Some(ERROR_MORE_DATA as i32) {
            return Err(error);
        }
        for number in 0..count as usize {
            // SAFETY: the system wrote so many entries, whose texts are in the same buffer.
            let (name, display_name, status) = unsafe {
                let entry = &*buffer.as_ptr().cast::<ENUM_SERVICE_STATUS_PROCESSW>().add(number);
                (text_at(entry.lpServiceName), text_at(entry.lpDisplayName), entry.ServiceStatusProcess)
            };
            found.push(describe(&manager, name, display_name, status));
        }
        if is_all || count == 0 {
            return Ok(found);
        }
    }
}

/// One of them.
pub fn one(name: &str) -> io::Result<Found> {
    let manager = Handle::manager()?;
    let service = Handle::service(&manager, name, SERVICE_QUERY_STATUS)?;
    let mut status = SERVICE_STATUS_PROCESS::default();
    let mut needed = 0;
    // SAFETY: the structure is the one that goes with this class, as large as is said.
    let asked = unsafe {
        QueryServiceStatusEx(
            service.0,
            SC_STATUS_PROCESS_INFO,
            std::ptr::from_mut(&mut status).cast(),
            size_of_val(&status) as u32,
            &mut needed,
        )
    };
    if asked == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(describe(&manager, name.to_owned(), String::new(), status))
}

/// A service that forbids to be asked shows without what it would say.
fn describe(manager: &Handle, name: String, display_name: String, status: SERVICE_STATUS_PROCESS) -> Found {
    let config = config(manager, &name);
    let (startup, user, display) = config.unwrap_or_default();
    let display_name = [display_name, display.unwrap_or_default(), name.clone()];
    let state = match status.dwCurrentState {
        SERVICE_RUNNING => ServiceState::Running,
        SERVICE_STOPPED => ServiceState::Stopped,
        SERVICE_START_PENDING | SERVICE_CONTINUE_PENDING => ServiceState::Starting,
        SERVICE_STOP_PENDING => ServiceState::Stopping,
        SERVICE_PAUSED | SERVICE_PAUSE_PENDING => ServiceState::Paused,
        _ => ServiceState::Unknown,
    };
    Found {
        display_name: display_name.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
        name,
        state,
        startup,
        pid: Some(status.dwProcessId).filter(|pid| *pid > 0),
        user: user.filter(|user| !user.is_empty()),
    }
}

type Config = (Option<Startup>, Option<String>, Option<String>);

fn config(manager: &Handle, name: &str) -> Option<Config> {
    let service = Handle::service(manager, name, SERVICE_QUERY_CONFIG).ok()?;
    let mut needed = 0;
    // SAFETY: asks for the size only.
    unsafe { QueryServiceConfigW(service.0, null_mut(), 0, &mut needed) };
    let is_size = io::Error::last_os_error().raw_os_error() == Some(ERROR_INSUFFICIENT_BUFFER as i32);
    if !is_size || needed as usize > MAX_BYTES {
        return None;
    }
    let mut buffer = vec![0u64; (needed as usize).div_ceil(8)];
    let config = buffer.as_mut_ptr().cast::<QUERY_SERVICE_CONFIGW>();
    // SAFETY: the buffer is at least as large as is said, and its texts are read while it lives.
    let (start, user, display) = unsafe {
        if QueryServiceConfigW(service.0, config, needed, &mut needed) == 0 {
            return None;
        }
        ((*config).dwStartType, text_at((*config).lpServiceStartName), text_at((*config).lpDisplayName))
    };
    let startup = match start {
        SERVICE_AUTO_START if is_delayed(&service) => Startup::Delayed,
        SERVICE_AUTO_START => Startup::Automatic,
        SERVICE_DEMAND_START => Startup::Manual,
        SERVICE_DISABLED => Startup::Disabled,
        _ => Startup::Fixed,
    };
    Some((Some(startup), Some(user), Some(display)))
}

fn is_delayed(service: &Handle) -> bool {
    let mut info = SERVICE_DELAYED_AUTO_START_INFO::default();
    let mut needed = 0;
    // SAFETY: the structure is the one that goes with this class, as large as is said.
    let asked = unsafe {
        QueryServiceConfig2W(
            service.0,
            SERVICE_CONFIG_DELAYED_AUTO_START_INFO,
            std::ptr::from_mut(&mut info).cast(),
            size_of_val(&info) as u32,
            &mut needed,
        )
    };
    asked != 0 && info.fDelayedAutostart != 0
}

/// Has it started. One that runs already is as good as started.
pub fn start(name: &str) -> io::Result<()> {
    let service = Handle::service(&Handle::manager()?, name, SERVICE_START)?;
    // SAFETY: the service is open; there are no arguments.
    let started = unsafe { StartServiceW(service.0, 0, null()) };
    unless(started, ERROR_SERVICE_ALREADY_RUNNING)
}

/// Asks it to stop. One that does not run is as good as stopped.
pub fn stop(name: &str) -> io::Result<()> {
    let service = Handle::service(&Handle::manager()?, name, SERVICE_STOP)?;
    let mut status = SERVICE_STATUS::default();
    // SAFETY: the service is open.
    let stopped = unsafe { ControlService(service.0, SERVICE_CONTROL_STOP, &mut status) };
    unless(stopped, ERROR_SERVICE_NOT_ACTIVE)
}

fn unless(done: i32, harmless: u32) -> io::Result<()> {
    let error = io::Error::last_os_error();
    if done != 0 || error.raw_os_error() == Some(harmless as i32) { Ok(()) } else { Err(error) }
}

/// Changes when it starts.
pub fn set_startup(name: &str, startup: Startup) -> io::Result<()> {
    let kind = match startup {
        Startup::Automatic | Startup::Delayed => SERVICE_AUTO_START,
        Startup::Manual => SERVICE_DEMAND_START,
        Startup::Disabled => SERVICE_DISABLED,
        Startup::Fixed => return Err(io::ErrorKind::Unsupported.into()),
    };
    let service = Handle::service(&Handle::manager()?, name, SERVICE_CHANGE_CONFIG)?;
    let keep = SERVICE_NO_CHANGE;
    // SAFETY: the service is open; what is null is left as it is.
    let changed = unsafe {
        ChangeServiceConfigW(
            service.0,
            keep,
            kind,
            keep,
            null(),
            null(),
            null_mut(),
            null(),
            null(),
            null(),
            null(),
        )
    };
    if changed == 0 {
        return Err(io::Error::last_os_error());
    }
    if kind == SERVICE_AUTO_START {
        let delayed = i32::from(startup == Startup::Delayed);
        let info = SERVICE_DELAYED_AUTO_START_INFO { fDelayedAutostart: delayed };
        // SAFETY: the structure is the one that goes with this class.
        let changed = unsafe {
            ChangeServiceConfig2W(
                service.0,
                SERVICE_CONFIG_DELAYED_AUTO_START_INFO,
                std::ptr::from_ref(&info).cast(),
            )
        };
        // Only those that start by themselves have it, and Wine does not know it.
        if changed == 0 && startup == Startup::Delayed {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_found_and_one_that_is_not_there_is_missing() {
        let found = all().unwrap();
        let is_there =
            |found: &&Found| one(&found.name).is_ok_and(|one| one.display_name == found.display_name);
        assert!(found.iter().any(|found| is_there(&found)), "{found:?}");
        assert!(is_missing(&one("gururmm-no-such-service").unwrap_err()));
        assert!(is_missing(&start("gururmm-no-such-service").unwrap_err()));
    }
}
