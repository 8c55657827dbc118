//! One agent's session. Reading, answering and writing live in one task and die together.

use super::arrivals::Arrival;
use super::read_ahead::ReadAhead;
use super::registry::{Goodbye, Line, Machine};
use super::visits::Parting;
use super::{AgentSession, Settings, elsewhere, presence};
use crate::agent_router::{self, Meeting, News, Taken};
use crate::app::{App, AppState};
use crate::error::{Code, Error};
use crate::pace::{Pace, Verdict};
use crate::peers::{self, Signal};
use chrono::Utc;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use gururmm_protocol::command::OutputChunk;
use gururmm_protocol::limits::{MAX_NAME_CHARS, MAX_RESUMED_COMMANDS, clean};
use gururmm_protocol::to_agent::{GoodbyeReason, Welcome};
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::{AgentMessage, Decoded, ServerMessage, decode_agent_message, negotiate};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error as WireError, Message, Utf8Bytes};
use uuid::Uuid;

/// Frames that are no messages, before the agent is sent away.
const FAULTS_AT_MOST: u32 = 5;
/// Pieces of output that one transaction stores: half a mebibyte.
const PIECES_AT_ONCE: usize = 16;
/// For the last words to an agent that does not read them.
const GOODBYE_WITHIN: Duration = Duration::from_secs(2);
/// Frames of channels that use no credit (grants, ends, what belongs to sessions that are over), in a second.
const FREE_FRAMES_PER_SECOND: u32 = 2_000;

type WebSocket = WebSocketStream<ReadAhead<TokioIo<Upgraded>>>;

/// Runs the session to its end. The agent is told the `peer` it connects as; it has arrived when its hello is dealt with.
pub async fn run(
    app: AppState,
    session: AgentSession,
    socket: WebSocket,
    (peer, arrival): (Option<IpAddr>, Arrival),
) {
    let agent_id = session.agent_id;
    let (line, mut queue) = Line::new(&session);
    let (mut sink, stream) = socket.split();
    let (welcome, first) = oneshot::channel();
    let goodbye = tokio::select! {
        end = converse(&app, session.clone(), &line, stream, (welcome, peer), arrival) => end,
        end = write(&mut sink, first, (&mut queue, &line), app.gateway.settings().write_within) => end,
        goodbye = line.closing() => Some(goodbye),
    };
    line.stop_frames();
    app.gateway.registry.remove(&line, line.parting(goodbye));
    agent_router::left(&app, &session);
    tracing::debug!(%agent_id, epoch = line.epoch(), reason = ?goodbye.map(|goodbye| goodbye.reason), "session ended");
    let _gone_already = timeout(GOODBYE_WITHIN, say_goodbye(&mut sink, goodbye)).await;
}

/// `None`: the agent went by itself.
type End = Option<Goodbye>;

fn goodbye(reason: GoodbyeReason) -> End {
    Some(Goodbye { reason, reconnect_within: Duration::ZERO })
}

