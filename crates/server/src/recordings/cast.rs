//! A terminal's recording as asciicast v2 (docs.asciinema.org/manual/asciicast/v2): a header, then one event a line.
//!
//! Text in JSON is Unicode, a terminal's bytes need not be. A character whose bytes came in two frames stands whole in
//! the later event. Bytes that are no UTF-8 show as U+FFFD, as terminals show them, and the event is followed by one more
//! with the exact bytes in base64, `ob` for output and `ib` for input, which players pass over as they do with every code
//! that they do not know. So the bytes of either direction are those of its events in order, each replaced by the one
//! that follows it where there is one.

use super::happening::Happening;
use super::records::{Content, Record};
use base64::Engine as _;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

/// What is taken where the terminal's size is not in the recording.
const DEFAULT_SIZE: (u16, u16) = (80, 24);
/// What a marker says of a line that was not shown while it was typed.
const NOT_SHOWN: &str = "(typed without being shown)";

/// Writes a cast, record by record.
#[derive(Debug)]
pub struct Cast {
    started_at: DateTime<Utc>,
    title: String,
    size: Option<(u16, u16)>,
    has_begun: bool,
    at_us: u64,
    typed: Text,
    shown: Text,
}

/// One direction.
#[derive(Debug, Default)]
struct Text {
    /// Where the next byte stands.
    next: u64,
    /// The beginning of a character.
    partial: Vec<u8>,
}

impl Cast {
    /// Of a terminal in a session that began then.
    pub fn new(started_at: DateTime<Utc>, title: String) -> Self {
        Self {
            started_at,
            title,
            size: None,
            has_begun: false,
            at_us: 0,
            typed: Text::default(),
            shown: Text::default(),
        }
    }

    /// One record of the terminal's channel.
    pub fn record(&mut self, record: &Record<'_>, lines: &mut String) {
        self.at_us = self.at_us.max(record.at_us);
        match &record.content {
            Content::Typed { offset, bytes } => self.bytes(false, *offset, bytes, lines),
            Content::Shown { offset, bytes } => self.bytes(true, *offset, bytes, lines),
            Content::Happened(happening) => self.happened(happening, lines),
            Content::State(_) | Content::Unknown => {}
        }
    }

    /// What is left; `None` when there was nothing, or all was said.
    pub fn finish(&mut self) -> Option<String> {
        let mut lines = String::new();
        self.flush(&mut lines);
        (!lines.is_empty()).then_some(lines)
    }

    fn happened(&mut self, happening: &Happening, lines: &mut String) {
        match happening {
            Happening::Opened { kind, .. } | Happening::Found { kind, .. } if kind == "terminal" => {
                self.flush(lines);
                (self.typed, self.shown) = (Text::default(), Text::default());
                if self.has_begun {
                    self.event("m", "another terminal", lines);
                }
            }
            Happening::Resized { columns, rows } => {
                if self.has_begun {
                    self.event("r", &format!("{columns}x{rows}"), lines);
                } else {
                    self.size = Some((*columns, *rows));
                    self.begin(lines);
                }
            }
            Happening::Entered { line, is_exact } => {
                let label = match line.as_deref() {
                    None => NOT_SHOWN.to_owned(),
                    Some(line) if *is_exact => line.to_owned(),
                    Some(line) => format!("{line} …").trim_start().to_owned(),
                };
                self.event("m", &label, lines);
            }
            Happening::Gap { from_machine, from, to } => {
                let what = if *from_machine { "output" } else { "input" };
                let missing = to.saturating_sub(*from);
                self.event("m", &format!("({missing} bytes of {what} are not in the recording)"), lines);
                let text = if *from_machine { &mut self.shown } else { &mut self.typed };
                text.next = text.next.max(*to);
            }
            Happening::NotReceived { from, .. } => {
                self.typed.next = *from;
                self.event("m", "(the link was lost: what was typed last did not arrive)", lines);
            }
            _ => {}
        }
    }

    fn bytes(&mut self, is_output: bool, offset: u64, bytes: &[u8], lines: &mut String) {
        self.begin(lines);
        let text = if is_output { &mut self.shown } else { &mut self.typed };
        // Two hosts of one session may each have written it.
        let known = usize::try_from(text.next.saturating_sub(offset)).unwrap_or(usize::MAX);
        let Some(bytes) = bytes.get(known..).filter(|bytes| !bytes.is_empty()) else { return };
        text.next = offset.max(text.next).saturating_add(bytes.len() as u64);
        let mut whole = std::mem::take(&mut text.partial);
        whole.extend_from_slice(bytes);
        let end = whole.len() - incomplete(&whole);
        text.partial = whole.split_off(end);
        self.say(is_output, &whole, lines);
    }

    fn flush(&mut self, lines: &mut String) {
        for is_output in [true, false] {
            let text = if is_output { &mut self.shown } else { &mut self.typed };
            let partial = std::mem::take(&mut text.partial);
            self.say(is_output, &partial, lines);
        }
    }

    fn say(&mut self, is_output: bool, bytes: &[u8], lines: &mut String) {
        if bytes.is_empty() {
            return;
        }
        let code = if is_output { "o" } else { "i" };
        match std::str::from_utf8(bytes) {
            Ok(text) => self.event(code, text, lines),
            Err(_) => {
                self.event(code, &String::from_utf8_lossy(bytes), lines);
                let exact = base64::engine::general_purpose::STANDARD.encode(bytes);
                self.event(if is_output { "ob" } else { "ib" }, &exact, lines);
            }
        }
    }

