//! The browsers' live socket: who gets in, what is told to whom, streams, and how it ends.

use chrono::Utc;
use gururmm_protocol::command::{Bytes, OutputChunk, Stream};
use gururmm_protocol::{AgentMessage, CommandId, ServerMessage};
use gururmm_server::auth::credential::SessionKind;
use gururmm_server::bus::{Event, Topic};
use gururmm_testkit::agent::sample;
use gururmm_testkit::world::{Person, acme, globex};
use gururmm_testkit::{Answer, ApiClient, TestAgent, TestDatabase, TestServer, TestSocket};
use serde_json::{Value, json};
use std::time::Duration;
use uuid::Uuid;

const PATH: &str = "/api/v1/live";
const PROTOCOL: &str = "sec-websocket-protocol";

fn origin(server: &TestServer) -> String {
    server.app().config.public_url.origin().ascii_serialization()
}

async fn ticket(client: &ApiClient) -> String {
    let answer = client.post("/api/v1/live/ticket", json!({})).await.expect(200);
    assert_eq!(answer["expires_in_seconds"], 30);
    answer["ticket"].as_str().unwrap().to_owned()
}

async fn open_with(server: &TestServer, ticket: &str) -> Result<TestSocket, Answer> {
    let offered = format!("gururmm.live.v1, ticket.{ticket}");
    server.anonymous().with("origin", &origin(server)).with(PROTOCOL, &offered).upgrade(PATH).await
}

async fn open(server: &TestServer, person: &Person) -> TestSocket {
    let ticket = ticket(&server.client_as(person).await).await;
    let mut socket = open_with(server, &ticket).await.unwrap_or_else(|answer| panic!("{answer}"));
    assert_eq!(socket.protocol.as_deref(), Some("gururmm.live.v1"));
    assert!(socket.expect("hello").await["server_time"].is_string());
    socket
}

async fn subscribe(socket: &mut TestSocket, sub: u32, topic: Value) {
    socket.send_json(&json!({"op": "subscribe", "sub": sub, "topic": topic})).await;
}

