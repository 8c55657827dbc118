//! What is recorded of the frames that pass: of terminals every byte, once; of everything else what was asked, how it
//! ended and how much passed. It does no I/O and knows no clock.

use super::happening::Happening;
use super::lines::{Line, Lines};
use super::records::Writer;
use super::{Direction, Note};
use gururmm_protocol::tunnel::frame::{Frame, FrameKind};
use gururmm_protocol::tunnel::terminal::TerminalMessage;
use gururmm_protocol::tunnel::{
    Attach, ChannelEnd, ChannelError, ChannelId, ChannelKind, LiveChannel, MAX_CHANNELS, Open, OpenChannel,
    Opened, SESSION_CHANNEL,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, BTreeSet};

/// Channels that are followed at a time: both ends may be late in saying that one has ended.
const MAX_FOLLOWED: usize = 4 * MAX_CHANNELS;
/// Characters of a text in a machine's answer.
const MAX_REPLY_CHARS: usize = 1_000;
/// Bytes of records after which a segment is full.
pub const SEGMENT_BYTES: usize = 1024 * 1024;

/// More channels than a session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooManyChannels;

/// What the next host of the session has to know: how far each channel was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    channels: BTreeMap<ChannelId, Followed>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Followed {
    kind: ChannelKind,
    #[serde(default)]
    is_accepted: bool,
    #[serde(default)]
    to_machine: Stream,
    #[serde(default)]
    from_machine: Stream,
}

/// One direction of a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Stream {
    /// Where its next new byte stands.
    next: u64,
    /// New bytes so far.
    bytes: u64,
}

/// What is to be written in one piece.
#[derive(Debug)]
pub struct Segment {
    pub records: Vec<u8>,
    pub from_us: u64,
    pub to_us: u64,
    /// Channels that something of is in it; 0 is the session itself.
    pub channels: BTreeSet<ChannelId>,
    /// Kinds of channels that were opened in it.
    pub kinds: BTreeSet<ChannelKind>,
    /// For the index.
    pub lines: Vec<IndexedLine>,
}

/// A line for the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedLine {
    pub channel: ChannelId,
    pub at_us: u64,
    pub text: String,
}

/// Follows one session.
#[derive(Debug, Default)]
pub struct Observer {
    state: State,
    terminals: BTreeMap<ChannelId, Lines>,
    records: Writer,
    from_us: u64,
    to_us: u64,
    touched: BTreeSet<ChannelId>,
    kinds: BTreeSet<ChannelKind>,
    lines: Vec<IndexedLine>,
}

/// A message of a channel in which things are asked, or of an upload.
#[derive(Deserialize)]
struct ToMachine {
    id: Option<u32>,
    request: Option<Value>,
    r#type: Option<String>,
    sha256: Option<String>,
}

/// A machine's answer; its parts are not looked at.
#[derive(Deserialize)]
struct FromMachine {
    id: Option<u32>,
    reply: Option<Value>,
    error: Option<ChannelError>,
}

impl Observer {
    /// Goes on from what another host, or this one earlier, has written.
    pub fn resumed(state: State, at_us: u64) -> Self {
        Self { state, to_us: at_us, ..Self::default() }
    }

    /// Whether a segment is full.
    pub fn is_full(&self) -> bool {
        self.records.len() >= SEGMENT_BYTES
    }

    /// Since when something waits to be written.
    pub fn waits_since_us(&self) -> Option<u64> {
        (!self.records.is_empty()).then_some(self.from_us)
    }

    /// What waits to be written, if anything does.
    pub fn take(&mut self) -> Option<Segment> {
        if self.records.is_empty() {
            return None;
        }
        let at_us = self.to_us;
        self.records.state(at_us, &self.state);
        Some(Segment {
            records: std::mem::take(&mut self.records).into_bytes(),
            from_us: self.from_us,
            to_us: self.to_us,
            channels: std::mem::take(&mut self.touched),
            kinds: std::mem::take(&mut self.kinds),
            lines: std::mem::take(&mut self.lines),
        })
    }

    /// Time has passed: lines whose echo did not come are decided.
    pub fn settle(&mut self, now_us: u64) {
        self.settle_those_until(now_us, now_us);
    }

