//! Questions that take their time and must not hold up the loop.

use std::future::Future;
use tokio::sync::oneshot::{self, error::TryRecvError};
use tokio::task::AbortHandle;

/// A question on its way; dropping it ends it.
#[derive(Debug)]
pub struct Aside<T> {
    answer: oneshot::Receiver<T>,
    task: AbortHandle,
}

impl<T: Send + 'static> Aside<T> {
    /// Begins to ask. To be called within a runtime.
    pub fn start(question: impl Future<Output = T> + Send + 'static) -> Self {
        let (sender, answer) = oneshot::channel();
        let task = tokio::spawn(async move {
            // Nobody waits any more when the question was dropped.
            let _ = sender.send(question.await);
        });
        Self { answer, task: task.abort_handle() }
    }

    /// Takes the answer out of `asking` once it is there. A question that died is answered with `None`.
    pub fn take(asking: &mut Option<Self>) -> Option<Option<T>> {
        let answer = match asking.as_mut()?.answer.try_recv() {
            Ok(answer) => Some(answer),
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Closed) => None,
        };
        *asking = None;
        Some(answer)
    }
}

impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}
