//! Forwarded ports: one TCP connection per channel. Data goes both ways; [`super::Flags::FIN`] closes one direction.

use serde::{Deserialize, Serialize};

/// Where to connect to from the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenForward {
    /// A name or an address, as the machine resolves it.
    pub host: String,
    pub port: u16,
}
