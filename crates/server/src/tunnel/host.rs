//! One session, on the node that is its host: what comes from one side is checked, recorded, and goes on to the other.

use super::ClosedReason;
use super::credit::{Channels, Side, Verdict};
use super::forwards::Forwards;
use super::relay::Stream;
use super::words::Text;
use crate::auth::credential::Admitted;
use crate::auth::permission::Role;
use crate::gateway::Line;
use crate::lanes::Lanes;
use crate::recordings::SessionFacts;
use axum::extract::ws::Utf8Bytes;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use gururmm_protocol::tunnel::frame::json_body;
use gururmm_protocol::tunnel::order::{TunnelOpen, TunnelReady, TunnelRefused};
use gururmm_protocol::tunnel::{
    ChannelEnd, ChannelId, Flags, Frame, FrameError, FrameKind, LiveChannel, Presence, SERVER_CHANNELS,
    SESSION_CHANNEL, Whereabouts,
};
use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What may wait in one direction. The credit of all channels together is as much; the rest is for what costs none.
const WAIT_BYTES: usize = 24 * 1024 * 1024;
/// Words to the page that may wait.
const TEXTS: usize = 64;
/// What happened and is not dealt with yet.
const EVENTS: usize = 64;

/// Which connection of the agent: the node it is connected to, and its session there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Link {
    pub node_id: Uuid,
    pub epoch: i64,
}

/// The way to the machine.
pub enum Way {
    /// The agent is nowhere, or was not found yet.
    None,
    Here(Link, Arc<Line>),
    There(Link, Arc<Stream>),
}

impl Way {
    pub fn link(&self) -> Option<Link> {
        match self {
            Self::None => None,
            Self::Here(link, _) | Self::There(link, _) => Some(*link),
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// For the machine.
    Waiting,
    Ready,
    Refused,
}

/// How a host ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The session is closed for good. `told`: the database says so already.
    Closed { reason: ClosedReason, told: bool },
    /// Another node is the host.
    Moved,
    /// The server stops; another host may go on.
    Stopping,
    /// Nobody is in the session.
    Unused,
}

/// What happened.
#[derive(Debug)]
pub enum Event {
    Ready(Link, TunnelReady),
    Refused(Link, TunnelRefused),
    /// The link to the machine is gone, or something that went through it is lost.
    Lost(Link),
    Joined,
    Left,
}

/// A session, and all that is under way in it.
pub struct Host {
    pub facts: SessionFacts,
    pub opened_at: DateTime<Utc>,
    /// Why it was opened, and for which ticket.
    pub wish: super::Wish,
    state: Mutex<State>,
    /// Frames that are to be recorded and then go to the tech's side, and to the machine.
    pub(super) from_machine: Lanes<ChannelId>,
    pub(super) to_machine: Lanes<ChannelId>,
    events: mpsc::Sender<Event>,
    /// Something may be other than before: the database is asked.
    pub(super) wake: Notify,
    pub(super) phase: watch::Sender<Phase>,
    over: OnceLock<Over>,
    ending: CancellationToken,
    /// It is over, and the database knows.
    pub(super) done: CancellationToken,
    pub(super) moved: Moved,
    forwards: Mutex<Forwards>,
}

/// Bytes of bodies since they were last written down.
#[derive(Debug, Default)]
pub struct Moved {
    pub to_machine: AtomicU64,
    pub from_machine: AtomicU64,
}

/// What changes.
pub(super) struct State {
    channels: Channels,
    pub way: Way,
    pub host_key: Uuid,
    pub orders: TunnelOpen,
    pub idle: Duration,
    pub ends_at: DateTime<Utc>,
    pub ready: Option<TunnelReady>,
    pub refused: Option<TunnelRefused>,
    /// A page came, and is told which channels the machine has once it says so anew.
    pub awaits_list: bool,
    /// The machine was looked for.
    pub is_looked_for: bool,
    /// The role of who is in it.
    pub role: Option<Role>,
    /// Since when the machine does not answer.
    pub away_since: Option<Instant>,
    pub last_input: Instant,
    pub socket: Option<Socket>,
    sockets: u64,
    pub server_ends: HashMap<ChannelId, Arc<ServerEnd>>,
    next_channel: ChannelId,
    users: HashMap<u64, Admitted>,
    next_user: u64,
    pub unused_since: Option<Instant>,
}

pub(super) struct Socket {
    pub number: u64,
    pub frames: Arc<Lanes<ChannelId>>,
    texts: mpsc::Sender<Utf8Bytes>,
    replaced: CancellationToken,
}

/// A page's end of the session.
pub struct SocketEnd {
    pub number: u64,
    pub frames: Arc<Lanes<ChannelId>>,
    pub texts: mpsc::Receiver<Utf8Bytes>,
    /// Another socket took its place.
    pub replaced: CancellationToken,
}

/// The server's own end of a channel.
pub struct ServerEnd {
    pub frames: Lanes<ChannelId>,
}

/// Somebody is in the session, until this is dropped.
pub struct Use {
    host: Arc<Host>,
    number: u64,
}

impl Use {
    pub fn host(&self) -> &Arc<Host> {
        &self.host
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        let mut state = self.host.state();
        state.users.remove(&self.number);
        if state.users.is_empty() {
            state.unused_since = Some(Instant::now());
        }
    }
}

/// What a host is made of.
pub struct Beginning {
    pub facts: SessionFacts,
    pub opened_at: DateTime<Utc>,
    pub ends_at: DateTime<Utc>,
    pub wish: super::Wish,
    pub host_key: Uuid,
    pub orders: TunnelOpen,
    pub idle: Duration,
    pub role: Option<Role>,
}

impl Host {
    /// One that nobody is in yet, and what happens to it.
    pub fn new(beginning: Beginning) -> (Arc<Self>, mpsc::Receiver<Event>) {
        let Beginning { facts, opened_at, ends_at, wish, host_key, orders, idle, role } = beginning;
        let (events, happened) = mpsc::channel(EVENTS);
        let now = Instant::now();
        let state = State {
            channels: Channels::default(),
            way: Way::None,
            host_key,
            orders,
            idle,
            ends_at,
            ready: None,
            refused: None,
            awaits_list: false,
            is_looked_for: false,
            role,
            away_since: Some(now),
            last_input: now,
            socket: None,
            sockets: 0,
            server_ends: HashMap::new(),
            next_channel: SERVER_CHANNELS,
            users: HashMap::new(),
            next_user: 0,
            unused_since: Some(now),
        };
        let host = Self {
            facts,
            opened_at,
            wish,
            state: Mutex::new(state),
            from_machine: Lanes::new(WAIT_BYTES),
            to_machine: Lanes::new(WAIT_BYTES),
            events,
            wake: Notify::new(),
            phase: watch::Sender::new(Phase::Waiting),
            over: OnceLock::new(),
            ending: CancellationToken::new(),
            done: CancellationToken::new(),
            moved: Moved::default(),
            forwards: Mutex::default(),
        };
        (Arc::new(host), happened)
    }

