//! The one way to a program: signed metadata is fetched and verified (TUF), then the program it names, byte by byte.

use super::ledger::{Build, Ledger};
use super::programs::{Programs, Verified, digest_of_file};
use super::wire::{NO_HOST, Wire};
use super::{UpdateError, parse_version};
use crate::clock::ServerClock;
use crate::http::{CallError, Credential};
use crate::os::OS_TYPE;
use crate::transport::Connector;
use chrono::{DateTime, Utc};
use futures_util::StreamExt;
use gururmm_protocol::update::{METADATA_PATH, TARGETS_PATH, UpdateOrder};
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tough::error::Error as TufError;
use tough::schema::{Root, Signed, Target};
use tough::{ExpirationEnforcement, FilesystemTransport, Limits, Repository, RepositoryLoader, TargetName};
use url::Url;

/// Largest program that is fetched.
const MAX_PROGRAM_BYTES: u64 = 256 * 1024 * 1024;
/// How long everything may take together, on the slowest line there is.
const WITHIN: Duration = Duration::from_secs(4 * 3600);
/// What metadata may come to. Root files are followed one by one, so their number is what endless data would be.
const LIMITS: Limits = Limits {
    max_root_size: 256 * 1024,
    max_targets_size: 4 * 1024 * 1024,
    max_timestamp_size: 64 * 1024,
    max_snapshot_size: 256 * 1024,
    max_root_updates: 256,
};
/// The library's copy of the last root it followed, in the same folder.
const ROOT: &str = "root.json";
/// The library's memory of the latest time it saw, in its folder.
const LATEST_KNOWN_TIME: &str = "latest_known_time.json";

/// Everything that fetching takes.
#[derive(Clone)]
pub struct Source {
    /// The way to the server.
    pub connector: Connector,
    /// Who asks.
    pub credential: Credential,
    /// Roots that are trusted.
    pub root: Arc<Vec<u8>>,
    /// What was seen of the metadata, so that nothing older is taken later.
    pub ledger: Ledger,
    /// Where programs go.
    pub programs: Programs,
    /// The server's time, to see whether the machine's own clock went astray.
    pub clock: Arc<ServerClock>,
}

/// Fetches the version that is ordered, and puts it into its place. The only function that makes a program out of
/// bytes that came over the network.
pub async fn download_verified(source: Source, order: &UpdateOrder) -> Result<Build, UpdateError> {
    let work = async {
        let repository = source.repository().await?;
        source.program(&repository, order).await
    };
    let took_too_long = |_| UpdateError::new("TOO_SLOW", "the update could not be fetched within four hours");
    let verified = tokio::time::timeout(WITHIN, work).await.map_err(took_too_long)??;
    source.programs.keep(verified).map_err(disk)
}

/// Whether the repository in a folder is one that agents of this build take, and what it has for this version and system is
/// this very program: asked of a build that is to be shipped, before it is. Nothing of it is kept or run.
pub async fn check_published(folder: &Path, root: &[u8], own: &Path) -> Result<String, UpdateError> {
    let url = |name: &str| {
        let folder = std::path::absolute(folder.join(name)).map_err(disk)?;
        Url::from_directory_path(&folder)
            .map_err(|()| UpdateError::new("DISK", format_args!("{} is no folder", folder.display())))
    };
    let repository = loader(&root, [url("metadata")?, url("targets")?])
        .transport(FilesystemTransport)
        .load()
        .await
        .map_err(refused)?;
    let name = target_name(crate::version());
    let not_published =
        || UpdateError::new("NOT_PUBLISHED", format_args!("the signed metadata has no {name}"));
    let target_name = TargetName::new(&name).map_err(|_| not_published())?;
    let target = repository.targets().signed.targets.get(&target_name).ok_or_else(not_published)?;
    Facts::of(target).filter(|facts| facts.is_for_this(crate::version())).ok_or_else(not_meant)?;
    let mut bytes = repository.read_target(&target_name).await.map_err(refused)?.ok_or_else(not_published)?;
    while let Some(chunk) = bytes.next().await {
        chunk.map_err(refused)?;
    }
    if digest_of_file(own).map_err(disk)? != (hex::encode(&target.hashes.sha256), target.length) {
        return Err(UpdateError::new("PROGRAM_DIFFERS", format_args!("{name} is another program than this")));
    }
    Ok(format!("{name}, by root {}", repository.root().signed.version))
}

