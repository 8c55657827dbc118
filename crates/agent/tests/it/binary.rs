//! The program itself: its command line, its files, what it leaves open, and how it dies.

use crate::harness::*;
use gururmm_protocol::command::Outcome;
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::{AgentMessage, ServerMessage};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_gururmm-agent");

/// A running agent process; killed when the test ends.
pub struct Process(pub Child);

impl Process {
    pub fn start(state: &Path) -> Self {
        let mut command = Command::new(PROGRAM);
        command.arg("run").arg("--state-dir").arg(state.join("state")).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    pub fn signal(&self, signal: &str) {
        Command::new("kill").arg(signal).arg(self.0.id().to_string()).status().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn a_state_folder_given_from_here_serves_commands_that_run_elsewhere() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--state-dir", "state"]).current_dir(dir.path()).stderr(Stdio::null());
    let _process = Process(command.spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    let finished = connection.run(shell("echo there")).await;
    assert_eq!((finished.end.outcome, finished.stdout.as_slice()), (Outcome::Completed, &b"there\n"[..]));
}

#[tokio::test]
async fn a_command_has_the_limits_of_the_machine_and_not_those_of_its_agent() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    // Not everyone may be spared, root in a container for one; who may not is taken first, which is the agent's own, too.
    let prelude = "f=/proc/self/oom_score_adj; { echo -500 > $f; } 2>/dev/null || echo 500 > $f
        ulimit -S -c $(ulimit -H -c); exec \"$@\"";
    let adjusted = |program: &str| {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", prelude, "sh", program]);
        command
    };
    let found =
        adjusted("/bin/cat").args(["/proc/self/oom_score_adj", "/proc/self/limits"]).output().unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    let adjustment = found.lines().next().unwrap();
    assert!(["-500", "500"].contains(&adjustment), "{found}");
    let mut agent = adjusted(PROGRAM);
    agent.arg("run").arg("--state-dir").arg(dir.path().join("state")).stderr(Stdio::null());
    let process = Process(agent.spawn().unwrap());
    let (mut connection, _) = server.welcome().await;

    let own = |file: &str| read(format!("/proc/{}/{file}", process.0.id()));
    assert_eq!(own("oom_score_adj").trim(), adjustment);
    assert_eq!(core_limit(&own("limits"))[0], "0", "the agent would dump its key");
    let finished = connection.run(shell("cat /proc/self/oom_score_adj /proc/self/limits")).await;
    let its = String::from_utf8(finished.stdout).unwrap();
    assert_eq!(its.lines().next(), Some("0"), "{its}");
    assert_eq!(core_limit(&its), core_limit(&found), "{its}");
}

/// Soft and hard limit of core dumps in a `/proc/PID/limits`.
fn core_limit(limits: &str) -> [String; 2] {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size")).unwrap();
    let mut fields = line.split_whitespace().map(str::to_owned);
    [fields.next().unwrap(), fields.next().unwrap()]
}

fn agent(arguments: &[&str]) -> Output {
    Command::new(PROGRAM).args(arguments).output().unwrap()
}

#[tokio::test]
async fn a_running_agent_listens_nowhere() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    connection.run(shell("true")).await;
    let pid = process.0.id();
    assert_only_connected_to_the_server(pid, 1);
    // Nor on a named socket.
    let (sockets, unix) = (sockets(pid), read(format!("/proc/{pid}/net/unix")));
    let named = unix.lines().skip(1).filter(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.len() > 7 && sockets.iter().any(|inode| inode == fields[6])
    });
    assert_eq!(named.count(), 0);
}

/// The numbers of the sockets that a process has open.
fn sockets(pid: u32) -> Vec<String> {
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
    let links = descriptors.filter_map(|fd| std::fs::read_link(fd.path()).ok());
    links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect()
}

/// A process that listens on no network, and has `connections` open there.
pub fn assert_only_connected_to_the_server(pid: u32, connections: usize) {
    let (sockets, mut connected) = (sockets(pid), 0);
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let text = read(format!("/proc/{pid}/net/{table}"));
        for line in text.lines().skip(1) {
            let fields: Vec<_> = line.split_whitespace().collect();
            if sockets.iter().any(|inode| inode == fields[9]) {
                // 01 is ESTABLISHED.
                assert_eq!((table, fields[3]), ("tcp", "01"));
                connected += 1;
            }
        }
    }
    assert_eq!(connected, connections);
}

