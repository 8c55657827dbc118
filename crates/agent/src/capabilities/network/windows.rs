//! From the list of adapters.

use crate::os::adapters;
use gururmm_protocol::network::NetworkState;
use ipnet::IpNet;
use std::io;
use std::net::IpAddr;

pub(super) fn read() -> io::Result<NetworkState> {
    let adapters = adapters::read()?;
    let in_use = || adapters.iter().filter(|adapter| adapter.up);
    // Version 4 first, then the adapter that the system prefers.
    let gateway = in_use()
        .flat_map(|adapter| &adapter.gateways)
        .filter(|(_, address)| !address.is_unspecified())
        .min_by_key(|(metric, address)| (address.is_ipv6(), *metric))
        .map(|(_, address)| address.to_string());
    let mut dns: Vec<String> = Vec::new();
    for address in in_use().flat_map(|adapter| &adapter.dns).filter(|address| !is_placeholder(**address)) {
        let address = address.to_string();
        if !dns.contains(&address) {
            dns.push(address);
        }
    }
    let interfaces = adapters.into_iter().map(|adapter| {
        let networks = adapter.addresses.iter();
        let addresses = networks.filter_map(|(address, prefix)| IpNet::new(*address, *prefix).ok()).collect();
        super::interface(adapter.name, adapter.mac, adapter.up, addresses)
    });
    Ok(NetworkState { interfaces: interfaces.collect(), gateway, dns })
}

/// `fec0:0:0:ffff::1` to `::3`: what Windows shows of version 6 where no name server is set.
fn is_placeholder(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[..4] == [0xfec0, 0, 0, 0xffff])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_that_nobody_set_are_left_out() {
        assert!(is_placeholder("fec0:0:0:ffff::1".parse().unwrap()));
        assert!(!is_placeholder("2001:db8::53".parse().unwrap()));
        assert!(!is_placeholder("192.0.2.53".parse().unwrap()));
    }
}
