//! Files and folders by the handle of the folder that they are in. No path is looked up, and no link is followed.
#![expect(unsafe_code, reason = "the system's calls")]

use super::wide;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::windows::ffi::{OsStrExt, OsStringExt};
use std::os::windows::io::{AsRawHandle, FromRawHandle};
use std::ptr::{null, null_mut};
use windows_sys::Wdk::Foundation::OBJECT_ATTRIBUTES;
use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_NON_DIRECTORY_FILE, FILE_OPEN, FILE_OPEN_FOR_BACKUP_INTENT,
    FILE_OPEN_REPARSE_POINT, FILE_SYNCHRONOUS_IO_NONALERT, NtCreateFile, NtQueryVolumeInformationFile,
    NtSetInformationFile,
};
use windows_sys::Win32::Foundation::{
    ERROR_INVALID_NAME, ERROR_NO_MORE_FILES, HANDLE, NTSTATUS, OBJ_CASE_INSENSITIVE, RtlNtStatusToDosError,
    UNICODE_STRING,
};
use windows_sys::Win32::Security::{
    DACL_SECURITY_INFORMATION, GetKernelObjectSecurity, PSECURITY_DESCRIPTOR, SetKernelObjectSecurity,
};
use windows_sys::Win32::Storage::FileSystem::{
    BY_HANDLE_FILE_INFORMATION, DELETE, FILE_ATTRIBUTE_HIDDEN, FILE_ATTRIBUTE_NORMAL,
    FILE_ATTRIBUTE_NOT_CONTENT_INDEXED, FILE_ATTRIBUTE_READONLY, FILE_ATTRIBUTE_SYSTEM,
    FILE_ATTRIBUTE_TAG_INFO, FILE_BASIC_INFO, FILE_GENERIC_READ, FILE_GENERIC_WRITE, FILE_ID_BOTH_DIR_INFO,
    FILE_LIST_DIRECTORY, FILE_READ_ATTRIBUTES, FILE_SHARE_DELETE, FILE_SHARE_READ, FILE_SHARE_WRITE,
    FILE_TRAVERSE, FILE_WRITE_ATTRIBUTES, FileAttributeTagInfo, FileBasicInfo, FileIdBothDirectoryInfo,
    FileIdBothDirectoryRestartInfo, GetDriveTypeW, GetFileInformationByHandle, GetFileInformationByHandleEx,
    GetLogicalDrives, SYNCHRONIZE, SetFileInformationByHandle, WRITE_DAC,
};
use windows_sys::Win32::System::IO::{DeviceIoControl, IO_STATUS_BLOCK};
use windows_sys::Win32::System::Ioctl::{FSCTL_GET_REPARSE_POINT, FSCTL_SET_REPARSE_POINT};

const SHARE_ALL: u32 = FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE;
/// Reparse points of this bit stand for something else: symbolic links, junctions.
const STANDS_FOR_ANOTHER: u32 = 0x2000_0000;
const FILE_RENAME_INFORMATION_CLASS: i32 = 10;
const FILE_DISPOSITION_INFORMATION_CLASS: i32 = 13;
const FILE_DISPOSITION_INFORMATION_EX_CLASS: i32 = 64;
const FILE_RENAME_INFORMATION_EX_CLASS: i32 = 65;
const FILE_FS_FULL_SIZE_INFORMATION_CLASS: i32 = 7;
/// Largest reparse point there is.
const REPARSE_BYTES: usize = 16 * 1024;

/// What a handle is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum As {
    /// Whatever it is, to be looked at.
    Looked,
    /// Whatever it is, to be renamed or removed.
    Moved,
    /// A folder, which nobody renames meanwhile.
    Folder,
    /// A folder that is not there yet.
    NewFolder,
    /// A file for reading.
    Read,
    /// A file for writing, which nobody else writes.
    Written,
    /// The same, not there yet.
    NewFile,
}

