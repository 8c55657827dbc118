//! The WebSocket of a session: connected, read, written, and connected again.

use super::channel::Table;
use super::{Ready, State};
use crate::api::Api;
use anyhow::Context as _;
use futures_util::{SinkExt as _, StreamExt as _};
use gururmm_protocol::tunnel::frame::{HEADER_BYTES, MAX_BODY_BYTES, json_body};
use gururmm_protocol::tunnel::{Flags, Frame, FrameError, FrameKind, Ping, SESSION_CHANNEL};
use http::{HeaderValue, header};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as WireError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use uuid::Uuid;

const PROTOCOL: HeaderValue = HeaderValue::from_static("gururmm.tunnel.v1");
const CONNECT_WITHIN: Duration = Duration::from_secs(20);
/// As long as the machine keeps a session that nobody speaks of.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the machine is asked whether it is there.
const PING_EVERY: Duration = Duration::from_secs(2);
/// Without an answer for so long the link is taken for dead.
const DEAD_AFTER: Duration = Duration::from_secs(20);
/// Bytes that the library reads at once.
const READ_BYTES: usize = 64 * 1024;

/// With TLS or without.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Wire for S {}

type Socket = WebSocketStream<Box<dyn Wire>>;

/// Keeps a session connected.
pub struct Driver {
    pub api: Api,
    pub id: Uuid,
    pub table: Arc<Table>,
    pub tell: watch::Sender<State>,
    /// What goes first.
    pub first: mpsc::Receiver<Vec<u8>>,
    pub second: mpsc::Receiver<Vec<u8>>,
}

/// What the server says beside frames.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Word {
    Waiting {},
    Ready(Ready),
    Refused {
        reason: String,
        #[serde(default)]
        detail: String,
    },
    Closed {
        reason: String,
    },
    #[serde(other)]
    Unknown,
}

/// Why a connection ended.
enum Parting {
    /// For good.
    Over(String),
    Lost,
}

impl Driver {
    pub async fn run(mut self) {
        let over = self.keep().await;
        self.table.end_all(&over);
        let _nobody_looks = self.tell.send(State::Over(over));
    }

