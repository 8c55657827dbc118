//! What becomes of a machine's record: retired and brought back, merged with its duplicate, enrolled anew.

use crate::agent_socket::shows;
use crate::enroll::{enroll, key_of, machine};
use chrono::{TimeDelta, Utc};
use gururmm_protocol::ServerMessage;
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_server::retention;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

fn path(machine: &SeededAgent, what: &str) -> String {
    format!("/api/v1/agents/{}/{what}", machine.id)
}

async fn names(client: &ApiClient, query: &str) -> Vec<String> {
    let page = client.get(&format!("/api/v1/agents{query}")).await.expect(200);
    let items = page["items"].as_array().unwrap();
    assert_eq!(page["total"], json!(items.len()), "{page}");
    items.iter().map(|agent| agent["hostname"].as_str().unwrap().to_owned()).collect()
}

async fn goodbye(agent: &mut TestAgent) -> GoodbyeReason {
    let pick = |message| match message {
        ServerMessage::Goodbye { reason, .. } => Some(reason),
        _ => None,
    };
    agent.expect("goodbye", pick).await
}

async fn refusal(server: &TestServer, machine: &SeededAgent) -> String {
    TestAgent::open(server, machine).await.err().unwrap().code().unwrap()
}

/// The last entry of the audit log: what was done to which machine.
async fn last_entry(server: &TestServer) -> Value {
    server.client_as(&acme::OWNER).await.get("/api/v1/audit?limit=1").await.expect(200)["items"][0].clone()
}

/// A command that ran, an alert that stands, samples of some minutes, a tunnel that is open.
async fn give_history(owner: &mut PgConnection, machine: &SeededAgent, minutes: &[i32]) {
    for statement in [
        "INSERT INTO commands (id, tenant_id, client_id, site_id, agent_id, command_type, command, context,
           timeout_seconds, status, expires_at, ended_at)
         SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, 'shell', 'on ' || hostname, 'system', 60,
           'completed', now(), now() FROM agents WHERE id = $1",
        "INSERT INTO alerts (id, tenant_id, client_id, site_id, agent_id, kind, severity, title, dedup_key)
         SELECT gen_random_uuid(), tenant_id, client_id, site_id, id, 'test', 'info', 'of ' || hostname, id::text
         FROM agents WHERE id = $1",
        "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status)
         SELECT gen_random_uuid(), a.tenant_id, a.client_id, a.site_id, a.id, m.user_id, 'active'
         FROM agents a JOIN memberships m ON m.tenant_id = a.tenant_id AND m.role = 'tech' AND m.status = 'active'
         WHERE a.id = $1 ORDER BY m.user_id LIMIT 1",
        "INSERT INTO agent_crashes (id, tenant_id, agent_id, crash_id, cause, crashed_at, received_at, agent_version, log)
         SELECT gen_random_uuid(), tenant_id, id, '0190b000-0000-7000-8000-000000000001', 'killed', now(), now(), '0.1.0',
           '' FROM agents WHERE id = $1",
        "INSERT INTO agent_updates (id, tenant_id, agent_id, action, origin, status, from_version, to_version, channel,
           ordered_at, changed_at, valid_until, deadline)
         SELECT gen_random_uuid(), tenant_id, id, 'install', 'policy', 'ordered', '0.1.0', '0.2.0', 'stable', now(), now(),
           now() + interval '1 day', now() + interval '1 day' FROM agents WHERE id = $1",
    ] {
        sqlx::query(statement).bind(machine.id).execute(&mut *owner).await.unwrap();
    }
    sqlx::query(
        "INSERT INTO metric_samples SELECT $1, $2, date_trunc('minute', now()) - n * interval '1 minute', 90, 60, $2, 1,
           4, 0, 0, NULL, NULL, NULL, NULL, 0, 0, 0, 1, 1, NULL, NULL, NULL, NULL, '[]', '{\"cpu\":[],\"memory\":[]}'
         FROM unnest($3::integer[]) n",
    )
    .bind(machine.site.partner)
    .bind(machine.num)
    .bind(minutes)
    .execute(owner)
    .await
    .unwrap();
}

