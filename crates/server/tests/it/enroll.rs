//! How machines are let in: `POST /api/enroll` and what people decide about those that wait.

use crate::agent_socket::shows;
use gururmm_protocol::ServerMessage;
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_server::auth::password::argon2_calls;
use gururmm_testkit::world::{Site, acme, globex};
use gururmm_testkit::{Answer, SeededAgent, TestAgent, TestServer, eventually, logs};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use uuid::Uuid;

/// What a machine says of itself when it asks.
pub(crate) fn machine(hostname: &str, uid: &str, disk_serial: &str) -> Value {
    json!({ "hostname": hostname, "os_type": "linux", "os_version": "Debian GNU/Linux 12 (bookworm)",
        "arch": "x86_64", "agent_version": "0.1.0", "machine_uid": uid, "machine_uid_source": "smbios_uuid",
        "disk_serial": disk_serial })
}

/// A machine asks, from an address of its own.
pub(crate) async fn ask(server: &TestServer, site_code: &str, key: &str, machine: &Value) -> Answer {
    server.anonymous().post("/api/enroll", request(site_code, key, machine)).await
}

/// What a machine sends when it asks.
pub(crate) fn request(site_code: &str, key: &str, machine: &Value) -> Value {
    let mut body = machine.clone();
    body["site_code"] = json!(site_code);
    body["enrollment_key"] = json!(key);
    body
}

/// A machine asks at a site with its key, and is given a key of its own.
pub(crate) async fn enroll(server: &TestServer, site: &Site, key: &str, machine: &Value) -> Enrolled {
    let answer = ask(server, site.code, key, machine).await.expect(201);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    logs::keep_secret(&text(&answer["agent_key"]));
    let seeded = SeededAgent {
        id: text(&answer["agent_id"]).parse().unwrap(),
        num: 0,
        key: text(&answer["agent_key"]),
        hostname: text(&machine["hostname"]),
        machine_uid: text(&machine["machine_uid"]),
        site: *site,
    };
    Enrolled { status: text(&answer["status"]), machine: seeded }
}

/// The answer to a machine that was given a key.
pub(crate) struct Enrolled {
    pub status: String,
    pub machine: SeededAgent,
}

/// A key of the site, made by its partner's admin; `limits` as the API takes them.
pub(crate) async fn key_of(server: &TestServer, site: &Site, limits: Value) -> (Uuid, String) {
    let admin = if site.partner == acme::PARTNER.id { &acme::ADMIN } else { &globex::ADMIN };
    let path = format!("/api/v1/sites/{}/enrollment-keys", site.id);
    let once = server.client_as(admin).await.post(&path, limits).await.expect(201);
    let secret = once["secret"].as_str().unwrap().to_owned();
    logs::keep_secret(&secret);
    (once["key"]["id"].as_str().unwrap().parse().unwrap(), secret)
}

async fn uses(server: &TestServer, key_id: Uuid) -> i32 {
    sqlx::query_scalar("SELECT use_count FROM enrollment_keys WHERE id = $1")
        .bind(key_id)
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap()
}

async fn refusal(server: &TestServer, machine: &SeededAgent) -> String {
    TestAgent::open(server, machine).await.err().unwrap().code().unwrap()
}

/// All rows of agents as they stand.
async fn rows(server: &TestServer) -> Vec<Value> {
    sqlx::query_scalar("SELECT to_jsonb(a) FROM agents a ORDER BY id")
        .fetch_all(&mut server.owner().await)
        .await
        .unwrap()
}

async fn goes_offline(server: &TestServer, agent: TestAgent) {
    let id = agent.machine.id;
    // Presence is written in batches: what was not written yet would be afterwards.
    shows(server, &agent.machine, true).await;
    agent.socket.close().await;
    eventually("absence", async || {
        let query = sqlx::query_scalar("SELECT is_connected FROM agent_status WHERE agent_id = $1").bind(id);
        let shown: bool = query.fetch_one(&mut server.owner().await).await.unwrap();
        (!shown && !server.app().gateway.is_connected(id)).then_some(())
    })
    .await;
}

/// A machine that is online, and the clone that asked to be let in meanwhile.
struct Twins {
    server: TestServer,
    secret: String,
    online: TestAgent,
    clone: SeededAgent,
}

impl Twins {
    async fn meet() -> Self {
        let server = TestServer::start().await;
        let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
        let original =
            enroll(&server, &acme::HQ, &secret, &machine("web-01", "uid-of-both", "disk-7")).await.machine;
        let online = TestAgent::connect(&server, &original).await;
        let clone = enroll(&server, &acme::HQ, &secret, &machine("web-01b", "uid-of-both", "disk-7")).await;
        assert_eq!(clone.status, "pending");
        Self { server, secret, online, clone: clone.machine }
    }

