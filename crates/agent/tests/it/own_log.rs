//! The agent's own log: where it stands, what it holds, and how it gets to the server.

use crate::binary::{PROGRAM, Process};
use crate::harness::*;
use gururmm_protocol::command::Outcome;
use gururmm_protocol::limits::{MAX_LOG_BYTES, MAX_LOG_PART_BYTES};
use gururmm_protocol::log::{LogEnd, LogRequest};
use gururmm_protocol::{AgentMessage, LogId, ServerMessage};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const WHOLE: u64 = u64::MAX;

fn file(dir: &Path, name: &str) -> PathBuf {
    dir.join("state/log").join(name)
}

/// A log of an earlier run, so that the one of the next begins where a test wants it.
fn prefill(dir: &Path, name: &str, bytes: usize) -> String {
    let folder = dir.join("state/log");
    std::fs::create_dir_all(&folder).unwrap();
    let mut text: String = (0..).map(|n| format!("{n:09} {name}\n")).take(bytes / 16).collect();
    text.truncate(bytes);
    text.truncate(text.rfind('\n').unwrap() + 1);
    std::fs::write(folder.join(name), &text).unwrap();
    text
}

/// Makes the agent log a line with `word`, which the server may choose.
async fn say(connection: &mut Connection, word: &str) {
    connection.send_text(format!(r#"{{"type":"{word}"}}"#)).await;
}

async fn logged(dir: &Path, word: &str) {
    eventually("the line is in the log", || read(file(dir, "agent.log")).contains(word)).await;
}

#[tokio::test]
async fn the_log_of_a_running_agent_is_private_and_holds_no_key_and_no_forged_line() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    // Everything that is ever logged.
    let mut command = Command::new(PROGRAM);
    command.args(["--log", "trace", "run", "--state-dir"]).arg(dir.path().join("state"));
    let _process = Process(command.stderr(Stdio::null()).spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    say(&mut connection, "gek_1_abcdefgh").await;
    say(&mut connection, "x\u{2028}forged").await;
    connection.run(shell("true")).await;
    logged(dir.path(), "forged").await;
    let text = read(file(dir.path(), "agent.log"));
    assert!(text.contains("agent started") && text.contains("gek_[redacted]"), "{text}");
    assert!(!text.contains(KEY) && !text.contains("abcdefgh"), "{text}");
    assert!(text.contains("x\\u{2028}forged"), "{text}");
    assert!(text.chars().all(|character| character == '\n' || !character.is_control()));
    let mode = |path: PathBuf| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(dir.path().join("state/log")), mode(file(dir.path(), "agent.log"))), (0o700, 0o600));
}

#[tokio::test]
async fn only_an_agent_that_runs_on_the_folder_writes_its_log() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let state = dir.path().join("state");
    let run = |arguments: &[&str]| {
        let output = Command::new(PROGRAM).args(arguments).arg("--state-dir").arg(&state).output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    run(&["status"]);
    assert!(!state.join("log").exists());
    let _process = Process::start(dir.path());
    let (_connection, _) = server.welcome().await;
    assert!(run(&["run"]).contains("an agent already runs"));
    let text = read(file(dir.path(), "agent.log"));
    assert!(text.contains("agent started") && !text.contains("an agent already runs"), "{text}");
}

#[tokio::test]
async fn an_agent_that_cannot_start_says_why_in_its_log() {
    let dir = TestAgent::enrolled("http://127.0.0.1:9");
    std::fs::write(dir.path().join("state/identity.json"), "{").unwrap();
    let mut process = Process::start(dir.path());
    assert_eq!(process.0.wait().unwrap().code(), Some(78));
    assert!(read(file(dir.path(), "agent.log")).contains("identity.json is damaged"));
}

