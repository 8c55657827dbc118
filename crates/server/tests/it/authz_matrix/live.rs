//! The browsers' socket: let in by a fresh ticket, shown only what one may see.

use super::credentials::refused;
use super::fixture::{Fixture, Object};
use gururmm_server::auth::credential::SessionKind;
use gururmm_server::keys::random_token;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, TestAgent, TestServer, TestSocket};
use serde_json::json;
use uuid::Uuid;

const LIVE: &str = "/api/v1/live";

#[tokio::test]
async fn the_live_socket_takes_a_fresh_ticket_once() {
    let fixture = Fixture::new().await;
    let server = &fixture.server;
    let session = server.session_of(&acme::READER, SessionKind::Dashboard).await;
    let own = own_origin(server);
    let browser = || server.browser_with(&session).with("origin", &own);
    let ticket = ticket_of(&browser()).await;
    let with = |client: ApiClient, ticket: &str| {
        client.with("sec-websocket-protocol", &format!("gururmm.live.v1, ticket.{ticket}"))
    };
    for (what, client) in [
        ("no ticket", browser().with("sec-websocket-protocol", "gururmm.live.v1")),
        ("no subprotocol", browser()),
        ("a session's token", with(browser(), &session.token)),
        ("a machine's key", with(browser(), &fixture.agent.key)),
        ("an enrollment key", with(browser(), &fixture.enrollment_secret)),
        ("garbage", with(browser(), &random_token("glt_"))),
        ("a truncated ticket", with(browser(), &ticket[..ticket.len() - 1])),
        ("an extended ticket", with(browser(), &format!("{ticket}A"))),
        (
            "a machine",
            with(TestAgent::client(server, &fixture.agent).with("origin", &own), &fixture.agent.key),
        ),
    ] {
        refused(what, &client, LIVE).await;
    }
    refused(
        "the ticket in the URL",
        &browser().with("sec-websocket-protocol", "gururmm.live.v1"),
        &format!("{LIVE}?ticket={ticket}&token={ticket}"),
    )
    .await;

    let mut socket = open(&with(browser(), &ticket)).await;
    assert_eq!(socket.protocol.as_deref(), Some("gururmm.live.v1"), "the ticket must not be echoed");
    socket.expect("hello").await;
    refused("a ticket used twice", &with(browser(), &ticket), LIVE).await;
}

#[tokio::test]
async fn a_ticket_dies_with_its_time_and_with_its_session() {
    let mut fixture = Fixture::new().await;
    let session = fixture.server.session_of(&acme::READER, SessionKind::Dashboard).await;
    let browser = fixture.server.browser_with(&session).with("origin", &own_origin(&fixture.server));
    let offer = |ticket: &str| {
        browser.clone().with("sec-websocket-protocol", &format!("gururmm.live.v1, ticket.{ticket}"))
    };

    let late = ticket_of(&browser).await;
    sqlx::query("UPDATE live_tickets SET expires_at = now() - interval '1 second'")
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    refused("an expired ticket", &offer(&late), LIVE).await;

    let orphan = ticket_of(&browser).await;
    sqlx::query("UPDATE sessions SET revoked_at = now() WHERE id = $1")
        .bind(session.id)
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    refused("a ticket of a revoked session", &offer(&orphan), LIVE).await;
}

#[tokio::test]
async fn a_live_subscription_shows_nothing_one_may_not_see() {
    let fixture = Fixture::new().await;
    let own = own_origin(&fixture.server);
    for person in [globex::OWNER, acme::LAB_TECH, acme::BETA_TECH] {
        let browser = fixture.server.browser_as(&person).await.with("origin", &own);
        let ticket = ticket_of(&browser).await;
        let browser = browser.with("sec-websocket-protocol", &format!("gururmm.live.v1, ticket.{ticket}"));
        let mut socket = browser.upgrade("/api/v1/live").await.unwrap_or_else(|answer| panic!("{answer}"));
        let topics = [
            json!({"kind": "agent_metrics", "agent_id": fixture.agent.id}),
            json!({"kind": "agent_metrics", "agent_id": Uuid::now_v7()}),
            json!({"kind": "command_output", "command_id": fixture.id(Object::Command), "after_seq": 0}),
            json!({"kind": "command_output", "command_id": Uuid::now_v7(), "after_seq": 0}),
        ];
        for (number, topic) in topics.into_iter().enumerate() {
            socket.send_json(&json!({"op": "subscribe", "sub": number, "topic": topic})).await;
            let error = socket.expect("error").await;
            assert_eq!(
                (&error["sub"], &error["code"]),
                (&json!(number), &json!("NOT_FOUND")),
                "{}",
                person.name
            );
        }
    }
}

/// The origin of the server's own pages.
pub fn own_origin(server: &TestServer) -> String {
    server.app().config.public_url.origin().ascii_serialization()
}

/// A fresh ticket of a browser.
pub async fn ticket_of(browser: &ApiClient) -> String {
    let answer = browser.post("/api/v1/live/ticket", serde_json::json!({})).await.expect(200);
    answer["ticket"].as_str().unwrap().to_owned()
}

async fn open(client: &ApiClient) -> TestSocket {
    client.upgrade(LIVE).await.unwrap_or_else(|answer| panic!("{answer}"))
}
