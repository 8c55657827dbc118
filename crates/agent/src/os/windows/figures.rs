//! What the kernel counts: processors' time, memory, disks' space, bytes on the network.
#![expect(unsafe_code, reason = "the system's calls")]

use super::wide::{self, wide};
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, FILETIME};
use windows_sys::Win32::NetworkManagement::IpHelper::{FreeMibTable, GetIfTable2, MIB_IF_TABLE2};
use windows_sys::Win32::Storage::FileSystem::{
    GetDiskFreeSpaceExW, GetDriveTypeW, GetLogicalDriveStringsW, GetVolumeInformationW,
};
use windows_sys::Win32::System::ProcessStatus::{GetPerformanceInfo, PERFORMANCE_INFORMATION};
use windows_sys::Win32::System::SystemInformation::{
    GetNativeSystemInfo, GlobalMemoryStatusEx, MEMORYSTATUSEX, SYSTEM_INFO,
};
use windows_sys::Win32::System::Threading::{ALL_PROCESSOR_GROUPS, GetActiveProcessorCount, GetSystemTimes};

/// `GetDriveTypeW` of a disk that stays in the machine.
const DRIVE_FIXED: u32 = 3;
/// The first bit of an interface's flags: it is hardware.
const IS_HARDWARE: u8 = 1;

/// Time all processors together spent since the machine started, in 100 ns.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// With work.
    pub busy: u64,
    /// In all.
    pub total: u64,
}

/// Reads the processors' time.
pub fn cpu_times() -> Option<CpuTimes> {
    let (mut idle, mut kernel, mut user) = (FILETIME::default(), FILETIME::default(), FILETIME::default());
    // SAFETY: three structures of this function's own.
    if unsafe { GetSystemTimes(&mut idle, &mut kernel, &mut user) } == 0 {
        return None;
    }
    let number = |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    // The kernel's time contains the idle time.
    let total = number(kernel).saturating_add(number(user));
    Some(CpuTimes { busy: total.saturating_sub(number(idle)), total })
}

/// Logical processors of the whole machine.
pub fn cpu_count() -> u32 {
    // SAFETY: takes a number.
    let count = unsafe { GetActiveProcessorCount(ALL_PROCESSOR_GROUPS) };
    if count > 0 {
        return count;
    }
    let mut info = SYSTEM_INFO::default();
    // SAFETY: a structure of this function's own.
    unsafe { GetNativeSystemInfo(&mut info) };
    info.dwNumberOfProcessors
}

/// Memory, and what stands in for it on disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Built in.
    pub total_bytes: u64,
    /// Of that, not available to programs.
    pub used_bytes: u64,
    /// Size of the page files.
    pub swap_total_bytes: u64,
    /// What programs were promised beyond the memory that is built in.
    pub swap_used_bytes: u64,
}

/// Reads the memory's figures.
pub fn memory() -> Option<Memory> {
    let mut status =
        MEMORYSTATUSEX { dwLength: size_of::<MEMORYSTATUSEX>() as u32, ..MEMORYSTATUSEX::default() };
    // SAFETY: the structure says how large it is.
    if unsafe { GlobalMemoryStatusEx(&mut status) } == 0 {
        return None;
    }
    let mut pages = PERFORMANCE_INFORMATION::default();
    // SAFETY: the structure is as large as is said.
    let has_pages =
        unsafe { GetPerformanceInfo(&mut pages, size_of::<PERFORMANCE_INFORMATION>() as u32) } != 0;
    let beyond = |count: usize| {
        let pages_beyond = count.saturating_sub(pages.PhysicalTotal) as u64;
        if has_pages { pages_beyond.saturating_mul(pages.PageSize as u64) } else { 0 }
    };
    Some(Memory {
        total_bytes: status.ullTotalPhys,
        used_bytes: status.ullTotalPhys.saturating_sub(status.ullAvailPhys),
        swap_total_bytes: beyond(pages.CommitLimit),
        swap_used_bytes: beyond(pages.CommitTotal),
    })
}

