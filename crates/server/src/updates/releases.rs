//! The signed repository of agents' programs (TUF), as it lies in the folder of packages: `updates/metadata` and
//! `updates/targets`. What is handed out is what was verified, byte by byte: metadata is read into memory once, verified
//! there, and answered from there, so a folder that is being replaced, or was tampered with, never reaches an agent.

use super::Channel;
use crate::error::Error;
use crate::private_file;
use chrono::{DateTime, TimeDelta, Utc};
use parking::Parked;
use semver::Version;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use tokio::sync::Mutex;
use tough::schema::{Role, Target};
use tough::{ExpirationEnforcement, Limits, RepositoryLoader};
use url::Url;
use utoipa::ToSchema;

mod parking;

/// The same limits as the agent's: what is taken here is taken there.
const LIMITS: Limits = Limits {
    max_root_size: 256 * 1024,
    max_targets_size: 4 * 1024 * 1024,
    max_timestamp_size: 64 * 1024,
    max_snapshot_size: 256 * 1024,
    max_root_updates: 256,
};
/// Files of metadata that are looked at: every root there ever was, and a few versions of the rest.
const MAX_FILES: usize = 1_024;
/// Of one of them, in bytes.
const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// Of all together.
const MAX_TOTAL_BYTES: usize = 64 * 1024 * 1024;
/// From here on people are told that a role is about to expire.
pub const EXPIRES_SOON: TimeDelta = TimeDelta::days(30);
const FIRST_ROOT: &str = "1.root.json";

/// A program that is published for one system.
#[derive(Debug, Clone)]
pub struct Release {
    pub version: Version,
    pub os: String,
    pub arch: String,
    /// The channels it is published in, the most careful one first.
    pub channels: Vec<Channel>,
    pub released_at: DateTime<Utc>,
    /// In bytes.
    pub size: u64,
    pub sha256: String,
}

/// One of the four roles that sign metadata.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct SignedRole {
    /// `root`, `targets`, `snapshot`, `timestamp`.
    pub role: &'static str,
    pub version: u64,
    pub expires_at: DateTime<Utc>,
}

/// A repository that was verified.
#[derive(Debug)]
pub struct Verified {
    pub releases: Vec<Release>,
    pub roles: Vec<SignedRole>,
    pub verified_at: DateTime<Utc>,
    /// What agents may ask for, by name.
    metadata: BTreeMap<String, Arc<[u8]>>,
    /// Sizes of the programs they may ask for, by name.
    targets: BTreeMap<String, u64>,
}

impl Verified {
    /// When the first of its roles expires; agents take nothing from it afterwards.
    pub fn expires_at(&self) -> DateTime<Utc> {
        self.roles.iter().map(|role| role.expires_at).min().unwrap_or(DateTime::<Utc>::MIN_UTC)
    }

    /// A file of metadata.
    pub fn metadata(&self, name: &str) -> Option<Arc<[u8]>> {
        self.metadata.get(name).cloned()
    }
}

/// Why the repository in the folder is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Refusal {
    pub reason: String,
    pub since: DateTime<Utc>,
}

/// What is known of the repository now.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The last one that was good. It goes on being handed out while another is refused.
    pub verified: Option<Arc<Verified>>,
    pub refusal: Option<Refusal>,
}

/// The repository in a folder.
pub struct Releases {
    folder: PathBuf,
    /// Where the first root and what was seen of the metadata are kept.
    memory: PathBuf,
    known: RwLock<Known>,
    looked_at: Mutex<Option<Fingerprint>>,
}

/// Tells whether a folder changed: names, lengths and times of its files.
type Fingerprint = Vec<(String, u64, Option<SystemTime>)>;

impl Releases {
    /// In this folder of packages; what must outlive a restart goes into the data folder. Nothing is read yet.
    pub fn new(dist: &Path, data_dir: &Path) -> Self {
        Self {
            folder: dist.join("updates"),
            memory: data_dir.join("updates"),
            known: RwLock::default(),
            looked_at: Mutex::default(),
        }
    }

