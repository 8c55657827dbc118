//! What Windows Installer has installed.
#![expect(unsafe_code, reason = "the system's calls")]

use super::wide::wide;
use std::io;
use windows_sys::Win32::Foundation::{ERROR_NO_MORE_ITEMS, ERROR_SUCCESS};
use windows_sys::Win32::System::ApplicationInstallationAndServicing::MsiEnumRelatedProductsW;

/// `{5E6B…}`: braces, 32 digits and four hyphens.
const CODE_CHARS: usize = 38;

/// Codes of the products of a family, by the code that its packages share.
pub fn of_family(upgrade_code: &str) -> io::Result<Vec<String>> {
    let family = wide(upgrade_code);
    let mut codes = Vec::new();
    loop {
        let mut code = [0_u16; CODE_CHARS + 1];
        let index = u32::try_from(codes.len()).map_err(io::Error::other)?;
        // SAFETY: the family's name ends with a NUL, and the code has the room that the system asks for.
        let found = unsafe { MsiEnumRelatedProductsW(family.as_ptr(), 0, index, code.as_mut_ptr()) };
        match found {
            ERROR_SUCCESS => codes.push(String::from_utf16_lossy(&code[..CODE_CHARS])),
            ERROR_NO_MORE_ITEMS => return Ok(codes),
            error => return Err(io::Error::from_raw_os_error(error.cast_signed())),
        }
    }
}
