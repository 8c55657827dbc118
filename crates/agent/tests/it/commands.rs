//! Real processes, from order to acknowledged end.

use crate::harness::*;
use gururmm_agent::os::is_elevated;
use gururmm_agent::os::process_tree::Enclosure;
use gururmm_protocol::command::{CommandKind, CommandStart, Outcome};
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::{AgentMessage, CommandId, ServerMessage};
use std::time::{Duration, Instant};

#[tokio::test]
async fn output_of_both_streams_and_the_exit_code_come_back() {
    let (_server, _agent, mut connection) = connected().await;
    let finished = connection.run(shell("echo out; echo err >&2; exit 3")).await;
    assert_eq!(finished.stdout, b"out\n");
    assert_eq!(finished.stderr, b"err\n");
    assert_eq!((finished.end.outcome, finished.end.exit_code), (Outcome::Failed, Some(3)));
    assert_eq!((finished.end.stdout_bytes, finished.end.stderr_bytes, finished.end.truncated), (4, 4, false));
}

#[tokio::test]
async fn output_streams_while_the_command_runs() {
    let (_server, _agent, mut connection) = connected().await;
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let start = shell(format!("echo first; until [ -e {} ]; do sleep 0.02; done; echo last", gate.display()));
    let command_id = start.command_id;
    connection.send(ServerMessage::CommandStart(start)).await;
    let first =
        connection.wait_for(|m| if let AgentMessage::CommandOutput(c) = m { Some(c) } else { None }).await;
    assert_eq!((first.seq, first.data.0.as_slice()), (1, &b"first\n"[..]));
    // Only now may the command end: the first line cannot have waited for that.
    std::fs::write(&gate, "").unwrap();
    let last =
        connection.wait_for(|m| if let AgentMessage::CommandOutput(c) = m { Some(c) } else { None }).await;
    assert_eq!((last.command_id, last.seq, last.data.0.as_slice()), (command_id, 2, &b"last\n"[..]));
}

#[tokio::test]
async fn input_environment_and_working_directory_reach_the_command() {
    let (_server, _agent, mut connection) = connected().await;
    let directory = tempfile::tempdir().unwrap();
    let start = CommandStart {
        working_directory: Some(directory.path().display().to_string()),
        environment: [("GREETING".to_owned(), "hello there".to_owned())].into(),
        stdin: Some("from stdin".into()),
        ..shell(
            "pwd; echo \"$GREETING\"; cat; echo; env | grep -c -e JOURNAL_STREAM -e INVOCATION_ID -e CARGO",
        )
    };
    let finished = connection.run(start).await;
    let path = directory.path().canonicalize().unwrap();
    let expected = format!("{}\nhello there\nfrom stdin\n0\n", path.display());
    assert_eq!(String::from_utf8(finished.stdout).unwrap(), expected);
}

#[tokio::test]
async fn python_and_scripts_run_by_their_interpreter() {
    let (_server, _agent, mut connection) = connected().await;
    let python = CommandStart { kind: CommandKind::Python, ..shell("import sys; print(6 * 7); sys.exit(5)") };
    let finished = connection.run(python).await;
    assert_eq!((finished.stdout.as_slice(), finished.end.exit_code), (&b"42\n"[..], Some(5)));
    let script = CommandStart {
        kind: CommandKind::Script,
        interpreter: Some("/usr/bin/perl".into()),
        ..shell("print 'perl ', 1 + 1;")
    };
    assert_eq!(connection.run(script).await.stdout, b"perl 2");
}

#[tokio::test]
async fn a_commands_text_is_in_no_argument_list_and_in_no_file_afterwards() {
    let (_server, agent, mut connection) = connected().await;
    // The marker is put together by the shell, so that it stands in the text only.
    let text =
        "# hunter2-marker\nfor p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done 2>/dev/null";
    let finished = connection.run(shell(text)).await;
    assert!(!String::from_utf8_lossy(&finished.stdout).contains("hunter2-marker"));
    let scripts = agent.state_dir().join("scripts");
    assert_eq!(std::fs::read_dir(scripts).unwrap().count(), 0);
}

