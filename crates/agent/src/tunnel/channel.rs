//! The machine's end of one channel, as capabilities have it: what came in order, and a sender that keeps to the credit.
//!
//! Nothing goes out before the channel is opened, and nothing after an [`Incoming::Attach`] until that is answered with
//! [`ChannelSender::opened`] again. So whoever sends also listens: a send that waits is given up for what came.

use super::lanes::{Lane, Lanes};
use gururmm_protocol::TunnelId;
use gururmm_protocol::tunnel::frame::{OFFSET_BYTES, PIECE_BYTES, json_body};
use gururmm_protocol::tunnel::{
    Attach, ChannelEnd, ChannelError, ChannelId, ErrorCode, Flags, Frame, FrameKind, MAX_WINDOW_BYTES, Opened,
};
use serde::Serialize;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc};

/// Frames of one channel that may wait to be taken up; bytes are bounded by the credit.
pub(super) const QUEUE: usize = 1_024;
/// A grant is sent when this part of the window came together, or a piece of a transfer: not one for each key that is pressed.
const GRANTED_AT: u32 = 4;

fn granted_at(window: u32) -> u32 {
    (window / GRANTED_AT).min(PIECE_BYTES as u32)
}

/// The machine's end of one channel. Dropped: the channel ends.
#[derive(Debug)]
pub struct Channel {
    pub id: ChannelId,
    /// Gives `None` when the channel, or its session, is over.
    pub incoming: mpsc::Receiver<Incoming>,
    pub sender: ChannelSender,
}

/// What comes from the tech's side, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A piece of the tech's stream. See [`unseen`].
    Data { offset: u64, bytes: Vec<u8>, is_last: bool },
    /// The body of a message.
    Message(Vec<u8>),
    /// The tech is back, or somewhere else: answered with [`ChannelSender::opened`], after which the stream goes on from
    /// what that said.
    Attach(Attach),
}

impl Incoming {
    /// What it took of the credit: to be granted again when it was dealt with.
    pub fn cost(&self) -> u32 {
        let bytes = match self {
            Self::Data { bytes, .. } => OFFSET_BYTES + bytes.len(),
            Self::Message(body) => body.len(),
            Self::Attach(_) => 0,
        };
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What of a piece of a stream is new to who has `received` bytes of it. What was sent again is left out; a gap is an error.
pub fn unseen(received: u64, offset: u64, bytes: &[u8]) -> Result<&[u8], ChannelError> {
    let seen = received
        .checked_sub(offset)
        .ok_or_else(|| ChannelError::new(ErrorCode::Invalid, "bytes of the stream are missing"))?;
    let seen = usize::try_from(seen).unwrap_or(usize::MAX);
    Ok(bytes.get(seen..).unwrap_or_default())
}

/// The channel is over: nothing can be sent on it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the channel is over")]
pub struct Gone;

/// Sends on a channel; clones send on the same one.
#[derive(Debug, Clone)]
pub struct ChannelSender(Arc<Shared>);

/// What the channel's task and the session both have.
#[derive(Debug)]
pub(super) struct Shared {
    session: TunnelId,
    id: ChannelId,
    lane: Lane,
    flow: Mutex<Flow>,
    changed: Notify,
}

#[derive(Debug)]
struct Flow {
    /// The way to the tech, while there is one.
    lanes: Option<Lanes>,
    /// An open or attach that is not answered yet: what it lets be sent.
    asked: Option<u32>,
    /// How many of these the channel's task has still before it.
    unanswered: u32,
    /// What may be sent.
    credit: u32,
    /// What the other side may still send.
    granted: u32,
    /// What was dealt with, and is not granted again yet.
    dealt_with: u32,
    window: u32,
    /// The other side ended it: there is nothing to be said any more but how it ended here.
    is_closing: bool,
    end: Option<ChannelEnd>,
}

/// Whether something is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Now,
    Later,
    Never,
}

impl Flow {
    fn is_open(&self) -> bool {
        self.lanes.is_some() && self.asked.is_none()
    }

    fn is_over(&self) -> bool {
        self.is_closing || self.end.is_some()
    }

    fn is_on(&self, lanes: &Lanes) -> bool {
        self.lanes.as_ref().is_some_and(|now| now.is_same(lanes))
    }
}

impl ChannelSender {
    /// Answers the opening, or an attach. `window` is filled in here. Where the tech has come once more meanwhile, or is
    /// gone again, there is nothing to say.
    pub async fn opened(&self, opened: Opened) -> Result<(), Gone> {
        {
            let mut flow = self.0.flow();
            flow.unanswered = flow.unanswered.saturating_sub(1);
        }
        let is_asked = |flow: &Flow| flow.asked.is_some() && flow.unanswered == 0;
        let turn = |flow: &Flow| if is_asked(flow) { Turn::Now } else { Turn::Never };
        let make = |flow: &mut Flow| {
            flow.credit = flow.asked.take()?.min(MAX_WINDOW_BYTES);
            flow.granted = flow.granted.saturating_add(std::mem::take(&mut flow.dealt_with));
            let opened = Opened { window: flow.granted, ..opened.clone() };
            json_body(&opened).ok().map(|body| self.frame(FrameKind::Opened, Flags::default(), &body))
        };
        self.put(self.0.lane, turn, make).await
    }

