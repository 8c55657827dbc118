//! Who is at the other end, and how the request travelled: facts of the connection, or what a trusted proxy says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::observability::traces::spans::TRACEPARENT;
use axum::http::HeaderMap;
use axum::http::header::{FORWARDED, HeaderName};
use ipnet::IpNet;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
/// Longer chains of proxies are not followed.
const HOPS_MAX: usize = 16;

/// How the browser or agent sent the request: to us, or to the trusted proxy in front. A request extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// Whether it was sent by TLS.
    pub fn is_tls(self) -> bool {
        self == Self::Https
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_tls() { "https" } else { "http" })
    }
}

/// Whether `peer` is one of the proxies.
pub(super) fn is_trusted(peer: IpAddr, proxies: &[IpNet]) -> bool {
    proxies.iter().any(|net| net.contains(&peer))
}

/// Whether `peer` may send plain HTTP: this machine and the proxies, from whom it does not cross a network.
pub(super) fn may_speak_plainly(peer: IpAddr, proxies: &[IpNet]) -> bool {
    peer.is_loopback() || is_trusted(peer, proxies)
}

/// The request's real peer and scheme. The forwarding headers are removed, so that nothing further in can believe
/// what anyone wrote into them.
pub(super) fn resolve(
    headers: &mut HeaderMap,
    tcp_peer: IpAddr,
    transport: Scheme,
    proxies: &[IpNet],
) -> (IpAddr, Scheme) {
    let resolved = if is_trusted(tcp_peer, proxies) {
        (forwarded_peer(headers, tcp_peer, proxies), forwarded_scheme(headers).unwrap_or(transport))
    } else {
        (tcp_peer, transport)
    };
    // A trace belongs to the operator: a stranger neither joins one nor decides what is sampled.
    if !is_trusted(tcp_peer, proxies) {
        headers.remove(TRACEPARENT);
    }
    for name in [FORWARDED_FOR, FORWARDED_PROTO, FORWARDED_HOST, REAL_IP, FORWARDED] {
        headers.remove(name);
    }
    resolved
}

/// The right-most hop that is not a proxy of ours: everything left of it was written by strangers.
fn forwarded_peer(headers: &HeaderMap, tcp_peer: IpAddr, proxies: &[IpNet]) -> IpAddr {
    let lists = headers.get_all(FORWARDED_FOR);
    let hops = lists.iter().rev().flat_map(|list| list.to_str().unwrap_or("unreadable").rsplit(','));
    let mut peer = tcp_peer;
    for hop in hops.take(HOPS_MAX) {
        let Some(address) = parse_hop(hop) else { break };
        peer = address;
        if !is_trusted(peer, proxies) {
            break;
        }
    }
    peer
}

/// An address, with a port or without.
fn parse_hop(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let address = hop
        .parse::<IpAddr>()
        .or_else(|_| hop.parse::<SocketAddr>().map(|address| address.ip()))
        .or_else(|_| hop.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>());
    address.ok().map(|address| address.to_canonical())
}

/// What the nearest proxy says, which wrote the last of the values.
fn forwarded_scheme(headers: &HeaderMap) -> Option<Scheme> {
    let value = headers.get_all(FORWARDED_PROTO).iter().next_back()?.to_str().ok()?;
    match value.rsplit(',').next()?.trim() {
        "https" => Some(Scheme::Https),
        "http" => Some(Scheme::Http),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn proxies() -> Vec<IpNet> {
        vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]
    }

    fn peer(tcp_peer: &str, lists: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(FORWARDED_FOR, HeaderValue::from_str(list).unwrap());
        }
        let tcp_peer = tcp_peer.parse().unwrap();
        resolve(&mut headers, tcp_peer, Scheme::Http, &proxies()).0.to_string()
    }

    #[test]
    fn a_stranger_cannot_choose_its_address() {
        assert_eq!(peer("203.0.113.9", &["198.51.100.1"]), "203.0.113.9");
        assert_eq!(peer("203.0.113.9", &["10.0.0.1"]), "203.0.113.9");
    }

    #[test]
    fn plain_http_is_for_this_machine_and_the_proxies() {
        let may = |peer: &str| may_speak_plainly(peer.parse().unwrap(), &proxies());
        assert!(may("127.0.0.1") && may("::1") && may("10.0.0.1"));
        assert!(!may("203.0.113.9") && !may("192.168.0.1") && !may("2001:db8::1"));
    }

    #[test]
    fn behind_proxies_the_rightmost_stranger_counts() {
        assert_eq!(peer("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(peer("10.0.0.1", &["1.1.1.1, 198.51.100.7, 10.9.9.9"]), "198.51.100.7");
        assert_eq!(peer("10.0.0.1", &["1.1.1.1", "198.51.100.7", "10.9.9.9"]), "198.51.100.7");
        assert_eq!(peer("fd00::1", &["2001:db8::5"]), "2001:db8::5");
        assert_eq!(peer("10.0.0.1", &["[2001:db8::5]:443"]), "2001:db8::5");
        assert_eq!(peer("10.0.0.1", &["198.51.100.7:5555"]), "198.51.100.7");
        assert_eq!(peer("10.0.0.1", &["::ffff:198.51.100.7"]), "198.51.100.7");
    }

    #[test]
    fn what_is_no_address_ends_the_search() {
        assert_eq!(peer("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(peer("10.0.0.1", &["198.51.100.7, unknown"]), "10.0.0.1");
        assert_eq!(peer("10.0.0.1", &["198.51.100.7, , 10.2.2.2"]), "10.2.2.2");
        assert_eq!(peer("10.0.0.1", &[&"10.0.0.2,".repeat(10_000)]), "10.0.0.1");
    }

    #[test]
    fn the_scheme_comes_from_a_proxy_only_and_the_headers_go_no_further() {
        for (tcp_peer, expected) in [("10.0.0.1", Scheme::Https), ("203.0.113.9", Scheme::Http)] {
            let mut headers = HeaderMap::new();
            headers.insert(FORWARDED_PROTO, HeaderValue::from_static("https"));
            headers.insert(REAL_IP, HeaderValue::from_static("1.1.1.1"));
            headers.insert(FORWARDED, HeaderValue::from_static("for=1.1.1.1"));
            let (_, scheme) = resolve(&mut headers, tcp_peer.parse().unwrap(), Scheme::Http, &proxies());
            assert_eq!(scheme, expected);
            assert!(headers.is_empty());
        }
        let mut headers = HeaderMap::new();
        headers.append(FORWARDED_PROTO, HeaderValue::from_static("https, http"));
        let (_, scheme) = resolve(&mut headers, "10.0.0.1".parse().unwrap(), Scheme::Https, &proxies());
        assert_eq!(scheme, Scheme::Http);
    }
}