/// Opens what has that name in a folder; the folder itself where the name is empty.
pub fn open(folder: &impl AsRawHandle, name: &OsStr, how: As) -> io::Result<File> {
    const LOOKED: u32 = FILE_READ_ATTRIBUTES | SYNCHRONIZE;
    const ENTERED: u32 = LOOKED | FILE_LIST_DIRECTORY | FILE_TRAVERSE;
    const WRITTEN: u32 = FILE_GENERIC_READ | FILE_GENERIC_WRITE | WRITE_DAC;
    let in_use = FILE_SHARE_READ | FILE_SHARE_WRITE;
    let own = FILE_SHARE_READ | FILE_SHARE_DELETE;
    let (access, share, disposition, options) = match how {
        As::Looked => (LOOKED, SHARE_ALL, FILE_OPEN, 0),
        As::Moved => (LOOKED | DELETE, SHARE_ALL, FILE_OPEN, 0),
        As::Folder => (ENTERED, in_use, FILE_OPEN, FILE_DIRECTORY_FILE),
        As::NewFolder => (ENTERED | FILE_WRITE_ATTRIBUTES, in_use, FILE_CREATE, FILE_DIRECTORY_FILE),
        As::Read => (FILE_GENERIC_READ, SHARE_ALL, FILE_OPEN, FILE_NON_DIRECTORY_FILE),
        As::Written => (WRITTEN, own, FILE_OPEN, FILE_NON_DIRECTORY_FILE),
        As::NewFile => (WRITTEN, own, FILE_CREATE, FILE_NON_DIRECTORY_FILE),
    };
    let units: Vec<u16> = name.encode_wide().collect();
    let is_more_than_a_name =
        |unit: &u16| [u16::from(b'\\'), u16::from(b'/'), u16::from(b':'), 0].contains(unit);
    let bytes = u16::try_from(units.len() * 2).ok().filter(|_| !units.iter().any(is_more_than_a_name));
    let Some(bytes) = bytes else {
        return Err(io::Error::from_raw_os_error(ERROR_INVALID_NAME as i32));
    };
    let name = UNICODE_STRING { Length: bytes, MaximumLength: bytes, Buffer: units.as_ptr().cast_mut() };
    let attributes = OBJECT_ATTRIBUTES {
        Length: size_of::<OBJECT_ATTRIBUTES>() as u32,
        RootDirectory: folder.as_raw_handle(),
        ObjectName: &name,
        Attributes: OBJ_CASE_INSENSITIVE,
        SecurityDescriptor: null(),
        SecurityQualityOfService: null(),
    };
    let mut handle: HANDLE = null_mut();
    // SAFETY: zeros are such a block; name and attributes live until the call returns, which only reads them.
    let status = unsafe {
        let mut block: IO_STATUS_BLOCK = zeroed();
        NtCreateFile(
            &mut handle,
            access,
            &attributes,
            &mut block,
            null(),
            FILE_ATTRIBUTE_NORMAL,
            share,
            disposition,
            options | FILE_OPEN_REPARSE_POINT | FILE_OPEN_FOR_BACKUP_INTENT | FILE_SYNCHRONOUS_IO_NONALERT,
            null(),
            0,
        )
    };
    check(status)?;
    // SAFETY: it was just opened, and belongs to nobody else.
    Ok(unsafe { File::from_raw_handle(handle) })
}

fn check(status: NTSTATUS) -> io::Result<()> {
    if status >= 0 {
        return Ok(());
    }
    // SAFETY: takes a number and gives one.
    Err(io::Error::from_raw_os_error(unsafe { RtlNtStatusToDosError(status) } as i32))
}

/// What the system knows of an opened file.
#[derive(Debug, Clone, Copy)]
pub struct Known {
    pub attributes: u32,
    /// Whether it stands for something else: a symbolic link, a junction.
    pub is_link: bool,
    /// 100 ns since 1601.
    pub modified: u64,
    pub size: u64,
    pub volume: u32,
    pub index: u64,
    pub names: u32,
}