    async fn decide(&self, decision: &str, body: Value) -> Answer {
        let path = format!("/api/v1/agents/{}/{decision}", self.clone.id);
        self.server.client_as(&acme::ADMIN).await.post(&path, body).await
    }
}

#[tokio::test]
async fn a_new_machine_is_let_in_at_once_with_a_key_of_its_own() {
    let server = TestServer::start().await;
    let (key_id, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let new = enroll(&server, &acme::HQ, &secret, &machine("web-01", "uid-of-web-01", "disk-1")).await;
    assert_eq!(new.status, "active");
    assert!(new.machine.key.starts_with("cak_"));
    assert_eq!(uses(&server, key_id).await, 1);
    let agent = TestAgent::connect(&server, &new.machine).await;
    assert_eq!(agent.welcome.agent_id.0, new.machine.id);
    let shown = server
        .client_as(&acme::READER)
        .await
        .get(&format!("/api/agents/{}", new.machine.id))
        .await
        .expect(200);
    assert_eq!((&shown["hostname"], &shown["site_id"]), (&json!("web-01"), &json!(acme::HQ.id)));
}

#[tokio::test]
async fn whatever_is_wrong_with_site_or_key_the_answer_is_the_same_and_costs_one_argon2() {
    let server = TestServer::start().await;
    let (_, good) = key_of(&server, &acme::HQ, json!({})).await;
    let (revoked_id, revoked) = key_of(&server, &acme::HQ, json!({})).await;
    let (expired_id, expired) = key_of(&server, &acme::HQ, json!({ "expires_in_hours": 1 })).await;
    let (_, used_up) = key_of(&server, &acme::HQ, json!({ "max_uses": 1 })).await;
    let (_, of_lab) = key_of(&server, &acme::LAB, json!({})).await;
    enroll(&server, &acme::HQ, &used_up, &machine("first", "uid-of-first", "disk-0")).await;
    let admin = server.client_as(&acme::ADMIN).await;
    admin.delete(&format!("/api/v1/enrollment-keys/{revoked_id}")).await.expect(204);
    sqlx::query("UPDATE enrollment_keys SET expires_at = now() WHERE id = $1")
        .bind(expired_id)
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    let wrong = format!("gek_1_{}", "A".repeat(43));
    let code = acme::HQ.code;
    let mut first = None;
    for (what, site_code, key) in [
        ("unknown site", "NOSUCH01", good.as_str()),
        ("no site", "", &good),
        ("a site code that is no text for the database", "A\0B", &good),
        ("another partner's site", globex::HQ.code, &good),
        ("wrong key", code, &wrong),
        ("no key at all", code, ""),
        ("another site's key", code, &of_lab),
        ("revoked", code, &revoked),
        ("expired", code, &expired),
        ("used up", code, &used_up),
    ] {
        let before = argon2_calls();
        let answer = ask(&server, site_code, key, &machine(what, "uid-of-late", "disk-1")).await;
        assert_eq!(argon2_calls() - before, 1, "{what}");
        let mut problem = answer.expect_problem(401, "ENROLLMENT_REFUSED");
        problem.as_object_mut().unwrap().remove("request_id").unwrap();
        assert_eq!(&problem, first.get_or_insert(problem.clone()), "{what}");
    }
    assert_eq!(rows(&server).await.len(), 1);
    ask(&server, code, &good, &machine("late", "uid-of-late", "disk-1")).await.expect(201);
}

#[tokio::test]
async fn another_sites_key_gets_nothing_of_a_known_machine() {
    let server = TestServer::start().await;
    let (_, of_hq) = key_of(&server, &acme::HQ, json!({})).await;
    let (lab_key_id, of_lab) = key_of(&server, &acme::LAB, json!({})).await;
    let web = machine("web-01", "uid-of-web-01", "disk-1");
    let known = enroll(&server, &acme::HQ, &of_hq, &web).await.machine;
    goes_offline(&server, TestAgent::connect(&server, &known).await).await;
    let before = rows(&server).await;
    ask(&server, acme::LAB.code, &of_lab, &web).await.expect_problem(409, "ENROLL_SITE_CONFLICT");
    assert_eq!(rows(&server).await, before);
    assert_eq!(uses(&server, lab_key_id).await, 0);
    TestAgent::connect(&server, &known).await;
    let alerts = server.client_as(&acme::READER).await.get("/api/v1/alerts").await.expect(200);
    assert_eq!(alerts["total"], 1);
    assert_eq!(
        (&alerts["items"][0]["kind"], &alerts["items"][0]["agent_id"]),
        (&json!("agent.site_conflict"), &json!(known.id))
    );
}

#[tokio::test]
async fn a_mere_name_at_another_site_does_not_keep_the_machine_out() {
    let server = TestServer::start().await;
    let (_, of_hq) = key_of(&server, &acme::HQ, json!({})).await;
    let (_, of_lab) = key_of(&server, &acme::NORTH, json!({})).await;
    // Whoever has a key of one site knows the identity of a machine of another, and is there first.
    let squatter = enroll(&server, &acme::HQ, &of_hq, &machine("mine", "uid-of-web-01", "made-up")).await;
    assert_eq!(squatter.status, "active");
    let web = enroll(&server, &acme::NORTH, &of_lab, &machine("web-01", "uid-of-web-01", "disk-1")).await;
    assert_eq!(web.status, "pending");
    let admin = server.client_as(&acme::ADMIN).await;
    let shown = admin.get(&format!("/api/agents/{}", web.machine.id)).await.expect(200);
    assert_eq!(
        (&shown["pending_reason"], &shown["open_alerts"], &shown["site_id"]),
        (&json!("enrolled_elsewhere"), &json!(1), &json!(acme::NORTH.id))
    );
    let approve = format!("/api/v1/agents/{}/approve", web.machine.id);
    let approved = admin.post(&approve, json!({ "as": "same_machine" })).await.expect(200);
    assert_eq!(
        (&approved["id"], &approved["site_id"], &approved["client_id"]),
        (&json!(squatter.machine.id), &json!(acme::NORTH.id), &json!(acme::BETA.id)),
        "it is where it asked, not where its name was taken"
    );
    assert_eq!(refusal(&server, &squatter.machine).await, "AGENT_KEY_REFUSED");
    TestAgent::connect(&server, &web.machine).await;
}

#[tokio::test]
async fn who_approves_a_waiting_machine_approves_the_key_she_saw() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let site = format!("/api/v1/sites/{}", acme::HQ.id);
    admin.patch(&site, json!({ "approval_required": true })).await.expect(200);
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let web = machine("web-01", "uid-of-web-01", "disk-1");
    let first = enroll(&server, &acme::HQ, &secret, &web).await.machine;
    let path = format!("/api/agents/{}", first.id);
    let seen = admin.get(&path).await.expect(200);
    assert_eq!(seen["key_changes"], 0);
    // Somebody asks in its name, and has the key that counts now.
    let second = enroll(&server, &acme::HQ, &secret, &web).await.machine;
    assert_eq!(second.id, first.id);
    let approve = format!("/api/v1/agents/{}/approve", first.id);
    for body in
        [json!({ "as": "accept", "key_fingerprint": seen["key_fingerprint"] }), json!({ "as": "accept" })]
    {
        admin.post(&approve, body).await.expect_problem(409, "INVALID_STATE");
    }
    assert_eq!(refusal(&server, &second).await, "AGENT_PENDING");
    let now = admin.get(&path).await.expect(200);
    assert_eq!((&now["key_changes"], &now["open_alerts"]), (&json!(1), &json!(1)));
    assert_ne!(now["key_fingerprint"], seen["key_fingerprint"]);
    let alert = &admin.get("/api/v1/alerts").await.expect(200)["items"][0];
    assert_eq!((&alert["detail"]["has_another_key"], &alert["count"]), (&json!(true), &json!(2)));
    let body = json!({ "as": "accept", "key_fingerprint": now["key_fingerprint"] });
    let approved = admin.post(&approve, body).await.expect(200);
    assert_eq!((&approved["key_fingerprint"], &approved["key_changes"]), (&Value::Null, &json!(0)));
    assert_eq!(refusal(&server, &first).await, "AGENT_KEY_REFUSED");
    TestAgent::connect(&server, &second).await;
}

