//! The agent's program and its machine: the real session and journal on a real disk, and made-up processes.

use super::pick;
use chrono::Utc;
use gururmm_agent::clock::ServerClock;
use gururmm_agent::journal::{Journal, Recovered, SpoolReader, SpoolWriter};
use gururmm_agent::outbox::Outbox;
use gururmm_agent::session::backoff::Setback;
use gururmm_agent::session::ledger::{Ledger, Order, Sending, never_ran};
use gururmm_agent::session::{Action, Session};
use gururmm_protocol::command::{Bytes, CommandEnd, Outcome, OutputChunk, Stream};
use gururmm_protocol::{AgentMessage, CommandId, Decoded, ServerMessage, decode_server_message, encode};
use gururmm_testkit::{SeededAgent, TestAgent, TestServer, TestSocket};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Output of the made-up processes that is kept.
const OUTPUT_LIMIT_BYTES: u64 = 1 << 20;

/// One connection: the server's real socket, and what is on its way in both directions.
struct Link {
    socket: TestSocket,
    to_server: VecDeque<AgentMessage>,
    carried_to_server: Vec<AgentMessage>,
    to_agent: VecDeque<ServerMessage>,
    carried_to_agent: Vec<ServerMessage>,
}

/// The agent's program and its machine, around the real session and journal. It does as `supervisor.rs` does.
pub struct Machine {
    pub seeded: SeededAgent,
    pub disk: tempfile::TempDir,
    /// Only ever goes forward, and faster than the test.
    now: Instant,
    clock: ServerClock,
    pub session: Session,
    journal: Journal,
    readers: HashMap<CommandId, SpoolReader>,
    pub running: BTreeMap<CommandId, SpoolWriter>,
    cancelling: BTreeSet<CommandId>,
    link: Option<Link>,
    /// How often a process was started, whatever the agent remembers of it.
    pub starts: BTreeMap<CommandId, u32>,
    /// What processes printed.
    pub printed: BTreeMap<CommandId, String>,
    /// Ends as the agent has them, until and after the server acknowledged them.
    pub ends: BTreeMap<CommandId, Outcome>,
    pub acknowledged: BTreeSet<CommandId>,
}

impl Machine {
    pub fn new(seeded: SeededAgent) -> Self {
        let (disk, now) = (tempfile::tempdir().unwrap(), Instant::now());
        let (journal, _) = Journal::open(disk.path()).unwrap();
        Self {
            seeded,
            disk,
            now,
            clock: ServerClock::default(),
            session: Session::new(now, 1, Ledger::default(), Outbox::new(1)),
            journal,
            readers: HashMap::new(),
            running: BTreeMap::new(),
            cancelling: BTreeSet::new(),
            link: None,
            starts: BTreeMap::new(),
            printed: BTreeMap::new(),
            ends: BTreeMap::new(),
            acknowledged: BTreeSet::new(),
        }
    }

    pub async fn connect(&mut self, server: &TestServer) {
        if self.link.is_some() {
            return;
        }
        // What is still to be done may be to give up a connection; then it wants the next one later.
        let mut wants = false;
        while !wants {
            self.now = self.now.max(self.session.deadline());
            self.session.tick(self.now, Utc::now());
            while let Some(action) = self.session.poll_action() {
                wants |= action == Action::Connect;
                self.act(action);
            }
        }
        let socket = TestAgent::open(server, &self.seeded).await.unwrap_or_else(|answer| panic!("{answer}"));
        self.link = Some(Link {
            socket,
            to_server: VecDeque::new(),
            carried_to_server: Vec::new(),
            to_agent: VecDeque::new(),
            carried_to_agent: Vec::new(),
        });
        let hello = gururmm_testkit::agent::hello(&self.seeded, Vec::new());
        self.session.connected(self.now, hello);
    }

    pub fn break_link(&mut self) {
        if self.link.take().is_some() {
            self.session.lost(self.now, Setback::Lost);
        }
    }

    pub fn transmit(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        // Time enough for the allowance of messages to last.
        self.now += Duration::from_millis(20);
        self.session.tick(self.now, Utc::now());
        let message = match self.session.poll_transmit(self.now) {
            None => return false,
            Some(Sending::Message(message)) => message,
            Some(Sending::Crash(_) | Sending::Log(_)) => {
                unreachable!("nothing crashes here, and no log is asked for")
            }
            Some(Sending::Output { command_id, seq }) => {
                let journal = &self.journal;
                let reader = self.readers.entry(command_id).or_insert_with(|| journal.reader(command_id));
                let (stream, data) = reader.read(seq).unwrap();
                AgentMessage::CommandOutput(OutputChunk { command_id, seq, stream, data: Bytes(data) })
            }
        };
        link.to_server.push_back(message);
        true
    }

    pub async fn carry_to_server(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let Some(message) = link.to_server.pop_front() else { return false };
        link.socket.send_text(encode(&message).unwrap()).await;
        // A hello is said once per connection by any agent, and a repeated one names what the agent held long ago.
        if !matches!(message, AgentMessage::Hello(_)) {
            link.carried_to_server.push(message);
        }
        true
    }

