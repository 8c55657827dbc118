//! Control frames: one JSON object per WebSocket text frame, tagged by `type`.

use crate::limits::MAX_CONTROL_FRAME_BYTES;
use crate::{AgentMessage, ServerMessage};
use serde::{Serialize, de::DeserializeOwned};

/// What a text frame turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<M> {
    /// A message of a kind this build knows.
    Known(M),
    /// A well-formed message of a newer kind: to be ignored, with a log line. `kind` is at most 64 characters.
    Unknown {
        /// The `type` the peer gave.
        kind: String,
    },
}

/// Why a frame is not a message. Holds nothing of the frame's content.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Larger than [`MAX_CONTROL_FRAME_BYTES`].
    #[error("the frame has {bytes} bytes, more than {MAX_CONTROL_FRAME_BYTES}")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Not JSON, without a `type`, or with a known `type` and fields that do not fit.
    #[error("the frame is not a valid message")]
    Malformed(#[source] serde_json::Error),
}

/// Reads what an agent sent.
pub fn decode_agent_message(text: &str) -> Result<Decoded<AgentMessage>, DecodeError> {
    decode(text, |message| matches!(message, AgentMessage::Unknown))
}

/// Reads what the server sent.
pub fn decode_server_message(text: &str) -> Result<Decoded<ServerMessage>, DecodeError> {
    decode(text, |message| matches!(message, ServerMessage::Unknown))
}

/// The text of a message. Fails only when it would be larger than a receiver takes.
pub fn encode<M: Serialize>(message: &M) -> Result<String, DecodeError> {
    let text = serde_json::to_string(message).map_err(DecodeError::Malformed)?;
    if text.len() > MAX_CONTROL_FRAME_BYTES {
        return Err(DecodeError::TooLarge { bytes: text.len() });
    }
    Ok(text)
}

fn decode<M: DeserializeOwned>(
    text: &str,
    is_unknown: impl Fn(&M) -> bool,
) -> Result<Decoded<M>, DecodeError> {
    if text.len() > MAX_CONTROL_FRAME_BYTES {
        return Err(DecodeError::TooLarge { bytes: text.len() });
    }
    let message: M = serde_json::from_str(text).map_err(DecodeError::Malformed)?;
    if is_unknown(&message) {
        return Ok(Decoded::Unknown { kind: kind_of(text) });
    }
    Ok(Decoded::Known(message))
}

fn kind_of(text: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Tag {
        r#type: String,
    }
    let kind = serde_json::from_str::<Tag>(text).map(|tag| tag.r#type).unwrap_or_default();
    kind.chars().filter(|c| !c.is_control()).take(64).collect()
}
