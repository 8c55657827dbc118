//! The simulated fleet against a real server.
#![expect(clippy::unwrap_used, reason = "tests fail by panic")]

use chrono::{TimeDelta, Utc};
use gururmm_fleet::agent::{Agent, Manner};
use gururmm_fleet::counts::Counted;
use gururmm_fleet::demo::{self, Owner};
use gururmm_fleet::load;
use gururmm_fleet::seed::{self, Secret};
use gururmm_fleet::wire::Place;
use gururmm_fleet::world::World;
use gururmm_testkit::world::{PASSWORD, acme};
use gururmm_testkit::{ApiClient, TestDatabase, TestServer, eventually};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

async fn place(server: &TestServer) -> Place {
    Place::new(&format!("http://{}", server.address()).parse().unwrap(), None).await.unwrap()
}

/// Seeded agents that have not connected, and somebody who sees them.
async fn seeded(server: &TestServer, world: World) -> (Vec<Agent>, ApiClient) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("keys")).unwrap();
    let secret = Secret::of(folder.path()).unwrap();
    let mut owner = server.owner().await;
    for _ in 0..2 {
        // The second time changes nothing.
        seed::seed(&mut owner, acme::PARTNER.id, &server.app().keys, &secret, &world).await.unwrap();
    }
    let agents = world.machines.into_iter().map(|machine| {
        let (id, key) = (secret.id(machine.number).to_string(), secret.key(machine.number));
        gururmm_testkit::logs::keep_secret(&key);
        Agent::new(machine, id, key)
    });
    (agents.collect(), server.client_as(&acme::OWNER).await)
}

/// Runs the agents while `meanwhile` runs; then tells what they did.
async fn run(
    server: &TestServer,
    agents: Vec<Agent>,
    manner: Manner,
    meanwhile: impl AsyncFnOnce(),
) -> Counted {
    let mut counted = Counted::default();
    let place = place(server).await;
    load::run(agents, 1_000, vec![place], manner, async |shared| {
        meanwhile().await;
        // Answers that are on their way.
        eventually("all that was sent is stored", async || {
            counted = shared.counts.now();
            (counted.commands_stored == counted.commands_started).then_some(())
        })
        .await;
        Ok(())
    })
    .await
    .unwrap();
    counted
}

async fn stored_samples(server: &TestServer) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM metric_samples");
    count.fetch_one(&mut server.owner().await).await.unwrap()
}

async fn agents_online(api: &ApiClient) -> u64 {
    api.get("/api/v1/agents?status=online").await.expect(200)["total"].as_u64().unwrap()
}

#[tokio::test]
async fn seeded_machines_connect_measure_and_run_a_command_once() {
    let server = TestServer::start().await;
    let (agents, api) = seeded(&server, World::new(1, 30)).await;
    let names: Vec<String> = agents.iter().map(|agent| agent.machine.system.hostname.clone()).collect();
    let first = agents[0].id.clone();
    let counted = run(&server, agents, Manner::default(), async || {
        eventually("thirty online", async || (agents_online(&api).await == 30).then_some(())).await;
        let order = json!({ "command_type": "shell", "command": "hostname" });
        let ordered = api.post(&format!("/api/agents/{first}/command"), order).await.expect(200);
        let path = format!("/api/commands/{}", ordered["command_id"].as_str().unwrap());
        let done = eventually("the command's end", async || {
            let command = api.get(&path).await.expect(200);
            (command["status"] == "completed").then_some(command)
        })
        .await;
        assert_eq!(done["stdout"], format!("{}\n", names[0]));
    })
    .await;
    assert_eq!((counted.connects, counted.refused, counted.lost), (30, 0, 0));
    assert_eq!((counted.commands_started, counted.commands_stored), (1, 1));
    eventually("nobody online", async || (agents_online(&api).await == 0).then_some(())).await;
}

#[tokio::test]
async fn a_crowd_that_comes_at_once_is_let_in_a_few_at_a_time_and_all_of_it_gets_in() {
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.sockets.gateway.arrivals = 2
    })
    .await;
    let (agents, api) = seeded(&server, World::new(1, 40)).await;
    let counted = run(&server, agents, Manner::default(), async || {
        eventually("forty online", async || (agents_online(&api).await == 40).then_some(())).await;
    })
    .await;
    assert!(counted.refused > 0, "{counted:?}");
    assert_eq!((counted.connects, counted.lost), (40, 0));
    assert_eq!(server.app().gateway.door(Instant::now()).turned_away, counted.refused);
}

