//! Whether the server lives, can work, and how it does.

use gururmm_testkit::TestServer;
use gururmm_testkit::world::{PLATFORM_ADMIN, acme};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Executor as _, PgConnection};

#[tokio::test]
async fn health_is_two_letters_for_anyone() {
    let server = TestServer::start().await;
    let answer = server.anonymous().get("/health").await;
    assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"OK"[..]), "{answer}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
}

#[tokio::test]
async fn ready_follows_the_database_while_health_stays() {
    let server = TestServer::start().await;
    let nobody = server.anonymous();
    let ready = nobody.get("/ready").await;
    assert_eq!(ready.text(), r#"{"status":"ready","checks":{"database":"ok","peers":"ok"}}"#);
    assert_eq!(ready.status, 200);

    let mut maintenance = maintenance(&server).await;
    let name = server.database.owner_options().get_database().unwrap().to_owned();
    let allow = |yes: bool| AssertSqlSafe(format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}"));
    maintenance.execute(allow(false)).await.unwrap();
    sqlx::query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1")
        .bind(&name)
        .execute(&mut maintenance)
        .await
        .unwrap();
    let away = nobody.get("/ready").await;
    assert_eq!(away.text(), r#"{"status":"not_ready","checks":{"database":"failed","peers":"ok"}}"#);
    assert_eq!(away.status, 503);
    assert_eq!(nobody.get("/health").await.status, 200);

    maintenance.execute(allow(true)).await.unwrap();
    nobody.get("/ready").await.expect(200);
}

#[tokio::test]
async fn the_status_is_for_platform_admins() {
    let server = TestServer::start().await;
    let path = "/api/v1/system/status";
    server.anonymous().get(path).await.expect_problem(401, "UNAUTHENTICATED");
    server.client_as(&acme::OWNER).await.get(path).await.expect_problem(403, "FORBIDDEN");
    let status = server.client_as(&PLATFORM_ADMIN).await.get(path).await.expect(200);
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert!(status["database_bytes"].as_i64().unwrap() > 1_000_000, "{status}");
    assert!(status["uptime_seconds"].as_i64().unwrap() >= 0, "{status}");
    let names: Vec<_> = status["pools"].as_array().unwrap().iter().map(|pool| &pool["name"]).collect();
    assert_eq!(names, ["operators", "agents", "background"]);
}

#[tokio::test]
async fn the_status_counts_what_the_slices_count() {
    let server = TestServer::start().await;
    server.app().counters.samples_stored.add(42);
    let origin = server.app().config.public_url.origin().ascii_serialization();
    let page = server.client_as(&acme::READER).await.with("origin", &origin);
    let _open = page.upgrade("/api/v1/live").await.ok().unwrap();
    let status = server.client_as(&PLATFORM_ADMIN).await.get("/api/v1/system/status").await.expect(200);
    let figure = |name: &str| status[name].as_i64().unwrap();
    assert_eq!(figure("samples_per_minute"), 42, "{status}");
    assert_eq!(figure("browsers"), 1, "{status}");
    assert_eq!(figure("connected_agents"), 0, "{status}");
    assert_eq!(figure("ingest_queue_depth"), 0, "{status}");
}

async fn maintenance(server: &TestServer) -> PgConnection {
    server.database.owner_options().database("postgres").connect().await.unwrap()
}
