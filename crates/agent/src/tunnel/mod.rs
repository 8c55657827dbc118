//! Techs' sessions with this machine, beside the supervisor: what the server says of them, and the channels in them.
//!
//! Nothing waits here. Orders come from the supervisor's loop, frames straight from the socket's task; what is to be said of
//! a session is fetched with [`Tunnels::take_answers`]. As long as there is no session there is nothing but an empty map.

pub mod channel;
#[cfg(test)]
pub(crate) mod desk;
pub mod lanes;
mod look;
mod ping;
pub mod requests;
mod session;
#[cfg(test)]
mod tests;

pub use look::Looked;

use channel::Channel;
use gururmm_protocol::tunnel::order::Refusal;
use gururmm_protocol::tunnel::{
    ChannelEnd, ChannelError, ChannelId, ErrorCode, Flags, Frame, FrameError, FrameKind, KEEP_SECONDS,
    MAX_SESSIONS, OpenChannel, Presence, SESSION_CHANNEL, TunnelOpen, TunnelRefused, TunnelRules,
    Whereabouts,
};
use gururmm_protocol::{AgentMessage, TunnelId};
use lanes::{Lane, Lanes};
use session::{Started, TunnelSession};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How long a session is kept that no server speaks of.
const KEEP: Duration = Duration::from_secs(KEEP_SECONDS as u64);
/// Answers that wait to be sent.
const MAX_ANSWERS: usize = 2 * MAX_SESSIONS;
/// How long a channel that is over may take to notice; then it is dropped as it is.
const GRACE: Duration = Duration::from_millis(if cfg!(test) { 300 } else { 5_000 });

/// Does what a channel is for, until it ends.
pub type Serve = fn(OpenChannel, Arc<TunnelRules>, Channel) -> Serving;
/// A channel at work.
pub type Serving = Pin<Box<dyn Future<Output = ChannelEnd> + Send>>;

/// All sessions of this machine.
#[derive(Debug)]
pub struct Tunnels {
    serve: Serve,
    inner: Mutex<Inner>,
    news: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    /// The way to the server that welcomed this agent.
    lanes: Option<Lanes>,
    sessions: HashMap<TunnelId, TunnelSession>,
    /// Orders for which the machine is looked at.
    opening: HashMap<TunnelId, TunnelOpen>,
    answers: VecDeque<AgentMessage>,
    /// Channels whose tasks have not ended, of whatever session.
    running: usize,
}

impl Tunnels {
    /// None yet. `serve` does the work of channels.
    pub fn new(serve: Serve) -> Arc<Self> {
        Arc::new(Self { serve, inner: Mutex::default(), news: Notify::new() })
    }

    /// The server welcomed the agent; frames go out over `lanes`.
    pub fn connected(&self, lanes: Lanes) {
        self.inner().lanes = Some(lanes);
    }

    /// The link is gone: everything stands still, and is kept for a while.
    pub fn disconnected(&self, now: Instant) {
        let mut inner = self.inner();
        inner.lanes = None;
        inner.opening.clear();
        inner.answers.clear();
        inner.sessions.values_mut().for_each(|session| session.detach(now + KEEP));
    }

    /// A session is to be open, or its rules are others now.
    pub fn open(self: &Arc<Self>, order: TunnelOpen) {
        let tunnel_id = order.tunnel_id;
        let mut inner = self.inner();
        if let Some(session) = inner.sessions.get_mut(&tunnel_id) {
            session.spoken_of(order.rules);
            let ready = session.ready(tunnel_id);
            return self.answer(inner, AgentMessage::TunnelReady(ready));
        }
        if let Some(before) = inner.opening.get_mut(&tunnel_id) {
            *before = order;
            return;
        }
        if inner.sessions.len() + inner.opening.len() >= MAX_SESSIONS {
            let detail = format!("this machine has {MAX_SESSIONS} sessions already");
            let refused = TunnelRefused { tunnel_id, reason: Refusal::TooManySessions, detail };
            return self.answer(inner, AgentMessage::TunnelRefused(refused));
        }
        let consent = order.consent;
        inner.opening.insert(tunnel_id, order);
        drop(inner);
        let tunnels = Arc::clone(self);
        tokio::spawn(async move {
            let looked = look::look(consent).await;
            tunnels.looked(Instant::now(), tunnel_id, looked);
        });
    }

    /// What the machine is like for a session that is to be opened.
    fn looked(&self, now: Instant, tunnel_id: TunnelId, looked: Looked) {
        let mut inner = self.inner();
        // Closed meanwhile, or the link is gone and the server says so again.
        let Some(order) = inner.opening.remove(&tunnel_id) else { return };
        let answer = match looked {
            Ok(shells) => {
                tracing::info!(%tunnel_id, tech = %order.tech, "a tech's session begins");
                let until = inner.lanes.is_none().then(|| now + KEEP);
                let session = TunnelSession::new(order, shells, until);
                let ready = session.ready(tunnel_id);
                inner.sessions.insert(tunnel_id, session);
                AgentMessage::TunnelReady(ready)
            }
            Err((reason, detail)) => {
                tracing::info!(%tunnel_id, tech = %order.tech, reason = reason.as_str(), "a tech's session is refused");
                AgentMessage::TunnelRefused(TunnelRefused { tunnel_id, reason, detail })
            }
        };
        self.answer(inner, answer);
    }

    fn answer(&self, mut inner: MutexGuard<'_, Inner>, answer: AgentMessage) {
        if inner.answers.len() < MAX_ANSWERS {
            inner.answers.push_back(answer);
            drop(inner);
            self.news.notify_one();
        }
    }

