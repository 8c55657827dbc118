//! An installed agent: a program folder, a state folder, and the watchdog's process that runs it.

use crate::binary::PROGRAM;
use crate::harness::*;
use gururmm_agent::update::ledger::{Ledger, Record};
use gururmm_agent::{MARK, ROOM};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

/// How long a new version has to connect in these tests.
pub const CONFIRM_SECONDS: u64 = 6;

pub struct Installed {
    dir: TempDir,
}

impl Installed {
    /// The agent of this build, enrolled with `server`.
    pub fn new(server: &TestServer) -> Self {
        Self::in_folder(TestAgent::enrolled(&server.url))
    }

    /// The same, enrolled in this folder.
    pub fn in_folder(dir: TempDir) -> Self {
        fs::create_dir(dir.path().join("program")).unwrap();
        fs::copy(PROGRAM, dir.path().join("program/gururmm-agent")).unwrap();
        fs::write(dir.path().join("root.json"), "{}").unwrap();
        Self { dir }
    }

    pub fn program_folder(&self) -> PathBuf {
        self.dir.path().join("program")
    }

    pub fn state_dir(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    pub fn trust(&self, root: &[u8]) {
        fs::write(self.dir.path().join("root.json"), root).unwrap();
    }

    pub fn versions(&self) -> Vec<String> {
        let entries = fs::read_dir(self.program_folder().join("versions")).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub fn ledger(&self) -> Ledger {
        let state = gururmm_agent::state::StateDir::open(&self.state_dir()).unwrap();
        Ledger::open(&state).unwrap()
    }

    pub fn record(&self) -> Record {
        self.ledger().record()
    }

    /// What the service manager would start.
    pub fn program(&self) -> Vec<u8> {
        fs::read(self.program_folder().join("gururmm-agent")).unwrap()
    }

    /// Puts another program there, as a package does.
    pub fn install(&self, program: &[u8]) {
        let (new, path) = (self.dir.path().join("packaged"), self.program_folder().join("gururmm-agent"));
        fs::write(&new, program).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(new, path).unwrap();
    }

    /// Starts the watchdog, as the service does.
    pub fn start(&self) -> Watchdog {
        self.start_with(|_| {})
    }

    /// The same, with another environment.
    pub fn start_with(&self, set: impl FnOnce(&mut Command)) -> Watchdog {
        let mut command = Command::new(self.program_folder().join("gururmm-agent"));
        command.arg("watchdog").arg("--state-dir").arg(self.state_dir());
        command.arg("--update-root").arg(self.dir.path().join("root.json"));
        command.arg("--confirm-within").arg(CONFIRM_SECONDS.to_string());
        let log = fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        set(&mut command);
        Watchdog(command.spawn().unwrap())
    }

    /// What watchdog and agents wrote.
    pub fn log(&self) -> String {
        read(self.dir.path().join("log"))
    }
}

/// A running watchdog; killed when the test ends.
pub struct Watchdog(pub Child);

impl Watchdog {
    pub fn signal(&self, signal: &str) {
        kill(self.0.id(), signal);
    }

    /// The agent it runs, if it runs one.
    pub fn agent(&self) -> Option<u32> {
        let children = read(format!("/proc/{0}/task/{0}/children", self.0.id()));
        // On a desk, the person there has a helper.
        let is_agent = |pid: &&str| !read(format!("/proc/{pid}/cmdline")).contains("user-helper");
        children.split_whitespace().find(is_agent).map(|pid| pid.parse().unwrap())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn kill(pid: u32, signal: &str) {
    Command::new("kill").arg(signal).arg(pid.to_string()).status().unwrap();
}

/// The same program as another version.
pub fn as_version(program: &[u8], version: &str) -> Vec<u8> {
    let own = gururmm_agent::version().as_bytes();
    let mut stamp = MARK.to_vec();
    stamp.extend_from_slice(own);
    let mut bytes = program.to_vec();
    let places: Vec<usize> =
        bytes.windows(stamp.len()).enumerate().filter(|(_, w)| *w == stamp).map(|(at, _)| at).collect();
    assert_eq!(places.len(), 1, "the mark stands in the program once");
    let room = &mut bytes[places[0] + MARK.len()..][..ROOM];
    room.fill(0);
    room[..version.len()].copy_from_slice(version.as_bytes());
    bytes
}

/// This build as another version.
pub fn agent_as(version: &str) -> Vec<u8> {
    as_version(&fs::read(PROGRAM).unwrap(), version)
}

#[test]
fn a_program_says_the_version_that_stands_in_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gururmm-agent");
    fs::write(&path, agent_as("12.34.56-beta.7")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert_eq!(said_version(&path), "12.34.56-beta.7");
    assert_eq!(said_version(Path::new(PROGRAM)), gururmm_agent::version());
}

fn said_version(path: &Path) -> String {
    let output =
        Command::new(path).args(["status", "--json", "--state-dir", "/nonexistent/none"]).output().unwrap();
    let status: Value = serde_json::from_slice(&output.stdout).unwrap();
    status["agent_version"].as_str().unwrap().to_owned()
}
