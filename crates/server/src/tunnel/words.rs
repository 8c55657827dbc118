//! What a page is told of its session, beside frames.

use axum::extract::ws::Utf8Bytes;
use chrono::{DateTime, Utc};
use gururmm_protocol::tunnel::LiveChannel;
use gururmm_protocol::tunnel::order::{ChannelKind, Shell};
use serde::Serialize;
use uuid::Uuid;

/// What the page is told, beside frames.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Text<'a> {
    Session {
        session_id: Uuid,
        agent_id: Uuid,
        hostname: &'a str,
        tech: &'a str,
        opened_at: DateTime<Utc>,
        ends_at: DateTime<Utc>,
        idle_seconds: u64,
        /// Kinds that may be opened.
        channels: &'a [ChannelKind],
        reason: Option<&'a str>,
        ticket: Option<&'a str>,
    },
    Waiting {},
    Ready {
        channels: &'a [LiveChannel],
        shells: &'a [Shell],
        kinds: &'a [ChannelKind],
        path: &'static str,
    },
    Refused {
        reason: &'static str,
        detail: &'a str,
    },
    Closed {
        reason: &'static str,
    },
}

impl Text<'_> {
    pub fn json(&self) -> Option<Utf8Bytes> {
        match serde_json::to_string(self) {
            Ok(text) => Some(text.into()),
            Err(error) => {
                tracing::error!(%error, "a word to a page could not be written");
                None
            }
        }
    }
}
