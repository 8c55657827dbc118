//! One session: its rules, its channels, and what is kept of those that ended.

use super::channel::{Channel, ChannelSender, Incoming, QUEUE, Refused, Shared};
use super::lanes::{Lane, Lanes};
use super::{closed, say_end};
use gururmm_protocol::TunnelId;
use gururmm_protocol::limits::{MAX_NAME_CHARS, clean};
use gururmm_protocol::tunnel::order::Shell;
use gururmm_protocol::tunnel::{
    Attach, BULK_WINDOW_BYTES, ChannelEnd, ChannelError, ChannelId, ChannelKind, ErrorCode, Frame, FrameKind,
    LiveChannel, MAX_CHANNELS, Open, OpenChannel, SERVER_CHANNELS, TunnelOpen, TunnelReady, TunnelRules,
    WINDOW_BYTES,
};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;

/// Ends that are kept for who asks for their channels again.
const MAX_ENDED: usize = MAX_CHANNELS;

/// A session as it is open.
#[derive(Debug)]
pub(super) struct TunnelSession {
    rules: Arc<TunnelRules>,
    shells: Vec<Shell>,
    /// When it is dropped, unless a server speaks of it on a link of today.
    until: Option<Instant>,
    channels: HashMap<ChannelId, Entry>,
    ended: VecDeque<(ChannelId, ChannelEnd)>,
}

#[derive(Debug)]
struct Entry {
    shared: Arc<Shared>,
    /// Dropped: nothing comes any more.
    incoming: Option<mpsc::Sender<Incoming>>,
    kind: ChannelKind,
    label: String,
}

/// A channel that is to be let work.
#[derive(Debug)]
pub(super) struct Started {
    pub open: OpenChannel,
    pub rules: Arc<TunnelRules>,
    pub channel: Channel,
}

impl Entry {
    /// It is over for whoever works in it. `end` is what it says, unless it has said something already.
    fn close(&mut self, end: ChannelEnd) -> bool {
        self.incoming = None;
        self.shared.close(end)
    }
}

impl TunnelSession {
    pub(super) fn new(order: TunnelOpen, shells: Vec<Shell>, until: Option<Instant>) -> Self {
        Self { rules: Arc::new(order.rules), shells, until, channels: HashMap::new(), ended: VecDeque::new() }
    }

    /// When it is over, unless a server speaks of it.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// A server does. Channels that other rules let in do not outlive these.
    pub(super) fn spoken_of(&mut self, rules: TunnelRules) {
        self.until = None;
        if *self.rules == rules {
            return;
        }
        let is_as_before = |kind| match kind {
            ChannelKind::Files => self.rules.paths == rules.paths,
            ChannelKind::Forward => self.rules.forwards == rules.forwards,
            _ => true,
        };
        for entry in self.channels.values_mut() {
            if !rules.channels.contains(&entry.kind) || !is_as_before(entry.kind) {
                entry.close(ChannelError::new(ErrorCode::NotAllowed, "the policy has changed").into());
            }
        }
        self.rules = Arc::new(rules);
    }

    /// What the server is told of it.
    pub(super) fn ready(&self, tunnel_id: TunnelId) -> TunnelReady {
        let is_live = |entry: &Entry| entry.incoming.is_some() && entry.shared.ended().is_none();
        let live = self.channels.iter().filter(|(_, entry)| is_live(entry));
        let mut channels: Vec<_> = live
            .map(|(id, entry)| LiveChannel { channel: *id, kind: entry.kind, label: entry.label.clone() })
            .collect();
        channels.sort_unstable_by_key(|live| live.channel);
        let has = |kind: &ChannelKind| *kind != ChannelKind::Registry || cfg!(windows);
        let kinds = ChannelKind::ALL.iter().copied().filter(has).collect();
        TunnelReady { tunnel_id, channels, shells: self.shells.clone(), kinds }
    }

    /// The link is gone.
    pub(super) fn detach(&mut self, until: Instant) {
        // One that was not spoken of since the link before is not kept for longer.
        self.until.get_or_insert(until);
        self.channels.values().for_each(|entry| entry.shared.detach());
    }

    /// The tech is away while the link stands: what was opened by the page or program waits until somebody attaches.
    pub(super) fn tech_left(&mut self) {
        let of_tech = self.channels.iter().filter(|(id, _)| **id < SERVER_CHANNELS);
        of_tech.for_each(|(_, entry)| entry.shared.detach());
    }

    /// It is over, with all in it.
    pub(super) fn close(mut self) {
        let over = ChannelError::new(ErrorCode::Closed, "the session is over");
        for entry in self.channels.values_mut() {
            entry.close(over.clone().into());
        }
    }

    /// A channel's task ended.
    pub(super) fn ended(&mut self, sender: &ChannelSender) {
        let id = sender.id();
        if self.channels.get(&id).is_some_and(|entry| sender.is_of(&entry.shared))
            && let Some(entry) = self.channels.remove(&id)
            && let Some(end) = entry.shared.ended()
        {
            self.ended.truncate(MAX_ENDED - 1);
            self.ended.push_front((id, end));
        }
    }

