//! Three real servers on one database, with NATS between them: each is stopped and started in turn, then one is killed,
//! while commands are given and machines measure. Nothing is lost and nothing happens twice.

use crate::process::{STEP, ServerProcess, until};
use chrono::{DateTime, Utc};
use gururmm_protocol::command::{Bytes, CommandEnd, Outcome, OutputChunk, ResumedCommand, Stream};
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::{AgentMessage, CommandId, Decoded, ServerMessage, decode_server_message, encode};
use gururmm_server::auth::credential::SessionKind;
use gururmm_testkit::agent::{AGENT_HEADER, SOCKET_PATH, hello, sample};
use gururmm_testkit::world::{PLATFORM_ADMIN, acme};
use gururmm_testkit::{ApiClient, NatsServer, SeededAgent, TestServer, TestSocket};
use serde_json::json;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const MACHINES: usize = 6;

struct Installation {
    nodes: Vec<ServerProcess>,
    observer: TestServer,
    _nats: NatsServer,
}

impl Installation {
    async fn start() -> Self {
        let (observer, nats) = (TestServer::start().await, NatsServer::start().await);
        let (url, token) = (nats.url(), nats.token());
        let mut nodes = Vec::new();
        for name in ["one", "two", "three"] {
            let arguments = ["--nats", &url, "--node-name", name];
            nodes.push(ServerProcess::launch(&observer, &arguments, &[("GURURMM_NATS_TOKEN", token)]));
        }
        for node in &nodes {
            node.serves().await;
        }
        Self { nodes, observer, _nats: nats }
    }

    /// Stops a server as its service manager does, and starts it again.
    async fn restart(&mut self, which: usize) {
        self.nodes[which].stop().await;
        self.nodes[which].start_again().await;
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }
}

/// What a machine did, which outlives its sessions.
#[derive(Default)]
struct Journal {
    /// How often each command was started.
    starts: HashMap<CommandId, u32>,
    /// Ends that are not acknowledged yet.
    unacknowledged: BTreeMap<Uuid, DateTime<Utc>>,
    /// Samples that are not acknowledged yet.
    samples: VecDeque<(u64, Sample)>,
    measured: u64,
}

