//! Which commands this agent holds, what the server already has of each, and what is to be sent next.
//!
//! Knows nothing of processes or disks: it says what to run, and is told what happened.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::command::{CommandEnd, CommandStart, Outcome, ResumedCommand};
use gururmm_protocol::limits::MAX_RESUMED_COMMANDS;
use gururmm_protocol::{AgentMessage, CommandId, CrashId, LogId};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Commands that are started at once. One that has run for [`LONG_AFTER`] does not count any more: whoever runs long,
/// or is stuck, holds up nobody longer than that.
pub const MAX_YOUNG: usize = 32;
/// When a command is one of those that take their time.
const LONG_AFTER: Duration = Duration::from_secs(5);
/// Commands that run at all: each costs the agent up to 70 KB, and the machine its processes.
const MAX_RUNNING: usize = 256;
/// Text of commands that wait for their turn, all together.
const MAX_WAITING_BYTES: usize = 4 * 1024 * 1024;
/// How long an end is offered to the server.
const GIVE_UP: TimeDelta = TimeDelta::days(30);
/// Chunks of one command that are sent and not acknowledged: a noisy or stuck command fills its own window only.
const WINDOW: u32 = 8;

/// What is to be done about a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Journal it, then start it.
    Run(CommandStart),
    /// End its whole process tree.
    Cancel(CommandId),
    /// The server has this output for good.
    ReleaseOutput {
        /// Of which command.
        command_id: CommandId,
        /// Up to and including this chunk.
        seq: u32,
    },
    /// The server has the end for good: keep only that it ran.
    Forget(CommandId),
}

/// What is to be sent.
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "made one at a time and sent at once, never stored")]
pub enum Sending {
    /// A message.
    Message(AgentMessage),
    /// A chunk of output, to be read from its spool.
    Output {
        /// Of which command.
        command_id: CommandId,
        /// Which chunk.
        seq: u32,
    },
    /// The report of a crash, to be read from its file.
    Crash(CrashId),
    /// The next piece of the agent's log that was asked for, or its end: then [`super::Session::log_sent`] is told.
    Log(LogId),
}

/// All commands the agent has not been told to forget.
#[derive(Debug)]
pub struct Ledger {
    max_young: usize,
    max_running: usize,
    held: BTreeMap<CommandId, Held>,
    waiting: VecDeque<CommandStart>,
    waiting_bytes: usize,
    finished: HashMap<CommandId, DateTime<Utc>>,
    orders: VecDeque<Order>,
    /// Commands with something to send, in turn.
    turns: VecDeque<CommandId>,
    /// Ends that were stamped before the server told its time; `None` once it did.
    stamped_early: Option<Vec<CommandId>>,
    /// The agent stops: nothing is started any more.
    is_closing: bool,
}

#[derive(Debug)]
struct Held {
    progress: Progress,
    /// Since when it is to run. Absent for what this agent did not start.
    since: Option<Instant>,
    is_started_sent: bool,
    is_end_sent: bool,
    /// Whether it stands in `turns`.
    is_queued: bool,
    /// A chunk could not be read: its end says so, whenever that comes.
    is_output_lost: bool,
    spooled_seq: u32,
    sent_seq: u32,
    acked_seq: u32,
}

#[derive(Debug)]
enum Progress {
    Starting,
    Running { started_at: DateTime<Utc> },
    Ended(CommandEnd),
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new(Vec::new(), &[], HashMap::new())
    }
}

impl Ledger {
    /// From what the journal remembers: ends not yet acknowledged, commands whose leftovers are still being ended,
    /// and what is finished.
    pub fn new(
        ended: Vec<CommandEnd>,
        unfinished: &[CommandId],
        finished: HashMap<CommandId, DateTime<Utc>>,
    ) -> Self {
        let mut ledger = Self {
            max_young: MAX_YOUNG,
            max_running: MAX_RUNNING,
            held: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            finished,
            orders: VecDeque::new(),
            turns: VecDeque::new(),
            stamped_early: Some(Vec::new()),
            is_closing: false,
        };
        for command_id in unfinished {
            ledger.held.insert(*command_id, Held::new(Progress::Starting));
        }
        for end in ended {
            let mut held = Held::new(Progress::Starting);
            let command_id = end.command_id;
            held.end(end);
            ledger.held.insert(command_id, held);
            ledger.queue(command_id);
        }
        ledger
    }

