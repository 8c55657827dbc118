//! Connecting, staying connected, coming back, stopping.

use crate::harness::*;
use gururmm_protocol::command::Outcome;
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::{AgentMessage, CommandId, ServerMessage};
use std::time::Duration;

const IN_TIME: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_agent_says_hello_with_its_key_in_a_header_and_sends_figures() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, hello) = server.welcome().await;
    assert_eq!(connection.headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(connection.path, "/api/v1/agent/socket");
    assert!(!hello.system.hostname.is_empty());
    assert!(hello.system.virtualization.is_some(), "it says what it runs on");
    assert!(hello.commands.is_empty());
    let (mut has_sample, mut has_network) = (false, false);
    while !(has_sample && has_network) {
        match connection.receive().await {
            AgentMessage::Metrics { seq, sample } => {
                assert!(seq > 0 && sample.memory_total_bytes > 0);
                assert_eq!(sample.public_ip, None, "policy does not ask");
                has_sample = true;
            }
            AgentMessage::NetworkState { seq, .. } => {
                assert!(seq > 0);
                has_network = true;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
}

#[tokio::test]
async fn samples_carry_the_public_address_while_policy_asks_for_it() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let config = AgentConfig { public_ip: true, ..AgentConfig::default() };
    let (mut connection, _) = server.welcome_with(config, 30).await;
    let address = |message| {
        if let AgentMessage::Metrics { sample, .. } = message { Some(sample.public_ip) } else { None }
    };
    connection.send(ServerMessage::LiveMetrics { interval_ms: Some(1_000) }).await;
    assert_eq!(connection.wait_for(address).await, Some(OBSERVED_IP.to_string()));
    connection.send(ServerMessage::ConfigUpdate { config: AgentConfig::default() }).await;
    // One may be on its way.
    let without = |message| address(message).is_some_and(|address| address.is_none()).then_some(());
    connection.wait_for(without).await;
}

#[tokio::test]
async fn heartbeats_come_as_often_as_the_server_asks() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome_with(AgentConfig::default(), 1).await;
    for _ in 0..2 {
        connection.wait_for(|message| matches!(message, AgentMessage::Heartbeat { .. }).then_some(())).await;
    }
}

#[tokio::test]
async fn live_samples_come_while_someone_looks_and_are_not_numbered() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    connection.send(ServerMessage::LiveMetrics { interval_ms: Some(1_000) }).await;
    let live = |message| matches!(message, AgentMessage::Metrics { seq: 0, .. }).then_some(());
    connection.wait_for(live).await;
    connection.wait_for(live).await;
    connection.send(ServerMessage::LiveMetrics { interval_ms: None }).await;
    // Whatever was on its way is in front of this command's end; nothing live comes behind it.
    connection.run(shell("sleep 1.5")).await;
    connection.send(ServerMessage::CommandStart(shell("sleep 1.5"))).await;
    loop {
        match connection.receive().await {
            AgentMessage::CommandEnded(_) => break,
            AgentMessage::Metrics { seq, .. } => assert_ne!(seq, 0),
            _ => {}
        }
    }
}

#[tokio::test]
async fn unacknowledged_figures_come_again_on_the_next_connection() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let sample = |message| {
        if let AgentMessage::Metrics { seq, sample } = message { Some((seq, sample)) } else { None }
    };
    let (mut connection, _) = server.welcome().await;
    let (seq, first) = connection.wait_for(sample).await;
    drop(connection);
    let (mut connection, _) = server.welcome().await;
    assert_eq!(connection.wait_for(sample).await, (seq, first));
    connection.send(ServerMessage::MetricsAck { seq }).await;
    connection.run(shell("true")).await;
    drop(connection);
    let (mut connection, _) = server.welcome().await;
    connection.send(ServerMessage::CommandStart(shell("true"))).await;
    loop {
        match connection.receive().await {
            AgentMessage::CommandEnded(_) => break,
            AgentMessage::Metrics { seq: again, .. } => assert_ne!(again, seq),
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_command_outlives_a_lost_connection_and_its_result_comes_on_the_next() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let start = shell("echo before; sleep 0.3; echo after");
    let command_id = start.command_id;
    connection.send(ServerMessage::CommandStart(start)).await;
    connection.wait_for(|m| matches!(m, AgentMessage::CommandOutput(_)).then_some(())).await;
    drop(connection);
    let (mut connection, hello) = server.welcome().await;
    assert_eq!(hello.commands.iter().map(|held| held.command_id).collect::<Vec<_>>(), [command_id]);
    let finished = connection.finish(command_id).await;
    assert_eq!(
        (finished.stdout.as_slice(), finished.end.outcome),
        (&b"before\nafter\n"[..], Outcome::Completed)
    );
}

#[tokio::test]
async fn an_end_not_acknowledged_outlives_the_agent() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let start = shell("echo kept; exit 7");
    let command_id = start.command_id;
    connection.send(ServerMessage::CommandStart(start)).await;
    connection.wait_for(|m| matches!(m, AgentMessage::CommandEnded(_)).then_some(())).await;
    let (_, state) = agent.stop().await;
    let _agent = TestAgent::start_on(state);
    let (mut connection, hello) = server.welcome().await;
    assert!(hello.commands[0].ended);
    let finished = connection.finish(command_id).await;
    assert_eq!((finished.stdout.as_slice(), finished.end.exit_code), (&b"kept\n"[..], Some(7)));
}

