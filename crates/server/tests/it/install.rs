//! Getting the agent onto machines: what is downloaded, and what installers say when they fail.

use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{TestDatabase, TestServer};
use serde_json::json;
use sha2::{Digest as _, Sha256};

const BINARY: &[u8] = b"\x7fELF not really, but every byte of it counts";

/// A server with an agent to hand out.
async fn with_binary() -> (TestServer, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gururmm-agent");
    std::fs::write(&path, BINARY).unwrap();
    let database = TestDatabase::with_world().await;
    (TestServer::start_with(database, |options| options.agent_binary = Some(path)).await, folder)
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[tokio::test]
async fn the_installer_checks_the_very_binary_that_is_handed_out() {
    let (server, _folder) = with_binary().await;
    let binary = server.anonymous().get("/install/agent/linux-x86_64").await;
    assert_eq!((binary.status.as_u16(), binary.body.as_ref()), (200, BINARY));
    assert_eq!(binary.header("content-length"), Some(BINARY.len().to_string().as_str()));
    assert_eq!(binary.header("content-type"), Some("application/octet-stream"));
    assert_eq!(binary.header("x-content-type-options"), Some("nosniff"));

    let script = server.anonymous().get("/install/linux.sh").await;
    assert_eq!((script.status.as_u16(), script.header("content-type")), (200, Some("text/x-shellscript")));
    assert!(script.text().starts_with("#!/bin/sh"));
    assert!(script.text().contains(&sha256(BINARY)), "{script}");
}

#[tokio::test]
async fn the_command_of_a_new_key_checks_the_very_installer_that_is_handed_out() {
    let (server, _folder) = with_binary().await;
    let script = server.anonymous().get("/install/linux.sh").await.text();
    let admin = server.client_as(&acme::ADMIN).await;
    let path = format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id);
    let minted = admin.post(&path, json!({ "expires_in_hours": 1 })).await.expect(201);
    let (command, secret) =
        (minted["install"]["linux"].as_str().unwrap(), minted["secret"].as_str().unwrap());
    assert!(minted["install"]["reason"].is_null(), "{minted}");
    assert!(command.contains(&sha256(script.as_bytes())), "{command}");
    assert!(command.contains(&format!("--site {}", acme::HQ.code)), "{command}");
    // By standard input: an argument is in the process list.
    assert!(command.starts_with(&format!("printf '%s\\n' '{secret}' | ")), "{command}");
    assert_eq!(command.matches(secret).count(), 1, "{command}");
    assert_eq!(admin.get("/api/v1/server").await.expect(200)["agent_available"], true);
}

#[tokio::test]
async fn without_an_agent_to_hand_out_there_is_a_reason_and_no_command() {
    let server = TestServer::start().await;
    for path in ["/install/linux.sh", "/install/agent/linux-x86_64"] {
        let problem = server.anonymous().get(path).await.expect_problem(404, "NOT_FOUND");
        assert!(problem["detail"].as_str().unwrap().contains("--agent-binary"), "{problem}");
    }
    let admin = server.client_as(&acme::ADMIN).await;
    let path = format!("/api/v1/sites/{}/enrollment-keys", acme::HQ.id);
    let minted = admin.post(&path, json!({ "expires_in_hours": 1 })).await.expect(201);
    assert!(minted["install"]["linux"].is_null(), "{minted}");
    assert!(minted["install"]["reason"].as_str().unwrap().contains("--agent-binary"), "{minted}");
    assert_eq!(admin.get("/api/v1/server").await.expect(200)["agent_available"], false);
}

#[tokio::test]
async fn an_installers_report_stands_beside_its_site() {
    let server = TestServer::start().await;
    let report = |site_code: &str, stage: &str| {
        json!({ "site_code": site_code, "stage": stage, "error": "no space left\u{0}on device", "hostname": "pc-7",
                "os_type": "linux" })
    };
    let machine = server.anonymous();
    for stage in ["download", "install"] {
        machine.post("/api/install-reports", report(acme::HQ.code, stage)).await.expect(202);
    }
    // Nobody learns which sites there are.
    for unknown in ["NOSUCHST", "", "'; DROP TABLE sites; --"] {
        machine.post("/api/install-reports", report(unknown, "install")).await.expect(202);
    }
    machine
        .post("/api/install-reports", report(acme::HQ.code, " "))
        .await
        .expect_problem(422, "VALIDATION_FAILED");

    let path = format!("/api/v1/sites/{}/install-reports", acme::HQ.id);
    let reports = server.client_as(&acme::READER).await.get(&path).await.expect(200);
    let stages: Vec<_> = reports["items"].as_array().unwrap().iter().map(|report| &report["stage"]).collect();
    assert_eq!(stages, ["install", "download"], "newest first, and none of the unknown sites'");
    let newest = &reports["items"][0];
    assert_eq!((&newest["error"], &newest["hostname"]), (&json!("no space lefton device"), &json!("pc-7")));
    assert!(newest["ip"].as_str().unwrap().starts_with("127."), "{newest}");
    server.client_as(&globex::OWNER).await.get(&path).await.expect_problem(404, "NOT_FOUND");
    server.client_as(&acme::BETA_TECH).await.get(&path).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn reports_are_limited_by_address_and_by_site() {
    let server = TestServer::start().await;
    let body = json!({ "site_code": acme::HQ.code, "stage": "install", "error": "again" });
    let one = server.anonymous();
    let mut refused = 0;
    for _ in 0..200 {
        let answer = one.post("/api/install-reports", body.clone()).await;
        match answer.status.as_u16() {
            202 => {}
            429 => refused += 1,
            _ => panic!("{answer}"),
        }
    }
    assert!(refused > 0, "one address is never refused");
    for _ in 0..200 {
        server.anonymous().post("/api/install-reports", body.clone()).await.expect(202);
    }
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM install_reports")
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap();
    assert!(kept < 200, "{kept} of 400 were kept");
}
