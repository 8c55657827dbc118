//! The API's contract, as scripts and the dashboard's generated client read it.

use gururmm_server::router;
use gururmm_testkit::TestServer;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Set to have the committed document written anew (`./dev openapi` does the same).
const UPDATE: &str = "GURURMM_UPDATE";

fn document() -> Value {
    serde_json::to_value(router::openapi()).unwrap()
}

#[test]
fn the_committed_document_is_the_routers() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api/openapi.json");
    let fresh = format!("{}\n", router::openapi().to_pretty_json().unwrap());
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == fresh,
        "the API has changed: run ./dev openapi and look at the difference in docs/api/openapi.json"
    );
}

#[tokio::test]
async fn the_document_and_its_page_are_served_to_everyone() {
    let server = TestServer::start().await;
    let served = server.anonymous().get("/api/openapi.json").await.expect(200);
    assert_eq!(served, document());
    let page = server.anonymous().get("/api/docs/").await;
    assert_eq!(page.status, 200, "{page}");
    assert!(
        page.header("content-type").is_some_and(|kind| kind.starts_with("text/html")),
        "{:?}",
        page.headers
    );
}

#[test]
fn operations_have_ids_of_their_own_a_tag_and_a_summary() {
    let mut seen = BTreeSet::new();
    for (name, operation) in operations(&document()) {
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{name} has no id"));
        assert!(seen.insert(id.to_owned()), "{name}: the id {id} is taken");
        assert!(operation["tags"].as_array().is_some_and(|tags| !tags.is_empty()), "{name} has no tag");
        assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{name} has no summary");
    }
}

#[test]
fn every_operation_names_its_success_and_the_problems_it_can_answer() {
    for (name, operation) in operations(&document()) {
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{name} never succeeds");
        for status in ["400", "401", "403", "404", "422", "429", "500"] {
            let problem = &responses[status]["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(problem, "#/components/schemas/Problem", "{name}, {status}");
        }
    }
}

#[test]
fn references_in_the_document_lead_somewhere() {
    let document = document();
    let mut missing = BTreeSet::new();
    references(&document, &mut |reference| {
        let pointer = reference.trim_start_matches('#');
        if document.pointer(pointer).is_none() {
            missing.insert(reference.to_owned());
        }
    });
    assert!(missing.is_empty(), "{missing:?}");
}

fn operations(document: &Value) -> Vec<(String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let each = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter().filter(|(key, _)| *key != "parameters");
        methods
            .map(move |(method, operation)| (format!("{} {path}", method.to_uppercase()), operation.clone()))
    });
    each.collect()
}

fn references(value: &Value, found: &mut impl FnMut(&str)) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(reference) if key == "$ref" => found(reference),
                    _ => references(value, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}
