//! Which addresses are the machine's own in the whole Internet.

use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const fn v4(a: u8, b: u8, c: u8, bits: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, 0), bits)
}

const fn v6(a: u16, b: u16, bits: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(a, b, 0, 0, 0, 0, 0, 0), bits)
}

/// Not globally reachable by IANA's registry of IPv4 special-purpose addresses (RFC 6890), and multicast.
const SPECIAL_V4: [Ipv4Net; 15] = [
    v4(0, 0, 0, 8),
    v4(10, 0, 0, 8),
    v4(100, 64, 0, 10),
    v4(127, 0, 0, 8),
    v4(169, 254, 0, 16),
    v4(172, 16, 0, 12),
    v4(192, 0, 0, 24),
    v4(192, 0, 2, 24),
    v4(192, 88, 99, 24),
    v4(192, 168, 0, 16),
    v4(198, 18, 0, 15),
    v4(198, 51, 100, 24),
    v4(203, 0, 113, 24),
    v4(224, 0, 0, 4),
    v4(240, 0, 0, 4),
];

/// What is given out of IPv6 (RFC 4291), without what IANA's registry keeps for protocols, transition and examples.
const UNICAST_V6: Ipv6Net = v6(0x2000, 0, 3);
const SPECIAL_V6: [Ipv6Net; 4] =
    [v6(0x2001, 0, 23), v6(0x2001, 0xdb8, 32), v6(0x2002, 0, 16), v6(0x3fff, 0, 20)];

/// The address, when it is one that the whole Internet can tell apart. One of IPv4 is never in IPv6's clothes.
pub(super) fn global(address: IpAddr) -> Option<IpAddr> {
    let address = address.to_canonical();
    let is_global = match &address {
        IpAddr::V4(v4) => !SPECIAL_V4.iter().any(|net| net.contains(v4)),
        IpAddr::V6(v6) => UNICAST_V6.contains(v6) && !SPECIAL_V6.iter().any(|net| net.contains(v6)),
    };
    is_global.then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_whole_internet_are_taken() {
        for good in ["1.1.1.1", "172.15.255.255", "172.32.0.0", "100.128.0.1", "2606:4700::1111", "2a00::1"] {
            let address = good.parse().unwrap();
            assert_eq!(global(address), Some(address), "{good}");
        }
        for special in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.0.2.7",
            "192.168.1.1",
            "198.19.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fd00::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "64:ff9b::1.1.1.1",
            "::ffff:10.0.0.1",
        ] {
            assert_eq!(global(special.parse().unwrap()), None, "{special}");
        }
        assert_eq!(global("::ffff:1.1.1.1".parse().unwrap()), Some("1.1.1.1".parse().unwrap()));
    }
}
