//! Sessions of released protocol versions, replayed against today's server: an agent that was left alone for years is
//! heard, answered and understood as it was then, and hears nothing that is younger than itself.

use gururmm_testkit::world::acme;
use gururmm_testkit::{TestAgent, TestServer};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden")
}

/// The kinds of messages to agents that a version and those before it know.
fn known_to(version: &str) -> BTreeSet<String> {
    let folders = fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path());
    let known = folders.filter(|folder| folder.file_name().unwrap().to_str().unwrap() <= version);
    let files = known.flat_map(|folder| fs::read_dir(folder.join("to_agent")).unwrap());
    files
        .map(|file| {
            let message: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            message["type"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn recorded_sessions_of_every_version_go_as_they_went() {
    let mut replayed = 0;
    for folder in fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().path()) {
        let version = folder.file_name().unwrap().to_str().unwrap().to_owned();
        for session in fs::read_dir(folder.join("session")).into_iter().flatten() {
            replay(&version, &fs::read_to_string(session.unwrap().path()).unwrap()).await;
            replayed += 1;
        }
    }
    assert!(replayed > 0);
}

async fn replay(version: &str, session: &str) {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "ws-01").await;
    let tech = server.client_as(&acme::TECH).await;
    let known = known_to(version);
    let mut socket = TestAgent::open(&server, &machine).await.unwrap_or_else(|answer| panic!("{answer}"));
    let mut command = String::new();
    for line in session.lines().filter(|line| !line.starts_with('#')) {
        let about = || format!("{version}: {line}");
        match line.split_at(2) {
            ("> ", message) => {
                let message = message.replace("{machine_uid}", &machine.machine_uid);
                socket.send_text(message.replace("{command}", &command)).await;
            }
            ("! ", "order a command") => {
                let order = json!({ "command_type": "shell", "command": "echo hello" });
                let path = format!("/api/agents/{}/command", machine.id);
                let ordered = tech.post(&path, order).await.expect(200);
                command = ordered["command_id"].as_str().unwrap().to_owned();
            }
            ("< ", kind) => loop {
                let heard = socket.next().await.unwrap_or_else(|closed| panic!("{}: {closed:?}", about()));
                let heard: Value = serde_json::from_str(&heard).unwrap();
                let heard = heard["type"].as_str().unwrap();
                assert!(known.contains(heard), "{}: {heard} is younger than the agent", about());
                if heard == kind {
                    break;
                }
            },
            _ => panic!("{}: not understood", about()),
        }
    }
    let ended = tech.get(&format!("/api/commands/{command}")).await.expect(200);
    assert_eq!((&ended["status"], &ended["stdout"]), (&json!("completed"), &json!("hello\n")), "{ended}");
}
