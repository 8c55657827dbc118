//! A real agent whose real server is away for a while: what waited arrives whole, with its own times, and what could not
//! be kept is counted.

use crate::binary::Process;
use crate::harness::{Connection, TestAgent, read};
use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use gururmm_agent::identity::{Identity, Secret};
use gururmm_agent::outbox::store::{Done, MAX_FILE_BYTES, OUTBOX_DIR, Store};
use gururmm_agent::outbox::{Outbox, WRITE_AFTER, first_seq};
use gururmm_agent::state::StateDir;
use gururmm_agent::supervisor::Run;
use gururmm_protocol::gap::{Gap, GapReason};
use gururmm_protocol::metrics::{Process as Listed, Sample};
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::to_agent::Welcome;
use gururmm_protocol::{AgentId, AgentMessage, SUPPORTED, ServerMessage};
use gururmm_testkit::world::acme;
use gururmm_testkit::{SeededAgent, TestServer};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(150);
const MINUTE: Duration = Duration::from_secs(60);
/// A sample a minute, for 72 hours.
const THREE_DAYS: i64 = 72 * 60;

/// A machine of the server, as its agent knows it.
async fn enrolled(server: &TestServer) -> (SeededAgent, TempDir) {
    let machine = server.seed_agent(&acme::HQ, "pc-1").await;
    let identity = Identity {
        agent_id: machine.id.into(),
        agent_key: Secret::new(machine.key.clone()),
        server_url: format!("http://{}", server.address()),
        site_code: acme::HQ.code.into(),
        enrolled_at: Utc::now(),
        ca_pinned: false,
    };
    let dir = TestAgent::enrolled_as(&identity);
    (machine, dir)
}

fn state(dir: &TempDir) -> StateDir {
    StateDir::open(&dir.path().join("state")).unwrap()
}

fn sample(taken_at: DateTime<Utc>) -> Sample {
    let listed = Listed {
        pid: 40_000,
        name: "example-service".into(),
        user: "svc-example".into(),
        cpu_percent: 1.5,
        memory_bytes: 123_456_789,
        command_line: "/usr/lib/example/bin/example-service --data /var/lib/example".into(),
    };
    let sample = json!({ "taken_at": taken_at, "interval_seconds": 60.0, "cpu_percent": 10.0, "memory_used_bytes": 1, "memory_total_bytes": 2 });
    Sample { top_cpu: vec![listed; 10], ..serde_json::from_value(sample).unwrap() }
}

/// An agent that takes these samples while nobody answers, and then stops: its outbox and its disk, at a clock that does
/// not wait.
fn keep(dir: &TempDir, times: &[DateTime<Utc>], max_file_bytes: u64) {
    let mut now = Instant::now();
    let (mut store, found) =
        Store::open(&state(dir), first_seq(Utc::now() - TimeDelta::days(4)), max_file_bytes);
    let mut outbox = Outbox::with_disk(found);
    let mut work = |outbox: &mut Outbox, now, job| {
        let done = store.run(&job);
        assert!(matches!(done, Done::Saved { .. }), "{done:?}");
        outbox.job_done(now, done);
    };
    for times in times.chunks(20) {
        times.iter().for_each(|time| outbox.push_sample(now, sample(*time)));
        now += MINUTE;
        while let Some(job) = outbox.next_job(now) {
            work(&mut outbox, now, job);
        }
    }
    if let Some(job) = outbox.last_job() {
        work(&mut outbox, now, job);
    }
}

/// What the server has of a machine, in order.
async fn stored(server: &TestServer, machine: &SeededAgent) -> Vec<DateTime<Utc>> {
    let times = "SELECT taken_at FROM metric_samples WHERE agent_num = $1 ORDER BY taken_at";
    sqlx::query_scalar(times).bind(machine.num).fetch_all(&mut server.owner().await).await.unwrap()
}

async fn wait_until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < PATIENCE, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Times on the database's microseconds, a minute apart, that ended an hour ago.
fn minutes(count: i64) -> Vec<DateTime<Utc>> {
    let last = Utc::now().trunc_subsecs(6) - TimeDelta::hours(1);
    (0..count).rev().map(|minute| last - TimeDelta::minutes(minute)).collect()
}

