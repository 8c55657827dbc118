//! Network adapters with their addresses, gateways and name servers.
#![expect(unsafe_code, reason = "the system hands out lists of C structures")]

use super::wide;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr::{NonNull, null};
use windows_sys::Win32::Foundation::{ERROR_BUFFER_OVERFLOW, ERROR_NO_DATA, ERROR_SUCCESS};
use windows_sys::Win32::NetworkManagement::IpHelper::{
    GAA_FLAG_INCLUDE_GATEWAYS, GAA_FLAG_SKIP_ANYCAST, GAA_FLAG_SKIP_MULTICAST, GetAdaptersAddresses,
    IP_ADAPTER_ADDRESSES_LH,
};
use windows_sys::Win32::NetworkManagement::Ndis::IfOperStatusUp;
use windows_sys::Win32::Networking::WinSock::{
    AF_INET, AF_INET6, AF_UNSPEC, SOCKADDR_IN, SOCKADDR_IN6, SOCKET_ADDRESS,
};

/// `IF_TYPE_SOFTWARE_LOOPBACK`.
const LOOPBACK: u32 = 24;
/// Largest list that is taken.
const MAX_BYTES: u32 = 4 * 1024 * 1024;
/// Entries of one list that are looked at.
const MAX_ENTRIES: usize = 1024;

/// One adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// As people see it: `Ethernet 2`.
    pub name: String,
    /// Empty for one that has none.
    pub mac: String,
    /// Whether it passes traffic.
    pub up: bool,
    /// With the lengths of their prefixes.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Of both families, the ones of version 4 with the metric that says which adapter is used first.
    pub gateways: Vec<(u32, IpAddr)>,
    /// In the order they are asked.
    pub dns: Vec<IpAddr>,
}

/// All adapters but the one to the machine itself.
pub fn read() -> io::Result<Vec<Adapter>> {
    let flags = GAA_FLAG_INCLUDE_GATEWAYS | GAA_FLAG_SKIP_ANYCAST | GAA_FLAG_SKIP_MULTICAST;
    let mut size = 32 * 1024u32;
    loop {
        // Of words, so that the structures are aligned.
        let mut buffer = vec![0u64; size.div_ceil(8) as usize];
        let first: *mut IP_ADAPTER_ADDRESSES_LH = buffer.as_mut_ptr().cast();
        // SAFETY: the buffer is at least as large as is said.
        let status = unsafe { GetAdaptersAddresses(AF_UNSPEC.into(), flags, null(), first, &mut size) };
        return match status {
            // SAFETY: the call filled in a list that begins at `first` and stands in the buffer.
            ERROR_SUCCESS => Ok(unsafe { list(first, |adapter| adapter.Next) }
                .filter(|adapter| adapter.IfType != LOOPBACK)
                .map(|adapter| describe(adapter))
                .collect()),
            ERROR_NO_DATA => Ok(Vec::new()),
            // It says how large it has to be.
            ERROR_BUFFER_OVERFLOW if size <= MAX_BYTES => continue,
            other => Err(io::Error::from_raw_os_error(other as i32)),
        };
    }
}

fn describe(adapter: &IP_ADAPTER_ADDRESSES_LH) -> Adapter {
    let mac = adapter.PhysicalAddress.get(..adapter.PhysicalAddressLength as usize).unwrap_or_default();
    let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
    // SAFETY: the lists and texts of an adapter stand in the same buffer, which lives as long as `adapter`.
    unsafe {
        Adapter {
            name: wide::text_at(adapter.FriendlyName),
            mac: mac.join(":"),
            up: adapter.OperStatus == IfOperStatusUp,
            addresses: list(adapter.FirstUnicastAddress, |entry| entry.Next)
                .filter_map(|entry| Some((address(&entry.Address)?, entry.OnLinkPrefixLength)))
                .collect(),
            gateways: list(adapter.FirstGatewayAddress, |entry| entry.Next)
                .filter_map(|entry| address(&entry.Address))
                .map(|address| {
                    (if address.is_ipv4() { adapter.Ipv4Metric } else { adapter.Ipv6Metric }, address)
                })
                .collect(),
            dns: list(adapter.FirstDnsServerAddress, |entry| entry.Next)
                .filter_map(|entry| address(&entry.Address))
                .collect(),
        }
    }
}

/// The entries of a C list.
///
/// # Safety
/// `first` is null or points to a whole entry, as does every entry's `next`, for as long as the entries are used.
unsafe fn list<'a, T: 'a>(first: *const T, next: impl Fn(&T) -> *mut T) -> impl Iterator<Item = &'a T> {
    // SAFETY: by this function's contract.
    let at = |pointer: *const T| NonNull::new(pointer.cast_mut()).map(|entry| unsafe { entry.as_ref() });
    std::iter::successors(at(first), move |entry| at(next(entry))).take(MAX_ENTRIES)
}

/// An address of either family.
///
/// # Safety
/// The structure's pointer is null or points to as many bytes as it says.
unsafe fn address(address: &SOCKET_ADDRESS) -> Option<IpAddr> {
    let (pointer, length) = (address.lpSockaddr, usize::try_from(address.iSockaddrLength).ok()?);
    if pointer.is_null() || length < size_of::<SOCKADDR_IN>() {
        return None;
    }
    // SAFETY: by this function's contract; the family says which structure it is, and the length that it is whole.
    unsafe {
        match (*pointer).sa_family {
            AF_INET => {
                let address = pointer.cast::<SOCKADDR_IN>().read_unaligned();
                Some(Ipv4Addr::from(address.sin_addr.S_un.S_addr.to_ne_bytes()).into())
            }
            AF_INET6 if length >= size_of::<SOCKADDR_IN6>() => {
                let address = pointer.cast::<SOCKADDR_IN6>().read_unaligned();
                Some(Ipv6Addr::from(address.sin6_addr.u.Byte).into())
            }
            _ => None,
        }
    }
}