    /// With room for fewer commands at once, so that a small test comes to its limit.
    #[cfg(test)]
    pub fn with_room(mut self, max_young: usize, max_running: usize) -> Self {
        self.max_young = max_young;
        self.max_running = max_running;
        self
    }

    /// For the hello. Commands that only wait are not named: they are dropped with the connection, and the server
    /// sends again what it finds missing here.
    pub fn resumed(&self) -> Vec<ResumedCommand> {
        let held = self.held.iter().take(MAX_RESUMED_COMMANDS);
        held.map(|(id, held)| ResumedCommand { command_id: *id, ended: held.has_ended() }).collect()
    }

    /// The server ordered a command at `now`, by its clock at `clock`.
    pub fn start(&mut self, start: CommandStart, now: Instant, clock: DateTime<Utc>) {
        let command_id = start.command_id;
        if self.is_closing
            || self.answer_known(command_id, clock)
            || self.waiting.iter().any(|w| w.command_id == command_id)
        {
            return;
        }
        if self.held.len() + self.waiting.len() >= MAX_RESUMED_COMMANDS
            || self.waiting_bytes + size(&start) > MAX_WAITING_BYTES
        {
            self.refuse(busy(command_id, clock, "the agent holds as many commands as it can".into()));
            return;
        }
        self.waiting_bytes += size(&start);
        self.waiting.push_back(start);
        self.promote(now, clock);
    }

    /// The server wants a command gone at `now`.
    pub fn cancel(&mut self, command_id: CommandId, now: DateTime<Utc>) {
        if let Some(at) = self.waiting.iter().position(|start| start.command_id == command_id) {
            if let Some(start) = self.waiting.remove(at) {
                self.waiting_bytes -= size(&start);
            }
        } else if let Some(held) = self.held.get(&command_id)
            && !held.has_ended()
        {
            self.orders.push_back(Order::Cancel(command_id));
            return;
        } else if self.answer_known(command_id, now) {
            return;
        }
        self.refuse(never_ran(command_id, Outcome::Cancelled, now));
    }

    /// Its process runs.
    pub fn started(&mut self, command_id: CommandId, started_at: DateTime<Utc>) {
        if let Some(held) = self.held.get_mut(&command_id) {
            held.progress = Progress::Running { started_at };
            self.queue(command_id);
        }
    }

    /// Its spool holds chunks up to `last_seq`.
    pub fn spooled(&mut self, command_id: CommandId, last_seq: u32) {
        if let Some(held) = self.held.get_mut(&command_id)
            && held.spooled_seq < last_seq
        {
            held.spooled_seq = last_seq;
            self.queue(command_id);
        }
    }

    /// It ended, or could not be started. It makes room: [`Ledger::promote`] uses it.
    pub fn ended(&mut self, end: CommandEnd) {
        let command_id = end.command_id;
        if let Some(held) = self.held.get_mut(&command_id) {
            held.end(end);
            self.queue(command_id);
            if let Some(early) = &mut self.stamped_early {
                early.push(command_id);
            }
        }
    }

    /// The server told its time for the first time, and it is `offset` later than was thought: what was stamped before
    /// is put right.
    pub fn clock_told(&mut self, offset: TimeDelta) {
        for command_id in self.stamped_early.take().into_iter().flatten() {
            if let Some(Held { progress: Progress::Ended(end), .. }) = self.held.get_mut(&command_id) {
                end.ended_at = end.ended_at.checked_add_signed(offset).unwrap_or(end.ended_at);
            }
        }
    }

    /// A chunk that is to be sent cannot be read any more: the end says that something is missing.
    pub fn output_lost(&mut self, command_id: CommandId) {
        if let Some(held) = self.held.get_mut(&command_id) {
            held.is_output_lost = true;
            if let Progress::Ended(end) = &mut held.progress {
                end.truncated = true;
            }
        }
    }