#[tokio::test]
async fn three_days_that_waited_on_disk_arrive_whole_although_the_agent_is_killed_in_between() {
    let server = TestServer::start().await;
    let (machine, dir) = enrolled(&server).await;
    let times = minutes(THREE_DAYS);
    keep(&dir, &times, MAX_FILE_BYTES);
    let old = async || {
        let stored = stored(&server, &machine).await;
        stored.into_iter().filter(|time| time <= times.last().unwrap()).collect::<Vec<_>>()
    };
    // The program itself, at its own rate, killed twice with many on their way.
    for part in [40, 80] {
        let _process = Process::start(dir.path());
        wait_until("the agent sends what waited", async || old().await.len() >= part).await;
    }
    // So far, in order and from the beginning.
    let so_far = old().await;
    assert!(so_far.len() < times.len() / 2 && times.starts_with(&so_far), "{} came", so_far.len());
    let run = Run::begin(&dir.path().join("state"), Arc::default()).unwrap();
    let agent = TestAgent::start_run(dir, run.with_outbox(MAX_FILE_BYTES, Duration::from_millis(1)));
    wait_until("everything arrived", async || old().await.len() == times.len()).await;
    assert_eq!(old().await, times, "nothing is missing, nothing is doubled, nothing has another time");
    wait_until("the file is gone", async || {
        !agent.state_dir().join(OUTBOX_DIR).join("samples.redb").exists()
    })
    .await;
    // The chart is whole.
    let (from, to) = (times[0], *times.last().unwrap());
    let span = |time: DateTime<Utc>| time.to_rfc3339().replace('+', "%2B");
    let tech = server.client_as(&acme::TECH).await;
    let path = format!("/api/v1/agents/{}/metrics?from={}&to={}", machine.id, span(from), span(to));
    let chart = tech.get(&path).await.expect(200);
    let points = chart["points"].as_array().unwrap();
    let step = chart["resolution_seconds"].as_i64().unwrap();
    let at = |point: &serde_json::Value| point["t"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert!(points.len() > 200);
    assert!(points.windows(2).all(|pair| at(&pair[1]) - at(&pair[0]) == TimeDelta::seconds(step)));
    agent.stop().await;
}

#[tokio::test]
async fn what_has_no_room_is_counted_to_the_sample_and_shown() {
    let server = TestServer::start().await;
    let (machine, dir) = enrolled(&server).await;
    let (times, room) = (minutes(600), 1024 * 1024);
    keep(&dir, &times, room);
    let run = Run::begin(&dir.path().join("state"), Arc::default()).unwrap();
    let agent = TestAgent::start_run(dir, run.with_outbox(room, Duration::from_millis(1)));
    let tech = server.client_as(&acme::TECH).await;
    let path = format!("/api/v1/agents/{}/metrics/gaps", machine.id);
    let gaps = async || tech.get(&path).await.expect(200)["gaps"].as_array().unwrap().clone();
    wait_until("the agent says what is missing", async || !gaps().await.is_empty()).await;
    let old = async || {
        let stored = stored(&server, &machine).await;
        stored.into_iter().filter(|time| time <= times.last().unwrap()).collect::<Vec<_>>()
    };
    let file = agent.state_dir().join(OUTBOX_DIR).join("samples.redb");
    wait_until("all that was kept arrived", async || !file.exists()).await;
    let (gaps, old) = (gaps().await, old().await);
    let [gap] = &gaps[..] else { panic!("{gaps:?}") };
    let missing = gap["count"].as_u64().unwrap() as usize;
    assert!(missing > 100 && old.len() > 100, "{missing} of 600");
    assert_eq!(missing + old.len(), times.len());
    assert_eq!(old, times[missing..]);
    let time = |name: &str| gap[name].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
    assert_eq!(
        (time("from"), time("to"), &gap["reason"]),
        (times[0], times[missing - 1], &json!("outbox_full"))
    );
    agent.stop().await;
}

/// What is on disk at this moment, read from a copy.
fn on_disk(dir: &TempDir) -> u64 {
    let copy = tempfile::tempdir().unwrap();
    let to = StateDir::create(&copy.path().join("state")).unwrap();
    let from = dir.path().join("state").join(OUTBOX_DIR);
    for file in fs::read_dir(from).into_iter().flatten().flatten() {
        fs::copy(file.path(), to.sub_dir(OUTBOX_DIR).unwrap().join(file.file_name())).unwrap();
    }
    Store::open(&to, 1, MAX_FILE_BYTES).1.left
}

#[tokio::test]
async fn an_agent_that_is_killed_while_its_server_is_away_loses_nothing_that_it_had_for_a_moment() {
    let mut server = TestServer::start().await;
    let (machine, dir) = enrolled(&server).await;
    let admin = server.client_as(&acme::ADMIN).await;
    let policy = format!("/api/v1/policies/partner/{}", acme::PARTNER.id);
    admin.put(&policy, json!({ "settings": { "metrics_interval_seconds": 10 } })).await.expect(200);
    let address = server.address();
    let process = Process::start(dir.path());
    wait_until("the agent measures", async || !stored(&server, &machine).await.is_empty()).await;
    server.stop().await;
    wait_until("samples wait on disk", async || on_disk(&dir) >= 2).await;
    drop(process);
    let (left, killed) = (on_disk(&dir) as usize, Utc::now());
    let _process = Process::start(dir.path());
    server.restart_with(|options| options.listen = address).await;
    let before = async || {
        let stored = stored(&server, &machine).await;
        stored.into_iter().filter(|time| *time < killed).collect::<Vec<_>>()
    };
    wait_until("what waited arrived", async || before().await.len() > left).await;
    let times = before().await;
    // The interval is ten seconds: no sample is missing between them, and at the end only what was too young.
    let step = TimeDelta::seconds(12);
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] < step), "{times:?}");
    let young = TimeDelta::from_std(WRITE_AFTER).unwrap() + step;
    assert!(killed - *times.last().unwrap() < young, "{times:?}, killed at {killed}");
}

