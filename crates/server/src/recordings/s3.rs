//! HTTP for buckets, with the HTTP and TLS that the server has already.

use crate::net::exchange;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Response;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody,
    HttpService,
};
use object_store::{ClientConfigKey, ClientOptions};
use std::fmt;
use std::time::Duration;
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
        // Where there are no authorities, a bucket is still reached by plain HTTP, if that is allowed.
        let tls = exchange::tls(exchange::system_authorities())?;
        Ok(Self { tls, allows_http: false })
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
    let connecting = async {
        let is_tls = head.uri.scheme_str() == Some("https");
        anyhow::ensure!(
            is_tls || connector.allows_http,
            "plain HTTP is not allowed: AWS_ALLOW_HTTP=true allows it"
        );
        exchange::connect(&head.uri, is_tls.then_some(&connector.tls)).await
    };
    let connection = connecting.await.map_err(failed(HttpErrorKind::Connect))?;
    let request = hyper::Request::from_parts(head, Full::new(body.to_bytes()));
    let answer = exchange::exchange(connection, request, ANSWER_BYTES).await;
    answer.map_err(failed(HttpErrorKind::Interrupted))
}
