//! The few HTTP calls an agent makes beside its socket: one request, one bounded answer, one connection.

use crate::identity::Secret;
use crate::transport::{ConnectError, Connector};
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use gururmm_protocol::AgentId;
use http::{HeaderValue, Uri, header};
use http_body_util::{BodyExt, BodyStream, Full, Limited};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

/// How long a call may take from name to last byte.
const WITHIN: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Scheme, host and port of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerUrl(Uri);

/// Why a text is not a server's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidServerUrl {
    /// Not `https://host[:port]`.
    #[error("a server is given as https://host or https://host:port")]
    Malformed,
    /// Plain HTTP to something that is not this machine.
    #[error("plain http is for loopback only: use https")]
    PlainNotLoopback,
}

impl FromStr for ServerUrl {
    type Err = InvalidServerUrl;

    fn from_str(text: &str) -> Result<Self, InvalidServerUrl> {
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| InvalidServerUrl::Malformed)?;
        let has_path = !matches!(uri.path(), "" | "/") || uri.query().is_some();
        let has_user = uri.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let host = uri.host().unwrap_or_default();
        if host.is_empty() || has_path || has_user {
            return Err(InvalidServerUrl::Malformed);
        }
        let is_loopback = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => Ok(Self(uri)),
            Some("http") if is_loopback => Ok(Self(uri)),
            Some("http") => Err(InvalidServerUrl::PlainNotLoopback),
            _ => Err(InvalidServerUrl::Malformed),
        }
    }
}

impl fmt::Display for ServerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.is_tls() { "https" } else { "http" }, self.authority())
    }
}

impl ServerUrl {
    /// Whether connections are encrypted.
    pub fn is_tls(&self) -> bool {
        self.0.scheme_str() == Some("https")
    }

    /// Name or address, an IPv6 one without its brackets.
    pub fn host(&self) -> &str {
        self.0.host().unwrap_or_default().trim_matches(['[', ']'])
    }

    /// The port, given or implied.
    pub fn port(&self) -> u16 {
        self.0.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 })
    }

    /// As the `Host` header says it.
    pub fn authority(&self) -> &str {
        self.0.authority().map(http::uri::Authority::as_str).unwrap_or_default()
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// It took too long.
    #[error("the server did not answer within {} seconds", WITHIN.as_secs())]
    TimedOut,
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] hyper::Error),
    /// The answer is not what the protocol says.
    #[error("the server's answer is not understood")]
    Malformed,
    /// The request cannot be written.
    #[error("the request cannot be built")]
    Request(#[from] http::Error),
    /// The server said no, as problem+json.
    #[error("{detail} ({status} {code})")]
    Refused {
        /// HTTP status.
        status: u16,
        /// Stable word.
        code: String,
        /// For people.
        detail: String,
        /// When to ask again, where the server says that it is busy (429 and 503) and for how long.
        retry_after: Option<Duration>,
    },
}

/// Posts `body` as JSON and reads the answer.
pub async fn post<A: DeserializeOwned>(
    connector: &Connector,
    path: &str,
    body: &impl Serialize,
) -> Result<A, CallError> {
    let bytes = serde_json::to_vec(body).map_err(|_| CallError::Malformed)?;
    let exchange = exchange(connector, json(http::Request::post(path)), bytes);
    tokio::time::timeout(WITHIN, exchange).await.map_err(|_| CallError::TimedOut)?
}

fn json(request: http::request::Builder) -> http::request::Builder {
    request.header(header::CONTENT_TYPE, "application/json").header(header::ACCEPT, "application/json")
}

async fn exchange<A: DeserializeOwned>(
    connector: &Connector,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<A, CallError> {
    let (status, body) = call(connector, request, body, MAX_ANSWER_BYTES).await?;
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|_| CallError::Malformed);
    }
    Err(refusal(status.as_u16(), &body, None))
}

/// Gets a short text, at most `max_bytes` long. How long it may take is the caller's business; a redirection is not
/// followed.
pub async fn get_text(connector: &Connector, path: &str, max_bytes: usize) -> Result<String, CallError> {
    let request = http::Request::get(path).header(header::ACCEPT, "text/plain");
    let (status, body) = call(connector, request, Vec::new(), max_bytes).await?;
    if !status.is_success() {
        return Err(refusal(status.as_u16(), &body, None));
    }
    String::from_utf8(body.into()).map_err(|_| CallError::Malformed)
}

/// Who asks: the agent's id and its own key.
#[derive(Debug, Clone)]
pub struct Credential {
    /// The server's id for this machine.
    pub agent_id: AgentId,
    /// Its key.
    pub key: Secret,
}

