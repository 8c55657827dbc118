//! Since when the user of this process's own session has not touched keyboard or mouse, where only a program in the
//! session can ask.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

use std::time::Duration;

/// What is kept from one question to the next.
#[derive(Debug, Default)]
pub struct LastInput {
    source: platform::Source,
}

impl LastInput {
    /// `None` where this session does not tell.
    pub async fn idle(&mut self) -> Option<Duration> {
        self.source.idle().await
    }
}
