//! The least that a server can be: TLS, WebSocket, a welcome, and an answer to each heartbeat. What one of its agents costs
//! is what the libraries and the system ask for; a server that does more is measured against it.

use anyhow::Context as _;
use chrono::Utc;
use futures_util::{SinkExt as _, StreamExt as _};
use gururmm_protocol::limits::MAX_CONTROL_FRAME_BYTES;
use gururmm_protocol::to_agent::Welcome;
use gururmm_protocol::{
    AgentId, AgentMessage, Decoded, SUPPORTED, ServerMessage, decode_agent_message, encode,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use uuid::Uuid;

const BUFFER_BYTES: usize = 4 * 1024;
const BACKLOG: u32 = 4096;
const HEARTBEAT_SECONDS: u32 = 30;

/// Serves until standard input ends, with the certificate of the server whose data folder this is.
///
/// # Errors
/// When there is no certificate, or the address cannot be had.
pub async fn serve(data_dir: &Path, listen: SocketAddr) -> anyhow::Result<()> {
    let acceptor = acceptor(&data_dir.join("keys/tls.pem"))?;
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(listen)?;
    let listener = socket.listen(BACKLOG)?;
    let (mut input, mut ignored) = (tokio::io::stdin(), [0; 64]);
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                let acceptor = acceptor.clone();
                // A socket that breaks is no matter of the others.
                tokio::spawn(async move { drop(hold(acceptor, stream).await) });
            }
            read = input.read(&mut ignored) => if read? == 0 { return Ok(()) },
        }
    }
}

async fn hold(acceptor: TlsAcceptor, stream: TcpStream) -> anyhow::Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(0)
        .max_write_buffer_size(2 * MAX_CONTROL_FRAME_BYTES)
        .max_message_size(Some(MAX_CONTROL_FRAME_BYTES))
        .max_frame_size(Some(MAX_CONTROL_FRAME_BYTES));
    let mut socket = tokio_tungstenite::accept_async_with_config(stream, Some(config)).await?;
    while let Some(frame) = socket.next().await {
        let Message::Text(text) = frame? else { continue };
        let answer = match decode_agent_message(&text) {
            Ok(Decoded::Known(AgentMessage::Hello(_))) => ServerMessage::Welcome(welcome()?),
            Ok(Decoded::Known(AgentMessage::Heartbeat { .. })) => {
                ServerMessage::HeartbeatAck { server_time: Utc::now(), reconnect_within_seconds: None }
            }
            Ok(Decoded::Known(AgentMessage::Metrics { seq, .. })) => ServerMessage::MetricsAck { seq },
            Ok(Decoded::Known(AgentMessage::Goodbye {})) => break,
            _ => continue,
        };
        socket.send(Message::text(encode(&answer)?)).await?;
    }
    Ok(())
}

fn welcome() -> anyhow::Result<Welcome> {
    Ok(Welcome {
        agent_id: AgentId::from(Uuid::nil()),
        protocol: *SUPPORTED.last().context("no version is supported")?,
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
        server_time: Utc::now(),
        heartbeat_seconds: HEARTBEAT_SECONDS,
        config: Default::default(),
        observed_ip: None,
    })
}

fn acceptor(pem: &Path) -> anyhow::Result<TlsAcceptor> {
    let text = std::fs::read(pem).with_context(|| format!("cannot read {}", pem.display()))?;
    let certificates = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&text)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(certificates, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