#[tokio::test]
async fn another_partners_machine_with_the_same_identity_is_another_machine() {
    let server = TestServer::start().await;
    let (_, ours) = key_of(&server, &acme::HQ, json!({})).await;
    let (_, theirs) = key_of(&server, &globex::HQ, json!({})).await;
    let web = machine("web-01", "uid-of-web-01", "disk-1");
    let one = enroll(&server, &acme::HQ, &ours, &web).await;
    let other = enroll(&server, &globex::HQ, &theirs, &web).await;
    assert_eq!((one.status.as_str(), other.status.as_str()), ("active", "active"));
    assert_ne!(one.machine.id, other.machine.id);
    TestAgent::connect(&server, &one.machine).await;
    let seen = server.client_as(&globex::OWNER).await.get("/api/agents").await.expect(200);
    let ids: Vec<&Value> = seen.as_array().unwrap().iter().map(|agent| &agent["id"]).collect();
    assert_eq!(ids, [&json!(other.machine.id)]);
}

#[tokio::test]
async fn a_machine_that_comes_back_is_itself_and_its_old_key_is_dead() {
    let server = TestServer::start().await;
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let web = machine("web-01", "uid-of-web-01", "disk-1");
    let before = enroll(&server, &acme::HQ, &secret, &web).await.machine;
    goes_offline(&server, TestAgent::connect(&server, &before).await).await;
    let after = enroll(&server, &acme::HQ, &secret, &web).await;
    assert_eq!((after.status.as_str(), after.machine.id), ("active", before.id));
    assert_eq!(refusal(&server, &before).await, "AGENT_KEY_REFUSED");
    TestAgent::connect(&server, &after.machine).await;
    assert_eq!(rows(&server).await.len(), 1);
}

