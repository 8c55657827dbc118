//! A partner's people: invited, promoted, confined, suspended, removed.

use gururmm_testkit::world::{PASSWORD, PLATFORM_ADMIN, Person, acme, globex};
use gururmm_testkit::{ApiClient, TestServer};
use serde_json::{Value, json};
use sqlx::Connection as _;

fn path(person: &Person) -> String {
    format!("/api/v1/users/{}", person.id)
}

/// The token of an answer's link.
fn token(invitation: &Value) -> String {
    invitation["url_path"].as_str().unwrap().strip_prefix("/invite#token=").unwrap().to_owned()
}

async fn invite(inviter: &ApiClient, email: &str, role: &str) -> Value {
    inviter
        .post("/api/v1/users", json!({ "email": email, "name": "Nora New", "role": role }))
        .await
        .expect(201)
}

async fn login(server: &TestServer, email: &str, password: &str) -> ApiClient {
    let session =
        server.anonymous().post("/api/auth/login", json!({ "email": email, "password": password })).await;
    server.anonymous().with_bearer(session.expect(200)["token"].as_str().unwrap())
}

#[tokio::test]
async fn a_newcomer_accepts_chooses_a_password_and_is_in() {
    let server = TestServer::start().await;
    let invited = invite(&server.client_as(&acme::ADMIN).await, "nora@example.com", "tech").await;
    assert_eq!((&invited["user"]["status"], &invited["user"]["role"]), (&json!("invited"), &json!("tech")));
    let token = token(&invited["invitation"]);
    let nobody = server.anonymous();
    let info = nobody.post("/api/v1/invitations/check", json!({ "token": token })).await.expect(200);
    assert_eq!(
        info,
        json!({ "email": "nora@example.com", "name": "Nora New", "partner_name": "Acme", "has_account": false })
    );
    let accept = |password: &str| {
        let (nobody, body) = (nobody.clone(), json!({ "token": token, "password": password }));
        async move { nobody.post("/api/v1/invitations/accept", body).await }
    };
    accept("too short").await.expect_problem(422, "VALIDATION_FAILED");
    accept("a long enough password").await.expect(204);
    accept("another long password").await.expect_problem(401, "INVITATION_INVALID");
    let nora = login(&server, "nora@example.com", "a long enough password").await;
    let me = nora.get("/api/auth/me").await.expect(200);
    assert_eq!((&me["role"], &me["name"]), (&json!("tech"), &json!("Nora New")));
}

#[tokio::test]
async fn an_invitation_never_sets_the_password_of_an_account_that_exists() {
    let server = TestServer::start().await;
    let inviter = server.client_as(&acme::OWNER).await;
    let invited = invite(&inviter, globex::TECH.email, "admin").await;
    // Nothing of the other partner's account shows.
    assert_eq!(invited["user"]["name"], "Nora New");
    assert_eq!(
        (&invited["user"]["last_sign_in_at"], &invited["user"]["status"]),
        (&Value::Null, &json!("invited"))
    );
    let token = token(&invited["invitation"]);
    let body = json!({ "token": token, "password": "chosen by the inviter", "name": "Mine now" });
    for stranger in [server.anonymous(), inviter.clone()] {
        stranger
            .post("/api/v1/invitations/accept", body.clone())
            .await
            .expect_problem(401, "UNAUTHENTICATED");
    }
    let tech = login(&server, globex::TECH.email, PASSWORD).await;
    assert_eq!(tech.get("/api/v1/session").await.expect(200)["partners"].as_array().unwrap().len(), 1);
    tech.post("/api/v1/invitations/accept", body).await.expect(204);
    let session = tech.get("/api/v1/session").await.expect(200);
    assert_eq!(session["partners"].as_array().unwrap().len(), 2, "{session}");
    assert_eq!(session["user"]["name"], globex::TECH.name);
    login(&server, globex::TECH.email, PASSWORD).await;
    // The account is not Acme's alone: its name is not Acme's to change.
    inviter.patch(&path(&globex::TECH), json!({ "name": "Renamed" })).await.expect_problem(403, "FORBIDDEN");
    inviter
        .post(&format!("{}/invitation", path(&globex::TECH)), json!({}))
        .await
        .expect_problem(409, "INVALID_STATE");
}

