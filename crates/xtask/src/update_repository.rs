//! `xtask update-repository`: the signed metadata (TUF) by which agents know what they may become. Keys are files here;
//! those of root and targets belong on a machine that is offline, those of snapshot and timestamp renew what expires.

use anyhow::{Context as _, bail, ensure};
use chrono::{TimeDelta, Utc};
use clap::{Args, Subcommand};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use tough::editor::RepositoryEditor;
use tough::key_source::{KeySource, LocalKeySource};
use tough::schema::{Role, Root, Signed, Snapshot, Target, Timestamp};
use tough::{ExpirationEnforcement, FilesystemTransport, Repository, RepositoryLoader, TargetName};

const ROOT_KEYS: [&str; 3] = ["root-1", "root-2", "root-3"];
/// Root keys that have to agree.
const ROOT_THRESHOLD: usize = 2;
const ONLINE: [&str; 2] = ["snapshot", "timestamp"];
const TARGETS: &str = "targets";
/// What agents are built with.
const ROOT_FILE: &str = "1.root.json";
/// How long signatures hold. The server warns thirty days before.
const ROOT_DAYS: i64 = 2 * 365;
const TARGETS_DAYS: i64 = 365;
const ONLINE_DAYS: i64 = 90;
/// Channels an agent can follow.
const CHANNELS: [&str; 3] = ["stable", "current", "beta"];

#[derive(Args)]
pub struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make the keys, and the root that agents are built with
    Keys {
        /// A folder that does not exist yet
        #[arg(long)]
        dir: PathBuf,
    },
    /// Sign the agents that ./dev dist has built, and add them to the repository
    Publish {
        #[arg(long)]
        keys: PathBuf,
        /// The repository: made if it does not exist
        #[arg(long)]
        repository: PathBuf,
        /// The folder with manifest.json and the agents
        #[arg(long)]
        dist: PathBuf,
        /// stable, current, beta
        #[arg(long, value_delimiter = ',', default_value = "stable")]
        channels: Vec<String>,
    },
    /// Sign snapshot and timestamp again before they expire
    Renew {
        #[arg(long)]
        keys: PathBuf,
        #[arg(long)]
        repository: PathBuf,
    },
}

/// Signs the agents of a folder like `target/dist`, and adds them to the repository.
pub fn publish_dist(keys: &Path, repository: &Path, dist: &Path) -> anyhow::Result<()> {
    let (keys, repository, dist) = (keys.to_owned(), repository.to_owned(), dist.to_owned());
    run(&Options { action: Action::Publish { keys, repository, dist, channels: vec!["stable".to_owned()] } })
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match &options.action {
            Action::Keys { dir } => make_keys(dir),
            Action::Publish { keys, repository, dist, channels } => {
                let unknown = channels.iter().find(|channel| !CHANNELS.contains(&channel.as_str()));
                ensure!(unknown.is_none(), "there is no channel {}", unknown.map_or("", String::as_str));
                let builds = Build::of(dist)?;
                ensure!(!builds.is_empty(), "{} has no agent", dist.display());
                publish(keys, repository, &builds, channels).await
            }
            Action::Renew { keys, repository } => renew(keys, repository).await,
        }
    })
}

