//! A cookie alone changes nothing: whatever a foreign page can make a browser send is refused.

use super::fixture::Fixture;
use super::routes::{self, Needs, Route};
use gururmm_server::auth::credential::{SESSION_PREFIX, SessionKind};
use gururmm_server::keys::random_token;
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, TestServer};

#[tokio::test]
async fn every_change_by_cookie_needs_the_token_of_that_very_session() {
    let mut fixture = Fixture::new().await;
    let before = fixture.digest().await;
    let mut made = Vec::new();
    for route in routes::all().filter(|route| route.changes() && route.needs != Needs::Nothing) {
        let server = &fixture.server;
        let right = server.session_of(&route.right_person(), SessionKind::Dashboard).await;
        let same_person = server.session_of(&route.right_person(), SessionKind::Dashboard).await;
        let someone_else = server.session_of(&acme::ADMIN, SessionKind::Dashboard).await;
        made.extend([right.id, same_person.id, someone_else.id]);
        let cookie = || {
            let mut bare = right.clone();
            bare.csrf_token = "x".to_owned();
            server.browser_with(&bare)
        };
        let with = |token: &str| {
            let mut session = right.clone();
            session.csrf_token = token.to_owned();
            server.browser_with(&session)
        };
        let cases: Vec<(&str, ApiClient)> = vec![
            ("an empty token", with("")),
            ("a wrong token", with(&"0".repeat(right.csrf_token.len()))),
            ("a truncated token", with(&right.csrf_token[1..])),
            ("an extended token", with(&format!("{}0", right.csrf_token))),
            ("the session's secret", with(&right.token)),
            ("the session's id", with(&right.id.to_string())),
            ("the token of another session", with(&same_person.csrf_token)),
            ("the token of another person", with(&someone_else.csrf_token)),
            ("the token after a wrong one", cookie().with("x-csrf-token", &right.csrf_token)),
            ("the token in another header", cookie().with("x-xsrf-token", &right.csrf_token)),
        ];
        for (what, client) in cases {
            let answer = call(&fixture, route, &client).await;
            assert_eq!(answer.code().as_deref(), Some("CSRF_FAILED"), "{what}: {answer}");
            assert_eq!(answer.status, 403, "{what}: {answer}");
        }
    }
    sqlx::query("DELETE FROM sessions WHERE id = ANY ($1)")
        .bind(made)
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    assert_eq!(fixture.digest().await, before, "something changed");
}

#[tokio::test]
async fn a_browser_with_its_token_may_change_things_and_a_script_needs_none() {
    let server = TestServer::start().await;
    let body = serde_json::json!({"name": "Renamed"});
    server.browser_as(&acme::TECH).await.patch("/api/v1/profile", body.clone()).await.expect(200);
    server.client_as(&acme::TECH).await.patch("/api/v1/profile", body).await.expect(200);
}

#[tokio::test]
async fn what_an_html_form_can_send_is_not_read_as_json() {
    let server = TestServer::start().await;
    let browser = server.browser_as(&acme::OWNER).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"] {
        let call = browser.request(axum::http::Method::PATCH, "/api/v1/profile").header("content-type", kind);
        let answer = call.body(r#"{"name": "Form"}"#).send().await;
        answer.expect_problem(415, "UNSUPPORTED_MEDIA_TYPE");
    }
}

#[tokio::test]
async fn a_session_nobody_has_is_unauthenticated_before_it_is_forged() {
    let server = TestServer::start().await;
    let token = random_token(SESSION_PREFIX);
    let stranger = server.anonymous().with("cookie", &format!("gururmm_session={}", token.as_str()));
    stranger.delete("/api/v1/sessions").await.expect_problem(401, "UNAUTHENTICATED");
}

async fn call(fixture: &Fixture, route: &Route, client: &ApiClient) -> gururmm_testkit::Answer {
    super::call(fixture, route, client, fixture.id(route.object)).await
}
