//! Orders about a session itself, and what the machine says of it.

use super::channel::LiveChannel;
use crate::ids::TunnelId;
use crate::limits::{MAX_LIST_ITEMS, MAX_NAME_CHARS, MAX_TEXT_CHARS, clean};
use serde::{Deserialize, Serialize};

/// A tech opened a session, or comes back to it. Answered by [`TunnelReady`] or [`TunnelRefused`]; for a session that is
/// there already the rules are replaced and nothing else changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelOpen {
    pub tunnel_id: TunnelId,
    /// Who it is, as the machine's user may read it.
    pub tech: String,
    pub rules: TunnelRules,
    #[serde(default)]
    pub consent: Consent,
}

/// What the tech may do in the session. The machine holds to it itself, whatever comes through the channels.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TunnelRules {
    /// Channels that may be opened.
    pub channels: Vec<ChannelKind>,
    /// Folders that files may be reached in; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<Vec<String>>,
    /// Hosts and ports that may be reached through the machine: `host:port`, each of them possibly `*`, hosts also as
    /// networks (`192.0.2.0/24`). Empty: none.
    pub forwards: Vec<String>,
}

/// What a policy can allow or forbid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    Terminal,
    /// Browsing, transfers, and changes of files.
    Files,
    Processes,
    Services,
    Registry,
    Events,
    Forward,
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

impl ChannelKind {
    /// All that this build knows.
    pub const ALL: &'static [Self] = &[
        Self::Terminal,
        Self::Files,
        Self::Processes,
        Self::Services,
        Self::Registry,
        Self::Events,
        Self::Forward,
    ];

    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Files => "files",
            Self::Processes => "processes",
            Self::Services => "services",
            Self::Registry => "registry",
            Self::Events => "events",
            Self::Forward => "forward",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether the machine's user is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Consent {
    #[default]
    Never,
    /// When somebody is signed in.
    WhenSignedIn,
    /// Also when nobody is, who could consent.
    Always,
    /// A kind this build does not know: as [`Self::Always`].
    #[serde(other)]
    Unknown,
}

/// The session stands at the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelReady {
    pub tunnel_id: TunnelId,
    /// Channels that are still there from before.
    #[serde(default)]
    pub channels: Vec<LiveChannel>,
    /// What a terminal can start, the one to take by default first.
    #[serde(default)]
    pub shells: Vec<Shell>,
    /// Kinds of channels that this system has.
    #[serde(default)]
    pub kinds: Vec<ChannelKind>,
}

impl TunnelReady {
    /// Brings what an agent says within limits.
    pub fn clean(&mut self) {
        self.channels.truncate(MAX_LIST_ITEMS);
        self.channels.iter_mut().for_each(|channel| clean(&mut channel.label, MAX_NAME_CHARS));
        self.shells.truncate(MAX_LIST_ITEMS);
        for shell in &mut self.shells {
            clean(&mut shell.name, MAX_NAME_CHARS);
            clean(&mut shell.program, MAX_NAME_CHARS);
        }
        self.kinds.retain(|kind| *kind != ChannelKind::Unknown);
        self.kinds.truncate(ChannelKind::ALL.len());
    }
}

impl TunnelRefused {
    /// Brings what an agent says within limits.
    pub fn clean(&mut self) {
        clean(&mut self.detail, MAX_TEXT_CHARS);
    }
}

/// A program that a terminal can start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shell {
    /// As a person knows it, `bash`.
    pub name: String,
    /// What [`super::terminal::OpenTerminal::shell`] takes.
    pub program: String,
}

/// There is no session at the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelRefused {
    pub tunnel_id: TunnelId,
    pub reason: Refusal,
    /// For people; at most [`crate::limits::MAX_TEXT_CHARS`].
    #[serde(default)]
    pub detail: String,
}

/// Why a machine has no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The user would have to be asked, and this agent cannot ask.
    ConsentUnavailable,
    /// The user said no.
    ConsentDenied,
    /// It has as many sessions as it keeps.
    TooManySessions,
    /// It does not know how.
    Unsupported,
    /// A reason this build does not know.
    #[serde(other)]
    Other,
}

impl Refusal {
    /// The word used in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConsentUnavailable => "consent_unavailable",
            Self::ConsentDenied => "consent_denied",
            Self::TooManySessions => "too_many_sessions",
            Self::Unsupported => "unsupported",
            Self::Other => "other",
        }
    }
}

/// The session is over: the machine ends its shells and transfers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelClose {
    pub tunnel_id: TunnelId,
}
