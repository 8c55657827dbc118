//! Processes of `gururmm-fleet` against a [`Stack`]: seeded agents that are connected, and what they did.

use crate::reporter::Reporter;
use crate::stack::{Stack, wait_for};
use anyhow::Context as _;
use serde::de::DeserializeOwned;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Agents of one process: sockets count against its limit of open files.
const PER_PROCESS: usize = 15_000;

/// The fleet of one stack, connected until it is dropped.
pub struct Fleet {
    processes: Vec<Reporter>,
}

/// Where a seeded fleet connects.
pub struct Target {
    /// Of several, each agent begins with one and goes to the next where it is not taken.
    pub urls: Vec<String>,
    /// The data folder of the server whose database it was seeded into.
    pub data_dir: PathBuf,
    /// The file of its CA, where the URLs are https.
    pub ca_file: Option<PathBuf>,
}

impl Target {
    /// The stack's server.
    pub fn of(stack: &Stack) -> Self {
        Self { urls: vec![stack.url()], data_dir: stack.data_dir(), ca_file: stack.ca_file() }
    }
}

/// How the fleet is to behave: options of `gururmm-fleet load`.
pub type Manner<'a> = &'a [&'a str];

/// Writes `machines` enrolled agents into the stack's database.
///
/// # Errors
/// When the program is not in `bin_dir`, or fails.
pub fn seed(stack: &Stack, bin_dir: &Path, machines: usize) -> anyhow::Result<()> {
    let status = Command::new(program(bin_dir)?)
        .args(["seed", "--machines", &machines.to_string(), "--data-dir"])
        .arg(stack.data_dir())
        .env("GURURMM_DATABASE_URL", stack.database_url()?)
        .status()?;
    anyhow::ensure!(status.success(), "the fleet was not written into the database");
    Ok(())
}

/// Has the program do something with a seeded fleet's database; what it says is a line of JSON.
///
/// # Errors
/// When the program is not in `bin_dir`, fails, or says something else.
pub fn ask<T: DeserializeOwned>(
    stack: &Stack,
    bin_dir: &Path,
    machines: usize,
    arguments: &[&str],
) -> anyhow::Result<T> {
    let output = Command::new(program(bin_dir)?)
        .args(arguments)
        .args(["--machines", &machines.to_string()])
        .env("GURURMM_DATABASE_URL", stack.database_url()?)
        .stderr(Stdio::inherit())
        .output()?;
    anyhow::ensure!(output.status.success(), "gururmm-fleet {} failed", arguments.join(" "));
    Ok(serde_json::from_slice(&output.stdout)?)
}

impl Fleet {
    /// Starts agents of a seeded fleet of `machines`.
    ///
    /// # Errors
    /// When the program is not in `bin_dir`, or does not start.
    pub fn start(
        stack: &Stack,
        bin_dir: &Path,
        machines: usize,
        agents: Range<usize>,
        manner: Manner,
    ) -> anyhow::Result<Self> {
        Self::start_at(&Target::of(stack), bin_dir, machines, agents, manner)
    }

    /// [`Fleet::start`], elsewhere.
    ///
    /// # Errors
    /// When the program is not in `bin_dir`, or does not start.
    pub fn start_at(
        target: &Target,
        bin_dir: &Path,
        machines: usize,
        agents: Range<usize>,
        manner: Manner,
    ) -> anyhow::Result<Self> {
        let program = program(bin_dir)?;
        let processes = agents
            .clone()
            .step_by(PER_PROCESS)
            .map(|from| {
                let mut command = Command::new(&program);
                command
                    .args(["load", "--machines", &machines.to_string(), "--from", &from.to_string()])
                    .args(["--to", &(from + PER_PROCESS).min(agents.end).to_string(), "--data-dir"])
                    .arg(&target.data_dir)
                    .args(target.urls.iter().flat_map(|url| ["--server", url]))
                    .args(target.ca_file.iter().flat_map(|file| [OsStr::new("--ca-file"), file.as_os_str()]))
                    .args(manner);
                Reporter::start(command)
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { processes })
    }

    /// Process ids of the fleet.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().map(Reporter::pid)
    }

    /// One of the fleet's counters, of all its processes, at most a second old.
    pub fn count(&self, name: &str) -> u64 {
        self.processes.iter().map(|process| process.count(name)).sum()
    }

    /// What a counter that is no sum says, in the process where it says most.
    pub fn most(&self, name: &str) -> u64 {
        self.processes.iter().map(|process| process.count(name)).max().unwrap_or(0)
    }

    /// Has all agents leave; the counters then say all that they did.
    ///
    /// # Errors
    /// When a process does not end.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.processes.iter_mut().try_for_each(Reporter::stop)
    }

    /// Waits until so many agents have a session.
    ///
    /// # Errors
    /// When that takes longer.
    pub fn wait_connected(&self, agents: usize, longest: Duration) -> anyhow::Result<()> {
        let connected = || (self.count("connected") >= agents as u64).then_some(());
        wait_for("the fleet", longest, connected)
            .with_context(|| format!("{} of {agents} agents are connected", self.count("connected")))
    }
}

/// The least that a server can be: one that takes the same agents and does nothing with them. It ends when it is dropped.
pub struct Floor {
    process: Reporter,
    pub target: Target,
}

impl Floor {
    /// Starts it at `listen`, with the certificate of the stack's server.
    ///
    /// # Errors
    /// When the program is not in `bin_dir`, or does not start.
    pub fn start(stack: &Stack, bin_dir: &Path, listen: SocketAddr) -> anyhow::Result<Self> {
        let mut command = Command::new(program(bin_dir)?);
        command.args(["floor", "--listen", &listen.to_string(), "--data-dir"]).arg(stack.data_dir());
        let process = Reporter::start(command)?;
        let target = Target { urls: vec![format!("https://{listen}")], ..Target::of(stack) };
        Ok(Self { process, target })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }
}

fn program(bin_dir: &Path) -> anyhow::Result<PathBuf> {
    let path = bin_dir.join("gururmm-fleet");
    path.is_file()
        .then_some(path)
        .with_context(|| format!("gururmm-fleet is not built in {}", bin_dir.display()))
}