/// A machine whose agent connects to whichever server takes it, and keeps what is not acknowledged.
async fn live(
    machine: SeededAgent,
    addresses: Vec<SocketAddr>,
    journal: Arc<Mutex<Journal>>,
    stop: CancellationToken,
) {
    let mut which = usize::from(machine.id.as_bytes()[15]);
    while !stop.is_cancelled() {
        which += 1;
        let client = ApiClient::anonymous(addresses[which % addresses.len()])
            .with_bearer(&machine.key)
            .with(AGENT_HEADER, &machine.id.to_string());
        match client.try_upgrade(SOCKET_PATH).await {
            Some(socket) => converse(socket, &machine, &journal, &stop).await,
            None => sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn say(socket: &mut TestSocket, message: &AgentMessage) {
    socket.send_text(encode(message).unwrap()).await;
}

async fn converse(
    mut socket: TestSocket,
    machine: &SeededAgent,
    journal: &Mutex<Journal>,
    stop: &CancellationToken,
) {
    let (held, ended) = {
        let journal = journal.lock().unwrap();
        let held = journal.unacknowledged.keys();
        let held = held.map(|id| ResumedCommand { command_id: CommandId(*id), ended: true }).collect();
        (held, journal.unacknowledged.clone())
    };
    say(&mut socket, &AgentMessage::Hello(hello(machine, held))).await;
    for (id, at) in ended {
        report(&mut socket, CommandId(id), at).await;
    }
    let samples = journal.lock().unwrap().samples.clone();
    for (seq, sample) in samples {
        say(&mut socket, &AgentMessage::Metrics { seq, sample }).await;
    }
    let mut measure_at = Instant::now();
    loop {
        let Ok(next) = timeout(Duration::from_millis(100), socket.next_ever()).await else {
            if stop.is_cancelled() {
                let journal = journal.lock().unwrap();
                if journal.samples.is_empty() && journal.unacknowledged.is_empty() {
                    return;
                }
            } else if measure_at.elapsed() > Duration::from_millis(500) {
                measure_at = Instant::now();
                let (seq, sample) = {
                    let mut journal = journal.lock().unwrap();
                    journal.measured += 1;
                    let measured = (journal.measured, sample());
                    journal.samples.push_back(measured.clone());
                    measured
                };
                say(&mut socket, &AgentMessage::Metrics { seq, sample }).await;
            }
            continue;
        };
        let Ok(text) = next else { return };
        match decode_server_message(&text).unwrap() {
            Decoded::Known(ServerMessage::CommandStart(start)) => {
                let (id, now) = (start.command_id, Utc::now());
                {
                    let mut journal = journal.lock().unwrap();
                    if journal.starts.contains_key(&id) {
                        continue;
                    }
                    *journal.starts.entry(id).or_default() += 1;
                    journal.unacknowledged.insert(id.0, now);
                }
                report(&mut socket, id, now).await;
            }
            Decoded::Known(ServerMessage::CommandEndAck { command_id }) => {
                journal.lock().unwrap().unacknowledged.remove(&command_id.0);
            }
            Decoded::Known(ServerMessage::MetricsAck { seq }) => {
                journal.lock().unwrap().samples.retain(|(waiting, _)| *waiting > seq);
            }
            Decoded::Known(ServerMessage::Goodbye { .. }) => return,
            _ => {}
        }
    }
}

/// All that there is to say of a command, again and again until its end is acknowledged.
async fn report(socket: &mut TestSocket, command_id: CommandId, at: DateTime<Utc>) {
    say(socket, &AgentMessage::CommandStarted { command_id, started_at: at }).await;
    let data = Bytes(b"done\n".to_vec());
    say(
        socket,
        &AgentMessage::CommandOutput(OutputChunk { command_id, seq: 1, stream: Stream::Stdout, data }),
    )
    .await;
    let end = CommandEnd {
        command_id,
        outcome: Outcome::Completed,
        exit_code: Some(0),
        error: None,
        error_code: None,
        stdout_bytes: 5,
        stderr_bytes: 0,
        truncated: false,
        last_seq: 1,
        started_at: Some(at),
        ended_at: at,
    };
    say(socket, &AgentMessage::CommandEnded(end)).await;
}

/// Gives commands on whichever server takes them; answers those that were accepted.
async fn give_commands(
    token: String,
    machines: Vec<Uuid>,
    addresses: Vec<SocketAddr>,
    stop: CancellationToken,
) -> Vec<Uuid> {
    let mut accepted = Vec::new();
    let mut turn = 0;
    while !stop.is_cancelled() {
        turn += 1;
        let client = ApiClient::anonymous(addresses[turn % addresses.len()]).with_bearer(&token);
        let path = format!("/api/agents/{}/command", machines[(turn / 2) % machines.len()]);
        let order = json!({ "command_type": "shell", "command": format!("echo {turn}") });
        let answer = client.request(axum::http::Method::POST, &path).json(order).try_send().await;
        if let Some(answer) = answer.filter(|answer| answer.status.is_success()) {
            accepted.push(answer.json()["command_id"].as_str().unwrap().parse().unwrap());
        }
        sleep(Duration::from_millis(60)).await;
    }
    accepted
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_and_a_killed_server_lose_nothing_and_double_nothing() {
    let mut installation = Installation::start().await;
    let (observer, addresses) = (&installation.observer, installation.addresses());
    let token = observer.session_of(&acme::TECH, SessionKind::Api).await.token;
    let platform = observer.session_of(&PLATFORM_ADMIN, SessionKind::Api).await.token;
    let mut machines = Vec::new();
    for number in 0..=MACHINES {
        machines.push(observer.seed_agent(&acme::HQ, &format!("ws-{number:02}")).await);
    }
    // One that never comes back: the others have to notice that it is gone with its server.
    let lonely = machines.pop().unwrap();
    installation.observer.stop().await;

    let (stop_driver, stop_machines) = (CancellationToken::new(), CancellationToken::new());
    let mut living = Vec::new();
    let mut journals = Vec::new();
    for machine in &machines {
        let journal = Arc::new(Mutex::new(Journal::default()));
        let life = live(machine.clone(), addresses.clone(), Arc::clone(&journal), stop_machines.clone());
        living.push(tokio::spawn(life));
        journals.push(journal);
    }
    let ids: Vec<Uuid> = machines.iter().map(|machine| machine.id).collect();
    let driver = tokio::spawn(give_commands(token.clone(), ids, addresses.clone(), stop_driver.clone()));

    sleep(Duration::from_secs(2)).await;
    for which in 0..3 {
        installation.restart(which).await;
        sleep(Duration::from_secs(1)).await;
    }
    let client = ApiClient::anonymous(addresses[0])
        .with_bearer(&lonely.key)
        .with(AGENT_HEADER, &lonely.id.to_string());
    let mut socket = client.try_upgrade(SOCKET_PATH).await.expect("the server is there");
    say(&mut socket, &AgentMessage::Hello(hello(&lonely, Vec::new()))).await;
    let reader = ApiClient::anonymous(addresses[1]).with_bearer(&token);
    let path = format!("/api/agents/{}", lonely.id);
    let shows = async |online: bool| {
        let shown = reader.request(axum::http::Method::GET, &path).try_send().await?;
        (shown.json()["is_connected"] == online).then_some(())
    };
    until("the machine to be online", async || shows(true).await).await;
    installation.nodes[0].kill().await;
    let killed_at = Instant::now();
    until("its server's end to be noticed", async || shows(false).await).await;
    eprintln!("offline {:?} after its server was killed", killed_at.elapsed());
    let nodes = ApiClient::anonymous(addresses[1]).with_bearer(&platform).get("/api/v1/system/nodes").await;
    let lost = nodes.expect(200).as_array().unwrap().iter().filter(|node| node["status"] == "lost").count();
    assert_eq!(lost, 1);

    stop_driver.cancel();
    let accepted = driver.await.unwrap();
    assert!(accepted.len() > 100, "only {} commands were given", accepted.len());
    let mut owner = installation.observer.owner().await;
    let open = async || {
        let mut owner = installation.observer.owner().await;
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM commands WHERE ended_at IS NULL")
            .fetch_one(&mut owner)
            .await
            .unwrap();
        (open == 0).then_some(())
    };
    until("all commands to end", open).await;
    stop_machines.cancel();
    for life in living {
        timeout(STEP, life).await.expect("a machine does not get rid of what it has").unwrap();
    }

    let ended: HashMap<Uuid, String> = sqlx::query_as("SELECT id, status FROM commands")
        .fetch_all(&mut owner)
        .await
        .unwrap()
        .into_iter()
        .collect();
    let mut starts: HashMap<Uuid, u32> = HashMap::new();
    for journal in &journals {
        for (id, count) in &journal.lock().unwrap().starts {
            *starts.entry(id.0).or_default() += count;
        }
    }
    for id in &accepted {
        assert_eq!(ended.get(id).map(String::as_str), Some("completed"), "command {id}");
    }
    for id in ended.keys() {
        assert_eq!(starts.get(id), Some(&1), "command {id} runs once");
    }
    for (machine, journal) in machines.iter().zip(&journals) {
        let measured = journal.lock().unwrap().measured;
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM metric_samples WHERE agent_num = $1")
            .bind(machine.num)
            .fetch_one(&mut owner)
            .await
            .unwrap();
        assert_eq!(stored, measured.cast_signed(), "samples of {}", machine.hostname);
    }
    let output: Vec<(Uuid, i64)> = sqlx::query_as(
        "SELECT command_id, count(*) FROM command_output GROUP BY command_id HAVING count(*) <> 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(output, [], "one piece of output each");
    let ended = ended.len();
    eprintln!("{ended} commands, {} of them acknowledged when given", accepted.len());
}