#[tokio::test]
async fn a_request_gets_the_end_of_the_log_in_order_while_commands_print() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let old = prefill(dir.path(), "agent.log.1", 1024 * 1024);
    let new = prefill(dir.path(), "agent.log", 500_000);
    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    say(&mut connection, "asked_for_soon").await;
    let noisy = shell("yes | head -c 3000000");
    let command_id = noisy.command_id;
    connection.send(ServerMessage::CommandStart(noisy)).await;
    // It prints already when the log is asked for.
    let first = |message| match message {
        AgentMessage::CommandOutput(chunk) => Some(chunk),
        _ => None,
    };
    let first = connection.wait_for(first).await;
    connection.send(ServerMessage::CommandOutputAck { command_id, seq: first.seq }).await;
    let mut log = Log::ask(&mut connection, WHOLE).await;
    let (mut printed, mut outcome, mut is_mixed) = (first.data.0.len(), None, false);
    while log.end.is_none() || outcome.is_none() {
        match connection.receive().await {
            AgentMessage::CommandOutput(chunk) => {
                printed += chunk.data.0.len();
                is_mixed |= log.end.is_none() && log.seq > 0;
                connection.send(ServerMessage::CommandOutputAck { command_id, seq: chunk.seq }).await;
            }
            AgentMessage::CommandEnded(end) => outcome = Some(end.outcome),
            message => log.take(message),
        }
    }
    assert_eq!((printed, outcome, is_mixed), (3_000_000, Some(Outcome::Completed), true));
    let (text, end) = log.done();
    assert!(text.starts_with(&(old + &new)), "all of it, from its beginning");
    assert!(text.contains("agent started") && text.contains("asked_for_soon") && text.ends_with('\n'));
    assert_eq!((end.total_bytes, end.lost_lines), (text.len() as u64, 0));
    // A part of it, from the beginning of a line on.
    let (part, _) = ask(&mut connection, 100_000).await;
    assert!(part.len() <= 100_000 && part.len() > 99_900 && part.ends_with('\n'), "{}", part.len());
    assert!(part.starts_with("0000") && part.contains("agent started"));
    // Nothing of it.
    let (none, end) = ask(&mut connection, 0).await;
    assert_eq!((none.as_str(), end.last_seq), ("", 0));
}

#[tokio::test]
async fn a_log_that_is_put_aside_while_it_is_sent_arrives_as_it_was() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let old = prefill(dir.path(), "agent.log.1", 1024 * 1024);
    let new = prefill(dir.path(), "agent.log", 1024 * 1024 - 8_000);
    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let mut log = Log::ask(&mut connection, WHOLE).await;
    while log.seq == 0 {
        log.take(connection.receive().await);
    }
    for _ in 0..200 {
        say(&mut connection, "after_the_request").await;
    }
    while log.end.is_none() {
        log.take(connection.receive().await);
    }
    eventually("the file is put aside", || read(file(dir.path(), "agent.log")).contains("after")).await;
    let (text, end) = log.done();
    let whole = old + &read(file(dir.path(), "agent.log.1"));
    assert!(whole.starts_with(text.trim_end()), "as it was at the request");
    assert!(text.len() > new.len() && end.total_bytes as usize == text.len());
    assert!(end.total_bytes <= MAX_LOG_BYTES && !text.contains("after_the_request"));
}

#[tokio::test]
async fn a_second_request_replaces_the_first_and_the_same_one_begins_again() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    prefill(dir.path(), "agent.log.1", 1024 * 1024);
    prefill(dir.path(), "agent.log", 1024 * 1024 - 100_000);
    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let first = Log::ask(&mut connection, WHOLE).await;
    let mut second = Log::ask(&mut connection, WHOLE).await;
    let mut parts_of_first = 0;
    while second.seq < 3 {
        match connection.receive().await {
            AgentMessage::LogPart(part) if part.log_id == first.log_id => {
                assert_eq!(second.seq, 0);
                parts_of_first += 1;
            }
            message => second.take(message),
        }
    }
    assert!(parts_of_first < 60, "{parts_of_first}");
    // The same once more: what was on its way ends, then it begins at 1.
    let request = LogRequest { log_id: second.log_id, max_bytes: WHOLE };
    connection.send(ServerMessage::LogRequest(request)).await;
    loop {
        match connection.receive().await {
            AgentMessage::LogPart(part) if part.seq == 1 => {
                second = Log::new(second.log_id);
                second.take(AgentMessage::LogPart(part));
                break;
            }
            _ => {}
        }
    }
    while second.end.is_none() {
        second.take(connection.receive().await);
    }
    assert!(second.done().0.len() > 1_900_000);
}

