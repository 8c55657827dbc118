//! The frames of channels: eight bytes of header, then the body.
//!
//! | bytes | |
//! |---|---|
//! | 0–3 | channel, big-endian |
//! | 4 | kind |
//! | 5 | flags |
//! | 6–7 | zero; ignored by a receiver |
//! | 8– | body; of [`FrameKind::Data`] its first eight bytes are the stream's offset, big-endian |
//!
//! Between server and agent the session's id (sixteen bytes) stands before the header.

use crate::ids::TunnelId;
use serde::{Serialize, de::DeserializeOwned};
use uuid::Uuid;

/// A channel's number in its session.
pub type ChannelId = u32;

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 8;
/// Bytes of the session's id before a frame on the agent's socket.
pub const SESSION_BYTES: usize = 16;
/// Bytes of the offset in a data frame's body.
pub const OFFSET_BYTES: usize = 8;
/// Largest body of a frame, in bytes, a data frame's offset among them.
pub const MAX_BODY_BYTES: usize = 64 * 1024;
/// Largest frame with the session's id before it, in bytes.
pub const MAX_FRAME_BYTES: usize = SESSION_BYTES + HEADER_BYTES + MAX_BODY_BYTES;
/// Bytes of a stream that one data frame of a transfer carries: a keystroke waits behind one at most.
pub const PIECE_BYTES: usize = 32 * 1024;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FrameKind {
    /// To the machine: [`super::Open`] as JSON.
    Open = 1,
    /// From the machine: [`super::Opened`] as JSON. Answers `Open` and `Attach`.
    Opened = 2,
    /// Bytes of the channel's stream. Uses credit.
    Data = 3,
    /// One JSON message of the channel's own protocol. Uses credit.
    Message = 4,
    /// Four bytes, big-endian: so many more bytes of bodies may be sent.
    Credit = 5,
    /// The channel's end: [`super::ChannelEnd`] as JSON. Nothing follows on it from who says it.
    End = 6,
    /// To the machine: [`super::Attach`] as JSON. The channel goes on with who says this.
    Attach = 7,
}

impl FrameKind {
    /// The kind with this number.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Open,
            2 => Self::Opened,
            3 => Self::Data,
            4 => Self::Message,
            5 => Self::Credit,
            6 => Self::End,
            7 => Self::Attach,
            _ => return None,
        })
    }
}

/// A frame's flags. Unknown ones are ignored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// Part of a transfer: whatever is not goes first.
    pub const BULK: Self = Self(1);
    /// The last bytes of this direction's stream.
    pub const FIN: Self = Self(2);

    /// Whether all of these are set.
    pub fn has(self, flags: Self) -> bool {
        self.0 & flags.0 == flags.0
    }

    /// Both.
    pub fn and(self, flags: Self) -> Self {
        Self(self.0 | flags.0)
    }
}

/// One frame, its body borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    pub channel: ChannelId,
    pub kind: FrameKind,
    pub flags: Flags,
    pub body: &'a [u8],
}

/// Why bytes are no frame. Holds nothing of their content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Shorter than its header, or than what its kind needs.
    #[error("the frame ends too early")]
    Short,
    /// Longer than any may be.
    #[error("the frame has more than {MAX_BODY_BYTES} bytes")]
    Long,
    /// A kind this build does not know: to be ignored.
    #[error("the frame is of an unknown kind")]
    UnknownKind,
    /// The body is not the JSON that its kind asks for.
    #[error("the frame's body is not what its kind asks for")]
    Body,
}

impl<'a> Frame<'a> {
    /// Reads a frame as it is between tech and server.
    pub fn read(bytes: &'a [u8]) -> Result<Self, FrameError> {
        let Some((&[a, b, c, d, kind, flags, _, _], body)) = bytes.split_first_chunk::<HEADER_BYTES>() else {
            return Err(FrameError::Short);
        };
        if body.len() > MAX_BODY_BYTES {
            return Err(FrameError::Long);
        }
        let kind = FrameKind::from_byte(kind).ok_or(FrameError::UnknownKind)?;
        let channel = ChannelId::from_be_bytes([a, b, c, d]);
        let frame = Self { channel, kind, flags: Flags(flags), body };
        match kind {
            FrameKind::Data => frame.data().map(|_| frame),
            FrameKind::Credit => frame.credit().map(|_| frame),
            _ => Ok(frame),
        }
    }

    /// Reads a frame as it is between server and agent.
    pub fn read_of_session(bytes: &'a [u8]) -> Result<(TunnelId, Self), FrameError> {
        let (session, frame) = bytes.split_first_chunk::<SESSION_BYTES>().ok_or(FrameError::Short)?;
        Ok((TunnelId(Uuid::from_bytes(*session)), Self::read(frame)?))
    }

