//! A plain HTTP client that does exactly what it is told: no redirects, no cookie jar, any header as often as wanted.

use crate::PATIENCE;
use crate::socket::TestSocket;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, HOST, HeaderName};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

/// Talks to a server as one principal, from an address of its own: limits by address do not mix tests' people up.
#[derive(Debug, Clone)]
pub struct ApiClient {
    line: Line,
    headers: HeaderMap,
}

/// From where to where. All of 127.0.0.0/8 is this machine.
#[derive(Clone)]
pub(crate) struct Line {
    from: Ipv4Addr,
    pub(crate) to: SocketAddr,
    tls: Option<TlsConnector>,
}

/// A connection, in TLS or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Line {
    pub(crate) async fn connect(&self) -> Box<dyn Stream> {
        self.try_connect().await.unwrap()
    }

    async fn try_connect(&self) -> io::Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((self.from, 0).into()).unwrap();
        let stream = socket.connect(self.to).await?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.connect(self.to.ip().into(), stream).await?),
            None => Box::new(stream),
        })
    }
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

impl ApiClient {
    /// A client without credentials.
    pub fn anonymous(address: SocketAddr) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0x7f01_0001);
        let from = Ipv4Addr::from_bits(NEXT.fetch_add(1, Ordering::Relaxed));
        Self { line: Line { from, to: address, tls: None }, headers: HeaderMap::new() }
    }

    /// The same client in TLS.
    pub fn over_tls(mut self, tls: TlsConnector) -> Self {
        self.line.tls = Some(tls);
        self
    }

    /// The same client at another address of 127.0.0.0/8.
    pub fn from_address(mut self, from: Ipv4Addr) -> Self {
        self.line.from = from;
        self
    }

    /// The same client with a header on everything it sends.
    pub fn with(mut self, name: impl TryInto<HeaderName>, value: &str) -> Self {
        let Ok(name) = name.try_into() else { panic!("not the name of a header") };
        self.headers.append(name, value.parse().unwrap());
        self
    }

    /// The same client with a bearer token.
    pub fn with_bearer(self, token: &str) -> Self {
        self.with(AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// The same client as a browser with the dashboard open.
    pub fn with_cookie(self, name: &str, token: &str, csrf_token: &str) -> Self {
        self.with(COOKIE, &format!("{name}={token}")).with("x-csrf-token", csrf_token)
    }

    /// The headers it sends with everything.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path).send().await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.request(Method::POST, path).json(body).send().await
    }

    /// PUT with a JSON body.
    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PUT, path).json(body).send().await
    }

    /// PATCH with a JSON body.
    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PATCH, path).json(body).send().await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.request(Method::DELETE, path).send().await
    }

    /// Anything else.
    pub fn request(&self, method: Method, path: &str) -> Call {
        let headers = self.headers.clone();
        Call { line: self.line.clone(), method, path: path.to_owned(), headers, body: Bytes::new() }
    }

    /// Opens a WebSocket on a server that may not be there, or may go away meanwhile.
    pub async fn try_upgrade(&self, path: &str) -> Option<TestSocket> {
        let opening = async {
            let stream = self.line.try_connect().await.ok()?;
            TestSocket::open_on(stream, &self.line, path, &self.headers).await.ok()?.ok()
        };
        timeout(PATIENCE, opening).await.ok().flatten()
    }

    /// Opens a WebSocket; the answer instead, when the server refuses.
    pub async fn upgrade(&self, path: &str) -> Result<TestSocket, Answer> {
        TestSocket::open(&self.line, path, &self.headers).await
    }
}

/// A request in the making.
#[derive(Debug, Clone)]
pub struct Call {
    line: Line,
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Call {
    /// Adds a header, beside one of the same name.
    pub fn header(mut self, name: impl TryInto<HeaderName>, value: impl TryInto<HeaderValue>) -> Self {
        let (Ok(name), Ok(value)) = (name.try_into(), value.try_into()) else { panic!("not a header") };
        self.headers.append(name, value);
        self
    }

    /// Sets a JSON body.
    pub fn json(self, body: Value) -> Self {
        self.body(body.to_string()).header(CONTENT_TYPE, "application/json")
    }

    /// Sets any body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it over a connection of its own.
    pub async fn send(self) -> Answer {
        let what = format!("{} {}", self.method, self.path);
        match timeout(PATIENCE, self.exchange(&what)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => panic!("{what}: {error}"),
            Err(_) => panic!("{what}: no answer"),
        }
    }

    /// The same to a server that may not be there, or may go away meanwhile.
    pub async fn try_send(self) -> Option<Answer> {
        let what = format!("{} {}", self.method, self.path);
        timeout(PATIENCE, self.exchange(&what)).await.ok()?.ok()
    }

    async fn exchange(self, what: &str) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = self.line.try_connect().await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(connection);
        let mut request =
            Request::builder().method(self.method).uri(self.path).body(Full::new(self.body)).unwrap();
        *request.headers_mut() = self.headers;
        if !request.headers().contains_key(HOST) {
            request.headers_mut().insert(HOST, self.line.to.to_string().parse().unwrap());
        }
        let response = sender.send_request(request).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await?.to_bytes();
        connection.abort();
        Ok(Answer { what: what.to_owned(), status: head.status, headers: head.headers, body })
    }
}

/// What the server answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Method and path, for messages.
    pub what: String,
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body, which must have come with this status; `null` where there is none.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{self}");
        self.json()
    }

    /// The problem's code, which must have come with this status.
    #[track_caller]
    pub fn expect_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{self}");
        problem
    }

    /// The body as JSON; `null` where there is none.
    #[track_caller]
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {self}"))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The `code` of a problem.
    pub fn code(&self) -> Option<String> {
        let problem: Value = serde_json::from_slice(&self.body).ok()?;
        problem["code"].as_str().map(str::to_owned)
    }

    /// A header that is there at most once.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} -> {} {}", self.what, self.status.as_u16(), self.text())
    }
}
