//! macOS' routing table as its kernel hands it out (`net/route.h`): messages of a fixed part and up to eight addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// `sizeof(struct rt_msghdr)`, on both processors.
const HEADER: usize = 92;
const RTF_UP: u32 = 0x1;
const RTF_GATEWAY: u32 = 0x2;
/// A route for those who ask for one interface by name: not where the machine sends by itself.
const RTF_IFSCOPE: u32 = 0x0100_0000;
/// What stands behind the fixed part, in this order.
const DESTINATION: usize = 0;
const GATEWAY: usize = 1;
const NETMASK: usize = 2;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 30;

/// The gateway of the default route, if there is one. Routes that lead into an interface without a gateway have none.
pub(super) fn default_gateway(dump: &[u8]) -> Option<IpAddr> {
    let mut rest = dump;
    while let Some(length) = short(rest, 0).map(usize::from).filter(|length| *length >= HEADER) {
        let (message, behind) = rest.split_at_checked(length)?;
        if let Some(gateway) = gateway_of(message) {
            return Some(gateway);
        }
        rest = behind;
    }
    None
}

fn gateway_of(message: &[u8]) -> Option<IpAddr> {
    let flags = word(message, 8)?;
    if flags & RTF_UP == 0 || flags & RTF_GATEWAY == 0 || flags & RTF_IFSCOPE != 0 {
        return None;
    }
    let present = word(message, 12)?;
    let mut addresses: [&[u8]; 3] = [&[]; 3];
    let mut rest = message.get(HEADER..)?;
    for (bit, place) in addresses.iter_mut().enumerate() {
        if present & (1 << bit) == 0 {
            continue;
        }
        // The first byte is the length; the next one begins at a multiple of four. None at all takes four, too.
        let length = usize::from(*rest.first()?);
        *place = rest.get(..length)?;
        rest = rest.get(length.max(1).next_multiple_of(4)..).unwrap_or_default();
    }
    let is_default = is_zero(addresses[DESTINATION]) && is_zero(addresses[NETMASK]);
    is_default.then(|| ip(addresses[GATEWAY])).flatten()
}

/// Nothing but length and family is set: the address of the default route, and its mask, whose end may be missing.
fn is_zero(address: &[u8]) -> bool {
    address.iter().skip(2).all(|byte| *byte == 0)
}

/// An address of `sockaddr_in` or `sockaddr_in6`. The kernel writes a link-local one's interface into its second group.
fn ip(address: &[u8]) -> Option<IpAddr> {
    match *address.get(1)? {
        AF_INET => {
            let octets: [u8; 4] = address.get(4..8)?.try_into().ok()?;
            Some(IpAddr::V4(Ipv4Addr::from(octets)))
        }
        AF_INET6 => {
            let mut octets: [u8; 16] = address.get(8..24)?.try_into().ok()?;
            if Ipv6Addr::from(octets).is_unicast_link_local() {
                octets[2..4].fill(0);
            }
            Some(IpAddr::V6(Ipv6Addr::from(octets)))
        }
        _ => None,
    }
    .filter(|address| !address.is_unspecified())
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const INTERFACE: &[u8] = &[20, 18, 6, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn v4(address: [u8; 4]) -> Vec<u8> {
        let mut bytes = vec![16, AF_INET, 0, 0];
        bytes.extend(address);
        bytes.resize(16, 0);
        bytes
    }

    fn v6(address: &str) -> Vec<u8> {
        let mut bytes = vec![28, AF_INET6, 0, 0, 0, 0, 0, 0];
        bytes.extend(address.parse::<Ipv6Addr>().unwrap().octets());
        bytes.resize(28, 0);
        bytes
    }

    /// A message as `sysctl` hands it out.
    fn route(flags: u32, addresses: &[&[u8]]) -> Vec<u8> {
        let behind: Vec<u8> = addresses
            .iter()
            .flat_map(|address| {
                let mut padded = address.to_vec();
                padded.resize(address.len().max(1).next_multiple_of(4), 0);
                padded
            })
            .collect();
        let mut message = vec![0u8; HEADER];
        message[..2].copy_from_slice(&((HEADER + behind.len()) as u16).to_le_bytes());
        message[2..4].copy_from_slice(&[5, 4]);
        message[8..12].copy_from_slice(&flags.to_le_bytes());
        let present = (1u32 << addresses.len()) - 1;
        message[12..16].copy_from_slice(&present.to_le_bytes());
        message.extend(behind);
        message
    }

    const UP: u32 = RTF_UP | RTF_GATEWAY | 0x800;

    #[test]
    fn the_default_routes_gateway_is_found_among_the_others() {
        let default = v4([0; 4]);
        let dump = [
            route(UP, &[&v4([192, 0, 2, 0]), &v4([192, 0, 2, 9]), &[5, 0, 0, 0, 255]]),
            route(RTF_UP, &[&default, INTERFACE, &[]]),
            route(UP | RTF_IFSCOPE, &[&default, &v4([198, 51, 100, 1]), &[]]),
            route(UP, &[&default, &v4([192, 0, 2, 1]), &[]]),
            route(UP, &[&default, &v4([192, 0, 2, 2]), &[]]),
        ];
        assert_eq!(default_gateway(&dump.concat()), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(default_gateway(&dump[..3].concat()), None);
        assert_eq!(default_gateway(&[]), None);
    }

    #[test]
    fn half_the_address_space_is_no_default_route() {
        let half = route(UP, &[&v4([0; 4]), &v4([192, 0, 2, 1]), &[5, 0, 0, 0, 128]]);
        assert_eq!(default_gateway(&half), None);
    }

    #[test]
    fn a_link_local_gateway_has_no_interface_in_it() {
        let default = route(UP, &[&v6("::"), &v6("fe80:6::1"), &[]]);
        assert_eq!(default_gateway(&default), Some("fe80::1".parse().unwrap()));
        let global = route(UP, &[&v6("::"), &v6("2001:db8::1"), &[2, 30]]);
        assert_eq!(default_gateway(&global), Some("2001:db8::1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn no_table_makes_it_panic(
            dump in any::<Vec<u8>>(), at in 0usize..200, byte in any::<u8>(), end in 0usize..200
        ) {
            default_gateway(&dump);
            let mut damaged = route(UP, &[&v4([0; 4]), &v4([192, 0, 2, 1]), &[]]);
            let length = damaged.len();
            damaged[at % length] = byte;
            default_gateway(&damaged);
            damaged.truncate(end);
            default_gateway(&damaged);
        }
    }
}