#[tokio::test]
async fn what_the_server_acknowledges_is_what_it_has() {
    let server = TestServer::start().await;
    let (mut agents, api) = seeded(&server, World::new(2, 8)).await;
    let now = Utc::now();
    for agent in &mut agents {
        agent.remember(now - TimeDelta::hours(2), now, TimeDelta::minutes(1));
    }
    let kept: usize = agents.iter().map(Agent::remembered).sum();
    let flooding = Manner { flood: Some(5), ..Manner::default() };
    let counted = run(&server, agents, flooding, async || {
        eventually("a thousand samples", async || (stored_samples(&server).await > 1_000).then_some(()))
            .await;
        assert_eq!(agents_online(&api).await, 8);
    })
    .await;
    // At any hour one of them at least is never switched off.
    assert!(kept >= 120, "{kept}");
    assert!(counted.samples_stored >= kept as u64, "{counted:?}");
    // What was on its way when they left may be stored without their having heard of it.
    let stored = u64::try_from(stored_samples(&server).await).unwrap();
    assert!((counted.samples_stored..=counted.samples_sent).contains(&stored), "{stored} of {counted:?}");
}

#[tokio::test]
async fn what_has_waited_is_told_no_faster_than_a_real_agent_would() {
    let server = TestServer::start().await;
    let (mut agents, _) = seeded(&server, World::new(2, 1)).await;
    let now = Utc::now();
    agents[0].remember(now - TimeDelta::hours(24), now, TimeDelta::hours(2));
    let kept = agents[0].remembered();
    let every = Duration::from_millis(200);
    let paced = Manner { replay_every: Some(every), ..Manner::default() };
    let began = Instant::now();
    let counted = run(&server, agents, paced, async || {
        eventually("all of it", async || (stored_samples(&server).await >= kept as i64).then_some(())).await;
    })
    .await;
    assert!(kept > 6, "{kept}");
    // Half a second of it may go at once.
    let least = every * u32::try_from(kept - 1).unwrap() - Duration::from_millis(500);
    assert!(began.elapsed() >= least, "{:?} for {counted:?}", began.elapsed());
}

async fn demonstrate(
    server: &TestServer,
    state: &Path,
    machines: usize,
    until: impl AsyncFnOnce(),
) -> Vec<String> {
    let owner = Owner { email: acme::OWNER.email.to_owned(), password: PASSWORD.to_owned() };
    let said = Arc::new(Mutex::new(Vec::new()));
    let (end, ended) = oneshot::channel::<()>();
    let running = {
        let (said, place, state) = (Arc::clone(&said), place(server).await, state.to_owned());
        async move {
            let say = |text: &str| said.lock().unwrap().push(text.to_owned());
            let stop = async {
                let _sender_gone = ended.await;
            };
            demo::demo(place, &owner, &state, World::new(3, machines), TimeDelta::hours(3), say, stop)
                .await
                .unwrap();
        }
    };
    let watching = async {
        until().await;
        end.send(()).unwrap();
    };
    tokio::join!(running, watching);
    Arc::into_inner(said).unwrap().into_inner().unwrap()
}

#[tokio::test]
async fn a_demonstration_enrolls_its_machines_with_a_past_and_goes_on_with_the_same_ones() {
    let server = TestServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("fleet.json");
    let api = server.client_as(&acme::OWNER).await;
    let total = async || api.get("/api/v1/agents").await.expect(200)["total"].as_u64().unwrap();
    let before = total().await;
    let said = demonstrate(&server, &state, 12, async || {
        eventually("the past", async || (stored_samples(&server).await > 100).then_some(())).await;
    })
    .await;
    assert_eq!(said[0], "12 machines enroll.");
    assert_eq!(total().await, before + 12);
    let enrolled: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    for (_, key) in enrolled.as_object().unwrap().values().map(|pair| (&pair[0], &pair[1])) {
        gururmm_testkit::logs::keep_secret(key.as_str().unwrap());
    }
    let said = demonstrate(&server, &state, 15, async || {
        eventually("three more", async || (total().await == before + 15).then_some(())).await;
    })
    .await;
    assert_eq!(said[0], "3 machines enroll.");
}
