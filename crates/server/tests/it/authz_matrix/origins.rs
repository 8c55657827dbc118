//! Pages of other sites: their WebSockets are turned away before the upgrade, in every way the server is set up.

use super::live::ticket_of;
use super::routes::SOCKETS;
use gururmm_server::auth::credential;
use gururmm_server::auth::credential::SessionKind;
use gururmm_server::net::TlsMode;
use gururmm_testkit::agent::{AGENT_HEADER, SOCKET_PATH};
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, TestDatabase, TestServer};
use serde_json::json;
use uuid::Uuid;

/// How a server is reached.
struct Setup {
    what: &'static str,
    public_url: Option<&'static str>,
    behind_proxy: bool,
    own_tls: bool,
}

const PLAIN: Setup =
    Setup { what: "plain HTTP on loopback", public_url: None, behind_proxy: false, own_tls: false };

const SETUPS: &[Setup] = &[
    PLAIN,
    Setup { what: "its own TLS", own_tls: true, ..PLAIN },
    Setup {
        what: "behind a proxy's TLS",
        public_url: Some("https://rmm.example.com"),
        behind_proxy: true,
        ..PLAIN
    },
    Setup { what: "under a public name", public_url: Some("http://rmm.example.com:3001"), ..PLAIN },
];

#[tokio::test]
async fn a_foreign_page_never_gets_a_socket() {
    for setup in SETUPS {
        let server = start(setup).await;
        let own = server.app().config.public_url.clone();
        let (host, port) =
            (own.host_str().unwrap(), own.port().map(|port| format!(":{port}")).unwrap_or_default());
        let scheme = own.scheme();
        let other_scheme = if scheme == "http" { "https" } else { "http" };
        let foreign = [
            "https://evil.example.org".to_owned(),
            "null".to_owned(),
            String::new(),
            format!("{other_scheme}://{host}{port}"),
            format!("{scheme}://{host}:4444"),
            format!("{scheme}://{host}{port}.evil.example.org"),
            format!("{scheme}://evil-{host}{port}"),
            format!("{scheme}://sub.{host}{port}"),
            format!("{scheme}://{host}.{port}"),
            format!("{scheme}://{host}{port}@evil.example.org"),
            format!("{scheme}://evil.example.org@{host}{port}"),
            format!("{scheme}://{host}{port}/"),
            format!("{}://{host}{port}", scheme.to_uppercase()),
            format!("{scheme}://{host}{port}, https://evil.example.org"),
            format!("https://evil.example.org {scheme}://{host}{port}"),
            "file://".to_owned(),
            "chrome-extension://abcdefghijklmnop".to_owned(),
            "*".to_owned(),
        ];
        assert!(foreign.len() >= 12);
        for path in SOCKETS {
            let path = &existing(&server, path).await;
            for origin in &foreign {
                let client = knocking(&server, setup, path).await.with("origin", origin);
                refused(setup, path, &format!("origin {origin:?}"), &client).await;
            }
            let twice = knocking(&server, setup, path).await;
            let own = own.origin().ascii_serialization();
            refused(
                setup,
                path,
                "two origins",
                &twice.with("origin", &own).with("origin", "https://evil.example.org"),
            )
            .await;
        }
    }
}

#[tokio::test]
async fn the_servers_own_page_gets_its_socket_and_a_browser_without_an_origin_does_not() {
    for setup in SETUPS {
        let server = start(setup).await;
        let own = server.app().config.public_url.origin().ascii_serialization();
        for path in SOCKETS.iter().filter(|path| **path != SOCKET_PATH) {
            let path = &existing(&server, path).await;
            let client = knocking(&server, setup, path).await.with("origin", &own);
            let socket = client.upgrade(path).await;
            assert!(
                socket.is_ok(),
                "{}: {}",
                setup.what,
                socket.err().map(|answer| answer.to_string()).unwrap_or_default()
            );
            refused(setup, path, "no origin", &knocking(&server, setup, path).await).await;
        }
        let agent = knocking(&server, setup, SOCKET_PATH).await.upgrade(SOCKET_PATH).await;
        assert!(agent.is_ok(), "{}: an agent sends no origin", setup.what);
    }
}

async fn start(setup: &Setup) -> TestServer {
    TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.public_url = setup.public_url.map(|url| url.parse().unwrap());
        if setup.own_tls {
            options.tls = Some(TlsMode::SelfSigned { keys_dir: options.data_dir.join("keys") });
        }
        if setup.behind_proxy {
            options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
        }
    })
    .await
}

/// The path of a socket that exists: a session with a machine is made for it.
async fn existing(server: &TestServer, path: &str) -> String {
    if !path.contains("{session_id}") {
        return path.to_owned();
    }
    let (machine, session) = (server.seed_agent(&acme::HQ, "session").await, Uuid::now_v7());
    sqlx::query(
        "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status)
         VALUES ($1, $2, $3, $4, $5, $6, 'active')",
    )
    .bind(session)
    .bind(acme::PARTNER.id)
    .bind(acme::ALPHA.id)
    .bind(acme::HQ.id)
    .bind(machine.id)
    .bind(acme::TECH.id)
    .execute(&mut server.owner().await)
    .await
    .unwrap();
    path.replace("{session_id}", &session.to_string())
}

/// A client with everything that opens the socket, except for an origin.
async fn knocking(server: &TestServer, setup: &Setup, path: &str) -> ApiClient {
    let host = server.app().config.public_url.authority().to_owned();
    let through = |client: ApiClient| {
        let client = client.with("host", &host);
        match setup.behind_proxy {
            true => client.with("x-forwarded-for", "203.0.113.7").with("x-forwarded-proto", "https"),
            false => client,
        }
    };
    if path == SOCKET_PATH {
        let machine = server.seed_agent(&acme::HQ, "knocking").await;
        return through(
            server.anonymous().with_bearer(&machine.key).with(AGENT_HEADER, &machine.id.to_string()),
        );
    }
    let session = server.session_of(&acme::TECH, SessionKind::Dashboard).await;
    let browser = through(server.browser_with(&session));
    let (protocol, ticket) = match path.strip_suffix("/socket") {
        Some(session) => {
            let ticket = browser.post(&format!("{session}/ticket"), json!({})).await.expect(200);
            ("gururmm.tunnel.v1", ticket["ticket"].as_str().unwrap().to_owned())
        }
        None => ("gururmm.live.v1", ticket_of(&browser).await),
    };
    assert!(browser.headers()["cookie"].to_str().unwrap().starts_with(credential::cookie_name(server.app())));
    browser.with("sec-websocket-protocol", &format!("{protocol}, ticket.{ticket}"))
}

async fn refused(setup: &Setup, path: &str, what: &str, client: &ApiClient) {
    match client.upgrade(path).await {
        Ok(_) => panic!("{}, {path}, {what}: let in", setup.what),
        Err(answer) => answer.expect_problem(403, "ORIGIN_REFUSED"),
    };
}
