//! A machine's agent is told to leave the machine: by whom, how it is followed, and how it ends.

use chrono::{TimeDelta, Utc};
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::uninstall::{REPORT_PATH, UninstallReport, UninstallState};
use gururmm_protocol::{AgentMessage, ServerMessage, UninstallId, Version};
use gururmm_server::agents::keep_uninstall_deadlines;
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually};
use serde_json::{Value, json};

struct Fixture {
    server: TestServer,
    admin: ApiClient,
    machine: SeededAgent,
}

impl Fixture {
    async fn new() -> Self {
        let server = TestServer::start().await;
        let admin = server.client_as(&acme::ADMIN).await;
        let machine = server.seed_agent(&acme::HQ, "pc-7").await;
        Self { server, admin, machine }
    }

    fn path(&self, what: &str) -> String {
        format!("/api/v1/agents/{}/{what}", self.machine.id)
    }

    async fn order(&self) -> UninstallId {
        let ordered =
            self.admin.post(&self.path("uninstall"), json!({ "hostname": "pc-7" })).await.expect(202);
        assert_eq!(ordered["status"], "ordered");
        ordered["id"].as_str().unwrap().parse().unwrap()
    }

    async fn shown(&self) -> Value {
        let path = format!("/api/v1/agents/{}", self.machine.id);
        self.admin.get(&path).await.expect(200)["uninstall"].clone()
    }

    async fn connect(&self) -> TestAgent {
        TestAgent::connect(&self.server, &self.machine).await
    }

    /// What the process says that removes the agent, with the agent's key.
    async fn tell(&self, id: UninstallId, state: UninstallState) -> gururmm_testkit::Answer {
        let report = serde_json::to_value(report(id, state)).unwrap();
        TestAgent::client(&self.server, &self.machine).post(REPORT_PATH, report).await
    }

    async fn actions(&self) -> Vec<String> {
        let entries =
            self.server.client_as(&acme::OWNER).await.get("/api/v1/audit?limit=3").await.expect(200);
        let entries = entries["items"].as_array().unwrap().iter();
        entries.map(|entry| entry["action"].as_str().unwrap().to_owned()).collect()
    }
}

fn report(uninstall_id: UninstallId, state: UninstallState) -> UninstallReport {
    let failed = state == UninstallState::Failed;
    UninstallReport {
        uninstall_id,
        state,
        error_code: failed.then(|| "PACKAGE_MANAGER".to_owned()),
        error: failed.then(|| "dpkg --purge gururmm-agent failed: no space left".to_owned()),
        at: Utc::now(),
    }
}

async fn ordered(agent: &mut TestAgent) -> UninstallId {
    let pick = |message| match message {
        ServerMessage::UninstallOrder(order) => Some(order.uninstall_id),
        _ => None,
    };
    agent.expect("order to uninstall", pick).await
}

/// Says how far it is, and gives the server's answer: whether it goes on.
async fn say(agent: &mut TestAgent, id: UninstallId, state: UninstallState) -> bool {
    agent.send(&AgentMessage::UninstallReport(report(id, state))).await;
    let pick = |message| match message {
        ServerMessage::UninstallReportAck { uninstall_id, state: of } => {
            Some((uninstall_id, of) == (id, state))
        }
        ServerMessage::UninstallCancel { uninstall_id } if uninstall_id == id => Some(false),
        _ => None,
    };
    agent.expect("answer to the report", pick).await
}

fn hello_of(protocols: &[Version], machine: &SeededAgent) -> Hello {
    let mut hello = gururmm_testkit::agent::hello(machine, Vec::new());
    hello.protocols = protocols.to_vec();
    hello
}

#[tokio::test]
async fn an_agent_that_is_there_is_removed_and_its_key_is_dead() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.connect().await;
    let id = fixture.order().await;
    assert_eq!(ordered(&mut agent).await, id);
    assert!(say(&mut agent, id, UninstallState::Uninstalling).await);
    assert_eq!(fixture.shown().await["status"], "uninstalling");
    // Said again, since the acknowledgement may have been lost.
    assert!(say(&mut agent, id, UninstallState::Uninstalling).await);
    // The agent is stopped; another process has its key.
    fixture.tell(id, UninstallState::Uninstalled).await.expect(200);
    let goodbye = |message| match message {
        ServerMessage::Goodbye { reason, .. } => Some(reason),
        _ => None,
    };
    assert_eq!(agent.expect("goodbye", goodbye).await, GoodbyeReason::Revoked);
    let shown = fixture.shown().await;
    assert_eq!((&shown["status"], shown["ended_at"].is_string()), (&json!("uninstalled"), true));
    assert_eq!(shown["ordered_by_name"], json!(acme::ADMIN.name));
    let refused = TestAgent::open(&fixture.server, &fixture.machine).await.err().unwrap();
    assert_eq!(refused.code().unwrap(), "AGENT_KEY_REFUSED");
    let retired = fixture.admin.get("/api/v1/agents?status=retired").await.expect(200);
    assert_eq!(retired["items"][0]["hostname"], "pc-7");
    assert_eq!(fixture.actions().await[..2], ["agent.uninstalled", "agent.uninstall"]);
}