    /// No more will come: all lines are decided.
    pub fn settle_all(&mut self, now_us: u64) {
        self.settle_those_until(now_us, u64::MAX);
    }

    fn settle_those_until(&mut self, now_us: u64, until_us: u64) {
        let settled: Vec<_> =
            self.terminals.iter_mut().map(|(channel, lines)| (*channel, lines.settle(until_us))).collect();
        for (channel, lines) in settled {
            self.entered(now_us, channel, lines);
        }
    }

    /// Something about the session itself.
    pub fn note(&mut self, now_us: u64, note: &Note) {
        let happening = match note {
            Note::Ready { channels } => {
                self.ready(now_us, channels);
                Happening::Ready {}
            }
            Note::Refused { reason } => Happening::Refused { reason: (*reason).to_owned() },
            Note::AgentLost => Happening::AgentLost {},
            Note::TechJoined => Happening::TechJoined {},
            Note::TechLeft => Happening::TechLeft {},
            Note::Closed { reason } => Happening::Closed { reason: (*reason).to_owned() },
        };
        self.happened(now_us, SESSION_CHANNEL, &happening);
    }

    /// Nothing more will come from this server.
    pub fn let_go(&mut self, now_us: u64) {
        self.happened(now_us, SESSION_CHANNEL, &Happening::LetGo {});
    }

    /// A frame that passes.
    pub fn frame(
        &mut self,
        now_us: u64,
        direction: Direction,
        frame: &Frame<'_>,
    ) -> Result<(), TooManyChannels> {
        if frame.channel == SESSION_CHANNEL {
            return Ok(());
        }
        match (frame.kind, direction) {
            (FrameKind::Open, Direction::ToMachine) => return self.open(now_us, frame),
            (FrameKind::Opened, Direction::FromMachine) => self.opened(now_us, frame),
            (FrameKind::Attach, Direction::ToMachine)
                if self.state.channels.contains_key(&frame.channel) && frame.json::<Attach>().is_ok() =>
            {
                self.happened(now_us, frame.channel, &Happening::Attached {});
            }
            (FrameKind::Data, _) => self.data(now_us, direction, frame),
            (FrameKind::Message, Direction::ToMachine) => self.asked(now_us, frame),
            (FrameKind::Message, Direction::FromMachine) => self.answered(now_us, frame),
            (FrameKind::End, _) => self.end(now_us, direction, frame),
            // Credit, and what comes from the wrong side, which nobody acts upon.
            _ => {}
        }
        Ok(())
    }

    /// The machine says which channels it still has.
    fn ready(&mut self, now_us: u64, live: &[LiveChannel]) {
        let gone: Vec<ChannelId> = self.state.channels.keys().copied().collect();
        for channel in gone.into_iter().filter(|id| live.iter().all(|live| live.channel != *id)) {
            self.ended(now_us, channel, true, ChannelEnd::default());
        }
        for channel in live {
            if self.state.channels.len() < MAX_FOLLOWED && !self.state.channels.contains_key(&channel.channel)
            {
                self.follow(channel.channel, channel.kind);
                self.happened(now_us, channel.channel, &Happening::found(channel));
            }
        }
    }

    fn open(&mut self, now_us: u64, frame: &Frame<'_>) -> Result<(), TooManyChannels> {
        if self.state.channels.len() >= MAX_FOLLOWED {
            return Err(TooManyChannels);
        }
        let Ok(open) = frame.json::<Open>() else {
            self.unreadable(now_us, Direction::ToMachine, frame);
            return Ok(());
        };
        let kind = open.channel.kind();
        let channel = serde_json::to_value(&open.channel).unwrap_or_default();
        self.follow(frame.channel, kind);
        self.kinds.insert(kind);
        self.happened(now_us, frame.channel, &Happening::Opened { kind: kind.as_str().to_owned(), channel });
        if let OpenChannel::Terminal(terminal) = &open.channel {
            let (columns, rows) = (terminal.size.columns, terminal.size.rows);
            self.happened(now_us, frame.channel, &Happening::Resized { columns, rows });
        }
        Ok(())
    }

