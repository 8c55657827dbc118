//! Recording of one session, while this node is its host.
//!
//! What passes is observed under a lock, in order, and gathered into a segment; full or old enough, the segment goes to
//! a task that compresses, encrypts and stores it, and enters it into the chain. Two segments may wait for that task;
//! then the session waits with them. What fails for longer than [`super::Options::write_within`] fails for good.

use super::observer::{Observer, Segment, State};
use super::records::{self, Content};
use super::seal::{self, Place};
use super::{Direction, Note, Objects, SessionFacts, folder_of, read, store};
use crate::app::AppState;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::error::Error;
use crate::tenancy::partners;
use bytes::Bytes;
use chrono::{DateTime, Utc};
use gururmm_protocol::tunnel::frame::Frame;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Mutex, mpsc, oneshot, watch};
use tokio::time::error::Elapsed;
use tokio::time::{Instant, MissedTickBehavior};
use uuid::Uuid;

/// Names this work in the log and the audit log.
const REASON: &str = "recording";
/// Segments that may wait for being written.
const WAITING_SEGMENTS: usize = 2;
/// How often it is looked whether something has waited long enough.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Channels that a segment's entry names.
const MAX_NAMED_CHANNELS: usize = 64;

/// Nothing more can be recorded, so nothing more may pass: the session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the session cannot be recorded any more")]
pub struct RecordingFailed;

/// Takes what passes in a session. Dropped without [`Recorder::finish`], it still writes what it has, and nobody hears
/// whether it could.
#[derive(Debug)]
pub struct Recorder {
    observer: Arc<Mutex<Observer>>,
    orders: mpsc::Sender<Order>,
    failed: watch::Receiver<bool>,
    started_at: DateTime<Utc>,
    closed: OnceLock<&'static str>,
}

#[derive(Debug)]
enum Order {
    Write(Segment),
    Finish(Option<&'static str>, oneshot::Sender<()>),
}

impl Recorder {
    /// Begins the recording of a session, or goes on with it where another host, or this one, stopped.
    ///
    /// # Errors
    /// The database or the object store failed, or the recording is past its retention already.
    pub async fn start(app: &AppState, session: &SessionFacts) -> Result<Self, Error> {
        let scope = Scope::system(REASON, session.tenant_id);
        let mut tx = app.db.begin(&scope).await?;
        let (started_at, is_new) = store::open(&mut tx, session).await?;
        let last = store::last_segment(&mut tx, session.tunnel_id).await?;
        if is_new {
            store::append(&mut tx, session.tunnel_id, "opened", None, &session.detail()).await?;
        }
        tx.commit().await?;
        let number = last.as_ref().map_or(0, |last| last.number);
        let observer = match last.and_then(|last| last.facts()) {
            None => Observer::default(),
            Some(last) => {
                let bytes = read::segment(app, session.tenant_id, session.tunnel_id, &last).await?;
                let state = records::read(&bytes).filter_map(Result::ok).find_map(state_of);
                let at_us = u64::try_from(last.to_ms).unwrap_or(0).saturating_mul(1_000);
                Observer::resumed(state.unwrap_or_default(), at_us)
            }
        };
        let observer = Arc::new(Mutex::new(observer));
        let (orders, from_recorder) = mpsc::channel(WAITING_SEGMENTS);
        let (fails, failed) = watch::channel(false);
        let writer = Writer {
            app: app.clone(),
            scope,
            id: Uuid::now_v7(),
            recording: session.tunnel_id,
            tenant: session.tenant_id,
            started_at,
            next: number + 1,
            observer: observer.clone(),
            orders: from_recorder,
            fails,
        };
        tokio::spawn(writer.run());
        Ok(Self { observer, orders, failed, started_at, closed: OnceLock::new() })
    }

