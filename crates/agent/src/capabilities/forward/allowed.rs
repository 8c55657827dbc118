//! Where a policy lets connections go. A name in it stands for what it resolves to here and now; an address or a network is
//! compared with the address that is really connected to, whatever it was called.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `host:port`, each possibly `*`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    host: Host,
    /// `None`: all.
    port: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Host {
    Any,
    Network(IpNet),
    /// In lower case, without the dot at its end.
    Name(String),
}

/// A policy's list.
#[derive(Debug, Default)]
pub(super) struct Allowed(Vec<Entry>);

impl Allowed {
    /// What is no entry allows nothing.
    pub(super) fn read(entries: &[String]) -> Self {
        Self(entries.iter().filter_map(|entry| Entry::read(entry)).collect())
    }

    /// Whether `host` is worth being looked up: something in the list might allow it. Names are not asked of the network
    /// for who may not connect to anything behind them.
    pub(super) fn may_be_asked_for(&self, host: &str, port: u16) -> bool {
        self.0.iter().filter(|entry| entry.has_port(port)).any(|entry| match &entry.host {
            Host::Any | Host::Network(_) => true,
            Host::Name(name) => *name == plain(host),
        })
    }

    /// Whether a connection to that address may be made for who asked for `host`.
    pub(super) fn lets(&self, host: &str, address: SocketAddr) -> bool {
        let ip = canonical(address.ip());
        self.0.iter().filter(|entry| entry.has_port(address.port())).any(|entry| match &entry.host {
            Host::Any => true,
            Host::Network(network) => network.contains(&ip),
            Host::Name(name) => *name == plain(host),
        })
    }
}

impl Entry {
    fn read(text: &str) -> Option<Self> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = match port {
            "*" => None,
            port => Some(port.parse().ok().filter(|port| *port != 0)?),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = if host == "*" {
            Host::Any
        } else if let Ok(address) = host.parse::<IpAddr>() {
            Host::Network(canonical(address).into())
        } else if let Ok(network) = host.parse::<IpNet>() {
            Host::Network(network.trunc())
        } else if host.is_empty() || host.contains(['/', ':', '*']) {
            return None;
        } else {
            Host::Name(plain(host))
        };
        Some(Self { host, port })
    }

    fn has_port(&self, port: u16) -> bool {
        self.port.is_none_or(|allowed| allowed == port)
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// An IPv4 address is one, however it is wrapped.
fn canonical(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(ip) => match ip.to_canonical() {
            // What is not given is this machine, as the system connects.
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            ip => ip,
        },
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets(entries: &[&str], host: &str, address: &str) -> bool {
        let entries: Vec<String> = entries.iter().map(|entry| (*entry).to_owned()).collect();
        let (allowed, address): (_, SocketAddr) = (Allowed::read(&entries), address.parse().unwrap());
        let lets = allowed.lets(host, address);
        assert!(!lets || allowed.may_be_asked_for(host, address.port()), "it would not be looked up");
        lets
    }

    #[test]
    fn a_name_allows_what_it_resolves_to_and_no_other_name_for_that() {
        assert!(lets(&["db.example.com:5432"], "db.example.com", "192.0.2.7:5432"));
        assert!(lets(&["db.example.com:5432"], "DB.Example.com.", "192.0.2.7:5432"));
        assert!(!lets(&["db.example.com:5432"], "db.example.com", "192.0.2.7:22"));
        assert!(!lets(&["db.example.com:5432"], "192.0.2.7", "192.0.2.7:5432"));
        assert!(!lets(&["db.example.com:5432"], "other.example.com", "192.0.2.7:5432"));
    }

    #[test]
    fn addresses_and_networks_are_compared_with_what_is_connected_to() {
        for network in ["192.0.2.0/24:*", "192.0.2.9/24:3389", "192.0.2.7:3389"] {
            assert!(lets(&[network], "pc.example.com", "192.0.2.7:3389"), "{network}");
            assert!(lets(&[network], "pc.example.com", "[::ffff:192.0.2.7]:3389"), "{network}");
            assert!(!lets(&[network], "192.0.2.7", "192.0.3.7:3389"), "{network}");
        }
        assert!(lets(&["[2001:db8::]/32:443", "[2001:db8::1]:443"], "x", "[2001:db8::1]:443"));
        assert!(lets(&["2001:db8::/32:443"], "x", "[2001:db8::1]:443"));
        assert!(!lets(&["2001:db8::/32:443"], "x", "[2001:db9::1]:443"));
        // By whatever name, this machine is this machine.
        assert!(!lets(&["192.0.2.0/24:*"], "localhost", "127.0.0.1:22"));
        assert!(lets(&["127.0.0.1:22"], "0.0.0.0", "0.0.0.0:22"));
        assert!(!lets(&["0.0.0.0:22"], "x", "192.0.2.7:22"));
        assert!(lets(&["::1:22"], "::", "[::]:22"));
    }

    #[test]
    fn stars_are_all_and_nothing_is_nothing() {
        assert!(lets(&["*:*"], "x", "203.0.113.9:1"));
        assert!(lets(&["*:80"], "x", "203.0.113.9:80") && !lets(&["*:80"], "x", "203.0.113.9:81"));
        assert!(!lets(&[], "x", "203.0.113.9:80"));
        for nonsense in
            ["", "*", ":", "host", "host:", "host:0", "host:99999", "*.example.com:80", "192.0.2.0/33:80"]
        {
            assert!(!lets(&[nonsense], "host", "203.0.113.9:80"), "{nonsense}");
            assert!(!lets(&[nonsense], "a.example.com", "203.0.113.9:80"), "{nonsense}");
        }
    }
}
