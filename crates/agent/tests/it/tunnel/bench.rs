//! The server's end of one session.

use crate::harness::*;
use futures_util::{SinkExt, StreamExt};
use gururmm_protocol::tunnel::forward::OpenForward;
use gururmm_protocol::tunnel::frame::{OFFSET_BYTES, data_body, json_body};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalSize};
use gururmm_protocol::tunnel::{
    Attach, ChannelEnd, ChannelId, ChannelKind, Consent, Flags, Frame, FrameKind, Open, OpenChannel, Opened,
    TunnelClose, TunnelOpen, TunnelReady, TunnelRules,
};
use gururmm_protocol::{AgentMessage, ServerMessage, TunnelId, decode_agent_message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Message;

pub const SIZE: TerminalSize = TerminalSize { columns: 80, rows: 24 };

/// One frame, its body owned.
#[derive(Debug, Clone)]
pub struct Got {
    pub channel: ChannelId,
    pub kind: FrameKind,
    pub flags: Flags,
    pub body: Vec<u8>,
}

pub struct Bench {
    pub connection: Connection,
    pub session: TunnelId,
    /// Frames of channels that nobody has waited for yet.
    pub frames: VecDeque<Got>,
    /// What was received of each channel's stream, and granted again.
    pub grants: bool,
}

pub fn terminal() -> OpenChannel {
    OpenChannel::Terminal(OpenTerminal {
        shell: Some("/bin/bash".into()),
        context: Default::default(),
        size: SIZE,
    })
}

pub fn forward(host: &str, port: u16) -> OpenChannel {
    OpenChannel::Forward(OpenForward { host: host.into(), port })
}

pub fn order(tunnel_id: TunnelId) -> TunnelOpen {
    let rules = TunnelRules {
        channels: ChannelKind::ALL.to_vec(),
        forwards: vec!["localhost:*".into()],
        ..TunnelRules::default()
    };
    TunnelOpen { tunnel_id, tech: "Ada".into(), rules, consent: Consent::Never }
}

impl Bench {
    pub async fn open(server: &mut TestServer) -> Self {
        let (connection, _) = server.welcome().await;
        Self::open_on(connection).await
    }

    pub async fn open_on(connection: Connection) -> Self {
        let mut bench = Self { connection, session: TunnelId::new(), frames: VecDeque::new(), grants: true };
        let ready = bench.reopen().await;
        assert_eq!(ready.channels, []);
        bench
    }

    pub async fn reopen(&mut self) -> TunnelReady {
        self.connection.send(ServerMessage::TunnelOpen(order(self.session))).await;
        let session = self.session;
        self.connection
            .wait_for(|message| match message {
                AgentMessage::TunnelReady(ready) if ready.tunnel_id == session => Some(ready),
                AgentMessage::TunnelRefused(refused) => panic!("{refused:?}"),
                _ => None,
            })
            .await
    }

    pub async fn close(&mut self) {
        self.connection.send(ServerMessage::TunnelClose(TunnelClose { tunnel_id: self.session })).await;
    }

    pub async fn send(&mut self, channel: ChannelId, kind: FrameKind, flags: Flags, body: &[u8]) {
        let frame = Frame { channel, kind, flags, body }.to_bytes_of_session(self.session);
        let _ = self.connection.socket.send(Message::binary(frame)).await;
    }

    pub async fn say<T: Serialize>(&mut self, channel: ChannelId, kind: FrameKind, body: &T) {
        self.send(channel, kind, Flags::default(), &json_body(body).unwrap()).await;
    }

    pub async fn start(&mut self, channel: ChannelId, window: u32, open: OpenChannel) {
        self.say(channel, FrameKind::Open, &Open { window, channel: open }).await;
    }

    /// Opens a channel that opens.
    pub async fn channel(&mut self, channel: ChannelId, window: u32, open: OpenChannel) -> Opened {
        self.start(channel, window, open).await;
        let got = self.next_of(channel).await;
        assert_eq!(got.kind, FrameKind::Opened, "{}", String::from_utf8_lossy(&got.body));
        serde_json::from_slice(&got.body).unwrap()
    }

    pub async fn attach(&mut self, channel: ChannelId, have: u64, window: u32) -> Opened {
        self.say(channel, FrameKind::Attach, &Attach { have, window }).await;
        // What was sent to whoever was there before does not count.
        loop {
            let got = self.next_of(channel).await;
            if got.kind == FrameKind::Opened {
                return serde_json::from_slice(&got.body).unwrap();
            }
        }
    }

    pub async fn data(&mut self, channel: ChannelId, offset: u64, bytes: &[u8]) {
        self.send(channel, FrameKind::Data, Flags::default(), &data_body(offset, bytes)).await;
    }

    pub async fn credit(&mut self, channel: ChannelId, bytes: u32) {
        self.send(channel, FrameKind::Credit, Flags::default(), &bytes.to_be_bytes()).await;
    }

    /// The next frame, whatever messages come before it.
    pub async fn next(&mut self) -> Got {
        loop {
            let message =
                timeout(PATIENCE, self.connection.socket.next()).await.expect("the agent is silent");
            match message.expect("the agent is gone").unwrap() {
                Message::Binary(bytes) => {
                    let (session, frame) = Frame::read_of_session(&bytes).unwrap();
                    assert_eq!(session, self.session);
                    let Frame { channel, kind, flags, body } = frame;
                    return Got { channel, kind, flags, body: body.to_vec() };
                }
                Message::Text(text) => drop(decode_agent_message(text.as_str()).unwrap()),
                _ => {}
            }
        }
    }

    /// The next frame of that channel, but credit; what costs credit is granted again.
    pub async fn next_of(&mut self, channel: ChannelId) -> Got {
        let got = match self.frames.iter().position(|got| got.channel == channel) {
            Some(at) => self.frames.remove(at).unwrap(),
            None => loop {
                let got = self.next().await;
                match got.kind {
                    FrameKind::Credit => {}
                    _ if got.channel == channel => break got,
                    _ => self.frames.push_back(got),
                }
            },
        };
        if self.grants && matches!(got.kind, FrameKind::Data | FrameKind::Message) {
            self.credit(channel, u32::try_from(got.body.len()).unwrap()).await;
        }
        got
    }

    pub async fn end_of(&mut self, channel: ChannelId) -> ChannelEnd {
        loop {
            let got = self.next_of(channel).await;
            if got.kind == FrameKind::End {
                return serde_json::from_slice(&got.body).unwrap();
            }
        }
    }

    /// One request, to its reply: the parts and that.
    pub async fn ask<R: Serialize, A: DeserializeOwned>(
        &mut self,
        channel: ChannelId,
        id: u32,
        request: R,
    ) -> (Vec<A>, Result<A, gururmm_protocol::tunnel::ChannelError>) {
        self.say(channel, FrameKind::Message, &Request { id, request }).await;
        let mut parts = Vec::new();
        loop {
            let got = self.next_of(channel).await;
            assert_eq!(got.kind, FrameKind::Message, "{}", String::from_utf8_lossy(&got.body));
            let response: Response<A> = serde_json::from_slice(&got.body).unwrap();
            assert_eq!(response.id, id);
            match response.answer {
                Answer::Part(part) => parts.push(part),
                Answer::Reply(reply) => return (parts, Ok(reply)),
                Answer::Error(error) => return (parts, Err(error)),
            }
        }
    }
}

/// One terminal's screen, as the tech has it.
pub struct Screen {
    pub channel: ChannelId,
    pub shown: Vec<u8>,
    pub typed: u64,
}

impl Screen {
    pub async fn open(bench: &mut Bench, channel: ChannelId) -> Self {
        bench.channel(channel, 256 * 1024, terminal()).await;
        let mut screen = Self { channel, shown: Vec::new(), typed: 0 };
        // No colours, no titles, and a prompt that is nothing that a command prints.
        screen
            .type_in(
                bench,
                "PS1='REA'\"DY> \"; bind 'set enable-bracketed-paste off'; unset PROMPT_COMMAND; clear\n",
            )
            .await;
        screen.until(bench, "READY> ").await;
        screen
    }

    pub async fn type_in(&mut self, bench: &mut Bench, text: &str) {
        bench.data(self.channel, self.typed, text.as_bytes()).await;
        self.typed += text.len() as u64;
    }

    /// Waits until that is shown, behind what was waited for before.
    pub async fn until(&mut self, bench: &mut Bench, text: &str) -> String {
        let from = self.shown.len();
        loop {
            self.take(bench).await;
            let shown = String::from_utf8_lossy(&self.shown[from..]).into_owned();
            if shown.contains(text) {
                return shown;
            }
        }
    }

    /// The next piece.
    pub async fn take(&mut self, bench: &mut Bench) {
        let got = bench.next_of(self.channel).await;
        assert_eq!(got.kind, FrameKind::Data, "{}", String::from_utf8_lossy(&got.body));
        let (offset, bytes) = got.body.split_at(OFFSET_BYTES);
        let offset = u64::from_be_bytes(offset.try_into().unwrap());
        assert_eq!(offset, self.shown.len() as u64, "nothing twice and nothing lost");
        self.shown.extend_from_slice(bytes);
    }

    /// Runs a line; gives what it printed, up to the next prompt.
    pub async fn run(&mut self, bench: &mut Bench, line: &str) -> String {
        self.type_in(bench, &format!("{line}\n")).await;
        let mut shown = self.until(bench, "READY> ").await;
        // The echo of the line may come before or with the output.
        while !shown.contains('\n') {
            shown.push_str(&self.until(bench, "READY> ").await);
        }
        let printed = shown.split_once("\r\n").map(|(_, printed)| printed).unwrap_or_default();
        printed.split("READY> ").next().unwrap().replace("\r\n", "\n")
    }
}
