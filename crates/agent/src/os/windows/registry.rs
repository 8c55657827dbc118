//! The few values of the registry that the agent reads and writes, all below `HKEY_LOCAL_MACHINE`.
#![expect(unsafe_code, reason = "the system's calls")]

use super::wide::{self, wide};
use std::io;
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::{ERROR_FILE_NOT_FOUND, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{
    HKEY_LOCAL_MACHINE, REG_DWORD, REG_EXPAND_SZ, RRF_RT_REG_DWORD, RRF_RT_REG_SZ, RRF_SUBKEY_WOW6464KEY,
    RegDeleteTreeW, RegGetValueW, RegSetKeyValueW,
};

/// Longest text that is read, in UTF-16 units.
const MAX_UNITS: usize = 1024;

/// A text; `None` when it is absent, too long, or something else.
pub fn read_text(key: &str, name: &str) -> Option<String> {
    let mut buffer = [0u16; MAX_UNITS];
    let mut size = size_of_val(&buffer) as u32;
    let (key, name) = (wide(key), wide(name));
    // SAFETY: both names end with a NUL, and the buffer is as large as is said.
    let status = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_SZ | RRF_SUBKEY_WOW6464KEY,
            null_mut(),
            buffer.as_mut_ptr().cast(),
            &mut size,
        )
    };
    (status == ERROR_SUCCESS).then(|| wide::text(&buffer).trim().to_owned())
}

/// A number; `None` when it is absent or something else.
pub fn read_number(key: &str, name: &str) -> Option<u32> {
    let (mut number, mut size) = (0u32, size_of::<u32>() as u32);
    let (key, name) = (wide(key), wide(name));
    // SAFETY: both names end with a NUL, and the buffer is as large as is said.
    let status = unsafe {
        RegGetValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            name.as_ptr(),
            RRF_RT_REG_DWORD | RRF_SUBKEY_WOW6464KEY,
            null_mut(),
            (&raw mut number).cast(),
            &mut size,
        )
    };
    (status == ERROR_SUCCESS).then_some(number)
}

/// Writes a text in which the system replaces environment variables, making the key if needed.
pub fn write_expandable(key: &str, name: &str, text: &str) -> io::Result<()> {
    let text = wide(text);
    let bytes: Vec<u8> = text.iter().flat_map(|unit| unit.to_ne_bytes()).collect();
    write(key, name, REG_EXPAND_SZ, &bytes)
}

/// Writes a number, making the key if needed.
pub fn write_number(key: &str, name: &str, number: u32) -> io::Result<()> {
    write(key, name, REG_DWORD, &number.to_ne_bytes())
}

fn write(key: &str, name: &str, kind: u32, bytes: &[u8]) -> io::Result<()> {
    let (key, name) = (wide(key), wide(name));
    // SAFETY: both names end with a NUL, and as many bytes are there as is said.
    let status = unsafe {
        RegSetKeyValueW(
            HKEY_LOCAL_MACHINE,
            key.as_ptr(),
            name.as_ptr(),
            kind,
            bytes.as_ptr().cast(),
            bytes.len() as u32,
        )
    };
    result(status)
}

/// Removes a key with everything in it. One that is not there is as good as removed.
pub fn remove(key: &str) -> io::Result<()> {
    let key = wide(key);
    // SAFETY: the name ends with a NUL.
    match unsafe { RegDeleteTreeW(HKEY_LOCAL_MACHINE, key.as_ptr()) } {
        ERROR_FILE_NOT_FOUND => Ok(()),
        status => result(status),
    }
}

fn result(status: u32) -> io::Result<()> {
    if status == ERROR_SUCCESS { Ok(()) } else { Err(io::Error::from_raw_os_error(status as i32)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_and_their_key_goes_with_them() {
        const KEY: &str = r"SOFTWARE\GuruRMM-test\below";
        write_number(KEY, "number", 7).unwrap();
        write_expandable(KEY, "text", "%SystemDrive%\\x").unwrap();
        assert!(read_text(KEY, "text").is_some_and(|text| text.ends_with(r":\x")));
        // Something else than a text, and than a number.
        assert_eq!(read_text(KEY, "number"), None);
        assert_eq!((read_number(KEY, "number"), read_number(KEY, "text")), (Some(7), None));
        remove(r"SOFTWARE\GuruRMM-test").unwrap();
        assert_eq!(read_text(KEY, "text"), None);
        remove(r"SOFTWARE\GuruRMM-test").unwrap();
    }
}
