//! Small files of `/proc`, `/sys` and `/etc`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read here; the kernel's own are far smaller.
const MAX_BYTES: usize = 1024 * 1024;

/// Reads a file into `buffer`, in place of what was there.
pub fn read_to(path: impl AsRef<Path>, buffer: &mut Vec<u8>) -> io::Result<()> {
    read_at_most(path, MAX_BYTES, buffer)
}

/// Reads the first bytes of a file into `buffer`, in place of what was there.
pub fn read_at_most(path: impl AsRef<Path>, bytes: usize, buffer: &mut Vec<u8>) -> io::Result<()> {
    buffer.clear();
    File::open(path)?.take(bytes as u64).read_to_end(buffer).map(drop)
}

/// A file's text without white space around it; `None` when it is absent or unreadable.
pub fn read_trimmed(path: impl AsRef<Path>) -> Option<String> {
    let mut buffer = Vec::new();
    read_to(path, &mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer).trim().to_owned())
}
