//! A server that does what a test says, and an agent that runs against it.

use chrono::Utc;
use futures_util::{SinkExt, StreamExt};
use gururmm_agent::identity::{Identity, Secret};
use gururmm_agent::state::StateDir;
use gururmm_agent::supervisor::{Run, Supervisor};
use gururmm_protocol::bootstrap::{BootstrapAction, HelloRequest, HelloResponse};
use gururmm_protocol::command::{CommandEnd, CommandKind, CommandStart, RunContext, Stream};
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::to_agent::Welcome;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::update::{METADATA_PATH, TARGETS_PATH, UpdateOrder};
use gururmm_protocol::{
    AgentId, AgentMessage, CommandId, Decoded, SUPPORTED, ServerMessage, decode_agent_message, encode,
};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

/// Long enough for a loaded test machine; nothing waits for it when all is well.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Whence this server claims to see its agents.
pub const OBSERVED_IP: IpAddr = IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1));
pub const KEY: &str = "cak_test-only";

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// What the server does with a request for the socket.
#[derive(Clone)]
pub enum Mode {
    Accept,
    /// Answers with this status and problem code.
    Refuse(u16, &'static str),
    /// Takes the connection and says nothing.
    Hang,
    /// Upgrades without having understood the request.
    WrongAccept,
}

/// What a request for a file is answered with.
#[derive(Clone)]
pub enum Reply {
    NotFound,
    Bytes(Vec<u8>),
    /// Bytes without end, and no word of how many.
    Endless,
    /// Bytes that end before the promised number.
    CutShort(Vec<u8>),
    /// No place for now: come again in so many seconds.
    Busy(u64),
}

/// What an agent of this version is told to do when it asks, and the order that comes with it.
pub struct Told {
    pub version: String,
    pub action: BootstrapAction,
    pub update: Option<UpdateOrder>,
}

/// A folder of update metadata and programs; some of its files are answered otherwise.
#[derive(Default)]
pub struct Updates {
    pub told: Option<Told>,
    pub folder: std::path::PathBuf,
    pub instead: BTreeMap<String, Reply>,
    /// Names that were asked for.
    pub asked: Vec<String>,
}

impl Updates {
    fn reply(&mut self, path: &str) -> Option<Reply> {
        let places = [("metadata", METADATA_PATH), ("targets", TARGETS_PATH)];
        let (folder, name) = places.iter().find_map(|(folder, at)| Some((folder, path.strip_prefix(at)?)))?;
        self.asked.push(name.to_owned());
        let file =
            || std::fs::read(self.folder.join(folder).join(name)).map_or(Reply::NotFound, Reply::Bytes);
        Some(self.instead.get(name).cloned().unwrap_or_else(file))
    }
}

impl Told {
    fn answer(&self, path: &str, body: &str) -> Option<String> {
        let asks = path == "/api/v1/bootstrap/hello";
        let hello: HelloRequest = asks.then(|| serde_json::from_str(body).unwrap())?;
        let answer = (hello.agent_version == self.version).then(|| HelloResponse {
            server_version: "0.0.0-test".into(),
            protocol_versions: SUPPORTED.to_vec(),
            server_time: Utc::now(),
            action: self.action,
            socket_path: "/api/v1/agent/socket".into(),
            update: self.update.clone(),
        })?;
        Some(serde_json::to_string(&answer).unwrap())
    }
}

async fn hand_out(mut stream: Box<dyn Io>, reply: Reply) {
    let head = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    let _ = match reply {
        Reply::NotFound => stream.write_all(b"HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n").await,
        Reply::Bytes(bytes) => {
            let _ = stream.write_all(head(bytes.len()).as_bytes()).await;
            stream.write_all(&bytes).await
        }
        Reply::CutShort(bytes) => {
            let _ = stream.write_all(head(bytes.len() + 1).as_bytes()).await;
            stream.write_all(&bytes).await
        }
        Reply::Busy(seconds) => {
            let head = "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\nretry-after:";
            stream.write_all(format!("{head} {seconds}\r\n\r\n").as_bytes()).await
        }
        Reply::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await;
            while stream.write_all(&[b' '; 4096]).await.is_ok() {}
            Ok(())
        }
    };
    let _ = stream.flush().await;
}