    fn follow(&mut self, channel: ChannelId, kind: ChannelKind) {
        if kind == ChannelKind::Terminal {
            self.terminals.insert(channel, Lines::default());
        }
        let followed = Followed {
            kind,
            is_accepted: false,
            to_machine: Stream::default(),
            from_machine: Stream::default(),
        };
        self.state.channels.insert(channel, followed);
    }

    /// A channel stands, or goes on: from where, both ends agree on now.
    fn opened(&mut self, now_us: u64, frame: &Frame<'_>) {
        let Ok(opened) = frame.json::<Opened>() else {
            return self.unreadable(now_us, Direction::FromMachine, frame);
        };
        let Some(channel) = self.state.channels.get_mut(&frame.channel) else { return };
        let was_accepted = std::mem::replace(&mut channel.is_accepted, true);
        let (typed, shown) = (channel.to_machine.next, channel.from_machine.next);
        channel.to_machine.next = opened.received;
        channel.from_machine.next = if was_accepted { shown.max(opened.from) } else { opened.from };
        if !was_accepted {
            return self.happened(now_us, frame.channel, &Happening::Accepted { size: opened.size });
        }
        if opened.received < typed {
            // A page that was loaded anew types other bytes at the same places.
            let happening = Happening::NotReceived { from: opened.received, to: typed };
            self.happened(now_us, frame.channel, &happening);
        } else if opened.received > typed {
            self.gap(now_us, frame.channel, Direction::ToMachine, typed, opened.received);
        }
        if opened.from > shown {
            self.gap(now_us, frame.channel, Direction::FromMachine, shown, opened.from);
        }
    }

