//! Windows' registry. Other systems have none, and say so.

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::run;

#[cfg(any(windows, test))]
mod export;
#[cfg(any(windows, test))]
mod keys;

/// Says that there is none.
#[cfg(not(windows))]
pub async fn run(_channel: crate::tunnel::channel::Channel) -> gururmm_protocol::tunnel::ChannelEnd {
    use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
    let unsupported = crate::os::Unsupported::here("only Windows has a registry");
    ChannelError::new(ErrorCode::Unsupported, unsupported.to_string()).into()
}
