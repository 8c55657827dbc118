//! What the machine's makers wrote into it, and what the kernel knows of this start of it.
#![expect(unsafe_code, reason = "the system's calls")]

use crate::os::smbios::{self, Smbios};
use std::fs::OpenOptions;
use std::io;
use std::os::windows::fs::OpenOptionsExt;
use std::os::windows::io::AsRawHandle;
use std::ptr::null_mut;
use windows_sys::Wdk::System::SystemInformation::{NtQuerySystemInformation, SystemTimeOfDayInformation};
use windows_sys::Win32::System::IO::DeviceIoControl;
use windows_sys::Win32::System::Ioctl::{
    IOCTL_STORAGE_QUERY_PROPERTY, PropertyStandardQuery, STORAGE_PROPERTY_QUERY, StorageDeviceProperty,
};
use windows_sys::Win32::System::SystemInformation::{GetSystemFirmwareTable, GetTickCount64, RSMB};

/// Largest table that is read; real ones have a few thousand bytes.
const MAX_TABLE_BYTES: u32 = 1024 * 1024;
/// Disks that are looked at for one with a serial.
const MAX_DISKS: u32 = 16;

/// The SMBIOS tables; everything is absent where there are none.
pub fn smbios() -> Smbios {
    // SAFETY: without a buffer the call only says how large one has to be.
    let size = unsafe { GetSystemFirmwareTable(RSMB, 0, null_mut(), 0) };
    if size == 0 || size > MAX_TABLE_BYTES {
        return Smbios::default();
    }
    let mut table = vec![0; size as usize];
    // SAFETY: the buffer is as large as is said.
    let written = unsafe { GetSystemFirmwareTable(RSMB, 0, table.as_mut_ptr(), size) };
    table.get(..written as usize).map(smbios::parse_raw).unwrap_or_default()
}

/// The serial of the first fixed disk that has one.
pub fn disk_serial(is_told: impl Fn(&str) -> bool) -> Option<String> {
    (0..MAX_DISKS).find_map(|number| {
        let descriptor = storage_descriptor(&format!(r"\\.\PhysicalDrive{number}")).ok()?;
        fixed_disk_serial(&descriptor).filter(|serial| is_told(serial))
    })
}

/// A `STORAGE_DEVICE_DESCRIPTOR` with its strings.
fn storage_descriptor(disk: &str) -> io::Result<Vec<u8>> {
    // What a disk is may be asked without the right to read it.
    let disk = OpenOptions::new().access_mode(0).open(disk)?;
    let query = STORAGE_PROPERTY_QUERY {
        PropertyId: StorageDeviceProperty,
        QueryType: PropertyStandardQuery,
        AdditionalParameters: [0],
    };
    let (mut descriptor, mut length) = (vec![0u8; 4096], 0);
    // SAFETY: both buffers are as large as is said and live until the call returns; it does not return before it is done.
    let answered = unsafe {
        DeviceIoControl(
            disk.as_raw_handle(),
            IOCTL_STORAGE_QUERY_PROPERTY,
            std::ptr::from_ref(&query).cast(),
            size_of_val(&query) as u32,
            descriptor.as_mut_ptr().cast(),
            descriptor.len() as u32,
            &mut length,
            null_mut(),
        )
    };
    if answered == 0 {
        return Err(io::Error::last_os_error());
    }
    descriptor.truncate(length as usize);
    Ok(descriptor)
}

/// Byte 10 says whether the medium can be taken out, bytes 24 to 27 where the serial stands; 0 where there is none.
fn fixed_disk_serial(descriptor: &[u8]) -> Option<String> {
    let is_fixed = *descriptor.get(10)? == 0;
    let at = u32::from_le_bytes(descriptor.get(24..28)?.try_into().ok()?) as usize;
    let serial = descriptor.get(at..).filter(|_| is_fixed && at != 0)?;
    let serial = serial.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(serial).trim().to_owned()).filter(|serial| !serial.is_empty())
}

/// `SYSTEM_TIMEOFDAY_INFORMATION`, in 100 ns. Setting the clock moves the first by as much as it moves the second.
struct BootTime {
    boot_time: i64,
    bias: i64,
}

fn boot() -> Option<BootTime> {
    let mut information = [0u8; 48];
    let mut length = 0;
    // SAFETY: the buffer is as large as is said.
    let status = unsafe {
        NtQuerySystemInformation(
            SystemTimeOfDayInformation,
            information.as_mut_ptr().cast(),
            information.len() as u32,
            &mut length,
        )
    };
    let number = |at: usize| Some(i64::from_le_bytes(information.get(at..at + 8)?.try_into().ok()?));
    let boot_time = number(0).filter(|time| status >= 0 && *time > 0)?;
    Some(BootTime { boot_time, bias: number(32)? })
}

/// When the machine started, as its clock showed it then, in 100 ns: the same whenever it is asked during one boot.
pub fn boot_id() -> Option<i64> {
    boot().map(|boot| boot.boot_time - boot.bias)
}

/// When the machine started, by today's clock.
pub fn boot_time() -> Option<chrono::DateTime<chrono::Utc>> {
    boot().and_then(|boot| super::time(boot.boot_time))
}

/// Seconds since the machine started, those asleep included.
pub fn uptime_seconds() -> u64 {
    // SAFETY: takes nothing and cannot fail.
    unsafe { GetTickCount64() / 1000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_is_the_same_whenever_it_is_asked_for() {
        assert!(boot_id().is_some());
        assert_eq!(boot_id(), boot_id());
        assert!(boot_time().is_some_and(|time| time < chrono::Utc::now()));
    }

    #[test]
    fn only_a_fixed_disk_has_a_serial_that_counts() {
        let descriptor = |removable, at: u32| {
            let mut bytes = vec![0u8; 40];
            bytes[10] = removable;
            bytes[24..28].copy_from_slice(&at.to_le_bytes());
            bytes.extend(b"  DISK-9 \0rest");
            bytes
        };
        assert_eq!(fixed_disk_serial(&descriptor(0, 40)).as_deref(), Some("DISK-9"));
        assert_eq!(fixed_disk_serial(&descriptor(1, 40)), None);
        assert_eq!(fixed_disk_serial(&descriptor(0, 0)), None);
        assert_eq!(fixed_disk_serial(&descriptor(0, 4000)), None);
        assert_eq!(fixed_disk_serial(&[0; 12]), None);
    }
}
