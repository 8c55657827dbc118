//! The listener: from an open port to requests with a known peer, on plain HTTP or TLS, with limits on all that has
//! not yet shown who it is. And the way out: requests of the server's own.

mod abandoned;
mod authority;
mod body;
pub mod exchange;
mod limits;
mod listener;
mod origin;
mod peer;
#[cfg(test)]
mod tests;
pub mod tls;

pub use limits::{ConnectionCounts, ConnectionGauge, ConnectionTicket, Limits};
pub use listener::Listener;
pub use origin::{origin_allowed, upgrade_origin_allowed};
pub use peer::Scheme;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use url::Url;

use tls::TlsError;

/// What the server listens on, and how.
#[derive(Debug, Clone)]
pub struct ListenConfig {
    pub addr: SocketAddr,
    /// `None`: plain HTTP, on loopback or behind a trusted proxy only.
    pub tls: Option<TlsMode>,
    /// Peers whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How people and agents reach the server; its host is among the names of the server's own certificate.
    pub public_url: Url,
    pub limits: Limits,
}

/// Where the certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsMode {
    /// A chain and its key in PEM, read again when they change and on SIGHUP.
    Files { certificate: PathBuf, key: PathBuf },
    /// The server's own CA, made once and kept in this folder, signs a certificate that renews itself.
    SelfSigned { keys_dir: PathBuf },
}

/// Why the server does not listen. `Display` is meant for the operator's terminal.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error(
        "plain HTTP on {addr} would show passwords and keys to the network: pass --tls-cert and --tls-key, or \
         --tls-self-signed, or name the TLS proxy in front of this server with --trusted-proxy"
    )]
    PlainHttp { addr: SocketAddr },

    #[error("{addr} is taken by another program: stop that one or choose another address")]
    AddressInUse { addr: SocketAddr },

    #[error(
        "this user may not listen on {addr}: choose a port above 1023 or give the right to bind low ports"
    )]
    NotPermitted { addr: SocketAddr },

    #[error("{addr} is not an address of this machine: choose another")]
    NotOurs { addr: SocketAddr },

    #[error("cannot listen on {addr}")]
    Bind { addr: SocketAddr, source: io::Error },

    #[error(transparent)]
    Tls(#[from] TlsError),
}