#[tokio::test]
async fn an_invitation_nobody_accepted_keeps_no_one_from_another_partner() {
    let server = TestServer::start().await;
    let (ours, theirs) = (server.client_as(&acme::ADMIN).await, server.client_as(&globex::OWNER).await);
    let first = invite(&ours, "nora@example.com", "admin").await;
    let second = invite(&theirs, "NORA@example.com", "tech").await;
    assert_eq!(first["user"]["id"], second["user"]["id"]);
    let accept = json!({ "token": token(&second["invitation"]), "password": "a long enough password" });
    server.anonymous().post("/api/v1/invitations/accept", accept).await.expect(204);
    let nora = login(&server, "nora@example.com", "a long enough password").await;
    let partners = nora.get("/api/v1/session").await.expect(200)["partners"].clone();
    assert_eq!(partners.as_array().unwrap().len(), 1, "{partners}");
    // The link that lay about opens an account that is somebody's by now for nobody.
    let late = json!({ "token": token(&first["invitation"]), "password": "chosen by the inviter" });
    let nobody = server.anonymous();
    nobody.post("/api/v1/invitations/accept", late).await.expect_problem(401, "UNAUTHENTICATED");
    // Nor does a partner that takes its invitation back take the person away.
    let path = format!("/api/v1/users/{}", first["user"]["id"].as_str().unwrap());
    ours.delete(&path).await.expect(204);
    login(&server, "nora@example.com", "a long enough password").await;
}

#[tokio::test]
async fn two_partners_who_invite_one_person_at_the_same_moment_both_succeed() {
    let server = TestServer::start().await;
    let inviters = [server.client_as(&acme::ADMIN).await, server.client_as(&globex::OWNER).await];
    // Both have found no account; one makes it while the other waits.
    let mut quicker = server.owner().await;
    let mut quicker = quicker.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO users (id, email, name, status) VALUES ($1, 'nora@example.com', 'Nora', 'invited')",
    )
    .bind(uuid::Uuid::now_v7())
    .execute(&mut *quicker)
    .await
    .unwrap();
    let invited = inviters.map(|inviter| {
        tokio::spawn(async move {
            let body = json!({ "email": "nora@example.com", "name": "Nora New", "role": "tech" });
            inviter.post("/api/v1/users", body).await
        })
    });
    gururmm_testkit::eventually("inviters that wait", async || {
        let waiting: i64 = sqlx::query_scalar(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap();
        (waiting >= 2).then_some(())
    })
    .await;
    quicker.commit().await.unwrap();
    for answer in invited {
        answer.await.unwrap().expect(201);
    }
}

#[tokio::test]
async fn a_link_ends_with_a_newer_one_with_time_with_suspension_and_with_removal() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let invited = invite(&admin, "nora@example.com", "tech").await;
    let user = format!("/api/v1/users/{}", invited["user"]["id"].as_str().unwrap());
    let first = token(&invited["invitation"]);
    let second = token(&admin.post(&format!("{user}/invitation"), json!({})).await.expect(201));
    let check = |token: String| {
        let nobody = server.anonymous();
        async move { nobody.post("/api/v1/invitations/check", json!({ "token": token })).await }
    };
    check(first).await.expect_problem(401, "INVITATION_INVALID");
    check(second.clone()).await.expect(200);
    let mut owner = server.owner().await;
    sqlx::query("UPDATE invitations SET expires_at = now()").execute(&mut owner).await.unwrap();
    check(second).await.expect_problem(401, "INVITATION_INVALID");
    admin.patch(&user, json!({ "status": "active" })).await.expect_problem(409, "INVALID_STATE");
    let third = token(&admin.post(&format!("{user}/invitation"), json!({})).await.expect(201));
    admin.delete(&user).await.expect(204);
    check(third).await.expect_problem(401, "INVITATION_INVALID");
    admin.get(&user).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn nobody_grants_above_their_own_role_or_touches_someone_above() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let owner = json!({ "email": "nora@example.com", "name": "Nora", "role": "owner" });
    admin.post("/api/v1/users", owner.clone()).await.expect_problem(403, "FORBIDDEN");
    admin.patch(&path(&acme::TECH), json!({ "role": "owner" })).await.expect_problem(403, "FORBIDDEN");
    admin.patch(&path(&acme::ADMIN), json!({ "role": "owner" })).await.expect_problem(403, "FORBIDDEN");
    for attempt in [json!({ "role": "tech" }), json!({ "status": "suspended" }), json!({ "name": "Nobody" })]
    {
        admin.patch(&path(&acme::OWNER), attempt).await.expect_problem(403, "FORBIDDEN");
    }
    admin.delete(&path(&acme::OWNER)).await.expect_problem(403, "FORBIDDEN");
    admin.delete(&format!("{}/sessions", path(&acme::OWNER))).await.expect_problem(403, "FORBIDDEN");
    let unchanged = admin.get(&path(&acme::OWNER)).await.expect(200);
    assert_eq!((&unchanged["role"], &unchanged["name"]), (&json!("owner"), &json!(acme::OWNER.name)));
    server.client_as(&acme::OWNER).await.post("/api/v1/users", owner).await.expect(201);
}

