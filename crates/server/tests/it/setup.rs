//! The first run, and that there is nothing of it afterwards.

use axum::http::Method;
use gururmm_testkit::{ApiClient, TestServer};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const BOOTSTRAP_ROUTES: [&str; 3] = ["/api/v1/setup", "/api/v1/setup/check", "/setup"];

async fn token(server: &TestServer) -> String {
    let link = server.server().setup_link().await.unwrap().expect("setup is open");
    link.split_once("#token=").unwrap().1.to_owned()
}

fn first_run(token: &str) -> Value {
    json!({
        "setup_token": token, "email": "ada@example.com", "name": "Ada", "password": "a long enough password",
        "partner_name": "Acme", "client_name": "Alpha", "site_name": "HQ",
    })
}

async fn rows(server: &TestServer) -> (i64, i64, i64, i64) {
    sqlx::query_as(
        "SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM partners), (SELECT count(*) FROM sites),
           (SELECT count(*) FROM audit_log)",
    )
    .fetch_one(&mut server.owner().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn the_link_makes_an_admin_with_a_partner_a_client_and_a_site() {
    let server = TestServer::start_empty().await;
    let token = token(&server).await;
    let nobody = server.anonymous();
    nobody.post("/api/v1/setup/check", json!({ "setup_token": token })).await.expect(204);
    let answer = nobody.post("/api/v1/setup", first_run(&token)).await;
    let made = answer.expect(201);
    let cookie = answer.header("set-cookie").unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert_eq!(made["session"]["role"], "owner");
    assert_eq!(made["session"]["user"]["is_platform_admin"], true);
    assert_eq!(made["partner"]["name"], "Acme");
    assert_eq!(made["site"]["code"].as_str().unwrap().len(), 8);
    let key = &made["enrollment_key"];
    assert_eq!((&key["key"]["status"], &key["key"]["version"]), (&json!("active"), &json!(1)));
    assert!(key["secret"].as_str().unwrap().starts_with("gek_1_"), "{}", key["key"]);
    assert_eq!(rows(&server).await, (1, 1, 1, 3));

    let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
    let browser = nobody.with_cookie(name, value, made["session"]["csrf_token"].as_str().unwrap());
    let tree = browser.get("/api/v1/tree").await.expect(200);
    assert_eq!(tree["clients"][0]["sites"][0]["code"], made["site"]["code"], "{tree}");
}

#[tokio::test]
async fn a_wrong_an_old_and_an_expired_token_are_refused() {
    let server = TestServer::start_empty().await;
    let old = token(&server).await;
    let current = token(&server).await;
    let nobody = server.anonymous();
    for wrong in ["", "gsu_nonsense", old.as_str()] {
        nobody
            .post("/api/v1/setup/check", json!({ "setup_token": wrong }))
            .await
            .expect_problem(401, "SETUP_TOKEN_INVALID");
        nobody.post("/api/v1/setup", first_run(wrong)).await.expect_problem(401, "SETUP_TOKEN_INVALID");
        nobody.post("/api/auth/register", first_run(wrong)).await.expect_problem(401, "SETUP_TOKEN_INVALID");
    }
    sqlx::query("UPDATE setup_tokens SET expires_at = now()")
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    nobody.post("/api/v1/setup", first_run(&current)).await.expect_problem(401, "SETUP_TOKEN_INVALID");
    assert_eq!(rows(&server).await, (0, 0, 0, 0));
}

#[tokio::test]
async fn a_field_that_is_not_valid_is_named_and_the_link_stays_good() {
    let server = TestServer::start_empty().await;
    let token = token(&server).await;
    for (field, value) in
        [("email", "ada"), ("password", "short"), ("name", " "), ("partner_name", ""), ("site_name", "\u{7}")]
    {
        let mut input = first_run(&token);
        input[field] = json!(value);
        let problem =
            server.anonymous().post("/api/v1/setup", input).await.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(problem["errors"][0]["field"], field, "{problem}");
    }
    assert_eq!(rows(&server).await, (0, 0, 0, 0));
    server.anonymous().post("/api/v1/setup", first_run(&token)).await.expect(201);
}

#[tokio::test]
async fn of_racing_setups_exactly_one_wins() {
    let server = TestServer::start_empty().await;
    let token = token(&server).await;
    let racers = (0..4).map(|number| {
        let mut input = first_run(&token);
        input["email"] = json!(format!("racer{number}@example.com"));
        let client = server.anonymous();
        tokio::spawn(async move { client.post("/api/v1/setup", input).await.status.as_u16() })
    });
    let mut answers = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        answers.push(racer.await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers[0], 201, "{answers:?}");
    assert!(answers[1..].iter().all(|status| matches!(status, 401 | 404)), "{answers:?}");
    assert_eq!(rows(&server).await, (1, 1, 1, 3));
}

#[tokio::test]
async fn register_is_setup_for_scripts_and_then_closed_by_any_method() {
    let server = TestServer::start_empty().await;
    let token = token(&server).await;
    let input =
        json!({ "setup_token": token, "email": "ada@example.com", "password": "a long enough password" });
    let made = server.anonymous().post("/api/auth/register", input.clone()).await.expect(200);
    let script = server.anonymous().with_bearer(made["token"].as_str().unwrap());
    assert_eq!(script.get("/api/auth/me").await.expect(200)["role"], "owner");
    for method in methods() {
        let answer =
            server.anonymous().request(method.clone(), "/api/auth/register").json(input.clone()).send().await;
        assert_eq!(answer.status, 403, "{method}: {answer}");
        if method != Method::HEAD {
            assert_eq!(answer.code().as_deref(), Some("REGISTRATION_CLOSED"), "{method}");
        }
    }
    assert_eq!(rows(&server).await.0, 1);
}

#[tokio::test]
async fn after_setup_no_alias_of_a_bootstrap_route_answers_by_any_method() {
    let server = TestServer::start_empty().await;
    let token = token(&server).await;
    server.anonymous().post("/api/v1/setup", first_run(&token)).await.expect(201);
    assert!(server.server().setup_link().await.unwrap().is_none(), "no new link is made");
    let mut aliases: BTreeSet<String> =
        BOOTSTRAP_ROUTES.iter().flat_map(|route| aliases_of(route, "setup")).collect();
    aliases.extend(["v0", "v2", "V1", "v1.0", "v01", "v1x", "latest"].map(|v| format!("/api/{v}/setup")));
    assert!(aliases.len() >= 200, "{} aliases", aliases.len());
    let clients = [server.anonymous(), admin(&server).await];
    let before = rows(&server).await;
    for alias in &aliases {
        for method in methods() {
            for client in &clients {
                let answer = client.request(method.clone(), alias).json(first_run(&token)).send().await;
                assert_eq!(answer.status, 404, "{answer}");
            }
        }
    }
    assert_eq!(rows(&server).await, before);
}

#[tokio::test]
async fn after_setup_register_says_so_under_its_own_name_and_no_alias_says_anything() {
    const REGISTER: &str = "/api/auth/register";
    let server = TestServer::start_empty().await;
    let token = token(&server).await;
    server.anonymous().post("/api/v1/setup", first_run(&token)).await.expect(201);
    let aliases = aliases_of(REGISTER, "register");
    assert!(aliases.len() >= 50, "{} aliases", aliases.len());
    let before = rows(&server).await;
    for alias in &aliases {
        let is_itself = alias.split('?').next() == Some(REGISTER);
        for method in methods() {
            let call = server.anonymous().request(method.clone(), alias).json(first_run(&token));
            assert_eq!(call.send().await.status, if is_itself { 403 } else { 404 }, "{method} {alias}");
        }
    }
    assert_eq!(rows(&server).await, before);
}

async fn admin(server: &TestServer) -> ApiClient {
    let credentials = json!({ "email": "ada@example.com", "password": "a long enough password" });
    let session = server.anonymous().post("/api/auth/login", credentials).await.expect(200);
    server.anonymous().with_bearer(session["token"].as_str().unwrap())
}

fn methods() -> [Method; 9] {
    let custom = Method::from_bytes(b"PROPFIND").unwrap();
    [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
        Method::TRACE,
        custom,
    ]
}

/// The route, and spellings of it that some server, proxy or router somewhere takes for the route itself. `word` is
/// the part of it that is written in other ways.
fn aliases_of(route: &str, word: &str) -> BTreeSet<String> {
    let mut aliases = BTreeSet::new();
    aliases.insert(route.to_owned());
    for suffix in [
        "/",
        "//",
        "/.",
        "/./",
        "/..",
        ".",
        "..",
        ".json",
        ".html",
        ".php",
        ".aspx",
        "/x",
        "/index",
        "/index.html",
        ";",
        ";x=1",
        ";/x",
        "%20",
        "%09",
        "%00",
        "%00.js",
        "%0a",
        "%2f",
        "%2F",
        "%5c",
        "%23",
        "%3f",
        "?",
        "?x=1",
        "?/",
        "??",
        "?setup_token=x",
        "+",
        "~",
        "$",
        "*",
        "'",
        "!",
        ":",
        "@",
        ",",
        "=",
        "-",
        "_",
        "\\",
    ] {
        aliases.insert(format!("{route}{suffix}"));
    }
    for prefix in
        ["/", "/.", "/x/..", "/%2e", "/%2e%2e", "/api", "/API", "/static", "/assets/..", "//", "/;", "\\"]
    {
        aliases.insert(format!("{}{route}", if prefix.starts_with('/') { prefix } else { "/x" }));
    }
    aliases.insert(format!("{route}/../{word}"));
    aliases.insert(route.to_uppercase());
    let (first, last) = (word[..1].to_uppercase(), word[word.len() - 1..].to_uppercase());
    aliases.insert(route.replace(word, &format!("{first}{}", &word[1..])));
    aliases.insert(route.replace(word, &format!("{}{last}", &word[..word.len() - 1])));
    aliases.insert(route.replace('/', "//"));
    aliases.insert(route.replace('/', "/./"));
    for detour in ["/x/../", "/%2f", "/%2e/", "/%2e%2e/"] {
        aliases.insert(route.replace(&format!("/{word}"), &format!("{detour}{word}")));
    }
    for (index, letter) in word.char_indices() {
        let encoded = format!("{}%{:02x}{}", &word[..index], u32::from(letter), &word[index + 1..]);
        aliases.insert(route.replace(word, &encoded));
        aliases.insert(route.replace(word, &encoded.replace('%', "%25")));
    }
    // Letters that look the same: a Cyrillic one.
    let lookalike = word.replacen('e', "\u{435}", 1);
    aliases.insert(route.replace(word, &lookalike).chars().map(percent).collect());
    aliases
}

fn percent(character: char) -> String {
    match character.is_ascii() {
        true => character.to_string(),
        false => character.to_string().bytes().map(|byte| format!("%{byte:02X}")).collect(),
    }
}