    /// The server has output up to `seq`.
    pub fn ack_output(&mut self, command_id: CommandId, seq: u32) {
        if let Some(held) = self.held.get_mut(&command_id) {
            // An acknowledgement of what was never sent is not believed.
            held.acked_seq = held.acked_seq.max(seq.min(held.sent_seq));
            self.orders.push_back(Order::ReleaseOutput { command_id, seq: held.acked_seq });
            self.queue(command_id);
        }
    }

    /// The server has the end.
    pub fn ack_end(&mut self, command_id: CommandId, now: DateTime<Utc>) {
        if self.held.get(&command_id).is_some_and(Held::has_ended) {
            self.held.remove(&command_id);
            self.finished.insert(command_id, now);
            self.orders.push_back(Order::Forget(command_id));
        }
    }

    /// Nothing is started any more; what waits is dropped, and the server sends it again some day.
    pub fn close(&mut self) {
        self.is_closing = true;
        self.drop_waiting();
    }

    /// The server told its time: old ids need not be remembered, and ends it does not take for weeks are given up.
    /// It has deleted those commands; without this they would fill the agent some day.
    pub fn prune(&mut self, now: DateTime<Utc>) {
        crate::journal::prune_finished(&mut self.finished, now);
        let is_old =
            |held: &Held| matches!(&held.progress, Progress::Ended(end) if now - end.ended_at > GIVE_UP);
        let old: Vec<_> = self.held.iter().filter(|(_, held)| is_old(held)).map(|(id, _)| *id).collect();
        for command_id in old {
            tracing::warn!(%command_id, "the server never took this command's end; it is given up");
            self.ack_end(command_id, now);
        }
    }

    /// The connection is gone: what is not acknowledged will be sent again, what waits is dropped.
    pub fn disconnected(&mut self) {
        self.drop_waiting();
        self.turns.clear();
        for (id, held) in &mut self.held {
            held.is_started_sent = false;
            held.is_end_sent = false;
            held.sent_seq = held.acked_seq;
            held.is_queued = true;
            self.turns.push_back(*id);
        }
    }

    /// The next thing to do.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The next thing to send, each command in turn.
    pub fn poll_sending(&mut self) -> Option<Sending> {
        // A command with nothing to send leaves its turn; whatever changes that brings it back.
        while let Some(command_id) = self.turns.pop_front() {
            let Some(held) = self.held.get_mut(&command_id) else { continue };
            held.is_queued = false;
            if let Some(sending) = held.next(command_id) {
                self.queue(command_id);
                return Some(sending);
            }
        }
        None
    }

