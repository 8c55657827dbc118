//! Windows' own log. The source is registered when the agent is installed; without it, events are written all the same
//! and shown with a remark.
#![expect(unsafe_code, reason = "the system's calls")]

use super::registry;
use super::wide::wide;
use std::io;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::EventLog::{
    DeregisterEventSource, EVENTLOG_ERROR_TYPE, EVENTLOG_INFORMATION_TYPE, EVENTLOG_WARNING_TYPE,
    REPORT_EVENT_TYPE, RegisterEventSourceW, ReportEventW,
};

/// What events name as their source.
pub const SOURCE: &str = "GuruRMM";
const KEY: &str = r"SYSTEM\CurrentControlSet\Services\EventLog\Application\GuruRMM";
/// A program of every Windows whose messages 1 to 1000 are the event's own text and nothing else.
const MESSAGES: &str = r"%SystemRoot%\System32\EventCreate.exe";
const EVENT_ID: u32 = 1;
/// The system's limit is 31,839 characters; nothing the agent says is near it.
const MAX_CHARS: usize = 8 * 1024;

/// Makes the source known, so that the viewer shows events as they were written.
pub fn register() -> io::Result<()> {
    registry::write_expandable(KEY, "EventMessageFile", MESSAGES)?;
    let types = EVENTLOG_ERROR_TYPE | EVENTLOG_WARNING_TYPE | EVENTLOG_INFORMATION_TYPE;
    registry::write_number(KEY, "TypesSupported", types.into())
}

/// Takes the source away; events that were written stay.
pub fn unregister() -> io::Result<()> {
    registry::remove(KEY)
}

/// An open source.
#[derive(Debug)]
pub struct EventLog(HANDLE);

// SAFETY: the handle names a connection to the log's service, which takes events from any thread.
unsafe impl Send for EventLog {}
// SAFETY: as above; nothing is kept in this process that two calls could disturb.
unsafe impl Sync for EventLog {}

/// How bad an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Something failed.
    Error,
    /// Something may fail.
    Warning,
    /// Something happened.
    Information,
}

impl EventLog {
    /// Opens the agent's source.
    pub fn open() -> io::Result<Self> {
        let source = wide(SOURCE);
        // SAFETY: the name ends with a NUL; no server stands for this machine.
        let handle = unsafe { RegisterEventSourceW(null(), source.as_ptr()) };
        if handle.is_null() { Err(io::Error::last_os_error()) } else { Ok(Self(handle)) }
    }

    /// Writes an event.
    pub fn write(&self, severity: Severity, text: &str) -> io::Result<()> {
        let kind: REPORT_EVENT_TYPE = match severity {
            Severity::Error => EVENTLOG_ERROR_TYPE,
            Severity::Warning => EVENTLOG_WARNING_TYPE,
            Severity::Information => EVENTLOG_INFORMATION_TYPE,
        };
        let text: String = text.chars().take(MAX_CHARS).collect();
        let text = wide(text);
        let strings = [text.as_ptr()];
        // SAFETY: the handle is open; there is one string, which ends with a NUL and lives until the call returns.
        let written =
            unsafe { ReportEventW(self.0, kind, 0, EVENT_ID, null_mut(), 1, 0, strings.as_ptr(), null()) };
        if written == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for EventLog {
    fn drop(&mut self) {
        // SAFETY: opened by this, closed once.
        unsafe { DeregisterEventSource(self.0) };
    }
}