    async fn keep(&mut self) -> String {
        let (mut lost_at, mut pause, mut was_ready) = (Instant::now(), FIRST_PAUSE, false);
        loop {
            match timeout(CONNECT_WITHIN, connect(&self.api, self.id)).await {
                Ok(Ok(socket)) => {
                    let parting = self.converse(socket, &mut was_ready).await;
                    let _nobody_looks = self.tell.send(State::Waiting);
                    match parting {
                        Parting::Over(why) => return why,
                        Parting::Lost => (lost_at, pause) = (Instant::now(), FIRST_PAUSE),
                    }
                }
                Ok(Err(error)) if is_final(&error) => return format!("{error:#}"),
                Ok(Err(error)) if lost_at.elapsed() > GIVE_UP_AFTER => return format!("{error:#}"),
                Err(_) if lost_at.elapsed() > GIVE_UP_AFTER => {
                    return "the server does not answer".to_owned();
                }
                Ok(Err(_)) | Err(_) => {}
            }
            sleep(pause.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Until the socket ends. Reading and writing take turns in one task and die together.
    async fn converse(&mut self, socket: Socket, was_ready: &mut bool) -> Parting {
        let (mut sink, mut stream) = socket.split();
        let mut is_ready = false;
        let (began, mut beat) = (Instant::now(), interval(PING_EVERY));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = began;
        loop {
            tokio::select! {
                came = stream.next() => match came {
                    Some(Ok(Message::Binary(bytes))) => {
                        let taken = Frame::read(&bytes).and_then(|frame| match frame.channel {
                            SESSION_CHANNEL => {
                                if let Some(took) = answered(&frame, began) {
                                    heard = Instant::now();
                                    self.table.answered(took);
                                }
                                Ok(())
                            }
                            _ => self.table.take(&frame),
                        });
                        match taken {
                            Ok(()) | Err(FrameError::UnknownKind) => {}
                            Err(error) => return Parting::Over(format!("what came is not understood: {error}")),
                        }
                    }
                    Some(Ok(Message::Text(text))) => match serde_json::from_str(&text) {
                        Ok(Word::Ready(ready)) => {
                            if std::mem::replace(was_ready, true) {
                                let left = self.left_over();
                                for frame in self.table.reattach().into_iter().chain(left) {
                                    if sink.send(Message::binary(frame)).await.is_err() {
                                        return Parting::Lost;
                                    }
                                }
                            }
                            is_ready = true;
                            heard = Instant::now();
                            beat.reset_immediately();
                            let _nobody_looks = self.tell.send(State::Ready(Arc::new(ready)));
                        }
                        Ok(Word::Waiting {}) => {
                            is_ready = false;
                            let _nobody_looks = self.tell.send(State::Waiting);
                        }
                        Ok(Word::Refused { reason, detail }) => {
                            return Parting::Over(if detail.is_empty() { reason } else { detail });
                        }
                        Ok(Word::Closed { reason }) => match reason.as_str() {
                            "server_stopping" => return Parting::Lost,
                            _ => return Parting::Over(format!("the session is closed ({reason})")),
                        },
                        Ok(Word::Unknown) | Err(_) => {}
                    },
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Parting::Lost,
                },
                _ = beat.tick(), if is_ready => {
                    if heard.elapsed() > DEAD_AFTER || sink.send(ping(began)).await.is_err() {
                        return Parting::Lost;
                    }
                }
                frame = next(&mut self.first, &mut self.second), if is_ready => {
                    let Some(frame) = frame else { return Parting::Over("closed".to_owned()) };
                    if let Ok(Frame { channel, kind: FrameKind::Credit, body, .. }) = Frame::read(&frame)
                        && let Ok(bytes) = <[u8; 4]>::try_from(body)
                    {
                        self.table.granted(channel, u32::from_be_bytes(bytes));
                    }
                    if sink.send(Message::binary(frame)).await.is_err() {
                        return Parting::Lost;
                    }
                }
            }
        }
    }
}

impl Driver {
    /// What still waits for the link before, and is worth something on this one. Parts of streams and grants are not: they
    /// are void when a channel is attached, and would come before what was lost of them.
    fn left_over(&mut self) -> Vec<Vec<u8>> {
        let queues = [&mut self.first, &mut self.second].into_iter();
        let waiting = queues.flat_map(|queue| std::iter::from_fn(|| queue.try_recv().ok()));
        let is_whole = |frame: &Vec<u8>| {
            Frame::read(frame).is_ok_and(|frame| matches!(frame.kind, FrameKind::Open | FrameKind::End))
        };
        waiting.filter(is_whole).collect()
    }
}

/// Asks the machine for an answer: whether it is there, and how long the way is.
fn ping(began: Instant) -> Message {
    let ping = Ping { ping: u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX) };
    // A number is never too long.
    let body = json_body(&ping).unwrap_or_default();
    let frame =
        Frame { channel: SESSION_CHANNEL, kind: FrameKind::Message, flags: Flags::default(), body: &body };
    Message::binary(frame.to_bytes())
}

/// How long the answer took.
fn answered(frame: &Frame<'_>, began: Instant) -> Option<Duration> {
    let Ping { ping } = (frame.kind == FrameKind::Message).then(|| frame.json().ok())??;
    began.elapsed().checked_sub(Duration::from_micros(ping))
}

/// What goes out next: a transfer's frame only when there is nothing else.
async fn next(first: &mut mpsc::Receiver<Vec<u8>>, second: &mut mpsc::Receiver<Vec<u8>>) -> Option<Vec<u8>> {
    tokio::select! {
        biased;
        frame = first.recv() => frame,
        frame = second.recv() => frame,
    }
}

fn is_final(error: &anyhow::Error) -> bool {
    match error.downcast_ref::<WireError>() {
        Some(WireError::Http(answer)) => answer.status().is_client_error() && answer.status() != 429,
        _ => false,
    }
}

async fn connect(api: &Api, id: Uuid) -> anyhow::Result<Socket> {
    let base = api.base();
    let host = base.host_str().context("the address has no host")?;
    let port = base.port_or_known_default().context("the address has no port")?;
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    let is_tls = base.scheme() == "https";
    let stream: Box<dyn Wire> = match is_tls {
        true => {
            let name = host.trim_matches(['[', ']']).to_owned().try_into()?;
            Box::new(TlsConnector::from(api.tls()).connect(name, stream).await?)
        }
        false => Box::new(stream),
    };
    let mut address = base.join(&format!("/api/v1/tunnel/{id}/socket"))?;
    let _same_host = address.set_scheme(if is_tls { "wss" } else { "ws" });
    let mut request = address.as_str().into_client_request()?;
    let headers = request.headers_mut();
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
    // The server opens sockets for its own pages, and for programs that say they come to it.
    headers.insert(header::ORIGIN, HeaderValue::try_from(base.origin().ascii_serialization())?);
    if let Some(authorization) = api.authorization() {
        let mut value = HeaderValue::try_from(authorization)?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_message_size(Some(HEADER_BYTES + MAX_BODY_BYTES))
        .max_frame_size(Some(HEADER_BYTES + MAX_BODY_BYTES));
    Ok(client_async_with_config(request, stream, Some(config)).await?.0)
}
