//! Work with the disk, away from the loop and in short steps.

use super::fault::{Fault, Result};
use gururmm_protocol::tunnel::ErrorCode;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// How much of it goes on at a time: the runtime's few threads for what blocks are needed by others as well.
static PLACES: Semaphore = Semaphore::const_new(2);

/// Something that takes long, in steps of well below a second.
pub(super) trait Job: Send + 'static {
    type Output: Send;

    /// Goes on a bit; `Some` at the end.
    fn step(&mut self) -> Result<Option<Self::Output>>;
}

/// Does one short thing. Given up, it ends by itself.
pub(super) async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    let broken = || Fault::new(ErrorCode::Failed, "The agent could not do it.");
    let place = PLACES.acquire().await.map_err(|_| broken())?;
    let work = move || {
        let done = work();
        drop(place);
        done
    };
    spawn_blocking(work).await.map_err(|_| broken())
}

/// Works through a job. Given up, it ends after the step it is in.
pub(super) async fn through<J: Job>(mut job: J) -> Result<J::Output> {
    loop {
        let step = move || {
            let done = job.step();
            (job, done)
        };
        let (back, done) = aside(step).await?;
        job = back;
        if let Some(output) = done? {
            return Ok(output);
        }
    }
}