    /// Commands whose end the server does not have.
    pub fn len(&self) -> usize {
        self.held.len() + self.waiting.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn queue(&mut self, command_id: CommandId) {
        if let Some(held) = self.held.get_mut(&command_id)
            && !held.is_queued
        {
            held.is_queued = true;
            self.turns.push_back(command_id);
        }
    }

    fn drop_waiting(&mut self) {
        self.waiting.clear();
        self.waiting_bytes = 0;
    }

    /// Starts what waits, as far as there is room. On a machine where as many commands run as may at all, waiting has no
    /// end that anybody knows: they fail at once, and say why.
    pub fn promote(&mut self, now: Instant, clock: DateTime<Utc>) {
        if self.waiting.is_empty() {
            return;
        }
        let running = || self.held.values().filter(|held| !held.has_ended());
        let (mut count, mut young) = (running().count(), running().filter(|held| held.is_young(now)).count());
        while young < self.max_young && count < self.max_running {
            let Some(start) = self.waiting.pop_front() else { break };
            self.waiting_bytes -= size(&start);
            self.held.insert(start.command_id, Held { since: Some(now), ..Held::new(Progress::Starting) });
            self.orders.push_back(Order::Run(start));
            (count, young) = (count + 1, young + 1);
        }
        if count >= self.max_running {
            for start in std::mem::take(&mut self.waiting) {
                let why = format!("{count} commands run on this machine: cancel some, or wait for them");
                self.refuse(busy(start.command_id, clock, why));
            }
            self.waiting_bytes = 0;
        }
    }

    /// When [`Ledger::promote`] has something to do at the latest.
    pub fn next_turn(&self) -> Option<Instant> {
        if self.waiting.is_empty() {
            return None;
        }
        let running = self.held.values().filter(|held| !held.has_ended());
        let mut starts: Vec<_> = running.filter_map(|held| held.since).collect();
        // Of the newest, as many as may be young, the oldest makes room first.
        starts.sort_unstable_by_key(|since| std::cmp::Reverse(*since));
        starts.get(self.max_young.saturating_sub(1)).map(|since| *since + LONG_AFTER)
    }

    /// Whether the command is known; if so it is never started again, and what is known of it is said again.
    fn answer_known(&mut self, command_id: CommandId, now: DateTime<Utc>) -> bool {
        if let Some(held) = self.held.get_mut(&command_id) {
            held.is_started_sent = false;
            held.is_end_sent = false;
            self.queue(command_id);
            return true;
        }
        if self.finished.contains_key(&command_id) {
            // The server had the result once. If it lost it, an honest end is better than a command for ever sent.
            let known = "the command ran before and its result was acknowledged then";
            self.refuse(CommandEnd {
                error: Some(known.into()),
                ..never_ran(command_id, Outcome::Interrupted, now)
            });
            return true;
        }
        false
    }

    /// An end without a process. It is kept in memory only: should the agent die, the server asks again.
    fn refuse(&mut self, end: CommandEnd) {
        if self.held.len() >= 2 * MAX_RESUMED_COMMANDS {
            tracing::warn!(command_id = %end.command_id, "the server sends more commands than it takes ends for");
            return;
        }
        let command_id = end.command_id;
        let mut held = Held::new(Progress::Starting);
        held.end(end);
        self.held.insert(command_id, held);
        self.queue(command_id);
    }
}

impl Held {
    fn new(progress: Progress) -> Self {
        Self {
            progress,
            since: None,
            is_started_sent: false,
            is_end_sent: false,
            is_queued: false,
            is_output_lost: false,
            spooled_seq: 0,
            sent_seq: 0,
            acked_seq: 0,
        }
    }

    fn end(&mut self, mut end: CommandEnd) {
        end.truncated |= self.is_output_lost;
        self.spooled_seq = end.last_seq;
        self.progress = Progress::Ended(end);
    }

    fn has_ended(&self) -> bool {
        matches!(self.progress, Progress::Ended(_))
    }

    fn is_young(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now.saturating_duration_since(since) < LONG_AFTER)
    }

    fn in_flight(&self) -> u32 {
        self.sent_seq - self.acked_seq
    }

    fn next(&mut self, command_id: CommandId) -> Option<Sending> {
        if !self.is_started_sent {
            let started_at = match &self.progress {
                Progress::Starting => return None,
                Progress::Running { started_at } => Some(*started_at),
                Progress::Ended(end) => end.started_at,
            };
            self.is_started_sent = true;
            if let Some(started_at) = started_at {
                return Some(Sending::Message(AgentMessage::CommandStarted { command_id, started_at }));
            }
        }
        if self.sent_seq < self.spooled_seq {
            if self.in_flight() >= WINDOW {
                return None;
            }
            self.sent_seq += 1;
            return Some(Sending::Output { command_id, seq: self.sent_seq });
        }
        match &self.progress {
            Progress::Ended(end) if !self.is_end_sent => {
                self.is_end_sent = true;
                Some(Sending::Message(AgentMessage::CommandEnded(end.clone())))
            }
            _ => None,
        }
    }
}

/// The end of a command that never had a process.
pub fn never_ran(command_id: CommandId, outcome: Outcome, ended_at: DateTime<Utc>) -> CommandEnd {
    CommandEnd {
        command_id,
        outcome,
        exit_code: None,
        error: None,
        error_code: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: false,
        last_seq: 0,
        started_at: None,
        ended_at,
    }
}

fn busy(command_id: CommandId, ended_at: DateTime<Utc>, why: String) -> CommandEnd {
    let never_ran = never_ran(command_id, Outcome::Failed, ended_at);
    CommandEnd { error: Some(why), error_code: Some("BUSY".into()), ..never_ran }
}

fn size(start: &CommandStart) -> usize {
    let environment: usize = start.environment.iter().map(|(name, value)| name.len() + value.len()).sum();
    start.command.len() + start.stdin.as_ref().map_or(0, String::len) + environment
}
