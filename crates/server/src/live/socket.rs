//! One browser's socket. Reading, telling, checking and writing live in one task and die together; so do the
//! subscriptions' tasks.

use super::invalidations::{Pending, may_hear};
use crate::app::{App, AppState};
use crate::auth::credential::{Admitted, Session};
use crate::bus::{Events, Topic};
use crate::error::Error;
use crate::live_router::{self, Subject};
use crate::pace::{Pace, Verdict};
use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code};
use chrono::{DateTime, Utc};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use uuid::Uuid;

/// Frames that may wait for a slow reader. Streams are paced by it, see `live_router`.
const QUEUE: usize = 32;
const SUBSCRIPTIONS_AT_MOST: usize = 32;
/// Between two rounds of invalidations.
const COALESCED_OVER: Duration = Duration::from_millis(100);
const MESSAGES_PER_SECOND: u32 = 20;
const BYTES_PER_SECOND: u32 = 16 * 1024;
/// The session was revoked or expired: sign in again.
const SIGNED_OUT: u16 = 4401;
/// What the session may do has changed: open a new socket.
const RIGHTS_CHANGED: u16 = 4403;

/// The way frames take to the browser.
pub type Frames = mpsc::Sender<Utf8Bytes>;

#[derive(Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
enum Request {
    Subscribe { sub: u32, topic: Subject },
    Unsubscribe { sub: u32 },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Frame {
    Hello {
        server_time: DateTime<Utc>,
    },
    Invalidate {
        kind: &'static str,
        id: Option<Uuid>,
        #[serde(skip_serializing_if = "Option::is_none")]
        agent_id: Option<Uuid>,
    },
    Error {
        sub: u32,
        code: &'static str,
    },
}

/// Why a socket ends: a close code and a word for it.
type End = (u16, &'static str);

/// Runs the socket to its end.
pub async fn run(app: AppState, admitted: Admitted, socket: WebSocket) {
    // Heard from before the hello on, so that nothing between the page's first fetch and now is missed.
    let events = app.bus.subscribe();
    let (mut sink, stream) = socket.split();
    let (frames, mut queue) = mpsc::channel(QUEUE);
    let settings = &app.live.settings;
    let (code, reason) = tokio::select! {
        end = listen(&app, &admitted.session, stream, frames.clone()) => end,
        end = tell(&app, &admitted, events, frames) => end,
        end = recheck(&app, &admitted, settings.recheck) => end,
        end = write(&mut sink, &mut queue, settings.ping, settings.write_within) => end,
        () = app.live.stopping.cancelled() => (close_code::RESTART, "the server stops"),
    };
    let session_id = admitted.session.session_id;
    tracing::debug!(%session_id, code, reason, "a browser's socket ended");
    let close = Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }));
    let _gone_already = timeout(Duration::from_secs(2), sink.send(close)).await;
}

async fn listen(
    app: &AppState,
    session: &Session,
    mut stream: SplitStream<WebSocket>,
    frames: Frames,
) -> End {
    let mut pace = Pace::new(MESSAGES_PER_SECOND, BYTES_PER_SECOND, Duration::from_secs(30), Instant::now());
    let mut subscriptions = Subscriptions { tasks: JoinSet::new(), by_number: HashMap::new() };
    loop {
        let message = match timeout(app.live.settings.silence, stream.next()).await {
            Err(_) => return (close_code::AWAY, "silent for too long"),
            Ok(None) => return (close_code::NORMAL, ""),
            Ok(Some(Err(_))) => return (close_code::PROTOCOL, "not a frame this server takes"),
            Ok(Some(Ok(message))) => message,
        };
        let bytes = if let Message::Text(text) = &message { text.len() } else { 0 };
        match pace.admit(bytes, Instant::now()) {
            Verdict::Take => {}
            Verdict::Wait(wait) => tokio::time::sleep(wait).await,
            Verdict::Abusive => return (close_code::POLICY, "too many messages"),
        }
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => return (close_code::NORMAL, ""),
            Message::Binary(_) => return (close_code::UNSUPPORTED, "this socket speaks text"),
        };
        let Ok(request) = serde_json::from_str::<Request>(&text) else {
            return (close_code::POLICY, "not a request");
        };
        match request {
            Request::Unsubscribe { sub } => subscriptions.end(sub),
            Request::Subscribe { sub, topic } => {
                if !subscriptions.begin(app, session, sub, topic, frames.clone()) {
                    return (close_code::POLICY, "too many subscriptions");
                }
            }
        }
    }
}

