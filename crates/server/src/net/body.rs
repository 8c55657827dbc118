//! A request's body that must keep coming. A handler waits for it, and a stranger who sends a byte now and then would
//! keep it waiting for ever.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a body may take, however small.
const GRACE: Duration = Duration::from_secs(8);
/// What a body must bring per second on top of that.
const BYTES_PER_SECOND_MIN: u32 = 16 * 1024;

/// The sender was too slow.
#[derive(Debug, thiserror::Error)]
#[error("the request's body came too slowly")]
pub(super) struct TooSlow;

/// Fails where the body takes longer than eight seconds plus one for each 16 KiB.
pub(super) struct PacedBody {
    inner: Incoming,
    due: Pin<Box<Sleep>>,
}

impl PacedBody {
    /// Wraps a body; one that is already complete is left alone.
    pub fn wrap(inner: Incoming) -> axum::body::Body {
        if inner.is_end_stream() {
            return axum::body::Body::new(inner);
        }
        axum::body::Body::new(Self { inner, due: Box::pin(sleep_until(Instant::now() + GRACE)) })
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(data) = frame.data_ref() {
                    let earned = Duration::from_secs(1) * u32::try_from(data.len()).unwrap_or(u32::MAX)
                        / BYTES_PER_SECOND_MIN;
                    let due = self.due.deadline() + earned;
                    self.due.as_mut().reset(due);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
            Poll::Ready(None) => Poll::Ready(None),
            Poll::Pending => self.due.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
