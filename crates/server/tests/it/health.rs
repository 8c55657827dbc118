//! Whether the server lives, can work, and how it does.

use gururmm_server::auth::Scope;
use gururmm_testkit::world::{PLATFORM_ADMIN, acme};
use gururmm_testkit::{TestAgent, TestDatabase, TestServer, eventually};
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection};

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

#[tokio::test]
async fn the_status_says_what_the_database_keeps_for_how_long_and_how_far_its_jobs_are() {
    let server = TestServer::start().await;
    let mut owner = server.database.owner().await;
    // 8 MB that do not compress, in a table nobody of the application may read as a whole.
    sqlx::raw_sql(
        "CREATE TABLE agent_logs_bulk AS
           SELECT n, sha256(n::text::bytea) || sha256((-n)::text::bytea) AS noise FROM generate_series(1, 80000) n;
         ALTER TABLE agent_logs_bulk ENABLE ROW LEVEL SECURITY;
         UPDATE partners SET retention_days = 30;
         UPDATE partners SET retention_days = 1095 WHERE id = (SELECT min(id::text)::uuid FROM partners);
         DELETE FROM history_progress;
         INSERT INTO history_progress (tenant_id, looked_at, hours_waiting, oldest_waiting)
           SELECT id, '2026-03-12T10:00:00Z', 21, '2026-03-12T07:00:00Z' FROM partners ORDER BY id LIMIT 2",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let partners: i64 =
        sqlx::query_scalar("SELECT count(*) FROM partners").fetch_one(&mut owner).await.unwrap();
    owner.close().await.unwrap();

    let status = server.client_as(&PLATFORM_ADMIN).await.get("/api/v1/system/status").await.expect(200);
    let storage = status["storage"].as_array().unwrap();
    let bytes =
        |kind: &str| storage.iter().find(|one| one["kind"] == kind).unwrap()["bytes"].as_i64().unwrap();
    assert!(bytes("agent_logs") > 8_000_000, "{status}");
    for kind in ["samples", "packed_history", "rollups", "command_output", "audit_log", "other"] {
        assert!(bytes(kind) > 0, "{kind}: {status}");
    }
    let sizes: Vec<_> = storage.iter().map(|one| one["bytes"].as_i64().unwrap()).collect();
    assert!(sizes.is_sorted_by(|one, other| one >= other), "{status}");
    assert_eq!(sizes.iter().sum::<i64>(), status["database_bytes"].as_i64().unwrap(), "{status}");
    let largest = status["largest_tables"].as_array().unwrap();
    assert_eq!((&largest[0]["name"], &largest[0]["kind"]), (&json!("agent_logs_bulk"), &json!("agent_logs")));
    assert!(largest.len() <= 8, "{status}");

    let kept = |days: [i64; 4]| {
        let levels = ["samples", "five_minutes", "hours", "days"].into_iter().zip(days);
        levels.map(|(level, days)| json!({ "level": level, "days": days })).collect::<Vec<_>>()
    };
    let retention = json!([
        { "days": 30, "partners": partners - 1, "kept": kept([30, 90, 365, 1_095]) },
        { "days": 1_095, "partners": 1, "kept": kept([1_095; 4]) },
    ]);
    assert_eq!(status["retention"], retention);
    let lag = json!({ "looked_at": "2026-03-12T10:00:00Z", "hours_waiting": 42,
        "oldest_waiting": "2026-03-12T07:00:00Z" });
    assert_eq!(status["history"], lag);
    assert_eq!(status["ingest_lag_ms"], 0);
}

#[tokio::test]
async fn nothing_is_compiled_just_in_time_whatever_the_database_is_set_to() {
    let server = TestServer::start().await;
    let setting = "SELECT current_setting('jit')";
    let of_database: String = sqlx::query_scalar(setting).fetch_one(&mut server.owner().await).await.unwrap();
    let mut tx = server.app().db.begin(&Scope::system("test", acme::PARTNER.id)).await.unwrap();
    let of_server: String = sqlx::query_scalar(setting).fetch_one(tx.conn()).await.unwrap();
    assert_eq!((of_database.as_str(), of_server.as_str()), ("on", "off"));
}

#[tokio::test]
async fn who_asks_is_looked_up_by_plans_that_are_kept() {
    let server = TestServer::start().await;
    // PostgreSQL plans a function in SQL anew each time it is called.
    let kept: Vec<String> = sqlx::query_scalar(
        "SELECT p.proname::text FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
         WHERE p.proname IN ('lookup_session', 'lookup_agent') AND l.lanname = 'plpgsql' ORDER BY 1",
    )
    .fetch_all(&mut server.owner().await)
    .await
    .unwrap();
    assert_eq!(kept, ["lookup_agent", "lookup_session"]);
}

#[tokio::test]
async fn the_status_says_that_agents_are_held_back() {
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.sockets.gateway.arrivals = 0;
        options.sockets.gateway.room = 100;
    })
    .await;
    let admin = server.client_as(&PLATFORM_ADMIN).await;
    let arrivals = async || admin.get("/api/v1/system/status").await.expect(200)["arrivals"].clone();
    let quiet = json!({ "under_way": 0, "at_most": 0, "turned_away": 0, "is_holding_back": false,
        "room": 100, "is_full": false });
    assert_eq!(arrivals().await, quiet);
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    assert!(TestAgent::open(&server, &machine).await.is_err(), "nobody is let in");
    let held_back = json!({ "under_way": 0, "at_most": 0, "turned_away": 1, "is_holding_back": true,
        "room": 100, "is_full": false });
    assert_eq!(arrivals().await, held_back);
}

#[tokio::test]
async fn the_status_says_that_there_is_no_room_for_more_agents_and_there_is_when_one_leaves() {
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.sockets.gateway.room = 1;
    })
    .await;
    let admin = server.client_as(&PLATFORM_ADMIN).await;
    let is_full = async || {
        let status = admin.get("/api/v1/system/status").await.expect(200);
        status["arrivals"]["is_full"].as_bool().unwrap()
    };
    let first = server.seed_agent(&acme::HQ, "web-01").await;
    let second = server.seed_agent(&acme::HQ, "web-02").await;
    let inside = TestAgent::connect(&server, &first).await;
    eventually("a full house", async || is_full().await.then_some(())).await;
    let refused = TestAgent::open(&server, &second).await.err().unwrap();
    assert_eq!((refused.status.as_u16(), refused.header("retry-after")), (503, Some("60")));
    drop(inside);
    eventually("room", async || (!is_full().await).then_some(())).await;
    TestAgent::connect(&server, &second).await;
}

async fn maintenance(server: &TestServer) -> PgConnection {
    server.database.owner_options().database("postgres").connect().await.unwrap()
}
