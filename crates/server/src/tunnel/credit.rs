//! The channels of one session: which there are, who may send how much on them, and what of a frame is to be done. Pure.

use gururmm_protocol::tunnel::order::ChannelKind;
use gururmm_protocol::tunnel::{
    Attach, ChannelEnd, ChannelError, ChannelId, ErrorCode, Frame, FrameKind, LiveChannel, MAX_CHANNELS,
    MAX_WINDOW_BYTES, Open, Opened, SERVER_CHANNELS, SESSION_CHANNEL,
};
use std::collections::HashMap;

/// What all channels of one session may be ahead together: what a page that does not read costs.
pub const SESSION_WINDOW_BYTES: u64 = 16 * 1024 * 1024;
/// A grant of so many bytes pays for itself. Smaller ones are counted as messages are.
const MUCH_GRANTED_BYTES: u32 = 8 * 1024;

/// Whether a frame is paid for: it uses credit, or it grants much, which only what was sent before has made room for.
pub fn is_paid(frame: &Frame<'_>) -> bool {
    frame.channel != SESSION_CHANNEL
        && match frame.kind {
            FrameKind::Data | FrameKind::Message => frame.cost() > 0,
            FrameKind::Credit => frame.credit().is_ok_and(|bytes| bytes >= MUCH_GRANTED_BYTES),
            _ => false,
        }
}
/// A ping's body, with room to spare.
const PING_BYTES: usize = 256;

/// The tech's end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Page or program of the tech.
    Tech,
    /// The server itself, for an HTTP request.
    Server,
}

impl Side {
    /// Whose a channel is, by its number.
    pub fn of(channel: ChannelId) -> Self {
        if channel >= SERVER_CHANNELS { Self::Server } else { Self::Tech }
    }
}

/// What becomes of a frame.
#[derive(Debug, PartialEq)]
pub enum Verdict {
    /// It goes on.
    Pass,
    /// It belongs to what is over, or to nothing.
    Ignore,
    /// Its sender is told that the channel is over.
    Refuse(ChannelEnd),
    /// Its sender does not keep to the protocol: the session ends.
    Break(&'static str),
}

fn refuse(code: ErrorCode, detail: &str) -> Verdict {
    Verdict::Refuse(ChannelError::new(code, detail).into())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The machine has not answered yet.
    Opening,
    Open,
    /// Somebody asked for it anew, and the machine has not answered yet. What it still sends belongs to before.
    Attaching,
    /// Nobody has asked for it since the link or the page was lost.
    Detached,
    /// It ended while nobody was there: the machine says how to who asks for it.
    Ended,
}

#[derive(Debug)]
struct Channel {
    phase: Phase,
    kind: ChannelKind,
    /// What the machine may still send.
    to_tech: u32,
    /// What the tech's side may still send.
    to_machine: u32,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Channels(HashMap<ChannelId, Channel>);

impl Channels {
    /// A frame from the tech's side.
    pub fn tech_sends(&mut self, side: Side, frame: &Frame<'_>, allowed: &[ChannelKind]) -> Verdict {
        if frame.channel == SESSION_CHANNEL {
            return ping(frame);
        }
        if Side::of(frame.channel) != side {
            return Verdict::Break("not a number of its own");
        }
        match frame.kind {
            FrameKind::Open => match frame.json::<Open>() {
                Ok(open) => self.open(frame.channel, &open, allowed),
                Err(_) => refuse(ErrorCode::Invalid, "this does not say what to open"),
            },
            FrameKind::Attach => match frame.json::<Attach>() {
                Ok(attach) => self.attach(frame.channel, &attach),
                Err(_) => Verdict::Break("not an attach"),
            },
            FrameKind::Data | FrameKind::Message => {
                let Some(channel) = self.0.get_mut(&frame.channel).filter(|one| one.phase == Phase::Open)
                else {
                    return Verdict::Ignore;
                };
                spend(&mut channel.to_machine, frame.cost())
            }
            FrameKind::Credit => {
                let Some(channel) = self.0.get_mut(&frame.channel).filter(|one| one.phase == Phase::Open)
                else {
                    return Verdict::Ignore;
                };
                grant(&mut channel.to_tech, frame)
            }
            FrameKind::End => match self.0.remove(&frame.channel) {
                Some(_) => Verdict::Pass,
                None => Verdict::Ignore,
            },
            FrameKind::Opened => Verdict::Break("only the machine opens"),
        }
    }

