//! Techs' sessions with machines: a page and a machine, both driven frame by frame.

use crate::agent::hello;
use crate::client::{Answer, ApiClient};
use crate::endpoint::Endpoint;
use crate::server::SeededAgent;
use crate::socket::{Closed, Piece, TestSocket};
use crate::{PATIENCE, TestAgent};
use gururmm_protocol::command::RunContext;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::tunnel::frame::{data_body, json_body};
use gururmm_protocol::tunnel::order::{ChannelKind, Shell, TunnelOpen, TunnelReady};
use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalSize};
use gururmm_protocol::tunnel::{
    Attach, ChannelEnd, ChannelId, Flags, Frame, FrameKind, LiveChannel, Open, OpenChannel, Opened, Presence,
    SESSION_CHANNEL, Whereabouts,
};
use gururmm_protocol::{AgentMessage, Decoded, ServerMessage, TunnelId, decode_server_message, encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::VecDeque;
use tokio::time::timeout;
use uuid::Uuid;

/// What pages offer.
pub const PROTOCOL: &str = "gururmm.tunnel.v1";

/// A frame with its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnFrame {
    pub channel: ChannelId,
    pub kind: FrameKind,
    pub flags: Flags,
    pub body: Vec<u8>,
}

impl OwnFrame {
    fn of(frame: &Frame<'_>) -> Self {
        let Frame { channel, kind, flags, body } = *frame;
        Self { channel, kind, flags, body: body.to_vec() }
    }

    /// With JSON in it.
    pub fn json(channel: ChannelId, kind: FrameKind, value: &impl Serialize) -> Self {
        Self { channel, kind, flags: Flags::default(), body: json_body(value).unwrap() }
    }

    /// Bytes of a stream.
    pub fn data(channel: ChannelId, offset: u64, bytes: &[u8]) -> Self {
        Self { channel, kind: FrameKind::Data, flags: Flags::default(), body: data_body(offset, bytes) }
    }

    /// More may be sent.
    pub fn credit(channel: ChannelId, bytes: u32) -> Self {
        let body = bytes.to_be_bytes().to_vec();
        Self { channel, kind: FrameKind::Credit, flags: Flags::default(), body }
    }

    /// Part of a transfer.
    pub fn bulk(self) -> Self {
        Self { flags: self.flags.and(Flags::BULK), ..self }
    }

    /// As it is on the wire.
    pub fn frame(&self) -> Frame<'_> {
        Frame { channel: self.channel, kind: self.kind, flags: self.flags, body: &self.body }
    }

    /// What its JSON says.
    pub fn read<T: DeserializeOwned>(&self) -> T {
        self.frame().json().unwrap_or_else(|error| panic!("{self:?}: {error}"))
    }

    /// Of a data frame: its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.frame().data().unwrap().1
    }
}

/// A tech's page in a session.
pub struct Page {
    pub socket: TestSocket,
    texts: VecDeque<Value>,
    frames: VecDeque<OwnFrame>,
}

impl Page {
    /// Opens the session's socket with a ticket; the first word has been heard.
    pub async fn open(server: &impl Endpoint, tech: &ApiClient, session: Uuid) -> Self {
        match Self::try_open(server, tech, session).await {
            Ok(page) => page,
            Err(answer) => panic!("{answer}"),
        }
    }

    /// The same; the answer instead where the server refuses.
    pub async fn try_open(server: &impl Endpoint, tech: &ApiClient, session: Uuid) -> Result<Self, Answer> {
        let ticket = tech.post(&format!("/api/v1/tunnel/{session}/ticket"), json!({})).await;
        if !ticket.status.is_success() {
            return Err(ticket);
        }
        let ticket = ticket.json()["ticket"].as_str().unwrap().to_owned();
        let socket = Self::knock(server, session, &ticket).await?;
        assert_eq!(socket.protocol.as_deref(), Some(PROTOCOL));
        let mut page = Self { socket, texts: VecDeque::new(), frames: VecDeque::new() };
        assert_eq!(page.text("session").await["session_id"], json!(session));
        Ok(page)
    }

