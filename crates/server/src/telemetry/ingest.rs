//! From many sockets to few transactions: a bounded queue, emptied in batches. A sample is acknowledged when its
//! batch is committed and not before; while the database is away the queue fills, and then the sockets wait.

use super::{Sample, store};
use crate::app::App;
use crate::error::Error;
use crate::gateway::AgentSession;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::ServerMessage;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Samples that may wait; at 3 kB each some 12 MB.
const QUEUE: usize = 4_096;
/// Rows of a batch.
const BATCH: usize = 500;
/// How long a batch waits for more rows.
const BATCH_WAITS: Duration = Duration::from_millis(200);

/// A sample on its way, with the place its session stands in.
#[derive(Debug)]
pub struct Queued {
    pub agent_id: Uuid,
    pub epoch: i64,
    pub tenant_id: Uuid,
    pub num: i64,
    pub retention_days: i16,
    pub seq: u64,
    /// Absent when it is too old to be kept: then it is only acknowledged, in its turn.
    pub sample: Option<Box<Sample>>,
    pub received_at: DateTime<Utc>,
}

impl Queued {
    /// A sample of this session.
    pub fn new(session: &AgentSession, seq: u64, sample: Option<Sample>) -> Self {
        Self {
            agent_id: session.agent_id,
            epoch: session.epoch,
            tenant_id: session.tenant_id,
            num: session.num,
            retention_days: session.retention_days,
            seq,
            sample: sample.map(Box::new),
            received_at: Utc::now(),
        }
    }
}

/// The queue and what is known of it.
pub struct Ingest {
    queue: mpsc::Sender<Queued>,
    waiting: Mutex<Option<mpsc::Receiver<Queued>>>,
    /// Age of the oldest sample of the last batch at its commit.
    lag_ms: AtomicU64,
}

impl Default for Ingest {
    fn default() -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Self { queue, waiting: Mutex::new(Some(waiting)), lag_ms: AtomicU64::new(0) }
    }
}

impl Ingest {
    /// Queues a sample; waits for room.
    pub async fn put(&self, sample: Queued) {
        // Closed only when the server stops: the sample is not acknowledged and comes again.
        let _stopping = self.queue.send(sample).await;
    }

    /// How many samples wait.
    pub fn depth(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// How old the oldest sample of the last batch was at its commit.
    pub fn lag(&self) -> Duration {
        Duration::from_millis(self.lag_ms.load(Ordering::Relaxed))
    }

    /// Empties the queue until `stop`, then what is left of it.
    pub async fn run(app: &App, stop: CancellationToken) {
        let this = &app.telemetry.ingest;
        let Some(mut waiting) = this.waiting.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let mut writer = Writer { app, stop, covered: None };
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                biased;
                received = waiting.recv_many(&mut batch, BATCH) => if received == 0 { return },
                () = writer.stop.cancelled(), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
            }
            let full_at = Instant::now() + BATCH_WAITS;
            while batch.len() < BATCH {
                let room = BATCH - batch.len();
                match timeout_at(full_at, waiting.recv_many(&mut batch, room)).await {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                }
            }
            writer.write(&batch).await;
            batch.clear();
        }
    }
}

