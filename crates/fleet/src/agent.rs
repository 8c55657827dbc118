//! One simulated agent: connects, says hello, measures, runs commands, and comes back as the real one does.

use crate::counts::Counts;
use crate::machine::{Machine, Story};
use crate::wire::{Place, Refusal, Socket, source};
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::{SinkExt as _, StreamExt as _};
use gururmm_agent::session::backoff::{Backoff, Setback};
use gururmm_protocol::command::{
    Bytes, CommandEnd, CommandStart, Outcome, OutputChunk, ResumedCommand, Stream,
};
use gururmm_protocol::to_agent::{GoodbyeReason, Welcome};
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::{
    AgentMessage, CommandId, Decoded, SUPPORTED, ServerMessage, decode_server_message, encode,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

/// How long a hello waits for its welcome.
const WELCOME_WITHIN: Duration = Duration::from_secs(30);
/// A session that stood this long counts as good, as with the real agent.
const GOOD_AFTER: Duration = Duration::from_secs(30);
/// A sleeping machine looks at the clock this often.
const NAP: Duration = Duration::from_secs(20);
/// Samples kept until they are acknowledged: three and a half days at one a minute.
const OUTBOX: usize = 5_000;
/// Samples sent and not acknowledged at most, as with the real agent.
const IN_FLIGHT: usize = 16;
/// A sample that has waited for longer is one that the real agent would have on its disk, and sends at a limited rate.
const WAITS_ON_DISK: Duration = Duration::from_secs(15);
/// How far the real agent runs ahead of that rate.
const REPLAY_AHEAD: Duration = Duration::from_millis(500);
/// The noise that chooses where an agent goes that is turned away begins here.
const MOVES: u64 = 10_000;

/// A simulated agent with the key it enrolled with.
pub struct Agent {
    pub machine: Machine,
    pub id: String,
    pub key: String,
    /// Which place it tries next, counted on.
    turn: usize,
    /// How often it went to another one.
    moves: u64,
    /// How widely the server has its agents spread themselves when they find it gone.
    spread: Duration,
    seq: u64,
    /// Samples without an acknowledgement: what they hold follows from their time.
    outbox: VecDeque<Kept>,
    /// Commands that were started, ever: the journal.
    journal: BTreeSet<CommandId>,
    /// What was said of commands and is not yet acknowledged.
    unsettled: BTreeMap<CommandId, Vec<AgentMessage>>,
}

#[derive(Debug, Clone, Copy)]
struct Kept {
    seq: u64,
    time: DateTime<Utc>,
    interval: TimeDelta,
}

impl Kept {
    fn has_waited(&self) -> bool {
        (Utc::now() - self.time).to_std().is_ok_and(|waited| waited > WAITS_ON_DISK)
    }
}

/// What all agents of a process share.
pub struct Shared {
    /// Where they may connect; one at least.
    pub places: Vec<Place>,
    pub counts: Counts,
    pub stop: CancellationToken,
    pub manner: Manner,
}

/// How they behave beside what the server asks of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Manner {
    /// Machines sleep at night, travel, and have flaky lines.
    pub lives: bool,
    /// Seconds between samples instead of what the server says.
    pub interval: Option<Duration>,
    /// As many samples without an acknowledgement, one after the other as fast as the server takes them.
    pub flood: Option<usize>,
    /// How often a sample is sent that has waited for long; absent: as fast as the server takes them.
    pub replay_every: Option<Duration>,
}

enum End {
    Stopped,
    Asleep,
    Gone(Setback),
}

impl Agent {
    /// An agent that has not connected yet.
    pub fn new(machine: Machine, id: String, key: String) -> Self {
        Self {
            turn: machine.number,
            moves: 0,
            spread: Duration::ZERO,
            machine,
            id,
            key,
            seq: 0,
            outbox: VecDeque::new(),
            journal: BTreeSet::new(),
            unsettled: BTreeMap::new(),
        }
    }

