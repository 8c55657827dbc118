//! The agents' socket: who gets in, how sessions end, and what a hostile agent cannot do.

use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::{AgentMessage, ServerMessage, encode};
use gururmm_server::serve::ServeOptions;
use gururmm_testkit::agent::{AGENT_HEADER, SOCKET_PATH, hello};
use gururmm_testkit::socket::Closed;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{SeededAgent, TestAgent, TestDatabase, TestServer, eventually};
use serde_json::json;
use std::time::Duration;

async fn stage() -> (TestServer, SeededAgent) {
    stage_with(|_| {}).await
}

async fn stage_with(configure: impl FnOnce(&mut ServeOptions)) -> (TestServer, SeededAgent) {
    let server = TestServer::start_with(TestDatabase::with_world().await, configure).await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    (server, machine)
}

async fn goodbye(agent: &mut TestAgent) -> GoodbyeReason {
    agent
        .expect("goodbye", |message| match message {
            ServerMessage::Goodbye { reason, .. } => Some(reason),
            _ => None,
        })
        .await
}

async fn is_connected(server: &TestServer, machine: &SeededAgent) -> bool {
    sqlx::query_scalar("SELECT is_connected FROM agent_status WHERE agent_id = $1")
        .bind(machine.id)
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap()
}

pub async fn shows(server: &TestServer, machine: &SeededAgent, connected: bool) {
    let what = if connected { "presence" } else { "absence" };
    eventually(what, async || (is_connected(server, machine).await == connected).then_some(())).await;
}

async fn still_serves(server: &TestServer) {
    let other = server.seed_agent(&globex::HQ, "db-01").await;
    let mut agent = TestAgent::connect(server, &other).await;
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    agent.expect("answer to a heartbeat", pick).await;
}

#[tokio::test]
async fn presence_comes_and_goes_with_the_connection() {
    let (server, machine) = stage().await;
    assert!(!is_connected(&server, &machine).await);
    let agent = TestAgent::connect(&server, &machine).await;
    assert_eq!(agent.welcome.heartbeat_seconds, 30);
    assert!(agent.welcome.observed_ip.is_some_and(|ip| ip.is_loopback()), "{:?}", agent.welcome.observed_ip);
    shows(&server, &machine, true).await;
    let gone_at = std::time::Instant::now();
    drop(agent);
    shows(&server, &machine, false).await;
    assert!(gone_at.elapsed() < Duration::from_secs(2), "a closed socket shows within two seconds");
    let events: Vec<String> = sqlx::query_scalar("SELECT topic FROM events WHERE tenant_id = $1 ORDER BY id")
        .bind(acme::PARTNER.id)
        .fetch_all(&mut server.owner().await)
        .await
        .unwrap();
    // Its first hello also says what the machine is.
    let presence: Vec<&str> =
        events.iter().map(String::as_str).filter(|topic| *topic != "agent.changed").collect();
    assert_eq!(presence, ["agent.online", "agent.offline"]);
}

#[tokio::test]
async fn a_machine_deleted_between_its_knock_and_its_hello_stays_out() {
    let (server, machine) = stage().await;
    let mut socket = TestAgent::open(&server, &machine).await.unwrap();
    let admin = server.client_as(&acme::ADMIN).await;
    admin.delete(&format!("/api/agents/{}", machine.id)).await.expect(204);
    socket.send_text(encode(&AgentMessage::Hello(hello(&machine, Vec::new()))).unwrap()).await;
    let said = socket.next().await.unwrap();
    assert!(said.contains("revoked"), "no goodbye but {said}");
    assert!(!server.app().gateway.is_connected(machine.id));
}

