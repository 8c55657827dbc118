//! Server and agent as a model: any order of orders, losses, restarts and duplicates, and what must hold all the same.
//!
//! - no command's process is started twice;
//! - every command the server sent ends in a final state;
//! - what the server acknowledged, it has: all output without gaps, and the agent's own words about the end;
//! - a command that never ends keeps no other from ending;
//! - every crash is reported until the server has it, and a log that is asked for comes whole and in order, or not at
//!   all when the connection breaks.

use super::*;
use crate::session::ledger::never_ran;
use gururmm_protocol::command::{Bytes, CommandKind, CommandStart, Outcome, OutputChunk, RunContext, Stream};
use gururmm_protocol::log::{CrashCause, CrashReport, LogEnd, LogPart};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap, HashSet};

pub fn start(command_id: CommandId) -> CommandStart {
    CommandStart {
        command_id,
        kind: CommandKind::Shell,
        command: "true".into(),
        interpreter: None,
        context: RunContext::System,
        elevated: false,
        timeout_seconds: 60,
        working_directory: None,
        environment: BTreeMap::new(),
        stdin: None,
    }
}

/// How many commands are started at once, and run at all: few, so that some wait and some are refused.
const ROOM: (usize, usize) = (3, 6);

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// Somebody orders a command; a stuck one never ends by itself.
    Order { is_stuck: bool },
    /// Somebody cancels one of the commands.
    Cancel(usize),
    /// The server sends an order or a cancellation once more.
    Repeat(usize),
    /// A message reaches the server.
    ToServer,
    /// A message reaches the agent.
    ToAgent,
    /// A message of the agent's is put on the wire.
    Transmit,
    /// One of the agent's orders is carried out.
    Act,
    /// A process that runs prints something.
    Print(usize),
    /// A process that runs ends.
    End(usize),
    /// The agent finds a report of a crash.
    Crash,
    /// Somebody asks for the agent's log, which has so many pieces.
    AskLog(u64),
    /// The connection breaks; what was on the wire is lost.
    Break,
    /// The server dies and starts again with what it had stored.
    RestartServer,
    /// The agent is killed and starts again with what is on its disk; its processes are ended.
    KillAgent,
    /// The disk is full for one start.
    FillDisk,
    /// Connects, if there is no connection.
    Connect,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => prop::bool::weighted(0.2).prop_map(|is_stuck| Step::Order { is_stuck }),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Repeat),
        8 => Just(Step::ToServer),
        8 => Just(Step::ToAgent),
        8 => Just(Step::Transmit),
        8 => Just(Step::Act),
        4 => any::<usize>().prop_map(Step::Print),
        3 => any::<usize>().prop_map(Step::End),
        1 => Just(Step::Crash),
        1 => (0..12_u64).prop_map(Step::AskLog),
        1 => Just(Step::Break),
        1 => Just(Step::RestartServer),
        1 => Just(Step::KillAgent),
        1 => Just(Step::FillDisk),
        4 => Just(Step::Connect),
    ];
    prop::collection::vec(step, 0..160)
}

/// The server's row of a command.
#[derive(Debug, Clone, Default)]
struct Row {
    is_cancelled: bool,
    is_running: bool,
    output: Vec<u32>,
    end: Option<CommandEnd>,
}

/// What the agent's disk holds of a command.
#[derive(Debug, Clone, Default)]
struct Entry {
    spooled: u32,
    end: Option<CommandEnd>,
}

struct World {
    now: Instant,
    session: Session,
    is_connected: bool,
    /// Whether the server has answered the hello of this connection.
    is_welcomed: bool,
    to_server: VecDeque<AgentMessage>,
    to_agent: VecDeque<ServerMessage>,
    // The server's database.
    rows: BTreeMap<CommandId, Row>,
    ids: Vec<CommandId>,
    stuck: HashSet<CommandId>,
    reported: HashSet<CrashId>,
    /// The log that was asked for last on this connection, and its pieces that came.
    asked_log: Option<(LogId, u32)>,
    // The agent's disk.
    journal: BTreeMap<CommandId, Entry>,
    finished: HashMap<CommandId, DateTime<Utc>>,
    is_disk_full: bool,
    crashes: HashSet<CrashId>,
    /// The log that is read, its pieces in all and those sent.
    read_log: Option<(LogId, u64, u32)>,
    // The machine.
    running: Vec<CommandId>,
    cancelling: HashSet<CommandId>,
    starts: HashMap<CommandId, u32>,
}

