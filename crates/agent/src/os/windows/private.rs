//! Folders and files that only the system, the administrators and the agent's own account can use.
//!
//! Everything is looked at and changed by one handle, which follows no link, so that nothing can be exchanged between
//! the look and the use.
#![expect(unsafe_code, reason = "the system's calls about owners and access lists")]

use super::account::{self, ADMINISTRATORS, SYSTEM};
use super::wide::wide;
use crate::state::StateError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::os::windows::io::AsRawHandle;
use std::path::Path;
use std::ptr::{null, null_mut};
use std::sync::Once;
use windows_sys::Win32::Foundation::{ERROR_SUCCESS, GENERIC_ALL, GENERIC_WRITE, LocalFree};
use windows_sys::Win32::Security::Authorization::{
    ConvertStringSecurityDescriptorToSecurityDescriptorW, GetSecurityInfo, SDDL_REVISION_1, SE_FILE_OBJECT,
    SetSecurityInfo,
};
use windows_sys::Win32::Security::{
    ACCESS_ALLOWED_ACE, ACE_HEADER, ACL, DACL_SECURITY_INFORMATION, GetAce, GetSecurityDescriptorControl,
    GetSecurityDescriptorDacl, INHERIT_ONLY_ACE, OWNER_SECURITY_INFORMATION,
    PROTECTED_DACL_SECURITY_INFORMATION, PSECURITY_DESCRIPTOR, SE_DACL_PROTECTED, SECURITY_ATTRIBUTES,
    SetKernelObjectSecurity,
};
use windows_sys::Win32::Storage::FileSystem::{
    CreateDirectoryW, DELETE, FILE_APPEND_DATA, FILE_ATTRIBUTE_REPARSE_POINT, FILE_DELETE_CHILD,
    FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT, FILE_READ_ATTRIBUTES, FILE_WRITE_ATTRIBUTES,
    FILE_WRITE_DATA, FILE_WRITE_EA, READ_CONTROL, WRITE_DAC, WRITE_OWNER,
};

/// The account of Windows' own installer.
const TRUSTED_INSTALLER: &str = "S-1-5-80-956008885-3418522649-1831038044-1853292631-2271478464";
/// Rights by which something is changed, replaced, or its access list is.
const CHANGES: u32 = FILE_WRITE_DATA
    | FILE_APPEND_DATA
    | FILE_WRITE_EA
    | FILE_WRITE_ATTRIBUTES
    | FILE_DELETE_CHILD
    | DELETE
    | WRITE_DAC
    | WRITE_OWNER
    | GENERIC_WRITE
    | GENERIC_ALL;
/// Types of entries that deny; every other type may allow.
const DENYING: [u8; 4] = [1, 6, 10, 12];
/// The plain entry that allows: a header, a mask, a security identifier.
const ALLOWING: u8 = 0;

/// Makes a folder that nobody else can enter, whatever the folder above hands down. Its files inherit from it.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    own_what_is_made();
    create_dir(path, &Descriptor::private()?)
}

fn create_dir(path: &Path, descriptor: &Descriptor) -> io::Result<()> {
    let attributes = descriptor.attributes();
    let path = wide(path);
    // SAFETY: path and attributes live until the call returns.
    if unsafe { CreateDirectoryW(path.as_ptr(), &attributes) } == 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes a folder in which that account can read everything and change nothing, and else as
/// [`create_private_dir`] does.
pub(in crate::os) fn create_readable_dir(path: &Path, reader: &str) -> io::Result<()> {
    own_what_is_made();
    create_dir(path, &Descriptor::private_but(&format!("(A;OICI;FRFX;;;{reader})"))?)
}

/// Files are private by what they inherit from their folder; a link is opened itself, and never followed.
pub fn private_mode(options: &mut OpenOptions) {
    options.custom_flags(FILE_FLAG_OPEN_REPARSE_POINT);
}

/// Fails when another account owns `path`, or when it is a link; takes away rights of everybody else.
pub fn check_private(path: &Path) -> Result<(), StateError> {
    own_what_is_made();
    let failed = |source| StateError::Io { path: path.to_owned(), source };
    let file = open(path, READ_CONTROL | FILE_READ_ATTRIBUTES | WRITE_DAC).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if metadata.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(StateError::NotPlain(path.to_owned()));
    }
    let process = account::user().map_err(failed)?;
    let found = Security::of(&file, &process, Concern::Use).map_err(failed)?;
    if !is_trusted(&found.owner, &process) {
        return Err(StateError::ForeignOwner { path: path.to_owned(), owner: found.owner, process });
    }
    // A file inherits from its folder, which is checked before it and inherits nothing.
    let is_private = found.is_private() && (found.is_protected || !metadata.is_dir());
    if is_private {
        return Ok(());
    }
    if !found.is_private() {
        tracing::warn!(path = %path.display(), others = %found.others.join(" "), "rights narrowed");
    }
    let narrowed = Descriptor::private()
        .and_then(|descriptor| descriptor.apply(&file))
        .and_then(|()| Security::of(&file, &process, Concern::Use));
    match narrowed {
        Ok(found) if found.is_private() => Ok(()),
        Ok(_) => Err(failed(io::Error::new(io::ErrorKind::PermissionDenied, "others can use it"))),
        Err(error) => Err(failed(error)),
    }
}

