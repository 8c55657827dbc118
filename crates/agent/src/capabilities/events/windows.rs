//! Windows' event log.

use super::{LOOKED_WITHIN, Past, Wanted};
use crate::os::events::{self, Found, Query};
use chrono::{DateTime, SecondsFormat};
use gururmm_protocol::tunnel::events::{Level, LogEntry};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use std::collections::VecDeque;
use std::io;
use std::time::{Duration, Instant};

/// Where is looked when nothing is said.
const USUAL: [&str; 2] = ["System", "Application"];
/// How often is looked for what came.
const LOOKED_EVERY: Duration = Duration::from_secs(1);
/// Entries that are taken at one look for what came.
const AT_ONCE: usize = 500;

/// The logs as they are read.
pub(super) struct Log {
    wanted: Wanted,
    /// Each with the number of the newest entry that was seen.
    logs: Vec<(String, u64)>,
    ready: VecDeque<LogEntry>,
}

impl Log {
    pub(super) fn open(wanted: Wanted) -> Result<Self, ChannelError> {
        let own = wanted.log.clone().map(|log| vec![log]);
        let names = own.unwrap_or_else(|| USUAL.map(str::to_owned).to_vec());
        Ok(Self { wanted, logs: names.into_iter().map(|name| (name, 0)).collect(), ready: VecDeque::new() })
    }

    /// What there is: read backwards, as far as is needed.
    pub(super) async fn past(&mut self) -> Result<Past, ChannelError> {
        let (wanted, mut logs) = (self.wanted.clone(), self.logs.clone());
        let (past, logs) = on_a_thread(move || {
            let until = Instant::now() + LOOKED_WITHIN;
            let mut past = Past::default();
            for (name, newest) in &mut logs {
                *newest = events::newest(name)?;
                let mut query = Query::new(name, &condition(&wanted, None), true)?;
                let mut count = 0;
                while let Some(found) = query.next()? {
                    let entry = entry(found);
                    if !wanted.is_it(&entry) {
                        continue;
                    }
                    if count >= wanted.limit || Instant::now() > until {
                        past.more = true;
                        break;
                    }
                    count += 1;
                    past.entries.push(entry);
                }
            }
            past.entries.sort_by_key(|entry| std::cmp::Reverse(entry.time_ms));
            past.more |= past.entries.len() > wanted.limit;
            past.entries.truncate(wanted.limit);
            Ok((past, logs))
        })
        .await?;
        self.logs = logs;
        Ok(past)
    }

    /// What comes: at least one entry. What was read is kept when it is not waited for.
    pub(super) async fn next(&mut self) -> Result<Vec<LogEntry>, ChannelError> {
        while self.ready.is_empty() {
            tokio::time::sleep(LOOKED_EVERY).await;
            let (wanted, mut logs) = (self.wanted.clone(), self.logs.clone());
            let (entries, logs) = on_a_thread(move || {
                let mut entries = Vec::new();
                for (name, newest) in &mut logs {
                    let mut query = Query::new(name, &condition(&wanted, Some(*newest)), false)?;
                    while entries.len() < AT_ONCE
                        && let Some(found) = query.next()?
                    {
                        *newest = found.number.max(*newest);
                        let entry = entry(found);
                        if wanted.is_it(&entry) {
                            entries.push(entry);
                        }
                    }
                }
                entries.sort_by_key(|entry| entry.time_ms);
                Ok((entries, logs))
            })
            .await?;
            self.logs = logs;
            self.ready.extend(entries);
        }
        Ok(self.ready.drain(..).collect())
    }
}

fn entry(found: Found) -> LogEntry {
    let Found { time_ms, level, provider, log, event_id, pid, text, .. } = found;
    let level = match level {
        1 => Level::Critical,
        2 => Level::Error,
        3 => Level::Warning,
        5.. => Level::Debug,
        _ => Level::Info,
    };
    LogEntry { time_ms, level, source: provider, log: Some(log), event_id: Some(event_id), pid, text }
}

/// In the XPath that the log understands; nothing of it is a text of the tech's.
fn condition(wanted: &Wanted, after: Option<u64>) -> String {
    let mut all = Vec::new();
    if let Some(level) = wanted.level {
        let levels = match level {
            Level::Critical => "Level=1",
            Level::Error => "Level=1 or Level=2",
            Level::Warning => "Level=1 or Level=2 or Level=3",
            Level::Info => "Level<=4",
            Level::Debug => "Level<=255",
        };
        all.push(format!("({levels})"));
    }
    let time = |ms: i64| {
        DateTime::from_timestamp_millis(ms).map(|time| time.to_rfc3339_opts(SecondsFormat::Millis, true))
    };
    if let Some(since) = wanted.since_ms.and_then(time) {
        all.push(format!("TimeCreated[@SystemTime>='{since}']"));
    }
    if let Some(until) = wanted.until_ms.and_then(time) {
        all.push(format!("TimeCreated[@SystemTime<='{until}']"));
    }
    if let Some(after) = after {
        all.push(format!("(EventRecordID>{after})"));
    }
    if all.is_empty() { "*".to_owned() } else { format!("*[System[{}]]", all.join(" and ")) }
}

async fn on_a_thread<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ChannelError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).flatten();
    done.map_err(|error| {
        let code = match error.kind() {
            io::ErrorKind::PermissionDenied => ErrorCode::PermissionDenied,
            io::ErrorKind::NotFound => ErrorCode::NotFound,
            _ if events::is_missing(&error) => ErrorCode::NotFound,
            _ => ErrorCode::Failed,
        };
        ChannelError::new(code, format!("the event log cannot be read: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::tunnel::events::OpenEvents;

    #[test]
    fn what_is_asked_for_becomes_a_condition() {
        let open = OpenEvents { limit: 1, ..OpenEvents::default() };
        assert_eq!(condition(&Wanted::of(&open), None), "*");
        let open = OpenEvents { level: Some(Level::Error), since_ms: Some(1_000), ..open };
        assert_eq!(
            condition(&Wanted::of(&open), Some(7)),
            "*[System[(Level=1 or Level=2) and TimeCreated[@SystemTime>='1970-01-01T00:00:01.000Z'] and (EventRecordID>7)]]"
        );
    }
}