impl World {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            session: Session::new(now, 1, Ledger::default().with_room(ROOM.0, ROOM.1), Outbox::new(1)),
            is_connected: false,
            is_welcomed: false,
            to_server: VecDeque::new(),
            to_agent: VecDeque::new(),
            rows: BTreeMap::new(),
            ids: Vec::new(),
            stuck: HashSet::new(),
            reported: HashSet::new(),
            asked_log: None,
            journal: BTreeMap::new(),
            finished: HashMap::new(),
            is_disk_full: false,
            crashes: HashSet::new(),
            read_log: None,
            running: Vec::new(),
            cancelling: HashSet::new(),
            starts: HashMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Order { is_stuck } => {
                let id = CommandId::new();
                self.ids.push(id);
                self.rows.insert(id, Row::default());
                if is_stuck {
                    self.stuck.insert(id);
                }
                self.say(ServerMessage::CommandStart(start(id)));
            }
            Step::Cancel(n) => {
                let Some(id) = self.pick_id(n) else { return };
                if let Some(row) = self.rows.get_mut(&id).filter(|row| row.end.is_none()) {
                    row.is_cancelled = true;
                    self.say(ServerMessage::CommandCancel { command_id: id });
                }
            }
            Step::Repeat(n) => {
                let Some(id) = self.pick_id(n) else { return };
                // What the server closed on its own it never orders again; what the agent ended it might.
                if self.rows[&id].end.is_none() || self.finished.contains_key(&id) {
                    self.say(ServerMessage::CommandStart(start(id)));
                }
            }
            Step::ToServer => {
                if let Some(message) = self.to_server.pop_front() {
                    self.server_receives(message);
                }
            }
            Step::ToAgent => {
                if let Some(message) = self.to_agent.pop_front() {
                    self.session.received(self.now, Utc::now(), message);
                }
            }
            Step::Transmit => self.transmit(),
            Step::Act => {
                if let Some(action) = self.session.poll_action() {
                    self.act(action);
                }
            }
            Step::Print(n) => {
                if let Some(id) = pick(&self.running, n) {
                    let entry = self.journal.entry(id).or_default();
                    entry.spooled += 1;
                    self.session.command_output(id, entry.spooled);
                }
            }
            Step::End(n) => {
                if let Some(id) = pick(&self.running, n).filter(|id| self.may_end(*id)) {
                    self.end(id);
                }
            }
            Step::Crash => {
                let crash_id = CrashId::new();
                self.crashes.insert(crash_id);
                self.session.crash_found(crash_id);
            }
            Step::AskLog(max_bytes) if self.is_welcomed => {
                let log_id = LogId::new();
                self.asked_log = Some((log_id, 0));
                self.say(ServerMessage::LogRequest(LogRequest { log_id, max_bytes }));
            }
            Step::AskLog(_) => {}
            Step::Break => self.break_link(),
            // Everything the server keeps is stored at once; only its connections die.
            Step::RestartServer => self.break_link(),
            Step::KillAgent => self.kill_agent(),
            Step::FillDisk => self.is_disk_full = true,
            Step::Connect => self.connect(),
        }
    }

    fn pick_id(&self, n: usize) -> Option<CommandId> {
        pick(&self.ids, n)
    }

    fn may_end(&self, id: CommandId) -> bool {
        !self.stuck.contains(&id) || self.cancelling.contains(&id)
    }

    fn say(&mut self, message: ServerMessage) {
        if self.is_welcomed {
            self.to_agent.push_back(message);
        }
    }

    fn transmit(&mut self) {
        if !self.is_connected {
            return;
        }
        // Time enough for the allowance of messages to last.
        self.now += Duration::from_millis(20);
        match self.session.poll_transmit(self.now) {
            Some(Sending::Message(message)) => self.to_server.push_back(message),
            Some(Sending::Output { command_id, seq }) => {
                assert!(seq <= self.journal[&command_id].spooled, "only what is spooled is sent");
                let chunk = OutputChunk { command_id, seq, stream: Stream::Stdout, data: Bytes::default() };
                self.to_server.push_back(AgentMessage::CommandOutput(chunk));
            }
            Some(Sending::Crash(crash_id)) => self.to_server.push_back(crash_report(crash_id)),
            Some(Sending::Log(log_id)) => self.transmit_log(log_id),
            None => {}
        }
    }

    fn transmit_log(&mut self, log_id: LogId) {
        // The supervisor does everything there is to do before it sends.
        while let Some(action) = self.session.poll_action() {
            self.act(action);
        }
        let Some((_, pieces, last_seq)) = self.read_log.as_mut().filter(|(id, ..)| *id == log_id) else {
            panic!("a log is sent that nobody reads")
        };
        if u64::from(*last_seq) < *pieces {
            *last_seq += 1;
            let part = LogPart { log_id, seq: *last_seq, data: Bytes::default() };
            self.to_server.push_back(AgentMessage::LogPart(part));
        } else {
            let last_seq = *last_seq;
            let end = LogEnd { log_id, last_seq, total_bytes: 0, lost_lines: 0, error: None };
            self.to_server.push_back(AgentMessage::LogEnd(end));
            self.read_log = None;
            self.session.log_sent(log_id);
        }
    }

    /// What the reference server does with each message.
    fn server_receives(&mut self, message: AgentMessage) {
        match message {
            AgentMessage::Hello(hello) => {
                self.is_welcomed = true;
                self.to_agent.push_back(ServerMessage::Welcome(welcome(300)));
                let held: HashMap<_, _> =
                    hello.commands.iter().map(|held| (held.command_id, held.ended)).collect();
                for (id, row) in &mut self.rows {
                    let command_id = *id;
                    match (row.end.is_some(), held.get(id)) {
                        // Nobody started it, and nobody may any more.
                        (false, None) if row.is_cancelled => {
                            assert!(!row.is_running, "what ran is held until its end is acknowledged");
                            row.end = Some(never_ran(command_id, Outcome::Cancelled, Utc::now()));
                        }
                        (false, None) => {
                            assert!(!row.is_running, "what ran is held until its end is acknowledged");
                            self.to_agent.push_back(ServerMessage::CommandStart(start(command_id)));
                        }
                        (is_final, Some(false)) if is_final || row.is_cancelled => {
                            self.to_agent.push_back(ServerMessage::CommandCancel { command_id });
                        }
                        _ => {}
                    }
                }
            }
            AgentMessage::CommandStarted { command_id, .. } => {
                self.rows.get_mut(&command_id).unwrap().is_running = true;
            }
            AgentMessage::CommandOutput(chunk) => {
                let row = self.rows.get_mut(&chunk.command_id).unwrap();
                if !row.output.contains(&chunk.seq) {
                    row.output.push(chunk.seq);
                }
                let ack = ServerMessage::CommandOutputAck { command_id: chunk.command_id, seq: chunk.seq };
                self.to_agent.push_back(ack);
            }
            AgentMessage::CommandEnded(end) => {
                let command_id = end.command_id;
                let row = self.rows.get_mut(&command_id).unwrap();
                if row.end.is_none() {
                    assert_eq!(row.output.len() as u32, end.last_seq, "the end comes after all output");
                    row.end = Some(end);
                }
                self.to_agent.push_back(ServerMessage::CommandEndAck { command_id });
            }
            AgentMessage::CrashReport(report) => {
                self.reported.insert(report.crash_id);
                self.to_agent.push_back(ServerMessage::CrashReportAck { crash_id: report.crash_id });
            }
            // What comes of a log nobody waits for any more is dropped.
            AgentMessage::LogPart(part) => {
                if let Some((_, seq)) = self.asked_log.as_mut().filter(|(id, _)| *id == part.log_id) {
                    *seq += 1;
                    assert_eq!(part.seq, *seq);
                }
            }
            AgentMessage::LogEnd(end) => {
                if let Some((_, seq)) = self.asked_log.take_if(|(id, _)| *id == end.log_id) {
                    assert_eq!(end.last_seq, seq);
                }
            }
            _ => {}
        }
    }

    /// What supervisor, runner and journal do with each order.
    fn act(&mut self, action: Action) {
        match action {
            Action::Disconnect { .. } => self.break_link(),
            Action::Order(Order::Run(start)) => {
                let id = start.command_id;
                if std::mem::take(&mut self.is_disk_full) {
                    let error_code = Some("JOURNAL_FAILED".into());
                    let end = never_ran(id, Outcome::Failed, Utc::now());
                    self.session.command_ended(CommandEnd { error_code, ..end });
                    return;
                }
                assert!(self.journal.insert(id, Entry::default()).is_none(), "journaled twice");
                assert!(!self.finished.contains_key(&id));
                assert!(self.rows[&id].end.is_none(), "started although the server had closed it");
                *self.starts.entry(id).or_default() += 1;
                self.running.push(id);
                self.session.command_started(id, Utc::now());
            }
            Action::Order(Order::Cancel(id)) if self.running.contains(&id) => {
                self.cancelling.insert(id);
            }
            Action::Order(Order::Forget(id)) => {
                self.journal.remove(&id);
                self.finished.insert(id, Utc::now());
            }
            Action::Log(request) => {
                self.read_log = request.map(|request| (request.log_id, request.max_bytes, 0));
            }
            Action::ForgetCrash(crash_id) => {
                assert!(self.crashes.remove(&crash_id) && self.reported.contains(&crash_id));
            }
            _ => {}
        }
    }

    fn end(&mut self, id: CommandId) {
        self.running.retain(|running| *running != id);
        let outcome = if self.cancelling.remove(&id) { Outcome::Cancelled } else { Outcome::Completed };
        let entry = self.journal.entry(id).or_default();
        let end = CommandEnd {
            last_seq: entry.spooled,
            started_at: Some(Utc::now()),
            ..never_ran(id, outcome, Utc::now())
        };
        entry.end = Some(end.clone());
        self.session.command_ended(end);
    }

    fn connect(&mut self) {
        if self.is_connected {
            return;
        }
        self.now = self.now.max(self.session.deadline());
        self.session.tick(self.now, Utc::now());
        // Orders that were given stand before the wish to connect.
        while let Some(action) = self.session.poll_action() {
            self.act(action);
        }
        self.is_connected = true;
        self.session.connected(self.now, hello());
    }

    fn break_link(&mut self) {
        if self.is_connected {
            self.is_connected = false;
            self.is_welcomed = false;
            self.to_agent.clear();
            self.to_server.clear();
            self.asked_log = None;
            self.session.lost(self.now, Setback::Lost);
        }
    }

    fn kill_agent(&mut self) {
        self.break_link();
        self.running.clear();
        self.cancelling.clear();
        let mut ended = Vec::new();
        for (id, entry) in &mut self.journal {
            let interrupted =
                CommandEnd { last_seq: entry.spooled, ..never_ran(*id, Outcome::Interrupted, Utc::now()) };
            ended.push(entry.end.get_or_insert(interrupted).clone());
        }
        let ledger = Ledger::new(ended, &[], self.finished.clone()).with_room(ROOM.0, ROOM.1);
        self.session = Session::new(self.now, 1, ledger, Outbox::new(1));
        self.read_log = None;
        self.crashes.iter().for_each(|crash_id| self.session.crash_found(*crash_id));
    }

    /// Everything works from here on, and goes on until nothing moves any more.
    fn settle(&mut self) {
        let mut is_quiet = false;
        for round in 0.. {
            assert!(round < 10_000, "it never comes to rest");
            self.connect();
            self.session.tick(self.now, Utc::now());
            let before = self.to_server.len() + self.to_agent.len();
            (0..4).for_each(|_| self.transmit());
            let mut moved = before + self.to_server.len() + self.to_agent.len() > 0;
            while let Some(message) = self.to_server.pop_front() {
                self.server_receives(message);
            }
            while let Some(message) = self.to_agent.pop_front() {
                self.session.received(self.now, Utc::now(), message);
            }
            while let Some(action) = self.session.poll_action() {
                moved = true;
                self.act(action);
            }
            for id in self.running.clone() {
                if self.may_end(id) {
                    moved = true;
                    self.end(id);
                }
            }
            if !moved && is_quiet {
                return;
            }
            if !moved {
                // What waits for its turn gets it without anything else having to happen.
                self.now = self.now.max(self.session.deadline().min(self.now + Duration::from_secs(10)));
            }
            is_quiet = !moved;
        }
    }

    fn check(&self) {
        for (id, count) in &self.starts {
            assert_eq!(*count, 1, "{id} was started {count} times");
        }
    }

    fn unfinished(&self) -> Vec<CommandId> {
        self.rows.iter().filter(|(_, row)| row.end.is_none()).map(|(id, _)| *id).collect()
    }
}