    /// A frame from the machine.
    pub fn machine_sends(&mut self, frame: &Frame<'_>) -> Verdict {
        if frame.channel == SESSION_CHANNEL {
            return ping(frame);
        }
        if matches!(frame.kind, FrameKind::Open | FrameKind::Attach) {
            return Verdict::Break("the machine opens nothing");
        }
        let Some(channel) = self.0.get_mut(&frame.channel) else { return Verdict::Ignore };
        match (frame.kind, channel.phase) {
            (FrameKind::Opened, Phase::Opening | Phase::Attaching) => match frame.json::<Opened>() {
                Ok(opened) if opened.window <= MAX_WINDOW_BYTES => {
                    channel.phase = Phase::Open;
                    // A grant may have overtaken this.
                    channel.to_machine = channel.to_machine.saturating_add(opened.window);
                    Verdict::Pass
                }
                _ => Verdict::Break("not an answer"),
            },
            (FrameKind::Data | FrameKind::Message, Phase::Open) => spend(&mut channel.to_tech, frame.cost()),
            (FrameKind::Data | FrameKind::Message, Phase::Opening) => {
                Verdict::Break("the channel is not open yet")
            }
            (FrameKind::Credit, Phase::Open) => grant(&mut channel.to_machine, frame),
            (FrameKind::Credit, Phase::Attaching) => match grant(&mut channel.to_machine, frame) {
                Verdict::Pass => Verdict::Ignore,
                other => other,
            },
            (FrameKind::End, _) => {
                self.0.remove(&frame.channel);
                Verdict::Pass
            }
            _ => Verdict::Ignore,
        }
    }

    fn open(&mut self, id: ChannelId, open: &Open, allowed: &[ChannelKind]) -> Verdict {
        let kind = open.channel.kind();
        if open.window > MAX_WINDOW_BYTES {
            return Verdict::Break("more than may be granted");
        }
        if kind == ChannelKind::Unknown {
            return refuse(ErrorCode::Unsupported, "this server does not know that kind of channel");
        }
        if !allowed.contains(&kind) {
            return refuse(ErrorCode::NotAllowed, "the policy does not allow it");
        }
        if self.0.len() >= MAX_CHANNELS {
            self.0.retain(|_, channel| channel.phase != Phase::Ended);
        }
        if self.0.get(&id).is_some_and(|channel| channel.phase != Phase::Ended) {
            return refuse(ErrorCode::AlreadyExists, "there is a channel of that number");
        }
        let ahead: u64 = self.0.values().map(|channel| u64::from(channel.to_tech)).sum();
        if self.0.len() >= MAX_CHANNELS || ahead + u64::from(open.window) > SESSION_WINDOW_BYTES {
            return refuse(ErrorCode::TooMany, "as many channels are open as may be");
        }
        let channel = Channel { phase: Phase::Opening, kind, to_tech: open.window, to_machine: 0 };
        self.0.insert(id, channel);
        Verdict::Pass
    }

    fn attach(&mut self, id: ChannelId, attach: &Attach) -> Verdict {
        if attach.window > MAX_WINDOW_BYTES {
            return Verdict::Break("more than may be granted");
        }
        let others = self.0.iter().filter(|(other, _)| **other != id);
        let ahead: u64 = others.map(|(_, channel)| u64::from(channel.to_tech)).sum();
        let Some(channel) = self.0.get_mut(&id) else {
            return refuse(ErrorCode::Closed, "the channel is not there any more");
        };
        if channel.phase == Phase::Opening {
            return Verdict::Break("the channel is not open yet");
        }
        if ahead + u64::from(attach.window) > SESSION_WINDOW_BYTES {
            return refuse(ErrorCode::TooMany, "as many channels are open as may be");
        }
        (channel.phase, channel.to_tech, channel.to_machine) = (Phase::Attaching, attach.window, 0);
        Verdict::Pass
    }

