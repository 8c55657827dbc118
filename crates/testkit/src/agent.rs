//! A scripted agent: the real protocol over a real WebSocket, and as much misbehaviour as a test wants.

use crate::client::{Answer, ApiClient};
use crate::endpoint::Endpoint;
use crate::server::SeededAgent;
use crate::socket::{Closed, TestSocket};
use chrono::Utc;
use gururmm_protocol::command::{
    Bytes, CommandEnd, CommandStart, Outcome, OutputChunk, ResumedCommand, Stream,
};
use gururmm_protocol::follow::FollowMe;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::system::{MachineIdentity, OsType, SystemInfo, UidSource};
use gururmm_protocol::to_agent::Welcome;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::update::{UpdateAbility, UpdateOrder, UpdateReport, UpdateState};
use gururmm_protocol::{
    AgentMessage, Decoded, SUPPORTED, ServerMessage, UpdateId, decode_server_message, encode,
};

/// Where agents connect.
pub const SOCKET_PATH: &str = "/api/v1/agent/socket";
/// Names the agent beside its key.
pub const AGENT_HEADER: &str = "x-gururmm-agent";

/// A machine that is connected.
pub struct TestAgent {
    /// The socket, for frames no honest agent sends.
    pub socket: TestSocket,
    pub machine: SeededAgent,
    pub welcome: Welcome,
}

impl TestAgent {
    /// Connects and says hello.
    pub async fn connect(server: &impl Endpoint, machine: &SeededAgent) -> Self {
        Self::connect_with(server, machine, Vec::new()).await
    }

    /// The same with commands still in its journal.
    pub async fn connect_with(
        server: &impl Endpoint,
        machine: &SeededAgent,
        commands: Vec<ResumedCommand>,
    ) -> Self {
        match Self::open(server, machine).await {
            Ok(socket) => Self::greet(socket, machine, commands).await,
            Err(answer) => panic!("{answer}"),
        }
    }

    /// Connects and says a hello of one's own.
    pub async fn connect_saying(server: &impl Endpoint, machine: &SeededAgent, hello: Hello) -> Self {
        match Self::open(server, machine).await {
            Ok(socket) => Self::greet_saying(socket, machine, hello).await,
            Err(answer) => panic!("{answer}"),
        }
    }

    /// Says hello on an open socket, and is welcomed.
    pub async fn greet(socket: TestSocket, machine: &SeededAgent, commands: Vec<ResumedCommand>) -> Self {
        Self::greet_saying(socket, machine, hello(machine, commands)).await
    }

    async fn greet_saying(mut socket: TestSocket, machine: &SeededAgent, hello: Hello) -> Self {
        socket.send_text(encode(&AgentMessage::Hello(hello)).unwrap()).await;
        let first = socket.next().await.unwrap_or_else(|closed| panic!("no welcome but {closed:?}"));
        let Decoded::Known(ServerMessage::Welcome(welcome)) = decode_server_message(&first).unwrap() else {
            panic!("no welcome but {first}")
        };
        Self { socket, machine: machine.clone(), welcome }
    }

    /// Opens the socket with the machine's credential, and says nothing yet.
    pub async fn open(server: &impl Endpoint, machine: &SeededAgent) -> Result<TestSocket, Answer> {
        Self::client(server, machine).upgrade(SOCKET_PATH).await
    }

    /// A client with the machine's credential.
    pub fn client(server: &impl Endpoint, machine: &SeededAgent) -> ApiClient {
        server.anonymous().with_bearer(&machine.key).with(AGENT_HEADER, &machine.id.to_string())
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &AgentMessage) {
        self.socket.send_text(encode(message).unwrap()).await;
    }

    /// The next message, or how the server ended the session. Whom to follow is told to everybody at every hello, and
    /// passed over.
    pub async fn next(&mut self) -> Result<ServerMessage, Closed> {
        loop {
            match self.next_of_all().await {
                Ok(ServerMessage::FollowMe(FollowMe { record: None, .. })) => {}
                other => return other,
            }
        }
    }

    /// The next message of every kind, or how the server ended the session.
    pub async fn next_of_all(&mut self) -> Result<ServerMessage, Closed> {
        self.socket.next().await.map(|text| read(&text))
    }

    /// The first message that `pick` takes; others are passed over.
    pub async fn expect<T>(&mut self, what: &str, mut pick: impl FnMut(ServerMessage) -> Option<T>) -> T {
        let deadline = tokio::time::Instant::now() + crate::PATIENCE;
        loop {
            match self.next().await {
                Ok(message) => {
                    if let Some(picked) = pick(message) {
                        return picked;
                    }
                }
                Err(closed) => panic!("the server closed instead of sending {what}: {closed:?}"),
            }
            assert!(tokio::time::Instant::now() < deadline, "no {what} came");
        }
    }

    /// The next order to run something.
    pub async fn expect_command(&mut self) -> CommandStart {
        let pick = |message| match message {
            ServerMessage::CommandStart(start) => Some(start),
            _ => None,
        };
        self.expect("command", pick).await
    }

    /// The next order to become another version.
    pub async fn expect_update(&mut self) -> UpdateOrder {
        let pick = |message| match message {
            ServerMessage::UpdateOrder(order) => Some(order),
            _ => None,
        };
        self.expect("update order", pick).await
    }

