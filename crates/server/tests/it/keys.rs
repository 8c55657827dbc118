//! A site's enrollment keys: `/api/v1/sites/{id}/enrollment-keys` and `/api/v1/enrollment-keys`.

use crate::enroll::{ask, enroll, key_of, machine};
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{TestAgent, TestServer};
use serde_json::json;

fn path() -> String {
    format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id)
}

#[tokio::test]
async fn a_rotated_key_stops_old_installers_and_leaves_agents_alone() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let rotate = async || {
        let once = admin.post(&format!("{}/rotate", path()), json!({})).await.expect(201);
        once["secret"].as_str().unwrap().to_owned()
    };
    let first = rotate().await;
    let (_, deployment) = key_of(&server, &acme::HQ, json!({})).await;
    let known = enroll(&server, &acme::HQ, &first, &machine("web-01", "uid-of-web-01", "disk-1")).await;
    let online = TestAgent::connect(&server, &known.machine).await;
    let second = rotate().await;
    let late = machine("web-02", "uid-of-web-02", "disk-2");
    ask(&server, acme::HQ.code, &first, &late).await.expect_problem(401, "ENROLLMENT_REFUSED");
    ask(&server, acme::HQ.code, &second, &late).await.expect(201);
    // What was handed out with its own end keeps it.
    let later = machine("web-03", "uid-of-web-03", "disk-3");
    ask(&server, acme::HQ.code, &deployment, &later).await.expect(201);
    assert!(server.app().gateway.is_connected(known.machine.id));
    drop(online);
    TestAgent::connect(&server, &known.machine).await;
}

#[tokio::test]
async fn the_list_names_keys_and_never_their_secrets() {
    let server = TestServer::start().await;
    let (_, used_up) = key_of(&server, &acme::HQ, json!({ "max_uses": 1, "label": "front desk" })).await;
    enroll(&server, &acme::HQ, &used_up, &machine("web-01", "uid-of-web-01", "disk-1")).await;
    let (revoked_id, _) = key_of(&server, &acme::HQ, json!({})).await;
    let admin = server.client_as(&acme::ADMIN).await;
    for _ in 0..2 {
        admin.delete(&format!("/api/v1/enrollment-keys/{revoked_id}")).await.expect(204);
    }
    let answer = server.client_as(&acme::TECH).await.get(&path()).await;
    assert!(!answer.text().contains("gek_"), "{answer}");
    let keys = answer.expect(200);
    let facts: Vec<_> =
        keys["items"].as_array().unwrap().iter().map(|key| (&key["version"], &key["status"])).collect();
    assert_eq!(facts, [(&json!(2), &json!("revoked")), (&json!(1), &json!("used_up"))]);
    let first = &keys["items"][1];
    assert_eq!((&first["note"], &first["use_count"]), (&json!("front desk"), &json!(1)));
    assert_eq!(first["created_by_name"], acme::ADMIN.name);
}

#[tokio::test]
async fn limits_out_of_range_are_named_and_other_partners_keys_are_unknown() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    for (field, value) in
        [("expires_in_hours", 0), ("expires_in_hours", 8_761), ("max_uses", 0), ("max_uses", 100_001)]
    {
        let problem =
            admin.post(&path(), json!({ field: value })).await.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let (theirs, secret) = key_of(&server, &globex::HQ, json!({})).await;
    admin.delete(&format!("/api/v1/enrollment-keys/{theirs}")).await.expect_problem(404, "NOT_FOUND");
    let foreign = format!("/api/v1/sites/{}/enrollment-keys", globex::HQ.id);
    admin.get(&foreign).await.expect_problem(404, "NOT_FOUND");
    admin.post(&foreign, json!({})).await.expect_problem(404, "NOT_FOUND");
    admin.post(&format!("{foreign}/rotate"), json!({})).await.expect_problem(404, "NOT_FOUND");
    enroll(&server, &globex::HQ, &secret, &machine("db-01", "uid-of-db-01", "disk-1")).await;
}
