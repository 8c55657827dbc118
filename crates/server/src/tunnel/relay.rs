//! Frames between the node that is a session's host and the one that its machine is connected to. They travel by the bus,
//! sealed: whoever can write to NATS can neither read nor type, nor have anything said again.
//!
//! | bytes | |
//! |---|---|
//! | 0 | 1 |
//! | 1 | direction: 0 to the machine, 1 from it |
//! | 2–17 | the session |
//! | 18–25 | the agent's session, big-endian |
//! | 26–33 | number, big-endian, from 1 on |
//! | 34–57 | random |
//! | 58– | ChaCha20-Poly1305 of a byte that says what it is, and of that; what stands before is authenticated, too |
//!
//! The key is that of the installation, derived for this session, this host, this session of the agent, and this direction; and
//! from it, by what is random, one for each message, as XChaCha20 does.

use super::host::{Event, Link};
use crate::app::App;
use crate::keys::{Keys, Purpose};
use crate::recordings::SessionFacts;
use bytes::Bytes;
use gururmm_protocol::TunnelId;
use gururmm_protocol::tunnel::{Flags, Frame};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::Serialize;
use std::sync::{Mutex, PoisonError};
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zeroize::Zeroizing;

const VERSION: u8 = 1;
const RANDOM_BYTES: usize = 24;
const NUMBERED_BYTES: usize = 34;
const HEADER_BYTES: usize = NUMBERED_BYTES + RANDOM_BYTES;

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Direction {
    ToMachine = 0,
    FromMachine = 1,
}

/// What is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Frame = 0,
    Ready = 1,
    Refused = 2,
    /// Something that the other side sent did not come.
    Broken = 3,
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Frame, Self::Ready, Self::Refused, Self::Broken].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One side's end of the way between two nodes.
pub struct Stream {
    session_id: Uuid,
    tenant_id: Uuid,
    /// The other node.
    peer: Uuid,
    host_key: Uuid,
    epoch: i64,
    sends: Direction,
    seal: Zeroizing<[u8; 32]>,
    open: Zeroizing<[u8; 32]>,
    sent: Mutex<u64>,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    number: u64,
    is_broken: bool,
}

/// What came.
#[derive(Debug, PartialEq, Eq)]
enum Opened {
    This(Kind, Vec<u8>),
    /// Something before it is missing: nothing more is taken.
    Gap,
    /// Of another stream, said before, or not said by a node at all.
    Nothing,
}

impl Stream {
    /// The host's end.
    pub fn of_host(app: &App, facts: &SessionFacts, host_key: Uuid, agent: Link) -> Self {
        let ids = (facts.tunnel_id, facts.tenant_id, agent.node_id);
        Self::new(&app.keys, ids, host_key, agent.epoch, Direction::ToMachine)
    }

    /// The end of the node that the agent is connected to.
    pub fn of_relay(
        app: &App,
        session_id: Uuid,
        tenant_id: Uuid,
        host: Uuid,
        host_key: Uuid,
        agent: Link,
    ) -> Self {
        Self::new(&app.keys, (session_id, tenant_id, host), host_key, agent.epoch, Direction::FromMachine)
    }

    fn new(
        keys: &Keys,
        (session_id, tenant_id, peer): (Uuid, Uuid, Uuid),
        host_key: Uuid,
        epoch: i64,
        sends: Direction,
    ) -> Self {
        let key = |direction: Direction| {
            let context = format!("{session_id} {host_key} {epoch} {}", direction as u8);
            Zeroizing::new(keys.digest(Purpose::TunnelFrames, &context))
        };
        let hears = match sends {
            Direction::ToMachine => Direction::FromMachine,
            Direction::FromMachine => Direction::ToMachine,
        };
        Self {
            session_id,
            tenant_id,
            peer,
            host_key,
            epoch,
            sends,
            seal: key(sends),
            open: key(hears),
            sent: Mutex::default(),
            heard: Mutex::default(),
        }
    }

    /// Whether it is the one of this host and this session of the agent.
    pub fn is_keyed_by(&self, host_key: Uuid, epoch: i64) -> bool {
        (self.host_key, self.epoch) == (host_key, epoch)
    }

    /// Sends a frame.
    pub fn send_frame(&self, app: &App, frame: &Bytes) {
        self.send(app, Kind::Frame, frame);
    }

    /// Sends something else.
    pub fn send_json(&self, app: &App, kind: Kind, value: &impl Serialize) {
        match serde_json::to_vec(value) {
            Ok(json) => self.send(app, kind, &json),
            Err(error) => tracing::error!(%error, "a word to another node could not be written"),
        }
    }

    /// Sends. What does not arrive leaves a gap, which the other side notices.
    pub fn send(&self, app: &App, kind: Kind, body: &[u8]) {
        // Numbered and sent in one step: they leave in their order.
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        *sent += 1;
        match self.sealed(*sent, kind, body) {
            Some(sealed) => app.bus.carry(self.peer, self.tenant_id, sealed.into()),
            None => tracing::error!("a frame to another node could not be sealed"),
        }
    }

