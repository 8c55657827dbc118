//! Requests whose caller has gone. hyper drops what it was answering then; a change must not end between its commit and
//! what has to follow that: the goodbye to a deleted machine, the new settings of connected ones, what browsers are told.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::limits::Admission;

/// How many changes of people and machines that are known may be under way without a caller.
const KNOWN: usize = 1024;
/// The same for strangers, who could otherwise ask, hang up and ask again, and so have more under way than they have
/// places. What is beyond ends with its connection.
const STRANGERS: usize = 64;
/// How long one of them may take.
const WITHIN: Duration = Duration::from_secs(60);

/// Room for requests without a caller. They are tracked like connections, and cut off with them when the server stops.
pub(super) struct Abandoned {
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    tracker: TaskTracker,
    cut_off: CancellationToken,
}

impl Abandoned {
    pub fn new(tracker: TaskTracker, cut_off: CancellationToken) -> Arc<Self> {
        let room = |places| Arc::new(Semaphore::new(places));
        Arc::new(Self { known: room(KNOWN), strangers: room(STRANGERS), tracker, cut_off })
    }

    /// Takes over what nobody waits for any more, as far as there is room.
    fn finish(&self, answer: impl Future<Output: Send> + Send + 'static, admission: &Admission) {
        let room = if admission.is_authenticated() { &self.known } else { &self.strangers };
        let Ok(place) = Arc::clone(room).try_acquire_owned() else {
            tracing::debug!("too many changes without a caller; one ends with its connection");
            return;
        };
        let cut_off = self.cut_off.clone();
        self.tracker.spawn(async move {
            let _place = place;
            tokio::select! {
                biased;
                () = cut_off.cancelled() => {}
                finished = timeout(WITHIN, answer) => if finished.is_err() {
                    tracing::warn!("a change without a caller took too long and was given up");
                }
            }
        });
    }
}

/// A change being answered; dropped before that, it goes on without its caller.
pub(super) struct Change<F: Future<Output: Send> + Send + 'static> {
    answer: Option<Pin<Box<F>>>,
    admission: Arc<Admission>,
    abandoned: Arc<Abandoned>,
}

impl<F: Future<Output: Send> + Send + 'static> Change<F> {
    pub fn new(answer: F, admission: Arc<Admission>, abandoned: Arc<Abandoned>) -> Self {
        Self { answer: Some(Box::pin(answer)), admission, abandoned }
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Change<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(answer) = &mut self.answer else { return Poll::Pending };
        let answered = answer.as_mut().poll(cx);
        if answered.is_ready() {
            self.answer = None;
        }
        answered
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Change<F> {
    fn drop(&mut self) {
        let Some(answer) = self.answer.take() else { return };
        // After the cut-off, with the runtime gone, or after a panic of its own there is nothing to go on with.
        let can_go_on = !self.abandoned.cut_off.is_cancelled() && !std::thread::panicking();
        if can_go_on && Handle::try_current().is_ok() {
            self.abandoned.finish(answer, &self.admission);
        }
    }
}
