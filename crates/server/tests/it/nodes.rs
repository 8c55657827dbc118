//! Several servers on one database: agents on one, people on another. The same tests with both ways between nodes.

use chrono::{TimeDelta, Utc};
use gururmm_protocol::command::{Bytes, OutputChunk, Stream};
use gururmm_protocol::log::LogEnd;
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::update::{UpdateAction, UpdateState};
use gururmm_protocol::{AgentMessage, Decoded, ServerMessage, decode_server_message, encode};
use gururmm_server::bus::Reach;
use gururmm_server::db::NodeFigures;
use gururmm_server::gateway;
use gururmm_server::serve::Peers;
use gururmm_server::updates;
use gururmm_testkit::agent::{hello, sample, updatable};
use gururmm_testkit::world::{PLATFORM_ADMIN, Person, acme};
use gururmm_testkit::{
    NatsServer, Release, Repository, SeededAgent, TestAgent, TestDatabase, TestServer, TestSocket, eventually,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::time::timeout;
use uuid::Uuid;

/// Two servers of one installation.
pub struct Two {
    /// Where people are.
    pub here: TestServer,
    /// Where the machine is.
    pub there: TestServer,
    nats: Option<NatsServer>,
}

impl Two {
    pub async fn in_process() -> Self {
        Self::in_process_publishing(None).await
    }

    pub async fn over_nats() -> Self {
        Self::over_nats_publishing(None).await
    }

    /// With releases of the agent in this folder that only the server here knows of.
    async fn in_process_publishing(dist: Option<&Path>) -> Self {
        let there = TestServer::start().await;
        let other = there.app().clone();
        let here = there
            .start_beside(|options| {
                options.peers = Peers::Beside(other);
                options.node_name = Some("here".into());
                options.dist = dist.map(Path::to_owned);
            })
            .await;
        Self { here, there, nats: None }
    }

    async fn over_nats_publishing(dist: Option<&Path>) -> Self {
        let nats = NatsServer::start().await;
        let peers = Peers::Nats(Box::new(nats.options()));
        let database = TestDatabase::with_world().await;
        let there = TestServer::start_with(database, |options| options.peers = peers.clone()).await;
        let here = there
            .start_beside(|options| {
                options.peers = peers;
                options.node_name = Some("here".into());
                options.dist = dist.map(Path::to_owned);
            })
            .await;
        let two = Self { here, there, nats: Some(nats) };
        two.hear_each_other().await;
        two
    }

    async fn hear_each_other(&self) {
        let mut notes = [self.here.app().bus.notes(), self.there.app().bus.notes()];
        eventually("the servers to hear each other", async || {
            let mut heard = 0;
            for (server, notes) in [&self.there, &self.here].into_iter().zip(&mut notes) {
                server.app().bus.tell(None, Uuid::nil(), "{}".into());
                heard += usize::from(timeout(Duration::from_millis(50), notes.recv()).await.is_ok());
            }
            (heard == 2).then_some(())
        })
        .await;
    }

    async fn machine(&self) -> (SeededAgent, TestAgent) {
        let machine = self.there.seed_agent(&acme::HQ, "web-01").await;
        let agent = TestAgent::connect(&self.there, &machine).await;
        self.sees(&machine, true).await;
        (machine, agent)
    }

    pub async fn sees(&self, machine: &SeededAgent, online: bool) {
        let reader = self.here.client_as(&acme::READER).await;
        eventually("presence to be known", async || {
            let shown = reader.get(&format!("/api/agents/{}", machine.id)).await.expect(200);
            (shown["is_connected"] == online).then_some(())
        })
        .await;
    }
}

macro_rules! on_both {
    ($($name:ident)*) => {
        mod in_process {
            use super::Two;
            $(#[tokio::test] async fn $name() { super::$name(Two::in_process().await).await; })*
        }
        mod nats {
            use super::Two;
            $(#[tokio::test] async fn $name() { super::$name(Two::over_nats().await).await; })*
        }
    };
}

pub(crate) use on_both;

on_both! {
    a_command_reaches_a_machine_of_another_server_and_its_result_comes_back
    a_command_is_cancelled_from_another_server
    what_is_looked_at_on_one_server_is_measured_on_the_other
    what_happens_on_one_server_is_told_to_pages_of_the_other
    a_machine_that_comes_back_to_another_server_leaves_the_first_at_once
    a_copied_key_is_found_out_though_its_machines_are_on_two_servers
    a_key_that_is_taken_away_on_one_server_opens_nothing_on_the_other
    settings_logs_and_removals_reach_a_machine_of_another_server
    a_session_that_is_revoked_on_one_server_ends_on_the_other
}

async fn order(server: &TestServer, machine: &SeededAgent, command: &str) -> Uuid {
    let tech = server.client_as(&acme::TECH).await;
    let order = json!({ "command_type": "shell", "command": command });
    let created = tech.post(&format!("/api/agents/{}/command", machine.id), order).await.expect(200);
    created["command_id"].as_str().unwrap().parse().unwrap()
}

async fn open_page(server: &TestServer, person: &Person) -> TestSocket {
    let client = server.client_as(person).await;
    let ticket = client.post("/api/v1/live/ticket", json!({})).await.expect(200);
    let offered = format!("gururmm.live.v1, ticket.{}", ticket["ticket"].as_str().unwrap());
    let origin = server.app().config.public_url.origin().ascii_serialization();
    let page = server.anonymous().with("origin", &origin).with("sec-websocket-protocol", &offered);
    let mut page = page.upgrade("/api/v1/live").await.unwrap_or_else(|answer| panic!("{answer}"));
    page.expect("hello").await;
    page
}

async fn a_command_reaches_a_machine_of_another_server_and_its_result_comes_back(two: Two) {
    let (machine, mut agent) = two.machine().await;
    let id = order(&two.here, &machine, "hostname").await;
    let mut page = open_page(&two.here, &acme::TECH).await;
    let topic = json!({ "kind": "command_output", "command_id": id });
    page.send_json(&json!({ "op": "subscribe", "sub": 1, "topic": topic })).await;
    let start = agent.expect_command().await;
    assert_eq!(start.command_id.0, id);
    let command_id = start.command_id;
    agent.send(&AgentMessage::CommandStarted { command_id, started_at: Utc::now() }).await;
    // While it runs, and nothing but output changes.
    while page.expect("command").await["command"]["status"] != "running" {}
    let data = Bytes(b"web-01\n".to_vec());
    agent
        .send(&AgentMessage::CommandOutput(OutputChunk { command_id, seq: 1, stream: Stream::Stdout, data }))
        .await;
    assert_eq!(page.expect("output").await["text"], "web-01\n");
    agent.run(&start, "web-01\n", 0).await;
    while page.expect("command").await["command"]["status"] != "completed" {}
    let reader = two.here.client_as(&acme::READER).await;
    let shown = reader.get(&format!("/api/commands/{id}")).await.expect(200);
    assert_eq!((&shown["status"], &shown["stdout"]), (&json!("completed"), &json!("web-01\n")));
}

async fn a_command_is_cancelled_from_another_server(two: Two) {
    let (machine, mut agent) = two.machine().await;
    let id = order(&two.here, &machine, "sleep 600").await;
    let start = agent.expect_command().await;
    let command_id = start.command_id;
    agent.send(&AgentMessage::CommandStarted { command_id, started_at: Utc::now() }).await;
    let tech = two.here.client_as(&acme::TECH).await;
    let cancelling =
        tokio::spawn(async move { tech.post(&format!("/api/commands/{id}/cancel"), json!({})).await });
    let pick = |message| match message {
        ServerMessage::CommandCancel { command_id } => Some(command_id),
        _ => None,
    };
    assert_eq!(agent.expect("cancel", pick).await, command_id);
    let end = gururmm_protocol::command::CommandEnd {
        command_id,
        outcome: gururmm_protocol::command::Outcome::Cancelled,
        exit_code: None,
        error: None,
        error_code: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: false,
        last_seq: 0,
        started_at: Some(Utc::now()),
        ended_at: Utc::now(),
    };
    agent.send(&AgentMessage::CommandEnded(end)).await;
    assert!(cancelling.await.unwrap().status.is_success());
    let reader = two.here.client_as(&acme::READER).await;
    assert_eq!(reader.get(&format!("/api/commands/{id}")).await.expect(200)["status"], "cancelled");
}

async fn expect_live(agent: &mut TestAgent) -> Option<u32> {
    let pick = |message| match message {
        ServerMessage::LiveMetrics { interval_ms } => Some(interval_ms),
        _ => None,
    };
    agent.expect("live metrics", pick).await
}

async fn what_is_looked_at_on_one_server_is_measured_on_the_other(two: Two) {
    let (machine, mut agent) = two.machine().await;
    let mut pages = [open_page(&two.here, &acme::READER).await, open_page(&two.there, &acme::READER).await];
    let topic = json!({ "kind": "agent_metrics", "agent_id": machine.id });
    let subscribe = json!({ "op": "subscribe", "sub": 1, "topic": topic });
    pages[0].send_json(&subscribe).await;
    assert_eq!(expect_live(&mut agent).await, Some(2_000));
    pages[1].send_json(&subscribe).await;
    for page in &mut pages {
        let frame = loop {
            agent.send(&AgentMessage::Metrics { seq: 0, sample: sample() }).await;
            if let Ok(frame) = timeout(Duration::from_millis(200), page.expect("metrics")).await {
                break frame;
            }
        };
        assert_eq!(frame["sample"]["cpu_percent"], 12.5);
    }
    // It moves to the other server while it is looked at from both.
    let mut agent = TestAgent::connect(&two.here, &machine).await;
    assert_eq!(expect_live(&mut agent).await, Some(2_000));
    pages[0].send_json(&json!({ "op": "unsubscribe", "sub": 1 })).await;
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    assert!(
        matches!(agent.next().await, Ok(ServerMessage::HeartbeatAck { .. })),
        "the other page still looks"
    );
    pages[1].send_json(&json!({ "op": "unsubscribe", "sub": 1 })).await;
    assert_eq!(expect_live(&mut agent).await, None);
}

async fn what_happens_on_one_server_is_told_to_pages_of_the_other(two: Two) {
    let machine = two.there.seed_agent(&acme::HQ, "web-01").await;
    let mut page = open_page(&two.here, &acme::READER).await;
    let agent = TestAgent::connect(&two.there, &machine).await;
    while page.expect("invalidate").await["agent_id"] != json!(machine.id) {}
    drop(agent);
    two.sees(&machine, false).await;
}

async fn a_machine_that_comes_back_to_another_server_leaves_the_first_at_once(two: Two) {
    let (machine, mut old) = two.machine().await;
    let mut new = TestAgent::connect(&two.here, &machine).await;
    assert_eq!(goodbye(&mut old.socket).await, GoodbyeReason::Replaced);
    old.socket.closed().await;
    eventually("the first server to forget it", async || {
        (two.there.app().gateway.connected_count() == 0).then_some(())
    })
    .await;
    // What the first one writes of it is old news.
    eventually("its presence to be written", async || {
        let held: (bool, Option<Uuid>) =
            sqlx::query_as("SELECT is_connected, node_id FROM agent_status WHERE agent_id = $1")
                .bind(machine.id)
                .fetch_one(&mut two.there.owner().await)
                .await
                .unwrap();
        assert!(held.0, "it was online all the time");
        (held.1 == Some(two.here.app().bus.node_id())).then_some(())
    })
    .await;
    tokio::time::sleep(two.there.app().gateway.settings().presence_every * 2).await;
    two.sees(&machine, true).await;
    let id = order(&two.there, &machine, "hostname").await;
    let start = new.expect_command().await;
    assert_eq!(start.command_id.0, id);
    new.run(&start, "", 0).await;
}

/// The server's goodbye.
async fn goodbye(socket: &mut TestSocket) -> GoodbyeReason {
    loop {
        let text = socket.next().await.unwrap_or_else(|closed| panic!("{closed:?}"));
        if let Decoded::Known(ServerMessage::Goodbye { reason, .. }) = decode_server_message(&text).unwrap() {
            return reason;
        }
    }
}

async fn say_hello(server: &TestServer, machine: &SeededAgent, started_hours_ago: i64) -> TestSocket {
    let mut socket = TestAgent::open(server, machine).await.unwrap();
    let mut hello = hello(machine, Vec::new());
    hello.system.boot_time = Some(Utc::now() - TimeDelta::hours(started_hours_ago));
    socket.send_text(encode(&AgentMessage::Hello(hello)).unwrap()).await;
    socket
}

async fn a_copied_key_is_found_out_though_its_machines_are_on_two_servers(two: Two) {
    let (machine, mut original) = two.machine().await;
    let copy = SeededAgent {
        hostname: "web-01-copy".into(),
        machine_uid: "uid-of-web-01-copy".into(),
        ..machine.clone()
    };
    let mut newcomer = say_hello(&two.here, &copy, 1).await;
    assert_eq!(goodbye(&mut newcomer).await, GoodbyeReason::Revoked);
    original.send(&AgentMessage::Heartbeat { clock: None }).await;
    assert!(matches!(original.next().await, Ok(ServerMessage::HeartbeatAck { .. })), "the original goes on");
    let told = two.here.client_as(&acme::READER).await.get("/api/v1/alerts?status=open").await.expect(200);
    assert_eq!(told["items"][0]["kind"], "agent.key_copied");
    // The other way round: the copy is there first.
    let second = two.there.seed_agent(&acme::HQ, "web-02").await;
    let copy = SeededAgent { machine_uid: "uid-of-web-02-copy".into(), ..second.clone() };
    let mut first = say_hello(&two.there, &copy, 1).await;
    first.next().await.unwrap();
    two.sees(&second, true).await;
    let mut known = say_hello(&two.here, &second, 5).await;
    assert!(known.next().await.unwrap().contains("welcome"));
    assert_eq!(goodbye(&mut first).await, GoodbyeReason::Revoked);
}

async fn a_key_that_is_taken_away_on_one_server_opens_nothing_on_the_other(two: Two) {
    let (machine, mut agent) = two.machine().await;
    let admin = two.here.client_as(&acme::ADMIN).await;
    admin.post(&format!("/api/v1/agents/{}/retire", machine.id), json!({})).await.expect(200);
    assert_eq!(goodbye(&mut agent.socket).await, GoodbyeReason::Revoked);
    // Whoever says so is not believed: the database is asked.
    let other = two.there.seed_agent(&acme::HQ, "web-02").await;
    let mut agent = TestAgent::connect(&two.there, &other).await;
    gateway::ended(two.there.app(), other.id, GoodbyeReason::Revoked).await.unwrap();
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    assert!(matches!(agent.next().await, Ok(ServerMessage::HeartbeatAck { .. })));
}

async fn settings_logs_and_removals_reach_a_machine_of_another_server(two: Two) {
    let (machine, mut agent) = two.machine().await;
    let admin = two.here.client_as(&acme::ADMIN).await;
    let settings = json!({ "settings": { "metrics_interval_seconds": 300 } });
    admin.put(&format!("/api/v1/policies/site/{}", acme::HQ.id), settings).await.expect(200);
    let pick = |message| match message {
        ServerMessage::ConfigUpdate { config } => Some(config.metrics_interval_seconds),
        _ => None,
    };
    assert_eq!(agent.expect("settings", pick).await, 300);

    let log = admin.post(&format!("/api/v1/agents/{}/logs", machine.id), json!({})).await.expect(202);
    let pick = |message| match message {
        ServerMessage::LogRequest(request) => Some(request.log_id),
        _ => None,
    };
    let log_id = agent.expect("request for the log", pick).await;
    assert_eq!(log["id"], json!(log_id.0));
    let end = LogEnd { log_id, last_seq: 0, total_bytes: 0, lost_lines: 0, error: None };
    agent.send(&AgentMessage::LogEnd(end)).await;
    eventually("the log to have come", async || {
        let log = admin.get(&format!("/api/v1/agent-logs/{}", log_id.0)).await.expect(200);
        (log["log"]["status"] == "complete").then_some(())
    })
    .await;

    let uninstall = format!("/api/v1/agents/{}/uninstall", machine.id);
    admin.post(&uninstall, json!({ "hostname": machine.hostname })).await.expect(202);
    let pick = |message| match message {
        ServerMessage::UninstallOrder(order) => Some(order.uninstall_id),
        _ => None,
    };
    let ordered = agent.expect("order to go", pick).await;
    admin.post(&format!("{uninstall}/cancel"), json!({})).await.expect(200);
    let pick = |message| match message {
        ServerMessage::UninstallCancel { uninstall_id } => Some(uninstall_id),
        _ => None,
    };
    assert_eq!(agent.expect("order to stay", pick).await, ordered);
}

/// A folder with a release that all machines may have.
fn published() -> tempfile::TempDir {
    let dist = tempfile::tempdir().unwrap();
    let release = Release::here("0.2.0", "program").for_system("linux", "x86_64");
    Repository::create(&dist.path().join("updates")).publish(release).write();
    dist
}

#[tokio::test]
async fn updates_are_ordered_across_servers_in_process() {
    let dist = published();
    an_update_that_one_server_orders_goes_its_way_on_the_other(
        Two::in_process_publishing(Some(dist.path())).await,
    )
    .await;
}

#[tokio::test]
async fn updates_are_ordered_across_servers_over_nats() {
    let dist = published();
    an_update_that_one_server_orders_goes_its_way_on_the_other(
        Two::over_nats_publishing(Some(dist.path())).await,
    )
    .await;
}

async fn an_update_that_one_server_orders_goes_its_way_on_the_other(two: Two) {
    let machine = two.there.seed_agent(&acme::HQ, "web-01").await;
    let mut agent = TestAgent::connect_saying(&two.there, &machine, updatable(&machine, "0.1.0", None)).await;
    two.sees(&machine, true).await;
    let mut page = open_page(&two.here, &acme::READER).await;
    let admin = two.here.client_as(&acme::ADMIN).await;
    let newest = async || {
        let updates = admin.get(&format!("/api/v1/agents/{}/updates", machine.id)).await.expect(200);
        updates["items"][0].clone()
    };
    let now = Utc::now();
    two.here.app().updates.releases.look(now).await;
    updates::rollout::keep(two.here.app(), now).await.unwrap();
    let order = agent.expect_update().await;
    assert_eq!((order.version.as_str(), order.action), ("0.2.0", UpdateAction::Install));
    for state in [UpdateState::Downloading, UpdateState::Trying] {
        agent.report_update(order.update_id, "0.2.0", state).await;
        while page.expect("invalidate").await["kind"] != "agent_update" {}
        assert_eq!(newest().await["status"], state.as_str());
    }
    let hello = updatable(&machine, "0.2.0", Some("0.1.0"));
    let mut agent = TestAgent::connect_saying(&two.there, &machine, hello).await;
    agent.report_update(order.update_id, "0.2.0", UpdateState::Confirmed).await;
    assert_eq!(newest().await["status"], "confirmed");
    // The rollout here knows of it, and takes it back.
    let rollout = admin.get("/api/v1/updates/rollouts").await.expect(200)["items"][0].clone();
    let confirmed =
        rollout["rings"].as_array().unwrap().iter().map(|ring| ring["confirmed"].as_i64().unwrap());
    assert_eq!(confirmed.sum::<i64>(), 1, "{rollout}");
    let steps = format!("/api/v1/updates/rollouts/{}/steps", rollout["id"].as_str().unwrap());
    admin.post(&steps, json!({ "action": "roll_back" })).await.expect(200);
    updates::rollout::keep(two.here.app(), now + TimeDelta::minutes(1)).await.unwrap();
    let back = agent.expect_update().await;
    assert_eq!((back.version.as_str(), back.action, back.at_once), ("0.1.0", UpdateAction::RollBack, true));
    agent.report_update(back.update_id, "0.1.0", UpdateState::Trying).await;
    let hello = updatable(&machine, "0.1.0", None);
    let mut agent = TestAgent::connect_saying(&two.there, &machine, hello).await;
    agent.report_update(back.update_id, "0.1.0", UpdateState::Confirmed).await;
    assert_eq!(
        (&newest().await["action"], &newest().await["status"]),
        (&json!("roll_back"), &json!("confirmed"))
    );
}

async fn a_session_that_is_revoked_on_one_server_ends_on_the_other(two: Two) {
    let browser = two.here.browser_as(&acme::TECH).await;
    let ticket = browser.post("/api/v1/live/ticket", json!({})).await.expect(200);
    let offered = format!("gururmm.live.v1, ticket.{}", ticket["ticket"].as_str().unwrap());
    let origin = two.there.app().config.public_url.origin().ascii_serialization();
    let page = two.there.anonymous().with("origin", &origin).with("sec-websocket-protocol", &offered);
    let mut page = page.upgrade("/api/v1/live").await.unwrap_or_else(|answer| panic!("{answer}"));
    page.expect("hello").await;
    assert!(browser.post("/api/auth/logout", json!({})).await.status.is_success());
    assert_eq!(page.closed().await.code, Some(4401));
}

#[tokio::test]
async fn the_agents_of_a_server_that_fell_silent_are_offline_until_it_is_back() {
    let two = Two::in_process().await;
    let (machine, _agent) = two.machine().await;
    let elsewhere = two.there.seed_agent(&acme::HQ, "web-02").await;
    let _elsewhere = TestAgent::connect(&two.here, &elsewhere).await;
    two.sees(&elsewhere, true).await;
    let node_id = two.there.app().bus.node_id();
    let silent = "UPDATE nodes SET last_seen = now() - interval '1 minute' WHERE id = $1";
    sqlx::query(silent).bind(node_id).execute(&mut two.here.owner().await).await.unwrap();
    gateway::give_up_nodes(two.here.app()).await.unwrap();
    two.sees(&elsewhere, true).await;
    let shown = nodes(&two.here).await;
    let lost = shown.iter().find(|node| node["id"] == json!(node_id)).unwrap();
    // It lives, and says so within seconds: then its agents are there again.
    assert!(lost["status"] == "lost" || lost["status"] == "running", "{lost}");
    two.sees(&machine, true).await;
    let events: Vec<String> = sqlx::query_scalar(
        "SELECT topic FROM events WHERE payload->>'id' = $1 AND topic IN ('agent.online', 'agent.offline') ORDER BY id",
    )
    .bind(machine.id.to_string())
    .fetch_all(&mut two.here.owner().await)
    .await
    .unwrap();
    assert_eq!(events, ["agent.online", "agent.offline", "agent.online"]);
    let shown = nodes(&two.here).await;
    let node = shown.iter().find(|node| node["id"] == json!(node_id)).unwrap();
    assert!(node["started_at"] != node["last_seen"], "it was started once: {node}");
}

#[tokio::test]
async fn a_server_that_lives_is_not_taken_for_one_that_starts() {
    let server = TestServer::start().await;
    let (db, node_id) = (&server.app().db, Uuid::now_v7());
    let lives = async || db.node_lives(node_id, "connected", NodeFigures::default()).await.unwrap();
    assert_eq!(lives().await, None, "nobody knows it");
    db.node_started(node_id, "rmm-2", "connected").await.unwrap();
    assert_eq!(lives().await, Some(false));
    let silent = "UPDATE nodes SET last_seen = now() - interval '1 minute' WHERE id = $1";
    sqlx::query(silent).bind(node_id).execute(&mut server.owner().await).await.unwrap();
    gateway::give_up_nodes(server.app()).await.unwrap();
    assert_eq!(lives().await, Some(true), "it was given up");
    assert_eq!(lives().await, Some(false));
    let shown = nodes(&server).await;
    let node = shown.iter().find(|node| node["name"] == "rmm-2").unwrap();
    assert!(node["status"] == "running" && node["started_at"] != node["last_seen"], "{node}");
}

async fn nodes(server: &TestServer) -> Vec<Value> {
    let shown = server.client_as(&PLATFORM_ADMIN).await.get("/api/v1/system/nodes").await.expect(200);
    shown.as_array().unwrap().clone()
}

#[tokio::test]
async fn a_server_that_starts_leaves_the_others_agents_alone_and_shows_who_is_there() {
    let mut two = Two::in_process().await;
    let (machine, _agent) = two.machine().await;
    let left_behind = two.there.seed_agent(&acme::HQ, "web-02").await;
    two.here.stop().await;
    // As a server leaves it that was killed.
    sqlx::query("UPDATE agent_status SET is_connected = true, node_id = (SELECT id FROM nodes WHERE name = 'here') WHERE agent_id = $1")
        .bind(left_behind.id)
        .execute(&mut two.there.owner().await)
        .await
        .unwrap();
    let shown = nodes(&two.there).await;
    assert_eq!(shown.iter().find(|node| node["name"] == "here").unwrap()["status"], "stopped");
    let other = two.there.app().clone();
    two.here
        .restart_with(|options| {
            options.peers = Peers::Beside(other);
            options.node_name = Some("here".into());
        })
        .await;
    two.sees(&machine, true).await;
    two.sees(&left_behind, false).await;
    let shown = nodes(&two.here).await;
    assert_eq!(shown.len(), 2, "its folder makes it the same one as before: {shown:?}");
    let here = shown.iter().find(|node| node["name"] == "here").unwrap();
    assert_eq!(
        json!([here["status"], here["bus"], here["is_this"], here["version"]]),
        json!(["running", "connected", true, env!("CARGO_PKG_VERSION")])
    );
}

#[tokio::test]
async fn while_nats_is_away_servers_work_and_commands_arrive_all_the_same() {
    let mut two = Two::over_nats().await;
    let (machine, mut agent) = two.machine().await;
    if let Some(nats) = &mut two.nats {
        nats.go_away();
    }
    eventually("the server to notice", async || (two.here.app().bus.reach() == Reach::Away).then_some(()))
        .await;
    let ready = two.here.anonymous().get("/ready").await.expect(200);
    assert_eq!(ready, json!({ "status": "ready", "checks": { "database": "ok", "peers": "degraded" } }));
    // On its own server at once, from another one when that looks into the database.
    let own = order(&two.there, &machine, "hostname").await;
    let start = agent.expect_command().await;
    assert_eq!(start.command_id.0, own);
    agent.run(&start, "", 0).await;
    let from_elsewhere = order(&two.here, &machine, "uptime").await;
    let start = agent.expect_command().await;
    assert_eq!(start.command_id.0, from_elsewhere);
    agent.run(&start, "", 0).await;
    let other = two.there.seed_agent(&acme::HQ, "web-02").await;
    let _other = TestAgent::connect(&two.there, &other).await;
    two.sees(&other, true).await;
    if let Some(nats) = &mut two.nats {
        nats.come_back().await;
    }
    eventually("the server to be well again", async || {
        (two.here.app().bus.reach() == Reach::Connected).then_some(())
    })
    .await;
    two.hear_each_other().await;
    let id = order(&two.here, &machine, "hostname").await;
    assert_eq!(agent.expect_command().await.command_id.0, id);
}