    /// Puts samples of the past into the outbox, as if the machine had measured without a line.
    pub fn remember(&mut self, from: DateTime<Utc>, to: DateTime<Utc>, interval: TimeDelta) {
        let mut time = from;
        while time < to {
            if self.machine.is_awake(time) {
                self.keep(time, interval);
            }
            time += interval;
        }
    }

    /// How many samples wait to be told.
    pub fn remembered(&self) -> usize {
        self.outbox.len()
    }

    /// Connects and comes back until it is told to stop.
    pub async fn live(mut self, shared: Arc<Shared>) {
        let mut backoff = Backoff::new(self.machine.number as u64);
        let stop = shared.stop.clone();
        loop {
            let pause = if shared.manner.lives && !self.machine.is_awake(Utc::now()) {
                NAP
            } else {
                let began = Instant::now();
                let end = self.session(&shared).await;
                if began.elapsed() > GOOD_AFTER {
                    backoff.reset();
                }
                backoff.spread(self.spread);
                match end {
                    End::Stopped => return,
                    End::Asleep => NAP,
                    End::Gone(setback) => backoff.next(setback),
                }
            };
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn session(&mut self, shared: &Shared) -> End {
        let Some(place) = shared.places.get(self.turn % shared.places.len().max(1)) else {
            return End::Stopped;
        };
        let attempt = place.socket(source(self.machine.number), &self.id, &self.key);
        let socket = tokio::select! {
            socket = attempt => socket,
            () = shared.stop.cancelled() => return End::Stopped,
        };
        match socket {
            Ok(socket) => {
                let end = self.converse(socket, shared).await;
                if matches!(end, End::Gone(Setback::Lost)) {
                    shared.counts.lost.up();
                }
                end
            }
            Err(Refusal::Lost(_)) => {
                self.go_elsewhere(shared.places.len());
                shared.counts.lost.up();
                End::Gone(Setback::Lost)
            }
            Err(Refusal::Answered { status, retry_after }) => {
                self.go_elsewhere(shared.places.len());
                shared.counts.refused.up();
                End::Gone(match (status, retry_after) {
                    (429 | 503, after) => Setback::Busy { at_least: Duration::from_secs(after.unwrap_or(5)) },
                    (403, _) => Setback::Pending,
                    (401, _) => Setback::Refused,
                    _ => Setback::Lost,
                })
            }
        }
    }

    /// Tries any of the other places next: all who are turned away by one must not come to the same one.
    fn go_elsewhere(&mut self, places: usize) {
        let others = places.saturating_sub(1).max(1) as u64;
        self.moves += 1;
        let further = self.machine.noise.part(MOVES + self.moves).below(others);
        self.turn += 1 + usize::try_from(further).unwrap_or_default();
    }

    async fn converse(&mut self, mut socket: Socket, shared: &Shared) -> End {
        let lost = End::Gone(Setback::Lost);
        if send(&mut socket, &AgentMessage::Hello(self.hello())).await.is_err() {
            return lost;
        }
        let welcome = match timeout(WELCOME_WITHIN, next(&mut socket)).await {
            Ok(Some(ServerMessage::Welcome(welcome))) => welcome,
            Ok(Some(ServerMessage::Goodbye { reason, reconnect_within_seconds })) => {
                return End::Gone(setback(reason, reconnect_within_seconds));
            }
            _ => return lost,
        };
        shared.counts.connects.up();
        shared.counts.connected.up();
        let end = Session::new(self, &welcome, shared).run(&mut socket).await;
        shared.counts.connected.down();
        let gone = timeout(Duration::from_secs(1), socket.close(None)).await;
        // The other side may have closed first.
        drop(gone);
        end.unwrap_or(lost)
    }

    fn hello(&self) -> Hello {
        let newest = if self.machine.story == Story::OldAgent { 1 } else { SUPPORTED.len() };
        let mut system = self.machine.system.clone();
        system.boot_time = Some(self.machine.boot_time(Utc::now()));
        Hello {
            protocols: SUPPORTED.get(..newest).unwrap_or(SUPPORTED).to_vec(),
            agent_version: self.machine.agent_version().to_owned(),
            system,
            identity: self.machine.identity.clone(),
            commands: self
                .unsettled
                .keys()
                .map(|command_id| ResumedCommand { command_id: *command_id, ended: true })
                .collect(),
            update: None,
            tunnels: Vec::new(),
        }
    }

    fn keep(&mut self, time: DateTime<Utc>, interval: TimeDelta) -> u64 {
        self.seq += 1;
        self.outbox.push_back(Kept { seq: self.seq, time, interval });
        if self.outbox.len() <= OUTBOX {
            return 0;
        }
        self.outbox.pop_front();
        1
    }

    /// What a command prints: nothing is run here, and it says so.
    fn answer(&self, start: &CommandStart) -> String {
        let name = &self.machine.system.hostname;
        let line = start.command.lines().next().unwrap_or_default().trim();
        let known = match line.split_whitespace().next().unwrap_or_default() {
            "hostname" => name.clone(),
            "whoami" => "system".to_owned(),
            "uname" | "ver" => self.machine.system.os_version.clone(),
            _ => format!("{name} is a simulated machine and did not run: {line}"),
        };
        format!("{known}\n")
    }
}

/// One session's clockwork.
struct Session<'a> {
    agent: &'a mut Agent,
    shared: &'a Shared,
    heartbeat: Duration,
    next_heartbeat: Instant,
    interval: Duration,
    next_sample: Instant,
    with_processes: bool,
    live: Option<Duration>,
    next_live: Instant,
    /// The newest sample that went out on this session.
    sent: u64,
    /// When the next sample may go that has waited for long.
    replay_at: Instant,
    /// When the heartbeat went out that is not answered yet.
    asked: Option<Instant>,
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(asked) = self.asked {
            self.shared.counts.heartbeat_times.add(asked.elapsed());
        }
    }
}