/// Gets something large, in pieces. A server that falls silent for [`WITHIN`] is given up; how long it may take in all
/// is the caller's business.
pub async fn get(
    connector: &Connector,
    path: &str,
    credential: &Credential,
) -> Result<impl Stream<Item = Result<Bytes, CallError>> + Send + Unpin + use<>, CallError> {
    let request = credential.sign(http::Request::get(path))?;
    let answer = tokio::time::timeout(WITHIN, send(connector, request, Vec::new())).await;
    let (response, driver) = answer.map_err(|_| CallError::TimedOut)??;
    let status = response.status();
    if !status.is_success() {
        let retry_after = retry_after(&response);
        let body =
            tokio::time::timeout(WITHIN, Limited::new(response.into_body(), MAX_ANSWER_BYTES).collect())
                .await;
        let body = body.map_err(|_| CallError::TimedOut)?.map_err(|_| CallError::Malformed)?.to_bytes();
        return Err(refusal(status.as_u16(), &body, retry_after));
    }
    let pieces = futures_util::stream::unfold(
        (BodyStream::new(response.into_body()), driver),
        |(mut body, driver)| async move {
            loop {
                let piece = match tokio::time::timeout(WITHIN, body.next()).await {
                    Err(_) => Err(CallError::TimedOut),
                    Ok(None) => return None,
                    Ok(Some(Err(error))) => Err(CallError::Broken(error)),
                    Ok(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => Ok(data),
                        // Trailers.
                        Err(_) => continue,
                    },
                };
                return Some((piece, (body, driver)));
            }
        },
    );
    Ok(Box::pin(pieces))
}

/// Posts `body` as the agent and reads the answer.
pub async fn post_as<A: DeserializeOwned>(
    connector: &Connector,
    path: &str,
    credential: &Credential,
    body: &impl Serialize,
) -> Result<A, CallError> {
    let bytes = serde_json::to_vec(body).map_err(|_| CallError::Malformed)?;
    let request = credential.sign(json(http::Request::post(path)))?;
    let exchange = exchange(connector, request, bytes);
    tokio::time::timeout(WITHIN, exchange).await.map_err(|_| CallError::TimedOut)?
}

impl Credential {
    fn sign(&self, request: http::request::Builder) -> Result<http::request::Builder, CallError> {
        let mut bearer =
            HeaderValue::from_str(&format!("Bearer {}", self.key.expose())).map_err(http::Error::from)?;
        bearer.set_sensitive(true);
        Ok(request.header(header::AUTHORIZATION, bearer).header("x-gururmm-agent", self.agent_id.to_string()))
    }
}

/// Drives the connection as long as it is held.
struct Driver(tokio::task::AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn send(
    connector: &Connector,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<(http::Response<hyper::body::Incoming>, Driver), CallError> {
    let stream = connector.open().await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::Builder::new().handshake(TokioIo::new(stream)).await?;
    let driver = Driver(tokio::spawn(connection).abort_handle());
    let request = request
        .header(header::HOST, connector.server().authority())
        .header(header::USER_AGENT, concat!("gururmm-agent/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(body)))?;
    Ok((sender.send_request(request).await?, driver))
}

async fn call(
    connector: &Connector,
    request: http::request::Builder,
    body: Vec<u8>,
    max_bytes: usize,
) -> Result<(http::StatusCode, Bytes), CallError> {
    let (response, _driver) = send(connector, request, body).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), max_bytes).collect().await;
    Ok((status, body.map_err(|_| CallError::Malformed)?.to_bytes()))
}

/// The seconds a busy server names; a date is for browsers.
fn retry_after(response: &http::Response<hyper::body::Incoming>) -> Option<Duration> {
    let is_busy = matches!(response.status().as_u16(), 429 | 503);
    let named = response.headers().get(header::RETRY_AFTER).filter(|_| is_busy)?;
    named.to_str().ok()?.parse().ok().map(Duration::from_secs)
}

fn refusal(status: u16, body: &[u8], retry_after: Option<Duration>) -> CallError {
    #[derive(Deserialize)]
    struct Problem {
        #[serde(default)]
        code: String,
        #[serde(default)]
        detail: String,
        #[serde(default)]
        title: String,
    }
    let Ok(problem) = serde_json::from_slice::<Problem>(body) else {
        let (code, detail) = ("HTTP".into(), "the server said no".into());
        return CallError::Refused { status, code, detail, retry_after };
    };
    let printable = |text: String| text.chars().filter(|c| !c.is_control()).take(300).collect::<String>();
    let detail = if problem.detail.is_empty() { problem.title } else { problem.detail };
    CallError::Refused { status, code: printable(problem.code), detail: printable(detail), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_taken_for_loopback_only() {
        for good in
            ["http://127.0.0.1:3001", "http://localhost", "http://[::1]:80/", "https://rmm.example.com"]
        {
            assert!(good.parse::<ServerUrl>().is_ok(), "{good}");
        }
        for plain in ["http://rmm.example.com", "http://192.0.2.1", "http://localhost.example.com"] {
            assert_eq!(plain.parse::<ServerUrl>(), Err(InvalidServerUrl::PlainNotLoopback), "{plain}");
        }
        for bad in
            ["", "rmm.example.com", "ftp://x", "https://u:p@x", "https://x/path", "https://x?q", "https://"]
        {
            assert_eq!(bad.parse::<ServerUrl>(), Err(InvalidServerUrl::Malformed), "{bad}");
        }
    }

    #[test]
    fn an_address_is_taken_apart_and_written_again() {
        let url: ServerUrl = "https://[2001:db8::1]:8443/".parse().unwrap();
        assert_eq!((url.host(), url.port(), url.is_tls()), ("2001:db8::1", 8443, true));
        assert_eq!(url.to_string(), "https://[2001:db8::1]:8443");
        let url: ServerUrl = "http://localhost".parse().unwrap();
        assert_eq!(url.port(), 80);
    }
}
