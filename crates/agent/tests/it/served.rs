//! A real agent at the real server: what is published and ordered there, the machine becomes, and what comes of it is
//! told there.

use crate::clock::Clock;
use crate::harness::TestAgent;
use crate::installed::{Installed, agent_as};
use chrono::Utc;
use gururmm_agent::identity::{Identity, Secret};
use gururmm_testkit::world::{self, acme};
use gururmm_testkit::{ApiClient, Release, Repository, SeededAgent, TestDatabase, TestServer};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A trial takes some seconds, and these machines are busy.
const PATIENCE: Duration = Duration::from_secs(90);

struct Served {
    server: TestServer,
    machine: SeededAgent,
    tech: ApiClient,
    repository: Repository,
    installed: Installed,
    _dist: TempDir,
}

impl Served {
    /// A machine whose agent is to become 9.0.0 when somebody says so.
    async fn new() -> Self {
        let dist = tempfile::tempdir().unwrap();
        let mut repository = Repository::create(&dist.path().join("updates"));
        repository.publish(Release::here("9.0.0", agent_as("9.0.0"))).write();
        let folder = dist.path().to_owned();
        let server =
            TestServer::start_with(TestDatabase::with_world().await, |options| options.dist = Some(folder))
                .await;
        let (machine, tech) =
            (server.seed_agent(&acme::HQ, "pc-1").await, server.client_as(&acme::TECH).await);
        let (server_url, key) = (format!("http://{}", server.address()), machine.key.clone());
        let installed = Installed::in_folder(TestAgent::enrolled_as(&Identity {
            agent_id: machine.id.into(),
            agent_key: Secret::new(key),
            server_url,
            site_code: acme::HQ.code.into(),
            enrolled_at: Utc::now(),
            ca_pinned: false,
        }));
        installed.trust(&repository.root_json());
        // Nothing happens by itself: what is shown here is what people order.
        let admin = server.client_as(&acme::ADMIN).await;
        let policy = format!("/api/v1/policies/partner/{}", acme::PARTNER.id);
        admin.put(&policy, json!({ "settings": { "update_enabled": false } })).await.expect(200);
        let served = Self { server, machine, tech, repository, installed, _dist: dist };
        served.check().await;
        served
    }

    async fn update_now(&self) {
        self.tech.post(&format!("/api/agents/{}/update", self.machine.id), json!({})).await.expect(202);
    }

    async fn get(&self, what: &str) -> Value {
        self.tech.get(&format!("/api/v1/agents/{}/{what}", self.machine.id)).await.expect(200)
    }

    /// What stands there when `is_there` says so.
    async fn wait_for(&self, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.get(what).await;
            if is_there(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "{what} is {answer}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn runs(&self, version: &str) -> Value {
        self.wait_for("update-state", |state| state["supported"] == true && state["agent_version"] == version)
            .await
    }

    async fn ends_as(&self, status: &str) -> Value {
        let is_over = |updates: &Value| updates["items"][0]["ended_at"].is_string();
        let newest = self.wait_for("updates", is_over).await["items"][0].clone();
        assert_eq!(newest["status"], status, "{newest}");
        newest
    }

    async fn check(&self) {
        let platform = self.server.client_as(&world::PLATFORM_ADMIN).await;
        let published = platform.post("/api/v1/updates/check", json!({})).await.expect(200);
        assert_eq!(published["refusal"], Value::Null);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_follows_the_servers_orders_there_and_back_and_leaves_a_broken_build() {
    let own = gururmm_agent::version();
    let mut served = Served::new().await;
    let _watchdog = served.installed.start();
    served.runs(own).await;
    served.update_now().await;
    served.ends_as("confirmed").await;
    assert_eq!(served.runs("9.0.0").await["previous_version"], own);

    let back = format!("/api/v1/agents/{}/roll-back", served.machine.id);
    served.tech.post(&back, json!({})).await.expect(202);
    assert_eq!(served.ends_as("confirmed").await["to_version"], own);
    served.runs(own).await;

    served.repository.publish(Release::here("9.0.1", std::fs::read("/bin/false").unwrap())).write();
    served.check().await;
    served.update_now().await;
    let update = served.ends_as("rolled_back").await;
    assert_eq!((&update["to_version"], &update["error_code"]), (&json!("9.0.1"), &json!("DID_NOT_STAY")));
    served.runs(own).await;
}

/// Metadata that is over stops updates and nothing else: here the machine's clock has passed its end.
#[tokio::test(flavor = "multi_thread")]
async fn an_agent_beyond_the_end_of_the_metadata_works_on_and_says_why_it_takes_no_update() {
    let own = gururmm_agent::version();
    let served = Served::new().await;
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::new(folder.path());
    clock.set(400 * 24);
    let _watchdog = served.installed.start_with(|command| clock.hold(command));
    served.runs(own).await;
    served.update_now().await;
    let update = served.ends_as("failed").await;
    assert_eq!(update["error_code"], "METADATA_EXPIRED", "{update}");
    assert!(update["error"].as_str().unwrap().contains("expired"), "{update}");

    // It is the one that was connected before, and does what it is told.
    let order = json!({ "command_type": "shell", "command": "echo still here" });
    let path = format!("/api/agents/{}/command", served.machine.id);
    let command = served.tech.post(&path, order).await.expect(200)["command_id"].as_str().unwrap().to_owned();
    let path = format!("/api/commands/{command}");
    let began = Instant::now();
    loop {
        let command = served.tech.get(&path).await.expect(200);
        if command["status"] == "completed" {
            assert_eq!(command["stdout"], "still here\n");
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{command}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // As soon as its clock is right, it takes the update.
    clock.set(0);
    served.update_now().await;
    served.ends_as("confirmed").await;
    served.runs("9.0.0").await;
}
