//! Who is connected: the truth about presence, in memory. What changed is remembered until it is written.

use super::visits::{Parting, Visit, Visits};
use super::{AgentSession, Met};
use crate::lanes::Lanes;
use bytes::Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::system::{MachineIdentity, SystemInfo};
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::{ServerMessage, encode};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};
use tokio_tungstenite::tungstenite::Utf8Bytes;
use uuid::Uuid;

/// Messages that may wait for a slow agent. The queue holds encoded text, so that a waiting message costs what it
/// weighs.
const QUEUE: usize = 64;
/// Bytes of channels' frames that may wait for it: whatever an agent grants in honesty.
const FRAMES_BYTES: usize = 64 * 1024 * 1024;
/// A session of a tech, and a channel in it.
pub type ChannelKey = (Uuid, u32);

/// The way to one connected agent.
#[derive(Debug)]
pub struct Line {
    agent_id: Uuid,
    tenant_id: Uuid,
    epoch: i64,
    /// Client, site and retention class: they change while the agent is connected.
    place: Mutex<Place>,
    connected_since: OnceLock<DateTime<Utc>>,
    machine_clock: Mutex<Option<MachineClock>>,
    /// The machine at the other end, and those whose sessions this one and its predecessors replaced while they lived.
    machine: OnceLock<(Machine, Vec<Machine>)>,
    queue: mpsc::Sender<Utf8Bytes>,
    frames: Lanes<ChannelKey>,
    goodbye: OnceLock<Goodbye>,
    /// Why it ended, where that is known better than by what was said.
    parting: OnceLock<Parting>,
    closed: Notify,
}

/// What the machine's own clock showed at its last heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MachineClock {
    /// Ahead of the server's, in milliseconds; negative when it is behind.
    pub offset_ms: i64,
    /// Whether that is so much that people were told.
    pub is_wrong: bool,
}

/// What tells the machine at the other end of a session from one that has a copy of its key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    pub identity: MachineIdentity,
    pub system: SystemInfo,
    pub agent_version: String,
    pub peer: Option<IpAddr>,
}

/// Machines that a session remembers of those it replaced.
const FORMER: usize = 4;
/// A machine's own idea of when it started moves by this much.
const SAME_BOOT: TimeDelta = TimeDelta::seconds(60);

impl Machine {
    /// Whether it is the same start of the same machine, as far as both say.
    fn same_boot(&self, other: &Self) -> Option<bool> {
        let (one, other) = self.system.boot_time.zip(other.system.boot_time)?;
        Some((one - other).abs() <= SAME_BOOT)
    }
}

/// Client, site, retention class in days.
pub type Place = (Uuid, Uuid, i16);

/// Why a session ends, and over what time its agent comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Goodbye {
    pub reason: GoodbyeReason,
    pub reconnect_within: Duration,
}

