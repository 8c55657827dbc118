//! Becoming another version: what may run (signed metadata, [`fetch`]), where versions stand ([`programs`]), and what
//! agent and watchdog tell each other about it ([`ledger`]).
//!
//! The agent fetches, verifies and asks; the watchdog tries, confirms or goes back. Each file has one writer, so that
//! whichever of them is killed at whichever step, the other finds one complete answer.

pub mod fetch;
pub mod ledger;
pub mod programs;
mod wire;

use semver::Version;
use std::fmt;

/// Roots of the update metadata this build trusts, when it was built with any (`./dev dist` does).
pub const BUILT_IN_ROOT: Option<&[u8]> = built_in_root();

#[cfg(gururmm_update_root)]
const fn built_in_root() -> Option<&'static [u8]> {
    Some(include_bytes!(env!("GURURMM_UPDATE_ROOT")))
}

#[cfg(not(gururmm_update_root))]
const fn built_in_root() -> Option<&'static [u8]> {
    None
}

/// Why an update was not made, with a stable word for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct UpdateError {
    /// `METADATA_EXPIRED`, …
    pub code: &'static str,
    /// For people.
    pub message: String,
}

impl UpdateError {
    /// With a text for people.
    pub fn new(code: &'static str, message: impl fmt::Display) -> Self {
        Self { code, message: message.to_string() }
    }
}

/// Reads a version, of which a path is made: three numbers and plain words behind them.
pub fn parse_version(text: &str) -> Result<Version, UpdateError> {
    let version = Version::parse(text).ok().filter(|version| text.len() <= 64 && version.build.is_empty());
    version.ok_or_else(|| UpdateError::new("INVALID_VERSION", "the version is not MAJOR.MINOR.PATCH"))
}

/// This program's own version.
pub fn own_version() -> Version {
    // The package's version is one by cargo's rules; a test below holds it.
    Version::parse(crate::version()).unwrap_or(Version::new(0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_nothing_that_leads_out_of_a_folder() {
        assert_eq!(own_version().to_string(), crate::version());
        for good in ["0.1.0", "10.20.30", "1.0.0-beta.2"] {
            assert_eq!(parse_version(good).unwrap().to_string(), good);
        }
        for bad in
            ["", "1", "1.0", "../1.0.0", "1.0.0/..", "1.0.0+a", "1.0.0-a/b", "v1.0.0", "1.0.0 ", "01.0.0"]
        {
            assert_eq!(parse_version(bad).unwrap_err().code, "INVALID_VERSION", "{bad}");
        }
        assert!(parse_version(&format!("1.0.0-{}", "a".repeat(64))).is_err());
    }
}