type Sent = Result<(), ()>;

impl<'a> Session<'a> {
    fn new(agent: &'a mut Agent, welcome: &Welcome, shared: &'a Shared) -> Self {
        let now = Instant::now();
        let heartbeat = Duration::from_secs(u64::from(welcome.heartbeat_seconds.max(1)));
        let interval = Duration::from_secs(u64::from(welcome.config.metrics_interval_seconds.max(1)));
        let interval = shared.manner.interval.unwrap_or(interval);
        // Spread, and not all in the second in which they connected.
        let phase = agent.machine.noise.part(80).share();
        Self {
            next_heartbeat: now + heartbeat.mul_f64(phase),
            next_sample: now + interval.mul_f64(phase),
            with_processes: welcome.config.process_list,
            agent,
            shared,
            heartbeat,
            interval,
            live: None,
            next_live: now,
            sent: 0,
            replay_at: now.checked_sub(REPLAY_AHEAD).unwrap_or(now),
            asked: None,
        }
    }

    async fn run(mut self, socket: &mut Socket) -> Option<End> {
        let network = AgentMessage::NetworkState { seq: 1, state: self.agent.machine.network.clone() };
        send(socket, &network).await.ok()?;
        let unsettled: Vec<AgentMessage> = self.agent.unsettled.values().flatten().cloned().collect();
        for message in &unsettled {
            send(socket, message).await.ok()?;
        }
        loop {
            let held_until = self.send_samples(socket).await.ok()?;
            let far = Instant::now() + Duration::from_secs(3_600);
            tokio::select! {
                biased;
                () = self.shared.stop.cancelled() => {
                    let _gone_already = send(socket, &AgentMessage::Goodbye {}).await;
                    return Some(End::Stopped);
                }
                message = next(socket) => match self.hear(socket, message?).await.ok()? {
                    ControlFlow::Continue(()) => {}
                    ControlFlow::Break(end) => return Some(end),
                },
                () = sleep_until(held_until.unwrap_or(far)), if held_until.is_some() => {}
                () = sleep_until(self.next_heartbeat) => {
                    self.next_heartbeat += self.heartbeat;
                    self.heartbeat(socket).await.ok()?;
                    if self.shared.manner.lives && !self.agent.machine.is_awake(Utc::now()) {
                        let _gone_already = send(socket, &AgentMessage::Goodbye {}).await;
                        return Some(End::Asleep);
                    }
                }
                () = sleep_until(self.next_sample) => {
                    self.next_sample += self.interval;
                    self.measure(self.interval);
                }
                () = sleep_until(self.live.map_or(far, |_| self.next_live)) => {
                    let interval = self.live.unwrap_or(self.interval);
                    self.next_live += interval;
                    let interval = TimeDelta::from_std(interval).unwrap_or_default();
                    let sample = self.agent.machine.sample(Utc::now(), interval, true);
                    send(socket, &AgentMessage::Metrics { seq: 0, sample }).await.ok()?;
                }
            }
        }
    }