async fn count(owner: &mut PgConnection, query: &'static str, id: Uuid) -> i64 {
    sqlx::query_scalar(query).bind(id).fetch_one(owner).await.unwrap()
}

const COMMANDS: &str = "SELECT count(*) FROM commands WHERE agent_id = $1";
const ALERTS: &str = "SELECT count(*) FROM alerts WHERE agent_id = $1";
const UPDATES: &str = "SELECT count(*) FROM agent_updates WHERE agent_id = $1";
const SAMPLES: &str =
    "SELECT count(*) FROM metric_samples m JOIN agents a ON a.num = m.agent_num WHERE a.id = $1";

#[tokio::test]
async fn a_retired_machine_is_refused_and_hidden_and_comes_back_as_it_was() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let (old, other) =
        (server.seed_agent(&acme::HQ, "old-pc").await, server.seed_agent(&acme::HQ, "other-pc").await);
    give_history(&mut server.owner().await, &old, &[1, 2]).await;
    let mut online = TestAgent::connect(&server, &old).await;
    let retired = admin.post(&path(&old, "retire"), json!({})).await.expect(200);
    assert_eq!((&retired["status"], retired["retired_at"].is_string()), (&json!("retired"), true));
    assert_eq!(goodbye(&mut online).await, GoodbyeReason::Revoked);
    assert_eq!(refusal(&server, &old).await, "AGENT_KEY_REFUSED");
    let entry = last_entry(&server).await;
    assert_eq!((&entry["action"], &entry["target_name"]), (&json!("agent.retire"), &json!("old-pc")));

    assert_eq!(names(&admin, "").await, ["other-pc"]);
    assert_eq!(names(&admin, "?status=retired").await, ["old-pc"]);
    assert_eq!(admin.get("/api/agents").await.expect(200).as_array().unwrap().len(), 1);
    let site = admin.get(&format!("/api/v1/sites/{}", acme::HQ.id)).await.expect(200);
    assert_eq!(site["agents_total"], 1);
    // Its page and its history are there.
    assert_eq!(
        admin.get(&format!("/api/v1/agents/{}", old.id)).await.expect(200)["agent"]["status"],
        "retired"
    );
    assert_eq!(count(&mut server.owner().await, COMMANDS, old.id).await, 1);
    assert_eq!(count(&mut server.owner().await, SAMPLES, old.id).await, 2);
    // Nothing is done on it, and nothing is done twice.
    let command = json!({ "command_type": "shell", "command": "uptime" });
    let run = format!("/api/agents/{}/command", old.id);
    admin.post(&run, command).await.expect_problem(409, "AGENT_NOT_ACTIVE");
    admin.post(&path(&old, "retire"), json!({})).await.expect_problem(409, "INVALID_STATE");
    admin.post(&path(&other, "restore"), json!({})).await.expect_problem(409, "INVALID_STATE");

    let back = admin.post(&path(&old, "restore"), json!({})).await.expect(200);
    assert_eq!((&back["status"], &back["retired_at"]), (&json!("offline"), &Value::Null));
    assert_eq!(last_entry(&server).await["action"], "agent.restore");
    TestAgent::connect(&server, &old).await;
    assert_eq!(names(&admin, "").await, ["old-pc", "other-pc"]);
}

