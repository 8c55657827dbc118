//! Who is signed in, and since when nothing was typed, as far as the session manager tells a service.
#![expect(unsafe_code, reason = "the system's calls about sessions")]

use super::wide;
use std::ptr::{null_mut, slice_from_raw_parts};
use windows_sys::Win32::System::RemoteDesktop::{
    WTS_CONNECTSTATE_CLASS, WTS_CURRENT_SERVER_HANDLE, WTS_SESSION_INFOW, WTSActive, WTSDisconnected,
    WTSEnumerateSessionsW, WTSFreeMemory, WTSGetActiveConsoleSessionId, WTSINFOW,
    WTSQuerySessionInformationW, WTSSessionInfo,
};

/// Sessions that are looked at.
const MAX_SESSIONS: usize = 1024;

/// Someone with a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The session.
    pub session: u32,
    /// When it began: a `FILETIME`.
    pub began: i64,
    /// Whether a screen shows it.
    pub is_connected: bool,
    /// `DOMAIN\name`.
    pub name: String,
    /// Since the last input. The session manager notes it for remote sessions; at the console only a program inside the
    /// session can ask for it.
    pub idle_seconds: Option<u64>,
}

/// The user at the console; where nobody is there, the one of the first active remote session.
pub fn signed_in() -> Option<User> {
    // SAFETY: takes nothing; answers a number that means no session when there is none.
    let console = unsafe { WTSGetActiveConsoleSessionId() };
    let mut sessions = active_sessions();
    sessions.sort_by_key(|session| (*session != console, *session));
    sessions.into_iter().find_map(user)
}

/// Whose session something for the user runs in: the one at the console, else the one that began last.
pub fn foremost() -> Option<User> {
    // SAFETY: takes nothing; answers a number that means no session when there is none.
    let console = unsafe { WTSGetActiveConsoleSessionId() };
    with_users().into_iter().max_by_key(|user| (user.session == console, user.is_connected, user.began))
}

/// All who are signed in, connected to their sessions or not.
pub fn with_users() -> Vec<User> {
    sessions_in(&[WTSActive, WTSDisconnected]).into_iter().filter_map(user).collect()
}

/// Sessions whose user is connected to them.
pub fn active_sessions() -> Vec<u32> {
    sessions_in(&[WTSActive])
}

fn sessions_in(states: &[WTS_CONNECTSTATE_CLASS]) -> Vec<u32> {
    let (mut list, mut count) = (null_mut(), 0);
    // SAFETY: on success the list is the caller's to free.
    if unsafe { WTSEnumerateSessionsW(WTS_CURRENT_SERVER_HANDLE, 0, 1, &mut list, &mut count) } == 0
        || list.is_null()
    {
        return Vec::new();
    }
    // SAFETY: as many entries are there as is said; the list is freed once, after they were read.
    unsafe {
        let entries: &[WTS_SESSION_INFOW] = &*slice_from_raw_parts(list, (count as usize).min(MAX_SESSIONS));
        let sessions =
            entries.iter().filter(|entry| states.contains(&entry.State)).map(|entry| entry.SessionId);
        let sessions = sessions.collect();
        WTSFreeMemory(list.cast());
        sessions
    }
}

fn user(session: u32) -> Option<User> {
    let (mut buffer, mut length) = (null_mut(), 0);
    // SAFETY: on success the buffer is the caller's to free.
    let asked = unsafe {
        WTSQuerySessionInformationW(
            WTS_CURRENT_SERVER_HANDLE,
            session,
            WTSSessionInfo,
            &mut buffer,
            &mut length,
        )
    };
    if asked == 0 || buffer.is_null() {
        return None;
    }
    // SAFETY: a buffer of at least this size holds a `WTSINFOW`, whatever its alignment; it is freed once, after it was
    // copied.
    let information = unsafe {
        let is_whole = length as usize >= size_of::<WTSINFOW>();
        let copy = is_whole.then(|| buffer.cast::<WTSINFOW>().read_unaligned());
        WTSFreeMemory(buffer.cast());
        copy?
    };
    let (domain, name) = (wide::text(&information.Domain), wide::text(&information.UserName));
    if name.is_empty() {
        return None;
    }
    let idle = information.CurrentTime.checked_sub(information.LastInputTime);
    Some(User {
        session,
        began: information.LogonTime,
        is_connected: information.State == WTSActive,
        name: if domain.is_empty() { name } else { format!(r"{domain}\{name}") },
        idle_seconds: idle
            .filter(|_| information.LastInputTime > 0)
            .and_then(|idle| u64::try_from(idle / 10_000_000).ok()),
    })
}
