//! What an agent is told before it connects. These bodies are a contract with every agent ever installed.

use gururmm_testkit::TestServer;
use serde_json::{Value, json};

const PATH: &str = "/api/v1/bootstrap/hello";

#[tokio::test]
async fn the_answer_to_the_first_agent_stays_as_it_is() {
    let server = TestServer::start().await;
    let hello = json!({
        "agent_version": "0.1.0", "protocol_version": "1.0", "os_type": "linux", "arch": "x86_64",
        "agent_id": "0197f6a0-0000-7000-8000-000000000001",
    });
    let mut answer = server.anonymous().post(PATH, hello).await.expect(200);
    let time = answer["server_time"].take();
    let time: chrono::DateTime<chrono::Utc> = time.as_str().unwrap().parse().unwrap();
    assert!((chrono::Utc::now() - time).num_seconds().abs() < 60, "{time}");
    let golden = json!({
        "server_version": env!("CARGO_PKG_VERSION"),
        "protocol_versions": ["1.0", "1.1"],
        "server_time": null,
        "action": "connect",
        "socket_path": "/api/v1/agent/socket",
    });
    assert_eq!(answer, golden);
}

#[tokio::test]
async fn every_agent_is_told_what_to_do() {
    let server = TestServer::start().await;
    let nobody = server.anonymous();
    for (action, hello) in [
        ("connect", json!({ "protocol_version": "1.0" })),
        ("connect", json!({ "protocol_version": "1.0", "protocol_versions": [] })),
        ("connect", json!({ "protocol_version": "1.0", "protocol_versions": null, "agent_id": null })),
        ("connect", json!({ "protocol_version": "1.7" })),
        ("connect", json!({ "protocol_versions": ["1.0", "2.0"] })),
        ("connect", json!({ "protocol_version": "3.0", "protocol_versions": ["3.0", "x", "1.0"] })),
        ("connect", json!({ "protocol_version": "1.0", "os_type": "plan9", "arch": "vax", "moon": [1] })),
        ("upgrade", json!({ "protocol_version": "0.9" })),
        ("upgrade", json!({})),
        ("upgrade", json!({ "agent_version": "0.0.1", "protocol_version": null, "protocol_versions": null })),
        ("upgrade", json!({ "os_type": "linux", "protocol_versions": [] })),
        ("upgrade", json!({ "protocol_version": "0.9", "protocol_versions": ["0.8", "0.9"] })),
        ("downgrade_required", json!({ "protocol_version": "2.0" })),
        ("downgrade_required", json!({ "protocol_version": "1.7", "protocol_versions": ["1.6", "1.7"] })),
    ] {
        let answer = nobody.post(PATH, hello.clone()).await.expect(200);
        assert_eq!(answer["action"], action, "{hello}");
        assert_eq!(answer["protocol_versions"], json!(["1.0", "1.1"]), "{hello}");
    }
}

#[tokio::test]
async fn a_version_that_cannot_be_read_is_named() {
    let server = TestServer::start().await;
    for hello in [
        json!({ "protocol_version": "" }),
        json!({ "protocol_version": "1" }),
        json!({ "protocol_version": "newest", "protocol_versions": ["1.0"] }),
        json!({ "protocol_versions": ["newest"] }),
    ] {
        let problem = server.anonymous().post(PATH, hello).await.expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(problem["errors"][0]["field"], "protocol_version", "{problem}");
    }
    let no_text = json!({ "protocol_version": 1.0 });
    server.anonymous().post(PATH, no_text).await.expect_problem(422, "VALIDATION_FAILED");
    server.anonymous().post(PATH, Value::Null).await.expect_problem(422, "VALIDATION_FAILED");
}