    pub fn id(&self) -> Uuid {
        self.facts.tunnel_id
    }

    /// Somebody enters the session.
    pub fn enter(self: &Arc<Self>, admitted: Admitted) -> Use {
        let mut state = self.state();
        let number = state.next_user;
        state.next_user += 1;
        state.users.insert(number, admitted);
        (state.unused_since, state.last_input) = (None, Instant::now());
        Use { host: Arc::clone(self), number }
    }

    /// Who is in it.
    pub fn users(&self) -> Vec<Admitted> {
        self.state().users.values().cloned().collect()
    }

    /// A page or program takes the place of the one before, if there is one.
    pub fn connect(&self) -> SocketEnd {
        let (texts, waiting) = mpsc::channel(TEXTS);
        let (frames, replaced) = (Arc::new(Lanes::new(WAIT_BYTES)), CancellationToken::new());
        let mut state = self.state();
        state.sockets += 1;
        let number = state.sockets;
        let socket = Socket { number, frames: Arc::clone(&frames), texts, replaced: replaced.clone() };
        if let Some(before) = state.socket.replace(socket) {
            before.replaced.cancel();
            before.frames.close();
        }
        self.tech_left(&mut state);
        // Perhaps it is otherwise now.
        state.refused = None;
        state.awaits_list = true;
        self.greet(&state);
        drop(state);
        self.tell(Event::Joined);
        SocketEnd { number, frames, texts: waiting, replaced }
    }