    pub async fn repeat_to_server(&mut self, n: usize) {
        let Some(link) = &mut self.link else { return };
        if let Some(message) = pick(&link.carried_to_server, n) {
            link.socket.send_text(encode(&message).unwrap()).await;
        }
    }

    pub async fn hear_server(&mut self, patience: Duration) -> bool {
        let Some(link) = &mut self.link else { return false };
        match tokio::time::timeout(patience, link.socket.next_ever()).await {
            Err(_) => false,
            Ok(Err(_closed)) => {
                self.break_link();
                true
            }
            Ok(Ok(text)) => {
                let Decoded::Known(message) = decode_server_message(&text).unwrap() else { panic!("{text}") };
                link.to_agent.push_back(message);
                true
            }
        }
    }

    pub fn carry_to_agent(&mut self) -> bool {
        let Some(link) = &mut self.link else { return false };
        let Some(message) = link.to_agent.pop_front() else { return false };
        link.carried_to_agent.push(message.clone());
        self.session.received(self.now, Utc::now(), message);
        true
    }

    pub fn repeat_to_agent(&mut self, n: usize) {
        let Some(link) = &mut self.link else { return };
        if let Some(message) = pick(&link.carried_to_agent, n) {
            self.session.received(self.now, Utc::now(), message);
        }
    }

    /// All that this link ever carried, once more, when everything is over.
    pub async fn repeat_all(&mut self) {
        let Some(link) = &self.link else { return };
        let (to_server, to_agent) = (link.carried_to_server.len(), link.carried_to_agent.len());
        for n in 0..to_agent {
            self.repeat_to_agent(n);
        }
        for n in 0..to_server {
            self.repeat_to_server(n).await;
        }
    }

    pub fn act(&mut self, action: Action) {
        match action {
            Action::Disconnect { .. } => self.link = None,
            Action::Order(Order::Run(start)) => {
                let id = start.command_id;
                let spool = self.journal.begin(id, self.clock.now(), OUTPUT_LIMIT_BYTES).unwrap();
                let count = self.starts.entry(id).or_default();
                *count += 1;
                assert_eq!(*count, 1, "{id} was started a second time");
                self.running.insert(id, spool);
                self.session.command_started(id, self.clock.now());
            }
            Action::Order(Order::Cancel(id)) if self.running.contains_key(&id) => {
                self.cancelling.insert(id);
            }
            Action::Order(Order::ReleaseOutput { command_id, seq }) => {
                if let Some(reader) = self.readers.get_mut(&command_id) {
                    reader.release(seq);
                }
            }
            Action::Order(Order::Forget(id)) => {
                self.readers.remove(&id);
                self.journal.forget(id, self.clock.now()).unwrap();
                self.acknowledged.insert(id);
            }
            _ => {}
        }
    }

    pub fn print(&mut self, n: usize) {
        let Some(id) = pick(&self.running.keys().copied().collect::<Vec<_>>(), n) else { return };
        let text = format!("{n};");
        let spool = self.running.get_mut(&id).unwrap();
        spool.append(Stream::Stdout, text.as_bytes());
        self.session.command_output(id, spool.state().last_seq());
        self.printed.entry(id).or_default().push_str(&text);
    }

    pub fn end(&mut self, n: usize) {
        let Some(id) = pick(&self.running.keys().copied().collect::<Vec<_>>(), n) else { return };
        let spool = self.running.remove(&id).unwrap();
        let outcome = match self.cancelling.remove(&id) {
            true => Outcome::Cancelled,
            false => [Outcome::Completed, Outcome::Failed, Outcome::Timeout][n % 3],
        };
        let end = CommandEnd {
            exit_code: (outcome == Outcome::Completed).then_some(0),
            stdout_bytes: spool.stdout_bytes,
            last_seq: spool.state().last_seq(),
            started_at: Some(self.clock.now()),
            ..never_ran(id, outcome, self.clock.now())
        };
        self.journal.end(&end).unwrap();
        self.ended(end);
    }

    fn ended(&mut self, end: CommandEnd) {
        assert_eq!(self.ends.insert(end.command_id, end.outcome), None, "it ended a second time");
        self.session.command_ended(end);
    }

    /// What the agent has in memory is gone; what is on its disk is all that the next one has.
    pub fn kill(&mut self) {
        self.link = None;
        self.running.clear();
        self.cancelling.clear();
        self.readers.clear();
        let (journal, recovered) = Journal::open(self.disk.path()).unwrap();
        let Recovered { ended, interrupted, finished, damaged } = recovered;
        assert_eq!(damaged, 0);
        let unfinished: Vec<_> = interrupted.iter().map(|end| end.command_id).collect();
        self.journal = journal;
        let ledger = Ledger::new(ended, &unfinished, finished);
        self.session = Session::new(self.now, 1, ledger, Outbox::new(1));
        for end in interrupted {
            self.journal.end(&end).unwrap();
            self.ended(end);
        }
    }
}
