//! A tech's live session with a machine: orders about the session itself (control messages), and channels in it.
//!
//! A session has channels: a terminal, files, one transfer, and so on. Their frames ([`frame`]) are binary WebSocket
//! messages; between server and agent the session's id stands before each. The tech's side opens a channel and names its
//! number; either side may send up to the credit that the other has granted. Data carries the place of its first byte in
//! its direction's stream, so a channel that is attached again after a lost link neither repeats nor loses a byte.
//!
//! Who opens: the tech's page or program, or the server on behalf of an HTTP request. Numbers from [`SERVER_CHANNELS`] on
//! are the server's own.

pub mod channel;
pub mod events;
pub mod files;
pub mod forward;
pub mod frame;
pub mod order;
pub mod processes;
pub mod registry;
pub mod request;
pub mod services;
pub mod terminal;

pub use channel::{Attach, ChannelEnd, ChannelError, ErrorCode, LiveChannel, Open, OpenChannel, Opened};
pub use frame::{ChannelId, Flags, Frame, FrameError, FrameKind};
pub use order::{ChannelKind, Consent, TunnelClose, TunnelOpen, TunnelReady, TunnelRefused, TunnelRules};

/// The channel of the session itself: [`Ping`] and its echo, and [`Presence`]. What one side does not know there, it ignores.
pub const SESSION_CHANNEL: ChannelId = 0;
/// Channels from here on are opened by the server.
pub const SERVER_CHANNELS: ChannelId = 0x8000_0000;
/// Most channels of one session that are open at a time.
pub const MAX_CHANNELS: usize = 64;
/// Most sessions that one machine keeps at a time.
pub const MAX_SESSIONS: usize = 32;
/// Bytes that a terminal's, a request's or a forwarded port's channel may be ahead of what was dealt with.
pub const WINDOW_BYTES: u32 = 256 * 1024;
/// Bytes that a transfer may be ahead.
pub const BULK_WINDOW_BYTES: u32 = 1024 * 1024;
/// A transfer of a tech's program or page begins with so many, and is ahead by as many as its line takes: three pieces.
pub const FIRST_TRANSFER_BYTES: u32 = 96 * 1024;
/// The most that may be granted in all and not yet used, per channel.
pub const MAX_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// Bytes of a terminal's output that a machine keeps for who comes back.
pub const SCROLLBACK_BYTES: usize = 1024 * 1024;
/// How long a machine keeps a session, with its shells, that no server speaks of, in seconds.
pub const KEEP_SECONDS: u32 = 300;

/// On [`SESSION_CHANNEL`], there and back unchanged: how long the way is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ping {
    pub ping: u64,
}

/// On [`SESSION_CHANNEL`], from the server to the machine: where the tech is. Who comes back attaches to each channel, which
/// says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Presence {
    pub tech: Whereabouts,
}

/// Where a tech is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Whereabouts {
    /// The tech's page or program is gone. What it had open waits for an [`Attach`], as after a lost link; shells run on.
    /// Channels of the server's own go on.
    Away,
    /// A place this build does not know.
    #[serde(other)]
    Unknown,
}
