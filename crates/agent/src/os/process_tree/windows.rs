//! A job object per command: nothing that a process starts gets out of it, and all of it ends when the agent does.
//!
//! So there are no leftovers of an agent that died, and no marks to look for.
#![expect(unsafe_code, reason = "the system's calls about jobs and threads")]

use super::{ProcessTree, Severity};
use crate::os::{self, Unsupported};
use gururmm_protocol::CommandId;
use std::collections::HashMap;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::os::windows::process::CommandExt;
use std::process::Command;
use std::ptr::{null, null_mut};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use windows_sys::Win32::Foundation::INVALID_HANDLE_VALUE;
use windows_sys::Win32::System::Diagnostics::ToolHelp::{
    CreateToolhelp32Snapshot, TH32CS_SNAPTHREAD, THREADENTRY32, Thread32First, Thread32Next,
};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_BASIC_ACCOUNTING_INFORMATION, JOBOBJECT_EXTENDED_LIMIT_INFORMATION,
    JobObjectBasicAccountingInformation, JobObjectExtendedLimitInformation, QueryInformationJobObject,
    SetInformationJobObject, TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{
    CREATE_SUSPENDED, OpenThread, ResumeThread, THREAD_SUSPEND_RESUME,
};

/// The jobs of the commands that run.
static JOBS: LazyLock<Mutex<HashMap<CommandId, Arc<Job>>>> = LazyLock::new(Mutex::default);
/// What a process that was made to end says.
const ENDED: u32 = 1;

/// The job of one command.
#[derive(Debug)]
pub struct Enclosure {
    command_id: CommandId,
    job: Arc<Job>,
}

impl Enclosure {
    /// Makes the job, and has `command` start asleep, so that it does nothing before it is in it.
    pub fn around(command_id: CommandId, command: &mut Command) -> Option<Self> {
        let job =
            Job::new().inspect_err(|error| tracing::warn!(%command_id, %error, "a command gets no job"));
        let job = Arc::new(job.ok()?);
        command.creation_flags(os::COMMAND_FLAGS | CREATE_SUSPENDED);
        jobs().insert(command_id, Arc::clone(&job));
        Some(Self { command_id, job })
    }

    /// Takes the started process in and wakes it.
    pub fn take_in(&self, child: &os::Process) -> io::Result<()> {
        let (Some(handle), Some(pid)) = (child.raw_handle(), child.id()) else { return Ok(()) };
        // SAFETY: both handles are open; the process sleeps and has started nothing yet.
        if unsafe { AssignProcessToJobObject(self.job.0.as_raw_handle(), handle) } == 0 {
            let error = io::Error::last_os_error();
            tracing::warn!(command_id = %self.command_id, %error, "a command runs outside its job");
            jobs().remove(&self.command_id);
        }
        wake(pid)
    }
}

impl Drop for Enclosure {
    fn drop(&mut self) {
        jobs().remove(&self.command_id);
        // What a command left running when it ended goes on, as a service's start script wants.
        if self.job.active().is_ok_and(|active| active > 0)
            && let Err(error) = self.job.kill_on_close(false)
        {
            tracing::warn!(command_id = %self.command_id, %error, "what a command left running will be ended");
        }
    }
}

pub(super) fn signal(tree: &ProcessTree, severity: Severity) -> io::Result<usize> {
    let Some(job) = job_of(tree)? else { return Ok(0) };
    match (severity, tree.leader) {
        (Severity::Terminate, Some(leader)) => {
            if let Err(error) = os::interrupt(leader) {
                tracing::debug!(command_id = %tree.command_id, %error, "a command cannot be asked to end");
            }
        }
        // Nobody is left who could be asked.
        (Severity::Terminate, None) => {}
        (Severity::Kill, _) => job.terminate()?,
    }
    job.active()
}

pub(super) fn count(tree: &ProcessTree) -> io::Result<usize> {
    job_of(tree)?.map_or(Ok(0), |job| job.active())
}

/// The command's job. A command of an agent that died has none, and no processes either.
fn job_of(tree: &ProcessTree) -> io::Result<Option<Arc<Job>>> {
    let job = jobs().get(&tree.command_id).cloned();
    if job.is_none() && tree.leader.is_some() {
        let unsupported = Unsupported::here("the command runs outside a job");
        return Err(io::Error::new(io::ErrorKind::Unsupported, unsupported));
    }
    Ok(job)
}

fn jobs() -> MutexGuard<'static, HashMap<CommandId, Arc<Job>>> {
    // Every change is one call.
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// When the last handle goes, the processes in it are ended.
#[derive(Debug)]
pub(in crate::os) struct Job(OwnedHandle);