#[tokio::test]
async fn the_last_active_owner_stays() {
    let server = TestServer::start().await;
    let owner = server.client_as(&acme::OWNER).await;
    // There is a second owner, whose account is suspended: that one does not count.
    for attempt in [json!({ "role": "admin" }), json!({ "status": "suspended" })] {
        owner.patch(&path(&acme::OWNER), attempt).await.expect_problem(409, "LAST_OWNER");
    }
    owner.delete(&path(&acme::OWNER)).await.expect_problem(409, "LAST_OWNER");
    owner.patch(&path(&acme::ADMIN), json!({ "role": "owner" })).await.expect(200);
    // Two owners who leave at the same time: one of them has to stay.
    let other = server.client_as(&acme::ADMIN).await;
    let (one, two) = (path(&acme::OWNER), path(&acme::ADMIN));
    let (left, right) = tokio::join!(owner.delete(&one), other.delete(&two));
    let mut statuses = [left.status.as_u16(), right.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 409], "{left} {right}");
}

#[tokio::test]
async fn what_is_taken_away_is_gone_with_the_next_request() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let tech = server.client_as(&acme::TECH).await;
    let beta = format!("/api/v1/clients/{}", acme::BETA.id);
    tech.get(&beta).await.expect(200);
    admin.patch(&path(&acme::TECH), json!({ "client_ids": [acme::ALPHA.id] })).await.expect(200);
    tech.get(&beta).await.expect_problem(404, "NOT_FOUND");
    admin.patch(&path(&acme::TECH), json!({ "client_ids": [], "role": "read_only" })).await.expect(200);
    let session = tech.get("/api/v1/session").await.expect(200);
    assert_eq!((&session["role"], &session["confined"]), (&json!("read_only"), &json!(false)));
    admin.patch(&path(&acme::TECH), json!({ "status": "suspended" })).await.expect(200);
    tech.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
    admin.patch(&path(&acme::TECH), json!({ "status": "active" })).await.expect(200);
    tech.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
    let again = server.client_as(&acme::TECH).await;
    let sessions = admin.get(&format!("{}/sessions", path(&acme::TECH))).await.expect(200);
    assert_eq!((&sessions["total"], &sessions["items"][0]["current"]), (&json!(1), &json!(false)));
    admin.delete(&format!("{}/sessions", path(&acme::TECH))).await.expect(204);
    again.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn ids_of_another_partner_are_unknown_and_owners_cannot_be_confined() {
    let server = TestServer::start().await;
    let owner = server.client_as(&acme::OWNER).await;
    for foreign in
        [json!({ "client_ids": [globex::ALPHA.id] }), json!({ "site_ids": [acme::HQ.id, globex::HQ.id] })]
    {
        let mut newcomer = json!({ "email": "nora@example.com", "name": "Nora", "role": "tech" });
        newcomer.as_object_mut().unwrap().extend(foreign.as_object().unwrap().clone());
        owner.post("/api/v1/users", newcomer).await.expect_problem(404, "NOT_FOUND");
        owner.patch(&path(&acme::TECH), foreign).await.expect_problem(404, "NOT_FOUND");
    }
    let user = owner.get(&path(&acme::TECH)).await.expect(200);
    assert_eq!((&user["client_ids"], &user["site_ids"]), (&json!([]), &json!([])));
    owner
        .patch(&path(&acme::TECH), json!({ "role": "owner", "client_ids": [acme::ALPHA.id] }))
        .await
        .expect_problem(422, "VALIDATION_FAILED");
    owner.get(&path(&globex::TECH)).await.expect_problem(404, "NOT_FOUND");
    owner.delete(&path(&globex::TECH)).await.expect_problem(404, "NOT_FOUND");
    owner
        .post("/api/v1/users", json!({ "email": acme::TECH.email, "name": "Again", "role": "tech" }))
        .await
        .expect_problem(409, "ALREADY_MEMBER");
}

