//! macOS's unified log, by `log`. Built here, not run.

use super::{LOOKED_WITHIN, Past, Wanted};
use crate::capabilities::tool::{Lines, Tool};
use crate::os;
use chrono::DateTime;
use gururmm_protocol::tunnel::events::{Level, LogEntry};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use serde::Deserialize;
use std::collections::VecDeque;
use std::io;
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

/// A longer entry is left out.
const MAX_LINE_BYTES: usize = 256 * 1024;
/// How far back is looked when nothing is said: all of it would take minutes.
const LAST: &str = "1h";

/// The log as it is read.
pub(super) struct Log {
    tool: Tool,
    wanted: Wanted,
    following: Option<(Child, Lines<ChildStdout>)>,
}

/// What is looked at of an entry.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fields {
    timestamp: String,
    message_type: Option<String>,
    event_message: Option<String>,
    process_image_path: Option<String>,
    subsystem: Option<String>,
    #[serde(rename = "processID")]
    process_id: Option<u32>,
}

impl Log {
    pub(super) fn open(wanted: Wanted) -> Result<Self, ChannelError> {
        let tool = Tool::find("log", "this machine has no unified log")?;
        Ok(Self { tool, wanted, following: None })
    }

    /// What there is. It is printed from the oldest on, so that only the last of it are kept.
    pub(super) async fn past(&mut self) -> Result<Past, ChannelError> {
        let mut kept: VecDeque<LogEntry> = VecDeque::new();
        let mut more = false;
        let wanted = self.wanted.clone();
        let mut words = vec!["show".to_owned(), "--style=ndjson".to_owned()];
        match wanted.since_ms {
            Some(since) => words.extend(["--start".to_owned(), format!("@{}", since.div_euclid(1_000))]),
            None => words.extend(["--last".to_owned(), LAST.to_owned()]),
        }
        if let Some(until) = wanted.until_ms {
            words.extend(["--end".to_owned(), format!("@{}", until.div_euclid(1_000).saturating_add(1))]);
        }
        let read = async {
            let (_child, mut lines) = self.start(words)?;
            while let Some(line) = lines.next().await? {
                if let Some(entry) = parse(&line).filter(|entry| wanted.is_it(entry)) {
                    if kept.len() >= wanted.limit {
                        kept.pop_front();
                        more = true;
                    }
                    kept.push_back(entry);
                }
            }
            Ok(())
        };
        let read: Result<io::Result<()>, _> = timeout(LOOKED_WITHIN, read).await;
        match read {
            Ok(Err(error)) => Err(failed(&error)),
            read => Ok(Past { entries: kept.into_iter().rev().collect(), more: more || read.is_err() }),
        }
    }

    /// What comes: at least one entry. What was read is kept when it is not waited for.
    pub(super) async fn next(&mut self) -> Result<Vec<LogEntry>, ChannelError> {
        loop {
            let lines = match &mut self.following {
                Some((_, lines)) => lines,
                None => {
                    let words = vec!["stream".to_owned(), "--style=ndjson".to_owned()];
                    let following = self.start(words).map_err(|error| failed(&error))?;
                    &mut self.following.insert(following).1
                }
            };
            let line = lines.next().await.map_err(|error| failed(&error))?;
            let line = line.ok_or_else(|| ChannelError::new(ErrorCode::Failed, "the log is closed"))?;
            if let Some(entry) = parse(&line).filter(|entry| self.wanted.is_it(entry)) {
                return Ok(vec![entry]);
            }
        }
    }

    fn start(&self, mut words: Vec<String>) -> io::Result<(Child, Lines<ChildStdout>)> {
        if let Some(level @ (Level::Info | Level::Debug)) = self.wanted.level {
            let is_stream = words.first().is_some_and(|word| word == "stream");
            let name = if level == Level::Debug { "debug" } else { "info" };
            words.push(if is_stream { format!("--level={name}") } else { format!("--{name}") });
        }
        if let Some(process) = &self.wanted.log {
            // The text stands in quotes, and cannot end them.
            let plain: String = process.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
            words.extend(["--predicate".to_owned(), format!("process == \"{plain}\"")]);
        }
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.tool.command(&words);
        let mut child = os::spawn(command.stderr(std::process::Stdio::null()))?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((child, Lines::new(stdout, MAX_LINE_BYTES)))
    }
}

fn failed(error: &io::Error) -> ChannelError {
    ChannelError::new(ErrorCode::Failed, format!("the log cannot be read: {error}"))
}

fn parse(line: &[u8]) -> Option<LogEntry> {
    let fields: Fields = serde_json::from_slice(line).ok()?;
    let time = DateTime::parse_from_str(&fields.timestamp, "%Y-%m-%d %H:%M:%S%.f%z").ok()?;
    let level = match fields.message_type.as_deref() {
        Some("Fault") => Level::Critical,
        Some("Error") => Level::Error,
        Some("Debug") => Level::Debug,
        _ => Level::Info,
    };
    let process = fields.process_image_path.unwrap_or_default();
    Some(LogEntry {
        time_ms: time.timestamp_millis(),
        level,
        source: process.rsplit('/').next().unwrap_or_default().to_owned(),
        log: fields.subsystem.filter(|subsystem| !subsystem.is_empty()),
        event_id: None,
        pid: fields.process_id,
        text: fields.event_message.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read() {
        let line =
            br#"{"timestamp":"2031-01-01 01:00:00.250000+0100","messageType":"Error","eventMessage":"no",
            "processImagePath":"\/usr\/libexec\/x","processID":7,"subsystem":"com.example"}"#;
        let entry = parse(line).unwrap();
        assert_eq!((entry.time_ms, entry.level, entry.pid), (1_924_992_000_250, Level::Error, Some(7)));
        assert_eq!((entry.source.as_str(), entry.text.as_str()), ("x", "no"));
    }
}
