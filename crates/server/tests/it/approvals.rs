//! The queue of machines that wait: what is seen of them, and decisions about many at once.

use crate::enroll::{ask, enroll, key_of, machine};
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer};
use serde_json::{Value, json};
use uuid::Uuid;

const QUEUE: &str = "/api/v1/approvals";

/// A server whose headquarters ask for approval, and the site's key.
async fn asking_for_approval() -> (TestServer, ApiClient, String) {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let site = format!("/api/v1/sites/{}", acme::HQ.id);
    admin.patch(&site, json!({ "approval_required": true })).await.expect(200);
    let (_, secret) = key_of(&server, &acme::HQ, json!({ "label": "spring rollout" })).await;
    (server, admin, secret)
}

async fn newcomer(server: &TestServer, secret: &str, name: &str) -> SeededAgent {
    let enrolled =
        enroll(server, &acme::HQ, secret, &machine(name, &format!("uid-of-{name}"), "disk-1")).await;
    assert_eq!(enrolled.status, "pending");
    enrolled.machine
}

fn decision(machine: &SeededAgent, verdict: &str) -> Value {
    json!({ "agent_id": machine.id, "verdict": verdict })
}

#[tokio::test]
async fn the_queue_says_who_asks_from_where_with_which_key_and_why_it_waits() {
    let (server, admin, secret) = asking_for_approval().await;
    let first = newcomer(&server, &secret, "first-pc").await;
    let key = admin.get(&format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id)).await.expect(200);
    admin.post(QUEUE, json!({ "decisions": [decision(&first, "accept")] })).await.expect(200);
    let online = TestAgent::connect(&server, &first).await;
    // Its clone, and another machine.
    let mut clone = machine("first-pc-copy", "uid-of-first-pc", "disk-1");
    clone["mac_addresses"] = json!(["02:00:5e:10:00:17"]);
    clone["board_serial"] = json!("BOARD-9");
    enroll(&server, &acme::HQ, &secret, &clone).await;
    newcomer(&server, &secret, "second-pc").await;

    let queue = server.client_as(&acme::READER).await.get(QUEUE).await.expect(200);
    assert_eq!(queue["total"], 2, "{queue}");
    let waiting = &queue["items"][0];
    assert_eq!(
        json!([
            waiting["agent"]["hostname"],
            waiting["agent"]["os_version"],
            waiting["agent"]["machine_uid_source"],
            waiting["agent"]["pending_reason"],
            waiting["agent"]["site_name"],
            waiting["key_label"],
            waiting["key_note"],
            waiting["mac_addresses"],
            waiting["board_serial"],
            waiting["disk_serial"],
            waiting["collides_with"]["id"],
            waiting["collides_with"]["hostname"],
            waiting["collides_with"]["is_retired"],
        ]),
        json!([
            "first-pc-copy",
            "Debian GNU/Linux 12 (bookworm)",
            "smbios_uuid",
            "identity_in_use",
            "HQ",
            key["items"][0]["label"],
            "spring rollout",
            ["02:00:5e:10:00:17"],
            "BOARD-9",
            "disk-1",
            online.machine.id,
            "first-pc",
            false,
        ])
    );
    assert!(waiting["asked_from"].as_str().unwrap().starts_with("127."), "{waiting}");
    assert!(waiting["asked_at"].is_string() && waiting["agent"]["key_fingerprint"].is_string(), "{waiting}");
    let other = &queue["items"][1];
    assert_eq!((&other["agent"]["hostname"], &other["collides_with"]), (&json!("second-pc"), &Value::Null));

    // Page by page, and of one site.
    let page = admin.get(&format!("{QUEUE}?limit=1")).await.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = admin.get(&format!("{QUEUE}?limit=1&cursor={cursor}")).await.expect(200);
    assert_eq!(
        (&rest["items"][0]["agent"]["hostname"], &rest["next_cursor"]),
        (&json!("second-pc"), &Value::Null)
    );
    let elsewhere = admin.get(&format!("{QUEUE}?site_id={}", acme::LAB.id)).await.expect(200);
    assert_eq!(elsewhere["total"], 0);
    for stranger in [&globex::OWNER, &acme::LAB_TECH] {
        let queue = server.client_as(stranger).await.get(QUEUE).await.expect(200);
        assert_eq!((&queue["total"], &queue["items"]), (&json!(0), &json!([])));
    }
}

