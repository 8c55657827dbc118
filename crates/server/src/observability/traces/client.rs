//! One HTTP request to the collector at a time, with the HTTP and TLS that the server has already.

use anyhow::Context as _;
use axum::http::header::HOST;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
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
        let tls = if is_tls { Some(connector()?) } else { None };
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

async fn send(tls: Option<TlsConnector>, mut request: Request<Bytes>) -> anyhow::Result<Response<Bytes>> {
    let uri = std::mem::take(request.uri_mut());
    let host = uri.host().context("an address without a host")?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    let stream: Box<dyn Stream> = match tls {
        Some(tls) => Box::new(tls.connect(ServerName::try_from(host)?, tcp).await?),
        None => Box::new(tcp),
    };
    let authority = uri.authority().context("an address without a host")?;
    request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    *request.uri_mut() = Uri::from(uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request.map(Full::new)).await?.into_parts();
        let body = Limited::new(body, ANSWER_BYTES).collect().await.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok(Response::from_parts(head, body.to_bytes()))
    };
    tokio::pin!(connection);
    tokio::pin!(exchange);
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        ended = &mut connection => {
            ended?;
            // Closed in order: the answer is read, or will never come.
            exchange.await
        }
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

fn connector() -> anyhow::Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    // Single certificates that cannot be read are nobody's concern; that there are none at all is.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    anyhow::ensure!(!roots.is_empty(), "this system has no certificate authorities to know the collector by");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
