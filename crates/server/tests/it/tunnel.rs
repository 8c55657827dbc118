//! Sessions of techs with machines: `/api/v1/tunnel`.

use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer};
use serde_json::{Value, json};
use uuid::Uuid;

const OPEN: &str = "/api/v1/tunnel/open";
const CLOSE: &str = "/api/v1/tunnel/close";

async fn open(tech: &ApiClient, machine: &SeededAgent) -> Value {
    let opened = tech.post(OPEN, json!({ "agent_id": machine.id })).await.expect(200);
    assert_eq!(opened["status"], "active");
    opened["session_id"].clone()
}

fn status_path(session: &Value) -> String {
    format!("/api/v1/tunnel/status/{}", session.as_str().unwrap())
}

#[tokio::test]
async fn a_second_open_is_the_same_session_and_a_closed_one_still_answers_its_owner() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let _agent = TestAgent::connect(&server, &machine).await;
    let tech = server.client_as(&acme::TECH).await;
    let session = open(&tech, &machine).await;
    assert_eq!(open(&tech, &machine).await, session);
    let record = tech.get(&status_path(&session)).await.expect(200);
    assert_eq!(
        (&record["session_id"], &record["agent_id"], &record["tech_id"]),
        (&session, &json!(machine.id), &json!(acme::TECH.id))
    );
    assert_eq!((&record["status"], &record["closed_at"]), (&json!("active"), &Value::Null));
    for _ in 0..2 {
        let closed = tech.post(CLOSE, json!({ "session_id": session })).await.expect(200);
        assert_eq!(closed, json!({ "status": "closed" }));
    }
    let record = tech.get(&status_path(&session)).await.expect(200);
    assert_eq!(record["status"], "closed");
    assert!(record["closed_at"].is_string(), "{record}");
    assert_ne!(open(&tech, &machine).await, session);
}

#[tokio::test]
async fn another_tech_has_a_session_of_their_own_and_none_of_this_one() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let _agent = TestAgent::connect(&server, &machine).await;
    let tech = server.client_as(&acme::TECH).await;
    let session = open(&tech, &machine).await;
    let other = server.client_as(&acme::ALPHA_TECH).await;
    assert_ne!(open(&other, &machine).await, session);
    other.get(&status_path(&session)).await.expect_problem(403, "FORBIDDEN");
    other.post(CLOSE, json!({ "session_id": session })).await.expect_problem(403, "FORBIDDEN");
    assert_eq!(tech.get(&status_path(&session)).await.expect(200)["status"], "active");
}

#[tokio::test]
async fn what_is_unknown_foreign_or_out_of_reach_is_not_found() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let _agent = TestAgent::connect(&server, &machine).await;
    let session = open(&server.client_as(&acme::TECH).await, &machine).await;
    for stranger in [&globex::OWNER, &acme::BETA_TECH] {
        let stranger = server.client_as(stranger).await;
        stranger.post(OPEN, json!({ "agent_id": machine.id })).await.expect_problem(404, "NOT_FOUND");
        for session in [&session, &json!(Uuid::now_v7())] {
            stranger.get(&status_path(session)).await.expect_problem(404, "NOT_FOUND");
            stranger.post(CLOSE, json!({ "session_id": session })).await.expect_problem(404, "NOT_FOUND");
        }
    }
}

#[tokio::test]
async fn a_machine_that_waits_for_approval_has_no_sessions() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    sqlx::query("UPDATE agents SET state = 'pending', pending_reason = 'approval_required'")
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    let tech = server.client_as(&acme::TECH).await;
    tech.post(OPEN, json!({ "agent_id": machine.id })).await.expect_problem(409, "AGENT_NOT_ACTIVE");
}

#[tokio::test]
async fn a_machine_that_is_away_or_whose_agent_is_too_old_is_answered_so() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let tech = server.client_as(&acme::TECH).await;
    let wish = json!({ "agent_id": machine.id });
    tech.post(OPEN, wish.clone()).await.expect_problem(409, "AGENT_OFFLINE");
    let agent = TestAgent::connect(&server, &machine).await;
    let session = open(&tech, &machine).await;
    drop(agent);
    // One that is open is answered whatever the machine does.
    assert_eq!(open(&tech, &machine).await, session);
    tech.post(CLOSE, json!({ "session_id": session })).await.expect(200);
    sqlx::query("UPDATE agents SET protocol_version = '1.0'")
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    tech.post(OPEN, wish).await.expect_problem(409, "AGENT_TOO_OLD");
}
