//! The registry, as far as a tech looks at it: any key, in the view of 64 bits.
#![expect(unsafe_code, reason = "the system's calls about the registry")]

use super::wide::{self, wide};
use std::io;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{ERROR_MORE_DATA, ERROR_NO_MORE_ITEMS, ERROR_SUCCESS};
use windows_sys::Win32::System::Registry::{
    HKEY, KEY_READ, KEY_SET_VALUE, KEY_WOW64_64KEY, REG_CREATED_NEW_KEY, REG_OPTION_NON_VOLATILE,
    RegCloseKey, RegCreateKeyExW, RegDeleteKeyExW, RegDeleteTreeW, RegDeleteValueW, RegEnumKeyExW,
    RegEnumValueW, RegOpenKeyExW, RegSetValueExW,
};

/// Longest name of a key or a value, in UTF-16 units, with a NUL.
const MAX_NAME: usize = 16 * 1024;
/// Largest value that is read whole; of a larger one nothing but its name and its type is known.
const MAX_VALUE: usize = 4 * 1024 * 1024;

/// An open key.
pub struct Key(HKEY);

/// One of its values.
pub struct Value {
    pub name: String,
    pub kind: u32,
    pub bytes: Vec<u8>,
}

impl Key {
    /// `root` is one of the system's own, by its number.
    pub fn open(root: isize, path: &str, is_written: bool) -> io::Result<Self> {
        let rights = KEY_READ | KEY_WOW64_64KEY | if is_written { KEY_SET_VALUE } else { 0 };
        let (path, mut key) = (wide(path), null_mut());
        // SAFETY: the path ends with a NUL; on success the key is the caller's to close.
        check(unsafe { RegOpenKeyExW(root as HKEY, path.as_ptr(), 0, rights, &mut key) })?;
        Ok(Self(key))
    }

    /// Makes a key with all above it; says whether it is new.
    pub fn create(root: isize, path: &str) -> io::Result<bool> {
        let (path, mut key, mut disposition) = (wide(path), null_mut(), 0);
        // SAFETY: as above.
        check(unsafe {
            RegCreateKeyExW(
                root as HKEY,
                path.as_ptr(),
                0,
                null(),
                REG_OPTION_NON_VOLATILE,
                KEY_READ | KEY_WOW64_64KEY,
                null(),
                &mut key,
                &mut disposition,
            )
        })?;
        drop(Self(key));
        Ok(disposition == REG_CREATED_NEW_KEY)
    }

    /// Removes a key with all in it.
    pub fn delete(root: isize, path: &str) -> io::Result<()> {
        let key = Self::open(root, path, true)?;
        let path = wide(path);
        // SAFETY: the key is open and the path ends with a NUL. The first empties the key, where its rights allow that.
        unsafe {
            let emptied = RegDeleteTreeW(key.0, null());
            drop(key);
            check(RegDeleteKeyExW(root as HKEY, path.as_ptr(), KEY_WOW64_64KEY, 0))
                .or_else(|_| check(emptied))
        }
    }

    /// Names of the keys in it.
    pub fn keys(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        let mut buffer = vec![0u16; MAX_NAME];
        loop {
            let mut length = buffer.len() as u32;
            // SAFETY: the key is open and the buffer as large as is said.
            let status = unsafe {
                RegEnumKeyExW(
                    self.0,
                    names.len() as u32,
                    buffer.as_mut_ptr(),
                    &mut length,
                    null(),
                    null_mut(),
                    null_mut(),
                    null_mut(),
                )
            };
            if status == ERROR_NO_MORE_ITEMS {
                return Ok(names);
            }
            check(status)?;
            names.push(wide::text(&buffer));
        }
    }

    /// Its values.
    pub fn values(&self) -> io::Result<Vec<Value>> {
        let mut values = Vec::new();
        let mut name = vec![0u16; MAX_NAME];
        let mut bytes = vec![0u8; 4 * 1024];
        loop {
            let (mut length, mut kind, mut size) = (name.len() as u32, 0, bytes.len() as u32);
            // SAFETY: the key is open and both buffers as large as is said.
            let status = unsafe {
                RegEnumValueW(
                    self.0,
                    values.len() as u32,
                    name.as_mut_ptr(),
                    &mut length,
                    null(),
                    &mut kind,
                    bytes.as_mut_ptr(),
                    &mut size,
                )
            };
            match status {
                ERROR_NO_MORE_ITEMS => return Ok(values),
                ERROR_MORE_DATA if (size as usize) > bytes.len() && size as usize <= MAX_VALUE => {
                    bytes.resize(size as usize, 0);
                    continue;
                }
                // Of what is longer than anything that is shown.
                ERROR_MORE_DATA => {}
                status => check(status)?,
            }
            let read = bytes.get(..size as usize).unwrap_or_default().to_vec();
            values.push(Value { name: wide::text(&name), kind, bytes: read });
        }
    }

    /// Writes a value, new or not.
    pub fn set(&self, name: &str, kind: u32, bytes: &[u8]) -> io::Result<()> {
        let name = wide(name);
        // SAFETY: the key is open, the name ends with a NUL, and as many bytes are there as is said.
        check(unsafe { RegSetValueExW(self.0, name.as_ptr(), 0, kind, bytes.as_ptr(), bytes.len() as u32) })
    }

    /// Removes a value.
    pub fn delete_value(&self, name: &str) -> io::Result<()> {
        let name = wide(name);
        // SAFETY: the key is open and the name ends with a NUL.
        check(unsafe { RegDeleteValueW(self.0, name.as_ptr()) })
    }
}

impl Drop for Key {
    fn drop(&mut self) {
        // SAFETY: it is open, and closed once.
        unsafe { RegCloseKey(self.0) };
    }
}

fn check(status: u32) -> io::Result<()> {
    if status == ERROR_SUCCESS { Ok(()) } else { Err(io::Error::from_raw_os_error(status as i32)) }
}