fn crash_report(crash_id: CrashId) -> AgentMessage {
    AgentMessage::CrashReport(CrashReport {
        crash_id,
        cause: CrashCause::Killed,
        crashed_at: Utc::now(),
        agent_version: "0".into(),
        message: None,
        log: Bytes::default(),
    })
}

fn pick(ids: &[CommandId], n: usize) -> Option<CommandId> {
    (!ids.is_empty()).then(|| ids[n % ids.len()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_commands_run_at_most_once_and_end(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
            world.check();
        }
        world.settle();
        world.check();
        // Only commands that never end by themselves, and that nobody cancelled, still run.
        for id in world.unfinished() {
            prop_assert!(world.stuck.contains(&id) && world.running.contains(&id));
        }
        for id in world.unfinished() {
            world.rows.get_mut(&id).unwrap().is_cancelled = true;
            world.say(ServerMessage::CommandCancel { command_id: id });
        }
        world.settle();
        world.check();
        prop_assert_eq!(world.unfinished(), vec![]);
        // Nothing is left to send, and nothing that ended is still held.
        prop_assert_eq!(world.session.pending_commands(), 0);
        prop_assert!(world.journal.is_empty());
        prop_assert!(world.crashes.is_empty());
        prop_assert!(world.asked_log.is_none() && world.read_log.is_none());
        for (id, row) in &world.rows {
            let end = row.end.as_ref().unwrap();
            // A command that ran says so, unless somebody asked again for what was over, or the agent died.
            let ran = world.starts.contains_key(id);
            prop_assert!(ran || matches!(end.outcome, Outcome::Cancelled | Outcome::Failed), "{end:?}");
            let numbered: Vec<u32> = (1..=end.last_seq).collect();
            prop_assert_eq!(&row.output, &numbered);
        }
    }
}
