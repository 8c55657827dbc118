//! Whom this process runs as.
#![expect(unsafe_code, reason = "the system's calls about tokens")]

use super::wide;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr::null_mut;
use std::sync::OnceLock;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::ConvertSidToStringSidW;
use windows_sys::Win32::Security::{
    CheckTokenMembership, CreateWellKnownSid, GetTokenInformation, PSID, SECURITY_MAX_SID_SIZE,
    SetTokenInformation, TOKEN_ACCESS_MASK, TOKEN_ADJUST_DEFAULT, TOKEN_OWNER, TOKEN_QUERY, TOKEN_USER,
    TokenOwner, TokenUser, WinBuiltinAdministratorsSid,
};
use windows_sys::Win32::System::Threading::{GetCurrentProcess, OpenProcessToken};

/// The system's own account.
pub(super) const SYSTEM: &str = "S-1-5-18";
/// The group of those who may do everything.
pub(super) const ADMINISTRATORS: &str = "S-1-5-32-544";

/// A security identifier's largest size, aligned as one.
type Sid = [u32; SECURITY_MAX_SID_SIZE as usize / 4];

/// Whether this process may do everything on the machine: whether the group of administrators is switched on in its
/// token, as it is for the system's own account and for an administrator who confirmed.
pub fn is_elevated() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let Ok(mut sid) = administrators() else { return false };
        let mut is_member = 0;
        // SAFETY: no token stands for this process's own; the identifier was just made.
        let asked = unsafe { CheckTokenMembership(null_mut(), sid.as_mut_ptr().cast(), &mut is_member) };
        asked != 0 && is_member != 0
    })
}

/// The account's security identifier, as text.
pub(super) fn user() -> io::Result<String> {
    user_of(&token(TOKEN_QUERY)?)
}

/// Whether this process is the system itself, as a service is.
pub(in crate::os) fn is_system() -> bool {
    user().is_ok_and(|user| user == SYSTEM)
}

/// The security identifier of a token's account, as text.
pub(in crate::os) fn user_of(token: &OwnedHandle) -> io::Result<String> {
    // A `TOKEN_USER` and the identifier it points to.
    let mut buffer = [0u64; 16];
    let (size, mut length) = (size_of_val(&buffer) as u32, 0);
    // SAFETY: the buffer is as large as is said, and aligned.
    let got = unsafe {
        GetTokenInformation(token.as_raw_handle(), TokenUser, buffer.as_mut_ptr().cast(), size, &mut length)
    };
    if got == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system wrote a `TOKEN_USER` there, whose identifier stands in the same buffer.
    unsafe { sid_text((*buffer.as_ptr().cast::<TOKEN_USER>()).User.Sid) }
}

/// From now on what this process makes belongs to the administrators, and not to the one of them who happens to install
/// the agent: the service, which runs as the system, trusts what is theirs.
pub(super) fn make_for_administrators() -> io::Result<()> {
    let mut sid = administrators()?;
    let token = token(TOKEN_ADJUST_DEFAULT)?;
    let owner = TOKEN_OWNER { Owner: sid.as_mut_ptr().cast() };
    let size = size_of_val(&owner) as u32;
    // SAFETY: the structure and the identifier it points to live until the call returns.
    let set = unsafe {
        SetTokenInformation(token.as_raw_handle(), TokenOwner, std::ptr::from_ref(&owner).cast(), size)
    };
    if set == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A security identifier as text.
///
/// # Safety
/// `sid` points to a whole security identifier.
pub(super) unsafe fn sid_text(sid: PSID) -> io::Result<String> {
    let mut text = null_mut();
    // SAFETY: by this function's contract; on success the text is the caller's to free.
    if unsafe { ConvertSidToStringSidW(sid, &mut text) } == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system ended it with a NUL, and it is freed once, after it was copied.
    unsafe {
        let copy = wide::text_at(text);
        LocalFree(text.cast());
        Ok(copy)
    }
}

fn administrators() -> io::Result<Sid> {
    let mut sid = Sid::default();
    let mut size = size_of_val(&sid) as u32;
    // SAFETY: the buffer is as large as any identifier.
    let made = unsafe {
        CreateWellKnownSid(WinBuiltinAdministratorsSid, null_mut(), sid.as_mut_ptr().cast(), &mut size)
    };
    if made == 0 { Err(io::Error::last_os_error()) } else { Ok(sid) }
}

/// This process's token.
fn token(access: TOKEN_ACCESS_MASK) -> io::Result<OwnedHandle> {
    let mut token = null_mut();
    // SAFETY: the pseudo-handle of this process is always valid; on success the token is the caller's to close.
    unsafe {
        if OpenProcessToken(GetCurrentProcess(), access, &mut token) == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(OwnedHandle::from_raw_handle(token))
    }
}
