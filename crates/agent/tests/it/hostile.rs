//! Servers, or what stands between, that send what no server should.

use crate::harness::*;
use futures_util::SinkExt;
use gururmm_protocol::AgentMessage;
use gururmm_protocol::command::Outcome;
use tokio_tungstenite::tungstenite::protocol::Message;

#[tokio::test]
async fn frames_that_are_no_messages_are_ignored() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let deep = "[".repeat(100_000);
    for text in [
        "",
        "null",
        "{}",
        "{\"type\":\"command_start\"}",
        "{\"type\":\"command_start\",\"command_id\":\"x\"}",
        "{\"type\":17}",
        "{\"type\":\"from_the_future\",\"x\":[1,2,3]}",
        "{\"type\":\"welcome\"}",
        "{\"type\":\"heartbeat_ack\",\"server_time\":\"+262142-12-31T23:59:59Z\"}",
        "{\"type\":\"live_metrics\",\"interval_ms\":4294967296}",
        "\u{0}\u{feff}\u{202e}",
        deep.as_str(),
    ] {
        connection.send_text(text.to_owned()).await;
    }
    let _ = connection.socket.send(Message::binary(vec![0xff; 1000])).await;
    let _ = connection.socket.send(Message::Ping(vec![1; 100].into())).await;
    assert_eq!(connection.run(shell("true")).await.end.outcome, Outcome::Completed);
}

#[tokio::test]
async fn a_frame_beyond_the_limit_ends_the_connection_and_the_agent_comes_back() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    connection.send_text("x".repeat(gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES + 1)).await;
    connection.closed().await;
    server.welcome().await;
}

#[tokio::test]
async fn acknowledgements_of_what_never_was_change_nothing() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let start = shell("echo one; sleep 0.2; echo two");
    let id = start.command_id;
    for text in [
        format!(r#"{{"type":"command_output_ack","command_id":"{id}","seq":4294967295}}"#),
        format!(r#"{{"type":"command_end_ack","command_id":"{id}"}}"#),
        r#"{"type":"metrics_ack","seq":0}"#.to_owned(),
        r#"{"type":"network_state_ack","seq":18446744073709551615}"#.to_owned(),
    ] {
        connection.send_text(text.clone()).await;
    }
    connection.send(gururmm_protocol::ServerMessage::CommandStart(start)).await;
    connection.started(id).await;
    connection
        .send_text(format!(r#"{{"type":"command_output_ack","command_id":"{id}","seq":4294967295}}"#))
        .await;
    connection.send_text(format!(r#"{{"type":"command_end_ack","command_id":"{id}"}}"#)).await;
    assert_eq!(connection.finish(id).await.stdout, b"one\ntwo\n");
}

#[tokio::test]
async fn an_answer_that_is_no_websocket_is_not_taken_for_one() {
    let mut server = TestServer::start().await;
    for (status, code) in [(200, "OK"), (302, "MOVED"), (404, ""), (500, "INTERNAL")] {
        server.set_mode(Mode::Refuse(status, code));
        let agent = TestAgent::start(&server);
        server.attempted().await;
        eventually("the agent noticed", || {
            let status = gururmm_agent::status::read(&agent.state_dir()).unwrap();
            !status.runtime.connected && status.runtime.last_error.is_some()
        })
        .await;
        agent.stop().await;
    }
}

#[tokio::test]
async fn a_wrong_handshake_answer_is_refused() {
    let mut server = TestServer::start().await;
    server.set_mode(Mode::WrongAccept);
    let agent = TestAgent::start(&server);
    server.attempted().await;
    eventually("the agent noticed", || {
        gururmm_agent::status::read(&agent.state_dir()).unwrap().runtime.last_error.is_some()
    })
    .await;
}

#[tokio::test]
async fn a_flood_of_small_messages_does_not_keep_heartbeats() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome_with(Default::default(), 1).await;
    let mut heartbeats = 0;
    while heartbeats < 2 {
        for _ in 0..500 {
            connection.send_text("{\"type\":\"metrics_ack\",\"seq\":1}".into()).await;
        }
        if matches!(connection.receive().await, AgentMessage::Heartbeat { .. }) {
            heartbeats += 1;
        }
    }
}