#[tokio::test]
async fn the_uid_alone_hands_out_no_history() {
    /// What half a fleet has for a serial.
    const PLACEHOLDER: &str = "To be filled by O.E.M.";
    let server = TestServer::start().await;
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let known =
        enroll(&server, &acme::HQ, &secret, &machine("web-01", "uid-of-web-01", PLACEHOLDER)).await.machine;
    // It is not online: still nobody but a machine with its disk or board is it.
    for disk in ["disk-2", PLACEHOLDER] {
        let other = enroll(&server, &acme::HQ, &secret, &machine("web-02", "uid-of-web-01", disk)).await;
        assert_eq!(other.status, "pending");
        assert_ne!(other.machine.id, known.id);
        assert_eq!(refusal(&server, &other.machine).await, "AGENT_PENDING");
    }
    TestAgent::connect(&server, &known).await;
}

#[tokio::test]
async fn a_clone_of_a_machine_that_is_online_waits_and_is_announced() {
    let mut twins = Twins::meet().await;
    let (server, clone) = (&twins.server, &twins.clone);
    assert_ne!(clone.id, twins.online.machine.id);
    assert_eq!(refusal(server, clone).await, "AGENT_PENDING");
    let reader = server.client_as(&acme::READER).await;
    let shown = reader.get(&format!("/api/agents/{}", clone.id)).await.expect(200);
    assert_eq!((&shown["status"], &shown["pending_reason"]), (&json!("pending"), &json!("identity_in_use")));
    assert_eq!((&shown["open_alerts"], &shown["is_connected"]), (&json!(1), &json!(false)));
    // It goes on asking: it is the same newcomer, and one alert.
    let again = machine("web-01b", "uid-of-both", "disk-7");
    let again = enroll(server, &acme::HQ, &twins.secret, &again).await;
    assert_eq!((again.status.as_str(), again.machine.id), ("pending", clone.id));
    let alerts = reader.get("/api/v1/alerts").await.expect(200);
    assert_eq!((&alerts["total"], &alerts["items"][0]["count"]), (&json!(1), &json!(2)));
    // Nobody disturbed the one that was there.
    twins.online.send(&gururmm_protocol::AgentMessage::Heartbeat { clock: None }).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    twins.online.expect("answer to a heartbeat", pick).await;
}

#[tokio::test]
async fn a_clone_is_approved_as_a_machine_of_its_own() {
    let twins = Twins::meet().await;
    twins.decide("approve", json!({ "as": "accept" })).await.expect_problem(409, "INVALID_STATE");
    assert_eq!(refusal(&twins.server, &twins.clone).await, "AGENT_PENDING");
    let approved = twins.decide("approve", json!({ "as": "new" })).await.expect(200);
    assert_eq!((&approved["id"], &approved["open_alerts"]), (&json!(twins.clone.id), &json!(0)));
    let agent = TestAgent::connect(&twins.server, &twins.clone).await;
    assert_eq!(agent.welcome.agent_id.0, twins.clone.id);
    assert!(twins.server.app().gateway.is_connected(twins.online.machine.id));
    twins.decide("approve", json!({ "as": "new" })).await.expect_problem(409, "AGENT_NOT_PENDING");
}

