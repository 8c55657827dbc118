//! Processes of this account's, which the runtime starts and waits for, and processes of a user's, which it cannot.
#![expect(unsafe_code, reason = "the system's calls about processes")]

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::windows::io::{AsRawHandle, OwnedHandle, RawHandle};
use std::os::windows::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use windows_sys::Win32::Foundation::WAIT_OBJECT_0;
use windows_sys::Win32::System::Threading::{
    GetExitCodeProcess, INFINITE, TerminateProcess, WaitForSingleObject,
};

/// What a process that was made to end says.
const ENDED: u32 = 1;

/// A process that was started; ended when it is dropped, as those of the runtime that are told so.
#[derive(Debug)]
pub struct Process {
    /// To its input, if that is fed.
    pub stdin: Option<ChildStdin>,
    /// From its output, if that is read.
    pub stdout: Option<ChildStdout>,
    /// From its other output.
    pub stderr: Option<ChildStderr>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Own(Child),
    Users(Started),
}

/// A process that was started by the system's own call.
#[derive(Debug)]
pub(in crate::os) struct Started {
    pub handle: Arc<OwnedHandle>,
    pub pid: u32,
    /// Takes a thread until the process ends.
    waiting: Option<JoinHandle<io::Result<()>>>,
    has_ended: bool,
}

/// Starts a process of this account's.
pub fn spawn(command: &mut Command) -> io::Result<Process> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    Ok(Process { stdin, stdout, stderr, kind: Kind::Own(child) })
}

/// The program of this process, and what to execute as long as it is held.
pub fn own_program() -> io::Result<(File, OsString)> {
    let path = std::env::current_exe()?;
    Ok((File::open(&path)?, path.into_os_string()))
}

impl Process {
    pub(in crate::os) fn users(
        started: Started,
        stdin: Option<ChildStdin>,
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
    ) -> Self {
        Self { stdin, stdout, stderr, kind: Kind::Users(started) }
    }

    /// Its number, until it was waited for.
    pub fn id(&self) -> Option<u32> {
        match &self.kind {
            Kind::Own(child) => child.id(),
            Kind::Users(started) => (!started.has_ended).then_some(started.pid),
        }
    }

    pub(in crate::os) fn raw_handle(&self) -> Option<RawHandle> {
        match &self.kind {
            Kind::Own(child) => child.raw_handle(),
            Kind::Users(started) => Some(started.handle.as_raw_handle()),
        }
    }

    /// Its end. To be asked again and again; nothing is lost when the answer is not waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        match &mut self.kind {
            Kind::Own(child) => child.wait().await,
            Kind::Users(started) => started.wait().await,
        }
    }

    /// Makes it end.
    pub fn start_kill(&mut self) -> io::Result<()> {
        match &mut self.kind {
            Kind::Own(child) => child.start_kill(),
            Kind::Users(started) => started.kill(),
        }
    }

    /// Makes it end, and waits until it has.
    pub async fn kill(&mut self) -> io::Result<()> {
        self.start_kill()?;
        self.wait().await.map(drop)
    }
}

impl Started {
    pub(in crate::os) fn new(handle: OwnedHandle, pid: u32) -> Self {
        Self { handle: Arc::new(handle), pid, waiting: None, has_ended: false }
    }

    /// Its end. To be asked again and again; nothing is lost when the answer is not waited for.
    pub(in crate::os) async fn wait(&mut self) -> io::Result<ExitStatus> {
        if !self.has_ended {
            let waiting = self.waiting.get_or_insert_with(|| {
                let handle = Arc::clone(&self.handle);
                tokio::task::spawn_blocking(move || wait_for(&handle))
            });
            let waited = waiting.await;
            self.waiting = None;
            waited.map_err(io::Error::other).flatten()?;
            self.has_ended = true;
        }
        let mut code = 0;
        // SAFETY: the handle is open.
        if unsafe { GetExitCodeProcess(self.handle.as_raw_handle(), &mut code) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(ExitStatus::from_raw(code))
    }

    fn kill(&self) -> io::Result<()> {
        if self.has_ended {
            return Ok(());
        }
        // SAFETY: the handle is open.
        let ended = unsafe { TerminateProcess(self.handle.as_raw_handle(), ENDED) };
        if ended == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // One that ended refuses.
        let _ = self.kill();
    }
}

fn wait_for(process: &OwnedHandle) -> io::Result<()> {
    // SAFETY: the handle is open as long as this has it.
    let waited = unsafe { WaitForSingleObject(process.as_raw_handle(), INFINITE) };
    if waited == WAIT_OBJECT_0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