async fn expect_live(agent: &mut TestAgent) -> Option<u32> {
    agent
        .expect("live metrics", |message| match message {
            ServerMessage::LiveMetrics { interval_ms } => Some(interval_ms),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn a_ticket_opens_one_socket_once_and_never_from_the_url() {
    let server = TestServer::start().await;
    let browser = server.browser_as(&acme::READER).await;
    let ticket = ticket(&browser).await;
    let in_url = format!("{PATH}?ticket={ticket}");
    let page = server.anonymous().with("origin", &origin(&server));
    page.upgrade(&in_url).await.err().unwrap().expect_problem(401, "UNAUTHENTICATED");
    let cookie_only = browser.clone().with("origin", &origin(&server));
    cookie_only.upgrade(PATH).await.err().unwrap().expect_problem(401, "UNAUTHENTICATED");
    open_with(&server, &ticket).await.ok().unwrap();
    open_with(&server, &ticket).await.err().unwrap().expect_problem(401, "UNAUTHENTICATED");
    let script = server.client_as(&acme::READER).await.with("origin", &origin(&server));
    script.upgrade(PATH).await.ok().unwrap().expect("hello").await;
}

#[tokio::test]
async fn only_the_servers_own_pages_open_a_socket() {
    let server = TestServer::start().await;
    let client = server.client_as(&acme::OWNER).await;
    client.upgrade(PATH).await.err().unwrap().expect_problem(403, "ORIGIN_REFUSED");
    let own = origin(&server);
    let port = server.address().port();
    let variants = [
        "null".to_owned(),
        "https://evil.example.com".to_owned(),
        format!("{own}.evil.example.com"),
        format!("{own}/"),
        format!("{own}@evil.example.com"),
        own.to_uppercase(),
        own.replace("http:", "https:"),
        own.replace(&port.to_string(), &(port ^ 1).to_string()),
        format!("http://localhost:{port}"),
        format!("{own} https://evil.example.com"),
        "file://".to_owned(),
        String::new(),
        format!("http://evil.example.com:{port}"),
    ];
    for variant in variants {
        let answer = client.clone().with("origin", &variant).upgrade(PATH).await.err();
        answer.unwrap_or_else(|| panic!("{variant} got in")).expect_problem(403, "ORIGIN_REFUSED");
    }
}

#[tokio::test]
async fn a_page_hears_of_its_own_partner_and_its_own_part() {
    let server = TestServer::start().await;
    let mut reader = open(&server, &acme::READER).await;
    let mut confined = open(&server, &acme::BETA_TECH).await;
    let mut stranger = open(&server, &globex::OWNER).await;
    let owner = server.client_as(&acme::ADMIN).await;
    let made = owner.post("/api/v1/clients", json!({"name": "New client"})).await.expect(201);
    let told = reader.expect("invalidate").await;
    assert_eq!((&told["kind"], &told["id"]), (&json!("client"), &made["id"]));
    // Something each of the others hears, after what they must not.
    let partner = |id: Uuid| Event::new(Topic::PartnerChanged, id, id);
    server.app().bus.publish(partner(acme::PARTNER.id));
    server.app().bus.publish(partner(globex::PARTNER.id));
    for socket in [&mut confined, &mut stranger] {
        assert_eq!(socket.expect("invalidate").await["kind"], "partner");
    }
}

#[tokio::test]
async fn a_machine_measures_often_while_anyone_looks_and_only_then() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let (mut one, mut two) = (open(&server, &acme::READER).await, open(&server, &acme::TECH).await);
    let topic = json!({"kind": "agent_metrics", "agent_id": machine.id});
    subscribe(&mut one, 1, topic.clone()).await;
    assert_eq!(expect_live(&mut agent).await, Some(2_000));
    subscribe(&mut two, 7, topic).await;
    // The second watcher is there when it gets a sample too.
    for (socket, sub) in [(&mut one, 1), (&mut two, 7)] {
        let frame = loop {
            agent.send(&AgentMessage::Metrics { seq: 0, sample: sample() }).await;
            let frame = tokio::time::timeout(Duration::from_millis(200), socket.expect("metrics")).await;
            if let Ok(frame) = frame {
                break frame;
            }
        };
        assert_eq!((&frame["sub"], &frame["sample"]["cpu_percent"]), (&json!(sub), &json!(12.5)));
    }
    one.send_json(&json!({"op": "unsubscribe", "sub": 1})).await;

    // A machine that comes back is told again; then the last page is closed.
    drop(agent);
    let mut agent = TestAgent::connect(&server, &machine).await;
    assert_eq!(expect_live(&mut agent).await, Some(2_000));
    two.close().await;
    assert_eq!(expect_live(&mut agent).await, None);
}

#[tokio::test]
async fn nobody_watches_what_she_may_not_see() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    for person in [&globex::OWNER, &acme::LAB_TECH] {
        let mut socket = open(&server, person).await;
        subscribe(&mut socket, 3, json!({"kind": "agent_metrics", "agent_id": machine.id})).await;
        let refused = socket.expect("error").await;
        assert_eq!((&refused["sub"], &refused["code"]), (&json!(3), &json!("NOT_FOUND")));
        subscribe(&mut socket, 4, json!({"kind": "command_output", "command_id": Uuid::now_v7()})).await;
        assert_eq!(socket.expect("error").await["code"], "NOT_FOUND");
    }
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    let heard = agent.next().await.unwrap();
    assert!(matches!(heard, ServerMessage::HeartbeatAck { .. }), "it was told nothing: {heard:?}");
}

async fn run_command(server: &TestServer, agent: &mut TestAgent) -> CommandId {
    let tech = server.client_as(&acme::TECH).await;
    let order = json!({"command_type": "shell", "command": "make noise"});
    tech.post(&format!("/api/agents/{}/command", agent.machine.id), order).await.expect(200);
    let command_id = agent.expect_command().await.command_id;
    agent.send(&AgentMessage::CommandStarted { command_id, started_at: Utc::now() }).await;
    command_id
}

async fn write(agent: &mut TestAgent, command_id: CommandId, seq: u32, data: &[u8]) {
    let chunk = OutputChunk { command_id, seq, stream: Stream::Stdout, data: Bytes(data.to_vec()) };
    agent.send(&AgentMessage::CommandOutput(chunk)).await;
    let pick = |message| matches!(message, ServerMessage::CommandOutputAck { .. }).then_some(());
    agent.expect("acknowledgement of output", pick).await;
}

#[tokio::test]
async fn output_streams_into_the_page_and_the_end_comes_last() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let id = run_command(&server, &mut agent).await;
    let mut page = open(&server, &acme::READER).await;
    subscribe(&mut page, 2, json!({"kind": "command_output", "command_id": id, "after_seq": 0})).await;
    // A character cut between two pieces arrives whole.
    write(&mut agent, id, 1, b"gr\xc3").await;
    write(&mut agent, id, 2, b"\xbc\xc3\x9fe\n").await;
    let (mut text, mut seq) = (String::new(), 0);
    while seq < 2 {
        let frame = page.expect("output").await;
        text.push_str(frame["text"].as_str().unwrap());
        seq = frame["seq"].as_i64().unwrap();
    }
    assert_eq!(text, "gr\u{fc}\u{df}e\n");
    let end = gururmm_protocol::command::CommandEnd {
        command_id: id,
        outcome: gururmm_protocol::command::Outcome::Completed,
        exit_code: Some(0),
        error: None,
        error_code: None,
        stdout_bytes: 8,
        stderr_bytes: 0,
        truncated: false,
        last_seq: 2,
        started_at: None,
        ended_at: Utc::now(),
    };
    agent.send(&AgentMessage::CommandEnded(end)).await;
    loop {
        let frame = page.expect("command").await;
        if frame["command"]["status"] == "completed" {
            break;
        }
    }
}

