//! Calls that name two objects, one of them not the caller's to name: both stay as they were.

use super::fixture::{Fixture, Object};
use super::without_request_id;
use axum::http::Method;
use gururmm_server::auth::credential::SessionKind;
use gururmm_testkit::world::{Person, acme, globex};
use gururmm_testkit::{Answer, ApiClient};
use serde_json::{Value, json};
use uuid::Uuid;

/// A call with a reference, to be filled with somebody else's object, with none, and with one of the caller's own.
struct Case {
    what: &'static str,
    client: ApiClient,
    method: Method,
    call: fn(&Fixture, Uuid) -> (String, Value),
    foreign: Uuid,
    own: Uuid,
}

impl Case {
    async fn send(&self, fixture: &Fixture, id: Uuid) -> Answer {
        let (path, body) = (self.call)(fixture, id);
        let call = self.client.request(self.method.clone(), &path);
        if body.is_null() { call.send().await } else { call.json(body).send().await }
    }
}

#[tokio::test]
async fn a_foreign_reference_is_not_found_and_both_objects_stay() {
    let mut fixture = Fixture::new().await;
    let north = fixture.server.seed_agent(&acme::NORTH, "north-server").await.id;
    let beside = fixture.server.seed_agent(&acme::HQ, "hq-beside").await.id;
    // To another server: an agent that really is here would write of itself meanwhile.
    sqlx::query("UPDATE agent_status SET is_connected = true, connected_since = now(), node_id = $2 WHERE agent_id = $1")
        .bind(fixture.agent.id)
        .bind(Uuid::now_v7())
        .execute(&mut fixture.owner)
        .await
        .unwrap();
    let cases = cases(&fixture, north, beside).await;
    let before = fixture.digest().await;
    for case in &cases {
        let answer = case.send(&fixture, case.foreign).await;
        assert_eq!(answer.status, 404, "{}: {answer}", case.what);
        assert_eq!(fixture.digest().await, before, "{}: something changed", case.what);
        let nowhere = case.send(&fixture, Uuid::now_v7()).await;
        assert_eq!(
            without_request_id(&answer),
            without_request_id(&nowhere),
            "{}: can be told apart",
            case.what
        );
    }
    // The same calls with an object of one's own: they were right in all else.
    for case in &cases {
        let answer = case.send(&fixture, case.own).await;
        assert!(answer.status.is_success(), "{}, with an own object: {answer}", case.what);
    }
}

async fn cases(fixture: &Fixture, north: Uuid, beside: Uuid) -> Vec<Case> {
    let owner = fixture.server.client_as(&acme::OWNER).await;
    let admin = fixture.server.client_as(&acme::ADMIN).await;
    let tech = fixture.server.client_as(&acme::TECH).await;
    let hq_admin = fixture.server.client_as(&acme::HQ_ADMIN).await;
    let alpha_tech = fixture.server.client_as(&acme::ALPHA_TECH).await;
    let own_session = fixture.server.session_of(&acme::TECH, SessionKind::Dashboard).await.id;
    let others_session = fixture.id(Object::OwnSession);
    let (agent, foreign) = (fixture.agent.id, fixture.foreign_agent.id);
    let (post, put, patch, delete) = (Method::POST, Method::PUT, Method::PATCH, Method::DELETE);
    let case = |what, client: &ApiClient, method: &Method, call, foreign, own| Case {
        what,
        client: client.clone(),
        method: method.clone(),
        call,
        foreign,
        own,
    };
    // What is moved or deleted by its control stands last.
    vec![
        case("a tunnel to a foreign machine", &tech, &post, open_tunnel, foreign, agent),
        case("a tunnel out of one's confinement", &alpha_tech, &post, open_tunnel, north, agent),
        case("a command on a foreign machine", &tech, &post, run_command, foreign, agent),
        case("a command out of one's confinement", &alpha_tech, &post, run_command, north, agent),
        case(
            "policy of a foreign partner",
            &admin,
            &put,
            partner_policy,
            globex::PARTNER.id,
            acme::PARTNER.id,
        ),
        case("policy of a foreign client", &admin, &put, client_policy, globex::ALPHA.id, acme::ALPHA.id),
        case("policy of a foreign site", &admin, &put, site_policy, globex::HQ.id, acme::HQ.id),
        case("a client where a site is meant", &admin, &put, site_policy, acme::ALPHA.id, acme::LAB.id),
        case("policy of a foreign machine", &admin, &put, agent_policy, foreign, agent),
        case("a site under a foreign client", &admin, &post, make_site, globex::ALPHA.id, acme::ALPHA.id),
        case(
            "confinement to a foreign client",
            &owner,
            &patch,
            confine_to_client,
            globex::ALPHA.id,
            acme::ALPHA.id,
        ),
        case("confinement to a foreign site", &owner, &patch, confine_to_site, globex::HQ.id, acme::HQ.id),
        case(
            "invitation to a foreign client",
            &owner,
            &post,
            invite_to_client,
            globex::ALPHA.id,
            acme::ALPHA.id,
        ),
        case("invitation to a foreign site", &owner, &post, invite_to_site, globex::HQ.id, acme::HQ.id),
        case("a partner one is no member of", &tech, &put, act_in, globex::PARTNER.id, acme::PARTNER.id),
        case("another person's session", &tech, &delete, revoke_session, others_session, own_session),
        case(
            "a foreign machine to merge",
            &admin,
            &post,
            merge_into_agent,
            foreign,
            fixture.retired_agent.id,
        ),
        case(
            "a machine to merge out of one's confinement",
            &hq_admin,
            &post,
            merge_into_agent,
            north,
            beside,
        ),
        case("a site one is confined away from", &hq_admin, &post, move_pending, acme::NORTH.id, acme::HQ.id),
        case("a machine to a foreign site", &admin, &post, move_agent, globex::HQ.id, acme::NORTH.id),
        case("a foreign machine to an own site", &admin, &post, move_to_lab, foreign, agent),
        case("a foreign machine to delete", &admin, &delete, delete_agent, foreign, north),
    ]
}

