//! Text as Windows takes and gives it: UTF-16, ended by a NUL.

use std::ffi::OsStr;
use std::os::windows::ffi::OsStrExt;

/// `text` for a call that wants it. What stands behind a NUL in it is cut off by whoever reads it.
pub(crate) fn wide(text: impl AsRef<OsStr>) -> Vec<u16> {
    text.as_ref().encode_wide().chain([0]).collect()
}

/// What stands before the first NUL.
pub(crate) fn text(units: &[u16]) -> String {
    let end = units.iter().position(|unit| *unit == 0).unwrap_or(units.len());
    String::from_utf16_lossy(units.get(..end).unwrap_or_default())
}

/// The text behind a pointer.
///
/// # Safety
/// `pointer` is null, or points to units that end with a NUL and stay as they are during the call.
#[expect(unsafe_code, reason = "the length of the text is found by reading it")]
pub(crate) unsafe fn text_at(pointer: *const u16) -> String {
    if pointer.is_null() {
        return String::new();
    }
    let mut length = 0;
    // SAFETY: by this function's contract everything up to the NUL may be read.
    while unsafe { *pointer.add(length) } != 0 {
        length += 1;
    }
    // SAFETY: these units were just read.
    text(unsafe { std::slice::from_raw_parts(pointer, length) })
}
