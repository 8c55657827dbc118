//! Connecting, staying connected, stopping.

use crate::harness::*;
use gururmm_protocol::AgentMessage;
use gururmm_protocol::policy::AgentConfig;
use std::time::Duration;

const IN_TIME: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_agent_says_hello_with_its_key_in_a_header_and_sends_figures() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, hello) = server.welcome().await;
    assert_eq!(connection.headers["authorization"], format!("Bearer {KEY}"));
    assert!(!connection.path.contains("cak_"));
    assert!(!hello.system.hostname.is_empty());
    assert!(hello.commands.is_empty());
    let (mut has_sample, mut has_network) = (false, false);
    while !(has_sample && has_network) {
        match connection.receive().await {
            AgentMessage::Metrics { seq, sample } => {
                assert!(seq > 0 && sample.memory_total_bytes > 0);
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
async fn heartbeats_come_as_often_as_the_server_asks() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome_with(AgentConfig::default(), 1).await;
    for _ in 0..2 {
        connection.wait_for(|message| matches!(message, AgentMessage::Heartbeat {}).then_some(())).await;
        let ack = gururmm_protocol::ServerMessage::HeartbeatAck { server_time: chrono::Utc::now() };
        connection.send(ack).await;
    }
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