    /// The tech's page or program is gone, or another one is there: what it had open waits until somebody attaches.
    pub fn tech_left(&mut self) {
        for (_, channel) in self.0.iter_mut().filter(|(id, _)| Side::of(**id) == Side::Tech) {
            channel.detach();
        }
    }

    /// The link to the machine is gone. What the server itself has open ends with it.
    pub fn machine_left(&mut self) {
        self.0.retain(|id, _| Side::of(*id) == Side::Tech);
        self.0.values_mut().for_each(Channel::detach);
    }

    /// The machine says which channels it still has.
    pub fn machine_has(&mut self, live: &[LiveChannel]) {
        self.0.retain(|id, _| live.iter().any(|one| one.channel == *id));
        for one in live.iter().filter(|one| Side::of(one.channel) == Side::Tech).take(MAX_CHANNELS) {
            self.0.entry(one.channel).or_insert(Channel {
                phase: Phase::Detached,
                kind: one.kind,
                to_tech: 0,
                to_machine: 0,
            });
        }
    }

    /// Somebody is there again, and the machine says which channels it has.
    pub fn machine_names(&mut self, live: &[LiveChannel]) {
        let is_there = |id: &ChannelId| live.iter().any(|one| one.channel == *id);
        let detached = self.0.iter_mut().filter(|(_, channel)| channel.phase == Phase::Detached);
        detached.filter(|(id, _)| !is_there(id)).for_each(|(_, channel)| channel.phase = Phase::Ended);
    }

    /// Whether anything is open that a page or program of the tech has opened.
    pub fn has_techs(&self) -> bool {
        self.0.keys().any(|id| Side::of(*id) == Side::Tech)
    }

    /// The server does not want its own channel any more.
    pub fn forget(&mut self, channel: ChannelId) -> bool {
        self.0.remove(&channel).is_some()
    }

    /// What may be sent to the machine on a channel; `None` while it is not open.
    pub fn may_send(&self, channel: ChannelId) -> Option<u32> {
        self.0.get(&channel).filter(|one| one.phase == Phase::Open).map(|one| one.to_machine)
    }

    /// Channels of kinds that are not allowed any more.
    pub fn not_among(&self, allowed: &[ChannelKind]) -> Vec<ChannelId> {
        self.0.iter().filter(|(_, channel)| !allowed.contains(&channel.kind)).map(|(id, _)| *id).collect()
    }
}

impl Channel {
    fn detach(&mut self) {
        (self.phase, self.to_tech, self.to_machine) = (Phase::Detached, 0, 0);
    }
}

fn ping(frame: &Frame<'_>) -> Verdict {
    match frame.kind {
        FrameKind::Message if frame.body.len() <= PING_BYTES => Verdict::Pass,
        _ => Verdict::Break("not a ping"),
    }
}

fn spend(credit: &mut u32, cost: u32) -> Verdict {
    match credit.checked_sub(cost) {
        Some(left) => {
            *credit = left;
            Verdict::Pass
        }
        None => Verdict::Break("more than was granted"),
    }
}

fn grant(credit: &mut u32, frame: &Frame<'_>) -> Verdict {
    match frame
        .credit()
        .ok()
        .and_then(|bytes| credit.checked_add(bytes))
        .filter(|all| *all <= MAX_WINDOW_BYTES)
    {
        Some(all) => {
            *credit = all;
            Verdict::Pass
        }
        None => Verdict::Break("more than may be granted"),
    }
}

#[cfg(test)]
mod tests;
