//! Terminals. Data to the machine is what is typed, data from it is what the screen shows, both as bytes. So it is where the
//! system has no terminals ([`TerminalKind::Lines`]).

use crate::command::RunContext;
use serde::{Deserialize, Serialize};

/// A shell in a pseudo-terminal of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTerminal {
    /// One of [`super::order::TunnelReady::shells`], by its `program`; absent: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shell: Option<String>,
    /// As root or SYSTEM, or as the user who is signed in.
    #[serde(default)]
    pub context: RunContext,
    #[serde(flatten)]
    pub size: TerminalSize,
}

/// In characters, 1 to 1000 each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    pub columns: u16,
    pub rows: u16,
}

/// A message in a terminal's channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TerminalMessage {
    /// To the machine: the window has another size.
    Resize(TerminalSize),
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// What a shell sits at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TerminalKind {
    /// Pipes, since the system has no terminals (Windows before version 1809): the machine shows what is typed and hands on
    /// whole lines. There is no size, nothing that fills a screen, and no key that interrupts.
    Lines,
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}