fn merge_into_agent(fixture: &Fixture, id: Uuid) -> (String, Value) {
    (format!("/api/v1/agents/{}/merge", fixture.agent.id), json!({"merged_id": id, "key": "kept"}))
}

fn open_tunnel(_: &Fixture, id: Uuid) -> (String, Value) {
    ("/api/v1/tunnel/open".into(), json!({"agent_id": id}))
}

fn run_command(_: &Fixture, id: Uuid) -> (String, Value) {
    (format!("/api/agents/{id}/command"), json!({"command_type": "shell", "command": "id"}))
}

fn partner_policy(_: &Fixture, id: Uuid) -> (String, Value) {
    policy("partner", id)
}

fn client_policy(_: &Fixture, id: Uuid) -> (String, Value) {
    policy("client", id)
}

fn site_policy(_: &Fixture, id: Uuid) -> (String, Value) {
    policy("site", id)
}

fn agent_policy(_: &Fixture, id: Uuid) -> (String, Value) {
    policy("agent", id)
}

fn policy(scope: &str, id: Uuid) -> (String, Value) {
    (format!("/api/v1/policies/{scope}/{id}"), json!({"settings": {"metrics_interval_seconds": 10}}))
}

fn make_site(_: &Fixture, client: Uuid) -> (String, Value) {
    ("/api/v1/sites".into(), json!({"client_id": client, "name": "Forged"}))
}

fn confine_to_client(_: &Fixture, id: Uuid) -> (String, Value) {
    (format!("/api/v1/users/{}", acme::READER.id), json!({"client_ids": [id]}))
}

fn confine_to_site(_: &Fixture, id: Uuid) -> (String, Value) {
    (format!("/api/v1/users/{}", acme::READER.id), json!({"site_ids": [id]}))
}

fn invite_to_client(_: &Fixture, id: Uuid) -> (String, Value) {
    let person = json!({"email": "one@acme.example.com", "name": "One", "role": "tech", "client_ids": [id]});
    ("/api/v1/users".into(), person)
}

fn invite_to_site(_: &Fixture, id: Uuid) -> (String, Value) {
    let person = json!({"email": "two@acme.example.com", "name": "Two", "role": "tech", "site_ids": [id]});
    ("/api/v1/users".into(), person)
}

fn act_in(_: &Fixture, partner: Uuid) -> (String, Value) {
    ("/api/v1/session/partner".into(), json!({"partner_id": partner}))
}

fn revoke_session(_: &Fixture, id: Uuid) -> (String, Value) {
    (format!("/api/v1/sessions/{id}"), Value::Null)
}

fn move_pending(fixture: &Fixture, site: Uuid) -> (String, Value) {
    (format!("/api/agents/{}/move", fixture.pending_agent.id), json!({"site_id": site}))
}

fn move_agent(fixture: &Fixture, site: Uuid) -> (String, Value) {
    (format!("/api/agents/{}/move", fixture.agent.id), json!({"site_id": site}))
}

fn move_to_lab(_: &Fixture, agent: Uuid) -> (String, Value) {
    (format!("/api/agents/{agent}/move"), json!({"site_id": acme::LAB.id}))
}

fn delete_agent(_: &Fixture, id: Uuid) -> (String, Value) {
    (format!("/api/agents/{id}"), Value::Null)
}

#[tokio::test]
async fn filters_of_lists_find_nothing_foreign() {
    let fixture = Fixture::new().await;
    let stranger = client(&fixture, &globex::OWNER).await;
    let (agent, client_id, site) = (fixture.agent.id, acme::ALPHA.id, acme::HQ.id);
    for path in [
        format!("/api/v1/agents?client_id={client_id}"),
        format!("/api/v1/agents?site_id={site}"),
        format!("/api/v1/commands?agent_id={agent}"),
        format!("/api/v1/alerts?agent_id={agent}"),
        format!("/api/v1/sites?client_id={client_id}"),
        format!("/api/v1/audit?target_id={agent}"),
    ] {
        let answer = stranger.get(&path).await;
        // Saying that there is no such object is as good as an empty list.
        if answer.status != 404 {
            let page = answer.expect(200);
            assert_eq!(page["items"], json!([]), "{answer}");
            assert_eq!(page["total"], 0, "{answer}");
        }
    }
    let answer = stranger.get(&format!("/api/commands?agent_id={agent}")).await;
    assert!(answer.status == 404 || answer.expect(200) == json!([]), "{answer}");
}

#[tokio::test]
async fn another_techs_tunnel_is_refused_by_name() {
    let fixture = Fixture::new().await;
    let tunnel = fixture.id(Object::Tunnel);
    let colleague = client(&fixture, &acme::ALPHA_TECH).await;
    colleague.get(&format!("/api/v1/tunnel/status/{tunnel}")).await.expect_problem(403, "FORBIDDEN");
    colleague
        .post("/api/v1/tunnel/close", json!({"session_id": tunnel}))
        .await
        .expect_problem(403, "FORBIDDEN");
    let owner = client(&fixture, &acme::TECH).await;
    owner.post("/api/v1/tunnel/close", json!({"session_id": tunnel})).await.expect(200);
    let status = owner.get(&format!("/api/v1/tunnel/status/{tunnel}")).await.expect(200);
    assert_eq!(status["status"], "closed", "a closed session still answers its owner");
}

async fn client(fixture: &Fixture, person: &Person) -> ApiClient {
    fixture.server.client_as(person).await
}
