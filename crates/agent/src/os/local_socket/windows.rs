//! Named pipes, which this machine's programs alone can open. The system refuses a name that somebody else made first,
//! the access list lets in one account, and that account cannot make a further instance of the pipe.
#![expect(unsafe_code, reason = "the system's calls about pipes and processes")]

use super::Peer;
use crate::os::user_session::UserSession;
use crate::os::windows::private::Descriptor;
use std::fs::OpenOptions;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, OwnedHandle, RawHandle};
use std::path::{Path, PathBuf};
use tokio::net::windows::named_pipe::{NamedPipeClient, NamedPipeServer, ServerOptions};
use uuid::Uuid;
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Storage::FileSystem::{
    FILE_APPEND_DATA, FILE_FLAG_OVERLAPPED, FILE_GENERIC_READ, FILE_GENERIC_WRITE, SECURITY_IDENTIFICATION,
};
use windows_sys::Win32::System::Pipes::{GetNamedPipeClientProcessId, GetNamedPipeClientSessionId};
use windows_sys::Win32::System::Threading::{
    GetProcessTimes, OpenProcess, PROCESS_QUERY_LIMITED_INFORMATION,
};

/// What the helper may do with its pipe. What appends to a file makes a further instance of a pipe.
const USE: u32 = (FILE_GENERIC_READ | FILE_GENERIC_WRITE) & !FILE_APPEND_DATA;
/// One that is connected, and one that waits.
const INSTANCES: usize = 2;

/// The watchdog's end of a connection.
pub type Stream = NamedPipeServer;

/// Waits for one process.
#[derive(Debug)]
pub struct Listener {
    address: PathBuf,
    descriptor: Descriptor,
    next: Option<NamedPipeServer>,
}

impl Listener {
    /// Under a name that nobody knows beforehand.
    pub fn open(_folder: &Path, _name: &str, session: &UserSession) -> io::Result<Self> {
        let address = PathBuf::from(format!(r"\\.\pipe\gururmm-{}", Uuid::new_v4()));
        let text = format!("D:P(A;;FA;;;SY)(A;;0x{USE:x};;;{})", session.account());
        let mut listener = Self { address, descriptor: Descriptor::from_text(&text)?, next: None };
        listener.next = Some(listener.instance(true)?);
        Ok(listener)
    }

    fn instance(&self, is_first: bool) -> io::Result<NamedPipeServer> {
        let mut attributes = self.descriptor.attributes();
        let mut options = ServerOptions::new();
        options.first_pipe_instance(is_first).reject_remote_clients(true).max_instances(INSTANCES);
        // SAFETY: the attributes and what they point to live until the call returns.
        unsafe {
            options.create_with_security_attributes_raw(
                &self.address,
                std::ptr::from_mut(&mut attributes).cast(),
            )
        }
    }

    /// What [`connect`] takes.
    pub fn address(&self) -> &Path {
        &self.address
    }

    /// The next connection, and whose it is; `None` where that cannot be told any more.
    pub async fn accept(&mut self) -> io::Result<(Stream, Option<Peer>)> {
        let waiting = match self.next.take() {
            Some(waiting) => waiting,
            None => self.instance(false)?,
        };
        let waiting = self.next.insert(waiting);
        waiting.connect().await?;
        let Some(connected) = self.next.take() else { return Err(io::ErrorKind::NotConnected.into()) };
        // Where two are connected, there is room again when one of them is gone.
        self.next = self.instance(false).ok();
        let peer = peer(&connected);
        Ok((connected, peer))
    }
}

impl Peer {
    /// The process that was started as `session`'s user and is held.
    pub fn started(pid: u32, session: &UserSession) -> io::Result<Self> {
        Ok(Self { pid, owner: session.session(), started: started(pid)? })
    }
}

fn peer(connected: &NamedPipeServer) -> Option<Peer> {
    let ask = |question: unsafe extern "system" fn(RawHandle, *mut u32) -> i32| {
        let mut answer = 0;
        // SAFETY: the handle is open, and the answer is a number.
        (unsafe { question(connected.as_raw_handle(), &mut answer) } != 0).then_some(answer)
    };
    let (pid, owner) = (ask(GetNamedPipeClientProcessId)?, ask(GetNamedPipeClientSessionId)?);
    Some(Peer { pid, owner, started: started(pid).ok()? })
}

/// When that process began: a `FILETIME`.
fn started(pid: u32) -> io::Result<u64> {
    // SAFETY: what comes back is checked, and then this function's to close.
    let process = unsafe {
        let handle = OpenProcess(PROCESS_QUERY_LIMITED_INFORMATION, 0, pid);
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        OwnedHandle::from_raw_handle(handle)
    };
    let mut times = [FILETIME::default(); 4];
    let [created, exited, kernel, user] = &mut times;
    // SAFETY: the handle is open, and the answers are four times.
    if unsafe { GetProcessTimes(process.as_raw_handle(), created, exited, kernel, user) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from(times[0].dwHighDateTime) << 32 | u64::from(times[0].dwLowDateTime))
}

/// Connects to a [`Listener`].
pub async fn connect(address: &Path) -> io::Result<NamedPipeClient> {
    let mut options = OpenOptions::new();
    options.access_mode(USE).custom_flags(FILE_FLAG_OVERLAPPED).security_qos_flags(SECURITY_IDENTIFICATION);
    let pipe = options.open(address)?;
    // SAFETY: a pipe that was opened for overlapped use, and nobody else's.
    unsafe { NamedPipeClient::from_raw_handle(pipe.into_raw_handle()) }
}