    /// Says how far an update is, and waits until that is acknowledged.
    pub async fn report_update(&mut self, update_id: UpdateId, version: &str, state: UpdateState) {
        let report = UpdateReport {
            update_id,
            state,
            version: version.to_owned(),
            error_code: (state == UpdateState::RolledBack).then(|| "DID_NOT_STAY".to_owned()),
            error: (state == UpdateState::RolledBack).then(|| "it did not connect".to_owned()),
            at: Utc::now(),
        };
        self.send(&AgentMessage::UpdateReport(report)).await;
        let pick = |message| match message {
            ServerMessage::UpdateReportAck { update_id: id, state: of } if (id, of) == (update_id, state) => {
                Some(())
            }
            _ => None,
        };
        self.expect("acknowledgement of the report", pick).await;
    }

    /// Runs a command as an honest agent would: started, one piece of output, end. Waits for the last acknowledgement.
    pub async fn run(&mut self, start: &CommandStart, stdout: &str, exit_code: i32) {
        let command_id = start.command_id;
        self.send(&AgentMessage::CommandStarted { command_id, started_at: Utc::now() }).await;
        let mut last_seq = 0;
        if !stdout.is_empty() {
            last_seq = 1;
            let data = Bytes(stdout.as_bytes().to_vec());
            let chunk = OutputChunk { command_id, seq: last_seq, stream: Stream::Stdout, data };
            self.send(&AgentMessage::CommandOutput(chunk)).await;
        }
        let end = CommandEnd {
            command_id,
            outcome: if exit_code == 0 { Outcome::Completed } else { Outcome::Failed },
            exit_code: Some(exit_code),
            error: None,
            error_code: None,
            stdout_bytes: stdout.len() as u64,
            stderr_bytes: 0,
            truncated: false,
            last_seq,
            started_at: Some(Utc::now()),
            ended_at: Utc::now(),
        };
        self.send(&AgentMessage::CommandEnded(end)).await;
        let pick = |message| match message {
            ServerMessage::CommandEndAck { command_id: ended } if ended == command_id => Some(()),
            _ => None,
        };
        self.expect("acknowledgement of the end", pick).await;
    }

    /// Answers every command with `reply` (output and exit code) until the session ends or the task is aborted.
    pub fn answer_commands(
        mut self,
        reply: impl Fn(&CommandStart) -> (String, i32) + Send + 'static,
    ) -> tokio::task::JoinHandle<Closed> {
        tokio::spawn(async move {
            loop {
                // Nothing may be asked of it for a long time.
                match self.socket.next_ever().await.map(|text| read(&text)) {
                    Ok(ServerMessage::CommandStart(start)) => {
                        let (stdout, exit_code) = reply(&start);
                        self.run(&start, &stdout, exit_code).await;
                    }
                    Ok(_) => {}
                    Err(closed) => return closed,
                }
            }
        })
    }
}

fn read(text: &str) -> ServerMessage {
    match decode_server_message(text).unwrap() {
        Decoded::Known(message) => message,
        Decoded::Unknown { kind } => panic!("a message of unknown kind {kind}"),
    }
}

/// What a machine says of itself.
pub fn hello(machine: &SeededAgent, commands: Vec<ResumedCommand>) -> Hello {
    Hello {
        protocols: SUPPORTED.to_vec(),
        agent_version: "0.1.0".into(),
        system: system(&machine.hostname),
        identity: MachineIdentity {
            machine_uid: machine.machine_uid.clone(),
            machine_uid_source: UidSource::SmbiosUuid,
            board_serial: None,
            disk_serial: None,
        },
        commands,
        update: None,
        tunnels: Vec::new(),
    }
}

/// What a machine says of itself whose agent runs this version, and can become another one.
pub fn updatable(machine: &SeededAgent, version: &str, previous: Option<&str>) -> Hello {
    let ability =
        UpdateAbility { supported: true, reason: None, previous_version: previous.map(str::to_owned) };
    Hello { agent_version: version.to_owned(), update: Some(ability), ..hello(machine, Vec::new()) }
}

/// An ordinary small server.
pub fn system(hostname: &str) -> SystemInfo {
    SystemInfo {
        hostname: hostname.into(),
        os_type: OsType::Linux,
        os_version: "Debian GNU/Linux 12 (bookworm)".into(),
        arch: "x86_64".into(),
        kernel: Some("6.1.0-18-amd64".into()),
        cpu_model: Some("Example CPU 3000".into()),
        cpu_cores: Some(4),
        memory_bytes: Some(8 << 30),
        manufacturer: Some("Example Works".into()),
        model: Some("Model One".into()),
        serial: None,
        boot_time: None,
        virtualization: None,
    }
}

/// A measurement with plausible figures, taken now.
pub fn sample() -> Sample {
    Sample {
        taken_at: Utc::now(),
        interval_seconds: 60.0,
        cpu_percent: 12.5,
        cpu_count: 4,
        memory_used_bytes: 2 << 30,
        memory_total_bytes: 8 << 30,
        swap_used_bytes: 0,
        swap_total_bytes: 1 << 30,
        load: Some([0.5, 0.4, 0.3]),
        uptime_seconds: 86_400,
        boot_time: None,
        rx_bytes: 1_000,
        tx_bytes: 2_000,
        disks: Vec::new(),
        logged_in_user: None,
        user_idle_seconds: None,
        public_ip: None,
        process_count: 100,
        top_cpu: Vec::new(),
        top_memory: Vec::new(),
        sensors: None,
    }
}
