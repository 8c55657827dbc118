//! The machine's network state: interfaces with their subnets, gateway, name servers.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(not(any(target_os = "linux", windows)))]
mod portable;
#[cfg(any(target_os = "macos", test))]
mod routes;
#[cfg(not(any(target_os = "linux", windows)))]
use portable as platform;

use gururmm_protocol::network::{Interface, NetworkState};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// Reads the network state. Two readings of an unchanged machine are equal.
pub fn read() -> std::io::Result<NetworkState> {
    let mut state = platform::read()?;
    state.interfaces.retain(is_worth_reporting);
    state.interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    state.clean();
    Ok(state)
}

/// Containers come and go with virtual interfaces that have no address of their own.
fn is_worth_reporting(interface: &Interface) -> bool {
    !interface.subnets.is_empty() || (!interface.mac.is_empty() && !interface.name.starts_with("veth"))
}

/// An interface with its addresses in order and the subnets they stand in. Link-local subnets say nothing.
fn interface(name: String, mac: String, up: bool, addresses: Vec<IpNet>) -> Interface {
    let addresses: BTreeSet<IpNet> = addresses.into_iter().collect();
    let texts =
        |is_wanted: fn(&&IpNet) -> bool| addresses.iter().filter(is_wanted).map(IpNet::to_string).collect();
    let subnets: BTreeSet<IpNet> =
        addresses.iter().filter(|net| !is_link_local(net.addr())).map(IpNet::trunc).collect();
    Interface {
        ipv4: texts(|net| net.addr().is_ipv4()),
        ipv6: texts(|net| net.addr().is_ipv6()),
        subnets: subnets.iter().map(IpNet::to_string).collect(),
        name,
        mac,
        up,
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

/// The name servers of a `resolv.conf`, in order.
#[cfg(unix)]
fn name_servers_in(resolv_conf: &str) -> Vec<String> {
    let lines = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|rest| rest.split_ascii_whitespace().next()).map(str::to_owned).collect()
}

/// Hardware addresses of the machine, for enrollment.
pub fn mac_addresses(state: &NetworkState) -> Vec<String> {
    let macs = state.interfaces.iter().map(|interface| interface.mac.clone());
    macs.filter(|mac| !mac.is_empty()).collect::<BTreeSet<_>>().into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_derived_and_link_local_ones_left_out() {
        let nets = ["192.0.2.7/24", "192.0.2.9/24", "2001:db8::7/64", "fe80::1/64", "169.254.3.4/16"];
        let addresses = nets.iter().map(|net| net.parse().unwrap()).collect();
        let interface = interface("eth0".into(), "02:00:00:00:00:01".into(), true, addresses);
        assert_eq!(interface.subnets, ["192.0.2.0/24", "2001:db8::/64"]);
        assert_eq!(interface.ipv4, ["169.254.3.4/16", "192.0.2.7/24", "192.0.2.9/24"]);
        assert_eq!(interface.ipv6, ["2001:db8::7/64", "fe80::1/64"]);
    }

    #[cfg(unix)]
    #[test]
    fn name_servers_come_in_order() {
        let text = "# comment\nsearch example.com\nnameserver 192.0.2.53\n nameserver\t2001:db8::53 # x\nnameserver\n";
        assert_eq!(name_servers_in(text), ["192.0.2.53", "2001:db8::53"]);
    }

    /// As macOS writes it.
    #[cfg(unix)]
    #[test]
    fn the_comment_above_name_servers_is_none_of_them() {
        let text = "#\n# macOS Notice\n#\n# This file is not consulted for DNS hostname resolution, address\n\
                    # resolution, or the DNS query routing mechanism used by most\n# processes on this system.\n#\n\
                    search example.com\nnameserver 192.0.2.1\nnameserver fe80::1%en0\n";
        assert_eq!(name_servers_in(text), ["192.0.2.1", "fe80::1%en0"]);
    }

    #[test]
    fn two_readings_of_this_machine_are_equal() {
        assert_eq!(read().unwrap(), read().unwrap());
    }
}
