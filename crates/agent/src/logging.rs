//! The agent logs from its first line: to the journal under systemd, to Windows' event log as a service, to standard
//! error else. One that runs also keeps its log in its state folder, to be sent when someone asks for it and after a
//! crash.

#[cfg(windows)]
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

/// The log's folder in the state folder.
pub const LOG_DIR: &str = "log";

/// Sets logging up; `own` takes every line, too. `is_service` says that nobody reads standard error. Call once.
#[cfg_attr(not(windows), expect(unused_variables, reason = "elsewhere a service's standard error is read"))]
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
    #[cfg(windows)]
    if is_service && let Some(events) = events::layer() {
        registry.with(events).init();
        return;
    }
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    registry.with(stderr).init();
}
