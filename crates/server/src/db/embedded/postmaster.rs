//! One running postmaster: found by its pid file, known by more than its number, held by a pidfd.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal, test_kill_process};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::timeout;

use super::error::EmbeddedError;
use super::layout::Layout;
use super::settings;

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
    /// Looks for the postmaster of the cluster of `layout`.
    pub fn find(layout: &Layout) -> Result<Found, EmbeddedError> {
        let pid_file = layout.cluster.join("postmaster.pid");
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
        match Identity::of(pid, layout) {
            Identity::Ours => Ok(Found::Living(postmaster)),
            Identity::Stranger => Ok(Found::Gone { foreign_pid: Some(pid) }),
            Identity::Unknown => Err(EmbeddedError::Unrecognised { pid, folder: layout.cluster.clone() }),
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
}

/// Whose a process is. A number alone proves nothing: after a restart of the machine it belongs to someone else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// The cluster's postmaster.
    Ours,
    /// Certainly not.
    Stranger,
    /// It may be: neither a start nor a signal is safe.
    Unknown,
}

impl Identity {
    /// Whether `pid` is a PostgreSQL whose working folder is the cluster of `layout`, as every postmaster's is its
    /// cluster. Root without `CAP_SYS_PTRACE`, as in most containers, may not look at these two of PostgreSQL's user;
    /// then the command line says it.
    pub fn of(pid: u32, layout: &Layout) -> Self {
        let process = Path::new("/proc").join(pid.to_string());
        let works_in_cluster = || -> io::Result<bool> {
            let exe = std::fs::read_link(process.join("exe"))?;
            // " (deleted)" follows the name after an upgrade of the package.
            let is_postgres =
                exe.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"postgres"));
            Ok(is_postgres && is_same(&process.join("cwd"), &layout.cluster)?)
        };
        match works_in_cluster() {
            Ok(true) => Self::Ours,
            Ok(false) => Self::Stranger,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Self::as_told(&process, layout),
            // Where the processes of others are hidden (`hidepid`, `ProtectProc=`) there is nothing to see of it.
            Err(_) if !process.exists() && is_alive(pid) => Self::Unknown,
            Err(_) => Self::Stranger,
        }
    }

    /// From what everyone may know of a process: its owner and its command line.
    fn as_told(process: &Path, layout: &Layout) -> Self {
        let facts = || -> io::Result<(bool, Vec<u8>)> {
            let is_of_owner = std::fs::metadata(process)?.uid() == std::fs::metadata(&layout.cluster)?.uid();
            let mut command_line = Vec::new();
            File::open(process.join("cmdline"))?.take(64 * 1024).read_to_end(&mut command_line)?;
            Ok((is_of_owner, command_line))
        };
        match facts() {
            // PostgreSQL starts as the owner of its cluster only.
            Ok((false, _)) => Self::Stranger,
            Ok((true, command_line)) => Self::from_command_line(&command_line, layout),
            Err(_) => Self::Unknown,
        }
    }

    fn from_command_line(command_line: &[u8], layout: &Layout) -> Self {
        let arguments: Vec<&OsStr> = command_line.split(|byte| *byte == 0).map(OsStr::from_bytes).collect();
        let Some((program, arguments)) = arguments.split_first() else { return Self::Stranger };
        let name = Path::new(program).file_name().unwrap_or_default().as_bytes();
        // Empty once it has ended; `postgres: checkpointer` and the like are a postmaster's children.
        if !name.starts_with(b"postgres") || program.as_bytes().starts_with(b"postgres:") {
            return Self::Stranger;
        }
        if arguments.contains(&settings::config_file(layout).as_os_str()) {
            return Self::Ours;
        }
        // Not ours by its settings: the system's own, or one that somebody started by hand.
        let mut rest = arguments.iter().skip_while(|argument| **argument != "-D").skip(1).map(Path::new);
        match rest.next().filter(|folder| folder.is_absolute() && !folder.starts_with("/proc")) {
            Some(folder) => match is_same(folder, &layout.cluster) {
                Ok(true) => Self::Ours,
                Ok(false) => Self::Stranger,
                Err(_) => Self::Unknown,
            },
            None => Self::Unknown,
        }
    }
}

fn is_same(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (std::fs::metadata(one)?, std::fs::metadata(other)?);
    Ok((one.dev(), one.ino()) == (other.dev(), other.ino()))
}

/// Whether a process bears this number, seen or not.
fn is_alive(pid: u32) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid) != Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    #[test]
    fn the_command_line_tells_our_postmaster_from_others() {
        let (ours, theirs) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let layout = Layout::of(ours.path()).unwrap();
        std::fs::create_dir_all(&layout.cluster).unwrap();
        let config = settings::config_file(&layout).into_string().unwrap();
        let other_config = settings::config_file(&Layout::of(theirs.path()).unwrap()).into_string().unwrap();
        let (cluster, elsewhere) = (layout.cluster.to_str().unwrap(), theirs.path().to_str().unwrap());
        let postgres = "/usr/lib/postgresql/15/bin/postgres";
        let inherited = "/proc/self/fd/9";
        for (expected, line) in [
            (Identity::Ours, &[postgres, "-D", inherited, "-c", &config][..]),
            (Identity::Ours, &["postgres", "-D", cluster]),
            (Identity::Stranger, &[postgres, "-D", elsewhere, "-c", "config_file=/etc/postgresql/main.conf"]),
            (Identity::Stranger, &["sleep", "60"]),
            (Identity::Stranger, &["/usr/bin/vim", &config]),
            (Identity::Stranger, &["postgres: checkpointer "]),
            (Identity::Stranger, &["postgres: 15/main: walwriter "]),
            (Identity::Stranger, &[]),
            (Identity::Unknown, &[postgres, "-D", inherited, "-c", &other_config]),
            (Identity::Unknown, &[postgres, "-D", "."]),
            (Identity::Unknown, &[postgres, "-D", "/nonexistent/cluster"]),
            (Identity::Unknown, &[postgres]),
        ] {
            let bytes: Vec<u8> =
                line.iter().flat_map(|argument| [argument.as_bytes(), b"\0"].concat()).collect();
            assert_eq!(Identity::from_command_line(&bytes, &layout), expected, "{line:?}");
        }
    }
}
