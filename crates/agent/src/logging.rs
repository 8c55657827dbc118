//! The agent logs from its first line: to the journal under systemd, to standard error else.

use tracing::level_filters::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets logging up. Call once.
pub fn init(level: LevelFilter) {
    let registry = tracing_subscriber::registry().with(level);
    #[cfg(target_os = "linux")]
    if std::env::var_os("JOURNAL_STREAM").is_some()
        && let Ok(journald) = tracing_journald::layer()
    {
        registry.with(journald.with_syslog_identifier("gururmm-agent".into())).init();
        return;
    }
    let stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    registry.with(stderr).init();
}