#[tokio::test]
async fn what_cannot_run_ends_with_a_stable_word() {
    let (_server, _agent, mut connection) = connected().await;
    let absent = |name: &str| Some(name.to_owned());
    let cases = [
        (
            CommandStart { kind: CommandKind::Script, interpreter: absent("no-such-program"), ..shell("x") },
            "NOT_FOUND",
        ),
        (
            CommandStart { kind: CommandKind::Script, interpreter: absent("/etc/passwd"), ..shell("x") },
            "NOT_FOUND",
        ),
        (CommandStart { kind: CommandKind::Script, interpreter: None, ..shell("x") }, "NOT_FOUND"),
        (CommandStart { working_directory: absent("/no/such/folder"), ..shell("true") }, "SPAWN_FAILED"),
        (CommandStart { environment: [("A\0B".into(), "c".into())].into(), ..shell("true") }, "SPAWN_FAILED"),
    ];
    for (start, code) in cases {
        let end = connection.run(start).await.end;
        assert_eq!(
            (end.outcome, end.error_code.as_deref()),
            (Outcome::Failed, Some(code)),
            "{:?}",
            end.error
        );
        assert!(end.error.is_some() && end.exit_code.is_none());
    }
}

#[tokio::test]
async fn elevated_is_for_an_agent_with_full_rights() {
    let (_server, _agent, mut connection) = connected().await;
    let end = connection.run(CommandStart { elevated: true, ..shell("true") }).await.end;
    if is_elevated() {
        assert_eq!(end.outcome, Outcome::Completed);
    } else {
        assert_eq!(end.error_code.as_deref(), Some("UNSUPPORTED"));
    }
}

#[tokio::test]
async fn a_command_ended_by_a_signal_says_so() {
    let (_server, _agent, mut connection) = connected().await;
    let end = connection.run(shell("kill -9 $$")).await.end;
    assert_eq!((end.outcome, end.exit_code), (Outcome::Failed, None));
    assert_eq!(end.error_code.as_deref(), Some("SIGNAL"));
}

#[tokio::test]
async fn bytes_that_are_no_text_arrive_unchanged() {
    let (_server, _agent, mut connection) = connected().await;
    let finished = connection.run(shell(r"printf '\377\000\303\050\200'")).await;
    assert_eq!(finished.stdout, [0xff, 0x00, 0xc3, 0x28, 0x80]);
}

/// Whether commands get something that holds their processes together here. Without, a process that leaves its parent,
/// its session and its environment at once cannot be told from a stranger's.
fn has_enclosures() -> bool {
    Enclosure::around(CommandId::new(), &mut std::process::Command::new("true")).is_some()
}

/// Children that left the process group, the session and their parent, one of them deaf to SIGTERM, one without
/// its environment, and one that did all of it at once. Each writes its number to a file.
fn scatter(directory: &std::path::Path) -> String {
    let d = directory.display();
    let all_at_once = if has_enclosures() { "setsid env -i sh -c" } else { "sh -c" };
    format!(
        "({all_at_once} 'echo $$ > {d}/e; exec sleep 300' &)
         setsid sh -c 'echo $$ > {d}/a; exec sleep 300' &
         (setsid sh -c '(trap \"\" TERM; echo $(exec sh -c \"echo \\$PPID\") > {d}/b; while :; do sleep 300; done) &' &)
         env -i sh -c 'echo $$ > {d}/c; exec sleep 300' &
         echo $$ > {d}/d
         until [ -s {d}/a ] && [ -s {d}/b ] && [ -s {d}/c ] && [ -s {d}/e ]; do sleep 0.02; done
         echo ready; wait; sleep 300"
    )
}

fn scattered(directory: &std::path::Path) -> Vec<String> {
    ["a", "b", "c", "d", "e"].iter().map(|name| read(directory.join(name))).collect()
}

async fn wait_for_output(connection: &mut Connection) {
    connection.wait_for(|message| matches!(message, AgentMessage::CommandOutput(_)).then_some(())).await;
}