/// A volume with a letter, on a disk that stays in the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// `C:\`.
    pub root: String,
    /// What its owner called it.
    pub label: String,
    /// `NTFS`.
    pub file_system: String,
    /// Its size.
    pub total_bytes: u64,
    /// What is left.
    pub free_bytes: u64,
}

/// All volumes with a letter. Network drives and what can be taken out are left out: asking them may take minutes.
pub fn volumes() -> Vec<Volume> {
    let mut letters = [0u16; 26 * 4 + 1];
    // SAFETY: the buffer is as long as is said; the last unit stays for the end.
    let length = unsafe { GetLogicalDriveStringsW(letters.len() as u32 - 1, letters.as_mut_ptr()) } as usize;
    let roots = letters.get(..length).unwrap_or_default().split(|unit| *unit == 0);
    roots.filter(|root| !root.is_empty()).filter_map(|root| volume(&wide::text(root))).collect()
}

fn volume(root: &str) -> Option<Volume> {
    let path = wide(root);
    // SAFETY: the path ends with a NUL.
    if unsafe { GetDriveTypeW(path.as_ptr()) } != DRIVE_FIXED {
        return None;
    }
    let (mut label, mut file_system) = ([0u16; 261], [0u16; 261]);
    let (mut total_bytes, mut free_bytes) = (0, 0);
    // SAFETY: the path ends with a NUL, the buffers are as long as is said; what is not wanted is null.
    let is_read = unsafe {
        GetVolumeInformationW(
            path.as_ptr(),
            label.as_mut_ptr(),
            label.len() as u32,
            null_mut(),
            null_mut(),
            null_mut(),
            file_system.as_mut_ptr(),
            file_system.len() as u32,
        ) != 0
            && GetDiskFreeSpaceExW(path.as_ptr(), null_mut(), &mut total_bytes, &mut free_bytes) != 0
    };
    is_read.then(|| Volume {
        root: root.to_owned(),
        label: wide::text(&label),
        file_system: wide::text(&file_system),
        total_bytes,
        free_bytes,
    })
}

/// Bytes since the machine started over all of its own network interfaces.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// In.
    pub received: u64,
    /// Out.
    pub sent: u64,
}

/// Reads the interfaces' counters. Filters and virtual switches count the same bytes again and are left out.
pub fn traffic() -> Option<Traffic> {
    let mut table: *mut MIB_IF_TABLE2 = null_mut();
    // SAFETY: on success the table is the caller's to free.
    if unsafe { GetIfTable2(&mut table) } != ERROR_SUCCESS {
        return None;
    }
    let mut traffic = Traffic::default();
    // SAFETY: the table holds as many rows as it says, and is freed once, after they were read.
    unsafe {
        let rows =
            std::slice::from_raw_parts((&raw const (*table).Table).cast(), (*table).NumEntries as usize);
        for row in rows {
            let row: &windows_sys::Win32::NetworkManagement::IpHelper::MIB_IF_ROW2 = row;
            if row.InterfaceAndOperStatusFlags._bitfield & IS_HARDWARE != 0 {
                traffic.received = traffic.received.saturating_add(row.InOctets);
                traffic.sent = traffic.sent.saturating_add(row.OutOctets);
            }
        }
        FreeMibTable(table.cast());
    }
    Some(traffic)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_processors_memory_and_a_disk() {
        let (before, now) = (cpu_times().unwrap(), cpu_times().unwrap());
        assert!(now.total >= before.total && now.busy <= now.total, "{before:?} {now:?}");
        assert!(cpu_count() > 0);
        let memory = memory().unwrap();
        assert!(memory.used_bytes > 0 && memory.used_bytes <= memory.total_bytes, "{memory:?}");
        assert!(traffic().is_some());
        let volumes = volumes();
        let system = volumes.iter().find(|volume| volume.root == r"C:\").unwrap();
        assert!(system.total_bytes > 0 && system.free_bytes <= system.total_bytes, "{system:?}");
    }
}
