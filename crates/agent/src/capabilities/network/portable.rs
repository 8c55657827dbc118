//! macOS, by the `sysinfo` library. Gateway and name servers are not read here yet and stay absent.

use gururmm_protocol::network::NetworkState;
use ipnet::IpNet;
use std::io;
use sysinfo::Networks;

pub(super) fn read() -> io::Result<NetworkState> {
    let networks = Networks::new_with_refreshed_list().map_err(io::Error::other)?;
    let interfaces = networks.iter().filter_map(|(name, data)| {
        let networks = data.ip_networks().iter();
        let addresses: Vec<IpNet> =
            networks.filter_map(|net| IpNet::new(net.addr, net.prefix).ok()).collect();
        if addresses.iter().any(|net| net.addr().is_loopback()) {
            return None;
        }
        let mac = data.mac_address();
        let mac = if mac.is_unspecified() { String::new() } else { mac.to_string() };
        // The library lists interfaces that are up.
        Some(super::interface(name.to_string_lossy().into_owned(), mac, true, addresses))
    });
    Ok(NetworkState { interfaces: interfaces.collect(), gateway: None, dns: Vec::new() })
}
