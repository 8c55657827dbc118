//! Errors as callers see them: stable codes, written down, and nothing of the database.

use crate::authz_matrix::fixture::Fixture;
use crate::authz_matrix::routes::{self, Needs};
use gururmm_server::Code;
use gururmm_testkit::world::acme;
use gururmm_testkit::{TestServer, logs};
use serde_json::json;
use sqlx::Executor as _;
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn the_page_of_errors_lists_each_code_with_its_status_meaning_and_remedy() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors.md");
    let text = std::fs::read_to_string(page).unwrap();
    let mut listed = BTreeSet::new();
    for line in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 4, "code, status, meaning, remedy: {line}");
        let code = Code::ALL.iter().find(|code| format!("`{}`", code.as_str()) == cells[0]);
        let code = code.unwrap_or_else(|| panic!("no such code: {line}"));
        assert_eq!(cells[1], code.status().as_str(), "{line}");
        assert!(cells[2..].iter().all(|cell| !cell.is_empty()), "{line}");
        assert!(listed.insert(code.as_str()), "listed twice: {line}");
    }
    let all: BTreeSet<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(all.difference(&listed).collect::<Vec<_>>(), Vec::<&&str>::new(), "missing in docs/errors.md");
}

#[tokio::test]
async fn a_failing_database_is_a_500_that_says_nothing_of_it() {
    let mut fixture = Fixture::new().await;
    let mut callers = Vec::new();
    // An export is cut off instead: its answer has begun when the database fails.
    let routes =
        routes::all().filter(|route| route.needs != Needs::Nothing && !route.path.ends_with("/export"));
    for route in routes {
        callers.push((route, fixture.server.client_as(&route.right_person()).await));
    }
    // What the functions of the owner read still works, so every request gets as far as its first query.
    fixture.owner.execute("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM gururmm_app").await.unwrap();
    let mut failed = 0;
    for (route, client) in callers {
        let answer = crate::authz_matrix::call(&fixture, route, &client, fixture.id(route.object)).await;
        if answer.status != 500 {
            // Answered without a table: by what the session itself says, or by a check before the first query.
            continue;
        }
        failed += 1;
        let problem = answer.expect_problem(500, "INTERNAL");
        let fields: BTreeSet<&str> = problem.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(fields, BTreeSet::from(["code", "request_id", "status", "title", "type"]), "{answer}");
        let request = problem["request_id"].as_str().unwrap();
        assert_eq!(answer.header("x-request-id"), Some(request), "{answer}");
        let log = logs::text();
        let cause = log.lines().find(|line| line.contains(request) && line.contains("request failed"));
        let cause = cause.unwrap_or_else(|| panic!("the cause of {route} is not in the log"));
        assert!(cause.contains("permission denied"), "{cause}");
    }
    assert!(failed >= 50, "only {failed} routes reached the database");
}

#[tokio::test]
async fn a_named_constraint_is_an_error_of_a_field() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let answer = admin.post("/api/v1/clients", json!({"name": acme::BETA.name.to_uppercase()})).await;
    let problem = answer.expect_problem(409, "NAME_TAKEN");
    assert_eq!(
        (&problem["errors"][0]["field"], &problem["errors"][0]["code"]),
        (&json!("name"), &json!("TAKEN"))
    );
    assert!(!answer.text().contains("clients_name_key"), "{answer}");
}

#[tokio::test]
async fn whatever_cannot_be_read_is_the_callers_mistake_in_the_same_form() {
    let server = TestServer::start().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let clients = || admin.request(axum::http::Method::POST, "/api/v1/clients");
    let json_type = ("content-type", "application/json");
    for (what, call, status, code) in [
        ("no JSON", clients().header(json_type.0, json_type.1).body("{"), 400, "MALFORMED_REQUEST"),
        (
            "invalid UTF-8",
            clients().header(json_type.0, json_type.1).body(&b"{\"name\":\"\xff\"}"[..]),
            400,
            "MALFORMED_REQUEST",
        ),
        ("another shape", clients().json(json!({"name": 7})), 422, "VALIDATION_FAILED"),
        ("a missing field", clients().json(json!({})), 422, "VALIDATION_FAILED"),
        ("an empty name", clients().json(json!({"name": "  "})), 422, "VALIDATION_FAILED"),
        ("a name too long", clients().json(json!({"name": "x".repeat(121)})), 422, "VALIDATION_FAILED"),
        ("NUL in a name", clients().json(json!({"name": "a\0b"})), 422, "VALIDATION_FAILED"),
        ("no type", clients().body("{\"name\":\"x\"}"), 415, "UNSUPPORTED_MEDIA_TYPE"),
        ("a body too large", clients().json(json!({"name": "x".repeat(2 << 20)})), 413, "PAYLOAD_TOO_LARGE"),
        (
            "a limit of 0",
            admin.request(axum::http::Method::GET, "/api/v1/clients?limit=0"),
            400,
            "INVALID_QUERY",
        ),
        (
            "a limit too large",
            admin.request(axum::http::Method::GET, "/api/v1/clients?limit=201"),
            400,
            "INVALID_QUERY",
        ),
        (
            "a limit in words",
            admin.request(axum::http::Method::GET, "/api/v1/clients?limit=all"),
            400,
            "INVALID_QUERY",
        ),
        (
            "a forged cursor",
            admin.request(axum::http::Method::GET, "/api/v1/clients?cursor=AAAA"),
            400,
            "INVALID_QUERY",
        ),
        ("no uuid", admin.request(axum::http::Method::GET, "/api/v1/clients/1%20OR%201=1"), 404, "NOT_FOUND"),
        (
            "another method",
            admin.request(axum::http::Method::PUT, "/api/v1/clients"),
            405,
            "METHOD_NOT_ALLOWED",
        ),
        ("no such route", admin.request(axum::http::Method::GET, "/api/v1/nothing"), 404, "NOT_FOUND"),
    ] {
        let answer = call.send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.code().as_deref()),
            (status, Some(code)),
            "{what}: {answer}"
        );
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{what}");
    }
}