/// Never writes over a key: what agents were built with could not be signed for any more.
fn make_keys(dir: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .mode(0o700)
        .create(dir)
        .with_context(|| format!("cannot make the folder {}", dir.display()))?;
    let mut public: BTreeMap<&str, (String, Value)> = BTreeMap::new();
    let mut root_pairs = Vec::new();
    for name in ROOT_KEYS.into_iter().chain(ONLINE).chain([TARGETS]) {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(unspecified)?;
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(key_file(dir, name))?;
        file.write_all(document.as_ref())?;
        file.sync_all()?;
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).map_err(unspecified)?;
        let key = public_key(&pair);
        let id = serde_json::from_value::<tough::schema::key::Key>(key.clone())?.key_id()?;
        public.insert(name, (hex::encode(&id), key));
        if ROOT_KEYS.contains(&name) {
            root_pairs.push(pair);
        }
    }
    let role = |names: &[&str], threshold: usize| {
        let ids: Vec<&String> = names.iter().filter_map(|name| Some(&public.get(name)?.0)).collect();
        json!({ "keyids": ids, "threshold": threshold })
    };
    let keys: serde_json::Map<String, Value> = public.values().cloned().collect();
    let signed: Root = serde_json::from_value(json!({
        "_type": "root", "spec_version": "1.0.0", "consistent_snapshot": true, "version": 1,
        "expires": expires(ROOT_DAYS), "keys": keys,
        "roles": { "root": role(&ROOT_KEYS, ROOT_THRESHOLD), "targets": role(&[TARGETS], 1),
            "snapshot": role(&["snapshot"], 1), "timestamp": role(&["timestamp"], 1) },
    }))?;
    let bytes = signed.canonical_form()?;
    let signatures = ROOT_KEYS.iter().zip(&root_pairs).filter_map(|(name, pair)| {
        Some(json!({ "keyid": public.get(name)?.0, "sig": hex::encode(pair.sign(&bytes).as_ref()) }))
    });
    let signatures = serde_json::from_value(signatures.collect())?;
    fs::write(dir.join(ROOT_FILE), serde_json::to_vec_pretty(&Signed { signed, signatures })?)?;
    println!(
        "Keys and the root for agents are in {}. Keep the root and targets keys offline.",
        dir.display()
    );
    Ok(())
}

/// Adds builds to the targets, and signs everything anew, one version higher.
async fn publish(keys: &Path, folder: &Path, builds: &[Build], channels: &[String]) -> anyhow::Result<()> {
    let root = keys.join(ROOT_FILE);
    let (metadata, targets) = (folder.join("metadata"), folder.join("targets"));
    let (mut editor, version) = if metadata.join("timestamp.json").exists() {
        let loaded = load(keys, folder).await?;
        let version = next_version(&loaded)?;
        (RepositoryEditor::from_repo(&root, loaded).await?, version)
    } else {
        fs::create_dir_all(&metadata)?;
        fs::create_dir_all(&targets)?;
        (RepositoryEditor::new(&root).await?, NonZeroU64::MIN)
    };
    let signers = ONLINE.into_iter().chain([TARGETS]).map(|name| {
        let path = existing_key(keys, name)?;
        Ok(Box::new(LocalKeySource { path }) as Box<dyn KeySource>)
    });
    let signers = signers.collect::<anyhow::Result<Vec<_>>>()?;
    editor.targets_version(version)?.targets_expires(expires(TARGETS_DAYS).parse()?)?;
    editor.snapshot_version(version).snapshot_expires(expires(ONLINE_DAYS).parse()?);
    editor.timestamp_version(version).timestamp_expires(expires(ONLINE_DAYS).parse()?);
    for build in builds {
        build.copy_to(&targets)?;
        editor.add_target(TargetName::new(build.target_name())?, build.target(channels).await?)?;
    }
    editor.sign(&signers).await?.write(&metadata).await?;
    println!("{} is signed as version {version}.", folder.display());
    Ok(())
}

/// Signs snapshot and timestamp anew with the keys that are online; the targets stay as they were signed.
async fn renew(keys: &Path, folder: &Path) -> anyhow::Result<()> {
    let loaded = load(keys, folder).await?;
    let version = next_version(&loaded)?;
    let mut snapshot = serde_json::to_value(&loaded.snapshot().signed)?;
    snapshot["version"] = version.get().into();
    snapshot["expires"] = expires(ONLINE_DAYS).into();
    let snapshot = signed::<Snapshot>(keys, "snapshot", snapshot)?;
    let mut timestamp = serde_json::to_value(&loaded.timestamp().signed)?;
    timestamp["version"] = version.get().into();
    timestamp["expires"] = expires(ONLINE_DAYS).into();
    timestamp["meta"] = json!({ "snapshot.json": { "version": version, "length": snapshot.len(),
        "hashes": { "sha256": hex::encode(digest(&SHA256, &snapshot).as_ref()) } } });
    let timestamp = signed::<Timestamp>(keys, "timestamp", timestamp)?;
    let metadata = folder.join("metadata");
    replace(&metadata.join(format!("{version}.snapshot.json")), &snapshot)?;
    // Last: whoever reads begins with it.
    replace(&metadata.join("timestamp.json"), &timestamp)?;
    println!("{} is signed as version {version}.", folder.display());
    Ok(())
}

