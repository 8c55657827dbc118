//! What watchdogs say of agents that fail, and the alerts of it.

use chrono::{TimeDelta, Utc};
use gururmm_protocol::watchdog::REPORT_PATH;
use gururmm_server::watchdog;
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, TestAgent, TestServer, eventually};
use serde_json::{Value, json};

async fn alert(tech: &ApiClient) -> Value {
    let alerts = tech.get("/api/v1/alerts").await.expect(200);
    assert_eq!(alerts["total"], 1, "{alerts}");
    alerts["items"][0].clone()
}

fn failing(failures: u32) -> Value {
    json!({ "condition": "failing", "failures": failures, "agent_version": "0.1.0", "reason": "exit code 101" })
}

#[tokio::test]
async fn an_agent_that_fails_raises_one_alert_which_ends_when_it_is_well() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let tech = server.client_as(&acme::TECH).await;
    let watchdog = TestAgent::client(&server, &machine);
    for failures in [3, 6] {
        assert_eq!(watchdog.post(REPORT_PATH, failing(failures)).await.expect(200), json!({}));
    }
    let raised = alert(&tech).await;
    assert_eq!(
        (&raised["kind"], &raised["severity"], &raised["status"], &raised["count"], &raised["agent_id"]),
        (&json!("agent.failing"), &json!("critical"), &json!("open"), &json!(2), &json!(machine.id))
    );
    assert_eq!(
        raised["detail"],
        json!({ "failures": 6, "agent_version": "0.1.0", "reason": "exit code 101" })
    );
    let path = format!("/api/v1/alerts/{}", raised["id"].as_str().unwrap());
    tech.delete(&path).await.expect_problem(409, "INVALID_STATE");
    watchdog
        .post(REPORT_PATH, json!({ "condition": "recovered", "agent_version": "0.1.0" }))
        .await
        .expect(200);
    assert_eq!(alert(&tech).await["status"], "resolved");
    assert_eq!(tech.delete(&path).await.status, 204);
    tech.get(&path).await.expect_problem(404, "NOT_FOUND");
    // A word of later is no error.
    watchdog.post(REPORT_PATH, json!({ "condition": "dancing", "agent_version": "9.0.0" })).await.expect(200);
}

#[tokio::test]
async fn the_alert_ends_by_itself_when_the_agent_has_been_connected_for_a_while() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let tech = server.client_as(&acme::TECH).await;
    TestAgent::client(&server, &machine).post(REPORT_PATH, failing(3)).await.expect(200);
    watchdog::keep(server.app(), Utc::now() + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(alert(&tech).await["status"], "open", "it is away");
    let _agent = TestAgent::connect(&server, &machine).await;
    eventually("the machine", async || {
        let agents = tech.get("/api/v1/agents?status=online").await.expect(200);
        (agents["total"] == 1).then_some(())
    })
    .await;
    watchdog::keep(server.app(), Utc::now() + TimeDelta::minutes(5)).await.unwrap();
    assert_eq!(alert(&tech).await["status"], "open", "not long enough");
    watchdog::keep(server.app(), Utc::now() + TimeDelta::minutes(11)).await.unwrap();
    assert_eq!(alert(&tech).await["status"], "resolved");
}

#[tokio::test]
async fn nobody_else_speaks_for_a_watchdog() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let tech = server.client_as(&acme::TECH).await;
    tech.post(REPORT_PATH, failing(3)).await.expect_problem(401, "AGENT_KEY_REFUSED");
    server.anonymous().post(REPORT_PATH, failing(3)).await.expect_problem(401, "AGENT_KEY_REFUSED");
    let page = TestAgent::client(&server, &machine).with("origin", "https://example.com");
    page.post(REPORT_PATH, failing(3)).await.expect_problem(403, "ORIGIN_REFUSED");
    assert_eq!(tech.get("/api/v1/alerts").await.expect(200)["total"], 0);
}
