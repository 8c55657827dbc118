//! Callers who hang up while a transaction begins, or while their change is being committed.

use gururmm_protocol::ServerMessage;
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_server::bus::Bus;
use gururmm_server::db::{Db, PoolSizes};
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually};
use serde_json::json;
use sqlx::PgConnection;
use std::task::Poll;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use uuid::Uuid;

/// Lets every commit that touches `table` wait until the answer is used to [`let_go`].
async fn hold_commits(server: &TestServer, table: &str) -> PgConnection {
    let mut owner = server.owner().await;
    let statements = format!(
        "CREATE FUNCTION wait_at_commit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER wait_at_commit AFTER INSERT OR UPDATE OR DELETE ON {table}
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_at_commit();
         SELECT pg_advisory_lock(4711)"
    );
    sqlx::raw_sql(sqlx::AssertSqlSafe(statements)).execute(&mut owner).await.unwrap();
    owner
}

async fn let_go(mut owner: PgConnection) {
    sqlx::query("SELECT pg_advisory_unlock(4711)").execute(&mut owner).await.unwrap();
}

/// Asks, waits until the commit waits, hangs up, and sees the server close too.
async fn hang_up_at_commit(server: &TestServer, client: &ApiClient, line: &str, body: &str) {
    let mut request = format!("{line} HTTP/1.1\r\nhost: {}\r\n", server.address());
    for (name, value) in client.headers() {
        request += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    request += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut owner = server.owner().await;
    eventually("a commit that waits", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query = 'COMMIT'
               AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut owner)
        .await
        .unwrap();
        (waiting == 1).then_some(())
    })
    .await;
    stream.shutdown().await.unwrap();
    let mut said = Vec::new();
    let _reset_or_closed = stream.read_to_end(&mut said).await;
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

async fn stage() -> (TestServer, SeededAgent, TestAgent) {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let agent = TestAgent::connect(&server, &machine).await;
    (server, machine, agent)
}

#[tokio::test]
async fn a_machine_whose_deletion_nobody_waited_for_is_sent_away() {
    let (server, machine, mut agent) = stage().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let owner = hold_commits(&server, "agents").await;
    hang_up_at_commit(&server, &admin, &format!("DELETE /api/agents/{}", machine.id), "").await;
    let_go(owner).await;
    let pick = |message| match message {
        ServerMessage::Goodbye { reason, .. } => Some(reason),
        _ => None,
    };
    assert_eq!(agent.expect("goodbye", pick).await, GoodbyeReason::Revoked);
    admin.get(&format!("/api/agents/{}", machine.id)).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_policy_whose_author_did_not_wait_reaches_the_machines() {
    let (server, _machine, mut agent) = stage().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let owner = hold_commits(&server, "policies").await;
    let settings = json!({ "settings": { "metrics_interval_seconds": 77 } });
    let line = format!("PUT /api/v1/policies/site/{}", acme::HQ.id);
    hang_up_at_commit(&server, &admin, &line, &settings.to_string()).await;
    let_go(owner).await;
    let pick = |message| match message {
        ServerMessage::ConfigUpdate { config } => Some(config.metrics_interval_seconds),
        _ => None,
    };
    assert_eq!(agent.expect("new settings", pick).await, 77);
}

/// Polled so often and then dropped.
async fn for_polls<T>(most: usize, work: impl Future<Output = T>) -> Option<T> {
    let mut work = Box::pin(work);
    let mut polls = 0;
    std::future::poll_fn(|context| {
        polls += 1;
        if polls > most { Poll::Ready(None) } else { work.as_mut().poll(context).map(Some) }
    })
    .await
}

/// Waits until no connection of the server stands in a transaction.
async fn all_is_over(owner: &mut PgConnection) {
    eventually("no transaction", async || {
        let open: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
               AND application_name = 'gururmm-server' AND state LIKE 'idle in transaction%'",
        )
        .fetch_one(&mut *owner)
        .await
        .unwrap();
        (open == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_transaction_that_nobody_waited_for_is_over_wherever_they_left() {
    let (server, machine, _agent) = stage().await;
    let mut owner = server.owner().await;
    // One connection, which nobody else uses: what comes next comes upon what was left of it.
    let sizes = PoolSizes { operators: 1, agents: 1, background: 1 };
    let db = Db::connect(server.database.app_options(), sizes, Bus::default()).await.unwrap();
    drop(db.begin_ingest().await.unwrap());
    let mut left = 0;
    // How often it waits depends on how quick the database is.
    for _ in 0..10 {
        let mut polls = 1;
        while for_polls(polls, db.begin_ingest()).await.is_none() {
            (polls, left) = (polls + 1, left + 1);
            let begun = db.begin_agent_session(acme::PARTNER.id, machine.id, Uuid::now_v7()).await.unwrap();
            let epoch: i64 = sqlx::query_scalar("SELECT session_epoch FROM agents WHERE id = $1")
                .bind(machine.id)
                .fetch_one(&mut owner)
                .await
                .unwrap();
            assert_eq!(begun.unwrap().0, epoch, "what was answered is not committed");
        }
    }
    assert!(left > 0, "it never waited");
}

#[tokio::test]
async fn a_transaction_that_could_not_begin_spoils_no_connection() {
    let (server, machine, _agent) = stage().await;
    let tech = server.client_as(&acme::TECH).await;
    let mut owner = server.owner().await;
    let path = format!("/api/agents/{}", machine.id);
    sqlx::query("REVOKE EXECUTE ON FUNCTION set_config FROM PUBLIC").execute(&mut owner).await.unwrap();
    for _ in 0..3 {
        tech.get(&path).await.expect_problem(500, "INTERNAL");
    }
    sqlx::query("GRANT EXECUTE ON FUNCTION set_config TO PUBLIC").execute(&mut owner).await.unwrap();
    all_is_over(&mut owner).await;
    for _ in 0..20 {
        tech.get(&path).await.expect(200);
    }
}

#[tokio::test]
async fn a_connection_that_died_while_nobody_used_it_is_replaced_unseen() {
    let server = TestServer::start().await;
    let sizes = PoolSizes { operators: 1, agents: 1, background: 1 };
    let db = Db::connect(server.database.app_options(), sizes, Bus::default()).await.unwrap();
    let pid = async |tx: &mut PgConnection| {
        sqlx::query_scalar::<_, i32>("SELECT pg_backend_pid()").fetch_one(tx).await.unwrap()
    };
    let mut first = db.begin_ingest().await.unwrap();
    let died = pid(&mut first).await;
    drop(first);
    let mut owner = server.owner().await;
    sqlx::query("SELECT pg_terminate_backend($1)").bind(died).execute(&mut owner).await.unwrap();
    // One that answered a moment ago is trusted for half a second.
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let mut next = db.begin_ingest().await.expect("a connection that lives");
    assert_ne!(pid(&mut next).await, died);
}