/// What has expired is what is to be signed anew.
async fn load(keys: &Path, folder: &Path) -> anyhow::Result<Repository> {
    let url = |name: &str| {
        let path = fs::canonicalize(folder.join(name))
            .with_context(|| format!("{} is no update repository", folder.display()))?;
        url::Url::from_directory_path(&path).map_err(|()| anyhow::anyhow!("{} is no folder", path.display()))
    };
    RepositoryLoader::new(&fs::read(keys.join(ROOT_FILE))?, url("metadata")?, url("targets")?)
        .transport(FilesystemTransport)
        .expiration_enforcement(ExpirationEnforcement::Unsafe)
        .load()
        .await
        .context("the repository was not signed with these keys")
}

fn next_version(loaded: &Repository) -> anyhow::Result<NonZeroU64> {
    let (targets, snapshot, timestamp) = (
        loaded.targets().signed.version,
        loaded.snapshot().signed.version,
        loaded.timestamp().signed.version,
    );
    targets.max(snapshot).max(timestamp).checked_add(1).context("no version is left")
}

/// A role as the library reads it, signed by one key.
fn signed<T: Role + DeserializeOwned + Serialize>(
    keys: &Path,
    name: &str,
    role: Value,
) -> anyhow::Result<Vec<u8>> {
    let signed: T = serde_json::from_value(role)?;
    let document = fs::read(existing_key(keys, name)?)?;
    let pair = Ed25519KeyPair::from_pkcs8(&document).map_err(unspecified)?;
    let id = hex::encode(&serde_json::from_value::<tough::schema::key::Key>(public_key(&pair))?.key_id()?);
    let signature = hex::encode(pair.sign(&signed.canonical_form()?).as_ref());
    let signatures = serde_json::from_value(json!([{ "keyid": id, "sig": signature }]))?;
    Ok(serde_json::to_vec_pretty(&Signed { signed, signatures })?)
}

fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes)?;
    Ok(fs::rename(beside, path)?)
}

/// An agent that was built.
struct Build {
    path: PathBuf,
    version: String,
    os: String,
    arch: String,
    sha256: String,
}

impl Build {
    fn of(dist: &Path) -> anyhow::Result<Vec<Self>> {
        let manifest: Value = serde_json::from_slice(&fs::read(dist.join("manifest.json"))?)?;
        let artefacts = manifest["artefacts"].as_array().context("manifest.json has no artefacts")?;
        let agents = artefacts.iter().filter(|artefact| artefact["kind"] == "agent");
        agents
            .map(|artefact| {
                let text = |name: &str| {
                    let text =
                        artefact[name].as_str().with_context(|| format!("an artefact has no {name}"))?;
                    if text.contains(['/', '\\']) { bail!("{text} is no name") } else { Ok(text.to_owned()) }
                };
                Ok(Self {
                    path: dist.join(text("file")?),
                    version: text("version")?,
                    os: text("os")?,
                    arch: text("arch")?,
                    sha256: text("sha256")?,
                })
            })
            .collect()
    }

    /// As agents ask for it.
    fn target_name(&self) -> String {
        let suffix = if self.os == "windows" { ".exe" } else { "" };
        format!("gururmm-agent-{}-{}-{}{suffix}", self.version, self.os, self.arch)
    }

    async fn target(&self, channels: &[String]) -> anyhow::Result<Target> {
        let mut target = Target::from_path(&self.path).await?;
        ensure!(
            hex::encode(&target.hashes.sha256) == self.sha256,
            "{} is not what manifest.json says",
            self.path.display()
        );
        let facts = json!({ "product": "gururmm-agent", "version": self.version, "os": self.os, "arch": self.arch,
            "channels": channels, "released_at": Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string() });
        target.custom = serde_json::from_value(facts)?;
        Ok(target)
    }

    fn copy_to(&self, targets: &Path) -> anyhow::Result<()> {
        let place = targets.join(format!("{}.{}", self.sha256, self.target_name()));
        fs::copy(&self.path, &place).with_context(|| format!("cannot write {}", place.display()))?;
        Ok(())
    }
}