fn loader<'a>(root: &'a impl AsRef<[u8]>, [metadata, targets]: [Url; 2]) -> RepositoryLoader<'a> {
    RepositoryLoader::new(root, metadata, targets)
        .limits(LIMITS)
        .expiration_enforcement(ExpirationEnforcement::Safe)
}

/// The name of a version's program for this system.
pub fn target_name(version: &str) -> String {
    let suffix = if cfg!(windows) { ".exe" } else { "" };
    format!("gururmm-agent-{version}-{}-{}{suffix}", OS_TYPE.as_str(), std::env::consts::ARCH)
}

impl Source {
    /// The metadata of now: complete, signed by the roots' keys, not expired, not older than what was seen.
    async fn repository(&self) -> Result<Repository, UpdateError> {
        let folder = self.ledger.metadata_folder();
        fs::create_dir_all(&folder).map_err(disk)?;
        let url = |path: &str| Url::parse(&format!("{NO_HOST}{path}"));
        let invalid = |error| UpdateError::new("METADATA_INVALID", error);
        let urls = [url(METADATA_PATH).map_err(invalid)?, url(TARGETS_PATH).map_err(invalid)?];
        match self.load(&folder, urls.clone()).await {
            // The machine's clock was ahead once. It is set back only where the server's time agrees with it now, or
            // whoever controls the clock could have expired metadata taken.
            Err(TufError::SystemTimeSteppedBackward { .. }) if self.clock_is_right() => {
                tracing::info!(
                    "the machine's clock was ahead before; the metadata is judged by today's time"
                );
                fs::remove_file(folder.join(LATEST_KNOWN_TIME)).map_err(disk)?;
                self.load(&folder, urls).await.map_err(refused)
            }
            other => other.map_err(refused),
        }
    }

    async fn load(&self, folder: &Path, urls: [Url; 2]) -> Result<Repository, TufError> {
        let root = newest_root(&self.root, &folder.join(ROOT));
        loader(&root, urls)
            .transport(Wire::new(self.connector.clone(), self.credential.clone()))
            .datastore(folder)
            .load()
            .await
    }

    fn clock_is_right(&self) -> bool {
        (Utc::now() - self.clock.now()).abs() < chrono::TimeDelta::hours(24)
    }

    async fn program(&self, repository: &Repository, order: &UpdateOrder) -> Result<Verified, UpdateError> {
        let name = target_name(&order.version);
        let not_published =
            || UpdateError::new("NOT_PUBLISHED", format_args!("the signed metadata has no {name}"));
        let target_name = TargetName::new(&name).map_err(|_| not_published())?;
        let target = repository.targets().signed.targets.get(&target_name).ok_or_else(not_published)?;
        Facts::of(target).ok_or_else(not_meant)?.check(order)?;
        if target.length == 0 || target.length > MAX_PROGRAM_BYTES {
            return Err(UpdateError::new(
                "PROGRAM_TOO_LARGE",
                format_args!("the program has {} bytes", target.length),
            ));
        }
        let build = Build {
            version: order.version.clone(),
            sha256: hex::encode(&target.hashes.sha256),
            length: target.length,
        };
        let mut bytes =
            repository.read_target(&target_name).await.map_err(refused)?.ok_or_else(not_published)?;
        let (mut file, incoming) = self.programs.incoming().map_err(disk)?;
        let mut length = 0;
        while let Some(chunk) = bytes.next().await {
            let chunk = chunk.map_err(refused)?;
            length += chunk.len() as u64;
            file.write_all(&chunk).map_err(disk)?;
        }
        if length != build.length {
            return Err(UpdateError::new(
                "PROGRAM_DIFFERS",
                "the program is shorter than the signed metadata says",
            ));
        }
        file.sync_all().map_err(disk)?;
        Ok(Verified { build, incoming })
    }
}

