//! macOS: interfaces by the `sysinfo` library, the gateway from the kernel's routing table, name servers from the file that
//! the system keeps for programs that look there. Built here, not run.

use super::routes;
use crate::os::{IpFamily, routing_table};
use gururmm_protocol::network::NetworkState;
use ipnet::IpNet;
use std::io::{self, Read as _};
use sysinfo::Networks;

/// Holds the servers of the network that the machine sends by.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// The system writes a few lines.
const MAX_BYTES: usize = 64 * 1024;

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
    let gateway = [IpFamily::V4, IpFamily::V6]
        .into_iter()
        .find_map(|family| routes::default_gateway(&routing_table(family).ok()?));
    Ok(NetworkState {
        interfaces: interfaces.collect(),
        gateway: gateway.map(|address| address.to_string()),
        dns: name_servers(),
    })
}

fn name_servers() -> Vec<String> {
    let mut text = Vec::new();
    let read =
        std::fs::File::open(RESOLV_CONF).and_then(|file| file.take(MAX_BYTES as u64).read_to_end(&mut text));
    match read {
        Ok(_) => super::name_servers_in(&String::from_utf8_lossy(&text)),
        // There is none while there is no network.
        Err(_) => Vec::new(),
    }
}