fn existing_key(keys: &Path, name: &str) -> anyhow::Result<PathBuf> {
    let path = key_file(keys, name);
    ensure!(path.is_file(), "the key {} is not here", path.display());
    Ok(path)
}

fn public_key(pair: &Ed25519KeyPair) -> Value {
    json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": hex::encode(pair.public_key().as_ref()) } })
}

fn key_file(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.key"))
}

fn expires(days: i64) -> String {
    (Utc::now() + TimeDelta::days(days)).format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn unspecified(_: impl std::fmt::Debug) -> anyhow::Error {
    anyhow::anyhow!("a key cannot be made")
}

/// In hex, as a manifest has it.
pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dist(folder: &Path, version: &str, bytes: &[u8]) -> PathBuf {
        let dist = folder.join(version);
        fs::create_dir(&dist).unwrap();
        fs::write(dist.join("gururmm-agent-linux-x86_64"), bytes).unwrap();
        let sha256 = hex::encode(digest(&SHA256, bytes).as_ref());
        let artefact = json!({ "file": "gururmm-agent-linux-x86_64", "kind": "agent", "os": "linux", "arch": "x86_64",
            "version": version, "sha256": sha256, "size": bytes.len() });
        fs::write(dist.join("manifest.json"), json!({ "artefacts": [artefact] }).to_string()).unwrap();
        dist
    }

    /// Versions in the order of their names, as an agent with the keys' root reads them.
    async fn published(keys: &Path, repository: &Path) -> Vec<(String, Value)> {
        let url = |name: &str| url::Url::from_directory_path(repository.join(name)).unwrap();
        let loaded =
            RepositoryLoader::new(&fs::read(keys.join(ROOT_FILE)).unwrap(), url("metadata"), url("targets"))
                .transport(FilesystemTransport)
                .load()
                .await
                .unwrap();
        let mut targets = Vec::new();
        for (name, target) in &loaded.targets().signed.targets {
            use tough::IntoVec as _;
            let bytes = loaded.read_target(name).await.unwrap().unwrap().into_vec().await.unwrap();
            assert_eq!(bytes.len() as u64, target.length);
            targets.push((name.raw().to_owned(), target.custom["channels"].clone()));
        }
        targets.sort_by(|a, b| a.0.cmp(&b.0));
        targets
    }

    #[tokio::test]
    async fn what_was_published_stays_and_what_is_signed_again_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, repository) = (folder.path().join("keys"), folder.path().join("repository"));
        make_keys(&keys).unwrap();
        assert!(make_keys(&keys).is_err(), "keys are written over");
        let stable = ["stable".to_owned()];
        let first = Build::of(&dist(folder.path(), "1.0.0", b"first")).unwrap();
        publish(&keys, &repository, &first, &stable).await.unwrap();
        let second = Build::of(&dist(folder.path(), "1.1.0", b"second")).unwrap();
        publish(&keys, &repository, &second, &["beta".to_owned()]).await.unwrap();
        // Without the keys that are offline.
        for name in ROOT_KEYS.into_iter().chain([TARGETS]) {
            fs::remove_file(key_file(&keys, name)).unwrap();
        }
        renew(&keys, &repository).await.unwrap();
        let name = |version: &str| format!("gururmm-agent-{version}-linux-x86_64");
        assert_eq!(
            published(&keys, &repository).await,
            [(name("1.0.0"), json!(["stable"])), (name("1.1.0"), json!(["beta"]))]
        );
        assert!(repository.join("metadata/3.snapshot.json").exists());
        assert!(
            publish(&keys, &repository, &second, &stable).await.is_err(),
            "signed without the targets key"
        );
    }

    #[tokio::test]
    async fn other_keys_sign_nothing_of_this_repository() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, other) = (folder.path().join("keys"), folder.path().join("other"));
        let repository = folder.path().join("repository");
        make_keys(&keys).unwrap();
        make_keys(&other).unwrap();
        let builds = Build::of(&dist(folder.path(), "1.0.0", b"first")).unwrap();
        publish(&keys, &repository, &builds, &["stable".to_owned()]).await.unwrap();
        assert!(renew(&other, &repository).await.is_err());
    }
}