/// Fails unless nobody but the system, the administrators and this account can change `path`: what stands there is going
/// to be executed.
pub fn check_only_ours(path: &Path) -> io::Result<()> {
    let denied = |why: &str| io::Error::other(format!("{} {why}", path.display()));
    let file = open(path, READ_CONTROL | FILE_READ_ATTRIBUTES)?;
    if file.metadata()?.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(denied("is a link"));
    }
    let process = account::user()?;
    let found = Security::of(&file, &process, Concern::Change)?;
    if !is_trusted(&found.owner, &process) && found.owner != TRUSTED_INSTALLER {
        return Err(denied("belongs to another account"));
    }
    if !found.others.is_empty() {
        return Err(denied(&format!("can be changed by {}", found.others.join(" "))));
    }
    Ok(())
}

fn open(path: &Path, access: u32) -> io::Result<File> {
    OpenOptions::new()
        .access_mode(access)
        // Folders, too.
        .custom_flags(FILE_FLAG_BACKUP_SEMANTICS | FILE_FLAG_OPEN_REPARSE_POINT)
        .open(path)
}

/// With full rights, what is made belongs to the administrators.
fn own_what_is_made() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if account::is_elevated()
            && let Err(error) = account::make_for_administrators()
        {
            tracing::warn!(%error, "files will belong to this account and not to the administrators");
        }
    });
}

fn is_trusted(account: &str, process: &str) -> bool {
    [SYSTEM, ADMINISTRATORS, process].contains(&account)
}

/// What others are not to be allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Concern {
    /// Anything, here or below.
    Use,
    /// Changing this file or folder, or what stands in it.
    Change,
}

impl Concern {
    /// Whether an entry of an access list with this mask and these flags, for this account, is one.
    fn is_raised_by(self, mask: u32, flags: u8, account: &str, process: &str) -> bool {
        if is_trusted(account, process) {
            return false;
        }
        match self {
            Self::Use => true,
            // Windows' own installer owns the folder of all programs.
            Self::Change => {
                let is_for_what_is_below = u32::from(flags) & INHERIT_ONLY_ACE != 0;
                mask & CHANGES != 0 && !is_for_what_is_below && account != TRUSTED_INSTALLER
            }
        }
    }
}

/// Whose something is, and who else may use it.
#[derive(Debug)]
struct Security {
    owner: String,
    /// Accounts that are allowed something and should not be.
    others: Vec<String>,
    /// Whether nothing is inherited from the folder above.
    is_protected: bool,
}

impl Security {
    fn of(file: &File, process: &str, concern: Concern) -> io::Result<Self> {
        let (mut owner, mut list, mut descriptor) = (null_mut(), null_mut(), null_mut());
        // SAFETY: the handle is open; what comes back points into the descriptor, which is freed when `_whole` is.
        let status = unsafe {
            GetSecurityInfo(
                file.as_raw_handle(),
                SE_FILE_OBJECT,
                OWNER_SECURITY_INFORMATION | DACL_SECURITY_INFORMATION,
                &mut owner,
                null_mut(),
                &mut list,
                null_mut(),
                &mut descriptor,
            )
        };
        if status != ERROR_SUCCESS {
            return Err(io::Error::from_raw_os_error(status as i32));
        }
        let whole = Descriptor(descriptor);
        // SAFETY: the system filled both in, and `whole` keeps them.
        let (owner, others) = unsafe { (account::sid_text(owner)?, others(list, process, concern)?) };
        Ok(Self { owner, others, is_protected: whole.is_protected()? })
    }

    fn is_private(&self) -> bool {
        self.others.is_empty()
    }
}