#[tokio::test]
async fn an_order_waits_for_a_machine_that_is_away_and_is_sent_until_it_is_over() {
    let fixture = Fixture::new().await;
    let id = fixture.order().await;
    fixture
        .admin
        .post(&fixture.path("uninstall"), json!({ "hostname": "pc-7" }))
        .await
        .expect_problem(409, "UNINSTALL_UNDER_WAY");
    let mut agent = fixture.connect().await;
    assert_eq!(ordered(&mut agent).await, id);
    drop(agent);
    // Lost on the way: it is said again, also once the machine has begun.
    let mut agent = fixture.connect().await;
    assert_eq!(ordered(&mut agent).await, id);
    assert!(say(&mut agent, id, UninstallState::Uninstalling).await);
    drop(agent);
    let mut agent = fixture.connect().await;
    assert_eq!(ordered(&mut agent).await, id);
    assert!(say(&mut agent, id, UninstallState::Failed).await);
    let shown = fixture.shown().await;
    assert_eq!((&shown["status"], &shown["error_code"]), (&json!("failed"), &json!("PACKAGE_MANAGER")));
    let alerts = fixture.admin.get("/api/v1/alerts?status=open").await.expect(200);
    assert_eq!(
        (&alerts["items"][0]["kind"], &alerts["items"][0]["title"]),
        (&json!("agent.uninstall_failed"), &json!("pc-7 was not uninstalled"))
    );
    // It may be ordered anew, and what then works ends the alert.
    let again = fixture.order().await;
    assert_eq!(ordered(&mut agent).await, again);
    assert!(say(&mut agent, again, UninstallState::Uninstalling).await);
    fixture.tell(again, UninstallState::Uninstalled).await.expect(200);
    let alerts = fixture.admin.get("/api/v1/alerts?status=open").await.expect(200);
    assert_eq!(alerts["total"], 0);
}

#[tokio::test]
async fn an_order_that_was_taken_back_is_never_begun_with() {
    let fixture = Fixture::new().await;
    fixture
        .admin
        .post(&fixture.path("uninstall/cancel"), json!({}))
        .await
        .expect_problem(409, "INVALID_STATE");
    let mut agent = fixture.connect().await;
    let id = fixture.order().await;
    ordered(&mut agent).await;
    let cancelled = fixture.admin.post(&fixture.path("uninstall/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    // Its word crossed the cancelling, or was kept on the machine while it was away.
    assert!(!say(&mut agent, id, UninstallState::Uninstalling).await);
    assert_eq!(fixture.shown().await["status"], "cancelled");
    assert_eq!(fixture.actions().await[..2], ["agent.uninstall_cancel", "agent.uninstall"]);
    // An id nobody ever ordered is void, too.
    assert!(!say(&mut agent, UninstallId::new(), UninstallState::Uninstalling).await);
    // What has begun is not taken back.
    let id = fixture.order().await;
    assert!(say(&mut agent, id, UninstallState::Uninstalling).await);
    fixture
        .admin
        .post(&fixture.path("uninstall/cancel"), json!({}))
        .await
        .expect_problem(409, "INVALID_STATE");
}

#[tokio::test]
async fn a_machine_is_meant_by_its_name_and_its_agent_must_know_how() {
    let fixture = Fixture::new().await;
    let uninstall = fixture.path("uninstall");
    for body in [json!({ "hostname": "pc-8" }), json!({ "hostname": "pc-7", "valid_days": 0 })] {
        fixture.admin.post(&uninstall, body).await.expect_problem(422, "VALIDATION_FAILED");
    }
    let old = [Version { major: 1, minor: 0 }];
    let hello = hello_of(&old, &fixture.machine);
    TestAgent::connect_saying(&fixture.server, &fixture.machine, hello).await;
    let agent = format!("/api/v1/agents/{}", fixture.machine.id);
    eventually("the version", async || {
        let detail = fixture.admin.get(&agent).await.expect(200);
        (detail["agent"]["protocol_version"] == "1.0").then_some(())
    })
    .await;
    fixture.admin.post(&uninstall, json!({ "hostname": "pc-7" })).await.expect_problem(409, "AGENT_TOO_OLD");
    // One that never connected may turn out to be too old.
    let server = &fixture.server;
    let machine = server.seed_agent(&acme::HQ, "pc-8").await;
    let path = format!("/api/v1/agents/{}", machine.id);
    fixture.admin.post(&format!("{path}/uninstall"), json!({ "hostname": "pc-8" })).await.expect(202);
    TestAgent::connect_saying(server, &machine, hello_of(&old, &machine)).await;
    let failed = eventually("the failure", async || {
        let shown = fixture.admin.get(&path).await.expect(200)["uninstall"].clone();
        (shown["status"] == "failed").then_some(shown)
    })
    .await;
    assert_eq!(failed["error_code"], "AGENT_TOO_OLD");
}

#[tokio::test]
async fn a_machine_that_began_and_fell_silent_is_unconfirmed_until_it_says_more() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.connect().await;
    let id = fixture.order().await;
    assert!(say(&mut agent, id, UninstallState::Uninstalling).await);
    agent.socket.close().await;
    let is_connected = || fixture.server.app().gateway.is_connected(fixture.machine.id);
    eventually("absence", async || (!is_connected()).then_some(())).await;
    let list = "/api/v1/agents?status=offline";
    eventually("absence in the lists", async || {
        (fixture.admin.get(list).await.expect(200)["total"] == 1).then_some(())
    })
    .await;
    keep_uninstall_deadlines(fixture.server.app(), Utc::now() + TimeDelta::minutes(59)).await.unwrap();
    assert_eq!(fixture.shown().await["status"], "uninstalling");
    keep_uninstall_deadlines(fixture.server.app(), Utc::now() + TimeDelta::minutes(61)).await.unwrap();
    assert_eq!(fixture.shown().await["status"], "unconfirmed");
    assert_eq!(fixture.actions().await[0], "agent.uninstall_unconfirmed");
    // Its network was away all the time.
    fixture.tell(id, UninstallState::Uninstalled).await.expect(200);
    assert_eq!(fixture.shown().await["status"], "uninstalled");
}

#[tokio::test]
async fn a_machine_that_is_still_there_an_hour_later_was_not_uninstalled() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.connect().await;
    let id = fixture.order().await;
    assert!(say(&mut agent, id, UninstallState::Uninstalling).await);
    let list = "/api/v1/agents?status=online";
    eventually("presence", async || (fixture.admin.get(list).await.expect(200)["total"] == 1).then_some(()))
        .await;
    keep_uninstall_deadlines(fixture.server.app(), Utc::now() + TimeDelta::minutes(61)).await.unwrap();
    let shown = fixture.shown().await;
    assert_eq!((&shown["status"], &shown["error_code"]), (&json!("failed"), &json!("STILL_THERE")));
}