#[tokio::test]
async fn of_many_decisions_each_stands_for_itself_and_is_audited() {
    let (server, admin, secret) = asking_for_approval().await;
    let mut machines = Vec::new();
    for name in ["let-in", "turned-away", "wrong-way", "decided"] {
        machines.push(newcomer(&server, &secret, name).await);
    }
    let [let_in, turned_away, wrong_way, decided] = &machines[..] else { unreachable!() };
    admin
        .post(&format!("/api/v1/agents/{}/approve", decided.id), json!({ "as": "accept" }))
        .await
        .expect(200);
    let foreign = server.seed_agent(&globex::HQ, "not-ours").await;
    let decisions = [
        decision(let_in, "accept"),
        decision(turned_away, "reject"),
        // Nobody has its identity.
        decision(wrong_way, "same_machine"),
        decision(decided, "accept"),
        decision(&foreign, "reject"),
    ];
    let outcomes = admin.post(QUEUE, json!({ "decisions": decisions })).await.expect(200);
    let told: Vec<Value> = outcomes
        .as_array()
        .unwrap()
        .iter()
        .map(|outcome| json!([outcome["agent_id"], outcome["approved_as"], outcome["problem"]["code"]]))
        .collect();
    assert_eq!(
        told,
        [
            json!([let_in.id, let_in.id, null]),
            json!([turned_away.id, null, null]),
            json!([wrong_way.id, null, "INVALID_STATE"]),
            json!([decided.id, null, "AGENT_NOT_PENDING"]),
            json!([foreign.id, null, "NOT_FOUND"]),
        ]
    );
    TestAgent::connect(&server, let_in).await;
    TestAgent::connect(&server, &foreign).await;
    let refused = TestAgent::open(&server, turned_away).await.err().unwrap();
    assert_eq!(refused.code().as_deref(), Some("AGENT_KEY_REFUSED"));
    let audit = server.client_as(&acme::OWNER).await.get("/api/v1/audit?limit=4").await.expect(200);
    let entries: Vec<Value> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| json!([entry["action"], entry["target_name"], entry["actor_name"]]))
        .collect();
    assert_eq!(entries[0], json!(["agent.reject", "turned-away", acme::ADMIN.name]));
    assert_eq!(entries[1], json!(["agent.approve", "let-in", acme::ADMIN.name]));
    let left = admin.get(QUEUE).await.expect(200);
    assert_eq!((&left["total"], &left["items"][0]["agent"]["hostname"]), (&json!(1), &json!("wrong-way")));
}

#[tokio::test]
async fn whoever_decides_about_many_decides_about_the_keys_she_saw() {
    let (server, admin, secret) = asking_for_approval().await;
    let web = machine("web-01", "uid-of-web-01", "disk-1");
    enroll(&server, &acme::HQ, &secret, &web).await;
    let seen = admin.get(QUEUE).await.expect(200)["items"][0]["agent"].clone();
    let second = enroll(&server, &acme::HQ, &secret, &web).await.machine;
    let decide = async |fingerprint: &Value| {
        let mut decision = decision(&second, "accept");
        decision["key_fingerprint"] = fingerprint.clone();
        admin.post(QUEUE, json!({ "decisions": [decision] })).await.expect(200)[0]["problem"]["code"].clone()
    };
    assert_eq!(decide(&seen["key_fingerprint"]).await, "INVALID_STATE");
    let now = admin.get(QUEUE).await.expect(200)["items"][0]["agent"].clone();
    assert_eq!(decide(&now["key_fingerprint"]).await, Value::Null);
    TestAgent::connect(&server, &second).await;
}

#[tokio::test]
async fn a_request_without_decisions_with_too_many_or_with_two_about_one_machine_is_refused() {
    let (server, admin, secret) = asking_for_approval().await;
    let one = newcomer(&server, &secret, "one-pc").await;
    let many: Vec<Value> =
        (0..101).map(|_| json!({ "agent_id": Uuid::now_v7(), "verdict": "reject" })).collect();
    for decisions in [json!([]), json!(many), json!([decision(&one, "accept"), decision(&one, "reject")])] {
        let body = json!({ "decisions": decisions });
        admin.post(QUEUE, body).await.expect_problem(422, "VALIDATION_FAILED");
    }
    let body = json!({ "decisions": [decision(&one, "reject")] });
    server.client_as(&acme::TECH).await.post(QUEUE, body).await.expect_problem(403, "FORBIDDEN");
    assert_eq!(admin.get(QUEUE).await.expect(200)["total"], 1);
    let answer = ask(&server, acme::HQ.code, &secret, &machine("one-pc", "uid-of-one-pc", "disk-1")).await;
    assert_eq!(answer.expect(201)["agent_id"], json!(one.id));
}
