//! Processes of `gururmm-fleet` against a [`Stack`]: seeded agents that are connected, and what they did.

use crate::stack::{Stack, wait_for};
use anyhow::Context as _;
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// Agents of one process: sockets count against its limit of open files.
const PER_PROCESS: usize = 15_000;

/// The fleet of one stack, connected until it is dropped.
pub struct Fleet {
    processes: Vec<Process>,
}

struct Process {
    child: Child,
    said: Arc<Mutex<Value>>,
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
        let program = program(bin_dir)?;
        let processes = agents
            .clone()
            .step_by(PER_PROCESS)
            .map(|from| {
                let mut child = Command::new(&program)
                    .args(["load", "--machines", &machines.to_string(), "--from", &from.to_string()])
                    .args(["--to", &(from + PER_PROCESS).min(agents.end).to_string()])
                    .args(["--server", &stack.url(), "--data-dir"])
                    .arg(stack.data_dir())
                    .args(stack.ca_file().iter().flat_map(|file| [OsStr::new("--ca-file"), file.as_os_str()]))
                    .args(manner)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()?;
                let output = BufReader::new(child.stdout.take().context("no standard output")?);
                let said = Arc::new(Mutex::new(Value::Null));
                let saying = Arc::clone(&said);
                thread::spawn(move || {
                    for line in output.lines().map_while(Result::ok) {
                        if let Ok(counts) = serde_json::from_str(&line) {
                            *saying.lock().unwrap_or_else(PoisonError::into_inner) = counts;
                        }
                    }
                });
                anyhow::Ok(Process { child, said })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { processes })
    }

    /// One of the fleet's counters, of all its processes, at most a second old.
    pub fn count(&self, name: &str) -> u64 {
        let of = |process: &Process| {
            process.said.lock().unwrap_or_else(PoisonError::into_inner)[name].as_u64().unwrap_or(0)
        };
        self.processes.iter().map(of).sum()
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

impl Drop for Fleet {
    fn drop(&mut self) {
        for process in &mut self.processes {
            // Its standard input ends with this.
            drop(process.child.stdin.take());
            let ended = wait_for("the fleet's end", Duration::from_secs(30), || {
                process.child.try_wait().ok().flatten()
            });
            if ended.is_err() {
                let _ended_meanwhile = process.child.kill();
                let _ = process.child.wait();
            }
        }
    }
}

fn program(bin_dir: &Path) -> anyhow::Result<PathBuf> {
    let path = bin_dir.join("gururmm-fleet");
    path.is_file()
        .then_some(path)
        .with_context(|| format!("gururmm-fleet is not built in {}", bin_dir.display()))
}
