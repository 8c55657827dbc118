//! Alerts, from the cause to the end: `/api/v1/alerts`.

use crate::enroll::{enroll, key_of, machine};
use chrono::{TimeDelta, Utc};
use gururmm_protocol::{AgentMessage, ServerMessage};
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{TestAgent, TestServer, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn an_alert_is_raised_seen_resolved_and_never_goes_back() {
    let server = TestServer::start().await;
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let known = enroll(&server, &acme::HQ, &secret, &machine("web-01", "uid-of-both", "disk-7")).await;
    let _online = TestAgent::connect(&server, &known.machine).await;
    let clone = enroll(&server, &acme::HQ, &secret, &machine("web-01b", "uid-of-both", "disk-7")).await;

    let tech = server.client_as(&acme::TECH).await;
    let open = tech.get("/api/v1/alerts?status=open").await.expect(200);
    assert_eq!(open["total"], 1);
    let alert = &open["items"][0];
    assert_eq!(
        (&alert["kind"], &alert["severity"], &alert["agent_id"]),
        (&json!("agent.pending"), &json!("warning"), &json!(clone.machine.id))
    );
    assert_eq!(alert["detail"], json!({ "reason": "identity_in_use", "collides_with": known.machine.id }));
    let path = format!("/api/v1/alerts/{}", alert["id"].as_str().unwrap());
    let (acknowledge, resolve) = (format!("{path}/acknowledge"), format!("{path}/resolve"));

    let seen = tech.post(&acknowledge, json!({})).await.expect(200);
    assert_eq!(
        (&seen["status"], &seen["acknowledged_by_name"], &seen["resolved_at"]),
        (&json!("acknowledged"), &json!(acme::TECH.name), &Value::Null)
    );
    tech.post(&acknowledge, json!({})).await.expect_problem(409, "INVALID_STATE");
    assert_eq!(tech.get("/api/v1/alerts?status=open").await.expect(200)["total"], 0);

    let over = tech.post(&resolve, json!({})).await.expect(200);
    assert_eq!((&over["status"], &over["resolved_by_name"]), (&json!("resolved"), &json!(acme::TECH.name)));
    tech.post(&resolve, json!({})).await.expect_problem(409, "INVALID_STATE");
    tech.post(&acknowledge, json!({})).await.expect_problem(409, "INVALID_STATE");
    assert_eq!(tech.get(&path).await.expect(200), over);
}

#[tokio::test]
async fn the_decision_about_a_machine_ends_its_alert() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let site = format!("/api/v1/sites/{}", acme::HQ.id);
    admin.patch(&site, json!({ "approval_required": true })).await.expect(200);
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let new = enroll(&server, &acme::HQ, &secret, &machine("web-01", "uid-of-web-01", "disk-1")).await;
    let of_it = format!("/api/v1/alerts?agent_id={}", new.machine.id);
    let alert = admin.get(&of_it).await.expect(200)["items"][0].clone();
    assert_eq!((&alert["status"], &alert["severity"]), (&json!("open"), &json!("info")));
    let approve = format!("/api/v1/agents/{}/approve", new.machine.id);
    admin.post(&approve, json!({ "as": "accept" })).await.expect(200);
    let alert = admin.get(&of_it).await.expect(200)["items"][0].clone();
    assert_eq!(
        (&alert["status"], &alert["resolved_by_name"]),
        (&json!("resolved"), &json!(acme::ADMIN.name))
    );
}

#[tokio::test]
async fn alerts_of_other_partners_and_clients_are_unknown() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let site = format!("/api/v1/sites/{}", acme::HQ.id);
    admin.patch(&site, json!({ "approval_required": true })).await.expect(200);
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    enroll(&server, &acme::HQ, &secret, &machine("web-01", "uid-of-web-01", "disk-1")).await;
    let alert = admin.get("/api/v1/alerts").await.expect(200)["items"][0].clone();
    let path = format!("/api/v1/alerts/{}", alert["id"].as_str().unwrap());
    for stranger in [&globex::OWNER, &acme::BETA_TECH] {
        let stranger = server.client_as(stranger).await;
        assert_eq!(stranger.get("/api/v1/alerts").await.expect(200)["total"], 0);
        stranger.get(&path).await.expect_problem(404, "NOT_FOUND");
        for action in ["acknowledge", "resolve"] {
            stranger.post(&format!("{path}/{action}"), json!({})).await.expect_problem(404, "NOT_FOUND");
        }
    }
    assert_eq!(admin.get(&path).await.expect(200), alert);
}

/// Says what the machine's clock shows, and waits until the server has heard it.
async fn show_clock(agent: &mut TestAgent, ahead: TimeDelta) {
    // The second is answered when the first has been handled.
    for _ in 0..2 {
        agent.send(&AgentMessage::Heartbeat { clock: Some(Utc::now() + ahead) }).await;
        let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
        agent.expect("answer to a heartbeat", pick).await;
    }
}

#[tokio::test]
async fn a_machine_whose_clock_is_wrong_is_told_of_until_it_is_right_again() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let reader = server.client_as(&acme::READER).await;
    let offset = async || {
        let detail = reader.get(&format!("/api/v1/agents/{}", machine.id)).await.expect(200);
        detail["clock_offset_ms"].as_i64()
    };
    let alerts = async || reader.get(&format!("/api/v1/alerts?agent_id={}", machine.id)).await.expect(200);
    let near = |offset: Option<i64>, expected: TimeDelta| {
        (offset.unwrap() - expected.num_milliseconds()).abs() < 30_000
    };
    let mut agent = TestAgent::connect(&server, &machine).await;
    assert_eq!(offset().await, None, "nothing was said of it yet");
    show_clock(&mut agent, TimeDelta::minutes(4)).await;
    assert!(near(offset().await, TimeDelta::minutes(4)));
    assert_eq!(alerts().await["total"], 0);
    show_clock(&mut agent, TimeDelta::hours(-10)).await;
    assert!(near(offset().await, TimeDelta::hours(-10)));
    let raised = alerts().await;
    let alert = &raised["items"][0];
    assert_eq!((&alert["kind"], &alert["severity"]), (&json!("agent.clock_skew"), &json!("warning")));
    assert_eq!(alert["title"], "The clock of web-01 is 10 h behind");
    assert_eq!((&raised["total"], &alert["count"], &alert["status"]), (&json!(1), &json!(1), &json!("open")));
    // The same cause in the next session is the same alert.
    drop(agent);
    let mut agent = TestAgent::connect(&server, &machine).await;
    show_clock(&mut agent, TimeDelta::days(365)).await;
    let raised = alerts().await;
    assert_eq!((&raised["total"], &raised["items"][0]["count"]), (&json!(1), &json!(2)));
    show_clock(&mut agent, TimeDelta::seconds(2)).await;
    assert_eq!(alerts().await["items"][0]["status"], "resolved");
    drop(agent);
    eventually("the machine is away, and its clock unknown", async || offset().await.is_none().then_some(()))
        .await;
}
