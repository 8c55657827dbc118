//! Background work that comes round. Most of it must run once, however many servers there are: then each round holds a
//! database advisory lock.

use crate::app::{App, AppState};
use crate::error::Error;
use crate::observability::traces::spans;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use uuid::Uuid;

type Round<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + Send + 'a>>;

/// A piece of work that comes round again.
#[derive(Clone, Copy)]
pub struct Job {
    /// Names it in the log, and its lock.
    pub name: &'static str,
    /// Time between two rounds; up to a tenth is added, so that servers and jobs do not march in step.
    pub every: Duration,
    /// Whether every server runs it for its own agents, instead of one for all.
    pub everywhere: bool,
    /// One round.
    pub round: for<'a> fn(&'a App) -> Round<'a>,
}

/// Runs a job until `stop`. A round that fails or panics is logged, and the next one comes.
pub async fn run(app: AppState, job: Job, stop: CancellationToken) {
    loop {
        let pause = job.every.mul_f64(1.0 + rand::random::<f64>() / 10.0);
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            return;
        }
        let Job { name, round, everywhere, .. } = job;
        let app = app.clone();
        // In a task of its own, so that a panic ends the round and not the job.
        let span = spans::job(name);
        let round = async move {
            if everywhere {
                return round(&app).await;
            }
            match app.db.singleton(name).await? {
                Some(lock) => {
                    let done = round(&app).await;
                    lock.release().await?;
                    done
                }
                None => {
                    tracing::debug!(job = name, "another server runs it");
                    Ok(())
                }
            }
        };
        let ended = tokio::spawn(round.instrument(span.clone())).await;
        if !matches!(ended, Ok(Ok(()))) {
            spans::failed(&span);
        }
        // What is traced is the round, not the pause after it.
        drop(span);
        match ended {
            Ok(Ok(())) => tracing::debug!(job = name, "done"),
            Ok(Err(error)) => {
                let cause = cause(&error);
                tracing::warn!(job = name, %error, cause, "a job failed; it is tried again in its next round");
            }
            Err(panic) => tracing::error!(job = name, %panic, "a job panicked"),
        }
    }
}

/// One partner's part of a round. What failed there is said in the log and is that partner's alone: the next one's turn
/// comes all the same.
pub fn by_itself(job: &'static str, tenant: Uuid, done: Result<(), Error>) {
    if let Err(error) = done {
        let cause = cause(&error);
        tracing::warn!(
            job, %tenant, %error, cause, "a job failed for one partner; it is tried again in its next round"
        );
    }
}

fn cause(error: &Error) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}