impl Job {
    pub(in crate::os) fn new() -> io::Result<Self> {
        // SAFETY: no name and no attributes: it is this process's alone, and is not inherited.
        let handle = unsafe { CreateJobObjectW(null(), null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, and nobody else's.
        let job = Self(unsafe { OwnedHandle::from_raw_handle(handle) });
        job.kill_on_close(true)?;
        Ok(job)
    }

    fn kill_on_close(&self, is_wanted: bool) -> io::Result<()> {
        let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
        if is_wanted {
            limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
        }
        // SAFETY: the structure is the one that goes with this class, as large as is said.
        let set = unsafe {
            SetInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectExtendedLimitInformation,
                std::ptr::from_ref(&limits).cast(),
                size_of_val(&limits) as u32,
            )
        };
        if set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// How many processes in it live.
    pub(in crate::os) fn active(&self) -> io::Result<usize> {
        let mut accounts = JOBOBJECT_BASIC_ACCOUNTING_INFORMATION::default();
        // SAFETY: the structure is the one that goes with this class, as large as is said.
        let asked = unsafe {
            QueryInformationJobObject(
                self.0.as_raw_handle(),
                JobObjectBasicAccountingInformation,
                std::ptr::from_mut(&mut accounts).cast(),
                size_of_val(&accounts) as u32,
                null_mut(),
            )
        };
        if asked == 0 { Err(io::Error::last_os_error()) } else { Ok(accounts.ActiveProcesses as usize) }
    }

    /// Takes a process in that has started nothing yet.
    pub(in crate::os) fn take_in(&self, process: &OwnedHandle) -> io::Result<()> {
        // SAFETY: both handles are open.
        if unsafe { AssignProcessToJobObject(self.0.as_raw_handle(), process.as_raw_handle()) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(())
    }

    /// Ends all that is in it.
    pub(in crate::os) fn terminate(&self) -> io::Result<()> {
        // SAFETY: the handle is open.
        let ended = unsafe { TerminateJobObject(self.0.as_raw_handle(), ENDED) };
        if ended == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// Wakes the one thread of a process that was started asleep.
pub(in crate::os) fn wake(pid: u32) -> io::Result<()> {
    // SAFETY: takes no memory; what comes back is checked, and then this function's to close.
    let snapshot = unsafe {
        let handle = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
        if handle == INVALID_HANDLE_VALUE {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(handle)
    };
    let mut entry = THREADENTRY32 { dwSize: size_of::<THREADENTRY32>() as u32, ..THREADENTRY32::default() };
    // SAFETY: the snapshot is open and the entry says how large it is.
    let mut is_there = unsafe { Thread32First(snapshot.as_raw_handle(), &mut entry) } != 0;
    while is_there && entry.th32OwnerProcessID != pid {
        // SAFETY: as above.
        is_there = unsafe { Thread32Next(snapshot.as_raw_handle(), &mut entry) } != 0;
    }
    if !is_there {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the new process has no thread"));
    }
    // SAFETY: what comes back is checked, and then this function's to close.
    let thread = unsafe {
        let handle = OpenThread(THREAD_SUSPEND_RESUME, 0, entry.th32ThreadID);
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(handle)
    };
    // SAFETY: the handle is open and has the right that this takes.
    if unsafe { ResumeThread(thread.as_raw_handle()) } == u32::MAX {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::folders;
    use std::time::{Duration, Instant};

    #[tokio::test]
    async fn all_that_a_command_starts_is_counted_and_ended() {
        let command_id = CommandId::new();
        let mut command = tokio::process::Command::new(folders::system().join("cmd.exe"));
        command.raw_arg("/d /c \"start /b ping -n 300 127.0.0.1 >nul & ping -n 300 127.0.0.1 >nul\"");
        let enclosure = Enclosure::around(command_id, command.as_std_mut()).unwrap();
        let mut child = os::spawn(&mut command).unwrap();
        let tree = ProcessTree { command_id, leader: child.id() };
        assert_eq!(count(&tree).unwrap(), 0, "it is not in its job yet");
        enclosure.take_in(&child).unwrap();
        let until = Instant::now() + Duration::from_secs(20);
        while count(&tree).unwrap() < 3 {
            assert!(Instant::now() < until, "{} processes", count(&tree).unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        signal(&tree, Severity::Kill).unwrap();
        child.wait().await.unwrap();
        while count(&tree).unwrap() > 0 {
            assert!(Instant::now() < until, "{} processes", count(&tree).unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        drop(enclosure);
        // A command nobody knows has no processes; one that runs without a job is said not to have one.
        assert_eq!(count(&ProcessTree { command_id, leader: None }).unwrap(), 0);
        assert!(count(&ProcessTree { command_id, leader: Some(1) }).is_err());
    }
}