#[tokio::test]
async fn a_page_that_does_not_read_holds_nothing_up_and_loses_nothing() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let id = run_command(&server, &mut agent).await;
    let mut stalled = open(&server, &acme::READER).await;
    subscribe(&mut stalled, 2, json!({"kind": "command_output", "command_id": id})).await;
    let piece = vec![b'x'; 32 * 1024];
    for seq in 1..=200 {
        write(&mut agent, id, seq, &piece).await;
    }
    let mut seen = 0;
    while seen < 200 {
        let frame = stalled.expect("output").await;
        seen += 1;
        assert_eq!(frame["seq"], seen, "in order, without a gap");
    }
}

#[tokio::test]
async fn a_revoked_session_loses_its_sockets_at_once() {
    let server = TestServer::start().await;
    let mut socket = open(&server, &acme::TECH).await;
    let other = server.client_as(&acme::TECH).await;
    other.delete("/api/v1/sessions").await.expect(204);
    assert_eq!(socket.closed().await.code, Some(4401));
}

#[tokio::test]
async fn rights_that_change_are_noticed_without_being_told() {
    let configure = |options: &mut gururmm_server::serve::ServeOptions| {
        options.sockets.live.recheck = Duration::from_millis(100);
    };
    let server = TestServer::start_with(TestDatabase::with_world().await, configure).await;
    let mut demoted = open(&server, &acme::TECH).await;
    let mut suspended = open(&server, &acme::ADMIN).await;
    let mut owner = server.owner().await;
    let demote = "UPDATE memberships SET role = 'read_only' WHERE user_id = $1";
    sqlx::query(demote).bind(acme::TECH.id).execute(&mut owner).await.unwrap();
    assert_eq!(demoted.closed().await.code, Some(4403));
    let suspend = "UPDATE users SET status = 'suspended' WHERE id = $1";
    sqlx::query(suspend).bind(acme::ADMIN.id).execute(&mut owner).await.unwrap();
    assert_eq!(suspended.closed().await.code, Some(4401));
}

#[tokio::test]
async fn one_session_cannot_take_all_sockets_nor_flood_its_own() {
    let server = TestServer::start().await;
    let session = server.session_of(&acme::READER, SessionKind::Api).await;
    let client = server.anonymous().with_bearer(&session.token).with("origin", &origin(&server));
    let mut open = Vec::new();
    let refused = loop {
        match client.upgrade(PATH).await {
            Ok(socket) => open.push(socket),
            Err(answer) => break answer,
        }
        assert!(open.len() <= 100, "no limit");
    };
    refused.expect_problem(429, "RATE_LIMITED");
    let mut flooder = open.pop().unwrap();
    for sub in 0..40 {
        subscribe(&mut flooder, sub, json!({"kind": "command_output", "command_id": Uuid::now_v7()})).await;
    }
    flooder.send_text("{").await;
    assert_eq!(flooder.closed().await.code, Some(1008));
}
