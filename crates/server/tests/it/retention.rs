//! What has been over for longer than its partner keeps things goes, and nothing else does.

use chrono::Utc;
use gururmm_server::retention::{self, BATCH};
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{SeededAgent, TestServer, logs};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection};
use std::collections::BTreeSet;
use uuid::Uuid;

/// Commands of a machine in a state, which came to it (were made, where it is an open one) so many days ago, each with
/// a piece of output.
async fn commands(owner: &mut PgConnection, machine: &SeededAgent, status: &str, days: i32, number: i64) {
    sqlx::query(
        "WITH made AS (
           INSERT INTO commands (id, tenant_id, client_id, site_id, agent_id, command_type, command, context,
             timeout_seconds, status, created_at, expires_at, ended_at)
           SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, 'shell', $2 || ' for ' || $3, 'system', 60, $2,
             now() - make_interval(days => $3), now(),
             CASE WHEN $2 NOT IN ('queued', 'sent', 'running') THEN now() - make_interval(days => $3) END
           FROM agents, generate_series(1, $4) WHERE id = $1 RETURNING id, tenant_id)
         INSERT INTO command_output (tenant_id, command_id, seq, stream, data)
         SELECT tenant_id, id, 1, 'stdout', 'x' FROM made",
    )
    .bind(machine.id)
    .bind(status)
    .bind(days)
    .bind(number)
    .execute(owner)
    .await
    .unwrap();
}

async fn alert(owner: &mut PgConnection, machine: &SeededAgent, status: &str, days: i32) {
    sqlx::query(
        "INSERT INTO alerts (id, tenant_id, client_id, site_id, agent_id, kind, severity, title, dedup_key, status,
           raised_at, resolved_at)
         SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, 'test', 'info', $2 || ' for ' || $3,
           gen_random_uuid()::text, $2, now() - make_interval(days => $3),
           CASE WHEN $2 = 'resolved' THEN now() - make_interval(days => $3) END FROM agents WHERE id = $1",
    )
    .bind(machine.id)
    .bind(status)
    .bind(days)
    .execute(owner)
    .await
    .unwrap();
}

/// A session of the tech's; the newest is the one that may be open.
async fn tunnel(owner: &mut PgConnection, machine: &SeededAgent, tech: Uuid, status: &str, days: i32) {
    sqlx::query(
        "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status, opened_at, closed_at)
         SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, $2, $3, now() - make_interval(days => $4),
           CASE WHEN $3 = 'closed' THEN now() - make_interval(days => $4) END FROM agents WHERE id = $1",
    )
    .bind(machine.id)
    .bind(tech)
    .bind(status)
    .bind(days)
    .execute(owner)
    .await
    .unwrap();
}

/// What is left: `what` of every row of a table, by machine.
async fn left(owner: &mut PgConnection, table: &str, what: &str) -> BTreeSet<String> {
    let query =
        format!("SELECT a.hostname || ': ' || {what} FROM {table} t JOIN agents a ON a.id = t.agent_id");
    let rows: Vec<String> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(owner).await.unwrap();
    rows.into_iter().collect()
}

async fn count(owner: &mut PgConnection, table: &str) -> i64 {
    let query = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query_scalar(query).fetch_one(owner).await.unwrap()
}

