//! Policy: what holds for a machine, where it comes from, and how machines hear of it.

use gururmm_protocol::{AgentMessage, ServerMessage};
use gururmm_testkit::world::{PLATFORM_ADMIN, acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer};
use serde_json::{Value, json};
use uuid::Uuid;

const INTERVAL: &str = "metrics_interval_seconds";

fn path(level: &str, id: Uuid) -> String {
    format!("/api/v1/policies/{level}/{id}")
}

/// A field of the machine's effective policy.
async fn effective(reader: &ApiClient, machine: &SeededAgent, name: &str) -> Value {
    let policy = reader.get(&format!("/api/v1/agents/{}/policy", machine.id)).await.expect(200);
    policy["fields"].as_array().unwrap().iter().find(|field| field["name"] == name).unwrap().clone()
}

#[tokio::test]
async fn the_most_specific_value_wins_and_null_gives_way_to_the_next() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let (admin, platform) = (server.client_as(&acme::ADMIN).await, server.client_as(&PLATFORM_ADMIN).await);
    let levels = [
        ("platform", Uuid::nil()),
        ("partner", acme::PARTNER.id),
        ("client", acme::ALPHA.id),
        ("site", acme::HQ.id),
        ("agent", machine.id),
    ];
    let put = async |(level, id): (&str, Uuid), value: Value| {
        let who = if level == "platform" { &platform } else { &admin };
        who.put(&path(level, id), json!({ "settings": { INTERVAL: value } })).await.expect(200)
    };
    let default = effective(&admin, &machine, INTERVAL).await;
    assert_eq!((&default["value"], &default["source"]["scope"]), (&json!(60), &json!("default")));
    for (number, level) in levels.into_iter().enumerate() {
        let policy = put(level, json!(100 + number)).await;
        assert_eq!(policy["settings"], json!({ INTERVAL: 100 + number }));
    }
    for (number, level) in levels.into_iter().enumerate().rev() {
        let field = effective(&admin, &machine, INTERVAL).await;
        let id = (level.0 != "platform").then_some(level.1);
        assert_eq!(
            (&field["value"], &field["source"]["scope"], &field["source"]["id"]),
            (&json!(100 + number), &json!(level.0), &json!(id))
        );
        assert_eq!(put(level, Value::Null).await["settings"], json!({}));
    }
    assert_eq!(effective(&admin, &machine, INTERVAL).await, default);
}

#[tokio::test]
async fn a_connected_machine_that_moves_hears_what_holds_at_its_new_place() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let admin = server.client_as(&acme::ADMIN).await;
    let settings = json!({ "settings": { INTERVAL: 300, "user_activity": false } });
    admin.put(&path("site", acme::LAB.id), settings).await.expect(200);
    let mut agent = TestAgent::connect(&server, &machine).await;
    assert!(agent.welcome.config.user_activity);
    let move_to = format!("/api/agents/{}/move", machine.id);
    admin.post(&move_to, json!({ "site_id": acme::LAB.id })).await.expect(200);
    let pick = |message| match message {
        ServerMessage::ConfigUpdate { config } => Some(config),
        _ => None,
    };
    let config = agent.expect("settings of the new place", pick).await;
    assert_eq!((config.metrics_interval_seconds, config.user_activity), (300, false));
}

#[tokio::test]
async fn what_is_set_beside_or_elsewhere_stays_as_it_is() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let admin = server.client_as(&acme::ADMIN).await;
    let hq = path("site", acme::HQ.id);
    admin.put(&hq, json!({ "settings": { INTERVAL: 90, "public_ip": true } })).await.expect(200);
    admin.put(&path("site", acme::LAB.id), json!({ "settings": { INTERVAL: 30 } })).await.expect(200);
    let policy = admin.put(&hq, json!({ "settings": { "public_ip": null } })).await.expect(200);
    assert_eq!(
        (&policy["settings"], &policy["updated_by_name"]),
        (&json!({ INTERVAL: 90 }), &json!(acme::ADMIN.name))
    );
    assert_eq!(admin.get(&hq).await.expect(200), policy);
    let field = effective(&admin, &machine, INTERVAL).await;
    assert_eq!((&field["value"], &field["source"]["name"]), (&json!(90), &json!(acme::HQ.name)));
    // Other partners have their own.
    for (level, id) in
        [("site", globex::HQ.id), ("client", globex::ALPHA.id), ("partner", globex::PARTNER.id)]
    {
        admin.get(&path(level, id)).await.expect_problem(404, "NOT_FOUND");
        let attempt = json!({ "settings": { INTERVAL: 30 } });
        admin.put(&path(level, id), attempt).await.expect_problem(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn a_bad_value_is_named_and_nothing_of_it_is_kept() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let hq = path("site", acme::HQ.id);
    for (name, value, code) in [
        ("colour", json!("red"), "INVALID"),
        (INTERVAL, json!(9), "OUT_OF_RANGE"),
        (INTERVAL, json!(3_601), "OUT_OF_RANGE"),
        (INTERVAL, json!("60"), "INVALID"),
        (INTERVAL, json!(60.5), "INVALID"),
        ("process_list", json!(1), "INVALID"),
    ] {
        // A good value beside it is not kept either.
        let settings = json!({ "user_activity": false, name: value });
        let problem =
            admin.put(&hq, json!({ "settings": settings })).await.expect_problem(422, "VALIDATION_FAILED");
        let errors = problem["errors"].as_array().unwrap();
        assert_eq!(errors.len(), 1, "{problem}");
        assert_eq!(
            (&errors[0]["field"], &errors[0]["code"]),
            (&json!(format!("settings.{name}")), &json!(code))
        );
        assert_eq!(admin.get(&hq).await.expect(200)["settings"], json!({}));
    }
}

/// The settings that were pushed before the answer to this heartbeat.
async fn pushed(agent: &mut TestAgent) -> Vec<u32> {
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    let mut pushed = Vec::new();
    loop {
        match agent.next().await.unwrap() {
            ServerMessage::HeartbeatAck { .. } => return pushed,
            ServerMessage::ConfigUpdate { config } => pushed.push(config.metrics_interval_seconds),
            _ => {}
        }
    }
}

#[tokio::test]
async fn connected_machines_hear_of_a_change_that_is_one_for_them() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let here = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &here).await;
    let mut elsewhere = TestAgent::connect(&server, &server.seed_agent(&acme::LAB, "lab-01").await).await;
    let mut foreign = TestAgent::connect(&server, &server.seed_agent(&globex::HQ, "db-01").await).await;
    assert_eq!(agent.welcome.config.metrics_interval_seconds, 60);
    let set = async |level: &str, id: Uuid, value: Value| {
        admin.put(&path(level, id), json!({ "settings": { INTERVAL: value } })).await.expect(200);
    };
    set("site", acme::HQ.id, json!(30)).await;
    // Overridden by its site's: no change for this one.
    set("partner", acme::PARTNER.id, json!(45)).await;
    set("site", acme::HQ.id, Value::Null).await;
    assert_eq!(pushed(&mut agent).await, [30, 45]);
    assert_eq!(pushed(&mut elsewhere).await, [45]);
    assert!(pushed(&mut foreign).await.is_empty());
    let again = TestAgent::connect(&server, &here).await;
    assert_eq!(again.welcome.config.metrics_interval_seconds, 45);
}
