//! Signing in, staying in, being thrown out.

use gururmm_server::auth::password::argon2_calls;
use gururmm_testkit::world::{PASSWORD, PLATFORM_ADMIN, Person, acme, globex};
use gururmm_testkit::{Answer, ApiClient, TestServer, eventually};
use serde_json::{Value, json};

async fn login(client: &ApiClient, email: &str, password: &str) -> Answer {
    client.post("/api/auth/login", json!({ "email": email, "password": password })).await
}

fn without_request_id(answer: &Answer) -> Value {
    let mut problem = answer.json();
    problem.as_object_mut().unwrap().remove("request_id");
    problem
}

/// Takes the limit by address out of the way, which is not what these tests are about.
async fn fresh(server: &mut TestServer) -> ApiClient {
    server.restart().await;
    server.anonymous()
}

#[tokio::test]
async fn a_script_signs_in_works_and_signs_out() {
    let server = TestServer::start().await;
    let session = login(&server.anonymous(), "Tech@ACME.example.com", PASSWORD).await.expect(200);
    assert_eq!(session["user"]["role"], "tech");
    assert_eq!(session["user"]["partner_name"], "Acme");
    let script = server.anonymous().with_bearer(session["token"].as_str().unwrap());
    let me = script.get("/api/auth/me").await.expect(200);
    assert_eq!(me["email"], acme::TECH.email);
    assert!(me["last_sign_in_at"].is_string(), "{me}");
    script.post("/api/auth/logout", json!({})).await.expect(204);
    script.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn the_dashboard_gets_a_cookie_and_what_its_person_may_do() {
    let server = TestServer::start().await;
    let credentials = json!({ "email": acme::ALPHA_ADMIN.email, "password": PASSWORD });
    let answer = server.anonymous().post("/api/v1/session", credentials).await;
    let info = answer.expect(200);
    assert_eq!(info["confined"], true);
    assert_eq!(info["partners"], json!([{ "id": acme::PARTNER.id, "name": "Acme", "role": "admin" }]));
    let permissions = info["permissions"].as_array().unwrap();
    assert!(permissions.contains(&json!("manage_keys")) && !permissions.contains(&json!("manage_users")));
    let (name, token) =
        answer.header("set-cookie").unwrap().split(';').next().unwrap().split_once('=').unwrap();
    let cookie_only = server.anonymous().with("cookie", &format!("{name}={token}"));
    assert_eq!(cookie_only.get("/api/v1/session").await.expect(200)["csrf_token"], info["csrf_token"]);
    cookie_only.delete("/api/v1/session").await.expect_problem(403, "CSRF_FAILED");
    server.anonymous().with_bearer(token).get("/api/v1/session").await.expect_problem(401, "UNAUTHENTICATED");
    let browser = cookie_only.with("x-csrf-token", info["csrf_token"].as_str().unwrap());
    browser.delete("/api/v1/session").await.expect(204);
    browser.get("/api/v1/session").await.expect_problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn every_way_not_to_get_in_costs_one_argon2_run_and_says_the_same() {
    let mut server = TestServer::start().await;
    let refused = |person: &Person| (person.email.to_owned(), PASSWORD.to_owned());
    let attempts = [
        (acme::OWNER.email.to_owned(), "not the password".to_owned()),
        ("nobody@example.com".to_owned(), PASSWORD.to_owned()),
        refused(&acme::SUSPENDED),
        refused(&acme::INVITED),
        (String::new(), String::new()),
        ("x".repeat(5_000), "y".repeat(5_000)),
    ];
    let client = fresh(&mut server).await;
    let mut bodies = Vec::new();
    for (email, password) in &attempts {
        let before = argon2_calls();
        let answer = login(&client, email, password).await;
        assert_eq!(argon2_calls() - before, 1, "{email}");
        answer.expect_problem(401, "INVALID_CREDENTIALS");
        bodies.push(without_request_id(&answer));
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");
    let before = argon2_calls();
    login(&client, acme::OWNER.email, PASSWORD).await.expect(200);
    assert_eq!(argon2_calls() - before, 1);
}

#[tokio::test]
async fn ten_failures_lock_an_account_and_an_unknown_one_just_the_same() {
    let mut server = TestServer::start().await;
    let mut bodies = Vec::new();
    for (email, exists) in [(acme::OWNER.email, true), ("nobody@example.com", false)] {
        let client = fresh(&mut server).await;
        for _ in 0..10 {
            login(&client, email, "not the password").await.expect_problem(401, "INVALID_CREDENTIALS");
        }
        for password in [PASSWORD, "not the password"] {
            let before = argon2_calls();
            let answer = login(&client, email, password).await;
            answer.expect_problem(429, "ACCOUNT_LOCKED");
            assert_eq!(argon2_calls() - before, 1);
            assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() <= 15 * 60);
            bodies.push(without_request_id(&answer));
        }
        let told = server.database.owner_options();
        eventually("the lock in the audit log", async || {
            let mut owner = sqlx::ConnectOptions::connect(&told).await.unwrap();
            let locks: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_log WHERE action = 'user.lock'")
                .fetch_one(&mut owner)
                .await
                .unwrap();
            (locks == 1 || !exists).then_some(())
        })
        .await;
    }
    assert!(bodies.windows(2).all(|pair| pair[0] == pair[1]), "{bodies:#?}");

    // Time passes: the lock ends, and the next one lasts twice as long.
    let mut owner = server.owner().await;
    sqlx::query("UPDATE auth_throttle SET locked_until = now() - interval '1 second', window_started_at = now() - interval '16 minutes'")
        .execute(&mut owner)
        .await
        .unwrap();
    let client = fresh(&mut server).await;
    for _ in 0..10 {
        login(&client, acme::OWNER.email, "not the password")
            .await
            .expect_problem(401, "INVALID_CREDENTIALS");
    }
    let answer = login(&client, acme::OWNER.email, PASSWORD).await;
    answer.expect_problem(429, "ACCOUNT_LOCKED");
    assert!(answer.header("retry-after").unwrap().parse::<u32>().unwrap() > 25 * 60, "{:?}", answer.headers);
}

#[tokio::test]
async fn guesses_from_elsewhere_do_not_lock_someone_out_at_their_own_desk() {
    let mut server = TestServer::start().await;
    let desk = [127, 20, 0, 1].into();
    let at_desk = |server: &TestServer| server.anonymous().from_address(desk);
    login(&at_desk(&server), acme::OWNER.email, PASSWORD).await.expect(200);
    let stranger = server.anonymous();
    for _ in 0..10 {
        login(&stranger, acme::OWNER.email, "a guess").await.expect_problem(401, "INVALID_CREDENTIALS");
    }
    // Wherever else the guesses come from, and whatever they are.
    login(&server.anonymous(), acme::OWNER.email, PASSWORD).await.expect_problem(429, "ACCOUNT_LOCKED");
    let session = login(&at_desk(&server), acme::OWNER.email, PASSWORD).await.expect(200);
    login(&server.anonymous(), acme::OWNER.email, PASSWORD).await.expect_problem(429, "ACCOUNT_LOCKED");
    let change = json!({ "current_password": PASSWORD, "new_password": "seven-herons-over-the-ford" });
    let owner = server.anonymous().with_bearer(session["token"].as_str().unwrap());
    owner.post("/api/v1/profile/password", change).await.expect(204);

    // At the desk itself guessing ends all the same.
    server.restart().await;
    for _ in 0..10 {
        login(&at_desk(&server), acme::OWNER.email, "a guess")
            .await
            .expect_problem(401, "INVALID_CREDENTIALS");
    }
    login(&at_desk(&server), acme::OWNER.email, "seven-herons-over-the-ford")
        .await
        .expect_problem(429, "ACCOUNT_LOCKED");
}

#[tokio::test]
async fn an_address_that_tries_too_often_waits_whatever_its_headers_say() {
    let server = TestServer::start().await;
    // All at once: on a busy machine one after the other would be slow enough to be let through.
    let mut attempts = tokio::task::JoinSet::new();
    for attempt in 0..40 {
        let spoofed = format!("198.51.100.{attempt}");
        let client = server
            .anonymous()
            .from_address([127, 0, 7, 7].into())
            .with("x-forwarded-for", &spoofed)
            .with("x-real-ip", &spoofed)
            .with("forwarded", &format!("for={spoofed}"))
            .with("cf-connecting-ip", &spoofed)
            .with("true-client-ip", &spoofed)
            .with("x-client-ip", &spoofed);
        attempts.spawn(async move {
            login(&client, &format!("guess{attempt}@example.com"), "not the password").await
        });
    }
    let mut refused = 0;
    for answer in attempts.join_all().await {
        if answer.status == 429 {
            answer.expect_problem(429, "RATE_LIMITED");
            assert!(answer.header("retry-after").is_some());
            refused += 1;
        }
    }
    assert!(refused >= 5, "{refused} of 40 were refused");
}

#[tokio::test]
async fn sessions_are_listed_and_die_at_once_when_revoked() {
    let server = TestServer::start().await;
    let (one, other) = (server.browser_as(&acme::TECH).await, server.client_as(&acme::TECH).await);
    let listed = one.get("/api/v1/sessions").await.expect(200);
    assert_eq!(listed["total"], 2, "{listed}");
    let items = listed["items"].as_array().unwrap();
    assert_eq!(items.iter().filter(|session| session["current"] == true).count(), 1);
    let foreign = items.iter().find(|session| session["current"] == false).unwrap()["id"].as_str().unwrap();
    let mut events = server.app().bus.subscribe();
    server
        .client_as(&globex::OWNER)
        .await
        .delete(&format!("/api/v1/sessions/{foreign}"))
        .await
        .expect_problem(404, "NOT_FOUND");
    other.get("/api/auth/me").await.expect(200);
    one.delete(&format!("/api/v1/sessions/{foreign}")).await.expect(204);
    other.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
    let event = events.recv().await.unwrap();
    assert_eq!(
        (event.topic.as_str(), event.id.unwrap().to_string()),
        ("session.revoked", foreign.to_owned())
    );
    one.delete(&format!("/api/v1/sessions/{foreign}")).await.expect_problem(404, "NOT_FOUND");

    let third = server.client_as(&acme::TECH).await;
    one.delete("/api/v1/sessions").await.expect(204);
    third.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
    one.get("/api/v1/session").await.expect(200);
}

#[tokio::test]
async fn someone_without_a_partner_may_look_after_her_own_account() {
    let server = TestServer::start().await;
    let (one, other) = (server.browser_as(&PLATFORM_ADMIN).await, server.client_as(&PLATFORM_ADMIN).await);
    assert_eq!(one.get("/api/v1/session").await.expect(200)["partner"], Value::Null);
    one.delete("/api/v1/sessions").await.expect(204);
    other.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
    assert_eq!(
        one.patch("/api/v1/profile", json!({ "name": " Pia P. " })).await.expect(200)["name"],
        "Pia P."
    );
}

#[tokio::test]
async fn a_session_is_used_up_to_its_end_and_no_longer() {
    let server = TestServer::start().await;
    let browser = server.browser_as(&acme::TECH).await;
    let mut owner = server.owner().await;
    // Used a while ago: using it again moves its end, up to a week after it began.
    for (age, hours) in [("1 hour", 12), ("6 days 20 hours", 4)] {
        let arranged = format!(
            "UPDATE sessions SET created_at = now() - interval '{age}', last_used_at = now() - interval '10 minutes',
               expires_at = now() + interval '1 minute'"
        );
        sqlx::query(sqlx::AssertSqlSafe(arranged)).execute(&mut owner).await.unwrap();
        browser.get("/api/v1/session").await.expect(200);
        let minutes_left: f64 =
            sqlx::query_scalar("SELECT extract(epoch FROM expires_at - now())::float8 / 60 FROM sessions")
                .fetch_one(&mut owner)
                .await
                .unwrap();
        assert!((minutes_left - f64::from(hours * 60)).abs() < 2.0, "{age}: {minutes_left}");
    }
    sqlx::query("UPDATE sessions SET expires_at = now()").execute(&mut owner).await.unwrap();
    browser.get("/api/v1/session").await.expect_problem(401, "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_new_password_needs_the_old_one_and_ends_other_sessions() {
    let server = TestServer::start().await;
    let (one, other) = (server.browser_as(&acme::TECH).await, server.client_as(&acme::TECH).await);
    let change = |current: &str, new: &str| {
        let (one, body) = (one.clone(), json!({ "current_password": current, "new_password": new }));
        async move { one.post("/api/v1/profile/password", body).await }
    };
    change("not the password", "a brand new password").await.expect_problem(401, "INVALID_CREDENTIALS");
    let problem = change(PASSWORD, "short").await.expect_problem(422, "VALIDATION_FAILED");
    assert_eq!(problem["errors"][0]["field"], "new_password");
    other.get("/api/auth/me").await.expect(200);
    change(PASSWORD, "a brand new password").await.expect(204);
    other.get("/api/auth/me").await.expect_problem(401, "UNAUTHENTICATED");
    one.get("/api/v1/session").await.expect(200);
    login(&server.anonymous(), acme::TECH.email, PASSWORD).await.expect_problem(401, "INVALID_CREDENTIALS");
    login(&server.anonymous(), acme::TECH.email, "a brand new password").await.expect(200);
}

#[tokio::test]
async fn a_session_acts_in_one_partner_of_its_person_at_a_time() {
    let server = TestServer::start().await;
    sqlx::query("INSERT INTO memberships (id, tenant_id, user_id, role) VALUES (gen_random_uuid(), $1, $2, 'read_only')")
        .bind(globex::PARTNER.id)
        .bind(acme::ADMIN.id)
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    let browser = server.browser_as(&acme::ADMIN).await;
    browser.get(&format!("/api/v1/clients/{}", globex::ALPHA.id)).await.expect_problem(404, "NOT_FOUND");
    let mut events = server.app().bus.subscribe();
    let moved =
        browser.put("/api/v1/session/partner", json!({ "partner_id": globex::PARTNER.id })).await.expect(200);
    // Live sockets of this person look at their rights again.
    let event = events.recv().await.unwrap();
    assert_eq!((event.topic.as_str(), event.id), ("user.changed", Some(acme::ADMIN.id)));
    assert_eq!((&moved["role"], &moved["partner"]["name"]), (&json!("read_only"), &json!("Globex")));
    browser.get(&format!("/api/v1/clients/{}", globex::ALPHA.id)).await.expect(200);
    browser.get(&format!("/api/v1/clients/{}", acme::ALPHA.id)).await.expect_problem(404, "NOT_FOUND");
    browser.post("/api/v1/clients", json!({ "name": "New" })).await.expect_problem(403, "FORBIDDEN");
    server
        .browser_as(&acme::OWNER)
        .await
        .put("/api/v1/session/partner", json!({ "partner_id": globex::PARTNER.id }))
        .await
        .expect_problem(404, "NOT_FOUND");
}
