//! The way to the server: TCP from one of many loopback addresses, TLS, HTTP, WebSocket.

use anyhow::{Context as _, bail};
use bytes::Bytes;
use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpSocket;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use url::Url;

/// Where agents connect.
const SOCKET_PATH: &str = "/api/v1/agent/socket";
/// For everything until the socket stands.
const PATIENCE: Duration = Duration::from_secs(30);
const BUFFER_BYTES: usize = 4 * 1024;

/// One server, on this machine or another one.
pub struct Place {
    address: SocketAddr,
    authority: String,
    name: ServerName<'static>,
    tls: Option<TlsConnector>,
}

/// A byte stream, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// An agent's socket.
pub type Socket = WebSocketStream<Box<dyn Stream>>;

/// Why there is no socket.
#[derive(Debug)]
pub enum Refusal {
    /// There is no connection, or it broke.
    Lost(anyhow::Error),
    /// The server answered something else, with the seconds of its `Retry-After`.
    Answered { status: u16, retry_after: Option<u64> },
}

impl Place {
    /// `https` trusts the certificates in `ca` and no others.
    ///
    /// # Errors
    /// When the URL names no server, or the file holds no certificate.
    pub async fn new(url: &Url, ca: Option<&Path>) -> anyhow::Result<Self> {
        let host = url.host_str().context("the URL names no server")?;
        let port = url.port_or_known_default().context("the URL names no port")?;
        let address = tokio::net::lookup_host((host, port)).await?.find(SocketAddr::is_ipv4);
        let tls = match (url.scheme(), ca) {
            ("https", Some(ca)) => Some(connector(ca)?),
            ("https", None) => bail!("https needs the file of the server's CA"),
            ("http", _) => None,
            _ => bail!("the URL is neither http nor https"),
        };
        Ok(Self {
            address: address.context("the server has no IPv4 address")?,
            authority: format!("{host}:{port}"),
            name: ServerName::try_from(host.to_owned())?,
            tls,
        })
    }

    async fn open(&self, source: Ipv4Addr) -> anyhow::Result<Box<dyn Stream>> {
        let socket = TcpSocket::new_v4()?;
        if self.address.ip().is_loopback() {
            socket.bind(SocketAddr::new(IpAddr::V4(source), 0))?;
        }
        let stream = socket.connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(match &self.tls {
            Some(tls) => Box::new(tls.connect(self.name.clone(), stream).await?),
            None => Box::new(stream),
        })
    }

    /// POST of JSON; the answer's status and body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn post(
        &self,
        source: Ipv4Addr,
        path: &str,
        token: Option<&str>,
        body: &impl serde::Serialize,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::post(path)
            .header(header::HOST, &self.authority)
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.exchange(source, request.body(Full::from(serde_json::to_vec(body)?))?).await
    }

    /// GET; the answer's status and body.
    ///
    /// # Errors
    /// When there is no answer.
    pub async fn get(
        &self,
        source: Ipv4Addr,
        path: &str,
        token: Option<&str>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let mut request = Request::get(path).header(header::HOST, &self.authority);
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        self.exchange(source, request.body(Full::default())?).await
    }

    async fn exchange(
        &self,
        source: Ipv4Addr,
        request: Request<Full<Bytes>>,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let exchange = async {
            let stream = self.open(source).await?;
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            let answer = async {
                let answer = sender.send_request(request).await?;
                let status = answer.status();
                anyhow::Ok((status, answer.into_body().collect().await?.to_bytes()))
            };
            tokio::select! {
                answer = answer => answer,
                ended = connection => {
                    ended?;
                    bail!("the server closed before it answered")
                }
            }
        };
        timeout(PATIENCE, exchange).await.context("the server does not answer")?
    }

    /// An agent's socket, authenticated by header.
    ///
    /// # Errors
    /// When it does not stand in time, or the server refuses it.
    pub async fn socket(&self, source: Ipv4Addr, id: &str, key: &str) -> Result<Socket, Refusal> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let attempt = async {
            let stream = self.open(source).await.map_err(Refusal::Lost)?;
            let request = Request::get(format!("{scheme}://{}{SOCKET_PATH}", self.authority))
                .header(header::HOST, &self.authority)
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "websocket")
                .header(header::SEC_WEBSOCKET_VERSION, "13")
                .header(header::SEC_WEBSOCKET_KEY, tungstenite::handshake::client::generate_key())
                .header(header::AUTHORIZATION, format!("Bearer {key}"))
                .header("x-gururmm-agent", id)
                .body(())
                .map_err(|error| Refusal::Lost(error.into()))?;
            let config = WebSocketConfig::default()
                .read_buffer_size(BUFFER_BYTES)
                .write_buffer_size(0)
                .max_write_buffer_size(2 * MAX_CONTROL_FRAME_BYTES)
                .max_message_size(Some(MAX_CONTROL_FRAME_BYTES))
                .max_frame_size(Some(MAX_CONTROL_FRAME_BYTES));
            match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
                Ok((socket, _)) => Ok(socket),
                Err(tungstenite::Error::Http(answer)) => {
                    let after =
                        answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
                    let retry_after = after.and_then(|seconds| seconds.parse().ok());
                    Err(Refusal::Answered { status: answer.status().as_u16(), retry_after })
                }
                Err(error) => Err(Refusal::Lost(error.into())),
            }
        };
        let late = |_| Refusal::Lost(anyhow::anyhow!("the socket does not stand in time"));
        timeout(PATIENCE, attempt).await.map_err(late)?
    }
}

fn connector(ca: &Path) -> anyhow::Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    let pem = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        roots.add(certificate?)?;
    }
    anyhow::ensure!(!roots.is_empty(), "{} holds no certificate", ca.display());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The loopback address that machine `number` comes from: fifty machines behind each, as behind a router.
pub fn source(number: usize) -> Ipv4Addr {
    let place = number / 50;
    let [_, _, third, fourth] = u32::try_from(place).unwrap_or(0).to_be_bytes();
    Ipv4Addr::new(127, 77, third, fourth.max(1))
}
