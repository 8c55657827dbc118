//! Settings of the running server, from the command line.

use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;
use url::Url;

/// Settings of `serve`.
#[derive(Debug, Clone)]
pub struct Config {
    pub data_dir: PathBuf,
    pub listen: SocketAddr,
    /// What people call this server, where there are several.
    pub node_name: String,
    /// How people and agents reach this server: scheme, host, port; no path.
    pub public_url: Url,
    /// Whether browsers reach this server by TLS (its own or a trusted proxy's): decides the cookie's flags.
    pub is_secure: bool,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// `sha256:…` of the server's own CA, when it has one.
    pub ca_fingerprint: Option<String>,
    /// The agent binary that /install/ hands out.
    pub agent_binary: Option<PathBuf>,
    /// The packages that /install/ hands out, as `./dev dist` lays them down; the folder need not be there.
    pub dist: PathBuf,
    /// Whether machines find a server at `public_url`; not on a command line beside data that was never served.
    pub is_served: bool,
}