#[tokio::test]
async fn a_credential_opens_its_own_agents_socket_and_nothing_else_does() {
    let (server, machine) = stage().await;
    let other = server.seed_agent(&globex::HQ, "db-01").await;
    let refused = async |id: &str, key: &str| {
        let client = server.anonymous().with_bearer(key).with(AGENT_HEADER, id);
        client.upgrade(SOCKET_PATH).await.err().unwrap().expect_problem(401, "AGENT_KEY_REFUSED");
    };
    refused(&machine.id.to_string(), &other.key).await;
    refused(&machine.id.to_string(), "cak_wrong").await;
    refused(&uuid::Uuid::now_v7().to_string(), &machine.key).await;
    refused("not-an-id", &machine.key).await;
    let in_url = format!("{SOCKET_PATH}?agent={}&key={}", machine.id, machine.key);
    server.anonymous().upgrade(&in_url).await.err().unwrap().expect_problem(401, "AGENT_KEY_REFUSED");
    let session = server.session_of(&acme::OWNER, gururmm_server::auth::credential::SessionKind::Api).await;
    refused(&machine.id.to_string(), &session.token).await;
    for statement in ["UPDATE agents SET state = 'pending'", "UPDATE agents SET state = 'rejected'"] {
        sqlx::query(statement).execute(&mut server.owner().await).await.unwrap();
        let code = TestAgent::open(&server, &machine).await.err().unwrap().code().unwrap();
        assert!(["AGENT_PENDING", "AGENT_KEY_REFUSED"].contains(&code.as_str()), "{code}");
    }
}

#[tokio::test]
async fn a_web_page_cannot_speak_as_an_agent() {
    let (server, machine) = stage().await;
    for origin in ["https://evil.example.com", "null", server.app().config.public_url.as_str()] {
        let client = TestAgent::client(&server, &machine).with("origin", origin);
        client.upgrade(SOCKET_PATH).await.err().unwrap().expect_problem(403, "ORIGIN_REFUSED");
    }
}

#[tokio::test]
async fn a_new_session_replaces_the_old_one_without_a_gap_in_presence() {
    let (server, machine) = stage().await;
    let mut old = TestAgent::connect(&server, &machine).await;
    shows(&server, &machine, true).await;
    let mut new = TestAgent::connect(&server, &machine).await;
    assert_eq!(goodbye(&mut old).await, GoodbyeReason::Replaced);
    drop(old);
    new.send(&AgentMessage::Heartbeat { clock: None }).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    new.expect("answer to a heartbeat", pick).await;
    assert!(is_connected(&server, &machine).await);
    let epoch: i64 = sqlx::query_scalar("SELECT session_epoch FROM agents WHERE id = $1")
        .bind(machine.id)
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap();
    assert_eq!(epoch, 2);
}

#[tokio::test]
async fn who_does_not_say_hello_in_time_and_who_falls_silent_is_closed() {
    let (server, machine) = stage_with(|options| {
        options.sockets.gateway.hello_within = Duration::from_millis(200);
        options.sockets.gateway.silence = Duration::from_millis(300);
    })
    .await;
    let mut mute = TestAgent::open(&server, &machine).await.ok().unwrap();
    let Closed { code, .. } = mute.closed().await;
    assert_eq!(code, Some(1008));
    let mut silent = TestAgent::connect(&server, &machine).await;
    assert_eq!(goodbye(&mut silent).await, GoodbyeReason::Other);
    shows(&server, &machine, false).await;
}

#[tokio::test]
async fn hello_comes_first_and_must_name_a_version_we_speak() {
    let (server, machine) = stage().await;
    let mut socket = TestAgent::open(&server, &machine).await.ok().unwrap();
    socket.send_json(&json!({"type": "heartbeat"})).await;
    assert_eq!(socket.closed().await.code, Some(1008));
    let mut socket = TestAgent::open(&server, &machine).await.ok().unwrap();
    let mut future = hello(&machine, Vec::new());
    future.protocols = vec!["9.0".parse().unwrap()];
    socket.send_text(gururmm_protocol::encode(&AgentMessage::Hello(future)).unwrap()).await;
    assert!(socket.next().await.unwrap().contains("no_common_version"));
}

#[tokio::test]
async fn a_newer_agents_unknown_messages_and_fields_are_ignored() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    for _ in 0..20 {
        agent.socket.send_json(&json!({"type": "teleport", "to": "mars"})).await;
    }
    agent.socket.send_json(&json!({"type": "heartbeat", "mood": "good"})).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    agent.expect("answer to a heartbeat", pick).await;
}

