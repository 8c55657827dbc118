//! The agent's process under a system clock that jumps. libfaketime moves the agent's clock, and no other: the
//! server's stays, and so do monotonic timers, as on a machine whose clock somebody sets.

use crate::binary::{PROGRAM, Process};
use crate::harness::*;
use crate::tls::{Ca, options};
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_agent::enroll::enroll;
use gururmm_agent::status;
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::{AgentMessage, ServerMessage};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The clock of the processes that are started under it.
pub struct Clock {
    library: PathBuf,
    file: PathBuf,
}

impl Clock {
    pub fn new(dir: &Path) -> Self {
        let folders = std::fs::read_dir("/usr/lib").unwrap().flatten();
        let library = folders
            .map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"))
            .find(|library| library.exists())
            .expect("no libfaketime: install Debian's package faketime, as ./dev test does");
        let clock = Self { library, file: dir.join("clock") };
        clock.set(0);
        clock
    }

    /// From now on it is this many hours ahead.
    pub fn set(&self, hours: i64) {
        let new = self.file.with_extension("new");
        std::fs::write(&new, format!("{:+}", hours * 3600)).unwrap();
        std::fs::rename(new, &self.file).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        self.hold(command.args(arguments));
        command
    }

    /// What the command starts, and what that starts, sees this clock.
    pub fn hold(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", &self.file)
            .env("FAKETIME_NO_CACHE", "1")
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    }

