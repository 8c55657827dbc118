//! The clone matrix: whatever was copied, machines that are both there are never one agent, both are shown, people are
//! told, and history is never inherited. What asks to be let in with the identity of another is in `enroll`.

use crate::enroll::{enroll, key_of, machine};
use chrono::{TimeDelta, Utc};
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::{AgentMessage, Decoded, ServerMessage, decode_server_message, encode};
use gururmm_testkit::agent::hello;
use gururmm_testkit::world::acme;
use gururmm_testkit::{SeededAgent, TestAgent, TestServer, TestSocket, eventually};
use serde_json::{Value, json};

/// A machine that was started so long ago, and says so when it connects.
async fn connect(server: &TestServer, machine: &SeededAgent, started_hours_ago: i64) -> TestSocket {
    let mut socket = TestAgent::open(server, machine).await.unwrap();
    let mut hello = hello(machine, Vec::new());
    hello.system.boot_time = Some(Utc::now() - TimeDelta::hours(started_hours_ago));
    socket.send_text(encode(&AgentMessage::Hello(hello)).unwrap()).await;
    socket
}

/// The first message of the server that is a welcome or a goodbye.
async fn answer(socket: &mut TestSocket) -> Result<(), GoodbyeReason> {
    loop {
        let text = socket.next().await.unwrap_or_else(|closed| panic!("{closed:?}"));
        match decode_server_message(&text).unwrap() {
            Decoded::Known(ServerMessage::Welcome(_)) => return Ok(()),
            Decoded::Known(ServerMessage::Goodbye { reason, .. }) => return Err(reason),
            _ => {}
        }
    }
}

async fn still_served(socket: &mut TestSocket) {
    socket.send_text(encode(&AgentMessage::Heartbeat { clock: None }).unwrap()).await;
    loop {
        let text = socket.next().await.unwrap_or_else(|closed| panic!("{closed:?}"));
        if let Decoded::Known(ServerMessage::HeartbeatAck { .. }) = decode_server_message(&text).unwrap() {
            return;
        }
    }
}

async fn alerts(server: &TestServer) -> Vec<Value> {
    let page = server.client_as(&acme::READER).await.get("/api/v1/alerts?status=open").await.expect(200);
    page["items"].as_array().unwrap().clone()
}

/// The same disk in another machine: the key is the same, the hardware is not.
fn copied_to(machine: &SeededAgent, hostname: &str) -> SeededAgent {
    SeededAgent {
        hostname: hostname.to_owned(),
        machine_uid: format!("uid-of-{hostname}"),
        ..machine.clone()
    }
}

#[tokio::test]
async fn a_copied_disk_in_another_machine_is_refused_beside_its_original_and_shown() {
    let server = TestServer::start().await;
    let original = server.seed_agent(&acme::HQ, "web-01").await;
    let copy = copied_to(&original, "web-01-copy");
    let mut there = connect(&server, &original, 5).await;
    answer(&mut there).await.unwrap();
    for _ in 0..2 {
        let mut newcomer = connect(&server, &copy, 1).await;
        assert_eq!(answer(&mut newcomer).await, Err(GoodbyeReason::Revoked));
    }
    still_served(&mut there).await;
    // What the original says is still written down, though another session came after it.
    let mut owner = server.owner().await;
    let epochs: (i64, i64) =
        sqlx::query_as("SELECT session_epoch, (SELECT count(*) FROM agents) FROM agents WHERE id = $1")
            .bind(original.id)
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert_eq!(epochs, (1, 2), "one session lives, and there are two records");
    let told = alerts(&server).await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(
        (&told[0]["kind"], &told[0]["severity"], &told[0]["agent_id"], &told[0]["count"]),
        (&json!("agent.key_copied"), &json!("critical"), &json!(original.id), &json!(2))
    );
    let queue = server.client_as(&acme::ADMIN).await.get("/api/v1/approvals").await.expect(200);
    let waiting = &queue["items"][0];
    assert_eq!(
        json!([
            queue["total"],
            waiting["agent"]["hostname"],
            waiting["agent"]["pending_reason"],
            waiting["collides_with"]["id"],
            waiting["agent"]["id"] == told[0]["detail"]["copy_id"]
        ]),
        json!([1, "web-01-copy", "key_copied", original.id, true])
    );
}

#[tokio::test]
async fn whoever_says_it_is_ever_another_machine_fills_no_queue() {
    let server = TestServer::start().await;
    let original = server.seed_agent(&acme::HQ, "web-01").await;
    let mut there = connect(&server, &original, 5).await;
    answer(&mut there).await.unwrap();
    for number in 0..13 {
        let mut newcomer = connect(&server, &copied_to(&original, &format!("copy-{number}")), 1).await;
        assert_eq!(answer(&mut newcomer).await, Err(GoodbyeReason::Revoked));
    }
    let queue = server.client_as(&acme::ADMIN).await.get("/api/v1/approvals").await.expect(200);
    assert_eq!(queue["total"], 10);
    let told = alerts(&server).await;
    assert_eq!((told.len(), &told[0]["count"]), (1, &json!(13)));
    still_served(&mut there).await;
}