    async fn heartbeat(&mut self, socket: &mut Socket) -> Sent {
        let wrong_by = if self.agent.machine.story == Story::WrongClock { 17 } else { 0 };
        let clock = Some(Utc::now() + TimeDelta::minutes(wrong_by));
        // One that waits for its answer is the one whose time counts.
        self.asked.get_or_insert_with(Instant::now);
        send(socket, &AgentMessage::Heartbeat { clock }).await?;
        self.shared.counts.heartbeats.up();
        Ok(())
    }

    fn measure(&mut self, interval: Duration) {
        let interval = TimeDelta::from_std(interval).unwrap_or_default();
        // Two samples of one machine never have the same time.
        let after = self.agent.outbox.back().map(|kept| kept.time + TimeDelta::milliseconds(1));
        let dropped = self.agent.keep(Utc::now().max(after.unwrap_or_default()), interval);
        self.shared.counts.samples_dropped.add(dropped);
    }

    /// What of the outbox has not gone out on this session, as much as may be on its way. It goes in order: the real agent
    /// sends what is new before what waited. Answers until when the rest is held back, where it is.
    async fn send_samples(&mut self, socket: &mut Socket) -> Result<Option<Instant>, ()> {
        let flood = self.shared.manner.flood;
        while self.agent.outbox.len() < flood.unwrap_or_default() {
            self.measure(Duration::from_secs(1));
        }
        let new = self.agent.outbox.partition_point(|kept| kept.seq <= self.sent);
        let room = flood.unwrap_or(IN_FLIGHT).saturating_sub(new);
        let mut held_until = None;
        for kept in self.agent.outbox.range(new..).take(room) {
            if let Some(every) = self.shared.manner.replay_every.filter(|_| kept.has_waited()) {
                let now = Instant::now();
                if self.replay_at > now {
                    held_until = Some(self.replay_at);
                    break;
                }
                self.replay_at = self.replay_at.max(now.checked_sub(REPLAY_AHEAD).unwrap_or(now)) + every;
            }
            let sample = self.agent.machine.sample(kept.time, kept.interval, self.with_processes);
            feed(socket, &AgentMessage::Metrics { seq: kept.seq, sample }).await?;
            self.sent = kept.seq;
            self.shared.counts.samples_sent.up();
        }
        socket.flush().await.map_err(drop)?;
        Ok(held_until)
    }

    /// Runs a command, unless it is in the journal: an order that is repeated is not obeyed twice.
    async fn obey(&mut self, socket: &mut Socket, start: &CommandStart) -> Sent {
        if !self.agent.journal.insert(start.command_id) {
            return Ok(());
        }
        self.shared.counts.commands_started.up();
        let said = said_of(start, &self.agent.answer(start));
        for message in &said {
            feed(socket, message).await?;
        }
        self.agent.unsettled.insert(start.command_id, said);
        socket.flush().await.map_err(drop)
    }