    /// A socket is gone; another one may have taken its place already.
    pub fn disconnect(&self, number: u64) {
        let mut state = self.state();
        if state.socket.as_ref().is_some_and(|socket| socket.number == number) {
            state.socket = None;
            self.tech_left(&mut state);
            drop(state);
            self.tell(Event::Left);
        }
    }

    fn tech_left(&self, state: &mut State) {
        state.channels.tech_left();
        // It comes again to who attaches.
        self.from_machine.retain(|channel| Side::of(channel) == Side::Server);
        self.say_away(state);
    }

    /// Tells the machine that nobody is there, whose shells would stand still otherwise once they have shown what they may.
    fn say_away(&self, state: &State) {
        if state.ready.is_none() || !state.channels.has_techs() {
            return;
        }
        if let Ok(body) = json_body(&Presence { tech: Whereabouts::Away }) {
            let (channel, kind, flags) = (SESSION_CHANNEL, FrameKind::Message, Flags::default());
            let away = Frame { channel, kind, flags, body: &body }.to_bytes();
            let _ends_with_the_session = self.to_machine.push(channel, false, away.into());
        }
    }

    fn greet(&self, state: &State) {
        let hello = Text::Session {
            session_id: self.id(),
            agent_id: self.facts.agent_id,
            hostname: &self.facts.hostname,
            tech: &self.facts.tech_name,
            opened_at: self.opened_at,
            ends_at: state.ends_at,
            idle_seconds: state.idle.as_secs(),
            channels: &state.orders.rules.channels,
            reason: self.wish.reason.as_deref(),
            ticket: self.wish.ticket.as_deref(),
        };
        self.say(state, &hello);
        self.say(state, &Text::Waiting {});
    }

    fn say_phase(&self, state: &State) {
        match (&state.ready, &state.refused) {
            (Some(ready), _) => {
                let path = if matches!(state.way, Way::There(..)) { "relayed" } else { "direct" };
                let TunnelReady { channels, shells, kinds, .. } = ready;
                let own = |one: &&LiveChannel| Side::of(one.channel) == Side::Tech;
                let channels: Vec<LiveChannel> = channels.iter().filter(own).cloned().collect();
                self.say(state, &Text::Ready { channels: &channels, shells, kinds, path });
            }
            (None, Some(TunnelRefused { reason, detail, .. })) => {
                self.say(state, &Text::Refused { reason: reason.as_str(), detail });
            }
            (None, None) => self.say(state, &Text::Waiting {}),
        }
    }

    fn say(&self, state: &State, text: &Text<'_>) {
        if let Some((socket, text)) = state.socket.as_ref().zip(text.json())
            && socket.texts.try_send(text).is_err()
        {
            // It does not read; it is closed soon, or comes back and is told all of it.
            socket.replaced.cancel();
        }
    }

    /// Something happened. What finds no room is found out when the database is asked.
    pub fn tell(&self, event: Event) {
        if self.events.try_send(event).is_err() {
            self.wake.notify_one();
        }
    }

    /// A frame from the machine, by this link. `false`: it goes nowhere.
    pub fn machine_sends(&self, link: Link, frame: &Frame<'_>, bytes: Bytes) -> bool {
        let mut state = self.state();
        if state.ready.is_none() || state.way.link() != Some(link) {
            return false;
        }
        match state.channels.machine_sends(frame) {
            Verdict::Pass => {
                let is_bulk = frame.flags.has(Flags::BULK);
                if is_bulk {
                    // A transfer that runs is no idle session.
                    state.last_input = Instant::now();
                }
                if self.from_machine.push(frame.channel, is_bulk, bytes).is_err() {
                    self.broken("more waits for the tech than was granted");
                }
                true
            }
            Verdict::Ignore | Verdict::Refuse(_) => false,
            Verdict::Break(why) => {
                self.broken(why);
                false
            }
        }
    }

    /// A frame from a page. `false`: nothing more is taken from it.
    pub fn page_sends(&self, socket: u64, bytes: &Bytes) -> bool {
        let frame = match Frame::read(bytes) {
            Ok(frame) => frame,
            Err(FrameError::UnknownKind) => return true,
            Err(error) => {
                tracing::debug!(%error, "not a frame");
                self.broken("not a frame");
                return false;
            }
        };
        let mut state = self.state();
        let State { channels, orders, ready, socket: current, .. } = &mut *state;
        let Some(current) = current.as_ref().filter(|current| current.number == socket) else { return false };
        if ready.is_none() {
            return true;
        }
        match channels.tech_sends(Side::Tech, &frame, &orders.rules.channels) {
            Verdict::Pass => self.pass(&mut state, &frame, bytes.clone()),
            Verdict::Ignore => true,
            Verdict::Refuse(end) => match end_frame(frame.channel, &end) {
                Some(end) => current.frames.push(frame.channel, false, end).is_ok(),
                None => false,
            },
            Verdict::Break(why) => {
                self.broken(why);
                false
            }
        }
    }

