//! Which display a session is on, and the cookie that opens it.
//!
//! Both are said by the user's own programs, and the agent is root: only this machine's displays are connected to,
//! and only a regular file of that same user is read.

use crate::os::linux_files::read_at_most;
use crate::os::linux_sessions::LoginSession;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The one way to sign in at a local display that all servers have.
pub(super) const COOKIE_NAME: &[u8] = b"MIT-MAGIC-COOKIE-1";
/// Largest environment and largest authority file that is read.
const MAX_BYTES: usize = 64 * 1024;

/// A display of this machine.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Display {
    pub number: u16,
    pub cookie: Option<Cookie>,
}

/// Opens a display to whoever has it, so it is never printed.
#[derive(PartialEq, Eq)]
pub(super) struct Cookie(pub Vec<u8>);

impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cookie")
    }
}

/// What one program says.
#[derive(Debug, Default, PartialEq)]
struct Hint {
    number: u16,
    authority: Option<PathBuf>,
}

/// From the environments of the user's programs; the session's own display if logind tells it.
pub(super) fn find(session: &LoginSession) -> Option<Display> {
    let uid = session.uid?;
    let wanted = session.display.as_deref().and_then(|name| local_number(name.as_bytes()));
    let mut environment = Vec::new();
    let mut without_file = None;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let is_process = process.file_name().as_bytes().first().is_some_and(u8::is_ascii_digit);
        if !is_process || !process.metadata().is_ok_and(|metadata| metadata.uid() == uid) {
            continue;
        }
        if read_at_most(process.path().join("environ"), MAX_BYTES, &mut environment).is_err() {
            continue;
        }
        let Some(hint) = hint(&environment) else { continue };
        if wanted.is_some_and(|wanted| wanted != hint.number) {
            continue;
        }
        let cookie = hint.authority.and_then(|path| read_own(&path, uid)).and_then(|bytes| {
            let cookie = cookie(&bytes, hint.number)?;
            Some(Cookie(cookie.to_vec()))
        });
        let display = Display { number: hint.number, cookie };
        if display.cookie.is_some() {
            return Some(display);
        }
        without_file.get_or_insert(display);
    }
    // It may let in everyone of this machine.
    without_file
}

fn hint(environment: &[u8]) -> Option<Hint> {
    let value = |name: &[u8]| {
        environment.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(name)?.strip_prefix(b"="))
    };
    let path = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
    let number = local_number(value(b"DISPLAY")?)?;
    let in_home = || value(b"HOME").map(|home| path(home).join(".Xauthority"));
    let authority = value(b"XAUTHORITY").filter(|name| !name.is_empty()).map(path).or_else(in_home);
    Some(Hint { number, authority: authority.filter(|path| path.is_absolute()) })
}

/// `:0`, `:0.1`, `unix:0`: displays of this machine. `localhost:10` is another machine's, through SSH.
fn local_number(name: &[u8]) -> Option<u16> {
    let name = std::str::from_utf8(name).ok()?;
    let number = name.strip_prefix("unix").unwrap_or(name).strip_prefix(':')?;
    number.split('.').next()?.parse().ok()
}

/// The bytes of a regular file of that user. It is looked at before it is opened: opening a device can do things.
fn read_own(path: &Path, uid: u32) -> Option<Vec<u8>> {
    let file = open(path, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || stat.st_uid != uid {
        return None;
    }
    let mut bytes = Vec::new();
    read_at_most(format!("/proc/self/fd/{}", file.as_raw_fd()), MAX_BYTES, &mut bytes).ok()?;
    Some(bytes)
}

/// `Xauthority`: entries of a family (two bytes) and four texts (length in two bytes, big-endian): address, display
/// number, name, data. An entry without a number is for every display.
fn cookie(mut bytes: &[u8], number: u16) -> Option<&[u8]> {
    fn text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = bytes.split_first_chunk::<2>()?;
        let (text, rest) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        *bytes = rest;
        Some(text)
    }
    loop {
        bytes = bytes.get(2..)?;
        let (_address, display) = (text(&mut bytes)?, text(&mut bytes)?);
        let (name, data) = (text(&mut bytes)?, text(&mut bytes)?);
        let is_for_it = display.is_empty() || display == number.to_string().as_bytes();
        if is_for_it && name == COOKIE_NAME {
            return Some(data);
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// An entry of any machine.
    pub(in super::super) fn entry(number: &str, name: &[u8], data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0xff, 0xff];
        for text in [b"".as_slice(), number.as_bytes(), name, data] {
            bytes.extend((text.len() as u16).to_be_bytes());
            bytes.extend(text);
        }
        bytes
    }

    #[test]
    fn only_displays_of_this_machine_are_taken() {
        for (name, number) in [(":0", 0), (":12.1", 12), ("unix:3", 3)] {
            assert_eq!(local_number(name.as_bytes()), Some(number), "{name}");
        }
        for bad in
            ["", ":", "0", "localhost:10.0", "192.0.2.1:0", "evil.example.com:0", ":-1", ":../../x", ":70000"]
        {
            assert_eq!(local_number(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn the_file_is_the_programs_or_the_one_at_home() {
        let of = |text: &str| hint(text.as_bytes()).unwrap().authority;
        let home = Some(PathBuf::from("/home/ada/.Xauthority"));
        assert_eq!(of("HOME=/home/ada\0DISPLAY=:0\0XAUTHORITY=/run/x\0"), Some("/run/x".into()));
        assert_eq!(of("HOME=/home/ada\0DISPLAY=:0\0XAUTHORITY=\0"), home);
        assert_eq!(of("HOME=/home/ada\0DISPLAY=:0\0"), home);
        assert_eq!(of("DISPLAY=:0\0XAUTHORITY=x\0"), None);
        assert_eq!(hint(b"HOME=/home/ada\0XDISPLAY=:0\0"), None);
    }

    #[test]
    fn a_cookie_is_found_by_display_and_kind() {
        let file = [
            entry("1", COOKIE_NAME, b"one"),
            entry("0", b"XDM-AUTHORIZATION-1", b"other"),
            entry("0", COOKIE_NAME, b"zero"),
            entry("", COOKIE_NAME, b"any"),
        ]
        .concat();
        assert_eq!(cookie(&file, 0), Some(b"zero".as_slice()));
        assert_eq!(cookie(&file, 1), Some(b"one".as_slice()));
        assert_eq!(cookie(&file, 7), Some(b"any".as_slice()));
        for cut in 0..entry("1", COOKIE_NAME, b"one").len() {
            assert_eq!(cookie(&file[..cut], 1), None, "{cut}");
        }
    }

    #[test]
    fn another_users_file_and_what_is_no_file_are_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "secret").unwrap();
        let uid = fs::metadata(&file).unwrap().uid();
        assert_eq!(read_own(&file, uid).as_deref(), Some(b"secret".as_slice()));
        assert_eq!(read_own(&file, uid + 1), None);
        let link = folder.path().join("link");
        symlink(&file, &link).unwrap();
        assert_eq!(read_own(&link, uid), None);
        assert_eq!(read_own(folder.path(), uid), None);
        assert_eq!(read_own(Path::new("/dev/zero"), 0), None);
    }
}
