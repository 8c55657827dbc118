//! Each kind of credential is good for its own door only, and none is ever read from a URL.

use super::fixture::Fixture;
use super::routes::{self, Needs};
use gururmm_server::auth::credential::SessionKind;
use gururmm_server::keys::{Purpose, random_token};
use gururmm_testkit::agent::{AGENT_HEADER, SOCKET_PATH};
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, TestAgent};

#[tokio::test]
async fn no_token_is_taken_from_the_url() {
    let fixture = Fixture::new().await;
    let server = &fixture.server;
    let token = server.session_of(&acme::OWNER, SessionKind::Api).await.token;
    let cookie = server.session_of(&acme::OWNER, SessionKind::Dashboard).await.token;
    for route in routes::all().filter(|route| !route.changes() && route.needs != Needs::Nothing) {
        let path = route.path_for(fixture.id(route.object));
        let path = if path.contains('?') { format!("{path}&") } else { format!("{path}?") };
        for given in [
            format!(
                "{path}token={token}&access_token={token}&api_key={token}&bearer={token}&session={token}"
            ),
            format!("{path}authorization=Bearer%20{token}&Authorization=Bearer+{token}"),
            format!("{path}gururmm_session={cookie}&cookie=gururmm_session%3D{cookie}"),
        ] {
            server.anonymous().get(&given).await.expect_problem(401, "UNAUTHENTICATED");
        }
    }
}

#[tokio::test]
async fn the_agents_socket_takes_a_machines_own_key_only() {
    let mut fixture = Fixture::new().await;
    let before = fixture.digest().await;
    let id = fixture.agent.id.to_string();
    let api = fixture.server.session_of(&acme::OWNER, SessionKind::Api).await.token;
    let dashboard = fixture.server.session_of(&acme::OWNER, SessionKind::Dashboard).await;
    let made = vec![dashboard.id];
    let server = &fixture.server;
    let named = |client: ApiClient| client.with(AGENT_HEADER, &id);
    let bearer = |token: &str| named(server.anonymous().with_bearer(token));
    for (what, client, path) in [
        ("nothing", named(server.anonymous()), SOCKET_PATH.to_owned()),
        ("an API session", bearer(&api), SOCKET_PATH.to_owned()),
        ("a dashboard session", bearer(&dashboard.token), SOCKET_PATH.to_owned()),
        ("a browser's cookie", named(server.browser_with(&dashboard)), SOCKET_PATH.to_owned()),
        ("the enrollment key", bearer(&fixture.enrollment_secret), SOCKET_PATH.to_owned()),
        ("a setup token", bearer(&random_token("gsu_")), SOCKET_PATH.to_owned()),
        ("a live ticket", bearer(&random_token("glt_")), SOCKET_PATH.to_owned()),
        (
            "the key of a machine of another partner",
            bearer(&fixture.foreign_agent.key),
            SOCKET_PATH.to_owned(),
        ),
        (
            "the key in the URL",
            server.anonymous(),
            format!(
                "{SOCKET_PATH}?token={}&key={}&agent_id={id}&agent={id}",
                fixture.agent.key, fixture.agent.key
            ),
        ),
        (
            "the key as a subprotocol",
            named(server.anonymous()).with("sec-websocket-protocol", &fixture.agent.key),
            SOCKET_PATH.to_owned(),
        ),
    ] {
        refused(what, &client, &path).await;
    }
    sqlx::query("DELETE FROM sessions WHERE user_id = $1")
        .bind(acme::OWNER.id)
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    drop(made);
    assert_eq!(fixture.digest().await, before, "something changed");
    TestAgent::connect(&fixture.server, &fixture.agent).await;
}

#[tokio::test]
async fn a_machine_that_was_revoked_or_deleted_or_waits_is_not_let_in() {
    let mut fixture = Fixture::new().await;
    let waiting = TestAgent::client(&fixture.server, &fixture.pending_agent).upgrade(SOCKET_PATH).await;
    match waiting {
        Ok(_) => panic!("a machine that waits for approval was let in"),
        Err(answer) => assert!([401, 403].contains(&answer.status.as_u16()), "{answer}"),
    }
    sqlx::query("UPDATE agents SET key_revoked_at = now() WHERE id = $1")
        .bind(fixture.agent.id)
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    refused("revoked", &TestAgent::client(&fixture.server, &fixture.agent), SOCKET_PATH).await;
    sqlx::query("UPDATE partners SET status = 'suspended' WHERE id = $1")
        .bind(fixture.foreign_agent.site.partner)
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    refused("suspended partner", &TestAgent::client(&fixture.server, &fixture.foreign_agent), SOCKET_PATH)
        .await;
    sqlx::query("DELETE FROM agents WHERE id = $1")
        .bind(fixture.agent.id)
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    refused("deleted", &TestAgent::client(&fixture.server, &fixture.agent), SOCKET_PATH).await;
}

#[tokio::test]
async fn digests_of_one_kind_open_no_other_door() {
    let fixture = Fixture::new().await;
    let keys = &fixture.server.app().keys;
    let secret = random_token("gst_");
    let kinds = [
        Purpose::SessionToken,
        Purpose::CsrfToken,
        Purpose::LiveTicket,
        Purpose::SetupToken,
        Purpose::InvitationToken,
        Purpose::AgentKey,
        Purpose::Throttle,
    ];
    let digests: std::collections::BTreeSet<[u8; 32]> =
        kinds.iter().map(|kind| keys.digest(*kind, &secret)).collect();
    assert_eq!(digests.len(), kinds.len(), "two kinds of token share a digest");
}

/// The socket must answer 401 before any upgrade.
pub async fn refused(what: &str, client: &ApiClient, path: &str) {
    match client.upgrade(path).await {
        Ok(_) => panic!("{what}: let in"),
        Err(answer) => assert_eq!(answer.status, 401, "{what}: {answer}"),
    }
}