    /// Takes a frame. To be called before the frame goes on, in the order in which frames of a direction pass; it waits
    /// while the writer is behind.
    ///
    /// # Errors
    /// The recording failed, and the session ends.
    pub async fn frame(&self, direction: Direction, frame: &Frame<'_>) -> Result<(), RecordingFailed> {
        let mut observer = self.observing().await?;
        observer.frame(self.now_us(), direction, frame).map_err(|_| RecordingFailed)?;
        self.pass_on(&mut observer).await
    }

    /// Takes something about the session itself.
    ///
    /// # Errors
    /// The recording failed, and the session ends.
    pub async fn note(&self, note: Note) -> Result<(), RecordingFailed> {
        let mut observer = self.observing().await?;
        observer.note(self.now_us(), &note);
        if let Note::Closed { reason } = note {
            self.closed.get_or_init(|| reason);
        }
        self.pass_on(&mut observer).await
    }

    /// Waits until nothing more can be recorded: a session in which nothing passes ends then, too.
    pub async fn failed(&self) -> RecordingFailed {
        let mut failed = self.failed.clone();
        // The writer ends with the recorder only, or after it said so.
        let _ = failed.wait_for(|failed| *failed).await;
        RecordingFailed
    }

    /// Writes the rest, and that the session is over where a [`Note::Closed`] said so; otherwise another host may go on
    /// with it.
    ///
    /// # Errors
    /// It could not be written.
    pub async fn finish(self) -> Result<(), RecordingFailed> {
        let (done, is_done) = oneshot::channel();
        let order = Order::Finish(self.closed.get().copied(), done);
        self.orders.send(order).await.map_err(|_| RecordingFailed)?;
        is_done.await.map_err(|_| RecordingFailed)
    }

    async fn observing(&self) -> Result<tokio::sync::MutexGuard<'_, Observer>, RecordingFailed> {
        let observer = self.observer.lock().await;
        if *self.failed.borrow() { Err(RecordingFailed) } else { Ok(observer) }
    }

    /// Held while it waits: what passes meanwhile would come before.
    async fn pass_on(&self, observer: &mut Observer) -> Result<(), RecordingFailed> {
        if observer.is_full() {
            // A place first: a caller that gives up while waiting loses nothing.
            let place = self.orders.reserve().await.map_err(|_| RecordingFailed)?;
            if let Some(segment) = observer.take() {
                place.send(Order::Write(segment));
            }
        }
        Ok(())
    }

    fn now_us(&self) -> u64 {
        since(self.started_at)
    }
}

fn since(started_at: DateTime<Utc>) -> u64 {
    (Utc::now() - started_at).num_microseconds().and_then(|us| u64::try_from(us).ok()).unwrap_or(0)
}

fn state_of(record: records::Record<'_>) -> Option<State> {
    match record.content {
        Content::State(state) => Some(state),
        _ => None,
    }
}

/// Writes segments, one after the other.
struct Writer {
    app: AppState,
    scope: Scope<System>,
    /// Which segments are one recorder's: that its last one says so tells that it was not cut off.
    id: Uuid,
    recording: Uuid,
    tenant: Uuid,
    started_at: DateTime<Utc>,
    /// The next segment's number.
    next: i32,
    observer: Arc<Mutex<Observer>>,
    orders: mpsc::Receiver<Order>,
    fails: watch::Sender<bool>,
}

/// Whether there is more to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
}

impl Writer {
    async fn run(mut self) {
        if let Err(error) = self.write_all().await {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            let (recording, tenant) = (self.recording, self.tenant);
            tracing::error!(%recording, %tenant, %error, cause, "a session's recording failed, so the session ends");
            self.fails.send_replace(true);
        }
    }