    /// A frame of the server's own.
    pub fn server_sends(&self, frame: &Frame<'_>) -> Verdict {
        let mut state = self.state();
        if state.ready.is_none() {
            return Verdict::Ignore;
        }
        let State { channels, orders, .. } = &mut *state;
        let verdict = channels.tech_sends(Side::Server, frame, &orders.rules.channels);
        if verdict == Verdict::Pass {
            self.pass(&mut state, frame, frame.to_bytes().into());
        }
        verdict
    }

    fn pass(&self, state: &mut State, frame: &Frame<'_>, bytes: Bytes) -> bool {
        if matches!(frame.kind, FrameKind::Open | FrameKind::Data | FrameKind::Message)
            && frame.channel != SESSION_CHANNEL
        {
            state.last_input = Instant::now();
        }
        if frame.kind == FrameKind::Attach {
            // What is still on its way belongs to before.
            self.from_machine.retain(|channel| channel != frame.channel);
        }
        let is_bulk = frame.flags.has(Flags::BULK);
        match self.to_machine.push(frame.channel, is_bulk, bytes) {
            Ok(()) => true,
            Err(_full) => {
                self.broken("more waits for the machine than was granted");
                false
            }
        }
    }

    /// Waits while much waits for the machine: whoever sends is not read from.
    pub async fn room(&self) {
        self.to_machine.room().await;
    }

    /// What may be sent on a channel of the server's own; `None` while it is not open.
    pub fn may_send(&self, channel: ChannelId) -> Option<u32> {
        self.state().channels.may_send(channel)
    }

    /// A number for a channel of the server's own.
    pub fn server_end(&self, limit: usize) -> (ChannelId, Arc<ServerEnd>) {
        let mut state = self.state();
        let channel = state.next_channel;
        state.next_channel = state.next_channel.checked_add(1).unwrap_or(SERVER_CHANNELS);
        let end = Arc::new(ServerEnd { frames: Lanes::new(limit) });
        state.server_ends.insert(channel, Arc::clone(&end));
        (channel, end)
    }

    /// The server is done with a channel of its own.
    pub fn leave(&self, channel: ChannelId) {
        let mut state = self.state();
        if let Some(end) = state.server_ends.remove(&channel) {
            end.frames.close();
        }
        if state.channels.forget(channel)
            && let Some(bytes) = end_frame(channel, &ChannelEnd::default())
        {
            let _ends_with_the_session = self.to_machine.push(channel, false, bytes);
        }
    }

    /// The machine answered: it has the session.
    pub(super) fn has(&self, link: Link, ready: TunnelReady) {
        let mut state = self.state();
        if state.way.link() != Some(link) {
            return;
        }
        let is_new = state.ready.is_none();
        if is_new {
            state.channels.machine_has(&ready.channels);
            // What a host before this one left behind.
            for left in ready.channels.iter().filter(|one| Side::of(one.channel) == Side::Server) {
                if let Some(end) = end_frame(left.channel, &ChannelEnd::default()) {
                    let _ends_with_the_session = self.to_machine.push(left.channel, false, end);
                }
            }
        } else if state.awaits_list {
            state.channels.machine_names(&ready.channels);
        } else {
            return;
        }
        (state.ready, state.refused, state.away_since, state.awaits_list) = (Some(ready), None, None, false);
        if is_new && state.socket.is_none() {
            self.say_away(&state);
        }
        self.say_phase(&state);
        drop(state);
        self.phase.send_replace(Phase::Ready);
    }

    pub(super) fn is_refused(&self, link: Link, refused: TunnelRefused) {
        let mut state = self.state();
        if state.way.link() != Some(link) {
            return;
        }
        self.machine_left(&mut state);
        state.refused = Some(refused);
        self.say_phase(&state);
        drop(state);
        self.phase.send_replace(Phase::Refused);
    }