    /// Asks for the socket with this ticket.
    pub async fn knock(server: &impl Endpoint, session: Uuid, ticket: &str) -> Result<TestSocket, Answer> {
        let origin = server.origin();
        let offered = format!("{PROTOCOL}, ticket.{ticket}");
        let page = server.anonymous().with("origin", &origin).with("sec-websocket-protocol", &offered);
        page.upgrade(&format!("/api/v1/tunnel/{session}/socket")).await
    }

    /// Sends a frame.
    pub async fn send(&mut self, frame: &OwnFrame) {
        self.socket.send_binary(frame.frame().to_bytes()).await;
    }

    /// Opens a terminal that may send so many bytes.
    pub async fn open_terminal(&mut self, channel: ChannelId, window: u32) {
        self.send(&OwnFrame::json(channel, FrameKind::Open, &terminal(window))).await;
    }

    /// Attaches to a channel that was opened before.
    pub async fn attach(&mut self, channel: ChannelId, have: u64, window: u32) {
        self.send(&OwnFrame::json(channel, FrameKind::Attach, &Attach { have, window })).await;
    }

    /// The next word of this type; frames that come before are kept.
    pub async fn text(&mut self, kind: &str) -> Value {
        let search = async {
            loop {
                while let Some(text) = self.texts.pop_front() {
                    if text["type"] == kind {
                        return text;
                    }
                }
                self.take().await.unwrap_or_else(|closed| panic!("closed instead of {kind}: {closed:?}"));
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {kind} came"))
    }

    /// The next frame; words that come before are kept.
    pub async fn frame(&mut self) -> OwnFrame {
        loop {
            if let Some(frame) = self.frames.pop_front() {
                return frame;
            }
            self.take().await.unwrap_or_else(|closed| panic!("closed instead of a frame: {closed:?}"));
        }
    }

    /// How it ends; all that comes before is kept.
    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.take().await {
                return closed;
            }
        }
    }

    /// How it ends, and the reason that is given before.
    pub async fn closed_because(&mut self) -> (Option<u16>, Value) {
        let reason = self.text("closed").await["reason"].clone();
        (self.closed().await.code, reason)
    }

    async fn take(&mut self) -> Result<(), Closed> {
        match self.socket.next_any().await? {
            Piece::Text(text) => self.texts.push_back(serde_json::from_str(&text).unwrap()),
            Piece::Binary(bytes) => self.frames.push_back(OwnFrame::of(&Frame::read(&bytes).unwrap())),
        }
        Ok(())
    }
}

/// Opens a terminal.
pub fn terminal(window: u32) -> Open {
    let size = TerminalSize { columns: 80, rows: 24 };
    let terminal = OpenTerminal { shell: None, context: RunContext::default(), size };
    Open { window, channel: OpenChannel::Terminal(terminal) }
}

/// A machine that techs have sessions with.
pub struct TunnelMachine {
    pub agent: TestAgent,
    messages: VecDeque<ServerMessage>,
    frames: VecDeque<(TunnelId, OwnFrame)>,
    /// Sessions whose tech was said to be away.
    away: VecDeque<TunnelId>,
}

impl TunnelMachine {
    /// Connects.
    pub async fn connect(server: &impl Endpoint, machine: &SeededAgent) -> Self {
        Self::connect_having(server, machine, &[]).await
    }

    /// Connects, and says which sessions it still has.
    pub async fn connect_having(server: &impl Endpoint, machine: &SeededAgent, sessions: &[Uuid]) -> Self {
        let tunnels = sessions.iter().copied().map(TunnelId).collect();
        let hello = Hello { tunnels, ..hello(machine, Vec::new()) };
        let agent = TestAgent::connect_saying(server, machine, hello).await;
        Self { agent, messages: VecDeque::new(), frames: VecDeque::new(), away: VecDeque::new() }
    }

    /// Is told that nobody is in the session.
    pub async fn hears_away(&mut self, session: Uuid) {
        while !self.was_told_away(session) {
            self.take().await.unwrap_or_else(|closed| panic!("closed: {closed:?}"));
        }
    }

    /// Whether it was told so, and has not been asked since.
    pub fn was_told_away(&mut self, session: Uuid) -> bool {
        let place = self.away.iter().position(|of| of.0 == session);
        place.and_then(|place| self.away.remove(place)).is_some()
    }

    /// The next order to open a session.
    pub async fn ordered(&mut self) -> TunnelOpen {
        let pick = |message| match message {
            ServerMessage::TunnelOpen(open) => Some(open),
            _ => None,
        };
        self.message("order to open a session", pick).await
    }

