//! A channel's life: opened, attached again, ended.

use super::events::OpenEvents;
use super::files::{OpenDownload, OpenUpload};
use super::forward::OpenForward;
use super::frame::ChannelId;
use super::order::ChannelKind;
use super::terminal::{OpenTerminal, TerminalKind};
use serde::{Deserialize, Serialize};

/// Opens a channel. Answered by [`Opened`] or [`ChannelEnd`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Bytes the machine may send before it is granted more; at most [`super::MAX_WINDOW_BYTES`].
    pub window: u32,
    pub channel: OpenChannel,
}

/// Which channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OpenChannel {
    /// A shell in a terminal of its own.
    Terminal(OpenTerminal),
    /// Requests about files ([`super::files::FileRequest`]).
    Files {},
    /// One file, or one folder as an archive, from the machine.
    Download(OpenDownload),
    /// One file to the machine.
    Upload(OpenUpload),
    /// Requests about processes ([`super::processes::ProcessRequest`]).
    Processes {},
    /// Requests about services ([`super::services::ServiceRequest`]).
    Services {},
    /// Requests about the registry ([`super::registry::RegistryRequest`]).
    Registry {},
    /// The system's log: what was asked for, then what comes, if that was asked for too.
    Events(OpenEvents),
    /// A TCP connection from the machine.
    Forward(OpenForward),
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

impl OpenChannel {
    /// What a policy calls it.
    pub fn kind(&self) -> ChannelKind {
        match self {
            Self::Terminal(_) => ChannelKind::Terminal,
            Self::Files {} | Self::Download(_) | Self::Upload(_) => ChannelKind::Files,
            Self::Processes {} => ChannelKind::Processes,
            Self::Services {} => ChannelKind::Services,
            Self::Registry {} => ChannelKind::Registry,
            Self::Events(_) => ChannelKind::Events,
            Self::Forward(_) => ChannelKind::Forward,
            Self::Unknown => ChannelKind::Unknown,
        }
    }
}

/// The channel stands, or goes on.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Opened {
    /// Bytes that may be sent to the machine before it grants more. After an attach: in all that is not yet used.
    pub window: u32,
    /// Offset from which the machine's stream follows. After an attach: what was asked for, or a later one where so much
    /// is no longer kept.
    pub from: u64,
    /// Offset up to which the machine has the tech's stream; what was sent beyond is to be sent again.
    pub received: u64,
    /// Of a transfer: all its bytes, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a download: when the file was last changed, in milliseconds since 1970. It tells a file from a later one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub modified_ms: Option<i64>,
    /// Of a terminal: absent, it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalKind>,
}

/// Goes on with a channel that was opened before: after a lost link, or on a page that was loaded again. Answered by
/// [`Opened`], or [`ChannelEnd`] where there is no such channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Offset up to which the machine's stream is here already.
    pub have: u64,
    /// Bytes the machine may send before it is granted more; what was granted before is void.
    pub window: u32,
}

/// How a channel ended.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChannelEnd {
    /// Absent: it came to its end as it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ChannelError>,
    /// Of a terminal: how the shell ended, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i64>,
    /// Of a transfer: SHA-256 of the whole file, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Of a transfer: all bytes of the file; of a forwarded port: bytes from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

impl From<ChannelError> for ChannelEnd {
    fn from(error: ChannelError) -> Self {
        Self { error: Some(error), ..Self::default() }
    }
}

/// Why something in a channel could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[error("{detail}")]
pub struct ChannelError {
    pub code: ErrorCode,
    /// For people, one sentence.
    #[serde(default)]
    pub detail: String,
}

impl ChannelError {
    /// With a sentence for people.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }
}

/// What a program can make of an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// The policy forbids it.
    NotAllowed,
    /// The operating system forbids it.
    PermissionDenied,
    NotFound,
    AlreadyExists,
    /// It changed since it was read.
    Conflict,
    NotAFolder,
    IsAFolder,
    NotEmpty,
    NoSpace,
    TooLarge,
    /// This system does not have it.
    Unsupported,
    /// Nobody is signed in, as whom it would run.
    NoUserSession,
    /// The request makes no sense.
    Invalid,
    /// What arrived is not what was sent.
    ChecksumMismatch,
    /// As many of these as there may be.
    TooMany,
    /// Nobody answers there.
    Unreachable,
    /// The session is over, or the channel is not there any more.
    Closed,
    /// The operating system failed otherwise.
    Failed,
    /// A code this build does not know.
    #[serde(other)]
    Other,
}

/// A channel that a machine still has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveChannel {
    pub channel: ChannelId,
    pub kind: ChannelKind,
    /// For people: a shell's name, a file's, an address.
    #[serde(default)]
    pub label: String,
}
