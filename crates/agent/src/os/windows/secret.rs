//! The machine's own protection of secrets at rest (DPAPI): what it made can be read on this machine only.
#![expect(unsafe_code, reason = "the system's two calls")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::io;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::LocalFree;
use windows_sys::Win32::Security::Cryptography::{
    CRYPT_INTEGER_BLOB, CRYPTPROTECT_LOCAL_MACHINE, CRYPTPROTECT_UI_FORBIDDEN, CryptProtectData,
    CryptUnprotectData,
};
use zeroize::{Zeroize, Zeroizing};

/// In front of what is protected, so that a plain secret is never taken for one.
const PREFIX: &str = "dpapi:";
/// Of this machine and not of an account: the agent is enrolled by a person and runs as the system.
const FLAGS: u32 = CRYPTPROTECT_LOCAL_MACHINE | CRYPTPROTECT_UI_FORBIDDEN;

/// Makes of `secret` what is worthless on another machine. `purpose` is needed to read it again, so that another
/// program's protected text, or another record's, does not stand in for it.
pub fn protect_secret(secret: &str, purpose: &str) -> io::Result<String> {
    let protected = call(secret.as_bytes(), purpose, |data, entropy, out| {
        // SAFETY: both inputs point to live bytes; `out` is the caller's to free.
        unsafe { CryptProtectData(data, null(), entropy, null(), null(), FLAGS, out) }
    })?;
    Ok(format!("{PREFIX}{}", STANDARD.encode(&*protected)))
}

/// Reads what [`protect_secret`] made on this machine for the same purpose.
pub fn reveal_secret(protected: &str, purpose: &str) -> io::Result<Zeroizing<String>> {
    let damaged =
        || io::Error::new(io::ErrorKind::InvalidData, "it is not protected as this program protects");
    let bytes =
        protected.strip_prefix(PREFIX).and_then(|text| STANDARD.decode(text).ok()).ok_or_else(damaged)?;
    let mut secret = call(&bytes, purpose, |data, entropy, out| {
        // SAFETY: both inputs point to live bytes; `out` is the caller's to free.
        unsafe { CryptUnprotectData(data, null_mut(), entropy, null(), null(), FLAGS, out) }
    })?;
    String::from_utf8(std::mem::take(&mut *secret)).map(Zeroizing::new).map_err(|error| {
        error.into_bytes().zeroize();
        damaged()
    })
}

fn call(
    bytes: &[u8],
    purpose: &str,
    system: impl FnOnce(&CRYPT_INTEGER_BLOB, &CRYPT_INTEGER_BLOB, &mut CRYPT_INTEGER_BLOB) -> i32,
) -> io::Result<Zeroizing<Vec<u8>>> {
    let entropy = format!("gururmm agent secret 1\0{purpose}");
    // The system only reads its inputs.
    let blob =
        |bytes: &[u8]| CRYPT_INTEGER_BLOB { cbData: bytes.len() as u32, pbData: bytes.as_ptr().cast_mut() };
    let mut out = CRYPT_INTEGER_BLOB::default();
    if system(&blob(bytes), &blob(entropy.as_bytes()), &mut out) == 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded: `out` holds as many bytes as it says; they are wiped and freed once.
    unsafe {
        let made = std::slice::from_raw_parts_mut(out.pbData, out.cbData as usize);
        let copy = Zeroizing::new(made.to_vec());
        made.zeroize();
        LocalFree(out.pbData.cast());
        Ok(copy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_again_for_its_purpose_and_no_other() {
        let protected = protect_secret("cak_gr\u{fc}n", "agent 1").unwrap();
        assert!(protected.starts_with(PREFIX) && !protected.contains("cak_"), "{protected}");
        assert_eq!(reveal_secret(&protected, "agent 1").unwrap().as_str(), "cak_gr\u{fc}n");
        assert!(reveal_secret(&protected, "agent 2").is_err());
    }

    #[test]
    fn what_is_plain_or_damaged_is_no_secret() {
        let protected = protect_secret("cak_example", "agent 1").unwrap();
        let mut cut = protected.clone();
        cut.truncate(protected.len() / 2);
        for text in ["cak_example", "dpapi:", "dpapi:!", &cut] {
            assert!(reveal_secret(text, "agent 1").is_err(), "{text}");
        }
    }
}
