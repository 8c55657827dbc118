//! The machines' side: which sessions were spoken of to agents that are connected here, and what they say of them.

use super::host::{Event, Host, Link};
use super::relay::{Kind, Stream};
use super::{credit, store};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::error::Error;
use crate::gateway::{AgentSession, Line};
use crate::peers::{self, Signal};
use bytes::Bytes;
use gururmm_protocol::tunnel::frame::SESSION_BYTES;
use gururmm_protocol::tunnel::order::{TunnelOpen, TunnelReady, TunnelRefused};
use gururmm_protocol::tunnel::{Frame, FrameError, TunnelClose};
use gururmm_protocol::{ServerMessage, TunnelId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Sessions of one agent that are remembered. An agent keeps fewer; the rest are over.
const PER_AGENT: usize = 256;

/// What is known of a session at its machine.
struct Spoken {
    agent_id: Uuid,
    /// The agent's session in which it was spoken of.
    epoch: i64,
    /// The agent was told to drop it: what still comes is thrown away.
    is_over: bool,
    /// To its host, where that is another node.
    relay: Option<Arc<Stream>>,
}

/// The sessions that were spoken of to agents connected here.
#[derive(Default)]
pub struct Here(Mutex<HashMap<Uuid, Spoken>>);

impl Here {
    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Spoken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The way to the host of a session, if that is another node.
    pub fn relay(&self, session_id: Uuid) -> Option<(Uuid, Arc<Stream>)> {
        let spoken = self.lock();
        let spoken = spoken.get(&session_id).filter(|spoken| !spoken.is_over)?;
        Some((spoken.agent_id, Arc::clone(spoken.relay.as_ref()?)))
    }

    /// An agent that is back names a session. Its host, which knows that the agent is back, may have been quicker.
    fn named(&self, session_id: Uuid, agent: &AgentSession, is_over: bool) {
        let mut sessions = self.lock();
        match sessions.get_mut(&session_id).filter(|spoken| is_of(spoken, agent)) {
            Some(spoken) => spoken.is_over |= is_over,
            None => {
                let (agent_id, epoch) = (agent.agent_id, agent.epoch);
                put(&mut sessions, session_id, Spoken { agent_id, epoch, is_over, relay: None });
            }
        }
    }

    fn put(&self, session_id: Uuid, spoken: Spoken) {
        put(&mut self.lock(), session_id, spoken);
    }
}

fn put(sessions: &mut HashMap<Uuid, Spoken>, session_id: Uuid, spoken: Spoken) {
    let agent_id = spoken.agent_id;
    let of_agent = |one: &Spoken| one.agent_id == agent_id;
    let is_new = !sessions.contains_key(&session_id);
    if is_new && sessions.values().filter(|one| of_agent(one)).count() >= PER_AGENT {
        sessions.retain(|_, one| !of_agent(one) || !one.is_over);
    }
    sessions.insert(session_id, spoken);
}

/// What a binary frame of an agent costs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Nothing: it used credit that it was granted.
    Free,
    /// As much as a message.
    Counted,
    /// It is none of this agent's.
    Fault(&'static str),
}

/// A binary frame from an agent.
pub fn frame(app: &App, agent: &AgentSession, bytes: &Bytes) -> Taken {
    let (TunnelId(session_id), frame) = match Frame::read_of_session(bytes) {
        Ok(read) => read,
        Err(FrameError::UnknownKind) => return Taken::Counted,
        Err(_) => return Taken::Fault("not a frame"),
    };
    let relay = {
        let sessions = app.tunnel.here.lock();
        let Some(spoken) = sessions.get(&session_id).filter(|spoken| is_of(spoken, agent)) else {
            return Taken::Fault("no session of this agent is called so");
        };
        if spoken.is_over {
            return Taken::Counted;
        }
        spoken.relay.clone()
    };
    let is_paid = credit::is_paid(&frame);
    let bytes = bytes.slice(SESSION_BYTES..);
    let went = match (relay, app.tunnel.host(session_id)) {
        (Some(relay), _) => {
            relay.send(app, Kind::Frame, &bytes);
            // Its host ends the session of an agent that sends more than it was granted.
            true
        }
        (None, Some(host)) => host.machine_sends(here(app, agent), &frame, bytes),
        (None, None) => false,
    };
    if went && is_paid { Taken::Free } else { Taken::Counted }
}

fn is_of(spoken: &Spoken, agent: &AgentSession) -> bool {
    spoken.agent_id == agent.agent_id && spoken.epoch == agent.epoch
}

fn here(app: &App, agent: &AgentSession) -> Link {
    Link { node_id: app.bus.node_id(), epoch: agent.epoch }
}

/// Tells an agent that is connected here of a session, or what holds for it now.
pub fn tell(app: &App, line: &Line, orders: &TunnelOpen, relay: Option<Arc<Stream>>) {
    let spoken = Spoken { agent_id: line.agent_id(), epoch: line.epoch(), is_over: false, relay };
    app.tunnel.here.put(orders.tunnel_id.0, spoken);
    line.send(&ServerMessage::TunnelOpen(orders.clone()));
}

/// The machine has a session.
pub fn ready(app: &App, agent: &AgentSession, mut ready: TunnelReady) {
    ready.clean();
    match way_of(app, agent, ready.tunnel_id.0) {
        Some(ToHost::Relay(relay)) => relay.send_json(app, Kind::Ready, &ready),
        Some(ToHost::Host(host)) => host.tell(Event::Ready(here(app, agent), ready)),
        None => {}
    }
}

/// The machine has no session.
pub fn refused(app: &App, agent: &AgentSession, mut refused: TunnelRefused) {
    refused.clean();
    match way_of(app, agent, refused.tunnel_id.0) {
        Some(ToHost::Relay(relay)) => relay.send_json(app, Kind::Refused, &refused),
        Some(ToHost::Host(host)) => host.tell(Event::Refused(here(app, agent), refused)),
        None => {}
    }
}

enum ToHost {
    Relay(Arc<Stream>),
    Host(Arc<Host>),
}

fn way_of(app: &App, agent: &AgentSession, session_id: Uuid) -> Option<ToHost> {
    let sessions = app.tunnel.here.lock();
    let spoken = sessions.get(&session_id).filter(|spoken| is_of(spoken, agent) && !spoken.is_over)?;
    match &spoken.relay {
        Some(relay) => Some(ToHost::Relay(Arc::clone(relay))),
        None => app.tunnel.host(session_id).map(ToHost::Host),
    }
}

/// An agent is back, and says which sessions it still has: those that are over, it is told to drop.
pub async fn hello(app: &App, agent: &AgentSession, has: &[TunnelId]) -> Result<Vec<ServerMessage>, Error> {
    app.tunnel
        .all()
        .iter()
        .filter(|host| host.facts.agent_id == agent.agent_id)
        .for_each(|host| host.wake.notify_one());
    let has: Vec<Uuid> = has.iter().map(|id| id.0).take(PER_AGENT / 2).collect();
    if has.is_empty() {
        return Ok(Vec::new());
    }
    let over = store::not_active(&mut app.db.begin(&agent.scope()).await?, agent.agent_id, &has).await?;
    let mut answers = Vec::new();
    for session_id in has {
        let is_over = over.contains(&session_id);
        app.tunnel.here.named(session_id, agent, is_over);
        if is_over {
            answers.push(ServerMessage::TunnelClose(TunnelClose { tunnel_id: TunnelId(session_id) }));
        } else {
            // Its host may be anywhere.
            let signal = Signal::Tunnel { session_id, agent_id: agent.agent_id };
            peers::tell(&app.bus, agent.tenant_id, &signal);
        }
    }
    Ok(answers)
}

/// An agent's session with this node has ended.
pub fn left(app: &App, agent: &AgentSession) {
    let mut gone = Vec::new();
    app.tunnel.here.lock().retain(|session_id, spoken| {
        let is_gone = is_of(spoken, agent);
        if is_gone {
            gone.push((*session_id, spoken.relay.is_some()));
        }
        !is_gone
    });
    for (session_id, is_elsewhere) in gone {
        if let Some(host) = app.tunnel.host(session_id) {
            host.tell(Event::Lost(here(app, agent)));
        } else if is_elsewhere {
            let signal = Signal::Tunnel { session_id, agent_id: agent.agent_id };
            peers::tell(&app.bus, agent.tenant_id, &signal);
        }
    }
}

/// Another node, or an event, says that there is something about a session: looked up, for its host and for its machine.
pub async fn look(app: &App, session_id: Uuid, agent_id: Uuid) -> Result<(), Error> {
    if let Some(host) = app.tunnel.host(session_id) {
        host.wake.notify_one();
    }
    let Some(line) = app.gateway.line(agent_id) else { return Ok(()) };
    let scope: Scope<System> = Scope::system("tunnel", line.tenant_id());
    let held = store::held(&mut app.db.begin(&scope).await?, session_id).await?;
    let Some(held) = held.filter(|held| held.is_active && held.agent_id == agent_id) else {
        close(app, &line, session_id);
        return Ok(());
    };
    let (Some(node_id), Some(key), Some(orders)) = (held.host_node, held.host_key, held.orders) else {
        return Ok(());
    };
    if node_id == app.bus.node_id() {
        return Ok(());
    }
    let orders: TunnelOpen = serde_json::from_value(orders).map_err(Error::internal)?;
    let known = app.tunnel.here.relay(session_id).map(|(_, relay)| relay);
    let relay = match known.filter(|relay| relay.is_keyed_by(key, line.epoch())) {
        Some(relay) => relay,
        None => {
            let link = Link { node_id: app.bus.node_id(), epoch: line.epoch() };
            Arc::new(Stream::of_relay(app, session_id, line.tenant_id(), node_id, key, link))
        }
    };
    tell(app, &line, &orders, Some(relay));
    Ok(())
}

/// [`look`]; what fails is found out later, by the agent's next hello or by its host.
pub async fn look_logged(app: &App, session_id: Uuid, agent_id: Uuid) {
    if let Err(error) = look(app, session_id, agent_id).await {
        tracing::warn!(%session_id, %error, "a session is looked at again later");
    }
}

/// Something was missed.
pub async fn look_at_all(app: &App) {
    let all: Vec<(Uuid, Uuid)> = {
        let sessions = app.tunnel.here.lock();
        let open = sessions.iter().filter(|(_, spoken)| !spoken.is_over);
        open.map(|(session_id, spoken)| (*session_id, spoken.agent_id)).collect()
    };
    for (session_id, agent_id) in all {
        look_logged(app, session_id, agent_id).await;
    }
}

/// Tells an agent that a session is over, if it was told of it in this session of its.
fn close(app: &App, line: &Line, session_id: Uuid) {
    let is_new = {
        let mut sessions = app.tunnel.here.lock();
        match sessions.get_mut(&session_id) {
            Some(spoken) if spoken.agent_id == line.agent_id() && spoken.epoch == line.epoch() => {
                !std::mem::replace(&mut spoken.is_over, true)
            }
            _ => false,
        }
    };
    if is_new {
        line.send(&ServerMessage::TunnelClose(TunnelClose { tunnel_id: TunnelId(session_id) }));
    }
}