    /// What is known.
    pub fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last good repository.
    pub fn verified(&self) -> Option<Arc<Verified>> {
        self.known().verified
    }

    /// The good repository, while agents take anything from it.
    pub fn valid(&self, now: DateTime<Utc>) -> Option<Arc<Verified>> {
        self.verified().filter(|verified| verified.expires_at() > now)
    }

    /// Looks at the folder again, if it changed, or if what was good may have expired.
    pub async fn look(&self, now: DateTime<Utc>) {
        let mut looked_at = self.looked_at.lock().await;
        let metadata = self.folder.join("metadata");
        let fingerprint = fingerprint(&metadata).unwrap_or_default();
        let known = self.known();
        let is_expired = known.verified.is_some_and(|verified| verified.expires_at() <= now);
        if looked_at.as_ref() == Some(&fingerprint) && !(is_expired && known.refusal.is_none()) {
            return;
        }
        if fingerprint.is_empty() {
            // Nothing is published here, or not any more: then nothing is wrong either.
            *looked_at = Some(fingerprint);
            *self.known.write().unwrap_or_else(PoisonError::into_inner) = Known::default();
            return;
        }
        let loaded = self.load(&metadata, now).await;
        *looked_at = Some(fingerprint);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        match loaded {
            Ok(verified) => {
                tracing::info!(releases = verified.releases.len(), "the update repository is verified");
                *known = Known { verified: Some(Arc::new(verified)), refusal: None };
            }
            Err(reason) => {
                tracing::warn!(%reason, "the update repository is refused; the last good one stays");
                let since = known.refusal.as_ref().map_or(now, |refusal| refusal.since);
                known.refusal = Some(Refusal { reason, since });
            }
        }
    }

    /// The program of that name, open at its start, and its length.
    pub async fn open_target(&self, name: &str) -> Result<Option<(tokio::fs::File, u64)>, Error> {
        let Some(size) = self.verified().and_then(|verified| verified.targets.get(name).copied()) else {
            return Ok(None);
        };
        let file = match tokio::fs::File::open(self.folder.join("targets").join(name)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::internal(error)),
        };
        let metadata = file.metadata().await.map_err(Error::internal)?;
        // Another length is another file. The agent checks every byte; this only spares it the way.
        Ok((metadata.is_file() && metadata.len() == size).then_some((file, size)))
    }

    async fn load(&self, metadata: &Path, now: DateTime<Utc>) -> Result<Verified, String> {
        let files = read_all(metadata).map_err(|error| format!("the metadata cannot be read: {error}"))?;
        let disk = |error: io::Error| format!("what was seen of the metadata cannot be kept: {error}");
        let root = self.first_root(&files).map_err(disk)?.ok_or("there is no 1.root.json")?;
        let seen = self.memory.join("metadata");
        private_file::make_folder(&seen).map_err(disk)?;
        let url = Url::parse(parking::NOWHERE).map_err(|error| error.to_string())?;
        let files = Arc::new(files);
        let repository = RepositoryLoader::new(&root, url.clone(), url)
            .transport(Parked(Arc::clone(&files)))
            .limits(LIMITS)
            .datastore(seen)
            .expiration_enforcement(ExpirationEnforcement::Safe)
            .load()
            .await
            .map_err(|error| whole(&error))?;
        if !repository.root().signed.consistent_snapshot {
            return Err("its root does not ask for consistent snapshots".to_owned());
        }
        let roles = vec![
            role("root", &repository.root().signed)?,
            role("targets", &repository.targets().signed)?,
            role("snapshot", &repository.snapshot().signed)?,
            role("timestamp", &repository.timestamp().signed)?,
        ];
        let [root, targets, snapshot, _] = [0, 1, 2, 3].map(|index: usize| roles[index].version);
        let mut names: Vec<String> = (1..=root).map(|version| format!("{version}.root.json")).collect();
        names.extend([
            format!("{targets}.targets.json"),
            format!("{snapshot}.snapshot.json"),
            "timestamp.json".to_owned(),
        ]);
        let metadata =
            names.into_iter().filter_map(|name| files.get(&name).map(|bytes| (name, Arc::clone(bytes))));
        let metadata = metadata.collect();
        let signed = &repository.targets().signed.targets;
        let targets = signed.iter().map(|(name, target)| {
            (format!("{}.{}", hex::encode(&target.hashes.sha256), name.resolved()), target.length)
        });
        let mut releases: Vec<Release> = signed.values().filter_map(release).collect();
        releases
            .sort_by(|a, b| b.version.cmp(&a.version).then_with(|| (&a.os, &a.arch).cmp(&(&b.os, &b.arch))));
        Ok(Verified { releases, roles, verified_at: now, metadata, targets: targets.collect() })
    }

    /// The root that was seen first: whoever replaces the folder later is held to it.
    fn first_root(&self, files: &BTreeMap<String, Arc<[u8]>>) -> io::Result<Option<Vec<u8>>> {
        let path = self.memory.join("root.json");
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            read => return read.map(Some),
        }
        let Some(root) = files.get(FIRST_ROOT) else { return Ok(None) };
        private_file::make_folder(&self.memory)?;
        private_file::create(&path, root)?;
        fs::read(&path).map(Some)
    }
}