#[tokio::test]
async fn an_order_ends_with_its_time_and_with_its_record() {
    let fixture = Fixture::new().await;
    fixture.order().await;
    keep_uninstall_deadlines(fixture.server.app(), Utc::now() + TimeDelta::days(29)).await.unwrap();
    assert_eq!(fixture.shown().await["status"], "ordered");
    keep_uninstall_deadlines(fixture.server.app(), Utc::now() + TimeDelta::days(31)).await.unwrap();
    assert_eq!(fixture.shown().await["status"], "expired");
    // A machine that is brought back one day is not uninstalled by what was ordered before.
    fixture.order().await;
    fixture.admin.post(&fixture.path("retire"), json!({})).await.expect(200);
    assert_eq!(fixture.shown().await["status"], "cancelled");
    fixture
        .admin
        .post(&fixture.path("uninstall"), json!({ "hostname": "pc-7" }))
        .await
        .expect_problem(409, "AGENT_NOT_ACTIVE");
    fixture.admin.post(&fixture.path("restore"), json!({})).await.expect(200);
    // Nor is another machine that goes on under the record.
    fixture.order().await;
    let other = fixture.server.seed_agent(&acme::HQ, "pc-7b").await;
    let body = json!({ "merged_id": other.id, "key": "merged" });
    fixture.admin.post(&fixture.path("merge"), body).await.expect(200);
    assert_eq!(fixture.shown().await["status"], "cancelled");
}

#[tokio::test]
async fn one_agent_says_nothing_of_anothers_removal() {
    let fixture = Fixture::new().await;
    let mut agent = fixture.connect().await;
    let id = fixture.order().await;
    let other = fixture.server.seed_agent(&acme::HQ, "pc-8").await;
    let mut stranger = TestAgent::connect(&fixture.server, &other).await;
    assert!(!say(&mut stranger, id, UninstallState::Uninstalling).await);
    let told = serde_json::to_value(report(id, UninstallState::Uninstalled)).unwrap();
    TestAgent::client(&fixture.server, &other).post(REPORT_PATH, told.clone()).await.expect(200);
    assert_eq!(fixture.shown().await["status"], "ordered");
    fixture.server.anonymous().post(REPORT_PATH, told).await.expect_problem(401, "AGENT_KEY_REFUSED");
    // Nor is an end believed that had no beginning.
    fixture.tell(id, UninstallState::Uninstalled).await.expect(200);
    assert_eq!(fixture.shown().await["status"], "ordered");
    assert_eq!(ordered(&mut agent).await, id);
}