pub struct TestServer {
    pub url: String,
    mode: Arc<Mutex<Mode>>,
    connections: mpsc::UnboundedReceiver<Connection>,
    /// Path and body of every plain request.
    pub requests: Arc<Mutex<Vec<(String, String)>>>,
    /// What is handed out below the paths of updates.
    pub updates: Arc<Mutex<Updates>>,
    attempts: mpsc::UnboundedReceiver<()>,
    task: JoinHandle<()>,
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl TestServer {
    pub async fn start() -> Self {
        Self::start_with(None).await
    }

    pub async fn start_with(tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://localhost:{}", listener.local_addr().unwrap().port());
        let mode = Arc::new(Mutex::new(Mode::Accept));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let updates = Arc::new(Mutex::new(Updates::default()));
        let (to_test, connections) = mpsc::unbounded_channel();
        let (attempted, attempts) = mpsc::unbounded_channel();
        let task = tokio::spawn({
            let (mode, requests, updates) = (mode.clone(), requests.clone(), updates.clone());
            async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let (mode, requests, updates) = (mode.clone(), requests.clone(), updates.clone());
                    let (to_test, attempted, tls) = (to_test.clone(), attempted.clone(), tls.clone());
                    tokio::spawn(async move {
                        if let Some(stream) = secure(stream, tls).await {
                            serve(stream, mode, requests, updates, to_test, attempted).await;
                        }
                    });
                }
            }
        });
        Self { url, mode, connections, requests, updates, attempts, task }
    }

    pub fn set_mode(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    /// The next socket an agent opened.
    pub async fn accept(&mut self) -> Connection {
        timeout(PATIENCE, self.connections.recv()).await.expect("no agent connected").unwrap()
    }

    /// Waits until an agent asked for the socket, whatever it was answered.
    pub async fn attempted(&mut self) {
        timeout(PATIENCE, self.attempts.recv()).await.expect("no agent asked").unwrap();
    }

    /// The next agent, welcomed.
    pub async fn welcome(&mut self) -> (Connection, Hello) {
        self.welcome_with(AgentConfig::default(), 30).await
    }

    pub async fn welcome_with(&mut self, config: AgentConfig, heartbeat_seconds: u32) -> (Connection, Hello) {
        let mut connection = self.accept().await;
        let AgentMessage::Hello(hello) = connection.receive().await else { panic!("no hello") };
        let welcome = Welcome {
            agent_id: connection.agent_id,
            protocol: hello.protocols[0],
            server_version: "0.0.0-test".into(),
            server_time: Utc::now(),
            heartbeat_seconds,
            config,
            observed_ip: Some(OBSERVED_IP),
        };
        connection.send(ServerMessage::Welcome(welcome)).await;
        (connection, hello)
    }
}

async fn secure(stream: TcpStream, tls: Option<TlsAcceptor>) -> Option<Box<dyn Io>> {
    match tls {
        Some(tls) => Some(Box::new(tls.accept(stream).await.ok()?)),
        None => Some(Box::new(stream)),
    }
}

