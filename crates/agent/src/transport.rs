//! The way to the server: TCP, TLS, WebSocket. The only place that names the libraries for these.

mod dates;
mod tls;

pub use tls::{CaPin, CapturedCa, InvalidPin, TlsSetupError};

use crate::clock::ServerClock;
use crate::http::ServerUrl;
use crate::os;
use crate::tunnel::lanes::{Lanes, LanesEnd};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures_util::{SinkExt, StreamExt};
use gururmm_protocol::AgentId;
use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
use http::header;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig};

/// Buffers of a socket: the default of 128 KiB each way would be most of an idle agent.
const BUFFER_BYTES: usize = 4 * 1024;
/// Messages on their way to or from the socket.
const QUEUE: usize = 4;
/// An answer to a refused upgrade is read up to here.
const MAX_PROBLEM_BYTES: usize = 16 * 1024;
/// How many bytes the system may take before it has sent those before: two pieces of a transfer. What else waits, waits
/// where a keystroke's echo can still go before it.
const MAX_UNSENT_BYTES: u32 = 2 * gururmm_protocol::tunnel::frame::PIECE_BYTES as u32;
/// How often binary messages count as a sign of life; while many come, the loop has other things to do.
const HEARD_EVERY: Duration = Duration::from_secs(1);
/// A frame of a channel is no larger than a control message may be.
const _: () = assert!(gururmm_protocol::tunnel::frame::MAX_FRAME_BYTES <= MAX_CONTROL_FRAME_BYTES);

/// Takes binary messages at once, and must not wait.
pub type TakeFrame = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The server's name does not resolve.
    #[error("the server's name cannot be resolved")]
    Resolve(#[source] io::Error),
    /// Plain HTTP to another machine.
    #[error("plain http is for loopback only: use https")]
    PlainNotLoopback,
    /// No TCP connection.
    #[error("cannot connect to the server")]
    Tcp(#[source] io::Error),
    /// No TLS session: the certificate is not trusted, or something between does not speak TLS.
    #[error("no TLS session with the server")]
    Tls(#[source] io::Error),
    /// The server's certificate is over, or begins later, by all that is known here of the time.
    #[error("no TLS session with the server: this machine's clock shows {clock}")]
    TlsDates {
        /// The machine's clock, which may be what is wrong.
        clock: DateTime<Utc>,
        /// What is compared.
        #[source]
        source: io::Error,
    },
    /// The server does not speak HTTP as it should.
    #[error("the server's answer is not understood")]
    Http(#[from] hyper::Error),
    /// The server answered, and not with a WebSocket.
    #[error("the server answered {status}{}", .code.as_deref().map(|code| format!(" {code}")).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: u16,
        /// `code` of the problem+json body, if it had one.
        code: Option<String>,
        /// Seconds of `Retry-After`.
        retry_after_seconds: Option<u32>,
    },
    /// A request that cannot be written.
    #[error("the request cannot be built")]
    Request(#[from] http::Error),
}

/// Opens connections to one server.
#[derive(Clone)]
pub struct Connector {
    server: ServerUrl,
    tls: Option<TlsConnector>,
}

impl Connector {
    /// Trusts the system's roots, or only the CA given; `clock` is this server's, and judges its certificates.
    pub fn new(
        server: ServerUrl,
        pin: Option<CaPin>,
        clock: Arc<ServerClock>,
    ) -> Result<Self, TlsSetupError> {
        let tls = if server.is_tls() { Some(tls::connector(pin, clock)?) } else { None };
        Ok(Self { server, tls })
    }

    /// The server it connects to.
    pub fn server(&self) -> &ServerUrl {
        &self.server
    }

    /// A byte stream to the server.
    pub async fn open(&self) -> Result<ByteStream, ConnectError> {
        let host = self.server.host();
        let addresses: Vec<SocketAddr> = lookup_host((host, self.server.port()))
            .await
            .map_err(ConnectError::Resolve)?
            .filter(|address| self.tls.is_some() || address.ip().is_loopback())
            .collect();
        if addresses.is_empty() && self.tls.is_none() {
            return Err(ConnectError::PlainNotLoopback);
        }
        let stream = TcpStream::connect(&*addresses).await.map_err(ConnectError::Tcp)?;
        stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
        os::limit_unsent(&stream, MAX_UNSENT_BYTES);
        let Some(tls) = &self.tls else { return Ok(ByteStream::Plain(stream)) };
        let name = tls::server_name(host).map_err(ConnectError::Tls)?;
        let stream = tls.connect(name, stream).await.map_err(tls_error)?;
        Ok(ByteStream::Tls(Box::new(stream)))
    }

    /// The agents' socket: authenticated by header, never by URL.
    pub async fn open_socket(
        &self,
        path: &str,
        agent_id: AgentId,
        agent_key: &str,
        take_frame: TakeFrame,
    ) -> Result<Socket, ConnectError> {
        let stream = self.open().await?;
        let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
            .max_buf_size(2 * MAX_PROBLEM_BYTES)
            .handshake(TokioIo::new(stream))
            .await?;
        let key = generate_key();
        let request = http::Request::get(path)
            .header(header::HOST, self.server.authority())
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header(header::AUTHORIZATION, bearer(agent_key)?)
            .header("x-gururmm-agent", agent_id.to_string())
            .body(Empty::<Bytes>::new())?;
        let exchange = async {
            let response = sender.send_request(request).await?;
            let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT).map(|value| value.as_bytes());
            if response.status() != http::StatusCode::SWITCHING_PROTOCOLS
                || accepted != Some(derive_accept_key(key.as_bytes()).as_bytes())
            {
                return Err(refusal(response).await);
            }
            Ok(hyper::upgrade::on(response).await?)
        };
        // The connection is driven here and not in a task of its own, so that dropping this future leaves nothing.
        let driver = async move {
            let _ = connection.with_upgrades().await;
            std::future::pending::<Infallible>().await
        };
        let upgraded = tokio::select! {
            upgraded = exchange => upgraded?,
            never = driver => match never {},
        };
        Ok(Socket::start(upgraded, take_frame).await)
    }
}

fn tls_error(source: io::Error) -> ConnectError {
    let refusal = source.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>());
    if refusal.is_some_and(dates::are_the_reason) {
        ConnectError::TlsDates { clock: Utc::now(), source }
    } else {
        ConnectError::Tls(source)
    }
}

fn bearer(key: &str) -> Result<http::HeaderValue, http::Error> {
    let mut value = http::HeaderValue::try_from(zeroize::Zeroizing::new(format!("Bearer {key}")).as_str())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn refusal(response: http::Response<hyper::body::Incoming>) -> ConnectError {
    #[derive(Deserialize)]
    struct Problem {
        code: String,
    }
    let status = response.status().as_u16();
    let retry_after_seconds = response
        .headers()
        .get(header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok());
    let body = Limited::new(response.into_body(), MAX_PROBLEM_BYTES).collect().await;
    let problem = body.ok().and_then(|body| serde_json::from_slice::<Problem>(&body.to_bytes()).ok());
    let code =
        problem.map(|problem| problem.code.chars().filter(|c| c.is_ascii_graphic()).take(64).collect());
    ConnectError::Refused { status, code, retry_after_seconds }
}

/// What came out of the socket.
#[derive(Debug)]
pub enum Received {
    /// A control message's text.
    Text(String),
    /// Something else that shows the server lives.
    Other,
    /// The connection is gone; nothing follows.
    Closed {
        /// Why, for the log.
        reason: String,
    },
}

/// An open WebSocket. Both halves live in one task and end together; dropping this ends it.
#[derive(Debug)]
pub struct Socket {
    /// Takes what is to be sent.
    pub outgoing: mpsc::Sender<String>,
    /// Gives what came. [`Received::Closed`] is the last.
    pub incoming: mpsc::Receiver<Received>,
    /// Take frames of channels that are to be sent; control messages go before them.
    pub lanes: Lanes,
    task: AbortOnDrop,
}

#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Socket {
    async fn start(upgraded: hyper::upgrade::Upgraded, take_frame: TakeFrame) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_write_buffer_size(2 * MAX_CONTROL_FRAME_BYTES)
            .max_message_size(Some(MAX_CONTROL_FRAME_BYTES))
            .max_frame_size(Some(MAX_CONTROL_FRAME_BYTES));
        let socket =
            WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, Some(config)).await;
        let (outgoing, to_send) = mpsc::channel(QUEUE);
        let (to_receive, incoming) = mpsc::channel(QUEUE);
        let (lanes, frames) = Lanes::new();
        let serving = serve(socket, to_send, frames, to_receive, take_frame);
        Self { outgoing, incoming, lanes, task: AbortOnDrop(tokio::spawn(serving)) }
    }

    /// Sends what is queued, says goodbye on the WebSocket and waits for the end.
    pub async fn close(self) {
        let Self { outgoing, mut incoming, lanes, task } = self;
        drop((outgoing, lanes));
        while incoming.recv().await.is_some() {}
        drop(task);
    }
}

