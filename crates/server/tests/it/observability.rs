//! What Prometheus sees, and where.

use axum::http::Method;
use gururmm_testkit::world::{PLATFORM_ADMIN, acme};
use gururmm_testkit::{ApiClient, TestDatabase, TestServer, eventually};
use sqlx::Connection as _;
use std::net::SocketAddr;
use std::time::Duration;

async fn start() -> (TestServer, ApiClient) {
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.metrics_listen = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    })
    .await;
    let prometheus = ApiClient::anonymous(server.server().metrics_addr().unwrap());
    (server, prometheus)
}

/// The value of the series that begins with exactly this.
fn value(text: &str, series: &str) -> f64 {
    let rest = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    rest.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn the_figures_have_a_port_of_their_own_and_the_main_one_has_none() {
    let (server, prometheus) = start().await;
    let answer = prometheus.get("/metrics").await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    for client in [server.anonymous(), server.client_as(&PLATFORM_ADMIN).await] {
        client.get("/metrics").await.expect_problem(404, "NOT_FOUND");
    }
    for path in ["/", "/health", "/api/v1/system/status", "/metrics/", "/metrics/x"] {
        assert_eq!(prometheus.get(path).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn without_the_option_there_is_no_such_port() {
    assert_eq!(TestServer::start().await.server().metrics_addr(), None);
}

#[tokio::test]
async fn the_figures_are_those_of_this_server() {
    let (server, prometheus) = start().await;
    server.app().counters.samples_stored.add(42);
    let origin = server.app().config.public_url.origin().ascii_serialization();
    let page = server.client_as(&acme::READER).await.with("origin", &origin);
    let _open = page.upgrade("/api/v1/live").await.ok().unwrap();
    server.anonymous().get("/health").await;
    server.anonymous().get("/health").await;
    let text = prometheus.get("/metrics").await.text();
    assert_eq!(value(&text, "gururmm_samples_stored_total"), 42.0);
    assert_eq!(value(&text, "gururmm_samples_too_old_total"), 0.0);
    assert_eq!(value(&text, "gururmm_browsers"), 1.0);
    assert_eq!(value(&text, "gururmm_connected_agents"), 0.0);
    assert_eq!(value(&text, "gururmm_ingest_queue_depth"), 0.0);
    assert_eq!(value(&text, r#"gururmm_commands_ended_total{state="completed"}"#), 0.0);
    let build = format!(r#"gururmm_build_info{{version="{}"}}"#, env!("CARGO_PKG_VERSION"));
    assert_eq!(value(&text, &build), 1.0);
    let health = r#"method="GET",route="/health""#;
    assert_eq!(value(&text, &format!(r#"gururmm_http_requests_total{{{health},status="200"}}"#)), 2.0);
    assert_eq!(value(&text, &format!("gururmm_http_request_duration_seconds_count{{{health}}}")), 2.0);
    // Which of the two it is depends on what the open page asks for just now.
    let connections =
        |state| value(&text, &format!(r#"gururmm_database_connections{{pool="operators",state="{state}"}}"#));
    assert!(connections("idle") + connections("used") >= 1.0);
    assert!(value(&text, "gururmm_uptime_seconds") >= 0.0);
    assert!(text.ends_with("# EOF\n"), "{text}");
}

#[tokio::test]
async fn the_lag_of_history_is_told_and_a_database_that_does_not_answer_takes_no_other_figure_with_it() {
    let (server, prometheus) = start().await;
    let mut owner = server.owner().await;
    let set = async |owner: &mut sqlx::PgConnection, oldest: &str| {
        let statement = format!(
            "INSERT INTO history_progress (tenant_id, looked_at, hours_waiting, oldest_waiting)
               SELECT id, now() - interval '3 minutes', 21, {oldest} FROM partners
             ON CONFLICT (tenant_id) DO UPDATE SET looked_at = excluded.looked_at,
               hours_waiting = excluded.hours_waiting, oldest_waiting = excluded.oldest_waiting"
        );
        let done = sqlx::query(sqlx::AssertSqlSafe(statement)).execute(owner).await.unwrap();
        i64::try_from(done.rows_affected()).unwrap()
    };
    let lag = |text: &str| value(text, "gururmm_history_lag_seconds");
    // The job itself may look meanwhile.
    for (oldest, seconds) in [("now() - interval '6 hours'", 5.0 * 3_600.0), ("NULL", 180.0)] {
        eventually("history to be behind", async || {
            let partners = set(&mut owner, oldest).await;
            let text = prometheus.get("/metrics").await.text();
            let waiting = value(&text, "gururmm_history_hours_waiting") == (21 * partners) as f64;
            (waiting && (seconds..seconds + 60.0).contains(&lag(&text))).then_some(())
        })
        .await;
    }
    let mut locked = owner.begin().await.unwrap();
    sqlx::query("LOCK TABLE history_progress").execute(&mut *locked).await.unwrap();
    let text = prometheus.get("/metrics").await.text();
    assert!(!text.contains("gururmm_history_lag_seconds"), "{text}");
    assert!(value(&text, "gururmm_uptime_seconds") >= 0.0);
}

#[tokio::test]
async fn nothing_a_caller_writes_becomes_a_label() {
    let (server, prometheus) = start().await;
    let client = server.client_as(&acme::OWNER).await;
    let site = format!("/api/v1/sites/{}", acme::HQ.id);
    client.get(&site).await.expect(200);
    client.get("/canary-path?token=canary-query").await;
    client.request(Method::from_bytes(b"CANARY").unwrap(), "/health").send().await;
    let text = prometheus.get("/metrics").await.text();
    assert_eq!(
        value(&text, r#"gururmm_http_requests_total{method="GET",route="/api/v1/sites/{id}",status="200"}"#),
        1.0
    );
    assert_eq!(value(&text, r#"gururmm_http_requests_total{method="GET",route="-",status="404"}"#), 1.0);
    assert!(text.contains(r#"method="OTHER""#), "{text}");
    for written in ["canary", "CANARY", &acme::HQ.id.to_string(), "127.0.0.1", "example.com"] {
        assert!(!text.contains(written), "{written} in\n{text}");
    }
}

#[tokio::test]
async fn open_connections_are_counted() {
    let (server, prometheus) = start().await;
    let idle = tokio::net::TcpStream::connect(server.address()).await.unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    loop {
        let text = prometheus.get("/metrics").await.text();
        if value(&text, "gururmm_connections_open") >= 1.0 {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{text}");
    }
    drop(idle);
}
