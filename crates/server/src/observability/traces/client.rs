//! One HTTP request to the collector at a time.

use crate::net::exchange;
use bytes::Bytes;
use http_body_util::Full;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use std::fmt;
use std::pin::Pin;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio_rustls::TlsConnector;

/// How long a batch may take, from the connection to the end of the answer.
const SEND_WITHIN: Duration = Duration::from_secs(5);
/// A collector's answer is a few bytes.
const ANSWER_BYTES: usize = 64 * 1024;

/// Sends from whatever thread, on the server's runtime.
pub(super) struct Client {
    runtime: Handle,
    tls: Option<TlsConnector>,
}

impl Client {
    /// Trusts whom the system trusts (or `SSL_CERT_FILE` names).
    pub(super) fn new(is_tls: bool) -> anyhow::Result<Self> {
        let tls = if is_tls { Some(tls()?) } else { None };
        Ok(Self { runtime: Handle::current(), tls })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").finish_non_exhaustive()
    }
}

type Sending<'a> = Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'a>>;

impl HttpClient for Client {
    fn send_bytes<'a, 'b>(&'a self, request: Request<Bytes>) -> Sending<'b>
    where
        'a: 'b,
        Self: 'b,
    {
        let sending = send(self.tls.clone(), request);
        let task = self.runtime.spawn(async { tokio::time::timeout(SEND_WITHIN, sending).await });
        Box::pin(async { Ok(task.await???) })
    }
}

async fn send(tls: Option<TlsConnector>, request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    let connection = exchange::connect(request.uri(), tls.as_ref()).await?;
    exchange::exchange(connection, request.map(Full::new), ANSWER_BYTES).await
}

fn tls() -> anyhow::Result<TlsConnector> {
    let authorities = exchange::system_authorities();
    anyhow::ensure!(
        !authorities.is_empty(),
        "this system has no certificate authorities to know the collector by"
    );
    exchange::tls(authorities)
}