    async fn write_all(&mut self) -> Result<(), Error> {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let then = tokio::select! {
                order = self.orders.recv() => self.obey(order).await?,
                _ = looks.tick() => self.look().await?,
            };
            if then == Then::Stop {
                return Ok(());
            }
        }
    }

    async fn obey(&mut self, order: Option<Order>) -> Result<Then, Error> {
        match order {
            Some(Order::Write(segment)) => {
                self.write(segment).await?;
                Ok(Then::GoOn)
            }
            Some(Order::Finish(closed, done)) => {
                self.write_rest(closed.is_some()).await?;
                if let Some(reason) = closed {
                    self.close(reason).await?;
                }
                // Who asked may have gone.
                let _ = done.send(());
                Ok(Then::Stop)
            }
            None => {
                self.write_rest(false).await?;
                Ok(Then::Stop)
            }
        }
    }

    /// Writes what has waited long enough. What was passed on before comes first, and who observes just now comes
    /// round again.
    async fn look(&mut self) -> Result<Then, Error> {
        let segment = {
            let Ok(mut observer) = self.observer.try_lock() else { return Ok(Then::GoOn) };
            let now_us = since(self.started_at);
            observer.settle(now_us);
            let waited = observer.waits_since_us().map(|since| now_us.saturating_sub(since));
            let every = self.app.recordings.options.write_every.as_micros();
            let is_due = waited.is_some_and(|waited| u128::from(waited) >= every);
            if is_due && self.orders.is_empty() { observer.take() } else { None }
        };
        match segment {
            Some(segment) => self.write(segment).await.map(|()| Then::GoOn),
            None => Ok(Then::GoOn),
        }
    }

    async fn write_rest(&mut self, is_closed: bool) -> Result<(), Error> {
        let rest = {
            let mut observer = self.observer.lock().await;
            let now_us = since(self.started_at);
            observer.settle_all(now_us);
            if !is_closed {
                observer.let_go(now_us);
            }
            observer.take()
        };
        match rest {
            Some(segment) => self.write(segment).await,
            None => Ok(()),
        }
    }

    async fn write(&mut self, segment: Segment) -> Result<(), Error> {
        let segment = Arc::new(segment);
        let mut patience = Patience::new(self.app.recordings.options.write_within);
        let mut ready = None;
        loop {
            let done = tokio::time::timeout_at(patience.until, self.try_write(&segment, &mut ready)).await;
            if patience.is_done(done).await? {
                self.next += 1;
                return Ok(());
            }
        }
    }

    /// What is stored already is entered, not stored again.
    async fn try_write(&mut self, segment: &Arc<Segment>, ready: &mut Option<Stored>) -> Result<(), Error> {
        let stored = match ready.take() {
            Some(stored) => stored,
            None => self.stored(segment).await?,
        };
        let stored = ready.insert(stored);
        let entered = self.enter(segment, stored).await;
        if !entered.as_ref().is_err_and(is_taken) {
            return entered;
        }
        // It was entered by a transaction whose end was not heard of, or another host wrote a segment of this number:
        // then this one becomes the next.
        let mut tx = self.app.db.begin(&self.scope).await?;
        let last = store::last_segment(&mut tx, self.recording).await?;
        let next = store::segments(&mut tx, self.recording, self.next - 1, 1).await?;
        tx.commit().await?;
        let named = next.first().and_then(|row| row.facts());
        if named.is_some_and(|facts| facts.object == stored.path) {
            return Ok(());
        }
        if let Err(error) = self.objects().delete(&stored.path).await {
            tracing::debug!(%error, "an object that nothing names stays in the store");
        }
        *ready = None;
        self.next = last.map_or(1, |last| last.number + 1);
        Err(Error::internal(anyhow::anyhow!("another host records the session, too")))
    }

    /// Seals the segment and puts it into the object store.
    async fn stored(&self, segment: &Arc<Segment>) -> Result<Stored, Error> {
        let place = Place { tenant: self.tenant, recording: self.recording, number: self.next };
        let (app, records) = (self.app.clone(), segment.clone());
        let sealing = tokio::task::spawn_blocking(move || {
            let object = seal::seal(&app.keys, place, &records.records)?;
            let sha256 = hex::encode(Sha256::digest(&object));
            Ok::<_, seal::Unsealable>((Bytes::from(object), sha256))
        });
        let (object, sha256) = sealing.await.map_err(Error::internal)?.map_err(Error::internal)?;
        // A name of its own: what is tried again never replaces what stands in the chain.
        let name = format!("{:08}-{:016x}", place.number, rand::random::<u64>());
        let path = format!("{}/{name}", folder_of(self.tenant, self.recording));
        let bytes = object.len();
        self.objects().put(&path, object).await.map_err(Error::internal)?;
        Ok(Stored { path, sha256, bytes })
    }

    /// Enters it into the chain, its lines into the index.
    async fn enter(&self, segment: &Segment, stored: &Stored) -> Result<(), Error> {
        let bytes = i64::try_from(stored.bytes).map_err(Error::internal)?;
        let kinds: Vec<String> = segment.kinds.iter().map(|kind| kind.as_str().to_owned()).collect();
        let mut tx = self.app.db.begin(&self.scope).await?;
        // Held: who switches the index off empties it, and nothing is put in behind her back.
        if !segment.lines.is_empty() && partners::hold_recording_wishes(&mut tx).await?.are_indexed {
            store::index(&mut tx, self.recording, self.next, &segment.lines).await?;
        }
        store::count_segment(&mut tx, self.recording, bytes, &kinds).await?;
        let detail = self.detail(segment, stored);
        store::append(&mut tx, self.recording, "segment", Some(self.next), &detail).await?;
        tx.commit().await
    }

    async fn close(&self, reason: &str) -> Result<(), Error> {
        let mut patience = Patience::new(self.app.recordings.options.write_within);
        loop {
            let done = tokio::time::timeout_at(patience.until, self.try_close(reason)).await;
            if patience.is_done(done).await? {
                return Ok(());
            }
        }
    }

    async fn try_close(&self, reason: &str) -> Result<(), Error> {
        let mut tx = self.app.db.begin(&self.scope).await?;
        if store::close(&mut tx, self.recording).await? {
            let detail = json!({ "reason": reason, "segments": self.next - 1 });
            store::append(&mut tx, self.recording, "closed", None, &detail).await?;
        }
        tx.commit().await
    }

    fn detail(&self, segment: &Segment, stored: &Stored) -> Value {
        let channels = (segment.channels.len() <= MAX_NAMED_CHANNELS).then_some(&segment.channels);
        json!({
            "key_id": seal::KEY_ID,
            "recorder": self.id,
            "object": stored.path,
            "sha256": stored.sha256,
            "bytes": stored.bytes,
            "from_us": segment.from_us,
            "to_us": segment.to_us,
            "channels": channels,
        })
    }

    fn objects(&self) -> &Objects {
        &self.app.recordings.objects
    }
}

/// How long something is tried.
struct Patience {
    until: Instant,
    pause: Duration,
}

impl Patience {
    fn new(within: Duration) -> Self {
        Self { until: Instant::now() + within, pause: Duration::from_millis(50) }
    }

    /// Whether it succeeded; otherwise, after a pause, it may be tried again. A database that refuses will refuse again.
    async fn is_done(&mut self, done: Result<Result<(), Error>, Elapsed>) -> Result<bool, Error> {
        let error = match done {
            Ok(Ok(())) => return Ok(true),
            Ok(Err(error)) => error,
            Err(elapsed) => return Err(Error::internal(elapsed)),
        };
        let may_pass = error.is_transient() || matches!(error, Error::Internal(_));
        if !may_pass || Instant::now() + self.pause >= self.until {
            return Err(error);
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (2 * self.pause).min(Duration::from_secs(1));
        Ok(false)
    }
}

/// An object in the store that is not in the chain yet.
struct Stored {
    path: String,
    sha256: String,
    bytes: usize,
}

fn is_taken(error: &Error) -> bool {
    let Error::Database(error) = error else { return false };
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    constraint == Some("recording_entries_segment")
}
