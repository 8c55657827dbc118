//! Samples that PostgreSQL refuses, and a PostgreSQL that goes away while they are sorted out.

use chrono::{TimeDelta, Utc};
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::{AgentMessage, ServerMessage};
use gururmm_server::telemetry::ingest::Queued;
use gururmm_testkit::agent::sample;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{SeededAgent, TestAgent, TestServer, eventually, logs};
use std::time::{Duration, Instant};

/// A sample in the queue, past everything that would have cleaned it.
fn queued(machine: &SeededAgent, seq: u64, sample: Sample) -> Queued {
    Queued {
        agent_id: machine.id,
        epoch: 1,
        tenant_id: machine.site.partner,
        num: machine.num,
        retention_days: 90,
        seq,
        sample: Some(Box::new(sample.into())),
        received_at: Utc::now(),
    }
}

async fn stored(server: &TestServer, machine: &SeededAgent) -> u64 {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM metric_samples WHERE agent_num = $1")
        .bind(machine.num)
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap();
    count.cast_unsigned()
}

/// Waits for the acknowledgement of all samples up to `last`; whatever is acknowledged on the way must be stored.
async fn acknowledged(server: &TestServer, agent: &mut TestAgent, last: u64) {
    let mut so_far = 0;
    while so_far < last {
        if let ServerMessage::MetricsAck { seq } = agent.next().await.unwrap() {
            let stored = stored(server, &agent.machine.clone()).await;
            assert!(stored >= seq, "{seq} are acknowledged, {stored} are stored");
            so_far = seq;
        }
    }
}

#[tokio::test]
async fn a_sample_that_is_refused_costs_the_others_little_and_no_lost_connection_costs_them_anything() {
    const GOOD: u64 = 100;
    const CUTS: i64 = 3;
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let hostile = server.seed_agent(&globex::HQ, "db-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let mut owner = server.owner().await;
    // Every insert is counted, and waits at a gate. What is refused for its values never comes so far.
    sqlx::raw_sql(
        "CREATE SEQUENCE inserts MINVALUE 0 START 0;
         SELECT nextval('inserts');
         CREATE FUNCTION wait_at_insert() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN PERFORM nextval('public.inserts'); PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
         CREATE TRIGGER wait_at_insert BEFORE INSERT ON metric_samples FOR EACH STATEMENT
           EXECUTE FUNCTION wait_at_insert();
         SELECT pg_advisory_lock(4711)",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let ingest = &server.app().telemetry.ingest;
    let now = Utc::now();
    for seq in 1..=GOOD {
        let taken_at = now - TimeDelta::milliseconds(seq.cast_signed());
        ingest.put(queued(&machine, seq, Sample { taken_at, ..sample() })).await;
        if seq == GOOD / 2 {
            let boot_time = Some("-9999-01-01T00:00:00Z".parse().unwrap());
            ingest.put(queued(&hostile, 1, Sample { boot_time, ..sample() })).await;
        }
    }
    for _ in 0..CUTS {
        eventually("an insert that waits, and is cut off", async || {
            let cut: Option<bool> = sqlx::query_scalar(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
                   AND query LIKE 'INSERT INTO metric_samples%' AND wait_event_type = 'Lock'",
            )
            .fetch_optional(&mut owner)
            .await
            .unwrap();
            cut
        })
        .await;
    }
    sqlx::query("SELECT pg_advisory_unlock(4711)").execute(&mut owner).await.unwrap();
    acknowledged(&server, &mut agent, GOOD).await;
    assert_eq!(stored(&server, &machine).await, GOOD);
    assert_eq!(stored(&server, &hostile).await, 0);
    let inserts: i64 =
        sqlx::query_scalar("SELECT last_value FROM inserts").fetch_one(&mut owner).await.unwrap();
    assert!(inserts > CUTS && inserts <= CUTS + 16, "{inserts} inserts");
}

#[tokio::test]
async fn a_database_that_refuses_everybody_costs_nobody_a_sample() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let mut owner = server.owner().await;
    sqlx::query("REVOKE INSERT ON metric_samples FROM gururmm_ingest").execute(&mut owner).await.unwrap();
    agent.send(&AgentMessage::Metrics { seq: 1, sample: sample() }).await;
    let early = tokio::time::timeout(Duration::from_millis(700), agent.next()).await;
    assert!(early.is_err(), "nothing is stored, and yet: {early:?}");
    sqlx::query("GRANT INSERT ON metric_samples TO gururmm_ingest").execute(&mut owner).await.unwrap();
    acknowledged(&server, &mut agent, 1).await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_database_that_takes_nothing() {
    let mut server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let mut owner = server.owner().await;
    sqlx::query("REVOKE INSERT ON metric_samples FROM gururmm_ingest").execute(&mut owner).await.unwrap();
    server.app().telemetry.ingest.put(queued(&machine, 1, sample())).await;
    let said = |what| logs::text().contains(what);
    eventually("some attempts, with ever longer pauses between them", async || {
        (logs::text().matches("samples could not be stored; tried again").count() >= 6).then_some(())
    })
    .await;
    let since = Instant::now();
    server.stop().await;
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(said("samples not stored at stop") && !said("a sample was dropped"));
}