#[tokio::test]
async fn garbage_is_tolerated_a_little_and_then_closed() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    for garbage in ["", "{", "[]", "{\"type\":7}", "{\"type\":\"metrics\"}", "nonsense", "more"] {
        agent.socket.send_text(garbage).await;
    }
    assert_eq!(goodbye(&mut agent).await, GoodbyeReason::ProtocolError);
    still_serves(&server).await;
}

#[tokio::test]
async fn oversized_frames_end_their_own_session_only_and_binary_ones_are_passed_over() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    agent.socket.send_text("x".repeat(300 * 1024)).await;
    agent.socket.closed().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    agent.socket.send_binary(vec![0xff; 64]).await;
    agent.socket.send_json(&json!({"type": "heartbeat"})).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    agent.expect("answer to a heartbeat", pick).await;
    still_serves(&server).await;
}

#[tokio::test]
async fn text_that_is_not_utf8_ends_its_own_session_only() {
    let (server, machine) = stage().await;
    // Never valid, cut short, and a surrogate in between what would be a message.
    for bytes in [&b"\xff"[..], b"\xe2\x82", b"{\"type\":\"heart\xed\xa0\x80beat\"}"] {
        let mut agent = TestAgent::connect(&server, &machine).await;
        agent.socket.send_as_text(bytes).await;
        assert_eq!(goodbye(&mut agent).await, GoodbyeReason::ProtocolError, "{bytes:?}");
        assert_eq!(agent.socket.closed().await.code, Some(1008));
    }
    still_serves(&server).await;
}

/// Memory of this process that is resident, in bytes.
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kibibytes * 1024
}

