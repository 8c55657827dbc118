//! A NATS server for servers that work together, which can be taken away and come back. Killed when dropped.

use crate::stack::{free_address, wait_for};
use anyhow::Context as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running `nats-server`, or one that is away.
pub struct Nats {
    program: PathBuf,
    config: PathBuf,
    address: SocketAddr,
    token: String,
    process: Option<Child>,
}

impl Nats {
    /// On a free port of loopback, with its configuration in `folder`.
    ///
    /// # Errors
    /// It is not installed below `root`, or does not start.
    pub fn start(root: &Path, folder: &Path) -> anyhow::Result<Self> {
        let program = root.join("target/tools/nats-server/bin/nats-server");
        anyhow::ensure!(
            program.is_file(),
            "nats-server is not installed: ./dev chaos and ./dev bench do that"
        );
        fs::create_dir_all(folder)?;
        let address = free_address()?;
        let token = format!("nats-{:032x}", rand::random::<u128>());
        let config = folder.join("nats.conf");
        fs::write(&config, format!("listen: {address}\nauthorization {{ token: \"{token}\" }}\n"))?;
        fs::set_permissions(&config, fs::Permissions::from_mode(0o600))?;
        let mut nats = Self { program, config, address, token, process: None };
        nats.come_back()?;
        Ok(nats)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What lets a node in.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// kill -9 of it.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut process) = self.process.take() {
            process.kill()?;
            process.wait()?;
        }
        Ok(())
    }

    /// Starts it where it was, unless it runs; it remembers nothing.
    ///
    /// # Errors
    /// It does not start.
    pub fn come_back(&mut self) -> anyhow::Result<()> {
        if self.process.is_some() {
            return Ok(());
        }
        let process = Command::new(&self.program)
            .arg("--config")
            .arg(&self.config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("cannot start nats-server")?;
        self.process = Some(process);
        wait_for("nats-server", Duration::from_secs(30), || TcpStream::connect(self.address).ok()).map(drop)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if self.kill().is_err() {
            eprintln!("[WARNING] nats-server cannot be killed");
        }
    }
}
