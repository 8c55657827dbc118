//! The system's log: what there is, and what comes.

#[cfg(target_os = "linux")]
#[path = "journald.rs"]
mod platform;

#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod platform;

#[cfg(windows)]
#[path = "windows.rs"]
mod platform;

use crate::tunnel::channel::{Channel, Gone, Incoming};
use gururmm_protocol::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional};
use gururmm_protocol::tunnel::events::{
    EVENTS_PER_PART, EventsMessage, Level, LogEntry, MAX_EVENTS, OpenEvents,
};
use gururmm_protocol::tunnel::{ChannelEnd, ChannelError, ErrorCode, Opened};
use platform::Log;
use std::time::Duration;

/// How long one look may take; what was found by then is what there is.
const LOOKED_WITHIN: Duration = Duration::from_secs(30);
/// What the entries of one part may take as JSON.
const PART_BYTES: usize = 48 * 1024;

/// What was found of what there is.
#[derive(Debug, Default)]
struct Past {
    /// The newest first.
    entries: Vec<LogEntry>,
    /// There were more of them, or might be.
    more: bool,
}

/// What is asked for.
#[derive(Debug, Clone)]
struct Wanted {
    log: Option<String>,
    level: Option<Level>,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
    /// In lower case.
    text: Option<String>,
    limit: usize,
}

impl Wanted {
    fn of(open: &OpenEvents) -> Self {
        Self {
            log: open.log.clone().filter(|log| !log.is_empty()),
            level: open.level,
            since_ms: open.since_ms,
            until_ms: open.until_ms,
            text: open.text.as_ref().map(|text| text.to_lowercase()).filter(|text| !text.is_empty()),
            limit: open.limit.clamp(1, MAX_EVENTS) as usize,
        }
    }

    /// Looked at once more here: not every system filters all of it, or as exactly.
    fn is_it(&self, entry: &LogEntry) -> bool {
        self.level.is_none_or(|least| entry.level <= least)
            && self.since_ms.is_none_or(|since| entry.time_ms >= since)
            && self.until_ms.is_none_or(|until| entry.time_ms <= until)
            && self.text.as_ref().is_none_or(|text| {
                entry.text.to_lowercase().contains(text) || entry.source.to_lowercase().contains(text)
            })
    }
}

/// Reads, and follows if that was asked for, until the channel ends.
pub async fn run(open: OpenEvents, mut channel: Channel) -> ChannelEnd {
    match read(open, &mut channel).await {
        Ok(()) => ChannelEnd::default(),
        Err(error) => error.into(),
    }
}

async fn read(open: OpenEvents, channel: &mut Channel) -> Result<(), ChannelError> {
    let wanted = Wanted::of(&open);
    let mut log = Log::open(wanted)?;
    channel.sender.opened(Opened::default()).await.map_err(over)?;
    let past = while_listening(channel, log.past()).await??;
    let Past { entries, more } = past;
    send(channel, entries.into_iter().rev().collect()).await?;
    say(channel, &EventsMessage::Caught { more }).await?;
    if !open.follow || open.until_ms.is_some() {
        return Ok(());
    }
    loop {
        let entries = while_listening(channel, log.next()).await??;
        send(channel, entries).await?;
    }
}

/// Does something that may take its time, unless the channel ends meanwhile.
async fn while_listening<T>(channel: &mut Channel, work: impl Future<Output = T>) -> Result<T, ChannelError> {
    let mut work = std::pin::pin!(work);
    loop {
        let incoming = tokio::select! {
            done = &mut work => return Ok(done),
            incoming = channel.incoming.recv() => incoming,
        };
        match incoming {
            None => return Err(over(Gone)),
            Some(Incoming::Attach(_)) => channel.sender.opened(Opened::default()).await.map_err(over)?,
            // Nothing is to be said in this channel.
            Some(other) => channel.sender.grant(other.cost()).await.map_err(over)?,
        }
    }
}

async fn say(channel: &mut Channel, message: &EventsMessage) -> Result<(), ChannelError> {
    let sender = channel.sender.clone();
    while_listening(channel, sender.message(message)).await?.map_err(over)
}

async fn send(channel: &mut Channel, entries: Vec<LogEntry>) -> Result<(), ChannelError> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    for mut entry in entries {
        clean(&mut entry.text, MAX_TEXT_CHARS);
        clean(&mut entry.source, MAX_NAME_CHARS);
        clean_optional(&mut entry.log, MAX_NAME_CHARS);
        let size = serde_json::to_vec(&entry).map_or(0, |json| json.len() + 1);
        if !events.is_empty() && (events.len() >= EVENTS_PER_PART || bytes + size > PART_BYTES) {
            say(channel, &EventsMessage::Events { events: std::mem::take(&mut events) }).await?;
            bytes = 0;
        }
        events.push(entry);
        bytes += size;
    }
    if events.is_empty() { Ok(()) } else { say(channel, &EventsMessage::Events { events }).await }
}

fn over(_: Gone) -> ChannelError {
    ChannelError::new(ErrorCode::Closed, "the channel is closed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_found_whatever_its_case() {
        let entry = LogEntry {
            time_ms: 500,
            level: Level::Warning,
            source: "sshd".into(),
            log: None,
            event_id: None,
            pid: None,
            text: "Failed password for Ada".into(),
        };
        let open = OpenEvents { limit: 9, ..OpenEvents::default() };
        let is_it = |open: OpenEvents| Wanted::of(&open).is_it(&entry);
        assert!(is_it(open.clone()));
        for text in ["ada", "FAILED", "SSHD", ""] {
            assert!(is_it(OpenEvents { text: Some(text.into()), ..open.clone() }), "{text}");
        }
        assert!(!is_it(OpenEvents { text: Some("eve".into()), ..open.clone() }));
        assert!(is_it(OpenEvents { level: Some(Level::Warning), ..open.clone() }));
        assert!(!is_it(OpenEvents { level: Some(Level::Error), ..open.clone() }));
        assert!(!is_it(OpenEvents { since_ms: Some(501), ..open.clone() }));
        assert!(!is_it(OpenEvents { until_ms: Some(499), ..open.clone() }));
        assert_eq!(Wanted::of(&OpenEvents::default()).limit, 1);
        assert_eq!(Wanted::of(&OpenEvents { limit: u32::MAX, ..open }).limit, MAX_EVENTS as usize);
    }
}