    /// Takes a frame; what comes back is a channel to start.
    pub(super) fn take(&mut self, lanes: &Lanes, tunnel_id: TunnelId, frame: &Frame<'_>) -> Option<Started> {
        let id = frame.channel;
        let say = |end: &ChannelEnd| say_end(lanes, tunnel_id, id, end);
        if frame.kind == FrameKind::Open && !self.channels.contains_key(&id) {
            match self.open(lanes, tunnel_id, frame) {
                Ok(started) => return Some(started),
                Err(error) => say(&error.into()),
            }
            return None;
        }
        let Some(entry) = self.channels.get_mut(&id) else {
            match frame.kind {
                FrameKind::Attach | FrameKind::Data | FrameKind::Message => {
                    let kept = self.ended.iter().find(|(ended, _)| *ended == id);
                    say(&kept.map_or_else(closed, |(_, end)| end.clone()));
                }
                _ => {}
            }
            return None;
        };
        if let Err(error) = entry.take(lanes, frame) {
            tracing::warn!(%tunnel_id, channel = id, %error, "a channel is ended");
            let end = error.into();
            if entry.close(ChannelEnd::clone(&end)) {
                say(&end);
            }
        }
        None
    }

    fn open(
        &mut self,
        lanes: &Lanes,
        tunnel_id: TunnelId,
        frame: &Frame<'_>,
    ) -> Result<Started, ChannelError> {
        let refused = |code, detail| Err(ChannelError::new(code, detail));
        let Ok(Open { window, channel: open }) = frame.json() else {
            return refused(ErrorCode::Invalid, "the channel's opening is not understood");
        };
        let kind = open.kind();
        if kind == ChannelKind::Unknown {
            return refused(ErrorCode::Unsupported, "this agent does not know such channels");
        }
        if !self.rules.channels.contains(&kind) {
            return refused(ErrorCode::NotAllowed, "the policy does not allow it");
        }
        if self.channels.len() >= MAX_CHANNELS {
            return refused(ErrorCode::TooMany, "the session has as many channels as there may be");
        }
        let id = frame.channel;
        self.ended.retain(|(ended, _)| *ended != id);
        let (lane, ahead) = way(&open);
        let shared = Shared::new(tunnel_id, id, lane, lanes.clone(), window, ahead);
        let (to_task, incoming) = mpsc::channel(QUEUE);
        let channel = Channel { id, incoming, sender: shared.sender() };
        let label = self.label(&open);
        self.channels.insert(id, Entry { shared, incoming: Some(to_task), kind, label });
        Ok(Started { open, rules: Arc::clone(&self.rules), channel })
    }

    /// For people.
    fn label(&self, open: &OpenChannel) -> String {
        let mut label = match open {
            OpenChannel::Terminal(terminal) => {
                let is_it = |shell: &&Shell| Some(&shell.program) == terminal.shell.as_ref();
                let shell = self.shells.iter().find(is_it).or(self.shells.first());
                shell.map(|shell| shell.name.clone()).unwrap_or_default()
            }
            OpenChannel::Download(download) => download.path.clone(),
            OpenChannel::Upload(upload) => upload.path.clone(),
            OpenChannel::Forward(forward) => format!("{}:{}", forward.host, forward.port),
            OpenChannel::Events(events) => events.log.clone().unwrap_or_default(),
            _ => String::new(),
        };
        clean(&mut label, MAX_NAME_CHARS);
        label
    }
}

/// In which lane a channel's frames go, and how many bytes it takes ahead. What may carry much lets others go first.
fn way(open: &OpenChannel) -> (Lane, u32) {
    match open {
        OpenChannel::Download(_) => (Lane::Bulk, WINDOW_BYTES),
        OpenChannel::Upload(_) => (Lane::Prompt, BULK_WINDOW_BYTES),
        OpenChannel::Forward(_) => (Lane::Bulk, WINDOW_BYTES),
        _ => (Lane::Prompt, WINDOW_BYTES),
    }
}

impl Entry {
    /// A frame for a channel that is there. An error is a peer that breaks the protocol.
    fn take(&mut self, lanes: &Lanes, frame: &Frame<'_>) -> Result<(), ChannelError> {
        let invalid = |detail| ChannelError::new(ErrorCode::Invalid, detail);
        let incoming = match frame.kind {
            FrameKind::Open => return Err(invalid("a channel with this number is open")),
            FrameKind::Opened => return Err(invalid("only the machine says that a channel is open")),
            FrameKind::Credit => {
                self.shared.credit(frame.credit().unwrap_or_default());
                return Ok(());
            }
            FrameKind::End => {
                self.incoming = None;
                self.shared.closing();
                return Ok(());
            }
            FrameKind::Attach => {
                let attach: Attach = frame.json().map_err(|_| invalid("the attach is not understood"))?;
                self.shared.attach(lanes.clone(), attach.window);
                Incoming::Attach(attach)
            }
            FrameKind::Data => {
                let (offset, bytes) = frame.data().unwrap_or_default();
                let is_last = frame.flags.has(gururmm_protocol::tunnel::Flags::FIN);
                Incoming::Data { offset, bytes: bytes.to_vec(), is_last }
            }
            FrameKind::Message => Incoming::Message(frame.body.to_vec()),
        };
        match self.shared.takes(frame.cost()) {
            Ok(()) => {}
            // What was on its way when it ended.
            Err(Refused::Over) => return Ok(()),
            Err(Refused::BeyondCredit) => return Err(invalid("more was sent than was granted")),
        }
        let Some(sender) = &self.incoming else { return Ok(()) };
        match sender.try_send(incoming) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => {
                Err(ChannelError::new(ErrorCode::TooMany, "too many small pieces wait to be dealt with"))
            }
        }
    }
}