async fn serve(
    socket: WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>,
    mut to_send: mpsc::Receiver<String>,
    mut frames: LanesEnd,
    to_receive: mpsc::Sender<Received>,
    take_frame: TakeFrame,
) {
    let (mut sink, mut stream) = socket.split();
    let write = async {
        loop {
            let message = tokio::select! {
                biased;
                text = to_send.recv() => match text {
                    Some(text) => Message::text(text),
                    None => break,
                },
                frame = frames.next() => Message::binary(frame),
            };
            if let Err(error) = sink.send(message).await {
                return format!("sending failed: {error}");
            }
        }
        // The agent wants to stop: the closing handshake, then the end.
        let _ = sink.close().await;
        "closed by the agent".to_owned()
    };
    let read = async {
        let mut heard: Option<Instant> = None;
        loop {
            let received = match stream.next().await {
                Some(Ok(Message::Text(text))) => Received::Text(text.as_str().to_owned()),
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map(|frame| u16::from(frame.code)).unwrap_or_default();
                    return format!("closed by the server ({code})");
                }
                Some(Ok(Message::Binary(frame))) => {
                    take_frame(&frame);
                    if heard.is_some_and(|heard| heard.elapsed() < HEARD_EVERY) {
                        continue;
                    }
                    heard = Some(Instant::now());
                    Received::Other
                }
                Some(Ok(_)) => Received::Other,
                Some(Err(error)) => return format!("receiving failed: {error}"),
                None => return "the connection ended".to_owned(),
            };
            if to_receive.send(received).await.is_err() {
                return "closed by the agent".to_owned();
            }
        }
    };
    let reason = tokio::select! {
        reason = write => reason,
        reason = read => reason,
    };
    let _ = to_receive.send(Received::Closed { reason }).await;
}

/// A connection's bytes.
pub enum ByteStream {
    /// Without TLS, to loopback.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<TlsStream<TcpStream>>),
}

impl AsyncRead for ByteStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ByteStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
