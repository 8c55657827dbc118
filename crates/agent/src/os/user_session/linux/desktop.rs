//! How the session's own programs find its screen and its bus.
//!
//! It is all said by the user's programs, and is told to nobody but the user's programs.

use crate::os::linux_files::{read_at_most, read_trimmed};
use crate::os::linux_sessions::LoginSession;
use rustix::process::Uid;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Largest environment that is read.
const MAX_BYTES: usize = 64 * 1024;
/// What is taken over. Nothing by which a program is made to load another.
const NAMES: [&str; 10] = [
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "DBUS_SESSION_BUS_ADDRESS",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_TYPE",
    "XDG_CURRENT_DESKTOP",
    "LANG",
    "LC_ALL",
    "TZ",
];

type Variable = (&'static str, OsString);

/// What that one of the user's programs has that says most, the session's own before others; what systemd gives every
/// user, where none says it.
pub(super) fn environment(session: &LoginSession, uid: Uid) -> Vec<Variable> {
    let mut found = of_programs(Path::new("/proc"), session, uid);
    let folder = PathBuf::from(format!("/run/user/{}", uid.as_raw()));
    if fs::symlink_metadata(&folder).is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == uid.as_raw())
    {
        let bus = folder.join("bus");
        if bus.exists() {
            add(&mut found, "DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", bus.display()));
        }
        add(&mut found, "XDG_RUNTIME_DIR", folder);
    }
    if let Some(display) = &session.display {
        add(&mut found, "DISPLAY", display);
    }
    found
}

fn add(found: &mut Vec<Variable>, name: &'static str, value: impl Into<OsString>) {
    if !found.iter().any(|(known, _)| *known == name) {
        found.push((name, value.into()));
    }
}

fn of_programs(proc: &Path, session: &LoginSession, uid: Uid) -> Vec<Variable> {
    let scope = format!("/session-{}.scope", session.id);
    let mut environment = Vec::new();
    let mut best = (false, Vec::new());
    for process in fs::read_dir(proc).into_iter().flatten().flatten() {
        let is_process = process.file_name().as_bytes().first().is_some_and(u8::is_ascii_digit);
        let is_theirs = || process.metadata().is_ok_and(|metadata| metadata.uid() == uid.as_raw());
        if !is_process
            || !is_theirs()
            || read_at_most(process.path().join("environ"), MAX_BYTES, &mut environment).is_err()
        {
            continue;
        }
        let said = said(&environment);
        let is_elsewhere = said.iter().any(|(name, value)| {
            *name == "DISPLAY"
                && session.display.as_ref().is_some_and(|own| value.as_os_str() != own.as_str())
        });
        if said.is_empty() || is_elsewhere {
            continue;
        }
        let groups = read_trimmed(process.path().join("cgroup")).unwrap_or_default();
        let is_of_session = groups.lines().any(|line| line.contains(&scope));
        if (is_of_session, said.len()) > (best.0, best.1.len()) {
            best = (is_of_session, said);
        }
    }
    best.1
}

fn said(environment: &[u8]) -> Vec<Variable> {
    let value = |name: &str| {
        environment
            .split(|byte| *byte == 0)
            .find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
            .filter(|value| !value.is_empty())
    };
    let said = |name| Some((name, OsStr::from_bytes(value(name)?).to_owned()));
    NAMES.into_iter().filter_map(said).collect()
}
