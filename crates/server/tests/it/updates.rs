//! Updates of the agents: what is published and handed out, what is ordered, and what comes of it.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::SUPPORTED;
use gururmm_protocol::UpdateId;
use gururmm_protocol::update::{METADATA_PATH, TARGETS_PATH, UpdateAction, UpdateState};
use gururmm_server::updates;
use gururmm_testkit::agent::{hello, updatable};
use gururmm_testkit::world::{self, acme, globex};
use gururmm_testkit::{
    ApiClient, Release, Repository, SeededAgent, TestAgent, TestDatabase, TestServer, eventually,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tough::schema::RoleType;

struct Stage {
    server: TestServer,
    machine: SeededAgent,
    tech: ApiClient,
    repository: Repository,
    dist: TempDir,
}

/// A server that publishes 0.2.0 for the machines of the world, which run 0.1.0.
async fn stage() -> Stage {
    let dist = tempfile::tempdir().unwrap();
    let mut repository = Repository::create(&dist.path().join("updates"));
    repository.publish(release("0.2.0")).write();
    let folder = dist.path().to_owned();
    let server =
        TestServer::start_with(TestDatabase::with_world().await, |options| options.dist = Some(folder)).await;
    server.app().updates.releases.look(Utc::now()).await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let tech = server.client_as(&acme::TECH).await;
    Stage { server, machine, tech, repository, dist }
}

fn release(version: &str) -> Release {
    Release::here(version, format!("program {version}")).for_system("linux", "x86_64")
}

impl Stage {
    /// Connects, and waits until a round of the rollouts has seen it.
    async fn connect(&self, version: &str, previous: Option<&str>) -> TestAgent {
        let agent = self.connect_only(version, previous).await;
        self.machine_is(version).await;
        self.round(Utc::now()).await;
        agent
    }

    async fn machine_is(&self, version: &str) {
        let path = format!("/api/agents/{}", self.machine.id);
        eventually("the machine", async || {
            let agent = self.tech.get(&path).await.expect(200);
            (agent["is_connected"] == true && agent["agent_version"] == version).then_some(())
        })
        .await;
    }

    async fn round(&self, now: DateTime<Utc>) {
        updates::rollout::keep(self.server.app(), now).await.unwrap();
    }

    async fn connect_only(&self, version: &str, previous: Option<&str>) -> TestAgent {
        TestAgent::connect_saying(&self.server, &self.machine, updatable(&self.machine, version, previous))
            .await
    }

    async fn set_policy(&self, settings: Value) {
        let admin = self.server.client_as(&acme::ADMIN).await;
        let path = format!("/api/v1/policies/partner/{}", acme::PARTNER.id);
        admin.put(&path, json!({ "settings": settings })).await.expect(200);
    }

    async fn look(&self) -> Value {
        self.server.app().updates.releases.look(Utc::now()).await;
        self.tech.get("/api/v1/updates/releases").await.expect(200)
    }

    fn path(&self, what: &str) -> String {
        format!("/api/v1/agents/{}/{what}", self.machine.id)
    }

    fn force(&self) -> String {
        format!("/api/agents/{}/update", self.machine.id)
    }

    /// The newest update of the machine.
    async fn newest(&self) -> Value {
        self.tech.get(&self.path("updates")).await.expect(200)["items"][0].clone()
    }

    async fn total(&self) -> Value {
        self.tech.get(&self.path("updates")).await.expect(200)["total"].clone()
    }
}

/// Nothing is ordered any more: what the server says next is the answer to this.
async fn hears_no_order(agent: &mut TestAgent) {
    use gururmm_protocol::{AgentMessage, ServerMessage};
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    loop {
        match agent.next().await.unwrap() {
            ServerMessage::UpdateOrder(order) => panic!("ordered: {order:?}"),
            ServerMessage::HeartbeatAck { .. } => return,
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_machine_is_ordered_the_newest_version_at_its_hello_and_says_what_comes_of_it() {
    let stage = stage().await;
    let mut agent = stage.connect("0.1.0", None).await;
    let order = agent.expect_update().await;
    assert_eq!(
        (order.version.as_str(), order.channel.as_str(), order.action),
        ("0.2.0", "stable", UpdateAction::Install)
    );
    assert!(!order.at_once && order.valid_until > Utc::now());
    let update = stage.newest().await;
    assert_eq!(
        (&update["status"], &update["origin"], &update["from_version"]),
        (&json!("ordered"), &json!("rollout"), &json!("0.1.0"))
    );

    for state in [UpdateState::Downloading, UpdateState::Ready, UpdateState::Trying] {
        agent.report_update(order.update_id, "0.2.0", state).await;
        assert_eq!(stage.newest().await["status"], state.as_str());
    }
    drop(agent);
    let mut agent = stage.connect("0.2.0", Some("0.1.0")).await;
    // Said late, and twice.
    agent.report_update(order.update_id, "0.2.0", UpdateState::Ready).await;
    agent.report_update(order.update_id, "0.2.0", UpdateState::Confirmed).await;
    agent.report_update(order.update_id, "0.2.0", UpdateState::Confirmed).await;
    hears_no_order(&mut agent).await;
    let update = stage.newest().await;
    assert_eq!((&update["status"], update["ended_at"].is_string()), (&json!("confirmed"), true));
    assert_eq!(stage.total().await, 1);
    let state = stage.tech.get(&stage.path("update-state")).await.expect(200);
    assert_eq!(
        state,
        json!({ "agent_version": "0.2.0", "supported": true, "reason": null, "previous_version": "0.1.0",
                "available_version": null, "channel": "stable", "open": null })
    );
}

#[tokio::test]
async fn an_order_that_was_missed_is_sent_again_at_every_hello() {
    let stage = stage().await;
    let first = stage.connect("0.1.0", None).await.expect_update().await;
    let mut agent = stage.connect("0.1.0", None).await;
    assert_eq!(agent.expect_update().await.update_id, first.update_id);
    agent.report_update(first.update_id, "0.2.0", UpdateState::Downloading).await;
    let mut agent = stage.connect("0.1.0", None).await;
    assert_eq!(agent.expect_update().await.update_id, first.update_id);
    // On trial, the agent says by itself what came of it.
    agent.report_update(first.update_id, "0.2.0", UpdateState::Trying).await;
    let mut agent = stage.connect("0.2.0", None).await;
    hears_no_order(&mut agent).await;
    assert_eq!(stage.total().await, 1);
}

#[tokio::test]
async fn an_agent_of_protocol_1_0_hears_nothing_of_updates() {
    let stage = stage().await;
    let old = gururmm_protocol::to_server::Hello {
        protocols: SUPPORTED[..1].to_vec(),
        ..hello(&stage.machine, Vec::new())
    };
    let mut agent = TestAgent::connect_saying(&stage.server, &stage.machine, old).await;
    hears_no_order(&mut agent).await;
    stage.tech.post(&stage.force(), json!({})).await.expect_problem(409, "UPDATE_UNSUPPORTED");
    hears_no_order(&mut agent).await;
    assert_eq!(stage.total().await, 0);
}

#[tokio::test]
async fn policy_decides_whether_what_and_when() {
    let mut stage = stage().await;
    stage.set_policy(json!({ "update_enabled": false })).await;
    hears_no_order(&mut stage.connect("0.1.0", None).await).await;
    stage.set_policy(json!({ "update_enabled": true, "update_defer_hours": 2 })).await;
    hears_no_order(&mut stage.connect("0.1.0", None).await).await;
    let today = Utc::now().format("%a").to_string().to_lowercase();
    let other_day = if today == "mon" { "wed" } else { "mon" };
    let tomorrow_or_yesterday = (Utc::now() - TimeDelta::days(1)).format("%a").to_string().to_lowercase();
    let closed = if other_day == tomorrow_or_yesterday { "thu" } else { other_day };
    let closed = if closed == today { "sat" } else { closed };
    let window = json!({ "days": [closed], "from": "10:00", "to": "10:01" });
    stage.set_policy(json!({ "update_defer_hours": null, "update_window": window })).await;
    hears_no_order(&mut stage.connect("0.1.0", None).await).await;
    assert_eq!(stage.total().await, 0);

    stage.repository.publish(release("0.3.0").in_channels(&["beta"])).write();
    stage.look().await;
    stage.set_policy(json!({ "update_window": null, "update_channel": "beta" })).await;
    let order = stage.connect("0.1.0", None).await.expect_update().await;
    assert_eq!((order.version.as_str(), order.channel.as_str()), ("0.3.0", "beta"));
    // What was ordered and is not wanted any more is taken back.
    stage.set_policy(json!({ "update_channel": null })).await;
    let order = stage.connect("0.1.0", None).await.expect_update().await;
    assert_eq!((order.version.as_str(), order.channel.as_str()), ("0.2.0", "stable"));
    stage.set_policy(json!({ "update_enabled": false })).await;
    hears_no_order(&mut stage.connect("0.1.0", None).await).await;
    let statuses = stage.tech.get(&stage.path("updates")).await.expect(200)["items"].clone();
    assert_eq!(
        (&statuses[0]["status"], &statuses[1]["status"]),
        (&json!("superseded"), &json!("superseded"))
    );
}

#[tokio::test]
async fn a_window_that_is_none_is_refused() {
    let stage = stage().await;
    let admin = stage.server.client_as(&acme::ADMIN).await;
    let path = format!("/api/v1/policies/partner/{}", acme::PARTNER.id);
    for (field, value) in [
        ("update_window", json!({ "days": ["mon"], "from": "22:00", "to": "5:00" })),
        (
            "update_window",
            json!({ "days": ["mon"], "from": "22:00", "to": "05:00", "time_zone": "Mars/Olympus" }),
        ),
        ("update_channel", json!("nightly")),
    ] {
        let problem = admin
            .put(&path, json!({ "settings": { field: value } }))
            .await
            .expect_problem(422, "VALIDATION_FAILED");
        assert_eq!(problem["errors"][0]["field"], format!("settings.{field}"));
    }
}

#[tokio::test]
async fn update_now_asks_no_window_and_only_one_is_under_way() {
    let stage = stage().await;
    stage.set_policy(json!({ "update_enabled": false, "update_defer_hours": 100 })).await;
    let mut agent = stage.connect("0.1.0", None).await;
    hears_no_order(&mut agent).await;
    let ordered = stage.tech.post(&stage.force(), json!({})).await.expect(202);
    assert_eq!(ordered["status"], "ordered");
    let order = agent.expect_update().await;
    assert_eq!(ordered["update_id"], json!(order.update_id));
    stage.tech.post(&stage.force(), json!({})).await.expect_problem(409, "UPDATE_UNDER_WAY");
    agent.report_update(order.update_id, "0.2.0", UpdateState::Failed).await;
    assert_eq!(stage.newest().await["ordered_by_name"], acme::TECH.name);
    // It may be tried again at once, though nothing orders it by itself for a while.
    stage.set_policy(json!({ "update_enabled": null, "update_defer_hours": null })).await;
    let mut agent = stage.connect("0.1.0", None).await;
    hears_no_order(&mut agent).await;
    stage.tech.post(&stage.force(), json!({})).await.expect(202);
    agent.expect_update().await;
    drop(agent);
    let _current = stage.connect("0.2.0", None).await;
    let other = stage.server.client_as(&globex::TECH).await;
    other.post(&stage.force(), json!({})).await.expect_problem(404, "NOT_FOUND");
    other.get(&stage.path("updates")).await.expect_problem(404, "NOT_FOUND");
}

#[tokio::test]
async fn there_is_nothing_to_order_for_who_runs_the_newest() {
    let stage = stage().await;
    let mut agent = stage.connect("0.2.0", None).await;
    hears_no_order(&mut agent).await;
    stage.tech.post(&stage.force(), json!({})).await.expect_problem(409, "NO_UPDATE_PUBLISHED");
    stage.tech.post(&stage.path("roll-back"), json!({})).await.expect_problem(409, "NO_PREVIOUS_VERSION");
}

#[tokio::test]
async fn a_person_sends_a_machine_back_and_it_is_not_sent_forward_again() {
    let stage = stage().await;
    let mut agent = stage.connect("0.2.0", Some("0.1.0")).await;
    hears_no_order(&mut agent).await;
    stage.tech.post(&stage.path("roll-back"), json!({})).await.expect(202);
    let order = agent.expect_update().await;
    assert_eq!((order.action, order.version.as_str()), (UpdateAction::RollBack, "0.1.0"));
    agent.report_update(order.update_id, "0.1.0", UpdateState::Trying).await;
    let mut agent = stage.connect("0.1.0", None).await;
    agent.report_update(order.update_id, "0.1.0", UpdateState::Confirmed).await;
    let mut agent = stage.connect("0.1.0", None).await;
    hears_no_order(&mut agent).await;
    assert_eq!(stage.newest().await["status"], "confirmed");
}

#[tokio::test]
async fn what_an_agent_did_by_itself_is_recorded_and_another_agents_update_is_not_touched() {
    let stage = stage().await;
    let mut agent = stage.connect("0.2.0", None).await;
    let own = UpdateId::new();
    agent.report_update(own, "0.1.0", UpdateState::Trying).await;
    let update = stage.newest().await;
    assert_eq!(
        (&update["origin"], &update["action"], &update["status"], &update["from_version"]),
        (&json!("machine"), &json!("roll_back"), &json!("trying"), &json!("0.2.0"))
    );
    agent.report_update(own, "0.1.0", UpdateState::Confirmed).await;
    assert_eq!(stage.newest().await["status"], "confirmed");

    let other = stage.server.seed_agent(&globex::HQ, "other-01").await;
    let mut other = TestAgent::connect_saying(&stage.server, &other, updatable(&other, "0.2.0", None)).await;
    other.report_update(own, "0.1.0", UpdateState::RolledBack).await;
    assert_eq!(stage.newest().await["status"], "confirmed");
}

#[tokio::test]
async fn every_waiting_state_ends_by_itself() {
    let stage = stage().await;
    let mut agent = stage.connect("0.1.0", None).await;
    let order = agent.expect_update().await;
    for (state, after) in [(None, TimeDelta::hours(24)), (Some(UpdateState::Trying), TimeDelta::hours(25))] {
        if let Some(state) = state {
            stage.tech.post(&stage.force(), json!({})).await.expect(202);
            let order = agent.expect_update().await;
            agent.report_update(order.update_id, "0.2.0", state).await;
        }
        let waiting = stage.newest().await["status"].clone();
        updates::deadlines::keep(stage.server.app(), Utc::now() + TimeDelta::minutes(30)).await.unwrap();
        assert_eq!(stage.newest().await["status"], waiting, "too early");
        updates::deadlines::keep(stage.server.app(), Utc::now() + after + TimeDelta::seconds(1))
            .await
            .unwrap();
        assert_eq!(stage.newest().await["status"], "expired");
    }
    // A machine that was away tells the end of it all the same.
    let last: UpdateId = stage.newest().await["id"].as_str().unwrap().parse().unwrap();
    assert_ne!(last, order.update_id);
    agent.report_update(last, "0.2.0", UpdateState::RolledBack).await;
    let update = stage.newest().await;
    assert_eq!((&update["status"], &update["error_code"]), (&json!("rolled_back"), &json!("DID_NOT_STAY")));
    hears_no_order(&mut stage.connect("0.1.0", None).await).await;
}

#[tokio::test]
async fn metadata_and_programs_are_for_agents_with_their_own_key() {
    let stage = stage().await;
    let entry = stage.repository.entries.values().next().unwrap().clone();
    let name = format!("{}.{}", entry.sha256, stage.repository.entries.keys().next().unwrap());
    let agent = TestAgent::client(&stage.server, &stage.machine);
    let program = agent.get(&format!("{TARGETS_PATH}{name}")).await;
    assert_eq!((program.status.as_u16(), &program.body[..]), (200, &entry.bytes[..]));
    for name in ["1.root.json", "2.targets.json", "2.snapshot.json", "timestamp.json"] {
        let answer = agent.get(&format!("{METADATA_PATH}{name}")).await;
        assert_eq!(answer.expect(200)["signed"]["spec_version"], "1.0.0", "{name}");
    }
    for unknown in [
        "2.root.json",
        "1.targets.json",
        "root.json",
        "..%2Ftargets%2Fx",
        "%2Fetc%2Fpasswd",
        "..%2F..%2Fkeys",
    ] {
        agent.get(&format!("{METADATA_PATH}{unknown}")).await.expect_problem(404, "NOT_FOUND");
        agent.get(&format!("{TARGETS_PATH}{unknown}")).await.expect_problem(404, "NOT_FOUND");
    }
    for path in [format!("{METADATA_PATH}timestamp.json"), format!("{TARGETS_PATH}{name}")] {
        stage.server.anonymous().get(&path).await.expect_problem(401, "AGENT_KEY_REFUSED");
        stage.tech.get(&path).await.expect_problem(401, "AGENT_KEY_REFUSED");
        agent
            .clone()
            .with("origin", "https://example.com")
            .get(&path)
            .await
            .expect_problem(403, "ORIGIN_REFUSED");
    }
}

#[tokio::test]
async fn a_repository_that_is_refused_leaves_the_last_good_one() {
    let mut stage = stage().await;
    let good = stage.look().await;
    assert_eq!(
        (&good["releases"][0]["version"], good["roles"].as_array().unwrap().len()),
        (&json!("0.2.0"), 4)
    );
    assert_eq!(good["refusal"], Value::Null);
    stage.repository.publish(release("6.6.6")).forge(RoleType::Targets).write();
    let refused = stage.look().await;
    assert_eq!((&refused["releases"], refused["refusal"]["reason"].is_string()), (&good["releases"], true));
    let agent = TestAgent::client(&stage.server, &stage.machine);
    agent.get(&format!("{METADATA_PATH}2.targets.json")).await.expect(200);
    agent.get(&format!("{METADATA_PATH}3.targets.json")).await.expect_problem(404, "NOT_FOUND");
    assert_eq!(stage.connect("0.1.0", None).await.expect_update().await.version, "0.2.0");
}

#[tokio::test]
async fn a_repository_with_other_keys_is_not_taken_after_a_restart_either() {
    let mut stage = stage().await;
    let folder = stage.dist.path().join("updates");
    std::fs::remove_dir_all(&folder).unwrap();
    Repository::create(&folder).publish(release("6.6.6")).write();
    let dist = stage.dist.path().to_owned();
    let refused = stage.look().await;
    assert!(refused["refusal"]["reason"].is_string(), "{refused}");
    stage.server.restart_with(|options| options.dist = Some(dist)).await;
    stage.tech = stage.server.client_as(&acme::TECH).await;
    let refused = stage.look().await;
    assert_eq!((&refused["releases"], refused["refusal"]["reason"].is_string()), (&json!([]), true));
}

#[tokio::test]
async fn expired_metadata_orders_nothing() {
    let mut stage = stage().await;
    stage.repository.timestamp.expires = Utc::now() + TimeDelta::seconds(1);
    stage.repository.raise_versions().write();
    stage.look().await;
    eventually("the end of the timestamp", async || {
        let published = stage.tech.get("/api/v1/updates/releases").await.expect(200);
        (published["is_expired"] == true).then_some(())
    })
    .await;
    let mut agent = stage.connect("0.1.0", None).await;
    hears_no_order(&mut agent).await;
    stage.tech.post(&stage.force(), json!({})).await.expect_problem(409, "NO_UPDATE_PUBLISHED");
}

#[tokio::test]
async fn a_hello_of_an_agent_that_is_too_old_names_the_newest_stable_version_to_anyone() {
    let stage = stage().await;
    let ask = async |os: &str| {
        let hello = json!({ "agent_version": "0.0.9", "protocol_version": "0.9", "os_type": os, "arch": "x86_64",
                            "agent_id": stage.machine.id });
        stage.server.anonymous().post("/api/v1/bootstrap/hello", hello).await.expect(200)
    };
    let answer = ask("linux").await;
    assert_eq!((&answer["action"], &answer["update"]["version"]), (&json!("upgrade"), &json!("0.2.0")));
    assert_eq!(ask("windows").await["update"], Value::Null);
    // Nothing is known of it until the agent says so by its own key.
    assert_eq!(stage.total().await, 0);
}

#[tokio::test]
async fn the_platform_looks_at_the_folder_when_it_wants() {
    let mut stage = stage().await;
    stage.repository.publish(release("0.3.0")).write();
    let platform = stage.server.client_as(&world::PLATFORM_ADMIN).await;
    let published = platform.post("/api/v1/updates/check", json!({})).await.expect(200);
    assert_eq!(published["releases"][0]["version"], "0.3.0");
}

#[tokio::test]
async fn a_protocol_version_is_retired_when_its_fleet_is_zero() {
    let stage = stage().await;
    let platform = stage.server.client_as(&world::PLATFORM_ADMIN).await;
    let old = gururmm_protocol::to_server::Hello {
        protocols: SUPPORTED[..1].to_vec(),
        ..hello(&stage.machine, Vec::new())
    };
    let agent = TestAgent::connect_saying(&stage.server, &stage.machine, old.clone()).await;
    stage.machine_is("0.1.0").await;
    let versions = stage.tech.get("/api/v1/updates/versions").await.expect(200);
    assert_eq!((&versions[0]["protocol_version"], &versions[0]["agents"]), (&json!("1.0"), &json!(1)));
    let retire = "/api/v1/updates/protocols/1.0/retire";
    platform.post(retire, json!({})).await.expect_problem(409, "PROTOCOL_IN_USE");
    platform
        .post("/api/v1/updates/protocols/1.1/retire", json!({}))
        .await
        .expect_problem(409, "PROTOCOL_IN_USE");
    platform.post("/api/v1/updates/protocols/7.0/retire", json!({})).await.expect_problem(404, "NOT_FOUND");
    drop(agent);
    let _new = stage.connect("0.2.0", None).await;
    let protocols = platform.post(retire, json!({})).await.expect(200);
    assert_eq!((&protocols[0]["version"], protocols[0]["retired_at"].is_string()), (&json!("1.0"), true));

    let ask = json!({ "agent_version": "0.1.0", "protocol_version": "1.0", "protocol_versions": ["1.0"],
                      "os_type": "linux", "arch": "x86_64" });
    let answer = stage.server.anonymous().post("/api/v1/bootstrap/hello", ask).await.expect(200);
    assert_eq!((&answer["action"], &answer["protocol_versions"]), (&json!("upgrade"), &json!(["1.1"])));
    assert_eq!(answer["update"]["version"], "0.2.0");
    let mut socket =
        TestAgent::open(&stage.server, &stage.machine).await.unwrap_or_else(|answer| panic!("{answer}"));
    let message = gururmm_protocol::encode(&gururmm_protocol::AgentMessage::Hello(old)).unwrap();
    socket.send_text(message).await;
    let goodbye = socket.next().await.unwrap();
    assert!(goodbye.contains("no_common_version"), "{goodbye}");
}

#[tokio::test]
async fn people_are_told_that_a_role_expires_and_that_a_repository_is_refused() {
    let mut stage = stage().await;
    let kinds = async |stage: &Stage| {
        updates::alarm::keep(stage.server.app(), Utc::now()).await.unwrap();
        let alerts = stage.tech.get("/api/v1/alerts?status=open").await.expect(200);
        let mut kinds: Vec<_> = alerts["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| alert["kind"].as_str().unwrap().to_owned())
            .collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&stage).await, Vec::<String>::new());
    stage.repository.timestamp.expires = Utc::now() + TimeDelta::days(29);
    stage.repository.raise_versions().write();
    stage.look().await;
    assert_eq!(kinds(&stage).await, ["updates.expiring"]);
    stage.repository.forge(RoleType::Snapshot).raise_versions().write();
    stage.look().await;
    assert_eq!(kinds(&stage).await, ["updates.expiring", "updates.refused"]);
    let owner_elsewhere = stage.server.client_as(&globex::OWNER).await;
    assert_eq!(owner_elsewhere.get("/api/v1/alerts").await.expect(200)["total"], 2, "their machines, too");
}

#[tokio::test]
async fn a_version_that_every_machine_passes_over_has_no_rollout() {
    let mut stage = stage().await;
    stage.repository.publish(release("0.3.0")).write();
    stage.look().await;
    let mut agent = stage.connect("0.1.0", None).await;
    assert_eq!(agent.expect_update().await.version, "0.3.0");
    stage.round(Utc::now()).await;
    let admin = stage.server.client_as(&acme::ADMIN).await;
    let rollouts = admin.get("/api/v1/updates/rollouts").await.expect(200);
    assert_eq!((&rollouts["total"], &rollouts["items"][0]["version"]), (&json!(1), &json!("0.3.0")));
}