/// Pongs that nobody asked for, as a client sends them, masked with zeros: nothing is cheaper to take, so that a server
/// that takes what comes takes all of them.
fn tiny_frames(count: usize) -> Vec<u8> {
    const BYTES: u8 = 24;
    let frame = [&[0x8a, 0x80 | BYTES, 0, 0, 0, 0][..], &[b'x'; BYTES as usize]].concat();
    frame.repeat(count)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_million_tiny_frames_take_neither_memory_nor_anybody_elses_turn() {
    const FRAMES: usize = 1_000_000;
    const AT_ONCE: usize = 1_000;
    const MOST_GROWTH: u64 = 32 * 1024 * 1024;
    let (server, machine) = stage().await;
    let other = server.seed_agent(&globex::HQ, "db-01").await;
    let mut neighbour = TestAgent::connect(&server, &other).await;
    let mut flooder = TestAgent::connect(&server, &machine).await;
    let frames = tiny_frames(AT_ONCE);
    let before = resident_bytes();
    let flood = tokio::spawn(async move {
        for sent in 0..FRAMES / AT_ONCE {
            // What is neither taken nor refused in this time waits in the sockets' buffers: the server holds it back.
            if !flooder.socket.send_raw(&frames, Duration::from_secs(5)).await {
                return (sent * AT_ONCE, flooder);
            }
        }
        (FRAMES, flooder)
    });
    let mut most = before;
    while !flood.is_finished() {
        neighbour.send(&AgentMessage::Heartbeat { clock: None }).await;
        let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
        neighbour.expect("answer to a heartbeat", pick).await;
        most = most.max(resident_bytes());
    }
    let (sent, _flooder) = flood.await.unwrap();
    let growth = most - before;
    assert!(growth <= MOST_GROWTH, "{} KiB more after {sent} frames", growth / 1024);
    assert!(sent < FRAMES, "all frames were taken at once: nothing held them back");
    assert!(
        server.app().gateway.is_connected(machine.id),
        "it was held back, not sent away: that is a minute off"
    );
    still_serves(&server).await;
}

#[tokio::test]
async fn a_flood_of_tiny_frames_is_paced_and_then_closed() {
    let (server, machine) = stage_with(|options| {
        options.sockets.gateway.messages_per_second = 50;
        options.sockets.gateway.throttled_at_most = Duration::from_millis(500);
    })
    .await;
    let flooder = tokio::spawn({
        let mut agent = TestAgent::connect(&server, &machine).await;
        async move {
            // Far more than it takes: on a busy machine there are pauses, and a pause is forgiven.
            for _ in 0..4_000 {
                agent.socket.send_json(&json!({"type": "unknown_tiny"})).await;
            }
            agent
        }
    });
    still_serves(&server).await;
    let mut agent = flooder.await.unwrap();
    assert_eq!(goodbye(&mut agent).await, GoodbyeReason::ProtocolError);
}

#[tokio::test]
async fn a_stopping_server_says_goodbye_and_leaves_nobody_online() {
    let (mut server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    shows(&server, &machine, true).await;
    let stopping = async {
        server.stop().await;
        server
    };
    let (server, spread) = tokio::join!(stopping, async {
        agent
            .expect("goodbye", |message| match message {
                ServerMessage::Goodbye {
                    reason: GoodbyeReason::ServerStopping,
                    reconnect_within_seconds,
                } => Some(reconnect_within_seconds),
                _ => None,
            })
            .await
    });
    assert!(spread >= 5, "agents come back spread over some time, not {spread} s");
    assert!(!is_connected(&server, &machine).await);
}

#[tokio::test]
async fn a_deleted_agent_is_sent_away() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    server.app().gateway.disconnect(machine.id, GoodbyeReason::Revoked);
    assert_eq!(goodbye(&mut agent).await, GoodbyeReason::Revoked);
    shows(&server, &machine, false).await;
    assert_eq!(server.app().gateway.connected_count(), 0);
}

#[tokio::test]
async fn markup_and_control_characters_in_every_string_are_only_text() {
    let (server, machine) = stage().await;
    let hostile = "<script>alert(1)</script>'; DROP TABLE agents; --\u{0}\u{202e}{{7*7}}".repeat(20);
    let mut socket = TestAgent::open(&server, &machine).await.ok().unwrap();
    let mut greeting = hello(&machine, Vec::new());
    greeting.agent_version.clone_from(&hostile);
    let system = &mut greeting.system;
    for text in [&mut system.hostname, &mut system.os_version, &mut system.arch] {
        text.clone_from(&hostile);
    }
    for text in [&mut system.kernel, &mut system.cpu_model, &mut system.manufacturer, &mut system.serial] {
        *text = Some(hostile.clone());
    }
    system.memory_bytes = Some(u64::MAX);
    socket.send_text(gururmm_protocol::encode(&AgentMessage::Hello(greeting)).unwrap()).await;
    let welcome = socket.next().await.unwrap();
    assert!(welcome.contains("welcome"), "{welcome}");
    let interface = json!({"name": hostile, "mac": hostile, "ipv4": [hostile], "subnets": [hostile]});
    let state = json!({"interfaces": [interface], "gateway": hostile, "dns": [hostile]});
    socket.send_json(&json!({"type": "network_state", "seq": 1, "state": state})).await;
    socket.expect("network_state_ack").await;
    let reader = server.client_as(&acme::READER).await;
    let agent = reader.get(&format!("/api/agents/{}", machine.id)).await.expect(200);
    let hostname = agent["hostname"].as_str().unwrap();
    assert!(hostname.starts_with("<script>") && hostname.chars().count() <= 255 && !hostname.contains('\0'));
    still_serves(&server).await;
}

#[tokio::test]
async fn an_agent_that_is_moved_keeps_its_session_and_is_told_of_in_its_new_place() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let admin = server.client_as(&acme::ADMIN).await;
    let path = format!("/api/agents/{}/move", machine.id);
    admin.post(&path, json!({"site_id": acme::SOUTH.id})).await.expect(200);
    eventually("the new place to be known", async || {
        let line = server.app().gateway.connected().into_iter().next()?;
        (line.place().1 == acme::SOUTH.id).then_some(())
    })
    .await;
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    agent.expect("answer to a heartbeat", pick).await;
}
