//! Update metadata and programs come from the agent's own server, over the connection it trusts anyway. The metadata's
//! library asks for URLs; only their path is used.

use crate::http::{self, CallError, Credential};
use crate::transport::Connector;
use futures_util::{StreamExt, stream};
use std::fmt;
use std::sync::{Arc, Mutex};
use tough::{Transport, TransportError, TransportErrorKind, TransportStream, async_trait};
use url::Url;

/// Stands where a host belongs. Nothing ever connects to it.
pub const NO_HOST: &str = "https://server.invalid";

/// Asks one server.
#[derive(Clone)]
pub struct Wire {
    connector: Connector,
    credential: Arc<Credential>,
}

impl Wire {
    /// With the agent's own credential.
    pub fn new(connector: Connector, credential: Credential) -> Self {
        Self { connector, credential: Arc::new(credential) }
    }
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
        let body = http::get(&self.connector, url.path(), &self.credential).await.map_err(failed)?;
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

impl<S: futures_util::Stream + Send> futures_util::Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        let inner = self.0.lock();
        inner.unwrap_or_else(std::sync::PoisonError::into_inner).as_mut().poll_next(context)
    }
}
