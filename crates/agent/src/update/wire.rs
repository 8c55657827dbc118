//! Update metadata and programs come from the agent's own server, over the connection it trusts anyway. The metadata's
//! library asks for URLs; only their path is used.

use crate::http::{self, CallError, Credential};
use crate::transport::Connector;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

/// Stands where a host belongs. Nothing ever connects to it.
pub const NO_HOST: &str = "https://server.invalid";

/// How long a server may be busy, for all that one update fetches.
const BUSY_WITHIN: Duration = Duration::from_secs(2 * 3600);
/// The longest it is taken at its word for.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// Asks one server.
#[derive(Clone)]
pub struct Wire {
    connector: Connector,
    credential: Arc<Credential>,
    /// When a server that is still busy is given up.
    busy_until: Instant,
}

impl Wire {
    /// With the agent's own credential.
    pub fn new(connector: Connector, credential: Credential) -> Self {
        Self { connector, credential: Arc::new(credential), busy_until: Instant::now() + BUSY_WITHIN }
    }

    /// A server whose places are taken says when to come again. Whoever was told the same comes at another time.
    async fn get(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, CallError>> + Send + Unpin + use<>, CallError> {
        loop {
            let wait = match http::get(&self.connector, path, &self.credential).await {
                Err(CallError::Refused { retry_after: Some(told), status, code, detail }) => {
                    let wait = wait_of(told, rand::random_range(0.0..=0.5));
                    if Instant::now() + wait > self.busy_until {
                        return Err(CallError::Refused { retry_after: Some(told), status, code, detail });
                    }
                    wait
                }
                answer => return answer,
            };
            tracing::info!(seconds = wait.as_secs(), "the server is busy; the update is fetched later");
            sleep(wait).await;
        }
    }
}

/// At least what was told, and up to half as much more.
fn wait_of(told: Duration, more: f64) -> Duration {
    told.clamp(Duration::from_secs(1), LONGEST_WAIT).mul_f64(1.0 + more)
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

#[async_trait]
impl Transport for Wire {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let failed = |error: CallError| {
            let kind = match &error {
                CallError::Refused { status: 404, .. } => TransportErrorKind::FileNotFound,
                _ => TransportErrorKind::Other,
            };
            TransportError::new_with_cause(kind, url.path(), error)
        };
        let body = self.get(url.path()).await.map_err(failed)?;
        let path = url.path().to_owned();
        let chunks = stream::unfold(body, |mut body| async move { Some((body.next().await?, body)) });
        let chunks = chunks.map(move |chunk| {
            chunk.map_err(|error| {
                TransportError::new_with_cause(TransportErrorKind::Other, path.as_str(), error)
            })
        });
        Ok(Box::pin(SyncStream(Mutex::new(Box::pin(chunks)))))
    }
}

/// The library wants to share what only one at a time can read.
struct SyncStream<S>(Mutex<std::pin::Pin<Box<S>>>);

impl<S: Stream + Send> Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let inner = self.0.lock();
        inner.unwrap_or_else(std::sync::PoisonError::into_inner).as_mut().poll_next(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_comes_earlier_than_told_or_waits_for_ever() {
        let minute = Duration::from_secs(60);
        assert_eq!((wait_of(minute, 0.0), wait_of(minute, 0.5)), (minute, minute * 3 / 2));
        assert_eq!(wait_of(Duration::ZERO, 0.0), Duration::from_secs(1));
        assert_eq!(wait_of(Duration::MAX, 0.5), LONGEST_WAIT * 3 / 2);
    }
}