    fn sealed(&self, number: u64, kind: Kind, body: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + 1 + body.len() + CHACHA20_POLY1305.tag_len());
        bytes.extend_from_slice(&[VERSION, self.sends as u8]);
        bytes.extend_from_slice(self.session_id.as_bytes());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&number.to_be_bytes());
        let random = rand::random::<[u8; RANDOM_BYTES]>();
        bytes.extend_from_slice(&random);
        let mut inside = Vec::with_capacity(1 + body.len() + CHACHA20_POLY1305.tag_len());
        inside.push(kind as u8);
        inside.extend_from_slice(body);
        let (key, nonce) = message_key(&self.seal, &random)?;
        key.seal_in_place_append_tag(nonce, Aad::from(&bytes), &mut inside).ok()?;
        bytes.extend_from_slice(&inside);
        Some(bytes)
    }

    fn opened(&self, sealed: &Sealed<'_>) -> Opened {
        let is_other = |direction: u8| direction == self.sends as u8;
        if is_other(sealed.direction) || sealed.epoch != self.epoch {
            return Opened::Nothing;
        }
        let Some((key, nonce)) = message_key(&self.open, sealed.random) else { return Opened::Nothing };
        let mut inside = sealed.inside.to_vec();
        let Ok(inside) = key.open_in_place(nonce, Aad::from(sealed.header), &mut inside) else {
            return Opened::Nothing;
        };
        // Looked at when it is known to be a node's: nobody else can make this stream end.
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.is_broken || sealed.number <= heard.number {
            return Opened::Nothing;
        }
        if sealed.number != heard.number + 1 {
            heard.is_broken = true;
            return Opened::Gap;
        }
        heard.number = sealed.number;
        match inside.split_first() {
            Some((kind, body)) => match Kind::from_byte(*kind) {
                Some(kind) => Opened::This(kind, body.to_vec()),
                // From a newer node.
                None => Opened::Nothing,
            },
            None => Opened::Nothing,
        }
    }
}

fn message_key(key: &[u8; 32], random: &[u8]) -> Option<(LessSafeKey, Nonce)> {
    let derived = Zeroizing::new(*blake3::keyed_hash(key, random).as_bytes());
    let key = UnboundKey::new(&CHACHA20_POLY1305, derived.as_slice()).ok()?;
    // The key is this message's alone.
    Some((LessSafeKey::new(key), Nonce::assume_unique_for_key([0; NONCE_LEN])))
}

/// What came by the bus, not opened yet.
struct Sealed<'a> {
    direction: u8,
    session_id: Uuid,
    epoch: i64,
    number: u64,
    header: &'a [u8],
    random: &'a [u8],
    inside: &'a [u8],
}

impl<'a> Sealed<'a> {
    fn read(bytes: &'a [u8]) -> Option<Self> {
        let (header, inside) = bytes.split_at_checked(HEADER_BYTES)?;
        let (numbered, random) = header.split_at_checked(NUMBERED_BYTES)?;
        let (&[version, direction], rest) = numbered.split_first_chunk::<2>()?;
        let (session, rest) = rest.split_first_chunk::<16>()?;
        let (epoch, number) = rest.split_first_chunk::<8>()?;
        (version == VERSION).then_some(Self {
            direction,
            session_id: Uuid::from_bytes(*session),
            epoch: i64::from_be_bytes(*epoch),
            number: u64::from_be_bytes(number.try_into().ok()?),
            header,
            random,
            inside,
        })
    }
}

/// Takes what other nodes send of sessions, until `stop`.
pub async fn keep_carrying(app: &App, stop: CancellationToken) {
    let mut carried = app.bus.carried();
    while let Some(bytes) = stop.run_until_cancelled(carried.recv()).await {
        match bytes {
            Ok(bytes) => arrived(app, &bytes),
            // Their numbers say it.
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

fn arrived(app: &App, bytes: &[u8]) {
    let Some(sealed) = Sealed::read(bytes) else { return };
    if sealed.direction == Direction::ToMachine as u8 {
        to_machine(app, &sealed);
    } else {
        from_machine(app, &sealed);
    }
}

fn to_machine(app: &App, sealed: &Sealed<'_>) {
    let Some((agent_id, stream)) = app.tunnel.here.relay(sealed.session_id) else { return };
    match stream.opened(sealed) {
        Opened::This(Kind::Frame, body) => {
            let line = app.gateway.line(agent_id).filter(|line| line.epoch() == stream.epoch);
            if let Some((line, frame)) = line.zip(Frame::read(&body).ok()) {
                let bytes = frame.to_bytes_of_session(TunnelId(sealed.session_id));
                let is_bulk = frame.flags.has(Flags::BULK);
                line.send_frame((sealed.session_id, frame.channel), is_bulk, bytes.into());
            }
        }
        Opened::Gap => stream.send(app, Kind::Broken, &[]),
        Opened::This(..) | Opened::Nothing => {}
    }
}

fn from_machine(app: &App, sealed: &Sealed<'_>) {
    let Some(host) = app.tunnel.host(sealed.session_id) else { return };
    let Some((link, stream)) = host.stream() else { return };
    match stream.opened(sealed) {
        Opened::This(Kind::Frame, body) => {
            let body = Bytes::from(body);
            if let Ok(frame) = Frame::read(&body) {
                host.machine_sends(link, &frame, body.clone());
            }
        }
        Opened::This(Kind::Ready, body) => {
            if let Ok(ready) = serde_json::from_slice(&body) {
                host.tell(Event::Ready(link, ready));
            }
        }
        Opened::This(Kind::Refused, body) => {
            if let Ok(refused) = serde_json::from_slice(&body) {
                host.tell(Event::Refused(link, refused));
            }
        }
        // Both ends begin anew, under another key.
        Opened::This(Kind::Broken, _) | Opened::Gap => host.tell(Event::Lost(link)),
        Opened::Nothing => {}
    }
}

#[cfg(test)]
mod tests;
