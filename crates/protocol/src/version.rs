//! Protocol versions: `MAJOR.MINOR`.
//!
//! History:
//! - 1.0: hello/welcome, heartbeat, metrics, network state, commands, config, acknowledgements, log, crash reports.
//! - 1.1: updates of the agent: `update_order`, `update_report`, `update_report_ack`; `update` in a hello and in the
//!   answer to `bootstrap/hello`; `sensors` in a sample; `system.virtualization` in a hello. Removal of the agent:
//!   `uninstall_order`, `uninstall_cancel`, `uninstall_report`, `uninstall_report_ack`. Another address of the server:
//!   `follow_me`, `follow_report`, `follow_report_ack`. Samples that were lost: `gap`, `gap_ack`.
//!   Techs' sessions: `tunnel_open`, `tunnel_close`, `tunnel_ready`, `tunnel_refused`, binary frames of channels, `tunnels` in a
//!   hello.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::str::FromStr;

/// A protocol version. A minor version only adds; a major one may change meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Changes when an old peer could misunderstand.
    pub major: u16,
    /// Changes when something was added.
    pub minor: u16,
}

/// The versions this build speaks, oldest first.
pub const SUPPORTED: &[Version] = &[Version { major: 1, minor: 0 }, Version { major: 1, minor: 1 }];

/// The best version both sides speak: the highest that stands in both lists.
pub fn negotiate(ours: &[Version], theirs: &[Version]) -> Option<Version> {
    ours.iter().filter(|v| theirs.contains(v)).max().copied()
}

/// The text is not `MAJOR.MINOR`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a protocol version is MAJOR.MINOR")]
pub struct InvalidVersion;

impl Version {
    /// Whether the other side knows what samples that were lost are.
    pub fn has_gaps(self) -> bool {
        self >= Self { major: 1, minor: 1 }
    }
}

impl FromStr for Version {
    type Err = InvalidVersion;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (major, minor) = s.split_once('.').ok_or(InvalidVersion)?;
        let number = |text: &str| match text.bytes().all(|b| b.is_ascii_digit()) {
            true => text.parse().map_err(|_| InvalidVersion),
            false => Err(InvalidVersion),
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn v(major: u16, minor: u16) -> Version {
        Version { major, minor }
    }

    #[test]
    fn negotiation_takes_the_highest_common_version() {
        let ours = [v(1, 0), v(1, 1), v(2, 0)];
        assert_eq!(negotiate(&ours, &[v(1, 0), v(1, 1)]), Some(v(1, 1)));
        assert_eq!(negotiate(&ours, &[v(3, 0)]), None);
        assert_eq!(negotiate(&ours, &[]), None);
    }

    #[test]
    fn only_two_plain_numbers_are_a_version() {
        assert_eq!("1.0".parse(), Ok(v(1, 0)));
        for bad in ["", "1", "1.", ".1", "+1.0", "1.0.0", "1.x", "99999.0"] {
            assert_eq!(bad.parse::<Version>(), Err(InvalidVersion), "{bad}");
        }
    }
}