    /// Bytes of the machine's stream, in pieces of at most [`PIECE_BYTES`] as the credit allows. `flags` are the last
    /// piece's; [`Flags::BULK`] is set by the kind of the channel. A call that is cancelled may have sent some of them.
    pub async fn data(&self, mut offset: u64, mut bytes: &[u8], flags: Flags) -> Result<(), Gone> {
        loop {
            let sent = self.piece(offset, bytes, flags).await?;
            bytes = bytes.get(sent..).unwrap_or_default();
            offset += sent as u64;
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// As many of these bytes as go in one piece now, at least one of them; says how many. A call that is cancelled has
    /// sent nothing.
    pub async fn piece(&self, offset: u64, bytes: &[u8], flags: Flags) -> Result<usize, Gone> {
        let mut sent = 0;
        let least = OFFSET_BYTES + usize::from(!bytes.is_empty());
        let turn = |flow: &Flow| {
            if flow.is_open() && flow.credit as usize >= least { Turn::Now } else { Turn::Later }
        };
        let make = |flow: &mut Flow| {
            let room = (flow.credit as usize).saturating_sub(OFFSET_BYTES);
            sent = bytes.len().min(PIECE_BYTES).min(room);
            let piece = bytes.get(..sent)?;
            flow.credit = flow.credit.saturating_sub(u32::try_from(OFFSET_BYTES + sent).ok()?);
            let flags = if sent == bytes.len() { flags } else { Flags::default() };
            let mut frame = self.frame(FrameKind::Data, flags.and(self.0.lane.flags()), &[]);
            frame.reserve_exact(OFFSET_BYTES + sent);
            frame.extend_from_slice(&offset.to_be_bytes());
            frame.extend_from_slice(piece);
            Some(frame)
        };
        self.put(self.0.lane, turn, make).await?;
        Ok(sent)
    }

    /// A message of the channel's own protocol. One that is longer than a frame ends the channel: answers come in parts.
    pub async fn message<T: Serialize>(&self, message: &T) -> Result<(), Gone> {
        let Ok(body) = json_body(message) else {
            tracing::error!(channel = self.0.id, "an answer does not fit in a frame");
            let error = ChannelError::new(ErrorCode::TooLarge, "the answer does not fit in a message");
            self.clone().end(error.into()).await;
            return Err(Gone);
        };
        let cost = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let turn = |flow: &Flow| if flow.is_open() && flow.credit >= cost { Turn::Now } else { Turn::Later };
        let make = |flow: &mut Flow| {
            flow.credit = flow.credit.saturating_sub(cost);
            Some(self.frame(FrameKind::Message, Flags::default(), &body))
        };
        self.put(self.0.lane, turn, make).await
    }

    /// What came and cost so much was dealt with ([`Incoming::cost`]): it is granted again, at once or with what follows.
    pub async fn grant(&self, bytes: u32) -> Result<(), Gone> {
        {
            let mut flow = self.0.flow();
            if flow.is_over() {
                return Err(Gone);
            }
            flow.dealt_with = flow.dealt_with.saturating_add(bytes);
        }
        let turn = |flow: &Flow| {
            // Whoever attaches is told all of it.
            let is_much = flow.dealt_with > 0 && flow.dealt_with >= granted_at(flow.window);
            if is_much && flow.is_open() { Turn::Now } else { Turn::Never }
        };
        let make = |flow: &mut Flow| {
            let bytes = std::mem::take(&mut flow.dealt_with);
            flow.granted = flow.granted.saturating_add(bytes);
            Some(self.frame(FrameKind::Credit, Flags::default(), &bytes.to_be_bytes()))
        };
        self.put(Lane::First, turn, make).await
    }

    /// Ends the channel. Only the first end counts. Without a link it is told to who asks for the channel.
    pub async fn end(self, end: ChannelEnd) {
        let body = json_body(&end).unwrap_or_default();
        if !self.0.close(end) {
            return;
        }
        let lanes = self.0.flow().lanes.clone();
        if let Some(lanes) = lanes
            && let Ok(permit) = lanes.of(self.0.lane).reserve().await
        {
            permit.send(self.frame(FrameKind::End, Flags::default(), &body));
        }
    }

    /// The channel's number.
    pub(super) fn id(&self) -> ChannelId {
        self.0.id
    }

    /// Whether this sends on that channel.
    pub(super) fn is_of(&self, shared: &Arc<Shared>) -> bool {
        Arc::ptr_eq(&self.0, shared)
    }

    /// Its task is gone; whether that was without an end.
    pub(super) fn fail(&self, end: &ChannelEnd) -> bool {
        self.0.close(end.clone())
    }

    /// Returns when the link is gone, or the tech: nobody is there until an [`Incoming::Attach`] comes.
    pub async fn detached(&self) {
        self.0.until(|flow| flow.lanes.is_none()).await;
    }

    /// Returns when the channel is over, as far as the tech or the session is concerned.
    pub async fn over(&self) {
        self.0.until(Flow::is_over).await;
    }

    /// Waits for its `turn`, and for room in the lane; then `make` takes what it needs of the credit. The turn is asked
    /// for again when anything has changed meanwhile.
    async fn put(
        &self,
        lane: Lane,
        turn: impl Fn(&Flow) -> Turn,
        mut make: impl FnMut(&mut Flow) -> Option<Vec<u8>>,
    ) -> Result<(), Gone> {
        loop {
            let mut changed = pin!(self.0.changed.notified());
            changed.as_mut().enable();
            let (turns, lanes) = {
                let flow = self.0.flow();
                if flow.is_over() {
                    return Err(Gone);
                }
                (turn(&flow), flow.lanes.clone())
            };
            let lanes = match (turns, lanes) {
                (Turn::Never, _) => return Ok(()),
                (Turn::Now, Some(lanes)) => lanes,
                (Turn::Now, None) | (Turn::Later, _) => {
                    changed.await;
                    continue;
                }
            };
            let Ok(permit) = lanes.of(lane).reserve().await else {
                // That link is gone, which the channel is told soon, unless it was already.
                if self.0.flow().is_on(&lanes) {
                    changed.await;
                }
                continue;
            };
            let mut flow = self.0.flow();
            if flow.is_over() || !flow.is_on(&lanes) || turn(&flow) != Turn::Now {
                continue;
            }
            if let Some(frame) = make(&mut flow) {
                permit.send(frame);
            }
            return Ok(());
        }
    }

    fn frame(&self, kind: FrameKind, flags: Flags, body: &[u8]) -> Vec<u8> {
        Frame { channel: self.0.id, kind, flags, body }.to_bytes_of_session(self.0.session)
    }
}

/// Why a frame cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// The channel is over.
    Over,
    /// It is more than was granted.
    BeyondCredit,
}

impl Shared {
    /// A channel that is to be opened: `credit` may be sent, and it takes `window` bytes ahead.
    pub(super) fn new(
        session: TunnelId,
        id: ChannelId,
        lane: Lane,
        lanes: Lanes,
        credit: u32,
        window: u32,
    ) -> Arc<Self> {
        let flow = Flow {
            lanes: Some(lanes),
            asked: Some(credit),
            unanswered: 1,
            credit: 0,
            granted: window,
            dealt_with: 0,
            window,
            is_closing: false,
            end: None,
        };
        Arc::new(Self { session, id, lane, flow: Mutex::new(flow), changed: Notify::new() })
    }

