//! Which protocol versions this server speaks with agents: those it was built with, without those that were retired.

use gururmm_protocol::{SUPPORTED, Version};
use std::collections::BTreeSet;
use std::sync::{PoisonError, RwLock};

/// The versions in use. Every server learns of a retirement within a minute.
#[derive(Debug, Default)]
pub struct Protocols {
    retired: RwLock<BTreeSet<Version>>,
}

impl Protocols {
    /// Oldest first.
    pub fn served(&self) -> Vec<Version> {
        let retired = self.retired.read().unwrap_or_else(PoisonError::into_inner);
        SUPPORTED.iter().copied().filter(|version| !retired.contains(version)).collect()
    }

    /// From now on these are not spoken. The newest one is, whatever anyone says.
    pub fn set_retired(&self, versions: impl IntoIterator<Item = Version>) {
        let newest = SUPPORTED.iter().max();
        let retired = versions.into_iter().filter(|version| Some(version) != newest).collect();
        *self.retired.write().unwrap_or_else(PoisonError::into_inner) = retired;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retired_version_is_not_spoken_and_the_newest_always_is() {
        let protocols = Protocols::default();
        assert_eq!(protocols.served(), SUPPORTED);
        protocols.set_retired(SUPPORTED.iter().copied());
        assert_eq!(protocols.served(), SUPPORTED[SUPPORTED.len() - 1..]);
    }
}
