//! The test harness itself: it must be able to fail.

use axum::http::{HeaderMap, Method};
use gururmm_server::observability::traces::spans;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{TestDatabase, TestServer, logs};

#[tokio::test]
async fn a_person_sees_her_own_partner_and_nobody_nothing() {
    let server = TestServer::start().await;
    let clients = server.client_as(&acme::READER).await.get("/api/v1/clients").await.expect(200);
    assert_eq!(clients["total"], 2, "{clients}");
    let path = format!("/api/v1/clients/{}", globex::ALPHA.id);
    server.client_as(&acme::OWNER).await.get(&path).await.expect_problem(404, "NOT_FOUND");
    server.client_as(&globex::OWNER).await.get(&path).await.expect(200);
    server.anonymous().get(&path).await.expect_problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_browser_needs_its_csrf_token() {
    let server = TestServer::start().await;
    let browser = server.browser_as(&acme::OWNER).await;
    browser.post("/api/v1/clients", serde_json::json!({"name": "New"})).await.expect(201);
}

#[tokio::test]
async fn every_test_has_a_database_of_its_own() {
    let (one, other) = (TestDatabase::with_world().await, TestDatabase::with_world().await);
    sqlx::query("DELETE FROM sites").execute(&mut one.owner().await).await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sites").fetch_one(&mut other.owner().await).await.unwrap();
    assert_eq!(left, 8);
}

#[tokio::test]
#[should_panic(expected = "a task panicked")]
async fn a_panic_in_a_task_fails_the_test() {
    let _server = TestServer::start().await;
    let lost = tokio::spawn(async { panic!("nobody looks at me") });
    while !lost.is_finished() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
#[should_panic(expected = "the log holds a secret")]
async fn a_secret_in_the_log_fails_the_test() {
    let _server = TestServer::start().await;
    let secret = format!("canary-{}", uuid::Uuid::new_v4());
    logs::keep_secret(&secret);
    tracing::info!(target: "gururmm_server", "{secret}");
}

#[tokio::test]
#[should_panic(expected = "a trace holds a secret")]
async fn a_secret_in_a_trace_fails_the_test() {
    let _server = TestServer::start().await;
    let secret = format!("canary-{}", uuid::Uuid::new_v4());
    logs::keep_secret(&secret);
    drop(spans::request(&Method::GET, Some("/health"), &secret, &HeaderMap::new()));
}
