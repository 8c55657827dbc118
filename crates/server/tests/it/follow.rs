//! Agents are sent to a renamed or new server: who may, what agents are told, and what is known of how they fared.

use gururmm_protocol::follow::{FollowMe, FollowRecord, FollowReport, FollowState, SignedRecord};
use gururmm_protocol::{AgentMessage, ServerMessage, Version};
use gururmm_testkit::world::{self, acme, globex};
use gururmm_testkit::{TestAgent, TestServer};
use ring::signature::{ED25519, UnparsedPublicKey};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/system/follow-me";

async fn told(agent: &mut TestAgent) -> FollowMe {
    loop {
        if let ServerMessage::FollowMe(follow) = agent.next_of_all().await.unwrap() {
            return follow;
        }
    }
}

async fn told_record(agent: &mut TestAgent) -> (FollowMe, FollowRecord) {
    loop {
        let follow = told(agent).await;
        if let Some(SignedRecord { record, .. }) = &follow.record {
            let record = serde_json::from_str(record).unwrap();
            return (follow, record);
        }
    }
}

async fn say(agent: &mut TestAgent, serial: u64, state: FollowState, code: Option<&str>) {
    let report = FollowReport {
        serial,
        state,
        error_code: code.map(str::to_owned),
        error: code.map(|_| "no answer".to_owned()),
        at: chrono::Utc::now(),
    };
    agent.send(&AgentMessage::FollowReport(report)).await;
    let pick = |message| match message {
        ServerMessage::FollowReportAck { serial: of, state: with } => {
            ((of, with) == (serial, state)).then_some(())
        }
        _ => None,
    };
    agent.expect("acknowledgement of the report", pick).await;
}

#[tokio::test]
async fn a_record_reaches_connected_agents_and_those_that_come_and_is_signed_with_the_key_they_know() {
    let server = TestServer::start().await;
    let platform = server.client_as(&world::PLATFORM_ADMIN).await;
    let machine = server.seed_agent(&acme::HQ, "pc-1").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let key = told(&mut agent).await.key;
    let body = json!({ "server_url": "https://New.example.com/", "ca_fingerprint": format!("sha256:{}", "AB".repeat(32)) });
    platform.put(PATH, body).await.expect(200);
    let (follow, record) = told_record(&mut agent).await;
    assert_eq!((record.serial, record.server_url.as_str()), (1, "https://new.example.com"));
    assert_eq!(record.ca_fingerprint.as_deref(), Some(format!("sha256:{}", "ab".repeat(32)).as_str()));
    let signed = follow.record.unwrap();
    UnparsedPublicKey::new(&ED25519, &key.0)
        .verify(&SignedRecord::signed_bytes(&signed.record), &signed.signature.0)
        .unwrap();
    // Whoever comes is told, too; an agent that speaks 1.0 is told nothing that it does not know.
    let mut again = TestAgent::connect(&server, &machine).await;
    assert_eq!(told_record(&mut again).await.1, record);
    let mut hello = gururmm_testkit::agent::hello(&machine, Vec::new());
    hello.protocols = vec![Version { major: 1, minor: 0 }];
    let mut old = TestAgent::connect_saying(&server, &machine, hello).await;
    old.send(&AgentMessage::Heartbeat { clock: None }).await;
    loop {
        match old.next_of_all().await.unwrap() {
            ServerMessage::FollowMe(_) => panic!("it does not know this"),
            ServerMessage::HeartbeatAck { .. } => break,
            _ => {}
        }
    }
    // Each record is newer than the one before; the key stays, also over a restart.
    platform.put(PATH, json!({ "server_url": "https://newer.example.com" })).await.expect(200);
    let mut agent = TestAgent::connect(&server, &machine).await;
    let (follow, record) = loop {
        let told = told_record(&mut agent).await;
        if told.1.serial == 2 {
            break told;
        }
    };
    assert_eq!((follow.key, record.server_url.as_str()), (key, "https://newer.example.com"));
}