    /// The link is gone, and with it all that was on its way. Answers whether it was this one.
    pub(super) fn lost(&self, link: Link) -> bool {
        let mut state = self.state();
        if state.way.link() != Some(link) {
            return false;
        }
        self.set_way(&mut state, Way::None);
        true
    }

    /// Another way to the machine, which has to say that it has the session.
    pub(super) fn set_way(&self, state: &mut State, way: Way) {
        let was_ready = state.ready.is_some();
        self.machine_left(state);
        (state.way, state.refused) = (way, None);
        if was_ready {
            self.say_phase(state);
        }
        self.phase.send_replace(Phase::Waiting);
    }

    fn machine_left(&self, state: &mut State) {
        state.channels.machine_left();
        state.ready = None;
        state.away_since.get_or_insert_with(Instant::now);
        for (_, end) in state.server_ends.drain() {
            end.frames.close();
        }
        self.from_machine.retain(|_channel| false);
        self.to_machine.retain(|_channel| false);
    }

    /// The tech may use other kinds of channels than before: those that are open and not among them end.
    pub(super) fn set_orders(&self, state: &mut State, orders: TunnelOpen) {
        for channel in state.channels.not_among(&orders.rules.channels) {
            let end = ChannelEnd::from(gururmm_protocol::tunnel::ChannelError::new(
                gururmm_protocol::tunnel::ErrorCode::NotAllowed,
                "the policy does not allow it any more",
            ));
            state.channels.forget(channel);
            let Some(bytes) = end_frame(channel, &end) else { continue };
            let _ends_with_the_session = self.to_machine.push(channel, false, bytes.clone());
            match (Side::of(channel), &state.socket) {
                (Side::Tech, Some(socket)) => drop(socket.frames.push(channel, false, bytes)),
                (Side::Tech, None) => {}
                (Side::Server, _) => {
                    if let Some(end) = state.server_ends.remove(&channel) {
                        end.frames.close();
                    }
                }
            }
        }
        state.orders = orders;
    }

    pub(super) fn broken(&self, why: &'static str) {
        tracing::info!(session_id = %self.id(), agent_id = %self.facts.agent_id, why, "a session is ended");
        self.end(Over::Closed { reason: ClosedReason::ProtocolError, told: false });
    }

    /// Whether the machine was looked for and is nowhere.
    pub fn is_nowhere(&self) -> bool {
        let state = self.state();
        state.is_looked_for && matches!(state.way, Way::None)
    }

    /// Why the machine refused, if it did.
    pub fn refusal(&self) -> Option<TunnelRefused> {
        self.state().refused.clone()
    }

    /// Bytes that wait, in both directions.
    pub fn bytes_waiting(&self) -> usize {
        let for_page = self.state().socket.as_ref().map(|socket| socket.frames.bytes()).unwrap_or_default();
        self.from_machine.bytes() + self.to_machine.bytes() + for_page
    }

    /// The way between nodes, where there is one.
    pub fn stream(&self) -> Option<(Link, Arc<Stream>)> {
        match &self.state().way {
            Way::There(link, stream) => Some((*link, Arc::clone(stream))),
            Way::None | Way::Here(..) => None,
        }
    }

    /// What the server itself has open ends.
    pub(super) fn close_server_ends(&self) {
        for (_, end) in self.state().server_ends.drain() {
            end.frames.close();
        }
    }

    /// It ends; the first reason counts.
    pub fn end(&self, over: Over) {
        let _first_counts = self.over.set(over);
        self.ending.cancel();
    }

    /// How it ended, once it has.
    pub fn over(&self) -> Option<Over> {
        self.over.get().copied()
    }

    pub(super) async fn ended(&self) -> Over {
        self.ending.cancelled().await;
        // Set before.
        self.over().unwrap_or(Over::Unused)
    }

    /// What is reached through the machine.
    pub(super) fn forwards(&self) -> MutexGuard<'_, Forwards> {
        self.forwards.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Every change is whole before anything can fail.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) const RECORDING_FAILED: Over = Over::Closed { reason: ClosedReason::RecordingFailed, told: false };

/// The frame that ends a channel.
pub fn end_frame(channel: ChannelId, end: &ChannelEnd) -> Option<Bytes> {
    let body = json_body(end).ok()?;
    Some(Frame { channel, kind: FrameKind::End, flags: Flags::default(), body: &body }.to_bytes().into())
}
