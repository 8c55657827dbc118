//! Rollouts over a simulated fleet: real sockets, scripted agents, a clock of the test's own.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::command::Bytes;
use gururmm_protocol::log::{CrashCause, CrashReport};
use gururmm_protocol::update::{UpdateAction, UpdateOrder, UpdateState};
use gururmm_protocol::{AgentMessage, CrashId, ServerMessage};
use gururmm_server::updates;
use gururmm_testkit::agent::updatable;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{
    ApiClient, Release, Repository, SeededAgent, TestAgent, TestDatabase, TestServer, eventually,
};
use serde_json::{Value, json};
use tempfile::TempDir;

const MACHINES: usize = 200;
/// One in a hundred.
const FIRST_RING: usize = 2;

struct Machine {
    seeded: SeededAgent,
    agent: TestAgent,
    version: &'static str,
}

struct Fleet {
    server: TestServer,
    machines: Vec<Machine>,
    admin: ApiClient,
    now: DateTime<Utc>,
    _dist: TempDir,
}

/// How machines take an order.
#[derive(Clone, Copy, PartialEq)]
enum Build {
    Good,
    /// It does not connect: the watchdog goes back.
    DoesNotConnect,
    /// It connects, and crashes afterwards.
    Crashes,
    /// It is never heard of again.
    IsSilent,
}

impl Fleet {
    async fn of(count: usize) -> Self {
        let dist = tempfile::tempdir().unwrap();
        let release = Release::here("0.2.0", "program").for_system("linux", "x86_64");
        Repository::create(&dist.path().join("updates")).publish(release).write();
        let folder = dist.path().to_owned();
        let server =
            TestServer::start_with(TestDatabase::with_world().await, |options| options.dist = Some(folder))
                .await;
        server.app().updates.releases.look(Utc::now()).await;
        let admin = server.client_as(&acme::ADMIN).await;
        let mut machines = Vec::new();
        for number in 0..count {
            let seeded = server.seed_agent(&acme::HQ, &format!("pc-{number:03}")).await;
            let agent = TestAgent::connect_saying(&server, &seeded, updatable(&seeded, "0.1.0", None)).await;
            machines.push(Machine { seeded, agent, version: "0.1.0" });
        }
        let fleet = Self { server, machines, admin, now: Utc::now(), _dist: dist };
        fleet.is_online(count).await;
        fleet
    }

    async fn is_online(&self, count: usize) {
        eventually("everyone", async || {
            let online = self.admin.get("/api/v1/agents?status=online&limit=1").await.expect(200);
            (online["total"] == count).then_some(())
        })
        .await;
    }

    /// One round of the rollouts after this time; answers who is ordered what.
    async fn round(&mut self, after: TimeDelta) -> Vec<(usize, UpdateOrder)> {
        self.now += after;
        updates::rollout::keep(self.server.app(), self.now).await.unwrap();
        let mut orders = Vec::new();
        for (index, machine) in self.machines.iter_mut().enumerate() {
            machine.agent.send(&AgentMessage::Heartbeat { clock: None }).await;
            loop {
                match machine.agent.next().await.unwrap() {
                    ServerMessage::UpdateOrder(order) => orders.push((index, order)),
                    ServerMessage::HeartbeatAck { .. } => break,
                    _ => {}
                }
            }
        }
        orders
    }

    /// The machines do as they are told.
    async fn follow(&mut self, orders: Vec<(usize, UpdateOrder)>, build: Build) {
        for (index, order) in orders {
            let machine = &mut self.machines[index];
            let version = order.version.clone();
            machine.agent.report_update(order.update_id, &version, UpdateState::Downloading).await;
            machine.agent.report_update(order.update_id, &version, UpdateState::Trying).await;
            if order.action == UpdateAction::RollBack {
                assert_eq!((machine.version, version.as_str()), ("0.2.0", "0.1.0"));
                self.become_version(index, "0.1.0", None).await;
                self.machines[index]
                    .agent
                    .report_update(order.update_id, "0.1.0", UpdateState::Confirmed)
                    .await;
                continue;
            }
            match build {
                Build::IsSilent => {}
                Build::DoesNotConnect => {
                    machine.agent.report_update(order.update_id, &version, UpdateState::RolledBack).await;
                }
                Build::Good | Build::Crashes => {
                    self.become_version(index, "0.2.0", Some("0.1.0")).await;
                    let agent = &mut self.machines[index].agent;
                    agent.report_update(order.update_id, "0.2.0", UpdateState::Confirmed).await;
                    if build == Build::Crashes {
                        crash(agent).await;
                    }
                }
            }
        }
        self.is_online(self.machines.len()).await;
    }

    async fn become_version(&mut self, index: usize, version: &'static str, previous: Option<&str>) {
        let machine = &mut self.machines[index];
        let hello = updatable(&machine.seeded, version, previous);
        machine.agent = TestAgent::connect_saying(&self.server, &machine.seeded, hello).await;
        machine.version = version;
    }

    fn at(&self, version: &str) -> usize {
        self.machines.iter().filter(|machine| machine.version == version).count()
    }

    async fn rollout(&self) -> Value {
        self.admin.get("/api/v1/updates/rollouts").await.expect(200)["items"][0].clone()
    }

    async fn step(&self, action: &str) -> gururmm_testkit::Answer {
        let id = self.rollout().await["id"].as_str().unwrap().to_owned();
        self.admin.post(&format!("/api/v1/updates/rollouts/{id}/steps"), json!({ "action": action })).await
    }
}