#[tokio::test]
async fn an_agent_that_was_killed_says_what_it_left_and_ends_it() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let pid_file = dir.path().join("pid");
    let count = dir.path().join("count");
    let start = shell(format!(
        "echo x >> {}; setsid sh -c 'echo $$ > {}; exec sleep 300' & sleep 0.1; echo on; sleep 300",
        count.display(),
        pid_file.display()
    ));
    let command_id = start.command_id;
    connection.send(ServerMessage::CommandStart(start.clone())).await;
    connection.wait_for(|m| matches!(m, AgentMessage::CommandOutput(_)).then_some(())).await;
    drop(process);
    assert!(is_alive(&read(&pid_file)));
    let process = Process::start(dir.path());
    let (mut connection, hello) = server.welcome().await;
    assert_eq!(hello.commands[0].command_id, command_id);
    // A server that does not know yet may well send it again.
    connection.send(ServerMessage::CommandStart(start)).await;
    let finished = connection.finish(command_id).await;
    assert_eq!((finished.stdout.as_slice(), finished.end.outcome), (&b"on\n"[..], Outcome::Interrupted));
    assert!(!is_alive(&read(&pid_file)));
    assert_eq!(read(&count), "x");
    drop(process);
}

#[tokio::test]
async fn a_command_that_stops_its_own_agent_is_interrupted() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let mut process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let start = shell(format!("echo stopping; kill -TERM {}; sleep 300", process.0.id()));
    let finished = connection.run(start).await;
    assert_eq!(
        (finished.stdout.as_slice(), finished.end.outcome),
        (&b"stopping\n"[..], Outcome::Interrupted)
    );
    connection.closed().await;
    assert!(process.0.wait().unwrap().success());
}

#[tokio::test]
async fn memory_stays_flat_whatever_a_command_prints() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let process = Process::start(dir.path());
    let (mut connection, _) = server.welcome_with(few_kept(), 30).await;
    let finished = connection.run(shell("yes | head -c 1000000000")).await;
    assert_eq!((finished.end.stdout_bytes, finished.end.truncated), (1_000_000_000, true));
    let status = read(format!("/proc/{}/status", process.0.id()));
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    // Most of it is the unoptimised program's own code.
    assert!(kibibytes < 32 * 1024, "{kibibytes} KiB");
}

#[tokio::test]
async fn stuck_commands_keep_no_other_from_running_and_cost_little() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let mut process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let stuck: Vec<_> = (0..40).map(|_| shell("exec sleep 300")).collect();
    for start in &stuck {
        connection.send(ServerMessage::CommandStart(start.clone())).await;
    }
    // One that only waits for its turn is cancelled like any other.
    let waiting = shell("echo never");
    let command_id = waiting.command_id;
    connection.send(ServerMessage::CommandStart(waiting)).await;
    connection.send(ServerMessage::CommandCancel { command_id }).await;
    let cancelled = connection.finish(command_id).await.end;
    assert_eq!((cancelled.outcome, cancelled.started_at), (Outcome::Cancelled, None));
    let begun = Instant::now();
    let finished = connection.run(shell("echo through")).await;
    assert_eq!((finished.end.outcome, finished.stdout.as_slice()), (Outcome::Completed, &b"through\n"[..]));
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    let status = read(format!("/proc/{}/status", process.0.id()));
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kibibytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kibibytes < 32 * 1024, "{kibibytes} KiB");
    // Stopped in order, so that nothing of it goes on.
    process.signal("-TERM");
    assert!(tokio::task::spawn_blocking(move || process.0.wait().unwrap()).await.unwrap().success());
}

fn few_kept() -> AgentConfig {
    AgentConfig { output_limit_bytes: 1024 * 1024, ..AgentConfig::default() }
}

#[tokio::test]
async fn the_program_stops_on_a_signal_in_time() {
    let mut server = TestServer::start().await;
    for signal in ["-TERM", "-INT"] {
        let dir = TestAgent::enrolled(&server.url);
        let mut process = Process::start(dir.path());
        let (mut connection, _) = server.welcome().await;
        connection.send(ServerMessage::CommandStart(shell("trap '' TERM; sleep 300"))).await;
        connection.wait_for(|m| matches!(m, AgentMessage::CommandStarted { .. }).then_some(())).await;
        let begun = Instant::now();
        process.signal(signal);
        let status = tokio::task::spawn_blocking(move || process.0.wait().unwrap()).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(5) && status.success(), "{signal}");
    }
}