/// The root to begin with: the built-in one, or the newest one that was followed from it. Who begins at the built-in one
/// every time follows keys again that a later root took away.
fn newest_root(built_in: &[u8], kept: &Path) -> Vec<u8> {
    let version =
        |bytes: &[u8]| serde_json::from_slice::<Signed<Root>>(bytes).ok().map(|root| root.signed.version);
    match fs::read(kept) {
        Ok(kept) if version(&kept) > version(built_in) => kept,
        _ => built_in.to_vec(),
    }
}

/// What is signed about a program beside its bytes.
struct Facts<'a> {
    version: &'a str,
    os: &'a str,
    arch: &'a str,
    channels: Vec<&'a str>,
}

impl<'a> Facts<'a> {
    fn of(target: &'a Target) -> Option<Self> {
        let text = |name: &str| target.custom.get(name).and_then(Value::as_str);
        if text("product")? != "gururmm-agent" {
            return None;
        }
        let channels = target.custom.get("channels")?.as_array()?;
        Some(Self {
            version: text("version")?,
            os: text("os")?,
            arch: text("arch")?,
            channels: channels.iter().filter_map(Value::as_str).collect(),
        })
    }

    /// A program of another system, version or channel is not what was ordered, whatever it is called.
    fn check(&self, order: &UpdateOrder) -> Result<(), UpdateError> {
        let is_meant = self.is_for_this(&order.version) && self.channels.contains(&order.channel.as_str());
        if is_meant { Ok(()) } else { Err(not_meant()) }
    }

    fn is_for_this(&self, version: &str) -> bool {
        self.version == version && self.os == OS_TYPE.as_str() && self.arch == std::env::consts::ARCH
    }
}

fn not_meant() -> UpdateError {
    UpdateError::new("NOT_MEANT_FOR_THIS", "the signed metadata names another system, version or channel")
}

fn disk(error: std::io::Error) -> UpdateError {
    UpdateError::new("DISK", format_args!("the update cannot be written: {error}"))
}

/// The library's refusals, by what a person would do about them.
fn refused(error: TufError) -> UpdateError {
    // What was wrong with the bytes stands behind what was being done with them.
    let (mut innermost, mut cause): (&TufError, Option<&(dyn Error + 'static)>) = (&error, error.source());
    while let Some(source) = cause {
        innermost = source.downcast_ref().unwrap_or(innermost);
        if let Some(CallError::Refused { retry_after: Some(_), .. }) = source.downcast_ref() {
            return UpdateError::new("SERVER_BUSY", "the server was busy for too long");
        }
        cause = source.source();
    }
    let code = match innermost {
        TufError::ExpiredMetadata { .. } => "METADATA_EXPIRED",
        TufError::OlderMetadata { .. }
        | TufError::OlderSnapshotInTimestamp { .. }
        | TufError::SnapshotRoleMissing { .. }
        | TufError::SnapshotRoleRollback { .. } => "METADATA_ROLLED_BACK",
        TufError::SystemTimeSteppedBackward { .. } => "CLOCK_WENT_BACK",
        TufError::HashMismatch { .. } => "PROGRAM_DIFFERS",
        TufError::MaxSizeExceeded { .. } | TufError::MaxUpdatesExceeded { .. } => "TOO_LARGE",
        TufError::Transport { .. } => "NOT_FETCHED",
        _ => "METADATA_INVALID",
    };
    UpdateError::new(code, innermost)
}

/// Whether an order may be followed at all by this version at this time.
pub fn check_order(
    order: &UpdateOrder,
    own: &semver::Version,
    now: DateTime<Utc>,
) -> Result<(), UpdateError> {
    let version = parse_version(&order.version)?;
    if order.valid_until <= now {
        return Err(UpdateError::new("ORDER_EXPIRED", "the order was no longer valid when it came"));
    }
    // An older program may have known holes: what is signed is not thereby wanted.
    if version <= *own {
        return Err(UpdateError::new(
            "NOT_NEWER",
            format_args!("{version} is not newer than {own}, which runs"),
        ));
    }
    Ok(())
}
