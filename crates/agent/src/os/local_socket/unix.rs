//! Unix sockets in a folder that only the agent's account can change. The socket itself is its one user's, so that nobody
//! else comes as far as being asked who it is.

use super::Peer;
use crate::os::process_tree;
use crate::os::user_session::UserSession;
use rustix::fs::{Mode, chmod, chown};
use rustix::process::geteuid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// The two ends of a connection are alike.
pub type Stream = UnixStream;

/// Waits for one process.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// In `folder`, which nobody else can change; what has the name there is a leftover.
    pub fn open(folder: &Path, name: &str, session: &UserSession) -> io::Result<Self> {
        let path = folder.join(format!("{name}.sock"));
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = Self { listener: UnixListener::bind(&path)?, path };
        chmod(&listener.path, Mode::RUSR | Mode::WUSR)?;
        if geteuid().is_root() {
            chown(&listener.path, Some(session.uid()), None)?;
        }
        Ok(listener)
    }

    /// What [`connect`] takes.
    pub fn address(&self) -> &Path {
        &self.path
    }

    /// The next connection, and whose it is; `None` where that cannot be told any more.
    pub async fn accept(&mut self) -> io::Result<(Stream, Option<Peer>)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = peer(&stream);
        Ok((stream, peer))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, "a socket cannot be removed");
        }
    }
}

impl Peer {
    /// The process that was started as `session`'s user and was not waited for yet.
    pub fn started(pid: u32, session: &UserSession) -> io::Result<Self> {
        let started = process_tree::started(pid).ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { pid, owner: session.uid().as_raw(), started })
    }
}

fn peer(stream: &Stream) -> Option<Peer> {
    let credentials = stream.peer_cred().ok()?;
    let pid = u32::try_from(credentials.pid()?).ok()?;
    Some(Peer { pid, owner: credentials.uid(), started: process_tree::started(pid)? })
}

/// Connects to a [`Listener`] of root's, or of this process's own account.
pub async fn connect(address: &Path) -> io::Result<Stream> {
    let stream = UnixStream::connect(address).await?;
    let owner = stream.peer_cred()?.uid();
    if owner != 0 && owner != geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "the socket is another account's"));
    }
    Ok(stream)
}