#[tokio::test]
async fn cancelling_ends_the_whole_process_tree() {
    let (_server, _agent, mut connection) = connected().await;
    let directory = tempfile::tempdir().unwrap();
    let start = shell(scatter(directory.path()));
    let command_id = start.command_id;
    connection.send(ServerMessage::CommandStart(start)).await;
    wait_for_output(&mut connection).await;
    let pids = scattered(directory.path());
    assert!(pids.iter().all(|pid| is_alive(pid)), "{pids:?}");
    connection.send(ServerMessage::CommandCancel { command_id }).await;
    let end =
        connection.wait_for(|m| if let AgentMessage::CommandEnded(end) = m { Some(end) } else { None }).await;
    assert_eq!((end.outcome, end.exit_code, end.error), (Outcome::Cancelled, None, None));
    assert_eq!(pids.iter().filter(|pid| is_alive(pid)).count(), 0, "left: {pids:?}");
}

#[tokio::test]
async fn the_time_limit_ends_the_whole_process_tree() {
    let (_server, _agent, mut connection) = connected().await;
    let directory = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let start = CommandStart { timeout_seconds: 1, ..shell(scatter(directory.path())) };
    let end = connection.run(start).await.end;
    assert_eq!((end.outcome, end.exit_code), (Outcome::Timeout, None));
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(scattered(directory.path()).iter().filter(|pid| is_alive(pid)).count(), 0);
}

#[tokio::test]
async fn a_commands_control_group_goes_with_it() {
    if !has_enclosures() {
        return;
    }
    let (_server, _agent, mut connection) = connected().await;
    let start = shell("cat /proc/self/cgroup");
    let name = format!("gururmm-command-{}", start.command_id);
    let finished = connection.run(start).await;
    let groups = String::from_utf8(finished.stdout).unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/")).unwrap();
    assert!(own.ends_with(&name), "{groups}");
    for hierarchy in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        assert!(!std::path::Path::new(hierarchy).join(own).exists(), "{own} is still there");
    }
}

#[tokio::test]
async fn a_child_left_behind_with_the_output_open_does_not_keep_the_command() {
    let (_server, _agent, mut connection) = connected().await;
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    let begun = Instant::now();
    let finished =
        connection.run(shell(format!("sleep 300 & echo $! > {}; echo done", pid_file.display()))).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!((finished.stdout.as_slice(), finished.end.outcome), (&b"done\n"[..], Outcome::Completed));
    let pid = read(pid_file);
    // A service that a command started keeps running.
    assert!(is_alive(&pid));
    std::process::Command::new("kill").arg(pid).status().unwrap();
}

#[tokio::test]
async fn output_beyond_the_limit_is_counted_and_dropped() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let config = AgentConfig { output_limit_bytes: 100_000, ..AgentConfig::default() };
    let (mut connection, _) = server.welcome_with(config, 30).await;
    let finished = connection.run(shell("yes | head -c 50000000; echo err >&2")).await;
    assert_eq!(finished.end.outcome, Outcome::Completed);
    assert_eq!((finished.stdout.len(), finished.end.stdout_bytes), (100_000, 50_000_000));
    assert!(finished.end.truncated);
    assert_eq!(finished.end.stderr_bytes, 4);
}

#[tokio::test]
async fn a_stuck_command_and_a_noisy_one_hold_up_neither_others_nor_heartbeats() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let config = AgentConfig { output_limit_bytes: 1024 * 1024, ..AgentConfig::default() };
    let (mut connection, _) = server.welcome_with(config, 1).await;
    // Nothing of these two is ever acknowledged.
    connection.send(ServerMessage::CommandStart(shell("sleep 300"))).await;
    let noisy = shell("yes");
    let noisy_id = noisy.command_id;
    connection.send(ServerMessage::CommandStart(noisy)).await;
    connection.started(noisy_id).await;
    assert_eq!(connection.run(shell("echo through")).await.stdout, b"through\n");
    connection.wait_for(|message| matches!(message, AgentMessage::Heartbeat { .. }).then_some(())).await;
    connection.send(ServerMessage::CommandCancel { command_id: noisy_id }).await;
    // The end waits behind the output; it comes once that is acknowledged, beginning with what came above.
    connection.send(ServerMessage::CommandOutputAck { command_id: noisy_id, seq: u32::MAX }).await;
    let mut last_seq = 0;
    let end = loop {
        match connection.receive().await {
            AgentMessage::CommandOutput(chunk) if chunk.command_id == noisy_id => {
                last_seq = chunk.seq;
                let ack = ServerMessage::CommandOutputAck { command_id: noisy_id, seq: chunk.seq };
                connection.send(ack).await;
            }
            AgentMessage::CommandEnded(end) if end.command_id == noisy_id => break end,
            _ => {}
        }
    };
    assert_eq!((end.outcome, end.last_seq), (Outcome::Cancelled, last_seq));
    assert!(end.truncated);
}