/// Hello, welcome, then one message after the other: what an agent says is taken in order, and an agent that sends
/// faster than its messages can be stored is not read from.
async fn converse(
    app: &App,
    mut session: AgentSession,
    line: &Arc<Line>,
    stream: SplitStream<WebSocket>,
    (welcome, peer): (oneshot::Sender<Utf8Bytes>, Option<IpAddr>),
    arrival: Arrival,
) -> End {
    let settings = app.gateway.settings();
    let mut incoming = Incoming::new(app, &session, stream);
    let hello = match timeout(settings.hello_within, incoming.next()).await {
        Ok(Ok(AgentMessage::Hello(hello))) => checked(hello),
        Ok(Ok(_)) | Err(_) => return goodbye(GoodbyeReason::ProtocolError),
        Ok(Err(end)) => return end,
    };
    let Some(protocol) = negotiate(&app.protocols.served(), &hello.protocols) else {
        return goodbye(GoodbyeReason::NoCommonVersion);
    };
    session.hostname.clone_from(&hello.system.hostname);
    let of_before =
        || app.gateway.registry.line(session.agent_id).filter(|there| there.epoch() < line.epoch());
    // Before its turn: it is a wait and no work, and all of a dead node's agents wait so.
    let elsewhere = match of_before() {
        Some(_) => None,
        None => Box::pin(elsewhere::met(app, &session)).await,
    };
    let mut arriving = Some((arrival.turn().await, arrival));
    let there = of_before();
    let machine = Machine {
        identity: hello.identity.clone(),
        system: hello.system.clone(),
        agent_version: hello.agent_version.clone(),
        peer: peer.map(|peer| peer.to_canonical()),
    };
    let met = match &there {
        Some(there) => there.met(),
        None => elsewhere,
    };
    let mut replaced = GoodbyeReason::Replaced;
    if let Some(met) = &met {
        match Box::pin(agent_router::meet(app, &session, &machine, (&met.machine, met.epoch))).await {
            Meeting::SameMachine => {}
            Meeting::NewcomerIsCopy => return goodbye(GoodbyeReason::Revoked),
            Meeting::OtherIsCopy => {
                replaced = GoodbyeReason::Revoked;
                if let Some(there) = &there {
                    there.close(GoodbyeReason::Revoked, Duration::ZERO);
                }
            }
        }
    }
    if let Some(other) = line.introduce(machine.clone(), met) {
        Box::pin(agent_router::take_turns(app, &session, &machine, &other)).await;
    }
    // Before its settings are read: a change that comes after that is pushed, and waits behind the welcome.
    if !app.gateway.registry.insert(line) {
        return goodbye(GoodbyeReason::Replaced);
    }
    if session.held_by.is_some() {
        // Before the other node says that its session is over: the agent was online all the time.
        Box::pin(presence::write_now(app, line)).await;
    }
    let ended = Signal::Ended { agent_id: session.agent_id, reason: replaced };
    peers::tell(&app.bus, session.tenant_id, &ended);
    if app.gateway.is_stopping() {
        return goodbye(GoodbyeReason::ServerStopping);
    }
    // From here on whoever deletes the agent or gives it a new key finds this line and ends it. Before, nobody did.
    let (config, mut news) = match Box::pin(agent_router::arrives(app, &session, &hello)).await {
        Ok(Some(arrived)) => arrived,
        Ok(None) => return goodbye(GoodbyeReason::Revoked),
        Err(error) => {
            tracing::warn!(agent_id = %session.agent_id, %error, "no welcome: the settings could not be read");
            return goodbye(GoodbyeReason::Other);
        }
    };
    let answer = Welcome {
        agent_id: session.agent_id.into(),
        protocol,
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        server_time: Utc::now(),
        heartbeat_seconds: u32::try_from(settings.heartbeat.as_secs()).unwrap_or(u32::MAX),
        config,
        observed_ip: peer.map(|peer| peer.to_canonical()),
    };
    if let Some(text) = super::registry::encoded(&ServerMessage::Welcome(answer)) {
        // Nobody writes any more: the session ends anyway.
        drop(welcome.send(text));
    }
    let mut message = AgentMessage::Hello(hello);
    loop {
        if let AgentMessage::Heartbeat { .. } = message {
            let spread = app.gateway.spread().and_then(|spread| u32::try_from(spread.as_secs()).ok());
            let answer =
                ServerMessage::HeartbeatAck { server_time: Utc::now(), reconnect_within_seconds: spread };
            line.send_paced(&answer).await;
        }
        match message {
            AgentMessage::Goodbye {} => {
                line.parts(Parting::AgentStopped);
                return None;
            }
            AgentMessage::Heartbeat { clock: None } => {}
            other => {
                (session.client_id, session.site_id, session.retention_days) = line.place();
                // In a box: a session that waits for its next message must stay small.
                let handled = match other {
                    AgentMessage::CommandOutput(first) => {
                        let command_id = first.command_id;
                        let pieces = incoming.with_more_output(first);
                        Box::pin(agent_router::output(app, &session, command_id, &pieces)).await
                    }
                    AgentMessage::Hello(hello) => {
                        let news = std::mem::replace(&mut news, News::ALL);
                        Box::pin(agent_router::hello(app, &session, hello, news)).await
                    }
                    other => Box::pin(agent_router::handle(app, &session, other)).await,
                };
                match handled {
                    Ok(answers) => {
                        for answer in answers {
                            line.send_paced(&answer).await;
                        }
                    }
                    Err(error) => {
                        if let Some(reason) = incoming.judge(session.agent_id, &error) {
                            return goodbye(reason);
                        }
                    }
                }
            }
        }
        if arriving.is_some() {
            // The hello is dealt with.
            arriving = None;
        }
        message = match timeout(settings.silence, incoming.next()).await {
            Ok(Ok(message)) => message,
            Ok(Err(end)) => return end,
            Err(_) => {
                tracing::info!(agent_id = %session.agent_id, "silent for too long");
                line.parts(Parting::Silent);
                return goodbye(GoodbyeReason::Other);
            }
        };
        app.gateway.registry.heard(session.agent_id);
    }
}

