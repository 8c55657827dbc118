//! Background work that must not run twice at a time.

use chrono::Utc;
use gururmm_server::commands::dispatch::keep_deadlines;
use gururmm_testkit::TestServer;
use gururmm_testkit::world::{acme, globex};
use sqlx::AssertSqlSafe;

#[tokio::test]
async fn a_job_runs_in_one_place_at_a_time_and_a_dead_holder_blocks_nobody() {
    let server = TestServer::start().await;
    let db = &server.app().db;
    let held = db.singleton("a job").await.unwrap().unwrap();
    assert!(db.singleton("a job").await.unwrap().is_none());
    db.singleton("another job").await.unwrap().unwrap().release().await.unwrap();
    held.release().await.unwrap();
    drop(db.singleton("a job").await.unwrap().unwrap());
    gururmm_testkit::eventually("the lock of a connection that is gone", async || {
        db.singleton("a job").await.unwrap()
    })
    .await;
}

#[tokio::test]
async fn deadlines_hold_at_every_partner_and_for_every_command_though_one_of_them_cannot_be_decided() {
    let server = TestServer::start().await;
    let (first, second) =
        if acme::PARTNER.id < globex::PARTNER.id { (acme::HQ, globex::HQ) } else { (globex::HQ, acme::HQ) };
    let mut owner = server.owner().await;
    for (site, command) in [(first, "broken"), (first, "beside it"), (second, "elsewhere")] {
        let machine = server.seed_agent(&site, command).await;
        sqlx::query(
            "INSERT INTO commands (id, tenant_id, client_id, site_id, agent_id, command_type, command, context,
               timeout_seconds, status, created_at, expires_at)
             SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, 'shell', $2, 'system', 60, 'queued', now(),
               now() FROM agents WHERE id = $1",
        )
        .bind(machine.id)
        .bind(command)
        .execute(&mut owner)
        .await
        .unwrap();
    }
    for statement in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'out of order'; END $$",
        "CREATE TRIGGER refuse BEFORE UPDATE ON commands FOR EACH ROW WHEN (OLD.command = 'broken')
         EXECUTE FUNCTION refuse()",
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut owner).await.unwrap();
    }
    keep_deadlines(server.app(), Utc::now()).await.unwrap();
    let states: Vec<(String, String)> =
        sqlx::query_as("SELECT command, status FROM commands ORDER BY created_at")
            .fetch_all(&mut owner)
            .await
            .unwrap();
    let states: Vec<(&str, &str)> = states.iter().map(|(command, status)| (&**command, &**status)).collect();
    assert_eq!(states, [("broken", "queued"), ("beside it", "expired"), ("elsewhere", "expired")]);
}
