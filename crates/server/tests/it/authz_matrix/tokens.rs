//! Tokens that are nearly right: not one of them opens anything.

use axum::http::Method;
use base64::Engine as _;
use gururmm_server::auth::credential::{SESSION_PREFIX, SessionKind};
use gururmm_server::keys::{Purpose, random_token};
use gururmm_testkit::agent::{AGENT_HEADER, SOCKET_PATH};
use gururmm_testkit::world::{PASSWORD, acme};
use gururmm_testkit::{TestAgent, TestServer};

const ME: &str = "/api/auth/me";

#[tokio::test]
async fn no_mutation_of_a_session_token_is_accepted() {
    let server = TestServer::start().await;
    let session = server.session_of(&acme::OWNER, SessionKind::Api).await;
    let token = session.token.as_str();
    server.anonymous().with_bearer(token).get(ME).await.expect(200);

    let body = token.strip_prefix(SESSION_PREFIX).unwrap();
    let flip = |text: &str| {
        let flipped =
            |c: char| if c.is_uppercase() { c.to_ascii_lowercase() } else { c.to_ascii_uppercase() };
        text.chars().map(flipped).collect::<String>()
    };
    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let digest = server.app().keys.digest(Purpose::SessionToken, token);
    let headers = [
        format!("Bearer {}", &token[..token.len() - 1]),
        format!("Bearer {}", &token[..token.len() / 2]),
        format!("Bearer {}", &token[1..]),
        format!("Bearer {token}A"),
        format!("Bearer {token}="),
        format!("Bearer {token}."),
        format!("Bearer {token}{token}"),
        format!("Bearer {SESSION_PREFIX}"),
        format!("Bearer {SESSION_PREFIX}{}", flip(body)),
        format!("Bearer {}", flip(token)),
        format!("Bearer GST_{body}"),
        format!("Bearer cak_{body}"),
        format!("Bearer gek_1_{body}"),
        format!("Bearer {body}"),
        format!("Bearer {}{last}", &token[..token.len() - 1]),
        format!("Bearer {SESSION_PREFIX}{}", "A".repeat(body.len())),
        format!("Bearer  {token}"),
        format!("Bearer\t{token}"),
        format!("Bearer \"{token}\""),
        format!("Bearer {}", token.replace('_', "%5F")),
        format!("Bearer {token}, Bearer {token}"),
        format!("Bearer {token} {token}"),
        format!("Bearer {}", base64(token)),
        format!("Bearer {}", blake3::Hash::from_bytes(digest).to_hex()),
        format!("Bearer {}", base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)),
        format!("Bearer {}", session.id),
        format!("Bearer {}", session.csrf_token),
        "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJvd25lciJ9.".to_owned(),
        "Bearer null".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        token.to_owned(),
        format!("Token {token}"),
        format!("Basic {token}"),
        format!("Basic {}", base64(&format!("{}:{PASSWORD}", acme::OWNER.email))),
        format!("Digest username=\"{}\", response=\"{token}\"", acme::OWNER.email),
        format!("Bearer {SESSION_PREFIX}' OR '1'='1"),
    ];
    assert!(headers.len() >= 25);
    for header in headers {
        let answer = server.anonymous().with("authorization", &header).get(ME).await;
        answer.expect_problem(401, "UNAUTHENTICATED");
    }
    server.anonymous().with_bearer(token).get(ME).await.expect(200);
}