/// Frames from the socket, paced, decoded, and counted when they are no messages.
struct Incoming<'a> {
    app: &'a App,
    /// Whose frames they are.
    agent: AgentSession,
    stream: SplitStream<WebSocket>,
    pace: Pace,
    /// For frames of channels that use no credit.
    frame_pace: Pace,
    faults: u32,
    /// What came behind pieces of output that were put together, and the pause that it costs.
    ahead: Option<Result<AgentMessage, End>>,
    owed: Duration,
}

impl<'a> Incoming<'a> {
    fn new(app: &'a App, agent: &AgentSession, stream: SplitStream<WebSocket>) -> Self {
        let Settings { messages_per_second, bytes_per_second, throttled_at_most, .. } =
            *app.gateway.settings();
        let pace = |messages| Pace::new(messages, bytes_per_second, throttled_at_most, Instant::now());
        let (pace, frame_pace) = (pace(messages_per_second), pace(FREE_FRAMES_PER_SECOND));
        let agent = agent.clone();
        Self { app, agent, stream, pace, frame_pace, faults: 0, ahead: None, owed: Duration::ZERO }
    }

    /// The next message of a kind this build knows, or how the session ends.
    async fn next(&mut self) -> Result<AgentMessage, End> {
        loop {
            self.pause().await;
            if let Some(ahead) = self.ahead.take() {
                return ahead;
            }
            let frame = self.stream.next().await;
            self.owed = self.admit(frame.as_ref())?;
            self.pause().await;
            if let Some(message) = self.decode(frame)? {
                return Ok(message);
            }
        }
    }

    async fn pause(&mut self) {
        if !self.owed.is_zero() {
            tokio::time::sleep(std::mem::take(&mut self.owed)).await;
        }
    }

    /// `first`, and the pieces of the same command's output that have come already and cost no pause.
    fn with_more_output(&mut self, first: OutputChunk) -> Vec<OutputChunk> {
        let command_id = first.command_id;
        let mut joins = agent_router::may_join(&first);
        let mut pieces = vec![first];
        while joins && self.owed.is_zero() && pieces.len() < PIECES_AT_ONCE {
            let Some(frame) = self.stream.next().now_or_never() else {
                break;
            };
            let came = self.admit(frame.as_ref()).and_then(|pause| {
                self.owed = pause;
                self.decode(frame)
            });
            match came {
                Ok(None) => {}
                Ok(Some(AgentMessage::CommandOutput(piece)))
                    if piece.command_id == command_id
                        && self.owed.is_zero()
                        && agent_router::may_join(&piece) =>
                {
                    pieces.push(piece);
                }
                Ok(Some(other)) => (self.ahead, joins) = (Some(Ok(other)), false),
                Err(end) => (self.ahead, joins) = (Some(Err(end)), false),
            }
        }
        pieces
    }

    /// The message in a frame. `None`: there is none, and that is no reason to end.
    fn decode(&mut self, frame: Option<Result<Message, WireError>>) -> Result<Option<AgentMessage>, End> {
        match frame {
            Some(Ok(Message::Text(text))) => match decode_agent_message(&text) {
                Ok(Decoded::Known(message)) => return Ok(Some(message)),
                Ok(Decoded::Unknown { kind }) => tracing::debug!(kind, "a message of an unknown kind"),
                Err(error) => self.fault(&error)?,
            },
            Some(Ok(Message::Binary(bytes))) => self.frame(&bytes)?,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Err(error)) if is_of_the_link(&error) => return Err(None),
            // Too large, not UTF-8, not WebSocket at all: nothing more can be read.
            Some(Err(error)) => {
                tracing::debug!(%error, "an agent's socket failed");
                return Err(goodbye(GoodbyeReason::ProtocolError));
            }
        }
        Ok(None)
    }

    /// A channel's frame. What it was granted costs an agent nothing; the rest is paced.
    fn frame(&mut self, bytes: &Bytes) -> Result<(), End> {
        let pace = match agent_router::frame(self.app, &self.agent, bytes) {
            Taken::Free => return Ok(()),
            Taken::Counted => &mut self.frame_pace,
            Taken::Fault(what) => {
                self.fault(&what)?;
                &mut self.pace
            }
        };
        self.owed = paused(pace.admit(bytes.len(), Instant::now()))?;
        Ok(())
    }

    /// The pause that a frame costs.
    fn admit(&mut self, frame: Option<&Result<Message, WireError>>) -> Result<Duration, End> {
        match frame {
            // Channels' frames are judged by what they are.
            None | Some(Err(_) | Ok(Message::Binary(_))) => Ok(Duration::ZERO),
            Some(Ok(frame)) => paused(self.pace.admit(size_of_frame(frame), Instant::now())),
        }
    }

    fn fault(&mut self, what: &dyn std::fmt::Display) -> Result<(), End> {
        self.faults += 1;
        tracing::debug!(faults = self.faults, "not a message: {what}");
        if self.faults > FAULTS_AT_MOST { Err(goodbye(GoodbyeReason::ProtocolError)) } else { Ok(()) }
    }

    /// Whether a message that could not be handled ends the session, and why.
    fn judge(&mut self, agent_id: Uuid, error: &Error) -> Option<GoodbyeReason> {
        if error.is_transient() {
            // What it said is not acknowledged and comes again with its next session.
            tracing::warn!(%agent_id, %error, "an agent's message could not be stored");
            return Some(GoodbyeReason::Other);
        }
        match error.code() {
            Code::ValidationFailed => self.fault(error).err().map(|_| GoodbyeReason::ProtocolError),
            Code::Internal => {
                let cause = std::error::Error::source(error).map(ToString::to_string);
                tracing::error!(%agent_id, %error, cause, "an agent's message failed");
                None
            }
            _ => {
                tracing::info!(%agent_id, %error, "an agent's message was ignored");
                None
            }
        }
    }
}