#[tokio::test]
async fn an_output_that_cannot_be_read_does_not_keep_the_agent_off() {
    let mut server = TestServer::start().await;
    let state = TestAgent::enrolled(&server.url);
    let command_id = CommandId::new();
    let journal = state.path().join("state/journal");
    std::fs::create_dir_all(journal.join(format!("{command_id}.out"))).unwrap();
    let _agent = TestAgent::start_on(state);
    let (mut connection, hello) = server.welcome().await;
    assert_eq!(hello.commands[0].command_id, command_id);
    let finished = connection.finish(command_id).await;
    assert_eq!((finished.end.outcome, finished.end.truncated), (Outcome::Interrupted, true));
}

#[tokio::test]
async fn a_silent_server_is_noticed_and_connected_to_again() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome_with(AgentConfig::default(), 1).await;
    connection.answers_heartbeats = false;
    // After two and a half unanswered heartbeats the agent gives up on this connection.
    connection.closed().await;
    let (_connection, _) = server.welcome().await;
    let status = gururmm_agent::status::read(&agent.state_dir()).unwrap();
    assert!(status.running);
}

#[tokio::test]
async fn a_refused_key_is_kept_and_tried_again_rarely() {
    let mut server = TestServer::start().await;
    server.set_mode(Mode::Refuse(401, "UNAUTHENTICATED"));
    let agent = TestAgent::start(&server);
    server.attempted().await;
    eventually("the refusal is in the status", || last_error(&agent).contains("401 UNAUTHENTICATED")).await;
    let (_, state) = agent.stop().await;
    server.set_mode(Mode::Accept);
    let _agent = TestAgent::start_on(state);
    let (connection, _) = server.welcome().await;
    assert_eq!(connection.headers["authorization"], format!("Bearer {KEY}"));
}

#[tokio::test]
async fn a_pending_machine_says_that_it_waits_for_approval() {
    let mut server = TestServer::start().await;
    server.set_mode(Mode::Refuse(403, "AGENT_PENDING"));
    let agent = TestAgent::start(&server);
    server.attempted().await;
    eventually("the status names it", || last_error(&agent).contains("AGENT_PENDING")).await;
}

#[tokio::test]
async fn a_server_that_stops_names_when_to_come_back() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let goodbye =
        ServerMessage::Goodbye { reason: GoodbyeReason::ServerStopping, reconnect_within_seconds: 1 };
    connection.send(goodbye).await;
    connection.closed().await;
    server.welcome().await;
}

#[tokio::test]
async fn a_connected_agent_stops_in_time_and_says_goodbye() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let (took, _) = agent.stop().await;
    assert!(took < IN_TIME, "{took:?}");
    connection.wait_for(|message| matches!(message, AgentMessage::Goodbye {}).then_some(())).await;
    connection.closed().await;
}

#[tokio::test]
async fn an_agent_stops_in_time_while_it_waits_for_an_upgrade_or_a_welcome() {
    let mut server = TestServer::start().await;
    server.set_mode(Mode::Hang);
    let agent = TestAgent::start(&server);
    server.attempted().await;
    assert!(agent.stop().await.0 < IN_TIME);
    server.set_mode(Mode::Accept);
    let agent = TestAgent::start(&server);
    let _connection = server.accept().await;
    assert!(agent.stop().await.0 < IN_TIME);
}

#[tokio::test]
async fn an_agent_stops_in_time_without_a_server() {
    // Nothing listens there.
    let agent = TestAgent::start_on(TestAgent::enrolled("http://127.0.0.1:9"));
    eventually("it noticed", || !last_error(&agent).is_empty()).await;
    assert!(agent.stop().await.0 < IN_TIME);
}

#[tokio::test]
async fn an_agent_stops_in_time_with_a_server_that_reads_nothing() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    for _ in 0..8 {
        let noisy = shell("yes");
        connection.send(ServerMessage::CommandStart(noisy)).await;
    }
    connection.wait_for(|m| matches!(m, AgentMessage::CommandOutput(_)).then_some(())).await;
    assert!(agent.stop().await.0 < IN_TIME);
}

#[tokio::test]
async fn stopping_ends_running_commands_and_says_that_they_were_interrupted() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let directory = tempfile::tempdir().unwrap();
    let pid_file = directory.path().join("pid");
    // Deaf to the first signal.
    let start = shell(format!(
        "trap '' TERM; echo $$ > {}; echo on; while :; do sleep 300; done",
        pid_file.display()
    ));
    let command_id = start.command_id;
    connection.send(ServerMessage::CommandStart(start)).await;
    connection.wait_for(|m| matches!(m, AgentMessage::CommandOutput(_)).then_some(())).await;
    let (took, state) = agent.stop().await;
    assert!(took < IN_TIME, "{took:?}");
    assert!(!is_alive(&read(pid_file)));
    drop(connection);
    let _agent = TestAgent::start_on(state);
    let (mut connection, _) = server.welcome().await;
    assert_eq!(connection.finish(command_id).await.end.outcome, Outcome::Interrupted);
}

fn last_error(agent: &TestAgent) -> String {
    let status = gururmm_agent::status::read(&agent.state_dir()).unwrap();
    status.runtime.last_error.unwrap_or_default()
}