    fn begin(&mut self, lines: &mut String) {
        if std::mem::replace(&mut self.has_begun, true) {
            return;
        }
        let (width, height) = self.size.unwrap_or(DEFAULT_SIZE);
        let header = json!({
            "version": 2,
            "width": width,
            "height": height,
            "timestamp": self.started_at.timestamp(),
            "title": self.title,
        });
        line(&header, lines);
    }

    fn event(&mut self, code: &str, data: &str, lines: &mut String) {
        self.begin(lines);
        line(&json!([self.at_us as f64 / 1e6, code, data]), lines);
    }
}

fn line(value: &Value, lines: &mut String) {
    lines.push_str(&value.to_string());
    lines.push('\n');
}

/// Bytes at the end that begin a character and may be completed.
fn incomplete(bytes: &[u8]) -> usize {
    let tail = &bytes[bytes.len().saturating_sub(3)..];
    for (place, byte) in tail.iter().enumerate().rev() {
        let wanted = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        let there = tail.len() - place;
        return if there < wanted { there } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cast(records: &[Record<'_>]) -> Vec<Value> {
        let mut cast = Cast::new(DateTime::UNIX_EPOCH, "ws-01, Tess".to_owned());
        let mut lines = String::new();
        records.iter().for_each(|record| cast.record(record, &mut lines));
        lines.push_str(&cast.finish().unwrap_or_default());
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn shown(at_us: u64, offset: u64, bytes: &[u8]) -> Record<'_> {
        Record { at_us, channel: 1, content: Content::Shown { offset, bytes } }
    }

    fn happened(at_us: u64, happening: Happening) -> Record<'static> {
        Record { at_us, channel: 1, content: Content::Happened(happening) }
    }

    /// The bytes of a direction, as the module's text says.
    fn bytes(events: &[Value], code: &str) -> Vec<u8> {
        let mut bytes: Vec<Vec<u8>> = Vec::new();
        for event in events.iter().skip(1) {
            let data = event[2].as_str().unwrap();
            if event[1] == code {
                bytes.push(data.as_bytes().to_vec());
            } else if event[1] == format!("{code}b") {
                *bytes.last_mut().unwrap() = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
            }
        }
        bytes.concat()
    }

    #[test]
    fn it_is_a_header_and_events() {
        let entered =
            |line: Option<&str>, is_exact| Happening::Entered { line: line.map(str::to_owned), is_exact };
        let events = cast(&[
            happened(1, Happening::Opened { kind: "terminal".to_owned(), channel: json!({}) }),
            happened(1, Happening::Resized { columns: 120, rows: 40 }),
            shown(500_000, 0, b"$ "),
            Record { at_us: 750_000, channel: 1, content: Content::Typed { offset: 0, bytes: b"ls\r" } },
            happened(750_000, entered(Some("ls"), true)),
            happened(800_000, entered(None, true)),
            happened(800_000, entered(Some(""), false)),
            happened(1_000_000, Happening::Resized { columns: 80, rows: 24 }),
            happened(1_000_000, Happening::Gap { from_machine: true, from: 2, to: 9 }),
            shown(1_250_000, 9, b"x"),
        ]);
        let header =
            json!({"version": 2, "width": 120, "height": 40, "timestamp": 0, "title": "ws-01, Tess"});
        let gap = "(7 bytes of output are not in the recording)";
        let expected = [
            header,
            json!([0.5, "o", "$ "]),
            json!([0.75, "i", "ls\r"]),
            json!([0.75, "m", "ls"]),
            json!([0.8, "m", NOT_SHOWN]),
            json!([0.8, "m", "…"]),
            json!([1.0, "r", "80x24"]),
            json!([1.0, "m", gap]),
            json!([1.25, "o", "x"]),
        ];
        assert_eq!(events, expected);
    }

    #[test]
    fn a_character_in_two_frames_is_one_and_what_is_none_is_kept_exactly() {
        let events =
            cast(&[shown(1, 0, b"gr\xc3"), shown(2, 3, b"\xbc\xc3\x9fe"), shown(3, 7, b"\xff!\xe2\x82")]);
        let texts: Vec<&str> = events[1..].iter().map(|event| event[2].as_str().unwrap()).collect();
        assert_eq!(texts, ["gr", "üße", "\u{fffd}!", "/yE=", "\u{fffd}", "4oI="]);
        assert_eq!(bytes(&events, "o"), b"gr\xc3\xbc\xc3\x9fe\xff!\xe2\x82");
    }

    proptest! {
        #[test]
        fn every_byte_is_in_it_once(pieces in proptest::collection::vec(
            (proptest::collection::vec(any::<u8>(), 1..20), 0_usize..20), 0..20,
        )) {
            let mut all: Vec<u8> = Vec::new();
            let mut starts = Vec::new();
            for (piece, again) in &pieces {
                starts.push((all.len().saturating_sub(*again), all.len() + piece.len()));
                all.extend_from_slice(piece);
            }
            let records: Vec<_> =
                starts.iter().map(|(start, end)| shown(0, *start as u64, &all[*start..*end])).collect();
            prop_assert_eq!(bytes(&cast(&records), "o"), all);
        }
    }
}