/// What an opened file is.
pub fn known(file: &impl AsRawHandle) -> io::Result<Known> {
    let wide = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    // SAFETY: zeros are such a record, which the call fills in.
    let found = unsafe {
        let mut found: BY_HANDLE_FILE_INFORMATION = zeroed();
        if GetFileInformationByHandle(file.as_raw_handle(), &mut found) == 0 {
            return Err(io::Error::last_os_error());
        }
        found
    };
    const REPARSE_POINT: u32 = windows_sys::Win32::Storage::FileSystem::FILE_ATTRIBUTE_REPARSE_POINT;
    let is_link = found.dwFileAttributes & REPARSE_POINT != 0
        // One that cannot be told counts as a link, which is not followed.
        && tag(file).map_or(true, |tag| tag & STANDS_FOR_ANOTHER != 0);
    Ok(Known {
        attributes: found.dwFileAttributes,
        is_link,
        modified: wide(found.ftLastWriteTime.dwHighDateTime, found.ftLastWriteTime.dwLowDateTime),
        size: wide(found.nFileSizeHigh, found.nFileSizeLow),
        volume: found.dwVolumeSerialNumber,
        index: wide(found.nFileIndexHigh, found.nFileIndexLow),
        names: found.nNumberOfLinks,
    })
}

fn tag(file: &impl AsRawHandle) -> io::Result<u32> {
    // SAFETY: zeros are such a record, and its length is what is said.
    unsafe {
        let mut found: FILE_ATTRIBUTE_TAG_INFO = zeroed();
        let length = size_of::<FILE_ATTRIBUTE_TAG_INFO>() as u32;
        let record = (&raw mut found).cast();
        if GetFileInformationByHandleEx(file.as_raw_handle(), FileAttributeTagInfo, record, length) == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(found.ReparseTag)
    }
}

/// Gives an opened file (by [`As::Moved`]) a name in a folder, in one step.
pub fn rename(file: &File, folder: &impl AsRawHandle, name: &OsStr, replace: bool) -> io::Result<()> {
    const REPLACE: u32 = 1;
    const POSIX: u32 = 2;
    const IGNORE_READONLY: u32 = 0x40;
    if replace && set_name(file, folder, name, REPLACE | POSIX | IGNORE_READONLY, true).is_ok() {
        return Ok(());
    }
    // Older systems do not know that.
    set_name(file, folder, name, u32::from(replace), false)
}

fn set_name(
    file: &File,
    folder: &impl AsRawHandle,
    name: &OsStr,
    flags: u32,
    is_extended: bool,
) -> io::Result<()> {
    // The record: flags, a handle, a length, the name.
    const HANDLE_AT: usize = 8;
    const LENGTH_AT: usize = 16;
    const NAME_AT: usize = 20;
    let units: Vec<u16> = name.encode_wide().collect();
    let name_bytes: Vec<u8> = units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
    let mut record = vec![0_u8; NAME_AT];
    let root = folder.as_raw_handle() as usize as u64;
    let name_length =
        u32::try_from(name_bytes.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
    put(&mut record, 0, &flags.to_le_bytes());
    put(&mut record, HANDLE_AT, &root.to_le_bytes());
    put(&mut record, LENGTH_AT, &name_length.to_le_bytes());
    record.extend_from_slice(&name_bytes);
    let length = record.len().max(24);
    let class = if is_extended { FILE_RENAME_INFORMATION_EX_CLASS } else { FILE_RENAME_INFORMATION_CLASS };
    set(file, &record, length, class)
}

fn put(record: &mut [u8], at: usize, bytes: &[u8]) {
    for (place, byte) in record.iter_mut().skip(at).zip(bytes) {
        *place = *byte;
    }
}

/// Removes an opened file (by [`As::Moved`]), an empty folder, or a link.
pub fn remove(file: &File) -> io::Result<()> {
    const DELETE_POSIX_IGNORE_READONLY: u32 = 1 | 2 | 0x10;
    let flags = DELETE_POSIX_IGNORE_READONLY.to_le_bytes();
    match set(file, &flags, flags.len(), FILE_DISPOSITION_INFORMATION_EX_CLASS) {
        Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
            // Older systems do not know that.
            set(file, &[1], 1, FILE_DISPOSITION_INFORMATION_CLASS)
        }
        removed => removed,
    }
}