async fn crash(agent: &mut TestAgent) {
    let report = CrashReport {
        crash_id: CrashId::new(),
        cause: CrashCause::Panic,
        crashed_at: Utc::now(),
        agent_version: "0.2.0".into(),
        message: Some("index out of bounds".into()),
        log: Bytes(Vec::new()),
    };
    agent.send(&AgentMessage::CrashReport(report)).await;
    let pick = |message| matches!(message, ServerMessage::CrashReportAck { .. }).then_some(());
    agent.expect("acknowledgement of the crash", pick).await;
}

#[tokio::test]
async fn a_build_that_does_not_connect_stops_in_the_first_ring() {
    let mut fleet = Fleet::of(MACHINES).await;
    let first = fleet.round(TimeDelta::zero()).await;
    assert_eq!(first.len(), FIRST_RING);
    fleet.follow(first, Build::DoesNotConnect).await;
    for _ in 0..30 {
        assert_eq!(fleet.round(TimeDelta::hours(2)).await, Vec::new());
    }
    let rollout = fleet.rollout().await;
    assert_eq!((&rollout["state"], &rollout["ring"]), (&json!("rolling_back"), &json!(0)));
    assert_eq!(fleet.at("0.1.0"), MACHINES);
    let alerts = fleet.admin.get("/api/v1/alerts?severity=critical").await.expect(200);
    assert_eq!(
        (&alerts["total"], &alerts["items"][0]["kind"]),
        (&json!(1), &json!("updates.rollout_halted"))
    );
    // By hand it is not sent there either.
    let force = format!("/api/agents/{}/update", fleet.machines[0].seeded.id);
    fleet.admin.post(&force, json!({})).await.expect_problem(409, "NO_UPDATE_PUBLISHED");
}

#[tokio::test]
async fn a_build_that_crashes_later_is_taken_back_from_all_that_took_it() {
    let mut fleet = Fleet::of(MACHINES).await;
    let first = fleet.round(TimeDelta::zero()).await;
    fleet.follow(first, Build::Crashes).await;
    assert_eq!(fleet.at("0.2.0"), FIRST_RING);
    let back = fleet.round(TimeDelta::minutes(1)).await;
    assert!(back.iter().all(|(_, order)| order.action == UpdateAction::RollBack && order.at_once));
    assert_eq!(back.len(), FIRST_RING);
    fleet.follow(back, Build::Crashes).await;
    assert_eq!(fleet.at("0.1.0"), MACHINES);
    for _ in 0..5 {
        assert_eq!(fleet.round(TimeDelta::hours(2)).await, Vec::new());
    }
    assert_eq!(fleet.rollout().await["state"], "rolling_back");
}

#[tokio::test]
async fn a_build_that_is_never_heard_of_again_stops_in_the_first_ring() {
    let mut fleet = Fleet::of(MACHINES).await;
    let first = fleet.round(TimeDelta::zero()).await;
    fleet.follow(first, Build::IsSilent).await;
    assert_eq!(fleet.round(TimeDelta::minutes(10)).await, Vec::new());
    assert_eq!(fleet.rollout().await["state"], "running");
    assert_eq!(fleet.round(TimeDelta::minutes(10)).await, Vec::new());
    assert_eq!(fleet.rollout().await["state"], "rolling_back");
}

#[tokio::test]
async fn a_good_build_reaches_everyone_ring_by_ring_and_few_at_a_time() {
    let mut fleet = Fleet::of(MACHINES).await;
    let mut most_at_once = 0;
    let mut rings = Vec::new();
    for _ in 0..80 {
        let orders = fleet.round(TimeDelta::hours(1)).await;
        most_at_once = most_at_once.max(orders.len());
        fleet.follow(orders, Build::Good).await;
        let rollout = fleet.rollout().await;
        rings.push(rollout["ring"].as_i64().unwrap());
        if rollout["state"] == "done" {
            break;
        }
        let reach = [2, 20, 100, 200][usize::try_from(rollout["ring"].as_i64().unwrap()).unwrap()];
        assert!(fleet.at("0.2.0") <= reach, "{rollout}");
    }
    assert_eq!((fleet.at("0.2.0"), &fleet.rollout().await["state"]), (MACHINES, &json!("done")));
    assert!(most_at_once <= 25 && rings.windows(2).all(|pair| pair[1] - pair[0] <= 1), "{rings:?}");
}

#[tokio::test]
async fn a_rollout_is_promoted_halted_resumed_and_taken_back_by_hand() {
    let mut fleet = Fleet::of(20).await;
    let first = fleet.round(TimeDelta::zero()).await;
    assert_eq!(first.len(), 1);
    fleet.follow(first, Build::Good).await;
    assert_eq!(fleet.step("promote").await.expect(200)["ring"], 1);
    let second = fleet.round(TimeDelta::minutes(1)).await;
    assert_eq!(second.len(), 1, "ten in a hundred");
    assert_eq!(fleet.step("halt").await.expect(200)["state"], "halted");
    fleet.step("promote").await.expect_problem(409, "INVALID_STATE");
    assert_eq!(fleet.round(TimeDelta::hours(48)).await, Vec::new());
    assert_eq!(fleet.step("resume").await.expect(200)["state"], "running");
    let again = fleet.round(TimeDelta::minutes(1)).await;
    assert_eq!(again.len(), 1);
    fleet.follow(again, Build::Good).await;
    assert_eq!(fleet.step("roll_back").await.expect(200)["state"], "rolling_back");
    let back = fleet.round(TimeDelta::minutes(1)).await;
    assert_eq!(back.len(), 2);
    fleet.follow(back, Build::Good).await;
    assert_eq!(fleet.at("0.1.0"), 20);

    let reader = fleet.server.client_as(&acme::HQ_READER).await;
    reader.get("/api/v1/updates/rollouts").await.expect_problem(403, "FORBIDDEN");
    let other = fleet.server.client_as(&globex::ADMIN).await;
    assert_eq!(other.get("/api/v1/updates/rollouts").await.expect(200)["total"], 0);
}