#[tokio::test]
async fn a_machine_that_waits_is_decided_about_and_not_retired() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    admin
        .patch(&format!("/api/v1/sites/{}", acme::HQ.id), json!({ "approval_required": true }))
        .await
        .expect(200);
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let waiting =
        enroll(&server, &acme::HQ, &secret, &machine("new-pc", "uid-of-new-pc", "disk-1")).await.machine;
    let other = server.seed_agent(&acme::HQ, "other-pc").await;
    admin.post(&path(&waiting, "retire"), json!({})).await.expect_problem(409, "AGENT_NOT_ACTIVE");
    admin.post(&path(&waiting, "reenroll"), json!({})).await.expect_problem(409, "AGENT_NOT_ACTIVE");
    for (kept, merged) in [(&waiting, &other), (&other, &waiting)] {
        let body = json!({ "merged_id": merged.id, "key": "kept" });
        admin.post(&path(kept, "merge"), body).await.expect_problem(409, "AGENT_NOT_ACTIVE");
    }
}

#[tokio::test]
async fn a_retired_machine_that_asks_again_waits_and_gets_its_history_by_a_person_only() {
    for (decision, keeps_record) in [("same_machine", true), ("new", false)] {
        let server = TestServer::start().await;
        let admin = server.client_as(&acme::ADMIN).await;
        let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
        let pc = machine("old-pc", "uid-of-old-pc", "disk-1");
        let old = enroll(&server, &acme::HQ, &secret, &pc).await.machine;
        give_history(&mut server.owner().await, &old, &[]).await;
        admin.post(&path(&old, "retire"), json!({})).await.expect(200);
        let again = enroll(&server, &acme::HQ, &secret, &pc).await;
        assert_eq!(again.status, "pending");
        assert_ne!(again.machine.id, old.id);
        assert_eq!(refusal(&server, &again.machine).await, "AGENT_PENDING");
        let queue = admin.get("/api/v1/approvals").await.expect(200);
        let waiting = &queue["items"][0];
        assert_eq!(
            (
                &waiting["agent"]["pending_reason"],
                &waiting["collides_with"]["id"],
                &waiting["collides_with"]["is_retired"]
            ),
            (&json!("retired_before"), &json!(old.id), &json!(true))
        );
        let approved =
            admin.post(&path(&again.machine, "approve"), json!({ "as": decision })).await.expect(200);
        assert_eq!(approved["status"], "offline");
        assert_eq!(approved["id"] == json!(old.id), keeps_record);
        let agent = TestAgent::connect(&server, &again.machine).await;
        let inherited = count(&mut server.owner().await, COMMANDS, agent.welcome.agent_id.0).await;
        assert_eq!(inherited, i64::from(keeps_record));
        assert_eq!(refusal(&server, &old).await, "AGENT_KEY_REFUSED");
    }
}

#[tokio::test]
async fn a_retired_machine_does_not_come_back_into_an_identity_that_is_taken() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let pc = machine("old-pc", "uid-of-old-pc", "disk-1");
    let old = enroll(&server, &acme::HQ, &secret, &pc).await.machine;
    admin.post(&path(&old, "retire"), json!({})).await.expect(200);
    let again = enroll(&server, &acme::HQ, &secret, &pc).await.machine;
    admin.post(&path(&again, "approve"), json!({ "as": "new" })).await.expect(200);
    admin.post(&path(&old, "restore"), json!({})).await.expect_problem(409, "INVALID_STATE");
    assert_eq!(refusal(&server, &old).await, "AGENT_KEY_REFUSED");
    TestAgent::connect(&server, &again).await;
    // Its history is not lost for that: the records are of one machine.
    give_history(&mut server.owner().await, &old, &[3]).await;
    let merge = json!({ "merged_id": old.id, "key": "kept" });
    admin.post(&path(&again, "merge"), merge).await.expect(200);
    assert_eq!(count(&mut server.owner().await, COMMANDS, again.id).await, 1);
}