fn set(file: &File, record: &[u8], length: usize, class: i32) -> io::Result<()> {
    let mut aligned = vec![0_u64; length.div_ceil(8)];
    for (place, bytes) in aligned.iter_mut().zip(record.chunks(8)) {
        let mut whole = [0; 8];
        put(&mut whole, 0, bytes);
        *place = u64::from_le_bytes(whole);
    }
    // SAFETY: the record is as long as is said, and aligned.
    let status = unsafe {
        let mut block: IO_STATUS_BLOCK = zeroed();
        NtSetInformationFile(file.as_raw_handle(), &mut block, aligned.as_ptr().cast(), length as u32, class)
    };
    check(status)
}

/// The names in a folder, as they come.
#[derive(Debug)]
pub struct Names {
    folder: File,
    has_begun: bool,
    found: std::vec::IntoIter<OsString>,
}

impl Names {
    /// Of a folder that was opened for nothing else.
    pub fn new(folder: File) -> Self {
        Self { folder, has_begun: false, found: Vec::new().into_iter() }
    }

    fn read(&mut self) -> io::Result<bool> {
        const BYTES: usize = 32 * 1024;
        let mut buffer = vec![0_u64; BYTES / 8];
        let class = if self.has_begun { FileIdBothDirectoryInfo } else { FileIdBothDirectoryRestartInfo };
        self.has_begun = true;
        // SAFETY: the buffer is as long as is said, and aligned for what is put into it.
        let read = unsafe {
            GetFileInformationByHandleEx(
                self.folder.as_raw_handle(),
                class,
                buffer.as_mut_ptr().cast(),
                BYTES as u32,
            )
        };
        if read == 0 {
            let error = io::Error::last_os_error();
            let is_end = error.raw_os_error() == Some(ERROR_NO_MORE_FILES as i32);
            return if is_end { Ok(false) } else { Err(error) };
        }
        let bytes: Vec<u8> = buffer.iter().flat_map(|eight| eight.to_le_bytes()).collect();
        let mut names = Vec::new();
        let mut at = 0;
        loop {
            let next = number(&bytes, at + offset_of!(FILE_ID_BOTH_DIR_INFO, NextEntryOffset));
            let length = number(&bytes, at + offset_of!(FILE_ID_BOTH_DIR_INFO, FileNameLength));
            let name_at = at + offset_of!(FILE_ID_BOTH_DIR_INFO, FileName);
            names.push(OsString::from_wide(&units(&bytes, name_at, length)));
            if next == 0 {
                break;
            }
            at += next;
        }
        self.found = names.into_iter();
        Ok(true)
    }
}

impl Iterator for Names {
    type Item = io::Result<OsString>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            for name in self.found.by_ref() {
                if name != "." && name != ".." {
                    return Some(Ok(name));
                }
            }
            match self.read() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

fn number(bytes: &[u8], at: usize) -> usize {
    let found = bytes.get(at..).and_then(|bytes| bytes.first_chunk::<4>());
    found.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
}

fn units(bytes: &[u8], at: usize, length: usize) -> Vec<u16> {
    let bytes = bytes.get(at..at.saturating_add(length)).unwrap_or_default();
    bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit)).collect()
}

/// Where an opened link points to, as it is written there.
pub fn target(file: &File) -> io::Result<OsString> {
    const SYMBOLIC: usize = 0xA000_000C;
    let point = reparse_point(file)?;
    let short = |at: usize| units(&point, at, 2).first().copied().map_or(0, usize::from);
    // After the tag and two lengths: where the name is and where the one for people, then of symbolic links some flags.
    let names_at = if number(&point, 0) == SYMBOLIC { 20 } else { 16 };
    let (substitute, printed) = ((short(8), short(10)), (short(12), short(14)));
    let (at, length) = if printed.1 > 0 { printed } else { substitute };
    let name = OsString::from_wide(&units(&point, names_at + at, length));
    Ok(match name.to_str().and_then(|name| name.strip_prefix(r"\??\")) {
        Some(name) => name.into(),
        None => name,
    })
}

/// What makes an opened file a link, as it is stored.
pub fn reparse_point(file: &File) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0_u8; REPARSE_BYTES];
    let mut length = 0;
    // SAFETY: the buffer is as long as is said.
    let read = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_GET_REPARSE_POINT,
            null(),
            0,
            buffer.as_mut_ptr().cast(),
            REPARSE_BYTES as u32,
            &mut length,
            null_mut(),
        )
    };
    if read == 0 {
        return Err(io::Error::last_os_error());
    }
    buffer.truncate(length as usize);
    Ok(buffer)
}

