//! The window manager knows, and tells programs of the same session.
#![expect(unsafe_code, reason = "the system's calls about input")]

use std::time::Duration;
use windows_sys::Win32::System::SystemInformation::GetTickCount;
use windows_sys::Win32::UI::Input::KeyboardAndMouse::{GetLastInputInfo, LASTINPUTINFO};

/// There is nothing to keep.
#[derive(Debug, Default)]
pub(super) struct Source;

impl Source {
    pub(super) async fn idle(&mut self) -> Option<Duration> {
        let mut info = LASTINPUTINFO { cbSize: size_of::<LASTINPUTINFO>() as u32, dwTime: 0 };
        // SAFETY: the structure says how large it is; the second call takes nothing.
        let now = unsafe {
            if GetLastInputInfo(&mut info) == 0 {
                return None;
            }
            GetTickCount()
        };
        // Both count milliseconds and begin again after 49 days.
        Some(Duration::from_millis(now.wrapping_sub(info.dwTime).into()))
    }
}