#[tokio::test]
async fn a_copy_that_was_there_first_gives_way_to_the_known_machine() {
    let server = TestServer::start().await;
    let original = server.seed_agent(&acme::HQ, "web-01").await;
    let mut copy = connect(&server, &copied_to(&original, "web-01-copy"), 1).await;
    answer(&mut copy).await.unwrap();
    let mut known = connect(&server, &original, 5).await;
    answer(&mut known).await.unwrap();
    assert_eq!(answer(&mut copy).await, Err(GoodbyeReason::Revoked));
    still_served(&mut known).await;
    let kinds: Vec<Value> = alerts(&server).await.iter().map(|alert| alert["kind"].clone()).collect();
    assert!(kinds.contains(&json!("agent.key_copied")), "{kinds:?}");
    // It runs on other hardware than its record says: that was said when it came.
    assert!(kinds.contains(&json!("agent.identity_changed")), "{kinds:?}");
}

#[tokio::test]
async fn a_copy_is_never_the_known_machine_and_enrolls_for_itself() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let original = server.seed_agent(&acme::HQ, "web-01").await;
    let mut there = connect(&server, &original, 5).await;
    answer(&mut there).await.unwrap();
    let mut copy = connect(&server, &copied_to(&original, "web-02"), 1).await;
    answer(&mut copy).await.unwrap_err();
    let id = admin.get("/api/v1/approvals").await.expect(200)["items"][0]["agent"]["id"].clone();
    let approve = format!("/api/v1/agents/{}/approve", id.as_str().unwrap());
    admin.post(&approve, json!({ "as": "same_machine" })).await.expect_problem(409, "INVALID_STATE");
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let own = enroll(&server, &acme::HQ, &secret, &machine("web-02", "uid-of-web-02", "disk-2")).await;
    assert_eq!(own.status, "active");
    let agent = TestAgent::connect(&server, &own.machine).await;
    assert_ne!(agent.welcome.agent_id.0, original.id);
    still_served(&mut there).await;
    assert_eq!(admin.get("/api/v1/approvals").await.expect(200)["total"], 0, "it waits no more");
    let listed = admin.get("/api/agents").await.expect(200);
    let names: Vec<&Value> = listed.as_array().unwrap().iter().map(|agent| &agent["hostname"]).collect();
    assert_eq!(names, ["web-01", "web-02"]);
}

#[tokio::test]
async fn a_snapshot_that_was_started_beside_its_original_is_found_when_they_take_turns() {
    let server = TestServer::start().await;
    // Key, identity and serials are the same: only when each of them was started differs.
    let machine = server.seed_agent(&acme::HQ, "vm-01").await;
    let mut original = connect(&server, &machine, 50).await;
    answer(&mut original).await.unwrap();
    let mut snapshot = connect(&server, &machine, 2).await;
    answer(&mut snapshot).await.unwrap();
    assert_eq!(answer(&mut original).await, Err(GoodbyeReason::Replaced));
    assert_eq!(alerts(&server).await.len(), 0, "so far it may be one machine that was started anew");
    let mut original = connect(&server, &machine, 50).await;
    answer(&mut original).await.unwrap();
    assert_eq!(answer(&mut snapshot).await, Err(GoodbyeReason::Replaced));
    let told = eventually("the alarm", async || alerts(&server).await.into_iter().next()).await;
    assert_eq!((&told["kind"], &told["severity"]), (&json!("agent.key_shared"), &json!("critical")));
    let machines = told["detail"]["machines"].as_array().unwrap();
    assert_eq!(machines.len(), 2, "both are shown");
    assert_ne!(machines[0]["boot_time"], machines[1]["boot_time"]);
    assert!(machines.iter().all(|machine| machine["address"].is_string()), "{told}");
}

#[tokio::test]
async fn a_machine_that_reconnects_over_a_broken_link_is_taken_for_no_copy() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "laptop-01").await;
    let mut sockets = Vec::new();
    // Its old sockets do not know that they are dead; in between it was started anew.
    for hours in [9, 9, 9, 1, 1, 1] {
        let mut socket = connect(&server, &machine, hours).await;
        answer(&mut socket).await.unwrap();
        sockets.push(socket);
    }
    still_served(sockets.last_mut().unwrap()).await;
    assert_eq!(alerts(&server).await, Vec::<Value>::new());
    let agents = server.client_as(&acme::READER).await.get("/api/v1/agents").await.expect(200);
    assert_eq!(agents["total"], 1);
}