struct Writer<'a> {
    app: &'a App,
    stop: CancellationToken,
    /// The span that is known to have partitions.
    covered: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Writer<'_> {
    /// Stores a batch and acknowledges it, part by part. What PostgreSQL refuses is halved until the one row stands alone
    /// that it will not have, so that this costs the others little: that row must neither keep them out nor come back for
    /// ever. At a stop the rest is left, and agents send it again.
    async fn write(&mut self, batch: &[Queued]) {
        // In the order in which they came: an acknowledgement is for all that an agent sent before.
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            match (self.store_patiently(part).await, part) {
                (Stored::Yes, _) => self.acknowledge(part),
                (Stored::Refused(error), [queued]) => {
                    let (agent_id, seq, cause) = (queued.agent_id, queued.seq, cause(&error));
                    tracing::error!(%agent_id, seq, %error, cause, "a sample was dropped");
                    self.acknowledge(part);
                }
                (Stored::Refused(error), _) => {
                    tracing::debug!(%error, rows = part.len(), "samples were refused; stored in halves");
                    let (first, second) = part.split_at(part.len() / 2);
                    parts.extend([second, first]);
                }
                (Stored::Stopping, _) => {
                    let rows = part.len() + parts.iter().map(|part| part.len()).sum::<usize>();
                    tracing::warn!(rows, "samples not stored at stop; agents send them again");
                    return;
                }
            }
        }
        let ingest = &self.app.telemetry.ingest;
        let oldest = batch.iter().map(|queued| queued.received_at).min().unwrap_or_else(Utc::now);
        let lag_ms = (Utc::now() - oldest).num_milliseconds().max(0);
        ingest.lag_ms.store(lag_ms.unsigned_abs(), Ordering::Relaxed);
    }

    /// Stores rows, however long the database is away or serves nobody.
    async fn store_patiently(&mut self, rows: &[Queued]) -> Stored {
        let mut pause = Duration::from_millis(100);
        loop {
            match self.store(rows).await {
                Ok(()) => return Stored::Yes,
                Err(error) if is_about_values(&error) => return Stored::Refused(error),
                Err(_) if self.stop.is_cancelled() => return Stored::Stopping,
                Err(error) => {
                    let (rows, cause) = (rows.len(), cause(&error));
                    tracing::warn!(%error, cause, rows, "samples could not be stored; tried again");
                    tokio::select! {
                        () = sleep(pause) => {}
                        // Once more, and no further.
                        () = self.stop.cancelled() => {}
                    }
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    async fn store(&mut self, batch: &[Queued]) -> Result<(), Error> {
        self.cover(batch).await?;
        let rows: Vec<(&Queued, &Sample)> =
            batch.iter().filter_map(|queued| Some((queued, queued.sample.as_deref()?))).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let mut tx = self.app.db.begin_ingest().await?;
        store::insert_samples(&mut tx, &rows).await?;
        store::update_latest(&mut tx, &newest_of_each(&rows)).await?;
        tx.commit().await?;
        self.app.counters.samples_stored.add(rows.len() as u64);
        Ok(())
    }

    /// Sees to it that the batch's times have partitions.
    async fn cover(&mut self, batch: &[Queued]) -> Result<(), Error> {
        let times = || batch.iter().filter_map(|queued| queued.sample.as_ref()).map(|sample| sample.t);
        let (Some(first), Some(last)) = (times().min(), times().max()) else { return Ok(()) };
        let (from, to) = self.covered.unwrap_or((first, first));
        if self.covered.is_none() || first < from || last > to {
            let (from, to) = (from.min(first), to.max(last) + TimeDelta::days(1));
            self.app.db.ensure_metric_partitions(from, to).await?;
            self.covered = Some((from, to));
        }
        Ok(())
    }

    fn acknowledge(&self, batch: &[Queued]) {
        let mut last: HashMap<(Uuid, i64), u64> = HashMap::new();
        for queued in batch {
            let seq = last.entry((queued.agent_id, queued.epoch)).or_default();
            *seq = queued.seq.max(*seq);
        }
        for ((agent_id, epoch), seq) in last {
            self.app.gateway.answer(agent_id, epoch, ServerMessage::MetricsAck { seq });
        }
    }
}

/// What became of rows.
enum Stored {
    Yes,
    /// For what stands in them; they will be refused again.
    Refused(Error),
    /// The database did not take them before the server stopped.
    Stopping,
}

/// Whether rows were refused for what stands in them. Everything else is the database's own condition, which may pass:
/// it is away, read-only, out of disk, or lacks a right. Nothing is dropped for that.
fn is_about_values(error: &Error) -> bool {
    match error {
        // A named constraint, or NUL.
        Error::Problem(_) => true,
        Error::Database(sqlx::Error::Encode(_)) => true,
        // Data exceptions, constraints, sizes beyond PostgreSQL's, and what a trigger raises.
        Error::Database(sqlx::Error::Database(error)) => error
            .code()
            .is_some_and(|code| ["22", "23", "54", "P0"].iter().any(|class| code.starts_with(class))),
        Error::Database(_) | Error::Internal(_) => false,
    }
}

/// What PostgreSQL said, for the log.
fn cause(error: &Error) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

/// Each agent's newest sample, in the agents' order, so that two transactions never lock each other out.
fn newest_of_each<'a>(rows: &[(&'a Queued, &'a Sample)]) -> Vec<(&'a Queued, &'a Sample)> {
    let mut newest = rows.to_vec();
    newest.sort_by_key(|(queued, sample)| (queued.agent_id, std::cmp::Reverse(sample.t)));
    newest.dedup_by_key(|(queued, _)| queued.agent_id);
    newest
}
