//! journald's journal, by `journalctl`, whose JSON is `systemd.journal-fields(7)`.

use super::{LOOKED_WITHIN, Past, Wanted};
use crate::capabilities::tool::{Lines, Tool};
use crate::os;
use gururmm_protocol::tunnel::events::{Level, LogEntry};
use gururmm_protocol::tunnel::{ChannelError, ErrorCode};
use serde::Deserialize;
use std::io;
use tokio::process::{Child, ChildStdout};
use tokio::time::timeout;

/// A longer entry is left out.
const MAX_LINE_BYTES: usize = 256 * 1024;

/// The journal as it is read.
pub(super) struct Log {
    tool: Tool,
    wanted: Wanted,
    /// The place of the newest entry that was seen.
    cursor: Option<String>,
    following: Option<(Child, Lines<ChildStdout>)>,
}

/// What is looked at of an entry.
#[derive(Debug, Deserialize)]
struct Fields {
    #[serde(rename = "__CURSOR")]
    cursor: Option<String>,
    #[serde(rename = "__REALTIME_TIMESTAMP")]
    time: Option<String>,
    #[serde(rename = "PRIORITY")]
    priority: Option<Value>,
    #[serde(rename = "MESSAGE")]
    message: Option<Value>,
    #[serde(rename = "_SYSTEMD_UNIT")]
    unit: Option<Value>,
    #[serde(rename = "SYSLOG_IDENTIFIER")]
    identifier: Option<Value>,
    #[serde(rename = "_COMM")]
    program: Option<Value>,
    #[serde(rename = "_PID")]
    pid: Option<Value>,
}

/// A field is a text; an array of bytes where it is not UTF-8; an array of these where it stands there more than once.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Value {
    Text(String),
    Bytes(Vec<u8>),
    Several(Vec<Value>),
}

impl Value {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Bytes(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Self::Several(values) => values.into_iter().next().map(Self::into_text).unwrap_or_default(),
        }
    }
}

impl Log {
    pub(super) fn open(wanted: Wanted) -> Result<Self, ChannelError> {
        let tool = Tool::find("journalctl", "this machine has no journal")?;
        Ok(Self { tool, wanted, cursor: None, following: None })
    }

    /// What there is: read backwards, as far as is needed.
    pub(super) async fn past(&mut self) -> Result<Past, ChannelError> {
        let mut past = Past::default();
        let read = async {
            let (mut child, mut lines) = self.start(&["--reverse".to_owned()])?;
            let mut is_first = true;
            while let Some(line) = lines.next().await? {
                let Some((entry, cursor)) = parse(&line) else { continue };
                if std::mem::take(&mut is_first) {
                    self.cursor = cursor;
                }
                if !self.wanted.is_it(&entry) {
                    continue;
                }
                if past.entries.len() >= self.wanted.limit {
                    past.more = true;
                    return Ok(None);
                }
                past.entries.push(entry);
            }
            child.wait().await.map(Some)
        };
        let read: Result<io::Result<_>, _> = timeout(LOOKED_WITHIN, read).await;
        match read {
            Ok(Ok(Some(status))) if !status.success() && past.entries.is_empty() => {
                Err(ChannelError::new(ErrorCode::Failed, format!("the journal cannot be read: {status}")))
            }
            Ok(Ok(_)) if past.entries.is_empty() && self.is_missing().await => {
                Err(ChannelError::new(ErrorCode::Unsupported, "this machine keeps no journal"))
            }
            Ok(Ok(_)) => Ok(past),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => {
                past.more = true;
                Ok(past)
            }
        }
    }

    /// Whether there is no journal that something could stand in, as where another init than systemd runs: `journalctl` is
    /// content with that.
    async fn is_missing(&self) -> bool {
        let header = self.tool.run(&["--header", "--no-pager", "--quiet"], LOOKED_WITHIN).await;
        header.is_ok_and(|header| header.trim().is_empty())
    }

    /// What comes: at least one entry. What was read is kept when it is not waited for.
    pub(super) async fn next(&mut self) -> Result<Vec<LogEntry>, ChannelError> {
        loop {
            let lines = match &mut self.following {
                Some((_, lines)) => lines,
                None => {
                    let from = self.cursor.as_ref().map(|cursor| format!("--after-cursor={cursor}"));
                    // Without an entry there is none to begin behind.
                    let from = from.unwrap_or_else(|| "--lines=0".to_owned());
                    let following =
                        self.start(&["--follow".to_owned(), from]).map_err(|error| failed(&error))?;
                    &mut self.following.insert(following).1
                }
            };
            let line = lines.next().await.map_err(|error| failed(&error))?;
            let line = line.ok_or_else(|| ChannelError::new(ErrorCode::Failed, "the journal is closed"))?;
            if let Some((entry, _)) = parse(&line)
                && self.wanted.is_it(&entry)
            {
                return Ok(vec![entry]);
            }
        }
    }