/// Makes an opened file or folder that is new the same link.
pub fn set_reparse_point(file: &File, point: &[u8]) -> io::Result<()> {
    let mut length = 0;
    // SAFETY: the buffer is as long as is said.
    let set = unsafe {
        DeviceIoControl(
            file.as_raw_handle(),
            FSCTL_SET_REPARSE_POINT,
            point.as_ptr().cast(),
            point.len() as u32,
            null_mut(),
            0,
            &mut length,
            null_mut(),
        )
    };
    if set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Gives `new` the access list and the attributes of `old`.
pub fn keep(old: &File, new: &File) -> io::Result<()> {
    let mut length = 0;
    // SAFETY: without a buffer it only says how long one has to be.
    unsafe {
        GetKernelObjectSecurity(old.as_raw_handle(), DACL_SECURITY_INFORMATION, null_mut(), 0, &mut length);
    }
    let mut buffer = vec![0_u64; (length as usize).div_ceil(8)];
    let descriptor: PSECURITY_DESCRIPTOR = buffer.as_mut_ptr().cast();
    // SAFETY: the buffer is as long as is said, and aligned; the second call only reads it.
    let is_kept = unsafe {
        GetKernelObjectSecurity(
            old.as_raw_handle(),
            DACL_SECURITY_INFORMATION,
            descriptor,
            length,
            &mut length,
        ) != 0
            && SetKernelObjectSecurity(new.as_raw_handle(), DACL_SECURITY_INFORMATION, descriptor) != 0
    };
    if !is_kept {
        return Err(io::Error::last_os_error());
    }
    const KEPT: u32 = FILE_ATTRIBUTE_READONLY
        | FILE_ATTRIBUTE_HIDDEN
        | FILE_ATTRIBUTE_SYSTEM
        | FILE_ATTRIBUTE_NOT_CONTENT_INDEXED;
    let attributes = known(old)?.attributes & KEPT;
    if attributes == 0 {
        return Ok(());
    }
    // SAFETY: zeros are such a record, times of zero stay as they are, and its length is what is said.
    let set = unsafe {
        let mut basic: FILE_BASIC_INFO = zeroed();
        basic.FileAttributes = attributes;
        let length = size_of::<FILE_BASIC_INFO>() as u32;
        SetFileInformationByHandle(new.as_raw_handle(), FileBasicInfo, (&raw const basic).cast(), length)
    };
    if set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Bytes that may still be written to a folder.
pub fn free_bytes(folder: &impl AsRawHandle) -> Option<u64> {
    // All units, those for this account, those that are free; sectors of a unit, bytes of a sector.
    let mut found = [0_u64; 4];
    // SAFETY: the record is as long as is said, and aligned.
    let status = unsafe {
        let mut block: IO_STATUS_BLOCK = zeroed();
        let (record, length) = (found.as_mut_ptr().cast(), size_of_val(&found) as u32);
        let class = FILE_FS_FULL_SIZE_INFORMATION_CLASS;
        NtQueryVolumeInformationFile(folder.as_raw_handle(), &mut block, record, length, class)
    };
    let [_, units, _, sizes] = found;
    let unit = (sizes & 0xFFFF_FFFF).checked_mul(sizes >> 32)?;
    if status >= 0 { units.checked_mul(unit) } else { None }
}

/// The letters of disks that are in this machine or plugged into it.
pub fn disks() -> Vec<char> {
    const REMOVABLE: u32 = 2;
    const FIXED: u32 = 3;
    // SAFETY: asks for nothing but a number.
    let drives = unsafe { GetLogicalDrives() };
    let is_disk = |letter: &char| {
        let path = wide::wide(format!(r"{letter}:\"));
        // SAFETY: the path lives until the call returns.
        matches!(unsafe { GetDriveTypeW(path.as_ptr()) }, REMOVABLE | FIXED)
    };
    ('A'..='Z')
        .enumerate()
        .filter(|(bit, _)| drives & 1 << bit != 0)
        .map(|(_, letter)| letter)
        .filter(is_disk)
        .collect()
}