    fn data(&mut self, now_us: u64, direction: Direction, frame: &Frame<'_>) {
        let Ok((offset, bytes)) = frame.data() else { return };
        let Some(channel) = self.state.channels.get_mut(&frame.channel) else { return };
        let is_terminal = channel.kind == ChannelKind::Terminal;
        let stream = match direction {
            Direction::ToMachine => &mut channel.to_machine,
            Direction::FromMachine => &mut channel.from_machine,
        };
        let next = stream.next;
        // What was recorded already comes again after a link was lost.
        let known = usize::try_from(next.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(known..).filter(|bytes| !bytes.is_empty()) else { return };
        let offset = offset.max(next);
        stream.next = offset.saturating_add(bytes.len() as u64);
        stream.bytes = stream.bytes.saturating_add(bytes.len() as u64);
        if offset > next {
            self.gap(now_us, frame.channel, direction, next, offset);
        }
        if !is_terminal {
            return;
        }
        let now_us = self.at(now_us, frame.channel);
        let lines = self.terminals.entry(frame.channel).or_default();
        let entered = match direction {
            Direction::ToMachine => {
                self.records.typed(now_us, frame.channel, offset, bytes);
                lines.typed(now_us, bytes)
            }
            Direction::FromMachine => {
                self.records.shown(now_us, frame.channel, offset, bytes);
                lines.shown(bytes)
            }
        };
        self.entered(now_us, frame.channel, entered);
    }

    fn entered(&mut self, now_us: u64, channel: ChannelId, lines: Vec<Line>) {
        for Line { text, is_exact, is_shown } in lines {
            let line = (is_shown || text.is_empty()).then_some(text);
            self.happened(now_us, channel, &Happening::Entered { line: line.clone(), is_exact });
            if let Some(text) = line.filter(|line| !line.is_empty()) {
                self.lines.push(IndexedLine { channel, at_us: self.to_us, text });
            }
        }
    }

    fn asked(&mut self, now_us: u64, frame: &Frame<'_>) {
        let Some(channel) = self.state.channels.get(&frame.channel) else { return };
        if channel.kind == ChannelKind::Terminal {
            return match frame.json() {
                Ok(TerminalMessage::Resize(size)) => {
                    let (columns, rows) = (size.columns, size.rows);
                    self.happened(now_us, frame.channel, &Happening::Resized { columns, rows });
                }
                Ok(TerminalMessage::Unknown) | Err(_) => {
                    self.unreadable(now_us, Direction::ToMachine, frame);
                }
            };
        }
        match frame.json::<ToMachine>() {
            Ok(ToMachine { id: Some(id), request: Some(mut request), .. }) => {
                without_content(&mut request);
                self.happened(now_us, frame.channel, &Happening::Asked { id, request });
            }
            Ok(ToMachine { r#type: Some(word), sha256, .. }) if word == "finish" || word == "discard" => {
                self.happened(now_us, frame.channel, &Happening::Finished { sha256 });
            }
            _ => self.unreadable(now_us, Direction::ToMachine, frame),
        }
    }

    fn answered(&mut self, now_us: u64, frame: &Frame<'_>) {
        let Some(channel) = self.state.channels.get(&frame.channel) else { return };
        if channel.kind == ChannelKind::Events {
            return;
        }
        match frame.json::<FromMachine>() {
            Ok(FromMachine { id: Some(id), reply, error }) if reply.is_some() || error.is_some() => {
                let reply = reply.map(shortened);
                self.happened(now_us, frame.channel, &Happening::Answered { id, reply, error });
            }
            Ok(FromMachine { id: Some(_), .. }) => {}
            _ => self.unreadable(now_us, Direction::FromMachine, frame),
        }
    }

    fn end(&mut self, now_us: u64, direction: Direction, frame: &Frame<'_>) {
        if !self.state.channels.contains_key(&frame.channel) {
            return;
        }
        let end = frame.json::<ChannelEnd>().unwrap_or_default();
        self.ended(now_us, frame.channel, direction == Direction::FromMachine, end);
    }

    /// The machine has the last word: until then its bytes may still be on the way.
    fn ended(&mut self, now_us: u64, id: ChannelId, by_machine: bool, end: ChannelEnd) {
        let Some(channel) = self.state.channels.get(&id) else { return };
        let (to_machine, from_machine) = (channel.to_machine.bytes, channel.from_machine.bytes);
        if by_machine {
            self.state.channels.remove(&id);
            if let Some(mut lines) = self.terminals.remove(&id) {
                self.entered(now_us, id, lines.settle(u64::MAX));
            }
        }
        let ChannelEnd { error, exit_code, sha256, size } = end;
        let ended = Happening::Ended { by_machine, error, exit_code, sha256, size, to_machine, from_machine };
        self.happened(now_us, id, &ended);
    }

    fn gap(&mut self, now_us: u64, channel: ChannelId, direction: Direction, from: u64, to: u64) {
        let from_machine = direction == Direction::FromMachine;
        self.happened(now_us, channel, &Happening::Gap { from_machine, from, to });
    }

    fn unreadable(&mut self, now_us: u64, direction: Direction, frame: &Frame<'_>) {
        let from_machine = direction == Direction::FromMachine;
        let bytes = frame.body.len() as u64;
        self.happened(now_us, frame.channel, &Happening::Unreadable { from_machine, bytes });
    }

    fn happened(&mut self, now_us: u64, channel: ChannelId, happening: &Happening) {
        let now_us = self.at(now_us, channel);
        self.records.happened(now_us, channel, happening);
    }

    /// The time of a record: never before the one before it, whatever the clock does.
    fn at(&mut self, now_us: u64, channel: ChannelId) -> u64 {
        self.to_us = self.to_us.max(now_us);
        if self.records.is_empty() {
            self.from_us = self.to_us;
        }
        self.touched.insert(channel);
        self.to_us
    }
}

/// What a text that is written into a file holds is not recorded; how much it is and its checksum are.
fn without_content(request: &mut Value) {
    let Some(fields) = request.as_object_mut() else { return };
    if let Some(Value::String(text)) = fields.remove("text") {
        let sha256 = hex::encode(Sha256::digest(text.as_bytes()));
        fields.insert("text".to_owned(), json!({ "bytes": text.len(), "sha256": sha256 }));
    }
}

/// A machine's answer in few bytes: of lists their length, of texts of files and logs their size.
fn shortened(mut reply: Value) -> Value {
    if let Some(fields) = reply.as_object_mut() {
        for (name, value) in fields.iter_mut() {
            match value {
                Value::Array(items) => *value = json!({ "items": items.len() }),
                Value::String(text) if name == "text" => *value = json!({ "bytes": text.len() }),
                Value::String(text) if text.len() > MAX_REPLY_CHARS => {
                    *text = text.chars().take(MAX_REPLY_CHARS).collect();
                }
                _ => {}
            }
        }
    }
    reply
}

#[cfg(test)]
mod tests;