    fn start(&self, how: &[String]) -> io::Result<(Child, Lines<ChildStdout>)> {
        let words = self.words(how);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut command = self.tool.command(&words);
        let mut child = os::spawn(command.stderr(std::process::Stdio::null()))?;
        let stdout = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        Ok((child, Lines::new(stdout, MAX_LINE_BYTES)))
    }

    fn words(&self, how: &[String]) -> Vec<String> {
        let mut words: Vec<String> =
            ["--output=json", "--all", "--no-pager", "--quiet"].map(str::to_owned).to_vec();
        words.extend_from_slice(how);
        let Wanted { log, level, since_ms, until_ms, .. } = &self.wanted;
        words.extend(log.as_ref().map(|unit| format!("--unit={unit}")));
        words.extend(level.map(|level| format!("--priority={}", priority(level))));
        words.extend(since_ms.map(|since| format!("--since=@{}", since.div_euclid(1_000))));
        words.extend(until_ms.map(|until| format!("--until=@{}", until.div_euclid(1_000).saturating_add(1))));
        words
    }
}

fn failed(error: &io::Error) -> ChannelError {
    ChannelError::new(ErrorCode::Failed, format!("the journal cannot be read: {error}"))
}

/// The least grave of syslog's that it includes.
fn priority(level: Level) -> u8 {
    match level {
        Level::Critical => 2,
        Level::Error => 3,
        Level::Warning => 4,
        Level::Info => 6,
        Level::Debug => 7,
    }
}

fn parse(line: &[u8]) -> Option<(LogEntry, Option<String>)> {
    let fields: Fields = serde_json::from_slice(line).ok()?;
    let text = |value: Option<Value>| value.map(Value::into_text).filter(|text| !text.is_empty());
    let level = match text(fields.priority).and_then(|priority| priority.parse::<u8>().ok()) {
        Some(0..=2) => Level::Critical,
        Some(3) => Level::Error,
        Some(4) => Level::Warning,
        Some(7) => Level::Debug,
        _ => Level::Info,
    };
    let source = text(fields.identifier).or_else(|| text(fields.program)).or_else(|| text(fields.unit));
    let entry = LogEntry {
        time_ms: fields.time?.parse::<i64>().ok()? / 1_000,
        level,
        source: source.unwrap_or_default(),
        log: None,
        event_id: None,
        pid: text(fields.pid).and_then(|pid| pid.parse().ok()),
        text: text(fields.message).unwrap_or_default(),
    };
    Some((entry, fields.cursor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use gururmm_protocol::tunnel::events::OpenEvents;

    #[test]
    fn entries_are_read_in_whatever_form_their_fields_have() {
        let line =
            br#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1893456000123456","PRIORITY":"3","_PID":"41",
            "SYSLOG_IDENTIFIER":"sshd","_SYSTEMD_UNIT":"ssh.service","MESSAGE":"no","_BOOT_ID":"x"}"#;
        let (entry, cursor) = parse(line).unwrap();
        assert_eq!((entry.time_ms, entry.level, entry.pid), (1_893_456_000_123, Level::Error, Some(41)));
        assert_eq!((entry.source.as_str(), entry.text.as_str()), ("sshd", "no"));
        assert_eq!(cursor.as_deref(), Some("s=1;i=2"));
        let odd =
            br#"{"__REALTIME_TIMESTAMP":"1000","MESSAGE":[104,105,255],"_COMM":["a","b"],"PRIORITY":null}"#;
        let (entry, _) = parse(odd).unwrap();
        assert_eq!((entry.text.as_str(), entry.source.as_str()), ("hi\u{fffd}", "a"));
        assert_eq!(entry.level, Level::Info);
        assert!(parse(b"-- No entries --").is_none() && parse(b"{}").is_none());
    }

    #[test]
    fn what_a_tech_asks_for_is_part_of_a_word_and_never_a_word() {
        let open = OpenEvents {
            log: Some("--vacuum-size=1".into()),
            level: Some(Level::Warning),
            since_ms: Some(1_500),
            until_ms: Some(2_500),
            limit: 1,
            ..OpenEvents::default()
        };
        let tool = Tool::find("sh", "").unwrap();
        let log = Log { tool, wanted: Wanted::of(&open), cursor: None, following: None };
        let words = log.words(&["--reverse".to_owned()]);
        let own = ["--unit=--vacuum-size=1", "--priority=4", "--since=@1", "--until=@3"];
        assert_eq!(words[words.len() - 4..], own);
    }
}
