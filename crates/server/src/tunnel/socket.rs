//! The socket of a tech's page or program: channel frames both ways, and words about the session.

use super::caller::Caller;
use super::host::{Over, SocketEnd, Use};
use super::words::Text;
use super::{claim, credit, looking, ticket_digest};
use crate::app::{App, AppState};
use crate::error::{Code, Error};
use crate::http::{Path, RequestInfo};
use crate::live;
use crate::net::ConnectionTicket;
use crate::pace::{Pace, Verdict};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use axum::extract::{State, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::response::Response;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use gururmm_protocol::tunnel::Frame;
use gururmm_protocol::tunnel::frame::{HEADER_BYTES, MAX_BODY_BYTES};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// Where pages connect.
pub const SOCKET_PATH: &str = "/api/v1/tunnel/{session_id}/socket";
/// The protocol both sides speak.
const PROTOCOL: &str = "gururmm.tunnel.v1";
const READ_BYTES: usize = 16 * 1024;
/// Frames that use no credit: grants, openings, ends, pings. A fast transfer sends some hundred grants a second.
const FREE_FRAMES_PER_SECOND: u32 = 2_000;
const FREE_BYTES_PER_SECOND: u32 = 4 * 1024 * 1024;
/// For the last words.
const CLOSES_WITHIN: Duration = Duration::from_secs(2);

/// The session is closed for good.
const CLOSED: u16 = 4000;
/// Another socket of the session took its place.
const REPLACED: u16 = 4001;
/// This server cannot go on with it; try again.
const AGAIN: u16 = 4002;

/// How a socket ends, and the word that goes before.
struct End {
    code: u16,
    word: &'static str,
}

/// The browsers' WebSocket route of a session. Not in the OpenAPI document: it is no call.
pub async fn connect(
    State(app): State<AppState>,
    Path(id): Path<Uuid>,
    parts: Parts,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Error> {
    live::http::check_origin(&app, &parts)?;
    let admitted = live::http::admit(&app, &parts.headers, |ticket| ticket_digest(&app, id, ticket)).await?;
    if let Some(connection) = parts.extensions.get::<ConnectionTicket>() {
        connection.authenticated();
    }
    let caller = Caller::of(admitted, RequestInfo::of(&parts))?;
    // Before the upgrade: whose session it is not learns no more by a socket than by a call.
    super::own_active(&mut app.db.begin(&caller.scope).await?, &caller.scope, id).await?;
    let upgrade = upgrade.map_err(|_not_a_websocket| Error::new(Code::UpgradeRequired))?;
    let entered = claim::enter(&app, &caller, id).await?;
    let tasks = app.tunnel.tasks.clone();
    Ok(upgrade
        .protocols([PROTOCOL])
        .max_message_size(HEADER_BYTES + MAX_BODY_BYTES)
        .max_frame_size(HEADER_BYTES + MAX_BODY_BYTES)
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024)
        .on_upgrade(move |socket| tasks.track_future(async move { run(&app, &entered, socket).await })))
}

async fn run(app: &App, entered: &Use, socket: WebSocket) {
    let host = entered.host();
    let mut here = host.connect();
    looking::ask(app, host);
    let settings = &app.tunnel.settings;
    let (mut sink, stream) = socket.split();
    let number = here.number;
    let replaced = here.replaced.clone();
    let end = tokio::select! {
        () = host.done.cancelled() => ended(host.over()),
        () = replaced.cancelled() => End { code: REPLACED, word: "replaced" },
        end = read(entered, number, stream, settings.ping * 3) => end,
        end = write(&mut sink, &mut here, settings.ping, settings.write_within) => end,
    };
    host.disconnect(number);
    // What it did not read is not kept for it while it is said goodbye.
    here.frames.retain(|_channel| false);
    let closing = async {
        if !end.word.is_empty() {
            // What was said before goes first.
            while let Ok(text) = here.texts.try_recv() {
                sink.feed(Message::Text(text)).await?;
            }
            if let Some(text) = (Text::Closed { reason: end.word }).json() {
                sink.feed(Message::Text(text)).await?;
            }
        }
        let reason = Utf8Bytes::from_static(end.word);
        sink.send(Message::Close(Some(CloseFrame { code: end.code, reason }))).await
    };
    let _gone_already = timeout(CLOSES_WITHIN, closing).await;
}

fn ended(over: Option<Over>) -> End {
    let over = over.unwrap_or(Over::Unused);
    let code = match over {
        Over::Closed { .. } => CLOSED,
        Over::Moved => REPLACED,
        Over::Stopping | Over::Unused => AGAIN,
    };
    End { code, word: claim::word(over) }
}

/// Takes what the page sends, until it is gone. Whoever sends more than goes on is not read from.
async fn read(entered: &Use, number: u64, mut stream: SplitStream<WebSocket>, silence: Duration) -> End {
    let gone = End { code: close_code::NORMAL, word: "" };
    let mut pace =
        Pace::new(FREE_FRAMES_PER_SECOND, FREE_BYTES_PER_SECOND, Duration::from_secs(30), Instant::now());
    loop {
        let message = match timeout(silence, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(Some(Err(_)) | None) | Err(_) => return gone,
        };
        match message {
            Message::Binary(bytes) => {
                if !Frame::read(&bytes).is_ok_and(|frame| credit::is_paid(&frame)) {
                    match pace.admit(bytes.len(), Instant::now()) {
                        Verdict::Take => {}
                        Verdict::Wait(wait) => sleep(wait).await,
                        Verdict::Abusive => return End { code: close_code::POLICY, word: "" },
                    }
                }
                if !entered.host().page_sends(number, &bytes) {
                    // Its session ends, or another socket took its place; that is told by who knows.
                    return std::future::pending().await;
                }
                entered.host().room().await;
            }
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Close(_) => return gone,
            Message::Text(_) => return End { code: close_code::UNSUPPORTED, word: "" },
        }
    }
}

/// Writes words first, then frames, the urgent ones before parts of transfers.
async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    here: &mut SocketEnd,
    ping: Duration,
    within: Duration,
) -> End {
    loop {
        let next = async {
            tokio::select! {
                biased;
                text = here.texts.recv() => text.map(Message::Text),
                frame = here.frames.pop() => frame.map(|(_, bytes)| Message::Binary(bytes)),
            }
        };
        let message = match timeout(ping, next).await {
            Ok(Some(message)) => message,
            // Its place was taken.
            Ok(None) => return std::future::pending().await,
            Err(_) => Message::Ping(axum::body::Bytes::new()),
        };
        match timeout(within, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return End { code: close_code::NORMAL, word: "" },
            // It does not read; what it misses, it gets when it attaches again.
            Err(_) => return End { code: AGAIN, word: "" },
        }
    }
}