    /// The frame's bytes between tech and server.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.write(Vec::with_capacity(HEADER_BYTES + self.body.len()))
    }

    /// The frame's bytes between server and agent.
    pub fn to_bytes_of_session(&self, session: TunnelId) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SESSION_BYTES + HEADER_BYTES + self.body.len());
        bytes.extend_from_slice(session.0.as_bytes());
        self.write(bytes)
    }

    fn write(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        bytes.extend_from_slice(&self.channel.to_be_bytes());
        bytes.extend_from_slice(&[self.kind as u8, self.flags.0, 0, 0]);
        bytes.extend_from_slice(self.body);
        bytes
    }

    /// Of a data frame: the offset of its first byte, and its bytes.
    pub fn data(&self) -> Result<(u64, &'a [u8]), FrameError> {
        let (offset, bytes) = self.body.split_first_chunk::<OFFSET_BYTES>().ok_or(FrameError::Short)?;
        Ok((u64::from_be_bytes(*offset), bytes))
    }

    /// Of a credit frame: bytes.
    pub fn credit(&self) -> Result<u32, FrameError> {
        let (bytes, _) = self.body.split_first_chunk::<4>().ok_or(FrameError::Short)?;
        Ok(u32::from_be_bytes(*bytes))
    }

    /// Of any other frame: what its JSON says.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        serde_json::from_slice(self.body).map_err(|_| FrameError::Body)
    }

    /// Bytes that this frame takes of the credit of its channel.
    pub fn cost(&self) -> u32 {
        match self.kind {
            FrameKind::Data | FrameKind::Message => u32::try_from(self.body.len()).unwrap_or(u32::MAX),
            _ => 0,
        }
    }
}

/// The body of a data frame.
pub fn data_body(offset: u64, bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(OFFSET_BYTES + bytes.len());
    body.extend_from_slice(&offset.to_be_bytes());
    body.extend_from_slice(bytes);
    body
}

/// The body of a frame that holds JSON. Fails when it would be longer than a receiver takes.
pub fn json_body<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let body = serde_json::to_vec(value).map_err(|_| FrameError::Body)?;
    if body.len() > MAX_BODY_BYTES { Err(FrameError::Long) } else { Ok(body) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SESSION: TunnelId = TunnelId(Uuid::from_u128(7));

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let body = data_body(1 << 40, b"ls -l\n");
        let frame =
            Frame { channel: 3, kind: FrameKind::Data, flags: Flags::BULK.and(Flags::FIN), body: &body };
        assert_eq!(Frame::read(&frame.to_bytes()), Ok(frame));
        assert_eq!(Frame::read_of_session(&frame.to_bytes_of_session(SESSION)), Ok((SESSION, frame)));
        assert_eq!(frame.data(), Ok((1 << 40, &b"ls -l\n"[..])));
        assert_eq!(frame.cost(), 14);
        let body = 4_096_u32.to_be_bytes();
        let credit = Frame { channel: 3, kind: FrameKind::Credit, flags: Flags::default(), body: &body };
        assert_eq!(Frame::read(&credit.to_bytes()).and_then(|frame| frame.credit()), Ok(4_096));
        assert_eq!(credit.cost(), 0);
    }

    #[test]
    fn what_is_no_frame_is_refused() {
        let header = |kind: u8, body: usize| {
            let mut bytes = vec![0, 0, 0, 1, kind, 0, 0, 0];
            bytes.resize(HEADER_BYTES + body, 0);
            bytes
        };
        assert_eq!(Frame::read(&header(3, 8)[..7]), Err(FrameError::Short));
        assert_eq!(Frame::read(&header(3, 7)), Err(FrameError::Short), "no whole offset");
        assert_eq!(Frame::read(&header(5, 3)), Err(FrameError::Short), "no whole credit");
        assert_eq!(Frame::read(&header(0, 8)), Err(FrameError::UnknownKind));
        assert_eq!(Frame::read(&header(8, 8)), Err(FrameError::UnknownKind));
        assert_eq!(Frame::read(&header(4, MAX_BODY_BYTES + 1)), Err(FrameError::Long));
        assert!(Frame::read(&header(4, MAX_BODY_BYTES)).is_ok());
        assert_eq!(Frame::read_of_session(&[0; 15]), Err(FrameError::Short));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_fail_otherwise(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(frame) = Frame::read(&bytes) {
                let again = frame.to_bytes();
                prop_assert_eq!(Frame::read(&again), Ok(frame));
                prop_assert_eq!(again.len(), bytes.len());
            }
        }
    }
}