    pub(super) fn sender(self: &Arc<Self>) -> ChannelSender {
        ChannelSender(Arc::clone(self))
    }

    /// Something costs this much of what was granted.
    pub(super) fn takes(&self, cost: u32) -> Result<(), Refused> {
        let mut flow = self.flow();
        if flow.is_over() {
            return Err(Refused::Over);
        }
        flow.granted = flow.granted.checked_sub(cost).ok_or(Refused::BeyondCredit)?;
        Ok(())
    }

    /// More may be sent. More than may ever be granted is cut to that.
    pub(super) fn credit(&self, bytes: u32) {
        let mut flow = self.flow();
        // One that comes before an attach is answered belongs to what the attach made void.
        if flow.asked.is_none() {
            flow.credit = flow.credit.saturating_add(bytes).min(MAX_WINDOW_BYTES);
            self.changed.notify_waiters();
        }
    }

    /// The other side is back, over these lanes; what it granted before is void.
    pub(super) fn attach(&self, lanes: Lanes, credit: u32) {
        let mut flow = self.flow();
        flow.lanes = Some(lanes);
        flow.asked = Some(credit);
        flow.unanswered = flow.unanswered.saturating_add(1);
        flow.credit = 0;
        self.changed.notify_waiters();
    }

    /// The link is gone, or the tech: nothing is sent until somebody attaches.
    pub(super) fn detach(&self) {
        let mut flow = self.flow();
        flow.lanes = None;
        flow.asked = None;
        flow.credit = 0;
        self.changed.notify_waiters();
    }

    /// The other side ended it.
    pub(super) fn closing(&self) {
        self.flow().is_closing = true;
        self.changed.notify_waiters();
    }

    /// Ends it here, without a word to the other side. Returns whether it was not over yet.
    pub(super) fn close(&self, end: ChannelEnd) -> bool {
        let mut flow = self.flow();
        let is_new = flow.end.is_none();
        if is_new {
            flow.end = Some(end);
            self.changed.notify_waiters();
        }
        is_new
    }

    /// How it ended, once it has.
    pub(super) fn ended(&self) -> Option<ChannelEnd> {
        self.flow().end.clone()
    }

    async fn until(&self, is_so: impl Fn(&Flow) -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if is_so(&self.flow()) {
                return;
            }
            changed.await;
        }
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        // Every change is of plain numbers.
        self.flow.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