#[tokio::test]
async fn a_second_credential_beside_the_right_one_is_refused() {
    let server = TestServer::start().await;
    let api = server.session_of(&acme::OWNER, SessionKind::Api).await.token;
    let dashboard = server.session_of(&acme::OWNER, SessionKind::Dashboard).await;
    let other = random_token(SESSION_PREFIX);
    let browser = || server.browser_with(&dashboard);
    for (what, client) in [
        ("a bearer token twice", server.anonymous().with_bearer(&api).with_bearer(&api)),
        (
            "the right bearer token, then a wrong one",
            server.anonymous().with_bearer(&api).with_bearer(&other),
        ),
        (
            "a wrong bearer token, then the right one",
            server.anonymous().with_bearer(&other).with_bearer(&api),
        ),
        ("the right cookie and a wrong bearer token", browser().with_bearer(&other)),
        ("the right cookie and its own token as bearer", browser().with_bearer(&dashboard.token)),
        ("the right cookie and Basic", browser().with("authorization", "Basic b3duZXI6eA==")),
        (
            "a wrong cookie before the right one",
            server.anonymous().with(
                "cookie",
                &format!("gururmm_session={}; gururmm_session={}", other.as_str(), dashboard.token),
            ),
        ),
        (
            "the cookie under TLS' name",
            server.anonymous().with("cookie", &format!("__Host-gururmm_session={}", dashboard.token)),
        ),
        (
            "the cookie in quotes",
            server.anonymous().with("cookie", &format!("gururmm_session=\"{}\"", dashboard.token)),
        ),
        (
            "the cookie under another case",
            server.anonymous().with("cookie", &format!("GURURMM_SESSION={}", dashboard.token)),
        ),
    ] {
        let answer = client.get(ME).await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
    }
    browser().get(ME).await.expect(200);
}

#[tokio::test]
async fn a_token_too_long_for_any_header_is_refused() {
    let server = TestServer::start().await;
    let token = server.session_of(&acme::OWNER, SessionKind::Api).await.token;
    for extra in [100, 1_000, 10_000] {
        let header = format!("Bearer {token}{}", "A".repeat(extra));
        let answer = server.anonymous().request(Method::GET, ME).header("authorization", header).send().await;
        assert!(answer.status.is_client_error(), "{answer}");
    }
}

#[tokio::test]
async fn no_mutation_of_a_machines_credential_is_accepted() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "one").await;
    let neighbour = server.seed_agent(&acme::HQ, "other").await;
    let (key, id) = (machine.key.as_str(), machine.id.to_string());
    let last = if key.ends_with('A') { 'B' } else { 'A' };
    let agent = |authorization: &str, id: &str| {
        server.anonymous().with("authorization", authorization).with(AGENT_HEADER, id)
    };
    let bearer = format!("Bearer {key}");
    for (what, client) in [
        ("no key", server.anonymous().with(AGENT_HEADER, &id)),
        ("no id", server.anonymous().with_bearer(key)),
        ("another's id", agent(&bearer, &neighbour.id.to_string())),
        ("an unknown id", agent(&bearer, &uuid::Uuid::now_v7().to_string())),
        ("no uuid", agent(&bearer, "' OR true --")),
        ("the nil id", agent(&bearer, &uuid::Uuid::nil().to_string())),
        ("two ids", agent(&bearer, &id).with(AGENT_HEADER, &neighbour.id.to_string())),
        ("two keys", agent(&bearer, &id).with_bearer(&neighbour.key)),
        ("truncated", agent(&format!("Bearer {}", &key[..key.len() - 1]), &id)),
        ("extended", agent(&format!("Bearer {key}A"), &id)),
        ("last character changed", agent(&format!("Bearer {}{last}", &key[..key.len() - 1]), &id)),
        ("other prefix", agent(&format!("Bearer {}", key.replacen("cak_", "gst_", 1)), &id)),
        ("no prefix", agent(&format!("Bearer {}", key.trim_start_matches("cak_")), &id)),
        ("upper case", agent(&format!("Bearer {}", key.to_uppercase()), &id)),
        ("Basic", agent(&format!("Basic {key}"), &id)),
        (
            "as a cookie",
            server.anonymous().with("cookie", &format!("gururmm_session={key}")).with(AGENT_HEADER, &id),
        ),
    ] {
        match client.upgrade(SOCKET_PATH).await {
            Ok(_) => panic!("{what}: let in"),
            Err(answer) => assert_eq!(answer.status, 401, "{what}: {answer}"),
        }
    }
    TestAgent::connect(&server, &machine).await;
}