async fn choose(owner: &mut PgConnection, partner: Uuid, days: i16) {
    let query = sqlx::query("UPDATE partners SET retention_days = $2 WHERE id = $1").bind(partner).bind(days);
    query.execute(owner).await.unwrap();
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[tokio::test]
async fn what_is_over_goes_after_its_partners_class_and_what_is_not_over_stays() {
    let server = TestServer::start().await;
    let ours = server.seed_agent(&acme::HQ, "ours").await;
    let theirs = server.seed_agent(&globex::HQ, "theirs").await;
    let mut owner = server.owner().await;
    choose(&mut owner, acme::PARTNER.id, 30).await;
    choose(&mut owner, globex::PARTNER.id, 365).await;
    for (status, days) in [
        ("completed", 31),
        ("interrupted", 31),
        ("failed", 29),
        ("running", 400),
        ("queued", 400),
        ("sent", 400),
    ] {
        commands(&mut owner, &ours, status, days, 1).await;
    }
    for (status, days) in [("completed", 31), ("completed", 364), ("cancelled", 366)] {
        commands(&mut owner, &theirs, status, days, 1).await;
    }
    for (status, days) in [("resolved", 31), ("resolved", 29), ("open", 400), ("acknowledged", 400)] {
        alert(&mut owner, &ours, status, days).await;
    }
    alert(&mut owner, &theirs, "resolved", 31).await;
    tunnel(&mut owner, &ours, acme::TECH.id, "closed", 31).await;
    tunnel(&mut owner, &ours, acme::TECH.id, "closed", 29).await;
    tunnel(&mut owner, &ours, acme::TECH.id, "active", 400).await;
    tunnel(&mut owner, &theirs, globex::TECH.id, "closed", 31).await;

    retention::keep(server.app(), Utc::now()).await.unwrap();

    let commands = [
        "ours: failed for 29",
        "ours: queued for 400",
        "ours: running for 400",
        "ours: sent for 400",
        "theirs: completed for 31",
        "theirs: completed for 364",
    ];
    assert_eq!(left(&mut owner, "commands", "t.command").await, set(&commands));
    assert_eq!(
        count(&mut owner, "command_output").await,
        6,
        "output goes with its command, and with none else"
    );
    let alerts = [
        "ours: acknowledged for 400",
        "ours: open for 400",
        "ours: resolved for 29",
        "theirs: resolved for 31",
    ];
    assert_eq!(left(&mut owner, "alerts", "t.title").await, set(&alerts));
    let age = "t.status || ' for ' || round(extract(epoch FROM now() - t.opened_at) / 86400)";
    let tunnels = ["ours: active for 400", "ours: closed for 29", "theirs: closed for 31"];
    assert_eq!(left(&mut owner, "tunnel_sessions", age).await, set(&tunnels));
}

#[tokio::test]
async fn a_class_that_was_changed_holds_for_what_is_old_already_and_the_audit_log_stays() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "ours").await;
    let mut owner = server.owner().await;
    choose(&mut owner, acme::PARTNER.id, 90).await;
    commands(&mut owner, &machine, "completed", 60, 1).await;
    retention::keep(server.app(), Utc::now()).await.unwrap();
    assert_eq!(count(&mut owner, "commands").await, 1);
    let partner = server.client_as(&acme::OWNER).await;
    partner.patch("/api/v1/partner", json!({ "retention_days": 30 })).await.expect(200);
    sqlx::query("ALTER TABLE audit_log DISABLE TRIGGER USER").execute(&mut owner).await.unwrap();
    sqlx::query("UPDATE audit_log SET at = at - interval '10 years'").execute(&mut owner).await.unwrap();
    let entries = count(&mut owner, "audit_log").await;
    retention::keep(server.app(), Utc::now()).await.unwrap();
    assert_eq!((count(&mut owner, "commands").await, count(&mut owner, "command_output").await), (0, 0));
    assert_eq!(count(&mut owner, "audit_log").await, entries);
}

#[tokio::test]
async fn a_transaction_removes_a_thousand_rows_at_most_and_fewer_where_their_output_is_large() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "ours").await;
    let mut owner = server.owner().await;
    commands(&mut owner, &machine, "completed", 2_000, 2 * BATCH + 1).await;
    // What an agent says of its output is any number.
    commands(&mut owner, &machine, "failed", 3_000, 5).await;
    let large = "UPDATE commands SET stdout_bytes = 9223372036854775807, stderr_bytes = 9223372036854775807
                 WHERE status = 'failed'";
    sqlx::query(large).execute(&mut owner).await.unwrap();
    for statement in [
        "CREATE TABLE removed (xact xid8, status text)",
        "CREATE FUNCTION note_removed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
         BEGIN INSERT INTO public.removed VALUES (pg_current_xact_id(), OLD.status); RETURN OLD; END $$",
        "CREATE TRIGGER note_removed BEFORE DELETE ON commands FOR EACH ROW EXECUTE FUNCTION note_removed()",
    ] {
        sqlx::query(statement).execute(&mut owner).await.unwrap();
    }
    retention::keep(server.app(), Utc::now()).await.unwrap();
    assert_eq!(count(&mut owner, "commands").await, 0);
    let batches: Vec<(i64, i64)> = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE status = 'failed') FROM removed GROUP BY xact ORDER BY xact",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(batches.iter().all(|(rows, _)| *rows <= BATCH), "{batches:?}");
    assert!(batches.iter().all(|(_, large)| *large <= 1), "{batches:?}");
    assert_eq!(batches.iter().map(|(rows, _)| rows).sum::<i64>(), 2 * BATCH + 6);
}

#[tokio::test]
async fn what_fails_at_one_partner_stops_no_other_one_and_is_said() {
    let server = TestServer::start().await;
    // The one whose turn comes first.
    let (first, second) =
        if acme::PARTNER.id < globex::PARTNER.id { (acme::HQ, globex::HQ) } else { (globex::HQ, acme::HQ) };
    let broken = server.seed_agent(&first, "broken").await;
    let fine = server.seed_agent(&second, "fine").await;
    let mut owner = server.owner().await;
    for machine in [&broken, &fine] {
        commands(&mut owner, machine, "completed", 2_000, 1).await;
        alert(&mut owner, machine, "resolved", 2_000).await;
    }
    for statement in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'out of order'; END $$"
            .to_owned(),
        format!(
            "CREATE TRIGGER refuse BEFORE DELETE ON commands FOR EACH ROW WHEN (OLD.tenant_id = '{}')
             EXECUTE FUNCTION refuse()",
            first.partner
        ),
    ] {
        sqlx::query(AssertSqlSafe(statement)).execute(&mut owner).await.unwrap();
    }
    retention::keep(server.app(), Utc::now()).await.unwrap();
    assert_eq!(left(&mut owner, "commands", "t.status").await, set(&["broken: completed"]));
    assert_eq!(count(&mut owner, "alerts").await, 0, "what failed is one kind of one partner");
    let log = logs::text();
    let said = log
        .lines()
        .any(|line| line.contains("failed for one partner") && line.contains(&first.partner.to_string()));
    assert!(said, "{log}");
}
