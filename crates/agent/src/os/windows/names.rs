//! Names of accounts. Asking for one may mean to ask a domain controller that is far away or gone, so it is done beside
//! whoever wants to know; until then, and where nobody knows, an account is shown by its number.
#![expect(unsafe_code, reason = "the system's calls about accounts")]

use super::wide::{self, wide};
use std::collections::HashMap;
use std::ptr::{null, null_mut};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Authorization::ConvertStringSidToSidW;
use windows_sys::Win32::Security::LookupAccountSidW;

/// Accounts that are remembered; a terminal server may have seen many.
const MAX_NAMES: usize = 512;
/// Longest name, and longest domain, in UTF-16 units.
const MAX_UNITS: usize = 256;

static NAMES: LazyLock<Mutex<Names>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Names {
    known: HashMap<String, String>,
    /// The one that is asked for now.
    asking: Option<String>,
}

/// What the account is called, `DOMAIN\name`; its security identifier as long as that is not known.
pub fn name_of(sid: &str) -> String {
    match sid {
        "S-1-5-18" => return r"NT AUTHORITY\SYSTEM".to_owned(),
        "S-1-5-19" => return r"NT AUTHORITY\LOCAL SERVICE".to_owned(),
        "S-1-5-20" => return r"NT AUTHORITY\NETWORK SERVICE".to_owned(),
        _ => {}
    }
    let mut names = names();
    if let Some(name) = names.known.get(sid) {
        return name.clone();
    }
    if names.asking.is_none() {
        names.asking = Some(sid.to_owned());
        let sid = sid.to_owned();
        // Without a thread it is asked for again the next time.
        if thread::Builder::new().name("account name".to_owned()).spawn(move || remember(sid)).is_err() {
            names.asking = None;
        }
    }
    sid.to_owned()
}

fn remember(sid: String) {
    let name = look_up(&sid).unwrap_or_else(|| sid.clone());
    let mut names = names();
    names.asking = None;
    if names.known.len() >= MAX_NAMES {
        names.known.clear();
    }
    names.known.insert(sid, name);
}

fn names() -> MutexGuard<'static, Names> {
    NAMES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn look_up(sid: &str) -> Option<String> {
    let (text, mut sid) = (wide(sid), null_mut());
    // SAFETY: the text ends with a NUL; on success the identifier is the caller's to free.
    if unsafe { ConvertStringSidToSidW(text.as_ptr(), &mut sid) } == 0 {
        return None;
    }
    let (mut name, mut domain) = ([0u16; MAX_UNITS], [0u16; MAX_UNITS]);
    let (mut name_units, mut domain_units, mut kind) = (MAX_UNITS as u32, MAX_UNITS as u32, 0);
    // SAFETY: the buffers are as long as is said; the identifier is whole and freed once, after its use.
    let found = unsafe {
        let found = LookupAccountSidW(
            null(),
            sid,
            name.as_mut_ptr(),
            &mut name_units,
            domain.as_mut_ptr(),
            &mut domain_units,
            &mut kind,
        );
        LocalFree(sid);
        found
    };
    let (name, domain) = (wide::text(&name), wide::text(&domain));
    (found != 0).then(|| if domain.is_empty() { name } else { format!(r"{domain}\{name}") })
}
