//! What an agent of a chaos run lives in: a line of its own, a clock of its own, and where this process may mount one, a
//! small disk of its own. And where several servers meet.

use super::link::{Link, Weather};
use crate::nats::Nats;
use crate::stack::Surroundings;
use anyhow::Context as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// More than an agent needs.
const DISK_BYTES: u64 = 64 * 1024 * 1024;

/// The world of one agent.
pub struct World {
    pub link: Link,
    pub clock: Clock,
    pub disk: Option<Disk>,
}

impl World {
    /// A new world in `folder`, from which the servers are reached.
    ///
    /// # Errors
    /// A part of it cannot be made.
    pub fn new(folder: &Path, servers: Vec<SocketAddr>) -> anyhow::Result<Self> {
        fs::create_dir_all(folder)?;
        let (link, clock) = (Link::to(servers)?, Clock::new(folder.join("clock"))?);
        Ok(Self { link, clock, disk: Disk::mount(&folder.join("disk"), DISK_BYTES)? })
    }

    /// How an agent is started in it.
    pub fn surroundings(&self) -> Surroundings {
        Surroundings {
            server: Some(self.link.address()),
            state_dir: self.disk.as_ref().map(|disk| disk.folder.join("state")),
            environment: self.clock.environment(),
        }
    }

    /// All as it should be.
    ///
    /// # Errors
    /// The disk cannot be emptied.
    pub fn calm(&self) -> anyhow::Result<()> {
        self.link.set(Weather::Fair);
        self.disk.as_ref().map_or(Ok(()), Disk::empty)
    }
}

/// NATS, with a line to it for each server.
pub struct Meeting {
    pub nats: Nats,
    pub lines: Vec<Link>,
}

impl Meeting {
    /// For so many servers.
    ///
    /// # Errors
    /// NATS is not installed, or does not start.
    pub fn new(root: &Path, folder: &Path, servers: usize) -> anyhow::Result<Self> {
        let nats = Nats::start(root, folder)?;
        let lines = (0..servers).map(|_| Link::to(vec![nats.address()])).collect::<Result<_, _>>()?;
        Ok(Self { nats, lines })
    }

    /// All as it should be.
    ///
    /// # Errors
    /// NATS does not start.
    pub fn calm(&mut self) -> anyhow::Result<()> {
        self.lines.iter().for_each(|line| line.set(Weather::Fair));
        self.nats.come_back()
    }
}

/// The clock that the agent sees.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    fn new(file: PathBuf) -> anyhow::Result<Self> {
        let folders = fs::read_dir("/usr/lib")?.flatten();
        let library = folders
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .context("no libfaketime: install Debian's package faketime, as ./dev chaos does")?;
        let clock = Self { library, file };
        clock.set(0)?;
        Ok(clock)
    }

    /// From now on it is so many seconds ahead of the server's.
    ///
    /// # Errors
    /// It cannot be set.
    pub fn set(&self, seconds: i64) -> anyhow::Result<()> {
        let new = self.file.with_extension("new");
        fs::write(&new, format!("{seconds:+}"))?;
        Ok(fs::rename(new, &self.file)?)
    }

    fn environment(&self) -> Vec<(&'static str, std::ffi::OsString)> {
        vec![
            ("LD_PRELOAD", self.library.clone().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
        ]
    }
}

/// A file system in memory that is full whenever that is wanted.
pub struct Disk {
    folder: PathBuf,
    bytes: u64,
}

impl Disk {
    /// `None` where this process may not mount: then the run is one without full disks.
    ///
    /// # Errors
    /// There is no folder to mount it at.
    pub fn mount(folder: &Path, bytes: u64) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes},mode=0755"), "chaos"])
            .arg(folder)
            .stderr(Stdio::null())
            .status()?;
        Ok(mounted.success().then(|| Self { folder: folder.to_owned(), bytes }))
    }

    /// Nothing more can be written to it.
    ///
    /// # Errors
    /// Its size cannot be changed.
    pub fn fill(&self) -> anyhow::Result<()> {
        let output =
            Command::new("df").args(["--block-size=1", "--output=used"]).arg(&self.folder).output()?;
        let used = String::from_utf8(output.stdout)?;
        let used = used.lines().nth(1).and_then(|line| line.trim().parse().ok());
        self.resize(used.context("df did not say what is used")?)
    }

    /// There is room again.
    ///
    /// # Errors
    /// Its size cannot be changed.
    pub fn empty(&self) -> anyhow::Result<()> {
        self.resize(self.bytes)
    }

    fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        let size = format!("remount,size={}", bytes.max(4_096));
        let output = Command::new("mount").args(["-o", &size]).arg(&self.folder).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        anyhow::ensure!(output.status.success(), "{} cannot be resized: {said}", self.folder.display());
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: whoever still has a file open there keeps it until then.
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("[WARNING] {} stays mounted", self.folder.display());
        }
    }
}
