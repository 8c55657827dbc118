//! The agent logs from its first line: to the journal under systemd, to Windows' event log and macOS' unified log as a
//! service, to standard error else. One that runs also keeps its log in its state folder, to be sent when someone asks for it and after a
//! crash.

#[cfg(any(windows, target_os = "macos"))]
mod events;
mod file;
mod line;
mod own;
mod tail;
#[cfg(test)]
mod tests;

pub use line::one_line;
pub use own::OwnLog;
pub use tail::{Tail, last_written, newest};

use std::sync::Arc;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What launchd calls the agent's daemon.
#[cfg(target_os = "macos")]
const LAUNCHD_LABEL: &str = "com.gururmm.agent";

/// The log's folder in the state folder.
pub const LOG_DIR: &str = "log";

/// Sets logging up; `own` takes every line, too. `is_service` says that nobody reads standard error. Call once.
#[cfg_attr(
    target_os = "linux",
    expect(unused_variables, reason = "a service's standard error is read there")
)]
pub fn init(level: LevelFilter, own: Option<Arc<OwnLog>>, is_service: bool) {
    let own = own.map(|own| tracing_subscriber::fmt::layer().with_writer(own).with_ansi(false));
    let registry = tracing_subscriber::registry().with(level).with(own);
    #[cfg(target_os = "linux")]
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journald) = tracing_journald::layer()
    {
        registry.with(journald.with_syslog_identifier("gururmm-agent".into())).init();
        return;
    }
    // launchd says whom it started, to children, too.
    #[cfg(target_os = "macos")]
    let is_service =
        is_service || std::env::var_os("XPC_SERVICE_NAME").is_some_and(|name| name == LAUNCHD_LABEL);
    #[cfg(any(windows, target_os = "macos"))]
    if is_service && let Some(events) = events::layer() {
        registry.with(events).init();
        return;
    }
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    registry.with(stderr).init();
}
