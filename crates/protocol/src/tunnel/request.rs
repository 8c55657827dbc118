//! Channels of requests and replies: each message carries the number that who asks gave it.

use super::channel::ChannelError;
use serde::{Deserialize, Serialize};

/// One thing asked. Several may be under way; each is answered by parts, if any, and then by its reply or error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Request<R> {
    pub id: u32,
    pub request: R,
}

/// What comes back for a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Response<A> {
    pub id: u32,
    #[serde(flatten)]
    pub answer: Answer<A>,
}

/// A part, the whole, or why not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<A> {
    /// More follows.
    Part(A),
    /// The last.
    Reply(A),
    Error(ChannelError),
}