    /// A session is over.
    pub fn close(&self, tunnel_id: TunnelId) {
        let mut inner = self.inner();
        inner.opening.remove(&tunnel_id);
        if let Some(session) = inner.sessions.remove(&tunnel_id) {
            tracing::info!(%tunnel_id, "a tech's session is closed");
            session.close();
        }
    }

    /// All sessions are over: the agent stops.
    pub fn close_all(&self) {
        let mut inner = self.inner();
        inner.opening.clear();
        inner.sessions.drain().for_each(|(_, session)| session.close());
    }

    /// Whether something of a channel still runs.
    pub fn is_busy(&self) -> bool {
        self.inner().running > 0
    }

    /// Sessions that are kept, for a server that may not know.
    pub fn kept(&self) -> Vec<TunnelId> {
        self.inner().sessions.keys().copied().collect()
    }

    /// When [`Tunnels::run`] is to be called at the latest.
    pub fn next(&self) -> Option<Instant> {
        self.inner().sessions.values().filter_map(TunnelSession::until).min()
    }

    /// Drops sessions that were kept for long enough.
    pub fn run(&self, now: Instant) {
        let mut inner = self.inner();
        let is_over = |session: &TunnelSession| session.until().is_some_and(|until| until <= now);
        for (tunnel_id, session) in inner.sessions.extract_if(|_, session| is_over(session)) {
            tracing::info!(%tunnel_id, "a tech's session ends: no server spoke of it");
            session.close();
        }
    }

    /// Returns when there is an answer to take, or a channel ended.
    pub async fn news(&self) {
        self.news.notified().await;
    }

    /// What is to be said of sessions.
    pub fn take_answers(&self) -> VecDeque<AgentMessage> {
        std::mem::take(&mut self.inner().answers)
    }

    /// A binary message came from the server.
    pub fn frame(self: &Arc<Self>, bytes: &[u8]) {
        let (tunnel_id, frame) = match Frame::read_of_session(bytes) {
            Ok(read) => read,
            Err(FrameError::UnknownKind) => return,
            Err(error) => return tracing::warn!(%error, "a frame of a channel is ignored"),
        };
        let mut inner = self.inner();
        let Some(lanes) = inner.lanes.clone() else { return };
        let Some(session) = inner.sessions.get_mut(&tunnel_id) else {
            return refuse_unknown(&lanes, tunnel_id, &frame);
        };
        // Its rules may be others by now: the server says them before anything else.
        if session.until().is_some() {
            return tracing::warn!(%tunnel_id, "a frame of a session that is not opened again is ignored");
        }
        if frame.channel == SESSION_CHANNEL {
            return match frame.json() {
                Ok(Presence { tech: Whereabouts::Away }) => session.tech_left(),
                Ok(Presence { tech: Whereabouts::Unknown }) => {}
                Err(_) => ping::echo(&lanes, tunnel_id, &frame),
            };
        }
        let started = session.take(&lanes, tunnel_id, &frame);
        if let Some(started) = started {
            inner.running += 1;
            drop(inner);
            self.start(tunnel_id, started);
        }
    }

    /// Lets a channel work in a task of its own.
    fn start(self: &Arc<Self>, tunnel_id: TunnelId, started: Started) {
        let Started { open, rules, channel } = started;
        let ending = Ending { tunnels: Arc::clone(self), tunnel_id, sender: channel.sender.clone() };
        let work = (self.serve)(open, rules, channel);
        tokio::spawn(async move {
            let over = async {
                ending.sender.over().await;
                tokio::time::sleep(GRACE).await;
            };
            let end = tokio::select! {
                end = work => end,
                () = over => closed(),
            };
            ending.sender.clone().end(end).await;
        });
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic while it is held leaves entries that are whole.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a channel from its session when its task ends, in whatever way.
struct Ending {
    tunnels: Arc<Tunnels>,
    tunnel_id: TunnelId,
    sender: channel::ChannelSender,
}

impl Drop for Ending {
    fn drop(&mut self) {
        let mut inner = self.tunnels.inner();
        inner.running = inner.running.saturating_sub(1);
        let failed = ChannelError::new(ErrorCode::Failed, "the channel failed on the machine").into();
        if self.sender.fail(&failed)
            && let Some(lanes) = &inner.lanes
        {
            say_end(lanes, self.tunnel_id, self.sender.id(), &failed);
        }
        if let Some(session) = inner.sessions.get_mut(&self.tunnel_id) {
            session.ended(&self.sender);
        }
        drop(inner);
        self.tunnels.news.notify_one();
    }
}

fn closed() -> ChannelEnd {
    ChannelError::new(ErrorCode::Closed, "there is no such channel").into()
}

/// A number that nobody opened, or of a session that is not here. Whoever may wait for an answer is told; to the rest
/// nothing can be said.
fn refuse_unknown(lanes: &Lanes, tunnel_id: TunnelId, frame: &Frame<'_>) {
    let asks = [FrameKind::Open, FrameKind::Attach, FrameKind::Data, FrameKind::Message];
    if asks.contains(&frame.kind) && frame.channel != SESSION_CHANNEL {
        say_end(lanes, tunnel_id, frame.channel, &closed());
    }
}

/// Says the end of a channel that has no task. Where there is no room for it at once, it is not said: what can be asked for
/// again is no reason to wait or to keep anything.
fn say_end(lanes: &Lanes, tunnel_id: TunnelId, channel: ChannelId, end: &ChannelEnd) {
    if let Ok(body) = gururmm_protocol::tunnel::frame::json_body(end) {
        let frame = Frame { channel, kind: FrameKind::End, flags: Flags::default(), body: &body };
        let _ = lanes.of(Lane::First).try_send(frame.to_bytes_of_session(tunnel_id));
    }
}
