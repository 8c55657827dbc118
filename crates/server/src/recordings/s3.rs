//! HTTP for buckets, with the HTTP and TLS that the server has already.

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderValue};
use hyper::http::uri::PathAndQuery;
use hyper::{Response, Uri};
use hyper_util::rt::TokioIo;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// How long one request may take, from the connection to the end of the answer.
const WITHIN: Duration = Duration::from_secs(30);
/// More than any object, or page of a list.
const ANSWER_BYTES: usize = 32 * 1024 * 1024;

/// Makes clients that trust whom the system trusts (or `SSL_CERT_FILE` names).
#[derive(Clone)]
pub(super) struct Connector {
    tls: TlsConnector,
    allows_http: bool,
}

impl Connector {
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        // Single certificates that cannot be read are nobody's concern. Where there are none, a bucket is still
        // reached by plain HTTP, if that is allowed.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), allows_http: false })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let allows_http = options.get_config_value(&ClientConfigKey::AllowHttp);
        let allows_http = allows_http.is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Ok(HttpClient::new(Self { allows_http, ..self.clone() }))
    }
}

#[async_trait]
impl HttpService for Connector {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let sending = send(self.clone(), request);
        match tokio::time::timeout(WITHIN, sending).await {
            Ok(Ok(answer)) => Ok(answer.map(HttpResponseBody::from)),
            Ok(Err(failed)) => Err(HttpError::new_boxed(failed.kind, failed.error.into_boxed_dyn_error())),
            Err(elapsed) => Err(HttpError::new(HttpErrorKind::Timeout, elapsed)),
        }
    }
}

struct Failed {
    kind: HttpErrorKind,
    error: anyhow::Error,
}

async fn send(connector: Connector, request: HttpRequest) -> Result<Response<Bytes>, Failed> {
    let failed = |kind| move |error| Failed { kind, error };
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(|error| Failed { kind: error.kind(), error: error.into() })?;
    let stream = connector.stream(&head.uri).await.map_err(failed(HttpErrorKind::Connect))?;
    let mut request = hyper::Request::from_parts(head, Full::new(body.to_bytes()));
    let uri = std::mem::take(request.uri_mut());
    let exchange = async {
        let authority = uri.authority().context("an address without a host")?;
        // As it is signed, the host may stand there already.
        if !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, HeaderValue::from_str(authority.as_str())?);
        }
        let path = uri.path_and_query().cloned().unwrap_or(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let exchange = async {
            let (head, body) = sender.send_request(request).await?.into_parts();
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
    };
    exchange.await.map_err(failed(HttpErrorKind::Interrupted))
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Connector {
    async fn stream(&self, uri: &Uri) -> anyhow::Result<Box<dyn Stream>> {
        let is_tls = uri.scheme_str() == Some("https");
        anyhow::ensure!(
            is_tls || self.allows_http,
            "plain HTTP is not allowed: AWS_ALLOW_HTTP=true allows it"
        );
        let host = uri.host().context("an address without a host")?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tcp = TcpStream::connect((host.as_str(), port)).await?;
        tcp.set_nodelay(true)?;
        if !is_tls {
            return Ok(Box::new(tcp));
        }
        Ok(Box::new(self.tls.connect(ServerName::try_from(host)?, tcp).await?))
    }
}