#[tokio::test]
async fn a_retired_machine_goes_with_its_history_after_its_partners_class_of_days() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let mut owner = server.owner().await;
    let mut seeded = Vec::new();
    for name in ["long-gone", "just-gone", "there"] {
        let machine = server.seed_agent(&acme::HQ, name).await;
        give_history(&mut owner, &machine, &[]).await;
        seeded.push(machine);
    }
    for machine in &seeded[..2] {
        admin.post(&path(machine, "retire"), json!({})).await.expect(200);
    }
    for (machine, days) in [(&seeded[0], 91), (&seeded[1], 89)] {
        sqlx::query("UPDATE agents SET retired_at = now() - make_interval(days => $2) WHERE id = $1")
            .bind(machine.id)
            .bind(days)
            .execute(&mut owner)
            .await
            .unwrap();
    }
    // The command is a day old, so that only the machine's own end takes it.
    retention::keep(server.app(), Utc::now() - TimeDelta::days(2)).await.unwrap();
    assert_eq!(names(&admin, "?status=retired").await, ["just-gone", "long-gone"]);
    retention::keep(server.app(), Utc::now()).await.unwrap();
    assert_eq!(names(&admin, "?status=retired").await, ["just-gone"]);
    assert_eq!(names(&admin, "").await, ["there"]);
    for (machine, left) in [(&seeded[0], 0), (&seeded[1], 1), (&seeded[2], 1)] {
        assert_eq!(count(&mut owner, COMMANDS, machine.id).await, left, "{}", machine.hostname);
    }
    let entry = last_entry(&server).await;
    assert_eq!(
        (&entry["action"], &entry["target_name"], &entry["actor_kind"]),
        (&json!("agent.delete"), &json!("long-gone"), &json!("system"))
    );
}

/// Two records of one machine at two sites: the old one with its past, and the one the re-imaged machine made.
struct TwoRecords {
    server: TestServer,
    admin: ApiClient,
    old: SeededAgent,
    new: SeededAgent,
}

impl TwoRecords {
    async fn of_one_machine() -> Self {
        let server = TestServer::start().await;
        let (old, new) =
            (server.seed_agent(&acme::HQ, "pc-7").await, server.seed_agent(&acme::LAB, "pc-7").await);
        let mut owner = server.owner().await;
        give_history(&mut owner, &old, &[10, 11, 12]).await;
        give_history(&mut owner, &new, &[1, 2, 12]).await;
        for (agent, gap, samples) in [(&old, 1, 5), (&new, 1, 9), (&new, 2, 7)] {
            sqlx::query(
                "INSERT INTO metric_gaps (tenant_id, agent_id, gap_id, starts_at, ends_at, samples, reason)
                 SELECT tenant_id, id, lpad($2::text, 32, '0')::uuid, now() - interval '1 hour', now(), $3, 'disk_full'
                 FROM agents WHERE id = $1",
            )
            .bind(agent.id)
            .bind(gap)
            .bind(samples)
            .execute(&mut owner)
            .await
            .unwrap();
        }
        let admin = server.client_as(&acme::ADMIN).await;
        Self { server, admin, old, new }
    }

    async fn merge_new_into_old(&self, key: &str) -> gururmm_testkit::Answer {
        self.admin.post(&path(&self.old, "merge"), json!({ "merged_id": self.new.id, "key": key })).await
    }

    async fn all_history_is_the_olds(&self) {
        let mut owner = self.server.owner().await;
        for (query, number) in [(COMMANDS, 2), (ALERTS, 2), (SAMPLES, 5), (UPDATES, 2)] {
            assert_eq!(count(&mut owner, query, self.old.id).await, number, "{query}");
            assert_eq!(count(&mut owner, query, self.new.id).await, 0, "{query}");
        }
        let query = "SELECT count(*) FROM commands c JOIN agents a ON a.id = c.agent_id
                     WHERE a.id = $1 AND (c.site_id, c.client_id) = (a.site_id, a.client_id)";
        assert_eq!(count(&mut owner, query, self.old.id).await, 2, "it is where the machine is");
        let query = "SELECT count(*) FROM agent_updates WHERE agent_id = $1 AND ended_at IS NULL";
        assert_eq!(count(&mut owner, query, self.old.id).await, 1, "the other's is over");
        let query = "SELECT count(*) FROM tunnel_sessions WHERE agent_id = $1 AND status = 'active'";
        assert_eq!(count(&mut owner, query, self.old.id).await, 1, "the other's ended with it");
        // The one that both counted as lost is the kept record's, and so is the one that the other alone did.
        let query = "SELECT count(*) FROM metric_gaps WHERE agent_id = $1";
        assert_eq!(count(&mut owner, query, self.old.id).await, 2);
        let query = "SELECT sum(samples)::bigint FROM metric_gaps WHERE agent_id = $1";
        assert_eq!(count(&mut owner, query, self.old.id).await, 12);
        // Where both have a sample of one moment, the kept record's stays.
        let query = "SELECT count(*) FROM metric_samples m JOIN agents a ON a.num = m.agent_num
                     WHERE a.id = $1 AND m.cpu_percent = a.num::real";
        assert_eq!(count(&mut owner, query, self.old.id).await, 3);
    }
}