fn paused(verdict: Verdict) -> Result<Duration, End> {
    match verdict {
        Verdict::Take => Ok(Duration::ZERO),
        Verdict::Wait(wait) => Ok(wait),
        Verdict::Abusive => Err(goodbye(GoodbyeReason::ProtocolError)),
    }
}

fn size_of_frame(frame: &Message) -> usize {
    match frame {
        Message::Text(text) => text.len(),
        Message::Binary(bytes) | Message::Ping(bytes) | Message::Pong(bytes) => bytes.len(),
        Message::Close(_) | Message::Frame(_) => 0,
    }
}

/// Whether the connection ended, other than by what the agent said.
fn is_of_the_link(error: &WireError) -> bool {
    matches!(
        error,
        WireError::Io(_)
            | WireError::ConnectionClosed
            | WireError::AlreadyClosed
            | WireError::Protocol(ProtocolError::ResetWithoutClosingHandshake)
    )
}

/// A hello within limits.
fn checked(mut hello: Hello) -> Hello {
    clean(&mut hello.agent_version, MAX_NAME_CHARS);
    hello.system.clean();
    hello.identity.clean();
    hello.commands.truncate(MAX_RESUMED_COMMANDS);
    hello
}

/// Writes the welcome, then what is queued, messages before channels' frames, until one of them ends.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    first: oneshot::Receiver<Utf8Bytes>,
    (queue, line): (&mut mpsc::Receiver<Utf8Bytes>, &Line),
    within: Duration,
) -> End {
    let Ok(first) = first.await else {
        // The conversation ended before it began; it says why.
        return std::future::pending().await;
    };
    let mut next = Some(Message::Text(first));
    while let Some(message) = next {
        match timeout(within, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return None,
            Err(_) => return goodbye(GoodbyeReason::TooSlow),
        }
        next = tokio::select! {
            biased;
            text = queue.recv() => text.map(Message::Text),
            Some(frame) = line.next_frame() => Some(Message::Binary(frame)),
        };
    }
    None
}

/// The reason and the close frame. What still waits is not sent: both sides repeat it in the next session.
async fn say_goodbye(sink: &mut SplitSink<WebSocket, Message>, end: End) -> Result<(), WireError> {
    let code = match end {
        Some(Goodbye { reason, reconnect_within }) => {
            let reconnect_within_seconds = u32::try_from(reconnect_within.as_secs()).unwrap_or(u32::MAX);
            let message = ServerMessage::Goodbye { reason, reconnect_within_seconds };
            if let Some(text) = super::registry::encoded(&message) {
                sink.feed(Message::Text(text)).await?;
            }
            close_code_of(reason)
        }
        None => CloseCode::Normal,
    };
    sink.send(Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::default() }))).await
}

fn close_code_of(reason: GoodbyeReason) -> CloseCode {
    match reason {
        GoodbyeReason::ProtocolError | GoodbyeReason::NoCommonVersion => CloseCode::Policy,
        GoodbyeReason::ServerStopping => CloseCode::Restart,
        GoodbyeReason::TooSlow | GoodbyeReason::Other => CloseCode::Again,
        GoodbyeReason::Replaced | GoodbyeReason::Revoked => CloseCode::Normal,
    }
}