/// A session that stands on the newest protocol.
async fn welcome(connection: &mut Connection) {
    while !matches!(connection.receive().await, AgentMessage::Hello(_)) {}
    let welcome = Welcome {
        agent_id: connection.agent_id,
        protocol: *SUPPORTED.last().unwrap(),
        server_version: "0.0.0-test".into(),
        server_time: Utc::now(),
        heartbeat_seconds: 30,
        config: AgentConfig::default(),
        observed_ip: None,
    };
    connection.send(ServerMessage::Welcome(welcome)).await;
}

async fn said(connection: &mut Connection) -> Gap {
    let pick = |message| match message {
        AgentMessage::Gap(gap) => Some(gap),
        _ => None,
    };
    connection.wait_for(pick).await
}

#[tokio::test]
async fn an_agent_with_a_garbled_store_starts_as_itself_and_says_what_happened_until_it_is_heard() {
    let mut server = crate::harness::TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let identity: serde_json::Value =
        serde_json::from_str(&read(dir.path().join("state/identity.json"))).unwrap();
    let folder = state(&dir).sub_dir(OUTBOX_DIR).unwrap();
    fs::write(folder.join("samples.redb"), [0x5a; 50_000]).unwrap();
    let process = Process::start(dir.path());
    let mut connection = server.accept().await;
    assert_eq!(connection.agent_id, identity["agent_id"].as_str().unwrap().parse::<AgentId>().unwrap());
    welcome(&mut connection).await;
    let gap = said(&mut connection).await;
    assert_eq!((gap.reason, gap.count), (GapReason::StoreUnreadable, None));
    assert!(gap.error.is_some() && gap.from <= gap.to);
    // Killed before anybody acknowledged it: the next run says it again, by the same name.
    drop(process);
    assert!(Path::new(&folder.join("samples.redb.unreadable")).exists());
    let _process = Process::start(dir.path());
    let mut connection = server.accept().await;
    welcome(&mut connection).await;
    assert_eq!(said(&mut connection).await, gap);
    connection.send(ServerMessage::GapAck { gap_id: gap.gap_id }).await;
    let file = folder.join("samples.redb");
    wait_until("nothing is kept any more", async || !file.exists()).await;
}