#[tokio::test]
async fn records_that_may_be_of_one_machine_are_shown_with_what_they_share() {
    let records = TwoRecords::of_one_machine().await;
    let TwoRecords { server, admin, old, new } = &records;
    let other = server.seed_agent(&acme::NORTH, "elsewhere").await;
    let same_name_at_another_client = server.seed_agent(&acme::SOUTH, "pc-7").await;
    let foreign = server.seed_agent(&globex::HQ, "pc-7").await;
    let mut owner = server.owner().await;
    for (id, board, disk, mac) in [
        (old.id, "BOARD-1", "None", "02:00:5e:10:00:01"),
        (new.id, "BOARD-1", "None", "02:00:5e:10:00:02"),
        (other.id, "BOARD-2", "None", "02:00:5e:10:00:01"),
        (same_name_at_another_client.id, "BOARD-3", "None", "02:00:5e:10:00:03"),
        (foreign.id, "BOARD-1", "None", "02:00:5e:10:00:01"),
    ] {
        sqlx::query(
            "UPDATE agents SET board_serial = $2, disk_serial = $3, mac_addresses = ARRAY[$4] WHERE id = $1",
        )
        .bind(id)
        .bind(board)
        .bind(disk)
        .bind(mac)
        .execute(&mut owner)
        .await
        .unwrap();
    }
    let found = server.client_as(&acme::READER).await.get(&path(old, "duplicates")).await.expect(200);
    let found: Vec<Value> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|duplicate| json!([duplicate["agent"]["id"], duplicate["reasons"]]))
        .collect();
    // A word where a serial should stand is no likeness.
    assert_eq!(found, [json!([new.id, ["board_serial", "hostname"]]), json!([other.id, ["mac_address"]])]);
    // Confined people are shown their own part.
    let confined = server.client_as(&acme::HQ_READER).await.get(&path(old, "duplicates")).await.expect(200);
    assert_eq!(confined, json!([]));
    admin.get(&path(&foreign, "duplicates")).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_merged_record_leaves_its_history_and_its_key_is_refused() {
    let records = TwoRecords::of_one_machine().await;
    let TwoRecords { server, admin, old, new } = &records;
    let mut online = TestAgent::connect(server, new).await;
    let kept = records.merge_new_into_old("kept").await.expect(200);
    assert_eq!((&kept["id"], &kept["site_id"]), (&json!(old.id), &json!(acme::HQ.id)));
    records.all_history_is_the_olds().await;
    assert_eq!(goodbye(&mut online).await, GoodbyeReason::Revoked);
    assert_eq!(refusal(server, new).await, "AGENT_KEY_REFUSED");
    let agent = TestAgent::connect(server, old).await;
    assert_eq!(agent.welcome.agent_id.0, old.id);
    assert_eq!(names(admin, "").await, ["pc-7"]);
    let entry = last_entry(server).await;
    assert_eq!((&entry["action"], &entry["target_id"]), (&json!("agent.merge"), &json!(old.id)));
    assert_eq!(
        (&entry["detail"]["merged"]["id"], &entry["detail"]["merged"]["site_name"], &entry["detail"]["key"]),
        (&json!(new.id), &json!("Lab"), &json!("kept"))
    );
    records.merge_new_into_old("kept").await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn a_live_machine_goes_on_under_the_record_that_stays() {
    let records = TwoRecords::of_one_machine().await;
    let TwoRecords { server, old, new, .. } = &records;
    let mut online = TestAgent::connect(server, new).await;
    records.merge_new_into_old("merged").await.expect(200);
    records.all_history_is_the_olds().await;
    // Not as revoked: it comes back by itself, with the key it has, and is told who it is.
    assert_eq!(goodbye(&mut online).await, GoodbyeReason::Other);
    let agent = TestAgent::connect(server, new).await;
    assert_eq!(agent.welcome.agent_id.0, old.id);
    assert_eq!(refusal(server, old).await, "AGENT_KEY_REFUSED");
    // A machine that kept the new id asks under either.
    let under_its_new_id = SeededAgent { id: old.id, ..new.clone() };
    let agent = TestAgent::connect(server, &under_its_new_id).await;
    assert_eq!(agent.welcome.agent_id.0, old.id);
}

#[tokio::test]
async fn two_machines_that_are_both_there_are_not_merged() {
    let records = TwoRecords::of_one_machine().await;
    let TwoRecords { server, admin, old, new } = &records;
    let (_one, other) = (TestAgent::connect(server, old).await, TestAgent::connect(server, new).await);
    for key in ["kept", "merged"] {
        records.merge_new_into_old(key).await.expect_problem(409, "INVALID_STATE");
    }
    let itself = json!({ "merged_id": old.id, "key": "kept" });
    admin.post(&path(old, "merge"), itself).await.expect_problem(422, "VALIDATION_FAILED");
    let foreign = server.seed_agent(&globex::HQ, "pc-7").await;
    for unknown in [foreign.id, Uuid::now_v7()] {
        let body = json!({ "merged_id": unknown, "key": "kept" });
        admin.post(&path(old, "merge"), body).await.expect_problem(404, "NOT_FOUND");
    }
    // Who does not see both records merges neither.
    let body = json!({ "merged_id": new.id, "key": "kept" });
    let confined = server.client_as(&acme::HQ_ADMIN).await;
    confined.post(&path(old, "merge"), body).await.expect_problem(404, "NOT_FOUND");
    other.socket.close().await;
    eventually("absence", async || (!server.app().gateway.is_connected(new.id)).then_some(())).await;
    records.merge_new_into_old("kept").await.expect(200);
    TestAgent::connect(server, &foreign).await;
}

#[tokio::test]
async fn a_key_that_may_be_copied_is_given_up_and_the_machine_enrolls_anew_as_itself() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let pc = machine("pc-7", "uid-of-pc-7", "disk-7");
    let before = enroll(&server, &acme::HQ, &secret, &pc).await.machine;
    let mut online = TestAgent::connect(&server, &before).await;
    shows(&server, &before, true).await;
    let once = admin.post(&path(&before, "reenroll"), json!({})).await.expect(201);
    gururmm_testkit::logs::keep_secret(once["secret"].as_str().unwrap());
    assert_eq!((&once["key"]["max_uses"], &once["key"]["note"]), (&json!(1), &json!("pc-7 enrolls anew")));
    assert_eq!(goodbye(&mut online).await, GoodbyeReason::Revoked);
    assert_eq!(refusal(&server, &before).await, "AGENT_KEY_REFUSED");
    assert_eq!(last_entry(&server).await["action"], "agent.reenroll");
    shows(&server, &before, false).await;
    let after = enroll(&server, &acme::HQ, once["secret"].as_str().unwrap(), &pc).await;
    assert_eq!((after.status.as_str(), after.machine.id), ("active", before.id));
    TestAgent::connect(&server, &after.machine).await;
}