    /// The next order to drop a session.
    pub async fn dropped(&mut self) -> Uuid {
        let pick = |message| match message {
            ServerMessage::TunnelClose(close) => Some(close.tunnel_id.0),
            _ => None,
        };
        self.message("order to drop a session", pick).await
    }

    /// The first message that `pick` takes; frames that come before are kept, other messages passed over.
    pub async fn message<T>(&mut self, what: &str, mut pick: impl FnMut(ServerMessage) -> Option<T>) -> T {
        let search = async {
            loop {
                while let Some(message) = self.messages.pop_front() {
                    if let Some(picked) = pick(message) {
                        return picked;
                    }
                }
                self.take().await.unwrap_or_else(|closed| panic!("closed instead of {what}: {closed:?}"));
            }
        };
        timeout(PATIENCE, search).await.unwrap_or_else(|_| panic!("no {what} came"))
    }

    /// Says that it has the session, with these channels from before.
    pub async fn ready(&mut self, session: Uuid, channels: &[(ChannelId, ChannelKind)]) {
        let live = |(channel, kind): &(ChannelId, ChannelKind)| LiveChannel {
            channel: *channel,
            kind: *kind,
            label: "bash".to_owned(),
        };
        let ready = TunnelReady {
            tunnel_id: TunnelId(session),
            channels: channels.iter().map(live).collect(),
            shells: vec![Shell { name: "bash".to_owned(), program: "/bin/bash".to_owned() }],
            kinds: ChannelKind::ALL.to_vec(),
        };
        self.agent.send(&AgentMessage::TunnelReady(ready)).await;
    }

    /// Is told of a session, and has it.
    pub async fn takes(&mut self, session: Uuid) -> TunnelOpen {
        let order = self.ordered().await;
        assert_eq!(order.tunnel_id.0, session);
        self.ready(session, &[]).await;
        order
    }

    /// Sends a frame.
    pub async fn send(&mut self, session: Uuid, frame: &OwnFrame) {
        self.agent.socket.send_binary(frame.frame().to_bytes_of_session(TunnelId(session))).await;
    }

    /// Answers an opening or an attach.
    pub async fn opened(&mut self, session: Uuid, channel: ChannelId, opened: Opened) {
        self.send(session, &OwnFrame::json(channel, FrameKind::Opened, &opened)).await;
    }

    /// Ends a channel.
    pub async fn ends(&mut self, session: Uuid, channel: ChannelId, end: &ChannelEnd) {
        self.send(session, &OwnFrame::json(channel, FrameKind::End, end)).await;
    }

    /// The next frame of this session; messages that come before are kept.
    pub async fn frame(&mut self, session: Uuid) -> OwnFrame {
        loop {
            if let Some(place) = self.frames.iter().position(|(of, _)| of.0 == session) {
                return self.frames.remove(place).unwrap().1;
            }
            self.take().await.unwrap_or_else(|closed| panic!("closed instead of a frame: {closed:?}"));
        }
    }

    /// How the server ends its session.
    pub async fn closed(&mut self) -> Closed {
        loop {
            if let Err(closed) = self.take().await {
                return closed;
            }
        }
    }

    /// A word there and back: what was sent before has been dealt with.
    pub async fn settle(&mut self) {
        self.agent.socket.send_text(encode(&AgentMessage::Heartbeat { clock: None }).unwrap()).await;
        self.message("heartbeat", |message| {
            matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(())
        })
        .await;
    }

    async fn take(&mut self) -> Result<(), Closed> {
        match self.agent.socket.next_any().await? {
            Piece::Text(text) => match decode_server_message(&text).unwrap() {
                Decoded::Known(message) => self.messages.push_back(message),
                Decoded::Unknown { kind } => panic!("a message of unknown kind {kind}"),
            },
            Piece::Binary(bytes) => {
                let (session, frame) = Frame::read_of_session(&bytes).unwrap();
                match frame.json() {
                    Ok(Presence { tech: Whereabouts::Away }) if frame.channel == SESSION_CHANNEL => {
                        self.away.push_back(session);
                    }
                    _ => self.frames.push_back((session, OwnFrame::of(&frame))),
                }
            }
        }
        Ok(())
    }
}
