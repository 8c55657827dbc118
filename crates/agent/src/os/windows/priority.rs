//! How much of the processor a process gets.
#![expect(unsafe_code, reason = "the system's calls about processes")]

use gururmm_protocol::tunnel::processes::Priority;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use windows_sys::Win32::System::Threading::{
    ABOVE_NORMAL_PRIORITY_CLASS, BELOW_NORMAL_PRIORITY_CLASS, GetPriorityClass, HIGH_PRIORITY_CLASS,
    IDLE_PRIORITY_CLASS, NORMAL_PRIORITY_CLASS, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
    PROCESS_SET_INFORMATION, REALTIME_PRIORITY_CLASS, SetPriorityClass,
};

/// `None`: the system does not say.
pub fn of(pid: u32) -> Option<Priority> {
    let process = open(pid, PROCESS_QUERY_LIMITED_INFORMATION).ok()?;
    // SAFETY: the handle is open and has the right that this takes.
    Some(match unsafe { GetPriorityClass(process.as_raw_handle()) } {
        IDLE_PRIORITY_CLASS => Priority::Lowest,
        BELOW_NORMAL_PRIORITY_CLASS => Priority::Low,
        NORMAL_PRIORITY_CLASS => Priority::Normal,
        ABOVE_NORMAL_PRIORITY_CLASS => Priority::High,
        HIGH_PRIORITY_CLASS | REALTIME_PRIORITY_CLASS => Priority::Highest,
        _ => return None,
    })
}

/// Changes it.
pub fn set(pid: u32, priority: Priority) -> io::Result<()> {
    let class = match priority {
        Priority::Lowest => IDLE_PRIORITY_CLASS,
        Priority::Low => BELOW_NORMAL_PRIORITY_CLASS,
        Priority::Normal => NORMAL_PRIORITY_CLASS,
        Priority::High => ABOVE_NORMAL_PRIORITY_CLASS,
        Priority::Highest => HIGH_PRIORITY_CLASS,
    };
    let process = open(pid, PROCESS_SET_INFORMATION)?;
    // SAFETY: the handle is open and has the right that this takes.
    let is_set = unsafe { SetPriorityClass(process.as_raw_handle(), class) };
    if is_set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn open(pid: u32, rights: u32) -> io::Result<OwnedHandle> {
    // SAFETY: what comes back is checked, and then this function's to give away.
    unsafe {
        let handle = OpenProcess(rights, 0, pid);
        if handle.is_null() {
            Err(io::Error::last_os_error())
        } else {
            Ok(OwnedHandle::from_raw_handle(handle))
        }
    }
}