    async fn hear(&mut self, socket: &mut Socket, message: ServerMessage) -> Result<ControlFlow<End>, ()> {
        let counts = &self.shared.counts;
        match message {
            ServerMessage::MetricsAck { seq } => {
                let before = self.agent.outbox.len();
                let told = self.agent.outbox.partition_point(|kept| kept.seq <= seq);
                self.agent.outbox.drain(..told);
                counts.samples_stored.add((before - self.agent.outbox.len()) as u64);
            }
            ServerMessage::HeartbeatAck { reconnect_within_seconds, .. } => {
                if let Some(asked) = self.asked.take() {
                    counts.heartbeat_times.add(asked.elapsed());
                }
                let within = reconnect_within_seconds.unwrap_or_default();
                self.agent.spread = Duration::from_secs(within.into());
            }
            ServerMessage::CommandStart(start) => self.obey(socket, &start).await?,
            ServerMessage::CommandEndAck { command_id } => {
                let settled = self.agent.unsettled.remove(&command_id);
                counts.commands_stored.add(u64::from(settled.is_some()));
            }
            ServerMessage::LiveMetrics { interval_ms } => {
                self.live = interval_ms.map(|ms| Duration::from_millis(u64::from(ms.clamp(1_000, 10_000))));
                self.next_live = Instant::now();
            }
            ServerMessage::ConfigUpdate { config } => {
                self.with_processes = config.process_list;
                if self.shared.manner.interval.is_none() {
                    self.interval = Duration::from_secs(u64::from(config.metrics_interval_seconds.max(1)));
                    self.next_sample = self.next_sample.min(Instant::now() + self.interval);
                }
            }
            ServerMessage::Goodbye { reason, reconnect_within_seconds } => {
                return Ok(ControlFlow::Break(End::Gone(setback(reason, reconnect_within_seconds))));
            }
            _ => {}
        }
        Ok(ControlFlow::Continue(()))
    }
}

fn setback(reason: GoodbyeReason, within: u32) -> Setback {
    match (reason, within) {
        (GoodbyeReason::Revoked | GoodbyeReason::NoCommonVersion, _) => Setback::Refused,
        (_, 0) => Setback::Lost,
        (_, within) => Setback::Invited { within: Duration::from_secs(u64::from(within)) },
    }
}

fn said_of(start: &CommandStart, output: &str) -> Vec<AgentMessage> {
    let (command_id, now) = (start.command_id, Utc::now());
    let data = Bytes(output.as_bytes().to_vec());
    vec![
        AgentMessage::CommandStarted { command_id, started_at: now },
        AgentMessage::CommandOutput(OutputChunk { command_id, seq: 1, stream: Stream::Stdout, data }),
        AgentMessage::CommandEnded(CommandEnd {
            command_id,
            outcome: Outcome::Completed,
            exit_code: Some(0),
            error: None,
            error_code: None,
            stdout_bytes: output.len() as u64,
            stderr_bytes: 0,
            truncated: false,
            last_seq: 1,
            started_at: Some(now),
            ended_at: now,
        }),
    ]
}

async fn feed(socket: &mut Socket, message: &AgentMessage) -> Sent {
    let text = encode(message).map_err(drop)?;
    socket.feed(Message::text(text)).await.map_err(drop)
}

async fn send(socket: &mut Socket, message: &AgentMessage) -> Sent {
    feed(socket, message).await?;
    socket.flush().await.map_err(drop)
}

/// The next message of a kind this build knows; `None` when the line is gone.
async fn next(socket: &mut Socket) -> Option<ServerMessage> {
    loop {
        if let Message::Text(text) = socket.next().await?.ok()?
            && let Ok(Decoded::Known(message)) = decode_server_message(&text)
        {
            return Some(message);
        }
    }
}
