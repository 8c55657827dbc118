//! How this installation was last served: left in the data folder for the command line, which serves nobody and could
//! not tell a machine where to go.

use crate::config::Config;
use crate::private_file;
use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use url::Url;

const FILE: &str = "served.json";

/// What a command that installs an agent is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    #[serde(with = "text")]
    pub public_url: Url,
    pub ca_fingerprint: Option<String>,
    pub agent_binary: Option<PathBuf>,
    pub dist: Option<PathBuf>,
    /// The folder or bucket of recordings; `None`: the data folder's.
    #[serde(default)]
    pub recordings: Option<String>,
}

impl Served {
    /// Remembers it for [`Served::last`].
    pub fn remember(config: &Config, recordings: Option<&str>) -> anyhow::Result<()> {
        // The command line may work from another folder.
        let agent_binary = config.agent_binary.as_ref().map(std::path::absolute).transpose()?;
        let served = Self {
            public_url: config.public_url.clone(),
            ca_fingerprint: config.ca_fingerprint.clone(),
            agent_binary,
            dist: Some(std::path::absolute(&config.dist)?),
            recordings: recordings.map(absolute).transpose()?,
        };
        let path = config.data_dir.join(FILE);
        private_file::write(&path, &serde_json::to_vec_pretty(&served)?)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// As it was served last; `None` before the first time. A file that cannot be read is as good as none: the next
    /// start writes it again.
    pub fn last(data_dir: &Path) -> Option<Self> {
        let bytes = std::fs::read(data_dir.join(FILE)).ok()?;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::warn!(%error, "{FILE} in the data folder cannot be read"))
            .ok()
    }
}

fn absolute(place: &str) -> anyhow::Result<String> {
    if place.contains("://") {
        return Ok(place.to_owned());
    }
    let path = std::path::absolute(place)?;
    path.into_os_string().into_string().map_err(|_| anyhow::anyhow!("{place} is no text"))
}

/// A URL in JSON.
mod text {
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};
    use url::Url;

    pub(super) fn serialize<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(url.as_str())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}
