//! What a segment holds before it is compressed and sealed: records, one after the other.
//!
//! | bytes | |
//! |---|---|
//! | 0 | kind: 1 typed, 2 shown, 3 [`Happening`], 4 [`State`] |
//! | 1–8 | microseconds since the recording began, big-endian |
//! | 9–12 | channel, big-endian; 0: the session itself |
//! | 13–16 | length of the body, big-endian |
//! | 17– | body; of kinds 1 and 2 its first eight bytes are the stream's offset, of the others it is JSON |

use super::happening::Happening;
use super::observer::State;
use gururmm_protocol::tunnel::ChannelId;
use serde::Serialize;
use serde::de::DeserializeOwned;

const HEADER_BYTES: usize = 17;
const OFFSET_BYTES: usize = 8;

/// A segment's bytes are not records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a segment of the recording cannot be read")]
pub struct Unreadable;

/// One record.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    pub at_us: u64,
    pub channel: ChannelId,
    pub content: Content<'a>,
}

/// What it holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content<'a> {
    /// Bytes to a terminal, from this offset of its stream on.
    Typed {
        offset: u64,
        bytes: &'a [u8],
    },
    /// Bytes from a terminal.
    Shown {
        offset: u64,
        bytes: &'a [u8],
    },
    Happened(Happening),
    /// How far all channels were at the segment's end, for whoever goes on with the recording.
    State(State),
    /// A kind that a later version writes.
    Unknown,
}

/// Writes records.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Bytes so far.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of it.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub fn typed(&mut self, at_us: u64, channel: ChannelId, offset: u64, bytes: &[u8]) {
        self.stream(1, at_us, channel, offset, bytes);
    }

    pub fn shown(&mut self, at_us: u64, channel: ChannelId, offset: u64, bytes: &[u8]) {
        self.stream(2, at_us, channel, offset, bytes);
    }

    pub fn happened(&mut self, at_us: u64, channel: ChannelId, happening: &Happening) {
        self.json(3, at_us, channel, happening);
    }

    pub fn state(&mut self, at_us: u64, state: &State) {
        self.json(4, at_us, 0, state);
    }

    fn stream(&mut self, kind: u8, at_us: u64, channel: ChannelId, offset: u64, bytes: &[u8]) {
        self.header(kind, at_us, channel, OFFSET_BYTES + bytes.len());
        self.0.extend_from_slice(&offset.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    fn json<T: Serialize>(&mut self, kind: u8, at_us: u64, channel: ChannelId, value: &T) {
        // Types of this module alone, none of which JSON refuses.
        let body = serde_json::to_vec(value).unwrap_or_default();
        self.header(kind, at_us, channel, body.len());
        self.0.extend_from_slice(&body);
    }

    fn header(&mut self, kind: u8, at_us: u64, channel: ChannelId, length: usize) {
        self.0.push(kind);
        self.0.extend_from_slice(&at_us.to_be_bytes());
        self.0.extend_from_slice(&channel.to_be_bytes());
        self.0.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }
}

/// Reads records until the end, or until one that cannot be read.
pub fn read(bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, Unreadable>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (record, after) = match one(rest) {
            Some((record, after)) => (Ok(record), after),
            None => (Err(Unreadable), &[][..]),
        };
        rest = after;
        Some(record)
    })
}

fn one(bytes: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
    let [kind, a, b, c, d, e, f, g, h, i, j, k, l, length @ ..] = *header;
    let (body, rest) = rest.split_at_checked(u32::from_be_bytes(length) as usize)?;
    let content = match kind {
        1 | 2 => {
            let (offset, bytes) = body.split_first_chunk::<OFFSET_BYTES>()?;
            let offset = u64::from_be_bytes(*offset);
            if kind == 1 { Content::Typed { offset, bytes } } else { Content::Shown { offset, bytes } }
        }
        3 => Content::Happened(json(body)?),
        4 => Content::State(json(body)?),
        _ => Content::Unknown,
    };
    let at_us = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    Some((Record { at_us, channel: u32::from_be_bytes([i, j, k, l]), content }, rest))
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn records_are_read_as_they_were_written() {
        let mut writer = Writer::default();
        writer.typed(1, 7, 0, b"l\xff");
        writer.shown(1 << 40, u32::MAX, 1 << 50, b"");
        writer.happened(3, 0, &Happening::AgentLost {});
        writer.state(4, &State::default());
        let bytes = writer.into_bytes();
        let records: Vec<Record<'_>> = read(&bytes).collect::<Result<_, _>>().unwrap();
        let contents = [
            Content::Typed { offset: 0, bytes: b"l\xff" },
            Content::Shown { offset: 1 << 50, bytes: b"" },
            Content::Happened(Happening::AgentLost {}),
            Content::State(State::default()),
        ];
        assert_eq!(records.iter().map(|record| record.content.clone()).collect::<Vec<_>>(), contents);
        assert_eq!((records[1].at_us, records[1].channel), (1 << 40, u32::MAX));
        for cut in 1..bytes.len() {
            let whole = read(&bytes[..cut]).filter(Result::is_ok).count();
            assert!(whole < 4, "{cut}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail_otherwise(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let records = read(&bytes).count();
            prop_assert!(records <= bytes.len());
        }
    }
}
