//! Asking a command to end: the event that Ctrl+Break raises on its console.
#![expect(unsafe_code, reason = "the system's calls about consoles")]

use std::io::{self, IsTerminal};
use std::sync::Mutex;
use windows_sys::Win32::System::Console::{
    AttachConsole, CTRL_BREAK_EVENT, FreeConsole, GenerateConsoleCtrlEvent,
};

/// A process has one console at a time.
static CONSOLE: Mutex<()> = Mutex::new(());

/// Asks the process group that `leader` leads to end. Every command has a console of its own; the event can only be
/// raised from there, and reaches that group alone.
pub(crate) fn interrupt(leader: u32) -> io::Result<()> {
    // An agent that a person started in a window keeps that window; its commands are ended without being asked.
    if io::stdin().is_terminal() || io::stdout().is_terminal() || io::stderr().is_terminal() {
        return Err(io::Error::other("this agent has a console of its own"));
    }
    let _one_at_a_time = CONSOLE.lock();
    // SAFETY: plain calls. The agent writes to no console, so it misses none.
    unsafe {
        FreeConsole();
        if AttachConsole(leader) == 0 {
            return Err(io::Error::last_os_error());
        }
        let raised = GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, leader);
        let error = io::Error::last_os_error();
        FreeConsole();
        if raised == 0 { Err(error) } else { Ok(()) }
    }
}