#[tokio::test]
async fn a_lost_connection_drops_the_log_until_it_is_asked_for_again() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    prefill(dir.path(), "agent.log.1", 1024 * 1024);
    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    let mut log = Log::ask(&mut connection, WHOLE).await;
    while log.seq == 0 {
        log.take(connection.receive().await);
    }
    drop(connection);
    let (mut connection, _) = server.welcome().await;
    connection.send(ServerMessage::CommandStart(shell("sleep 0.3"))).await;
    loop {
        match connection.receive().await {
            AgentMessage::CommandEnded(_) => break,
            AgentMessage::LogPart(_) | AgentMessage::LogEnd(_) => panic!("nobody asked for it"),
            _ => {}
        }
    }
    let (text, _) = ask(&mut connection, WHOLE).await;
    assert!(text.contains("the connection is gone"), "{text}");
}

#[tokio::test]
async fn a_log_that_cannot_be_kept_disturbs_nothing_and_says_so() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    std::fs::write(dir.path().join("state/log"), "in the way").unwrap();
    let _process = Process::start(dir.path());
    let (mut connection, _) = server.welcome().await;
    assert_eq!(connection.run(shell("true")).await.end.outcome, Outcome::Completed);
    let (text, end) = ask(&mut connection, WHOLE).await;
    assert_eq!((text.as_str(), end.last_seq, end.total_bytes), ("", 0, 0));
    assert!(end.lost_lines > 0 && end.error.is_some(), "{end:?}");
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_nothing_else() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    // No file may grow beyond this, which the agent sees as it sees a full disk: in the middle of a line.
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "sh", PROGRAM, "run", "--state-dir"]);
    let _process = Process(command.arg(dir.path().join("state")).stderr(Stdio::null()).spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    for n in 0..1_000 {
        say(&mut connection, &format!("unknown_{n:04}_{}", "x".repeat(40))).await;
    }
    assert_eq!(connection.run(shell("echo on")).await.stdout, b"on\n");
    let (text, end) = ask(&mut connection, WHOLE).await;
    assert!(end.lost_lines > 100 && end.error.is_none(), "{end:?}");
    assert!(text.len() > 10_000 && text.len() <= 128 * 1024 && text.ends_with('\n'), "{}", text.len());
    let torn = text.lines().filter(|line| !line.starts_with("20"));
    assert_eq!(torn.count(), 0, "{text}");
}

/// A log on its way to the server.
struct Log {
    log_id: LogId,
    seq: u32,
    bytes: Vec<u8>,
    end: Option<LogEnd>,
}

impl Log {
    fn new(log_id: LogId) -> Self {
        Self { log_id, seq: 0, bytes: Vec::new(), end: None }
    }

    async fn ask(connection: &mut Connection, max_bytes: u64) -> Self {
        let log = Self::new(LogId::new());
        connection.send(ServerMessage::LogRequest(LogRequest { log_id: log.log_id, max_bytes })).await;
        log
    }

    fn take(&mut self, message: AgentMessage) {
        match message {
            AgentMessage::LogPart(part) => {
                assert_eq!((part.log_id, part.seq), (self.log_id, self.seq + 1));
                assert!((1..=MAX_LOG_PART_BYTES).contains(&part.data.0.len()));
                self.seq = part.seq;
                self.bytes.extend(part.data.0);
            }
            AgentMessage::LogEnd(end) => {
                assert_eq!((end.log_id, end.last_seq), (self.log_id, self.seq));
                assert!(self.end.replace(end).is_none());
            }
            _ => {}
        }
    }

    fn done(self) -> (String, LogEnd) {
        (String::from_utf8(self.bytes).unwrap(), self.end.unwrap())
    }
}

/// The log, all other messages dropped.
async fn ask(connection: &mut Connection, max_bytes: u64) -> (String, LogEnd) {
    let mut log = Log::ask(connection, max_bytes).await;
    while log.end.is_none() {
        log.take(connection.receive().await);
    }
    log.done()
}
