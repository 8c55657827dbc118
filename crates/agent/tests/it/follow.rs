//! An agent whose server is to be found elsewhere.

use crate::binary::{PROGRAM, Process};
use crate::harness::{Connection, KEY, PATIENCE, TestAgent, TestServer as Scripted, eventually, read, shell};
use crate::tls::Ca;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_agent::identity::{Identity, Secret};
use gururmm_agent::supervisor::Run;
use gururmm_protocol::command::Bytes;
use gururmm_protocol::follow::{FollowMe, FollowRecord, FollowReport, FollowState, SignedRecord};
use gururmm_protocol::{AgentMessage, ServerMessage};
use gururmm_testkit::world::{self, acme};
use gururmm_testkit::{ApiClient, SeededAgent, TestServer};
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

/// The server under another name: TLS of an authority of its own, and the same server behind it.
struct Renamed {
    url: String,
    ca: Ca,
    connections: Arc<AtomicU32>,
    task: tokio::task::JoinHandle<()>,
}

impl Renamed {
    async fn of(server: SocketAddr) -> Self {
        let ca = Ca::new("renamed");
        let acceptor = ca.acceptor("localhost", &[&ca]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let connections = Arc::new(AtomicU32::default());
        let counted = Arc::clone(&connections);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, counted) = (acceptor.clone(), Arc::clone(&counted));
                tokio::spawn(async move {
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut server = TcpStream::connect(server).await.unwrap();
                    counted.fetch_add(1, Ordering::SeqCst);
                    let _ = copy_bidirectional(&mut stream, &mut server).await;
                });
            }
        });
        Self { url, ca, connections, task }
    }

    fn connections(&self) -> u32 {
        self.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Renamed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn enrolled(server: &TestServer, machine: &SeededAgent) -> TempDir {
    TestAgent::enrolled_as(&Identity {
        agent_id: machine.id.into(),
        agent_key: Secret::new(machine.key.clone()),
        server_url: format!("http://{}", server.address()),
        site_code: acme::HQ.code.into(),
        enrolled_at: Utc::now(),
        ca_pinned: false,
    })
}

async fn wait_for(platform: &ApiClient, what: &str, is_there: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let status = platform.get("/api/v1/system/follow-me").await.expect(200);
        if is_there(&status) {
            return status;
        }
        assert!(began.elapsed() < 3 * PATIENCE, "{what} never came: {status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_go_to_the_renamed_server_with_their_key_and_stay() {
    let server = TestServer::start().await;
    let renamed = Renamed::of(server.address()).await;
    let (one, other) =
        (server.seed_agent(&acme::HQ, "pc-1").await, server.seed_agent(&acme::HQ, "pc-2").await);
    let platform = server.client_as(&world::PLATFORM_ADMIN).await;
    let agent = TestAgent::start_on(enrolled(&server, &one));
    eventually("a session", || server.app().gateway.is_connected(one.id)).await;
    assert_eq!(platform.get("/api/v1/system/follow-me").await.expect(200)["record"], Value::Null);

    let body = json!({ "server_url": renamed.url, "ca_fingerprint": renamed.ca.fingerprint() });
    let set = platform.put("/api/v1/system/follow-me", body).await.expect(200);
    assert_eq!((&set["record"]["serial"], &set["waiting"]), (&json!(1), &json!(2)));
    wait_for(&platform, "the first", |status| status["confirmed"] == 1).await;
    assert!(renamed.connections() > 0);
    // Stopped and started, it goes there at once; and so does one that was away.
    let before = renamed.connections();
    let (_, state) = agent.stop().await;
    assert!(read(state.path().join("state/follow.json")).contains(&renamed.url));
    let _agent = TestAgent::start_on(state);
    eventually("a connection", || renamed.connections() > before).await;
    let _other = TestAgent::start_on(enrolled(&server, &other));
    wait_for(&platform, "the second", |status| status["confirmed"] == 2 && status["waiting"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_not_known_there_is_back_and_says_why() {
    let (server, stranger) = (TestServer::start().await, TestServer::start().await);
    let renamed = Renamed::of(stranger.address()).await;
    let machine = server.seed_agent(&acme::HQ, "pc-1").await;
    let platform = server.client_as(&world::PLATFORM_ADMIN).await;
    let body = json!({ "server_url": renamed.url, "ca_fingerprint": renamed.ca.fingerprint() });
    platform.put("/api/v1/system/follow-me", body).await.expect(200);
    let state = enrolled(&server, &machine);
    let run = Run::begin(&state.path().join("state"), Arc::default()).unwrap();
    let _agent = TestAgent::start_run(state, run.following_within(Duration::from_secs(3)));
    let status = wait_for(&platform, "the failure", |status| status["not_following"][0].is_object()).await;
    let failure = &status["not_following"][0];
    assert_eq!(
        (&failure["agents"], &failure["has_tried"], &failure["error_code"]),
        (&json!(1), &json!(true), &json!("NOT_WELCOMED"))
    );
    assert!(failure["error"].as_str().unwrap().contains("401 AGENT_KEY_REFUSED"), "{failure}");
    assert!(renamed.connections() > 0);
    eventually("a session where it was", || server.app().gateway.is_connected(machine.id)).await;
}

struct Installation(Ed25519KeyPair);

impl Installation {
    fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
    }

    fn says(&self, serial: u64, url: &str, ca: &Ca, expires_at: DateTime<Utc>) -> ServerMessage {
        let record = FollowRecord {
            serial,
            server_url: url.to_owned(),
            ca_fingerprint: Some(ca.fingerprint()),
            not_before: Utc::now() - TimeDelta::days(2),
            expires_at,
            next_key: None,
        };
        let record = serde_json::to_string(&record).unwrap();
        let signature = Bytes(self.0.sign(&SignedRecord::signed_bytes(&record)).as_ref().to_vec());
        self.message(Some(SignedRecord { record, signature }))
    }

    fn message(&self, record: Option<SignedRecord>) -> ServerMessage {
        ServerMessage::FollowMe(FollowMe { key: Bytes(self.0.public_key().as_ref().to_vec()), record })
    }
}

async fn report(connection: &mut Connection) -> FollowReport {
    let pick = |message| match message {
        AgentMessage::FollowReport(report) => Some(report),
        _ => None,
    };
    connection.wait_for(pick).await
}

fn tomorrow() -> DateTime<Utc> {
    Utc::now() + TimeDelta::days(1)
}

async fn elsewhere() -> (Ca, Scripted) {
    let ca = Ca::new("elsewhere");
    let server = Scripted::start_with(Some(ca.acceptor("localhost", &[&ca]))).await;
    (ca, server)
}

#[tokio::test]
async fn nobody_sends_an_agent_away_but_its_own_installation_and_never_back_in_time() {
    let (mut server, (ca, there)) = (Scripted::start().await, elsewhere().await);
    let (ours, theirs) = (Installation::new(1), Installation::new(2));
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    connection.send(ours.message(None)).await;
    let yesterday = Utc::now() - TimeDelta::days(1);
    let plain = there.url.replace("https", "http");
    let cases = [
        ("a record for another installation", theirs.says(9, &there.url, &ca, tomorrow()), "SIGNATURE"),
        ("an expired record", ours.says(9, &there.url, &ca, yesterday), "EXPIRED"),
        ("a place without TLS", ours.says(9, &plain, &ca, tomorrow()), "ADDRESS"),
    ];
    for (what, message, code) in cases {
        connection.send(message).await;
        let said = report(&mut connection).await;
        assert_eq!((said.state, said.error_code.as_deref()), (FollowState::Refused, Some(code)), "{what}");
        assert_eq!(connection.run(shell("echo here")).await.stdout, b"here\n", "{what}");
    }
    assert!(!read(agent.state_dir().join("follow.json")).contains("trial\":{"));
}

#[tokio::test]
async fn an_agent_works_on_at_the_new_place_and_nothing_older_takes_it_away() {
    let (mut server, (ca, mut there)) = (Scripted::start().await, elsewhere().await);
    let ours = Installation::new(1);
    let agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    connection.send(ours.says(5, &there.url, &ca, tomorrow())).await;
    connection.closed().await;
    let (mut connection, _) = there.welcome().await;
    assert_eq!(connection.headers["authorization"], format!("Bearer {KEY}"));
    let said = report(&mut connection).await;
    assert_eq!((said.serial, said.state), (5, FollowState::Confirmed));
    connection.send(ours.says(4, "https://old.example.com", &ca, tomorrow())).await;
    let said = report(&mut connection).await;
    assert_eq!((said.state, said.error_code.as_deref()), (FollowState::Refused, Some("OLDER")));
    assert_eq!(connection.run(shell("echo there")).await.stdout, b"there\n");
    agent.stop().await;
}

/// Killed again and again while it moves, the agent is at one of the two in the end, with the key it had.
#[tokio::test(flavor = "multi_thread")]
async fn kills_while_it_moves_lose_no_agent() {
    let (mut server, (ca, mut there)) = (Scripted::start().await, elsewhere().await);
    let ours = Installation::new(1);
    for pause in [0, 5, 20, 60, 150, 400] {
        let state = TestAgent::enrolled(&server.url);
        let start = || {
            let mut command = Command::new(PROGRAM);
            command.arg("run").arg("--state-dir").arg(state.path().join("state")).stderr(Stdio::null());
            Process(command.spawn().unwrap())
        };
        let process = start();
        let (mut connection, _) = server.welcome().await;
        connection.send(ours.says(1, &there.url, &ca, tomorrow())).await;
        tokio::time::sleep(Duration::from_millis(pause)).await;
        drop(process);
        drop(connection);
        let process = start();
        let said = tokio::time::timeout(PATIENCE, async {
            loop {
                let mut connection = tokio::select! {
                    connection = server.accept() => connection,
                    connection = there.accept() => connection,
                };
                // One of the agent that was killed says nothing more.
                if let Some(AgentMessage::Hello(_)) = connection.next().await {
                    return connection.headers["authorization"].clone();
                }
            }
        });
        let said = said.await.unwrap_or_else(|_| panic!("killed after {pause} ms it is nowhere"));
        assert_eq!(said, format!("Bearer {KEY}"));
        drop(process);
    }
}
