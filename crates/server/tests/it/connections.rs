//! When a machine was connected, and why each session ended.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::AgentMessage;
use gururmm_protocol::to_server::Hello;
use gururmm_testkit::agent::hello;
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually};
use serde_json::Value;
use sqlx::Connection as _;
use uuid::Uuid;

struct Stage {
    server: TestServer,
    machine: SeededAgent,
    tech: ApiClient,
}

impl Stage {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let machine = server.seed_agent(&acme::HQ, "web-01").await;
        let tech = server.client_as(&acme::TECH).await;
        Self { server, machine, tech }
    }

    async fn page(&self, query: &str) -> Value {
        self.tech.get(&format!("/api/v1/agents/{}/connections{query}", self.machine.id)).await.expect(200)
    }

    /// The newest session, once there are so many, and it has ended for a reason or lasts.
    async fn newest(&self, sessions: usize, reason: Option<&str>) -> Value {
        eventually("the session's history", async || {
            let page = self.page("").await;
            let newest = page["items"][0].clone();
            (page["total"] == sessions && newest["reason"].as_str() == reason).then_some(newest)
        })
        .await
    }

    async fn connect(&self, booted: DateTime<Utc>) -> TestAgent {
        let mut said: Hello = hello(&self.machine, Vec::new());
        said.system.boot_time = Some(booted);
        TestAgent::connect_saying(&self.server, &self.machine, said).await
    }
}

fn time(value: &Value) -> DateTime<Utc> {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

#[tokio::test]
async fn every_session_is_remembered_with_why_it_ended() {
    let stage = Stage::new().await;
    let booted = Utc::now() - TimeDelta::hours(3);
    assert_eq!(stage.page("").await["total"], 0);

    let mut agent = stage.connect(booted).await;
    let lasts = stage.newest(1, None).await;
    assert!(lasts["disconnected_at"].is_null() && lasts["restarted_before"].is_null(), "{lasts}");
    assert_eq!(lasts["agent_version"], "0.1.0");
    assert!(lasts["address"].as_str().unwrap().starts_with("127."), "{lasts}");
    agent.send(&AgentMessage::Goodbye {}).await;
    let stopped = stage.newest(1, Some("agent_stopped")).await;
    assert!(time(&stopped["disconnected_at"]) >= time(&stopped["connected_at"]));
    drop(agent);

    // The machine ran on meanwhile, and its line breaks.
    drop(stage.connect(booted).await);
    let broken = stage.newest(2, Some("link_lost")).await;
    assert_eq!(broken["restarted_before"], false, "{broken}");

    // It was restarted, and another session takes the place of the first.
    let _first = stage.connect(Utc::now()).await;
    let restarted = stage.newest(3, None).await;
    assert_eq!(restarted["restarted_before"], true, "{restarted}");
    let _second = stage.connect(Utc::now()).await;
    stage.newest(4, None).await;
    let replaced = eventually("the replaced session's end", async || {
        let page = stage.page("").await;
        (page["items"][1]["reason"] == "replaced").then(|| page["items"][1].clone())
    })
    .await;
    assert_eq!(replaced["number"], restarted["number"]);

    // Page by page, the newest first.
    let first = stage.page("?limit=3").await;
    let next = stage.page(&format!("?limit=3&cursor={}", first["next_cursor"].as_str().unwrap())).await;
    let numbers = |page: &Value| -> Vec<i64> {
        page["items"].as_array().unwrap().iter().map(|item| item["number"].as_i64().unwrap()).collect()
    };
    assert_eq!((numbers(&first).len(), numbers(&next).len(), next["total"].as_i64()), (3, 1, Some(4)));
    assert!([numbers(&first), numbers(&next)].concat().is_sorted_by(|one, other| one > other));
}

#[tokio::test]
async fn what_a_lost_server_left_open_ended_when_the_machine_was_last_heard() {
    let stage = Stage::new().await;
    let (mut owner, lost) = (stage.server.database.owner().await, Uuid::now_v7());
    let heard = Utc::now() - TimeDelta::minutes(5);
    let began = heard - TimeDelta::hours(1);
    for (statement, at) in [
        (
            "UPDATE agent_status SET last_seen = $2, is_connected = true, node_id = $3 WHERE agent_id = $1",
            heard,
        ),
        (
            "INSERT INTO agent_connections (agent_id, tenant_id, epoch, connected_at, agent_version, node_id)
             SELECT id, tenant_id, 0, $2, '0.1.0', $3 FROM agents WHERE id = $1",
            began,
        ),
    ] {
        sqlx::query(statement).bind(stage.machine.id).bind(at).bind(lost).execute(&mut owner).await.unwrap();
    }
    // A node of this id starts again, as a server does on the data folder of the one that was killed.
    stage.server.app().db.node_started(lost, "rmm-2", "alone").await.unwrap();
    let ended = stage.newest(1, Some("server_lost")).await;
    assert!((time(&ended["disconnected_at"]) - heard).abs() < TimeDelta::milliseconds(1), "{ended}");

    // Retention takes what is over, and nothing that lasts.
    let _agent = stage.connect(Utc::now()).await;
    stage.newest(2, None).await;
    sqlx::query("UPDATE agent_connections SET disconnected_at = now() - interval '4 years' WHERE epoch = 0")
        .execute(&mut owner)
        .await
        .unwrap();
    gururmm_server::retention::keep(stage.server.app(), Utc::now()).await.unwrap();
    assert_eq!(stage.page("").await["total"], 1);
    owner.close().await.unwrap();
}
