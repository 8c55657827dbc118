//! What a browser gets that is not the API.

use axum::http::Method;
use gururmm_testkit::TestServer;
use serde_json::Value;

/// Built or not: a page is there, or one sentence says why it is not.
fn is_page(status: u16, text: &str) -> bool {
    match status {
        200 => text.contains("<html"),
        503 => text.contains("built without the dashboard"),
        _ => false,
    }
}

#[tokio::test]
async fn every_page_of_the_dashboard_is_its_one_page() {
    let server = TestServer::start().await;
    for path in
        ["/", "/sign-in", "/fleet", "/agents/0190aaaa-0000-7000-8000-000000000001/commands", "/invite?x=1"]
    {
        let answer = server.anonymous().get(path).await;
        assert!(is_page(answer.status.as_u16(), &answer.text()), "{answer}");
        assert_eq!(answer.header("x-frame-options"), Some("DENY"));
        assert!(answer.header("content-security-policy").unwrap().contains("script-src 'self';"));
        let head = server.anonymous().request(Method::HEAD, path).send().await;
        assert_eq!((head.status, head.body.len()), (answer.status, 0));
        server.anonymous().request(Method::POST, path).send().await.expect_problem(404, "NOT_FOUND");
    }
    for path in
        ["/nowhere", "/index.html", "/assets/nowhere.js", "/agents/", "/api/nowhere", "/api/v1/nowhere"]
    {
        server.anonymous().get(path).await.expect_problem(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn the_setup_page_is_there_while_setup_is_open() {
    let open = TestServer::start_empty().await;
    let answer = open.anonymous().get("/setup").await;
    assert!(is_page(answer.status.as_u16(), &answer.text()), "{answer}");
    let over = TestServer::start().await;
    over.anonymous().get("/setup").await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn the_api_is_documented_and_browsable_without_inline_scripts() {
    let server = TestServer::start().await;
    let document = server.anonymous().get("/api/openapi.json").await.expect(200);
    assert!(document["paths"]["/api/auth/login"]["post"].is_object());
    assert_eq!(document["paths"]["/api/auth/login"]["post"]["security"], serde_json::json!([{}]));
    let redirect = server.anonymous().get("/api/docs").await;
    assert_eq!((redirect.status.as_u16(), redirect.header("location")), (303, Some("/api/docs/")));
    let page = server.anonymous().get("/api/docs/").await.text();
    for tag in page.split("<script").skip(1) {
        assert!(tag.split('>').next().unwrap().contains("src="), "an inline script: <script{tag}");
    }
    assert_eq!(server.anonymous().get("/api/docs/swagger-ui-bundle.js").await.status, 200);
}

#[tokio::test]
async fn every_operation_says_who_may_use_it_and_how_it_fails() {
    let server = TestServer::start().await;
    let document = server.anonymous().get("/api/openapi.json").await.expect(200);
    let mut operations = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let Value::Object(operation) = operation else { continue };
            operations += 1;
            for status in ["401", "403", "422", "429", "500"] {
                assert!(operation["responses"][status].is_object(), "{method} {path}: {status}");
            }
            assert!(operation.contains_key("operationId"), "{method} {path}");
        }
    }
    assert!(operations > 40, "{operations}");
}
