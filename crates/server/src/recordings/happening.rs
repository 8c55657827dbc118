//! What happened in a session beside the bytes of its terminals.

use gururmm_protocol::tunnel::{ChannelError, LiveChannel};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// One thing that happened. What files hold is never in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Happening {
    /// The machine has the session.
    Ready {},
    /// The machine refused the session.
    Refused { reason: String },
    /// The machine's link was lost.
    AgentLost {},
    /// The tech's page or program came.
    TechJoined {},
    /// It went.
    TechLeft {},
    /// The session is over.
    Closed { reason: String },
    /// The server that recorded it let the session go, and has written all of it; another one may go on.
    LetGo {},
    /// The tech asked for a channel.
    Opened {
        /// What the policy calls it: `terminal`, `files`, …
        kind: String,
        /// What was asked for; its `kind` tells `download` and `upload` from `files`.
        #[schema(value_type = Object)]
        channel: Value,
    },
    /// The machine has the channel.
    Accepted {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
    },
    /// The tech's side came back to the channel.
    Attached {},
    /// The channel was there from before, and how it was opened is not in this recording.
    Found { kind: String, label: String },
    /// The terminal's size.
    Resized { columns: u16, rows: u16 },
    /// A line was entered, as far as the keys alone tell.
    Entered {
        /// Absent: it was not shown while it was typed, as passwords are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        line: Option<String>,
        /// False: keys were pressed that do more than type (completion, history, the cursor's), so the shell may have
        /// run something else.
        is_exact: bool,
    },
    /// Bytes of a stream passed that are not in the recording.
    Gap { from_machine: bool, from: u64, to: u64 },
    /// What was typed from here on did not reach the machine before the link was lost; what follows takes its place.
    NotReceived { from: u64, to: u64 },
    /// Something was asked of the machine.
    Asked {
        id: u32,
        #[schema(value_type = Object)]
        request: Value,
    },
    /// The machine did it, or says why not.
    Answered {
        id: u32,
        /// Lists by their length, texts by their size.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schema(value_type = Option<Object>)]
        reply: Option<Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ChannelError>,
    },
    /// An upload was sent whole, with this SHA-256, or was given up.
    Finished {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// A message that this version cannot read; its size.
    Unreadable { from_machine: bool, bytes: u64 },
    /// The channel ended.
    Ended {
        by_machine: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<ChannelError>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit_code: Option<i64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        size: Option<u64>,
        /// Bytes of data that passed, each way.
        to_machine: u64,
        from_machine: u64,
    },
    /// A kind that a later version writes.
    #[serde(other)]
    Unknown,
}

impl Happening {
    /// A channel that the machine still had.
    pub fn found(channel: &LiveChannel) -> Self {
        Self::Found { kind: channel.kind.as_str().to_owned(), label: channel.label.clone() }
    }
}
