//! One running postmaster: found by its pid file, known by more than its number, held by a pidfd.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::error::EmbeddedError;

/// A postmaster that was alive when this was made. A pidfd names one process for ever, so that a signal never
/// reaches another that was given the same number. Dropping this leaves PostgreSQL running.
#[derive(Debug)]
pub(super) struct Postmaster {
    pid: u32,
    pidfd: AsyncFd<OwnedFd>,
    child: Option<Child>,
}

/// What the pid file of a cluster leads to.
#[derive(Debug)]
pub(super) enum Found {
    /// The cluster's own postmaster.
    Living(Postmaster),
    /// No postmaster. `foreign_pid` is a process that has nothing to do with us and happens to bear the number of a
    /// postmaster that died without removing its file.
    Gone { foreign_pid: Option<u32> },
}

impl Postmaster {
    /// Looks for the postmaster of the cluster in `cluster`.
    pub fn find(cluster: &Path) -> Result<Found, EmbeddedError> {
        let pid_file = cluster.join("postmaster.pid");
        let failed = |e| EmbeddedError::io(format!("read {}", pid_file.display()), e);
        let mut text = Vec::new();
        match File::open(&pid_file).and_then(|file| file.take(4096).read_to_end(&mut text)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Found::Gone { foreign_pid: None }),
            Err(e) => return Err(failed(e)),
            Ok(_) => {}
        }
        let text = String::from_utf8_lossy(&text);
        let Some(pid) =
            text.lines().next().and_then(|line| line.trim().parse::<u32>().ok()).filter(|pid| *pid > 1)
        else {
            // A power cut can leave the file empty, and PostgreSQL then waits for someone to remove it.
            std::fs::remove_file(&pid_file).map_err(failed)?;
            return Ok(Found::Gone { foreign_pid: None });
        };
        let Some(postmaster) = Self::open(pid, None).map_err(failed)? else {
            return Ok(Found::Gone { foreign_pid: None });
        };
        if postmaster.works_in(cluster) {
            Ok(Found::Living(postmaster))
        } else {
            Ok(Found::Gone { foreign_pid: Some(pid) })
        }
    }

    /// Takes a postmaster that was just started.
    pub fn from_child(child: Child) -> Result<Self, EmbeddedError> {
        let pid = child.id();
        let opened = Self::open(pid, Some(child)).map_err(|e| EmbeddedError::io("watch PostgreSQL", e))?;
        // A child that is not waited for keeps its number, dead or alive.
        opened.ok_or(EmbeddedError::StopFailed { pid })
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Ends when the process has ended.
    pub async fn exited(&mut self) {
        // An error would mean that the pidfd cannot be polled, and `open` has registered it.
        let _ = self.pidfd.readable().await;
        if let Some(child) = &mut self.child {
            // Collects the child; it has ended, so that this returns at once.
            let _ = child.wait();
        }
    }

    /// Makes it read its settings again.
    pub fn reload(&self) {
        self.signal(Signal::HUP);
    }

    /// Ends it without a checkpoint; the next start replays the log.
    pub fn abort(&self) {
        self.signal(Signal::QUIT);
    }

    /// Stops it: clients are disconnected and a checkpoint is written. Where that takes too long the stop gets
    /// rougher, and the next start replays the log; what was committed stays.
    pub async fn stop(mut self) -> Result<(), EmbeddedError> {
        let steps = [(Signal::INT, 30), (Signal::QUIT, 10), (Signal::KILL, 5)];
        for (signal, seconds) in steps {
            self.signal(signal);
            // One that somebody stopped acts on nothing but KILL before it goes on.
            self.signal(Signal::CONT);
            if timeout(Duration::from_secs(seconds), self.exited()).await.is_ok() {
                return Ok(());
            }
            tracing::warn!(pid = self.pid, ?signal, seconds, "PostgreSQL does not stop");
        }
        Err(EmbeddedError::StopFailed { pid: self.pid })
    }

    fn signal(&self, signal: Signal) {
        // The only failure is that it has ended, which is what most signals want.
        let _ = pidfd_send_signal(self.pidfd.get_ref(), signal);
    }

    /// `None` where no process has that number.
    fn open(pid: u32, child: Option<Child>) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(fd) => {
                // SAFETY: an `OwnedFd` stays open, and the same descriptor, for as long as the `AsyncFd` owns it.
                #[expect(
                    unsafe_code,
                    reason = "tokio has no safe way to register a descriptor it does not know"
                )]
                let pidfd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?;
                Ok(Some(Self { pid, pidfd, child }))
            }
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Whether this is a PostgreSQL whose working folder is `cluster`, as every postmaster's is its cluster. A number
    /// alone proves nothing: after a restart of the machine it belongs to someone else.
    fn works_in(&self, cluster: &Path) -> bool {
        let process = Path::new("/proc").join(self.pid.to_string());
        let is_postgres = std::fs::read_link(process.join("exe")).is_ok_and(|exe| {
            // " (deleted)" follows the name after an upgrade of the package.
            exe.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"postgres"))
        });
        let same_folder = match (std::fs::metadata(process.join("cwd")), std::fs::metadata(cluster)) {
            (Ok(its), Ok(ours)) => (its.dev(), its.ino()) == (ours.dev(), ours.ino()),
            _ => false,
        };
        is_postgres && same_folder
    }
}