#[tokio::test]
async fn the_list_pages_searches_and_names_locks() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    for _ in 0..10 {
        let wrong = json!({ "email": acme::TECH.email, "password": "not the password" });
        server.anonymous().post("/api/auth/login", wrong).await.expect(401);
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("/api/v1/users?limit=3&cursor={cursor}")).await.expect(200);
        assert_eq!(page["total"], acme::PEOPLE.len());
        seen.extend(page["items"].as_array().unwrap().clone());
        match page["next_cursor"].as_str() {
            Some(next) => next.clone_into(&mut cursor),
            None => break,
        }
    }
    assert_eq!(seen.len(), acme::PEOPLE.len());
    let of = |person: &Person| seen.iter().find(|user| user["id"] == json!(person.id)).unwrap();
    assert!(of(&acme::TECH)["locked_until"].is_string());
    assert_eq!(of(&acme::READER)["locked_until"], Value::Null);
    assert_eq!(of(&acme::SUSPENDED)["status"], "suspended");
    assert_eq!(of(&acme::INVITED)["status"], "invited");
    let found = admin.get("/api/v1/users?search=TESS").await.expect(200);
    assert_eq!((&found["total"], &found["items"][0]["id"]), (&json!(1), &json!(acme::TECH.id)));
}

#[tokio::test]
async fn a_changed_role_is_in_the_audit_log_with_what_it_was() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    admin
        .patch(&path(&acme::TECH), json!({ "role": "read_only", "name": acme::TECH.name }))
        .await
        .expect(200);
    let (actor, detail): (String, Value) =
        sqlx::query_as("SELECT actor_name, detail FROM audit_log WHERE action = 'user.update'")
            .fetch_one(&mut server.owner().await)
            .await
            .unwrap();
    assert_eq!(
        (actor.as_str(), detail),
        (acme::ADMIN.name, json!({ "role": { "from": "tech", "to": "read_only" } }))
    );
}

#[tokio::test]
async fn the_platform_makes_partners_and_invites_their_owners() {
    let server = TestServer::start().await;
    let platform = server.client_as(&PLATFORM_ADMIN).await;
    let input = json!({ "name": "Initech", "owner_email": "ivy@example.com", "owner_name": "Ivy" });
    server
        .client_as(&acme::OWNER)
        .await
        .post("/api/v1/partners", input.clone())
        .await
        .expect_problem(403, "FORBIDDEN");
    let made = platform.post("/api/v1/partners", input.clone()).await.expect(201);
    platform.post("/api/v1/partners", input).await.expect_problem(409, "NAME_TAKEN");
    assert_eq!(platform.get("/api/v1/partners").await.expect(200)["total"], 3);
    let acceptance = json!({ "token": token(&made["invitation"]), "password": "a long enough password" });
    server.anonymous().post("/api/v1/invitations/accept", acceptance).await.expect(204);
    let ivy = login(&server, "ivy@example.com", "a long enough password").await;
    let session = ivy.get("/api/v1/session").await.expect(200);
    assert_eq!((&session["role"], &session["partner"]["id"]), (&json!("owner"), &made["partner"]["id"]));
    assert_eq!(ivy.get("/api/v1/users").await.expect(200)["total"], 1);
}