#[tokio::test]
async fn more_commands_than_may_run_at_once_wait_in_order() {
    let (_server, _agent, mut connection) = connected().await;
    let directory = tempfile::tempdir().unwrap();
    let gate = directory.path().join("gate");
    let command = format!("until [ -e {} ]; do sleep 0.05; done", gate.display());
    let starts: Vec<_> = (0..36).map(|_| shell(command.clone())).collect();
    let ids: Vec<_> = starts.iter().map(|start| start.command_id).collect();
    for start in starts {
        connection.send(ServerMessage::CommandStart(start)).await;
    }
    let mut started = Vec::new();
    while started.len() < 32 {
        started.push(
            connection
                .wait_for(|m| {
                    if let AgentMessage::CommandStarted { command_id, .. } = m {
                        Some(command_id)
                    } else {
                        None
                    }
                })
                .await,
        );
    }
    // One that waits and is cancelled never starts.
    connection.send(ServerMessage::CommandCancel { command_id: ids[33] }).await;
    let end =
        connection.wait_for(|m| if let AgentMessage::CommandEnded(end) = m { Some(end) } else { None }).await;
    assert_eq!((end.command_id, end.outcome, end.started_at), (ids[33], Outcome::Cancelled, None));
    std::fs::write(&gate, "").unwrap();
    let mut ended = 0;
    while ended < 35 {
        match connection.receive().await {
            AgentMessage::CommandStarted { command_id, .. } => started.push(command_id),
            AgentMessage::CommandEnded(_) => ended += 1,
            _ => {}
        }
    }
    assert!(ids[..32].iter().all(|id| started[..32].contains(id)), "the first 32 ran first");
    assert_eq!(started.len(), 35);
    assert!(!started.contains(&ids[33]));
}

#[tokio::test]
async fn a_command_sent_twice_runs_once() {
    let (_server, _agent, mut connection) = connected().await;
    let directory = tempfile::tempdir().unwrap();
    let count = directory.path().join("count");
    let start = shell(format!("echo x >> {}", count.display()));
    let command_id = start.command_id;
    connection.send(ServerMessage::CommandStart(start.clone())).await;
    connection.send(ServerMessage::CommandStart(start.clone())).await;
    connection.finish(command_id).await;
    // Also after its end was acknowledged; an honest answer comes all the same.
    let end = connection.run(start).await.end;
    assert_eq!(end.outcome, Outcome::Interrupted);
    assert_eq!(read(&count), "x");
}

#[tokio::test]
async fn a_full_disk_refuses_commands_and_the_agent_goes_on() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    // A folder in the way of the spool is as good as a full disk, and works for root too.
    let start = shell("true");
    let obstacle = agent.state_dir().join("journal").join(format!("{}.out", start.command_id));
    std::fs::create_dir(&obstacle).unwrap();
    let end = connection.run(start).await.end;
    assert_eq!((end.outcome, end.error_code.as_deref()), (Outcome::Failed, Some("JOURNAL_FAILED")));
    assert_eq!(connection.run(shell("true")).await.end.outcome, Outcome::Completed);
}

async fn connected() -> (TestServer, TestAgent, Connection) {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let (connection, _) = server.welcome().await;
    (server, agent, connection)
}