#[tokio::test]
async fn a_clone_is_approved_as_the_machine_it_says_it_is() {
    let mut twins = Twins::meet().await;
    let known = twins.online.machine.clone();
    let approved = twins.decide("approve", json!({ "as": "same_machine" })).await.expect(200);
    assert_eq!(approved["id"], json!(known.id));
    let pick = |message| match message {
        ServerMessage::Goodbye { reason, .. } => Some(reason),
        _ => None,
    };
    assert_eq!(twins.online.expect("goodbye", pick).await, GoodbyeReason::Revoked);
    assert_eq!(refusal(&twins.server, &known).await, "AGENT_KEY_REFUSED");
    // The machine knows the id it was given when it asked; it is told its own.
    let agent = TestAgent::connect(&twins.server, &twins.clone).await;
    assert_eq!(agent.welcome.agent_id.0, known.id);
    assert_eq!(rows(&twins.server).await.len(), 1);
}

#[tokio::test]
async fn a_clone_is_rejected_and_waits_again_when_it_asks_again() {
    let twins = Twins::meet().await;
    twins.decide("reject", json!({})).await.expect(204);
    assert_eq!(refusal(&twins.server, &twins.clone).await, "AGENT_KEY_REFUSED");
    twins.decide("reject", json!({})).await.expect_problem(404, "NOT_FOUND");
    let listed = twins.server.client_as(&acme::READER).await.get("/api/agents").await.expect(200);
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
    let again = machine("web-01b", "uid-of-both", "disk-7");
    let again = enroll(&twins.server, &acme::HQ, &twins.secret, &again).await;
    assert_eq!(again.status, "pending");
}

#[tokio::test]
async fn a_site_can_ask_for_approval_of_every_machine() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let site = format!("/api/v1/sites/{}", acme::HQ.id);
    admin.patch(&site, json!({ "approval_required": true })).await.expect(200);
    let (_, secret) = key_of(&server, &acme::HQ, json!({})).await;
    let new = enroll(&server, &acme::HQ, &secret, &machine("web-01", "uid-of-web-01", "disk-1")).await;
    assert_eq!(new.status, "pending");
    assert_eq!(refusal(&server, &new.machine).await, "AGENT_PENDING");
    let path = format!("/api/v1/agents/{}/approve", new.machine.id);
    let nobody_to_be = json!({ "as": "same_machine" });
    admin.post(&path, nobody_to_be).await.expect_problem(409, "INVALID_STATE");
    admin.post(&path, json!({ "as": "accept" })).await.expect(200);
    TestAgent::connect(&server, &new.machine).await;
}

/// 64 machines ask with one key at the same moment, each over a connection of its own.
async fn race(server: &TestServer, site: &Site, allowed: usize) {
    let (key_id, secret) = key_of(server, site, json!({ "max_uses": allowed })).await;
    let mut race = JoinSet::new();
    for number in 0..64 {
        let machine =
            machine(&format!("pc-{allowed}-{number}"), &format!("uid-of-pc-{allowed}-{number}"), "disk-1");
        let (client, body) = (server.anonymous(), request(site.code, &secret, &machine));
        race.spawn(async move { client.post("/api/enroll", body).await });
    }
    let answers = race.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 201);
    assert_eq!((won.len(), lost.len()), (allowed, 64 - allowed));
    for answer in lost {
        answer.expect_problem(401, "ENROLLMENT_REFUSED");
    }
    assert_eq!(uses(server, key_id).await as usize, allowed);
}

#[tokio::test]
async fn as_many_machines_as_a_key_allows_win_a_race() {
    let server = TestServer::start().await;
    let mut enrolled = 0;
    for (site, allowed) in [(&acme::HQ, 10), (&acme::LAB, 1), (&acme::NORTH, 63)] {
        race(&server, site, allowed).await;
        enrolled += allowed;
        assert_eq!(rows(&server).await.len(), enrolled);
    }
}

#[tokio::test]
async fn a_key_that_is_revoked_while_machines_ask_lets_none_in_afterwards() {
    let server = TestServer::start().await;
    let (key_id, secret) = key_of(&server, &acme::HQ, json!({ "max_uses": 64 })).await;
    let admin = server.client_as(&acme::ADMIN).await;
    let mut race = JoinSet::new();
    for number in 0..32 {
        let machine = machine(&format!("pc-{number}"), &format!("uid-of-pc-{number}"), "disk-1");
        let (client, body) = (server.anonymous(), request(acme::HQ.code, &secret, &machine));
        race.spawn(async move { client.post("/api/enroll", body).await.status.as_u16() });
    }
    admin.delete(&format!("/api/v1/enrollment-keys/{key_id}")).await.expect(204);
    let before_it = uses(&server, key_id).await;
    let statuses = race.join_all().await;
    assert!(statuses.iter().all(|status| [201, 401].contains(status)), "{statuses:?}");
    let won = statuses.iter().filter(|status| **status == 201).count();
    assert_eq!(won as i32, before_it, "nobody after the answer to who revoked it");
    assert_eq!(uses(&server, key_id).await, before_it);
}