fn role(name: &'static str, role: &impl Role) -> Result<SignedRole, String> {
    let expires_at = DateTime::from_timestamp(role.expires().as_second(), 0);
    Ok(SignedRole {
        role: name,
        version: role.version().get(),
        expires_at: expires_at.ok_or("a role expires at no time there is")?,
    })
}

/// What is signed about a program. `None` for one that is no agent, or says too little.
fn release(target: &Target) -> Option<Release> {
    let text = |name: &str| target.custom.get(name).and_then(Value::as_str);
    if text("product")? != "gururmm-agent" {
        return None;
    }
    let named = target.custom.get("channels")?.as_array()?;
    let channels: Vec<Channel> = Channel::ALL
        .into_iter()
        .filter(|channel| named.iter().any(|word| word.as_str() == Some(channel.as_str())))
        .collect();
    (!channels.is_empty()).then_some(())?;
    Some(Release {
        version: Version::parse(text("version")?).ok()?,
        os: text("os")?.to_owned(),
        arch: text("arch")?.to_owned(),
        channels,
        released_at: DateTime::parse_from_rfc3339(text("released_at")?).ok()?.to_utc(),
        size: target.length,
        sha256: hex::encode(&target.hashes.sha256),
    })
}

fn fingerprint(folder: &Path) -> io::Result<Fingerprint> {
    let mut files = Fingerprint::new();
    for entry in fs::read_dir(folder)?.take(MAX_FILES) {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        let metadata = entry.metadata()?;
        if metadata.is_file() && is_metadata(&name) {
            files.push((name, metadata.len(), metadata.modified().ok()));
        }
    }
    files.sort();
    Ok(files)
}

fn is_metadata(name: &str) -> bool {
    name == "timestamp.json"
        || name.split_once('.').is_some_and(|(version, role)| {
            version.bytes().all(|byte| byte.is_ascii_digit())
                && matches!(role, "root.json" | "targets.json" | "snapshot.json")
        })
}

fn read_all(folder: &Path) -> io::Result<BTreeMap<String, Arc<[u8]>>> {
    let (mut files, mut total) = (BTreeMap::new(), 0);
    for (name, _, _) in fingerprint(folder)? {
        let mut bytes = Vec::new();
        fs::File::open(folder.join(&name))?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        total += bytes.len();
        if bytes.len() as u64 > MAX_FILE_BYTES || total > MAX_TOTAL_BYTES {
            return Err(io::Error::other(format!("{name} is too large")));
        }
        files.insert(name, bytes.into());
    }
    Ok(files)
}

fn whole(error: &dyn std::error::Error) -> String {
    let (mut text, mut source) = (error.to_string(), error.source());
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