/// Accounts in an access list that are allowed something and are not trusted.
///
/// # Safety
/// `list` is null or points to a whole access list.
unsafe fn others(list: *const ACL, process: &str, concern: Concern) -> io::Result<Vec<String>> {
    // No list at all: everyone may do everything.
    if list.is_null() {
        return Ok(vec!["everyone".to_owned()]);
    }
    let mut others = Vec::new();
    // SAFETY: by this function's contract.
    let count = unsafe { (*list).AceCount };
    for index in 0..count {
        let mut entry = null_mut();
        // SAFETY: the index is below the list's count; on success the entry stands in the list.
        if unsafe { GetAce(list, index.into(), &mut entry) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: every entry begins with a header.
        let ACE_HEADER { AceType: kind, AceFlags: flags, .. } = unsafe { *entry.cast::<ACE_HEADER>() };
        if DENYING.contains(&kind) {
            continue;
        }
        if kind != ALLOWING {
            others.push(format!("an entry of type {kind}"));
            continue;
        }
        // SAFETY: the type says what follows the header, and that the identifier begins there.
        let (mask, account) = unsafe {
            let entry = entry.cast::<ACCESS_ALLOWED_ACE>();
            let sid = &raw mut (*entry).SidStart;
            ((*entry).Mask, account::sid_text(sid.cast())?)
        };
        if concern.is_raised_by(mask, flags, &account, process) {
            others.push(account);
        }
    }
    Ok(others)
}

/// A security descriptor of the system's making.
#[derive(Debug)]
pub(in crate::os) struct Descriptor(PSECURITY_DESCRIPTOR);

// SAFETY: memory that is read and never written, and freed by whoever has it last.
unsafe impl Send for Descriptor {}
// SAFETY: as above.
unsafe impl Sync for Descriptor {}

impl Descriptor {
    /// The one of private folders: full rights for the system and the administrators and, where the agent is none of
    /// them, for its account; nothing is inherited from above, everything below inherits.
    fn private() -> io::Result<Self> {
        Self::private_but("")
    }

    /// The same with further entries.
    fn private_but(more: &str) -> io::Result<Self> {
        let mut text = format!("D:P(A;OICI;FA;;;{SYSTEM})(A;OICI;FA;;;{ADMINISTRATORS})");
        if !account::is_elevated() {
            text.push_str(&format!("(A;OICI;FA;;;{})", account::user()?));
        }
        Self::from_text(&(text + more))
    }

    /// What the text says, which is in the language of security descriptors.
    pub(in crate::os) fn from_text(text: &str) -> io::Result<Self> {
        let (text, mut descriptor) = (wide(text), null_mut());
        // SAFETY: the text ends with a NUL; on success the descriptor is the caller's to free.
        let made = unsafe {
            ConvertStringSecurityDescriptorToSecurityDescriptorW(
                text.as_ptr(),
                SDDL_REVISION_1,
                &mut descriptor,
                null_mut(),
            )
        };
        if made == 0 { Err(io::Error::last_os_error()) } else { Ok(Self(descriptor)) }
    }

    /// To be used as long as this lives.
    pub(in crate::os) fn attributes(&self) -> SECURITY_ATTRIBUTES {
        SECURITY_ATTRIBUTES {
            nLength: size_of::<SECURITY_ATTRIBUTES>() as u32,
            lpSecurityDescriptor: self.0,
            bInheritHandle: 0,
        }
    }

    fn is_protected(&self) -> io::Result<bool> {
        let (mut control, mut revision) = (0, 0);
        // SAFETY: the descriptor is whole as long as this lives.
        if unsafe { GetSecurityDescriptorControl(self.0, &mut control, &mut revision) } == 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(control & SE_DACL_PROTECTED != 0)
    }

    /// Gives `file` this access list, and everything below it what it hands down.
    fn apply(&self, file: &File) -> io::Result<()> {
        let (mut is_present, mut list, mut is_default) = (0, null_mut(), 0);
        let (handle, what) =
            (file.as_raw_handle(), DACL_SECURITY_INFORMATION | PROTECTED_DACL_SECURITY_INFORMATION);
        // SAFETY: the handle is open and the descriptor is whole; the list stands in it.
        unsafe {
            if GetSecurityDescriptorDacl(self.0, &mut is_present, &mut list, &mut is_default) == 0 {
                return Err(io::Error::last_os_error());
            }
            // The first call goes through what is below; the second sets this one's exactly as it is meant, which
            // not every implementation of the first does.
            let status = SetSecurityInfo(handle, SE_FILE_OBJECT, what, null_mut(), null_mut(), list, null());
            if status != ERROR_SUCCESS {
                return Err(io::Error::from_raw_os_error(status as i32));
            }
            if SetKernelObjectSecurity(handle, what, self.0) == 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: the system made it for its caller to free, and it is freed once.
        unsafe { LocalFree(self.0) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_folder_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("private");
        create_private_dir(&path).unwrap();
        check_private(&path).unwrap();
        let file = open(&path, READ_CONTROL | FILE_READ_ATTRIBUTES).unwrap();
        let found = Security::of(&file, &account::user().unwrap(), Concern::Use).unwrap();
        assert!(found.is_private(), "{found:?}");
        assert_eq!(create_private_dir(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    }

    #[test]
    fn the_rights_of_others_are_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("open");
        std::fs::create_dir(&path).unwrap();
        let look = || {
            let file = open(&path, READ_CONTROL | FILE_READ_ATTRIBUTES).unwrap();
            Security::of(&file, "S-1-0-0", Concern::Use).unwrap()
        };
        assert!(!look().is_private(), "a folder in an open one is open: {:?}", look());
        check_private(&path).unwrap();
        let found = look();
        // Of those that are left, only the account that this runs as is not trusted by everybody.
        let own = account::user().unwrap();
        assert!(found.others.iter().all(|other| *other == own), "{found:?}");
    }

    #[test]
    fn a_stranger_is_not_trusted() {
        assert!(
            is_trusted(SYSTEM, "S-1-5-21-1-2-3-1001") && is_trusted(ADMINISTRATORS, "S-1-5-21-1-2-3-1001")
        );
        assert!(is_trusted("S-1-5-21-1-2-3-1001", "S-1-5-21-1-2-3-1001"));
        assert!(!is_trusted("S-1-1-0", "S-1-5-21-1-2-3-1001"));
        assert!(!is_trusted("S-1-5-21-1-2-3-1002", "S-1-5-21-1-2-3-1001"));
    }
}
