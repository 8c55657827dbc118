//! One HTTP request of the server's own, on a connection of its own, with the HTTP and TLS that the server has already.

use anyhow::Context as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The authorities that the system trusts (or `SSL_CERT_FILE` names). Single ones that cannot be read are nobody's concern.
pub fn system_authorities() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

/// TLS with whom these authorities vouch for.
///
/// # Errors
/// The library knows no version of TLS.
pub fn tls(authorities: RootCertStore) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// A connection, in TLS or not.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

/// Connects to where an address leads: in TLS where there is `tls`.
///
/// # Errors
/// The address has no host, or the host does not answer, or is another one.
pub async fn connect(uri: &Uri, tls: Option<&TlsConnector>) -> anyhow::Result<Box<dyn Connection>> {
    let host = uri.host().context("an address without a host")?.trim_matches(['[', ']']).to_owned();
    let port = uri.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
    let tcp = TcpStream::connect((host.as_str(), port)).await?;
    tcp.set_nodelay(true)?;
    Ok(match tls {
        Some(tls) => Box::new(tls.connect(ServerName::try_from(host)?, tcp).await?),
        None => Box::new(tcp),
    })
}

/// Sends a request for a whole address, and takes an answer of at most so many bytes.
///
/// # Errors
/// The connection ended before the answer did, or the answer is none, or too large.
pub async fn exchange(
    connection: Box<dyn Connection>,
    mut request: Request<Full<Bytes>>,
    answer_bytes: usize,
) -> anyhow::Result<Response<Bytes>> {
    let uri = std::mem::take(request.uri_mut());
    // What is signed names its host already.
    if !request.headers().contains_key(HOST) {
        let authority = uri.authority().context("an address without a host")?;
        request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
    }
    *request.uri_mut() = Uri::from(uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/")));
    let (mut sender, connection) = http1::handshake(TokioIo::new(connection)).await?;
    let exchange = async {
        let (head, body) = sender.send_request(request).await?.into_parts();
        let body = Limited::new(body, answer_bytes).collect().await.map_err(anyhow::Error::from_boxed)?;
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
