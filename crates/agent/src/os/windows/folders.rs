//! Where this machine keeps programs and their data, as the system says and not the environment.
#![expect(unsafe_code, reason = "the system's calls")]

use super::wide;
use std::os::windows::io::{AsRawHandle, OwnedHandle};
use std::path::PathBuf;
use std::ptr::null_mut;
use windows_sys::Win32::Foundation::HANDLE;
use windows_sys::Win32::System::Com::CoTaskMemFree;
use windows_sys::Win32::System::SystemInformation::GetSystemDirectoryW;
use windows_sys::Win32::UI::Shell::{
    FOLDERID_LocalAppData, FOLDERID_Profile, FOLDERID_ProgramData, FOLDERID_ProgramFiles,
    SHGetKnownFolderPath,
};
use windows_sys::core::GUID;

/// `C:\Program Files`, unless this machine has it elsewhere.
pub fn program_files() -> PathBuf {
    known(&FOLDERID_ProgramFiles).unwrap_or_else(|| PathBuf::from(r"C:\Program Files"))
}

/// `C:\ProgramData`, unless this machine has it elsewhere.
pub fn program_data() -> PathBuf {
    known(&FOLDERID_ProgramData).unwrap_or_else(|| PathBuf::from(r"C:\ProgramData"))
}

/// The account's own folder for programs' data.
pub(super) fn local_app_data() -> PathBuf {
    known(&FOLDERID_LocalAppData).unwrap_or_else(std::env::temp_dir)
}

/// `C:\Windows\System32`. Nobody but the system's own installer writes to it.
pub fn system() -> PathBuf {
    let mut buffer = [0; 260];
    // SAFETY: the buffer is as long as is said.
    let length = unsafe { GetSystemDirectoryW(buffer.as_mut_ptr(), buffer.len() as u32) } as usize;
    match buffer.get(..length) {
        Some(path) if !path.is_empty() => PathBuf::from(wide::text(path)),
        _ => PathBuf::from(r"C:\Windows\System32"),
    }
}

/// The folder of a user's files, where the user has one.
pub(in crate::os) fn of_user(token: &OwnedHandle) -> Option<PathBuf> {
    known_to(&FOLDERID_Profile, token.as_raw_handle()).filter(|folder| folder.is_dir())
}

fn known(folder: &GUID) -> Option<PathBuf> {
    known_to(folder, null_mut())
}

/// No token stands for this process's account.
fn known_to(folder: &GUID, token: HANDLE) -> Option<PathBuf> {
    let mut path = null_mut();
    // SAFETY: the token is open, or none; what comes back is freed in any case, as the call demands.
    let text = unsafe {
        let result = SHGetKnownFolderPath(folder, 0, token, &mut path);
        let text = (result >= 0).then(|| wide::text_at(path));
        CoTaskMemFree(path.cast());
        text
    };
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}
