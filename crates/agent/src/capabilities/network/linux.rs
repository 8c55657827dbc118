//! Interfaces from `getifaddrs`, routes from `/proc/net`, name servers from `resolv.conf`.

use crate::os::linux_files::read_trimmed;
use gururmm_protocol::network::NetworkState;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::net::if_::InterfaceFlags;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) fn read() -> io::Result<NetworkState> {
    #[derive(Default)]
    struct Found {
        mac: String,
        up: bool,
        addresses: Vec<IpNet>,
    }
    let mut found: BTreeMap<String, Found> = BTreeMap::new();
    for entry in getifaddrs()? {
        if entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) {
            continue;
        }
        let address = address(&entry);
        let mac = mac(&entry);
        let interface = found.entry(entry.interface_name).or_default();
        interface.up = entry.flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING);
        interface.addresses.extend(address);
        interface.mac = mac.unwrap_or(std::mem::take(&mut interface.mac));
    }
    let interfaces =
        found.into_iter().map(|(name, found)| super::interface(name, found.mac, found.up, found.addresses));
    let gateway = read_trimmed("/proc/net/route")
        .and_then(|text| gateway_v4(&text).map(IpAddr::V4))
        .or_else(|| read_trimmed("/proc/net/ipv6_route").and_then(|text| gateway_v6(&text).map(IpAddr::V6)));
    Ok(NetworkState {
        interfaces: interfaces.collect(),
        gateway: gateway.map(|address| address.to_string()),
        dns: name_servers(),
    })
}

fn address(entry: &InterfaceAddress) -> Option<IpNet> {
    let (address, mask) = (entry.address.as_ref()?, entry.netmask.as_ref()?);
    if let (Some(address), Some(mask)) = (address.as_sockaddr_in(), mask.as_sockaddr_in()) {
        return Ipv4Net::with_netmask(address.ip(), mask.ip()).ok().map(IpNet::V4);
    }
    let (address, mask) = (address.as_sockaddr_in6()?, mask.as_sockaddr_in6()?);
    Ipv6Net::with_netmask(address.ip(), mask.ip()).ok().map(IpNet::V6)
}

fn mac(entry: &InterfaceAddress) -> Option<String> {
    let bytes = entry.address.as_ref()?.as_link_addr()?.addr()?;
    let is_set = bytes.iter().any(|byte| *byte != 0);
    is_set.then(|| bytes.map(|byte| format!("{byte:02x}")).join(":"))
}

/// `Iface Destination Gateway …` in hex, in the machine's byte order; the default route's destination is zero.
fn gateway_v4(text: &str) -> Option<Ipv4Addr> {
    let routes = text.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let hex = |at: usize| u32::from_str_radix(fields.get(at)?, 16).ok();
        let metric: u32 = fields.get(6)?.parse().ok()?;
        let gateway = hex(2)?;
        (hex(1)? == 0 && hex(7)? == 0 && gateway != 0)
            .then_some((metric, Ipv4Addr::from(gateway.to_ne_bytes())))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

/// `destination length source length next-hop metric …` in hex.
fn gateway_v6(text: &str) -> Option<Ipv6Addr> {
    let routes = text.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let hex = |at: usize| u128::from_str_radix(fields.get(at)?, 16).ok();
        let gateway = hex(4)?;
        (hex(0)? == 0 && hex(1)? == 0 && gateway != 0).then_some((hex(5)?, Ipv6Addr::from(gateway)))
    });
    routes.min_by_key(|(metric, _)| *metric).map(|(_, gateway)| gateway)
}

/// Behind systemd's local stub stand the real ones, in a file of its own.
fn name_servers() -> Vec<String> {
    let servers = super::name_servers_in(&read_trimmed("/etc/resolv.conf").unwrap_or_default());
    if servers.iter().all(|server| server == "127.0.0.53")
        && let Some(text) = read_trimmed("/run/systemd/resolve/resolv.conf")
    {
        return super::name_servers_in(&text);
    }
    servers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn the_default_route_with_the_lowest_metric_is_the_gateway() {
        let text = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                    wlan0\t00000000\t010200C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n\
                    eth0\t00000000\tFE0200C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n\
                    eth0\t000200C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\nshort\n";
        assert_eq!(gateway_v4(text), Some(Ipv4Addr::new(192, 0, 2, 254)));
        assert_eq!(gateway_v4(""), None);
    }

    #[test]
    fn an_ipv6_gateway_is_found() {
        let line = "00000000000000000000000000000000 00 00000000000000000000000000000000 00 \
                    fe800000000000000000000000000001 00000400 00000001 00000000 00000003 eth0";
        assert_eq!(gateway_v6(line), Some("fe80::1".parse().unwrap()));
    }
}
