//! The kernel's routing table.
#![expect(unsafe_code, reason = "the system's calls")]

use std::io;
use std::ptr::null_mut;

/// Addresses of which version.
#[derive(Debug, Clone, Copy)]
pub enum IpFamily {
    V4,
    V6,
}

/// Largest table that is read.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// All routes, one message after the other, as `net/route.h` lays them out.
pub fn routing_table(family: IpFamily) -> io::Result<Vec<u8>> {
    let family = match family {
        IpFamily::V4 => libc::AF_INET,
        IpFamily::V6 => libc::AF_INET6,
    };
    let mut name = [libc::CTL_NET, libc::PF_ROUTE, 0, family, libc::NET_RT_DUMP, 0];
    let mut size = 0;
    // SAFETY: the name has as many parts as is said; without a buffer the call only says how large one has to be.
    let asked =
        unsafe { libc::sysctl(name.as_mut_ptr(), name.len() as u32, null_mut(), &mut size, null_mut(), 0) };
    if asked != 0 {
        return Err(io::Error::last_os_error());
    }
    // It may grow before it is read.
    size += size / 8 + 1024;
    if size > MAX_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut table = vec![0u8; size];
    // SAFETY: the buffer is as large as is said.
    let read = unsafe {
        libc::sysctl(
            name.as_mut_ptr(),
            name.len() as u32,
            table.as_mut_ptr().cast(),
            &mut size,
            null_mut(),
            0,
        )
    };
    if read != 0 {
        return Err(io::Error::last_os_error());
    }
    table.truncate(size);
    Ok(table)
}