    fn run(&self, state: &Path) -> Process {
        let mut command = self.command(&["run", "--state-dir", state.to_str().unwrap()]);
        Process(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

/// A server with its own CA, and a certificate as it makes them: from a month ago to three months ahead.
async fn server(ca: &Ca) -> TestServer {
    let now = SystemTime::now();
    TestServer::start_with(Some(ca.acceptor_valid(now - 30 * DAY, now + 90 * DAY))).await
}

async fn enrolled(server: &TestServer, ca: &Ca) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let options = options(server, dir.path(), Some(ca.fingerprint()));
    enroll(&dir.path().join("state"), &options).await.unwrap();
    dir
}

/// Waits for a heartbeat, which says what the machine's clock shows, and for figures, which carry the server's time.
async fn look(connection: &mut Connection, ahead: TimeDelta) {
    let mut clock = None;
    // One may have been on its way before the clock was set.
    for _ in 0..3 {
        let said = |message| if let AgentMessage::Heartbeat { clock } = message { clock } else { None };
        clock = Some(connection.wait_for(said).await);
        if clock.is_some_and(|clock| is_near(clock, Utc::now() + ahead)) {
            break;
        }
    }
    assert_near(clock.unwrap(), Utc::now() + ahead);
    connection.send(ServerMessage::LiveMetrics { interval_ms: Some(1_000) }).await;
    let taken_at = connection
        .wait_for(|message| match message {
            AgentMessage::Metrics { sample, .. } => Some(sample.taken_at),
            _ => None,
        })
        .await;
    assert_near(taken_at, Utc::now());
    connection.send(ServerMessage::LiveMetrics { interval_ms: None }).await;
}

fn assert_near(time: DateTime<Utc>, expected: DateTime<Utc>) {
    assert!(is_near(time, expected), "{time}, not {expected}");
}

fn is_near(time: DateTime<Utc>, expected: DateTime<Utc>) -> bool {
    (time - expected).abs() < TimeDelta::minutes(1)
}

const HOURS: [i64; 5] = [10, -10, 365 * 24, -365 * 24, 0];

#[tokio::test]
async fn an_agent_whose_clock_jumps_stays_and_comes_back_as_the_same_at_once() {
    let ca = Ca::new("pinned");
    let mut server = server(&ca).await;
    let dir = enrolled(&server, &ca).await;
    let (state, clock) = (dir.path().join("state"), Clock::new(dir.path()));
    let identity = read(state.join("identity.json"));
    let process = clock.run(&state);
    let (mut connection, _) = server.welcome_with(AgentConfig::default(), 1).await;
    let (agent_id, key) = (connection.agent_id, connection.headers["authorization"].clone());
    for hours in HOURS {
        clock.set(hours);
        look(&mut connection, TimeDelta::hours(hours)).await;
        // The link goes, and the next one is made under the wrong clock, TLS and all.
        let reason = GoodbyeReason::ServerStopping;
        connection.send(ServerMessage::Goodbye { reason, reconnect_within_seconds: 0 }).await;
        connection.closed().await;
        (connection, _) = server.welcome_with(AgentConfig::default(), 1).await;
        assert_eq!(
            (connection.agent_id, &connection.headers["authorization"]),
            (agent_id, &key),
            "{hours} h"
        );
    }
    drop(process);
    for hours in HOURS.into_iter().chain([-26 * 365 * 24]) {
        clock.set(hours);
        let _process = clock.run(&state);
        (connection, _) = server.welcome_with(AgentConfig::default(), 1).await;
        look(&mut connection, TimeDelta::hours(hours)).await;
        assert_eq!(connection.agent_id, agent_id, "started with a clock {hours} h ahead");
    }
    assert_eq!(read(state.join("identity.json")), identity);
}

#[tokio::test]
async fn a_refused_key_is_kept_whatever_the_clock_shows() {
    let ca = Ca::new("pinned");
    let mut server = server(&ca).await;
    let dir = enrolled(&server, &ca).await;
    let (state, clock) = (dir.path().join("state"), Clock::new(dir.path()));
    let identity = read(state.join("identity.json"));
    server.set_mode(Mode::Refuse(401, "UNAUTHENTICATED"));
    for hours in HOURS {
        clock.set(hours);
        let process = clock.run(&state);
        server.attempted().await;
        eventually("the refusal is known", || {
            let error = status::read(&state).unwrap().runtime.last_error;
            error.is_some_and(|error| error.contains("401"))
        })
        .await;
        drop(process);
        std::fs::remove_file(state.join("status.json")).unwrap();
        assert_eq!(read(state.join("identity.json")), identity, "{hours} h");
    }
    server.set_mode(Mode::Accept);
    let _process = clock.run(&state);
    server.welcome().await;
}

#[tokio::test]
async fn a_machine_with_a_dead_clock_enrolls_and_comes_back_without_anything_to_go_by() {
    let ca = Ca::new("pinned");
    let mut server = server(&ca).await;
    let dir = tempfile::tempdir().unwrap();
    let (state, clock) = (dir.path().join("state"), Clock::new(dir.path()));
    clock.set(-26 * 365 * 24);
    let output = enroll_process(&clock, &server, &ca, dir.path()).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // As an agent left it that did not keep the server's time.
    std::fs::remove_file(state.join("server-time")).unwrap();
    let _process = clock.run(&state);
    let (mut connection, _) = server.welcome_with(AgentConfig::default(), 1).await;
    look(&mut connection, TimeDelta::hours(-26 * 365 * 24)).await;
    assert_near(read(state.join("server-time")).parse().unwrap(), Utc::now());
}

/// Nothing says that the certificate is good after all, and the message says what is compared.
#[tokio::test]
async fn a_machine_whose_clock_is_a_year_ahead_does_not_enroll_and_says_why() {
    let ca = Ca::new("pinned");
    let server = server(&ca).await;
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::new(dir.path());
    clock.set(365 * 24);
    let output = enroll_process(&clock, &server, &ca, dir.path()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("certificate expired"), "{said}");
    assert!(said.contains("this machine's clock"), "{said}");
    assert!(server.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_certificate_that_is_over_by_the_servers_time_is_refused_wherever_the_clock_is_set() {
    let ca = Ca::new("pinned");
    let good = server(&ca).await;
    let dir = enrolled(&good, &ca).await;
    let (state, clock) = (dir.path().join("state"), Clock::new(dir.path()));
    let now = SystemTime::now();
    let over = TestServer::start_with(Some(ca.acceptor_valid(now - 90 * DAY, now - HOUR))).await;
    let identity = read(state.join("identity.json")).replace(&good.url, &over.url);
    std::fs::write(state.join("identity.json"), identity).unwrap();
    for hours in HOURS.into_iter().chain([-2, -26 * 365 * 24]) {
        clock.set(hours);
        let process = clock.run(&state);
        eventually("the certificate is refused", || {
            let error = status::read(&state).unwrap().runtime.last_error;
            error.is_some_and(|error| error.contains("certificate expired"))
        })
        .await;
        drop(process);
        std::fs::remove_file(state.join("status.json")).unwrap();
    }
    assert!(over.requests.lock().unwrap().is_empty());
}

async fn enroll_process(clock: &Clock, server: &TestServer, ca: &Ca, dir: &Path) -> std::process::Output {
    let options = options(server, dir, Some(ca.fingerprint()));
    let (state, key_file) = (dir.join("state"), dir.join("key"));
    let mut command = clock.command(&["enroll", "--server", &options.server, "--site", &options.site]);
    command.arg("--key-file").arg(key_file).arg("--state-dir").arg(state);
    command.arg("--ca-fingerprint").arg(ca.fingerprint());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