/// The streams of one socket; they end with it.
struct Subscriptions {
    tasks: JoinSet<()>,
    by_number: HashMap<u32, AbortHandle>,
}

impl Subscriptions {
    /// `false` when there are too many. One of the same number is replaced.
    fn begin(&mut self, app: &AppState, session: &Session, sub: u32, topic: Subject, frames: Frames) -> bool {
        self.end(sub);
        while self.tasks.try_join_next().is_some() {}
        self.by_number.retain(|_, task| !task.is_finished());
        if self.tasks.len() >= SUBSCRIPTIONS_AT_MOST {
            return false;
        }
        let (app, session) = (app.clone(), session.clone());
        let task = self.tasks.spawn(async move {
            if let Err(error) = live_router::follow(&app, &session, sub, topic, &frames).await {
                refuse(sub, &error, &frames).await;
            }
        });
        self.by_number.insert(sub, task);
        true
    }

    fn end(&mut self, sub: u32) {
        if let Some(task) = self.by_number.remove(&sub) {
            task.abort();
        }
    }
}

async fn refuse(sub: u32, error: &Error, frames: &Frames) {
    if frames.is_closed() {
        return;
    }
    if error.code().status().is_server_error() {
        tracing::warn!(%error, "a subscription failed");
    }
    send(frames, &Frame::Error { sub, code: error.code().as_str() }).await;
}

/// Tells what to fetch again, and ends the socket when its session is revoked.
async fn tell(app: &App, admitted: &Admitted, mut events: Events, frames: Frames) -> End {
    let session = &admitted.session;
    send(&frames, &Frame::Hello { server_time: Utc::now() }).await;
    let (mut pending, mut next_round) = (Pending::default(), Instant::now());
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Ok(event) if event.topic == Topic::SessionRevoked && event.id == Some(session.session_id) => {
                    return (SIGNED_OUT, "signed out");
                }
                Ok(event) => {
                    let concerns_rights = event.id == Some(session.user_id) && event.topic == Topic::UserChanged;
                    if concerns_rights && let Some(end) = still_holds(app, admitted).await {
                        return end;
                    }
                    if may_hear(session, &event) {
                        pending.add(&event);
                    }
                }
                Err(RecvError::Lagged(_)) => {
                    // The end of the session may be among what was missed.
                    if let Some(end) = still_holds(app, admitted).await {
                        return end;
                    }
                    pending.add_everything();
                }
                Err(RecvError::Closed) => return (close_code::RESTART, "the server stops"),
            },
            () = sleep_until(next_round), if !pending.is_empty() => {
                for invalidation in pending.take() {
                    let (kind, id, agent_id) = (invalidation.kind, invalidation.id, invalidation.agent_id);
                    send(&frames, &Frame::Invalidate { kind, id, agent_id }).await;
                }
                next_round = Instant::now() + COALESCED_OVER;
            }
        }
    }
}

async fn recheck(app: &App, admitted: &Admitted, every: Duration) -> End {
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        if let Some(end) = still_holds(app, admitted).await {
            return end;
        }
    }
}

/// How the socket ends, if its session is over or may do other things than before.
async fn still_holds(app: &App, admitted: &Admitted) -> Option<End> {
    let before = &admitted.session;
    match app.db.lookup_session(&admitted.token_digest).await {
        Ok(None) => Some((SIGNED_OUT, "signed out")),
        Ok(Some(now)) => {
            let same = now.tenant_id == before.tenant_id
                && now.role == before.role
                && now.is_platform_admin == before.is_platform_admin
                && now.confinement == before.confinement;
            (!same).then_some((RIGHTS_CHANGED, "your rights changed"))
        }
        Err(error) => {
            tracing::warn!(%error, "a live session could not be looked up; tried again");
            None
        }
    }
}

async fn write(
    sink: &mut SplitSink<WebSocket, Message>,
    queue: &mut mpsc::Receiver<Utf8Bytes>,
    ping: Duration,
    within: Duration,
) -> End {
    loop {
        let message = match timeout(ping, queue.recv()).await {
            Ok(Some(text)) => Message::Text(text),
            Ok(None) => return (close_code::NORMAL, ""),
            Err(_) => Message::Ping(axum::body::Bytes::new()),
        };
        match timeout(within, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return (close_code::NORMAL, ""),
            Err(_) => return (close_code::AGAIN, "too slow"),
        }
    }
}

async fn send(frames: &Frames, frame: &Frame) {
    match serde_json::to_string(frame) {
        // Closed: the socket ends anyway.
        Ok(text) => drop(frames.send(text.into()).await),
        Err(error) => tracing::error!(%error, "a frame could not be written"),
    }
}