impl Line {
    /// A line and the queue its socket empties.
    pub fn new(session: &AgentSession) -> (Arc<Self>, mpsc::Receiver<Utf8Bytes>) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let line = Self {
            agent_id: session.agent_id,
            tenant_id: session.tenant_id,
            epoch: session.epoch,
            place: Mutex::new((session.client_id, session.site_id, session.retention_days)),
            connected_since: OnceLock::new(),
            machine_clock: Mutex::new(None),
            machine: OnceLock::new(),
            queue,
            frames: Lanes::new(FRAMES_BYTES),
            goodbye: OnceLock::new(),
            parting: OnceLock::new(),
            closed: Notify::new(),
        };
        (Arc::new(line), waiting)
    }

    pub fn agent_id(&self) -> Uuid {
        self.agent_id
    }

    pub fn tenant_id(&self) -> Uuid {
        self.tenant_id
    }

    pub fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Since when it takes orders. What was sent before went to another line, or to none, though this socket was open.
    pub fn connected_since(&self) -> DateTime<Utc> {
        self.connected_since.get().copied().unwrap_or_else(Utc::now)
    }

    /// What the machine's clock shows, once it was said in this session.
    pub fn machine_clock(&self) -> Option<MachineClock> {
        *self.machine_clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine's clock was compared.
    pub fn set_machine_clock(&self, clock: MachineClock) {
        *self.machine_clock.lock().unwrap_or_else(PoisonError::into_inner) = Some(clock);
    }

    /// The machine at the other end, once it said hello.
    pub fn machine(&self) -> Option<&Machine> {
        self.machine.get().map(|(machine, _)| machine)
    }

    /// This session as the next one of its agent meets it, once it said hello.
    pub fn met(&self) -> Option<Met> {
        let (machine, former) = self.machine.get().cloned()?;
        Some(Met { epoch: self.epoch, machine, former })
    }

    /// The machine said hello, and takes the place of another session of its agent, if there is one. Answers the machine
    /// of that session when the two take turns: this one was there before it, and is back without having started anew.
    /// One machine never goes back to an earlier start.
    pub fn introduce(&self, machine: Machine, replaced: Option<Met>) -> Option<Machine> {
        let (other, mut former) = replaced.map(|met| (met.machine, met.former)).unzip();
        let takes_turns = other.as_ref().is_some_and(|other| {
            other.same_boot(&machine) == Some(false)
                && former.iter().flatten().any(|earlier| earlier.same_boot(&machine) == Some(true))
        });
        let mut former = former.take().unwrap_or_default();
        former.extend(other.clone());
        let surplus = former.len().saturating_sub(FORMER);
        former.drain(..surplus);
        let _only_once = self.machine.set((machine, former));
        other.filter(|_| takes_turns)
    }

    /// Where the agent stands now.
    pub fn place(&self) -> Place {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The agent was moved, or its partner chose another retention.
    pub fn set_place(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = place;
    }

    /// Queues a message; a full queue ends the session as too slow.
    pub fn send(&self, message: &ServerMessage) -> bool {
        let Some(text) = encoded(message) else { return false };
        match self.queue.try_send(text) {
            Ok(()) => !self.is_closing(),
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.close(GoodbyeReason::TooSlow, Duration::ZERO);
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Queues a message, waiting for room: for the session's own answers, so that an agent that does not read is
    /// not read from either.
    pub async fn send_paced(&self, message: &ServerMessage) -> bool {
        match encoded(message) {
            Some(text) => self.queue.send(text).await.is_ok(),
            None => false,
        }
    }

    /// Queues a channel's frame, behind messages, and behind other frames when it is part of a transfer. An agent for which
    /// too much waits is too slow.
    pub fn send_frame(&self, channel: ChannelKey, is_bulk: bool, frame: Bytes) {
        if self.frames.push(channel, is_bulk, frame).is_err() {
            self.close(GoodbyeReason::TooSlow, Duration::ZERO);
        }
    }

    /// Waits while many frames wait.
    pub async fn frame_room(&self) {
        self.frames.room().await;
    }

    /// The next frame for the socket. For its one task only.
    pub async fn next_frame(&self) -> Option<Bytes> {
        self.frames.pop().await.map(|(_, frame)| frame)
    }

    /// Nobody takes frames any more.
    pub fn stop_frames(&self) {
        self.frames.close();
    }

    /// Notes why the session ends, for its history.
    pub fn parts(&self, parting: Parting) {
        let _first_counts = self.parting.set(parting);
    }

    /// Why it ended, to whom this goodbye was said, if any was.
    pub fn parting(&self, goodbye: Option<Goodbye>) -> Parting {
        let known = self.parting.get().copied();
        known.or_else(|| goodbye.map(Parting::of)).unwrap_or(Parting::LinkLost)
    }

    /// Whether it ever took orders.
    fn was_connected(&self) -> bool {
        self.connected_since.get().is_some()
    }

    /// Ends the session; the first reason counts.
    pub fn close(&self, reason: GoodbyeReason, reconnect_within: Duration) {
        let _first_counts = self.goodbye.set(Goodbye { reason, reconnect_within });
        self.closed.notify_one();
    }

    /// Whether the session was told to end: nothing it still says is taken.
    pub fn is_closing(&self) -> bool {
        self.goodbye.get().is_some()
    }

    /// Waits until the session is told to end. For its one task only.
    pub async fn closing(&self) -> Goodbye {
        loop {
            if let Some(goodbye) = self.goodbye.get() {
                return *goodbye;
            }
            self.closed.notified().await;
        }
    }
}

pub fn encoded(message: &ServerMessage) -> Option<Utf8Bytes> {
    match encode(message) {
        Ok(text) => Some(text.into()),
        Err(error) => {
            tracing::error!(%error, "a message to an agent could not be encoded");
            None
        }
    }
}

/// All lines, and whose presence is not yet written.
#[derive(Debug, Default)]
pub struct Registry {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    lines: HashMap<Uuid, Arc<Line>>,
    /// Agents (with their partner and the session it is about) that came or went since the last flush.
    changed: HashMap<Uuid, (Uuid, i64)>,
    /// Agents heard of since the last flush.
    seen: HashSet<Uuid>,
    /// Sessions that began or ended since the last flush.
    visits: Visits,
}

impl Registry {
    /// Lets a session in. A session of the same agent with a smaller epoch is replaced; `false` when this one is
    /// itself the older.
    pub fn insert(&self, line: &Arc<Line>) -> bool {
        let mut inner = self.lock();
        if let Some(other) = inner.lines.get(&line.agent_id) {
            if other.epoch >= line.epoch {
                return false;
            }
            other.close(GoodbyeReason::Replaced, Duration::ZERO);
        }
        let _only_once = line.connected_since.set(Utc::now());
        inner.lines.insert(line.agent_id, Arc::clone(line));
        inner.changed.insert(line.agent_id, (line.tenant_id, line.epoch));
        if let Some(visit) = Visit::of(line, None) {
            inner.visits.note(visit);
        }
        true
    }

    /// Takes a session out, unless a newer one stands in its place. It ended in this way.
    pub fn remove(&self, line: &Line, parting: Parting) {
        let mut inner = self.lock();
        if line.was_connected()
            && let Some(visit) = Visit::of(line, Some((Utc::now(), parting)))
        {
            inner.visits.note(visit);
        }
        if inner.lines.get(&line.agent_id).is_some_and(|current| current.epoch == line.epoch) {
            inner.lines.remove(&line.agent_id);
            inner.changed.insert(line.agent_id, (line.tenant_id, line.epoch));
        }
    }

    pub fn line(&self, agent_id: Uuid) -> Option<Arc<Line>> {
        self.lock().lines.get(&agent_id).map(Arc::clone)
    }

    pub fn lines(&self) -> Vec<Arc<Line>> {
        self.lock().lines.values().map(Arc::clone).collect()
    }

    pub fn len(&self) -> usize {
        self.lock().lines.len()
    }

    /// Notes that an agent was heard.
    pub fn heard(&self, agent_id: Uuid) {
        self.lock().seen.insert(agent_id);
    }

    /// Takes what is to be written: per changed agent its partner and since when it is connected, if it is.
    pub fn take_changed(&self) -> Vec<Presence> {
        let mut inner = self.lock();
        let changed = std::mem::take(&mut inner.changed);
        changed
            .into_iter()
            .map(|(agent_id, (tenant_id, epoch))| Presence {
                agent_id,
                tenant_id,
                epoch,
                connected_since: inner.lines.get(&agent_id).map(|line| line.connected_since()),
            })
            .collect()
    }

    /// Puts back what could not be written; what changed since stays.
    pub fn put_back(&self, presences: &[Presence]) {
        let mut inner = self.lock();
        for presence in presences {
            inner.changed.entry(presence.agent_id).or_insert((presence.tenant_id, presence.epoch));
        }
    }

    /// Has everyone who is here written down again.
    pub fn put_all_back(&self) {
        let mut inner = self.lock();
        let Inner { lines, changed, visits, .. } = &mut *inner;
        changed.extend(lines.values().map(|line| (line.agent_id, (line.tenant_id, line.epoch))));
        lines.values().filter_map(|line| Visit::of(line, None)).for_each(|visit| visits.note(visit));
    }

    /// Takes the sessions that began or ended since the last time.
    pub fn take_visits(&self) -> Vec<Visit> {
        self.lock().visits.take()
    }

    /// Puts back what could not be written.
    pub fn put_visits_back(&self, visits: Vec<Visit>) {
        self.lock().visits.put_back(visits);
    }

    /// Takes who was heard since the last time.
    pub fn take_seen(&self) -> Vec<Uuid> {
        std::mem::take(&mut self.lock().seen).into_iter().collect()
    }

    /// A panic elsewhere leaves a whole map behind: every change is one insert or remove.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be written about one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    pub agent_id: Uuid,
    pub tenant_id: Uuid,
    /// The session that it is about.
    pub epoch: i64,
    /// Absent: not connected.
    pub connected_since: Option<DateTime<Utc>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::system::{OsType, UidSource};

    fn line(agent_id: Uuid, epoch: i64) -> (Arc<Line>, mpsc::Receiver<Utf8Bytes>) {
        Line::new(&AgentSession {
            agent_id,
            num: 1,
            tenant_id: Uuid::nil(),
            client_id: Uuid::nil(),
            site_id: Uuid::nil(),
            retention_days: 90,
            epoch,
            hostname: String::new(),
            held_by: None,
        })
    }

    #[test]
    fn a_newer_session_replaces_the_older_and_an_older_one_is_refused() {
        let (registry, agent) = (Registry::default(), Uuid::now_v7());
        let ((first, _q1), (second, _q2), (late, _q3)) = (line(agent, 1), line(agent, 3), line(agent, 2));
        assert!(registry.insert(&first));
        assert!(registry.insert(&second));
        assert!(first.is_closing() && !second.is_closing());
        assert!(!registry.insert(&late));
        registry.remove(&first, Parting::LinkLost);
        assert_eq!(registry.line(agent).map(|line| line.epoch()), Some(3));
    }

    #[test]
    fn a_line_is_connected_from_when_it_takes_orders_not_from_when_its_socket_was_opened() {
        let (registry, agent) = (Registry::default(), Uuid::now_v7());
        let (line, _queue) = line(agent, 1);
        // An order that is sent now goes to the line before this one, and is lost with it.
        let sent_at = Utc::now();
        registry.insert(&line);
        assert!(line.connected_since() > sent_at);
        assert_eq!(line.connected_since(), line.connected_since());
    }

    #[test]
    fn what_came_and_went_between_two_flushes_is_told_as_it_now_is() {
        let (registry, agent) = (Registry::default(), Uuid::now_v7());
        let (first, _queue) = line(agent, 1);
        registry.insert(&first);
        registry.remove(&first, Parting::LinkLost);
        let changed = registry.take_changed();
        assert_eq!(changed.len(), 1);
        assert_eq!(changed[0].connected_since, None);
        assert_eq!(registry.take_changed(), []);
        registry.put_back(&changed);
        assert_eq!(registry.take_changed().len(), 1);
    }

    fn machine(boot: Option<i64>) -> Machine {
        let boot_time = boot.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        let system = SystemInfo {
            hostname: "ws-01".to_owned(),
            os_type: OsType::Linux,
            os_version: "Debian GNU/Linux 12 (bookworm)".to_owned(),
            arch: "x86_64".to_owned(),
            kernel: None,
            cpu_model: None,
            cpu_cores: None,
            memory_bytes: None,
            manufacturer: None,
            model: None,
            serial: None,
            boot_time,
            virtualization: None,
        };
        let identity = MachineIdentity {
            machine_uid: "0123456789abcdef".to_owned(),
            machine_uid_source: UidSource::SmbiosUuid,
            board_serial: None,
            disk_serial: None,
        };
        Machine { identity, system, agent_version: "0.1.0".to_owned(), peer: None }
    }

    /// Whether two are found to take turns, when sessions with these starts replace one another in this order.
    fn take_turns(boots: &[Option<i64>]) -> bool {
        let agent = Uuid::now_v7();
        let mut replaced: Option<Arc<Line>> = None;
        let mut found = false;
        for (epoch, boot) in boots.iter().enumerate() {
            let (line, _queue) = line(agent, epoch as i64);
            found |= line.introduce(machine(*boot), replaced.and_then(|line| line.met())).is_some();
            replaced = Some(line);
        }
        found
    }

    #[test]
    fn two_machines_with_one_key_take_turns_and_one_machine_never_does() {
        let (one, other, later) = (Some(1_000_000), Some(2_000_000), Some(3_000_000));
        assert!(take_turns(&[one, other, one]));
        assert!(take_turns(&[one, other, other, Some(1_000_030)]), "its clock moved a little");
        assert!(!take_turns(&[one, one, one]), "a link that breaks again and again");
        assert!(!take_turns(&[one, other, later, later]), "a machine that starts again and again");
        assert!(!take_turns(&[one, None, one]), "what says nothing tells nothing");
        assert!(
            !take_turns(&[one, other, later, Some(4_000_000), Some(5_000_000), Some(6_000_000), one]),
            "long ago"
        );
    }

    #[test]
    fn a_full_queue_ends_the_session_as_too_slow() {
        let (slow, _queue) = line(Uuid::now_v7(), 1);
        let message = ServerMessage::MetricsAck { seq: 1 };
        for _ in 0..QUEUE {
            assert!(slow.send(&message));
        }
        assert!(!slow.send(&message));
        assert_eq!(slow.goodbye.get().map(|goodbye| goodbye.reason), Some(GoodbyeReason::TooSlow));
    }
}