async fn serve(
    mut stream: Box<dyn Io>,
    mode: Arc<Mutex<Mode>>,
    requests: Arc<Mutex<Vec<(String, String)>>>,
    updates: Arc<Mutex<Updates>>,
    to_test: mpsc::UnboundedSender<Connection>,
    attempted: mpsc::UnboundedSender<()>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let headers: BTreeMap<String, String> = head
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
        .collect();
    if head.starts_with("POST") {
        let length: usize = headers["content-length"].parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let body = String::from_utf8(body).unwrap();
        let told = updates.lock().unwrap().told.as_ref().and_then(|told| told.answer(&path, &body));
        requests.lock().unwrap().push((path.clone(), body));
        let (status, body) = told.map_or_else(|| answer(&path), |body| (200, body));
        let text = format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(text.as_bytes()).await;
        return;
    }
    let reply = updates.lock().unwrap().reply(&path);
    if let Some(reply) = reply {
        return hand_out(stream, reply).await;
    }
    if !headers.contains_key("x-gururmm-agent") {
        return hand_out(stream, Reply::NotFound).await;
    }
    let mode = mode.lock().unwrap().clone();
    let _ = attempted.send(());
    match mode {
        Mode::Hang => std::future::pending().await,
        Mode::Refuse(status, code) => {
            let body = format!(r#"{{"status":{status},"code":"{code}"}}"#);
            let head = format!("HTTP/1.1 {status} No\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(head.as_bytes()).await;
            // In a packet of its own: the agent must not depend on getting it with the head.
            stream.flush().await.unwrap();
            tokio::task::yield_now().await;
            let _ = stream.write_all(body.as_bytes()).await;
        }
        Mode::WrongAccept => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                        sec-websocket-accept: bm8=\r\n\r\n";
            let _ = stream.write_all(head.as_bytes()).await;
        }
        Mode::Accept => {
            let accept = derive_accept_key(headers["sec-websocket-key"].as_bytes());
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
                 sec-websocket-accept: {accept}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            // The tests send frames an agent refuses.
            let config = WebSocketConfig::default().max_frame_size(None).max_message_size(None);
            let socket = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
            let agent_id = headers["x-gururmm-agent"].parse().unwrap();
            let _ = to_test.send(Connection { socket, headers, path, agent_id, answers_heartbeats: true });
        }
    }
}

fn answer(path: &str) -> (u16, String) {
    let now = Utc::now().to_rfc3339();
    match path {
        "/api/v1/bootstrap/hello" => (
            200,
            format!(
                r#"{{"server_version":"0","protocol_versions":["1.0"],"server_time":"{now}","action":"connect","socket_path":"/api/v1/agent/socket"}}"#
            ),
        ),
        "/api/enroll" => (
            201,
            format!(
                r#"{{"agent_id":"{}","agent_key":"{KEY}","status":"active","server_time":"{now}"}}"#,
                AgentId::new()
            ),
        ),
        gururmm_protocol::watchdog::REPORT_PATH | gururmm_protocol::uninstall::REPORT_PATH => {
            (200, "{}".into())
        }
        _ => (404, r#"{"code":"NOT_FOUND","detail":"no such route"}"#.into()),
    }
}

/// An agent's socket, the server's end.
pub struct Connection {
    pub socket: WebSocketStream<Box<dyn Io>>,
    pub headers: BTreeMap<String, String>,
    pub path: String,
    pub agent_id: AgentId,
    pub answers_heartbeats: bool,
}

impl Connection {
    pub async fn send(&mut self, message: ServerMessage) {
        self.send_text(encode(&message).unwrap()).await;
    }

    pub async fn send_text(&mut self, text: String) {
        let _ = self.socket.send(Message::text(text)).await;
    }

    /// The next message; `None` when the agent is gone.
    pub async fn next(&mut self) -> Option<AgentMessage> {
        loop {
            let frame = timeout(PATIENCE, self.socket.next()).await.expect("the agent is silent");
            match frame {
                Some(Ok(Message::Text(text))) => match decode_agent_message(text.as_str()).unwrap() {
                    Decoded::Known(heartbeat @ AgentMessage::Heartbeat { .. }) if self.answers_heartbeats => {
                        self.send(ServerMessage::HeartbeatAck {
                            server_time: Utc::now(),
                            reconnect_within_seconds: None,
                        })
                        .await;
                        return Some(heartbeat);
                    }
                    Decoded::Known(message) => return Some(message),
                    Decoded::Unknown { kind } => panic!("the agent sent an unknown kind {kind}"),
                },
                Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
                Some(Ok(_)) => {}
            }
        }
    }

    pub async fn receive(&mut self) -> AgentMessage {
        self.next().await.expect("the agent closed the connection")
    }

    /// The next message that `pick` takes; others are dropped.
    pub async fn wait_for<T>(&mut self, mut pick: impl FnMut(AgentMessage) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.receive().await) {
                return picked;
            }
        }
    }

    /// Waits until the agent closed the connection.
    pub async fn closed(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Runs a command to its end, acknowledging everything.
    pub async fn run(&mut self, start: CommandStart) -> Finished {
        let command_id = start.command_id;
        self.send(ServerMessage::CommandStart(start)).await;
        self.finish(command_id).await
    }

    /// Takes a command's messages up to its end, acknowledging everything.
    pub async fn finish(&mut self, command_id: CommandId) -> Finished {
        let (mut stdout, mut stderr, mut last_seq) = (Vec::new(), Vec::new(), 0);
        loop {
            match self.receive().await {
                AgentMessage::CommandOutput(chunk) if chunk.command_id == command_id => {
                    assert_eq!(chunk.seq, last_seq + 1, "chunks come in order without gaps");
                    last_seq = chunk.seq;
                    match chunk.stream {
                        Stream::Stdout => stdout.extend(chunk.data.0),
                        Stream::Stderr => stderr.extend(chunk.data.0),
                    }
                    self.send(ServerMessage::CommandOutputAck { command_id, seq: last_seq }).await;
                }
                AgentMessage::CommandEnded(end) if end.command_id == command_id => {
                    assert_eq!(end.last_seq, last_seq, "the end comes after all output");
                    self.send(ServerMessage::CommandEndAck { command_id }).await;
                    return Finished { stdout, stderr, end };
                }
                _ => {}
            }
        }
    }

    pub async fn started(&mut self, command_id: CommandId) {
        self.wait_for(|message| {
            matches!(message, AgentMessage::CommandStarted { command_id: id, .. } if id == command_id)
                .then_some(())
        })
        .await;
    }
}

pub struct Finished {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
    pub end: CommandEnd,
}

/// A shell command with the usual options.
pub fn shell(command: impl Into<String>) -> CommandStart {
    CommandStart {
        command_id: CommandId::new(),
        kind: CommandKind::Shell,
        command: command.into(),
        interpreter: None,
        context: RunContext::System,
        elevated: false,
        timeout_seconds: 60,
        working_directory: None,
        environment: BTreeMap::new(),
        stdin: None,
    }
}

/// An agent in a task of this process, with a state folder of its own.
pub struct TestAgent {
    pub state: TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: Option<JoinHandle<()>>,
}

impl TestAgent {
    /// An enrolled state folder.
    pub fn enrolled(server: &str) -> TempDir {
        Self::enrolled_as(&Identity {
            agent_id: AgentId::new(),
            agent_key: Secret::new(KEY.into()),
            server_url: server.into(),
            site_code: "ACME-1".into(),
            enrolled_at: Utc::now(),
            ca_pinned: false,
        })
    }

    /// The same with an identity that a server knows.
    pub fn enrolled_as(identity: &Identity) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        identity.save(&state).unwrap();
        dir
    }

    pub fn start(server: &TestServer) -> Self {
        Self::start_on(Self::enrolled(&server.url))
    }

    pub fn start_on(state: TempDir) -> Self {
        let run = Run::begin(&state.path().join("state"), Arc::default()).unwrap();
        Self::start_run(state, run)
    }

    pub fn start_run(state: TempDir, run: Run) -> Self {
        let supervisor = Supervisor::open(run).unwrap();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async {
            supervisor.run(async { drop(stopped.await) }).await;
        });
        Self { state, stop: Some(stop), task: Some(task) }
    }

    pub fn state_dir(&self) -> std::path::PathBuf {
        self.state.path().join("state")
    }

    /// Asks the agent to stop and returns how long it took, and its state folder.
    pub async fn stop(mut self) -> (Duration, TempDir) {
        let begun = std::time::Instant::now();
        drop(self.stop.take());
        let task = self.task.take().unwrap();
        timeout(PATIENCE, task).await.expect("the agent does not stop").unwrap();
        (begun.elapsed(), self.state)
    }
}

/// Asks again and again until `check` holds.
pub async fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !check() {
        assert!(std::time::Instant::now() < until, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether a process lives (a zombie does not).
pub fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub fn read(path: impl AsRef<Path>) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