#[tokio::test]
async fn the_serial_and_the_key_survive_a_restart_and_a_withdrawal() {
    let mut server = TestServer::start().await;
    let platform = server.client_as(&world::PLATFORM_ADMIN).await;
    platform.delete(PATH).await.expect(204);
    let first = platform.put(PATH, json!({ "server_url": "https://new.example.com" })).await.expect(200);
    platform.delete(PATH).await.expect(204);
    let none = platform.get(PATH).await.expect(200);
    assert_eq!((&none["record"], &none["key"]), (&Value::Null, &first["key"]));
    server.restart().await;
    let platform = server.client_as(&world::PLATFORM_ADMIN).await;
    let second = platform.put(PATH, json!({ "server_url": "https://new.example.com" })).await.expect(200);
    assert_eq!((&second["record"]["serial"], &second["key"]), (&json!(2), &first["key"]));
}

#[tokio::test]
async fn it_is_said_how_many_followed_and_why_others_did_not() {
    let server = TestServer::start().await;
    let platform = server.client_as(&world::PLATFORM_ADMIN).await;
    platform.put(PATH, json!({ "server_url": "https://new.example.com" })).await.expect(200);
    let mut agents = Vec::new();
    for (site, name) in
        [(&acme::HQ, "pc-1"), (&acme::HQ, "pc-2"), (&globex::HQ, "pc-3"), (&globex::HQ, "pc-4")]
    {
        agents.push(TestAgent::connect(&server, &server.seed_agent(site, name).await).await);
    }
    say(&mut agents[0], 1, FollowState::Confirmed, None).await;
    say(&mut agents[1], 1, FollowState::Reverted, Some("NOT_WELCOMED")).await;
    say(&mut agents[2], 1, FollowState::Refused, Some("SIGNATURE")).await;
    let status = platform.get(PATH).await.expect(200);
    assert_eq!((&status["confirmed"], &status["waiting"]), (&json!(1), &json!(1)));
    let mut failures: Vec<_> = status["not_following"].as_array().unwrap().clone();
    failures.sort_by_key(|failure| failure["error_code"].as_str().unwrap().to_owned());
    assert_eq!(
        failures,
        [
            json!({ "has_tried": true, "error_code": "NOT_WELCOMED", "error": "no answer", "agents": 1 }),
            json!({ "has_tried": false, "error_code": "SIGNATURE", "error": "no answer", "agents": 1 }),
        ]
    );
    // What it says last counts, unless it is of an older record.
    say(&mut agents[1], 1, FollowState::Confirmed, None).await;
    say(&mut agents[0], 0, FollowState::Reverted, Some("NOT_WELCOMED")).await;
    say(&mut agents[0], u64::MAX, FollowState::Reverted, None).await;
    assert_eq!(platform.get(PATH).await.expect(200)["confirmed"], 2);
    // Another record is another matter.
    platform.put(PATH, json!({ "server_url": "https://newer.example.com" })).await.expect(200);
    assert_eq!(platform.get(PATH).await.expect(200)["waiting"], 4);
}

#[tokio::test]
async fn agents_are_sent_to_whole_https_addresses_only() {
    let server = TestServer::start().await;
    let platform = server.client_as(&world::PLATFORM_ADMIN).await;
    for body in [
        json!({ "server_url": "http://new.example.com" }),
        json!({ "server_url": "https://new.example.com/rmm" }),
        json!({ "server_url": "https://new.example.com", "ca_fingerprint": "sha256:ab" }),
        json!({ "server_url": "https://new.example.com", "next_key": "AAAA" }),
        json!({ "server_url": "https://new.example.com", "valid_days": 0 }),
        json!({ "server_url": "https://new.example.com", "not_before": "2020-01-01T00:00:00Z" }),
    ] {
        platform.put(PATH, body).await.expect_problem(422, "VALIDATION_FAILED");
    }
    assert_eq!(platform.get(PATH).await.expect(200)["record"], Value::Null);
}