#[tokio::test]
async fn enroll_run_and_status_work_from_the_command_line_and_show_no_key() {
    let mut server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let key_file = dir.path().join("key");
    std::fs::write(&key_file, "gek_1_example").unwrap();
    let arguments: Vec<String> = ["enroll", "--server", &server.url, "--site", "ACME-1", "--key-file"]
        .into_iter()
        .map(str::to_owned)
        .chain([key_file.display().to_string(), "--state-dir".into(), state.display().to_string()])
        .collect();
    let enrolled =
        tokio::task::spawn_blocking(move || Command::new(PROGRAM).args(arguments).output().unwrap());
    let output = enrolled.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = [output.stdout, output.stderr].concat();
    assert!(
        !String::from_utf8_lossy(&said).contains("cak_") && !String::from_utf8_lossy(&said).contains("gek_")
    );
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&state), mode(&state.join("identity.json"))), (0o700, 0o600));
    let _process = Process::start(dir.path());
    let (_connection, _) = server.welcome().await;
    let status = || {
        let output = agent(&["status", "--json", "--state-dir", state.to_str().unwrap()]);
        assert!(!String::from_utf8_lossy(&output.stdout).contains("cak_"));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    eventually("the status says connected", || status()["connected"] == true).await;
    assert_eq!(status()["running"], true);
    assert_eq!(status()["enrolled"], true);
    assert_eq!(status()["pending_commands"], 0);
}

#[tokio::test]
async fn a_package_enrolls_with_what_it_is_told_and_shows_no_key() {
    let server = TestServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let run = |input: String| {
        let mut command = Command::new(PROGRAM);
        command.arg("enroll-from-package").arg("--state-dir").arg(&state);
        tokio::task::spawn_blocking(move || {
            let mut child =
                command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
            child.wait_with_output().unwrap()
        })
    };
    let nothing = run("package=/tmp/gururmm-agent.pkg\n".to_owned()).await.unwrap();
    assert_eq!(nothing.status.code(), Some(3));
    let key = format!("gek_3_{}", "a".repeat(43));
    let refused = run(format!("server=http://127.0.0.1:1\nsitekey=ACME-1.{key}\n")).await.unwrap();
    assert!(refused.status.code() == Some(1) && !state.exists());
    let output = run(format!("server={}\nsitekey=ACME-1.{key}\n", server.url)).await.unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success() && !said.contains("gek_") && !said.contains("cak_"), "{said}");
    let (_, body) = server.requests.lock().unwrap()[0].clone();
    assert!(body.contains("\"ACME-1\"") && body.contains(&key), "{body}");
    assert!(state.join("identity.json").is_file());
    // The next version's package has nothing to say to a machine that is enrolled.
    assert!(run(String::new()).await.unwrap().status.success());
    assert_eq!(server.requests.lock().unwrap().len(), 1);
}

#[test]
fn an_agent_that_is_not_enrolled_says_so_and_asks_not_to_be_restarted() {
    let dir = tempfile::tempdir().unwrap();
    let output = agent(&["run", "--state-dir", dir.path().join("none").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("enroll this machine first"));
    let status = agent(&["status", "--json", "--state-dir", dir.path().join("none").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("\"enrolled\": false"));
}

#[test]
fn the_unit_is_clean_to_systemd() {
    let unit = concat!(env!("CARGO_MANIFEST_DIR"), "/src/install/gururmm-agent.service");
    let dir = tempfile::tempdir().unwrap();
    // The program it names is not installed here; any program shows the rest.
    let text =
        std::fs::read_to_string(unit).unwrap().replace("/usr/local/lib/gururmm/gururmm-agent", "/bin/true");
    let path = dir.path().join("gururmm-agent.service");
    std::fs::write(&path, text).unwrap();
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&path).output() else {
        eprintln!("skipped: no systemd-analyze on this machine");
        return;
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours = said.lines().filter(|line| line.contains("gururmm-agent.service"));
    assert_eq!(about_ours.count(), 0, "{said}");
}
