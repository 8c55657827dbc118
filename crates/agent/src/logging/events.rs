//! Windows' event log and macOS' unified log take an event's level, and its text as one line.

use super::one_line;
use crate::os::event_log::{EventLog, Severity};
use std::io;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::registry::LookupSpan;

/// A layer that writes to the event log; `None` where that cannot be opened.
pub(super) fn layer<S>() -> Option<impl Layer<S>>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let log = Log(EventLog::open().ok()?);
    // The log dates its events and shows their level itself.
    Some(tracing_subscriber::fmt::layer().without_time().with_level(false).with_ansi(false).with_writer(log))
}

struct Log(EventLog);

/// Writes one event.
struct Writer<'a> {
    log: &'a EventLog,
    severity: Severity,
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Writer<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Writer { log: &self.0, severity: Severity::Information }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> Self::Writer {
        let severity = match *metadata.level() {
            Level::ERROR => Severity::Error,
            Level::WARN => Severity::Warning,
            _ => Severity::Information,
        };
        Writer { log: &self.0, severity }
    }
}

/// `tracing_subscriber` writes each event at once.
impl io::Write for Writer<'_> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        self.log.write(self.severity, &one_line(String::from_utf8_lossy(event).trim_end()))?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
