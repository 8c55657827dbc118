//! Signed update repositories (TUF), made on the spot with keys of their own, and bent for attacks. Signed by hand and
//! not by the library's editor, which refuses to make what a test of refusals needs.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tough::schema::{Role, RoleType, Root, Signed, Snapshot, Targets, Timestamp};

/// A build that is published.
#[derive(Debug, Clone)]
pub struct Release {
    pub version: String,
    /// As the protocol says it: `linux`, `windows`, `macos`.
    pub os: String,
    pub arch: String,
    pub channels: Vec<String>,
    pub bytes: Vec<u8>,
}

impl Release {
    /// For the system this runs on, in the channel `stable`.
    pub fn here(version: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            version: version.to_owned(),
            os: std::env::consts::OS.to_owned(),
            arch: std::env::consts::ARCH.to_owned(),
            channels: vec!["stable".to_owned()],
            bytes: bytes.into(),
        }
    }

    /// The same in other channels.
    pub fn in_channels(mut self, channels: &[&str]) -> Self {
        self.channels = channels.iter().map(|&channel| channel.to_owned()).collect();
        self
    }

    /// The same for another system.
    pub fn for_system(mut self, os: &str, arch: &str) -> Self {
        (self.os, self.arch) = (os.to_owned(), arch.to_owned());
        self
    }

    /// What its target is called.
    pub fn target_name(&self) -> String {
        let suffix = if self.os == "windows" { ".exe" } else { "" };
        format!("gururmm-agent-{}-{}-{}{suffix}", self.version, self.os, self.arch)
    }
}

/// Version and end of a role, as they are written next.
#[derive(Debug, Clone)]
pub struct RoleFacts {
    pub version: u64,
    pub expires: DateTime<Utc>,
}

/// What the signed targets say of a file, and what lies there. The two agree until a test bends them.
#[derive(Debug, Clone)]
pub struct Entry {
    pub length: u64,
    /// In hex.
    pub sha256: String,
    pub custom: Value,
    pub bytes: Vec<u8>,
}

struct Key {
    pair: Ed25519KeyPair,
    id: String,
    public: Value,
}

/// A repository in a folder. Nothing is on the disk before [`Repository::write`].
pub struct Repository {
    folder: PathBuf,
    pub root: RoleFacts,
    pub targets: RoleFacts,
    pub snapshot: RoleFacts,
    pub timestamp: RoleFacts,
    /// By target name.
    pub entries: BTreeMap<String, Entry>,
    /// How many of the root keys sign a new root; two are needed.
    pub root_signatures: usize,
    root_keys: Vec<Key>,
    targets_key: Key,
    snapshot_key: Key,
    timestamp_key: Key,
    roots: Vec<Vec<u8>>,
}

/// Keys that have to sign a root, of three.
const ROOT_THRESHOLD: usize = 2;

impl Repository {
    /// A new one without a release: version 1 of every role, valid for 90 days.
    pub fn create(folder: &Path) -> Self {
        fs::create_dir_all(folder.join("metadata")).unwrap();
        fs::create_dir_all(folder.join("targets")).unwrap();
        let facts = RoleFacts { version: 1, expires: (Utc::now() + TimeDelta::days(90)).trunc_subsecs(0) };
        let mut repository = Self {
            folder: folder.to_owned(),
            root: facts.clone(),
            targets: facts.clone(),
            snapshot: facts.clone(),
            timestamp: facts,
            entries: BTreeMap::new(),
            root_signatures: ROOT_THRESHOLD,
            root_keys: three_keys(),
            targets_key: Key::generate(),
            snapshot_key: Key::generate(),
            timestamp_key: Key::generate(),
            roots: Vec::new(),
        };
        let first = repository.signed_root(&[]);
        repository.roots.push(first);
        repository
    }

    /// The root of version 1: what agents are built with.
    pub fn root_json(&self) -> Vec<u8> {
        self.roots[0].clone()
    }

    /// The root of this version.
    pub fn root_json_of(&self, version: usize) -> Vec<u8> {
        self.roots[version - 1].clone()
    }

    /// The newest root.
    pub fn latest_root_json(&self) -> Vec<u8> {
        self.roots[self.roots.len() - 1].clone()
    }

    /// Adds a build under the name it should have, and raises the versions of all that says so.
    pub fn publish(&mut self, release: Release) -> &mut Self {
        let name = release.target_name();
        self.publish_as(&name, release)
    }

    /// The same under any name.
    pub fn publish_as(&mut self, name: &str, release: Release) -> &mut Self {
        let entry = Entry {
            length: release.bytes.len() as u64,
            sha256: sha256(&release.bytes),
            custom: json!({
                "product": "gururmm-agent",
                "version": release.version,
                "os": release.os,
                "arch": release.arch,
                "channels": release.channels,
                "released_at": rfc3339(Utc::now()),
            }),
            bytes: release.bytes,
        };
        self.entries.insert(name.to_owned(), entry);
        self.raise_versions()
    }

    /// What is said of a target, to bend it. [`Repository::raise_versions`] makes it news.
    pub fn entry_mut(&mut self, name: &str) -> &mut Entry {
        self.entries.get_mut(name).unwrap()
    }

    /// Targets, snapshot and timestamp become one version newer.
    pub fn raise_versions(&mut self) -> &mut Self {
        for role in [&mut self.targets, &mut self.snapshot, &mut self.timestamp] {
            role.version += 1;
        }
        self
    }

    /// New root keys; the new root is signed by the old ones, too.
    pub fn rotate_root(&mut self) -> &mut Self {
        let old = std::mem::replace(&mut self.root_keys, three_keys());
        self.root.version += 1;
        let root = self.signed_root(&old);
        self.roots.push(root);
        self
    }

    /// A root that only its own new keys signed: nobody who trusts the ones before may follow it.
    pub fn usurp_root(&mut self) -> &mut Self {
        self.root_keys = three_keys();
        self.root.version += 1;
        let root = self.signed_root(&[]);
        self.roots.push(root);
        self
    }

    /// The same root, one version newer, as it is now: with its new expiry, or with fewer signatures.
    pub fn renew_root(&mut self) -> &mut Self {
        self.root.version += 1;
        let root = self.signed_root(&[]);
        self.roots.push(root);
        self
    }

    /// A new key for the timestamp, by a new root.
    pub fn rotate_timestamp(&mut self) -> &mut Self {
        self.timestamp_key = Key::generate();
        self.timestamp.version += 1;
        self.renew_root()
    }

    /// From now on the role is signed by a key that no root knows.
    pub fn forge(&mut self, role: RoleType) -> &mut Self {
        match role {
            RoleType::Root => return self.usurp_root(),
            RoleType::Snapshot => self.snapshot_key = Key::generate(),
            RoleType::Timestamp => self.timestamp_key = Key::generate(),
            RoleType::Targets | RoleType::DelegatedTargets => self.targets_key = Key::generate(),
        }
        self
    }

    /// Where the newest file of a role is.
    pub fn metadata_path(&self, role: RoleType) -> PathBuf {
        let name = match role {
            RoleType::Root => format!("{}.root.json", self.roots.len()),
            RoleType::Snapshot => format!("{}.snapshot.json", self.snapshot.version),
            RoleType::Timestamp => "timestamp.json".to_owned(),
            RoleType::Targets | RoleType::DelegatedTargets => {
                format!("{}.targets.json", self.targets.version)
            }
        };
        self.folder.join("metadata").join(name)
    }

    /// Where the bytes of a target are.
    pub fn target_path(&self, name: &str) -> PathBuf {
        self.folder.join("targets").join(format!("{}.{name}", self.entries[name].sha256))
    }

    /// Signs and writes everything; the timestamp last, as whoever reads meanwhile begins with it.
    pub fn write(&self) {
        for (name, entry) in &self.entries {
            write(&self.target_path(name), &entry.bytes);
        }
        for (index, root) in self.roots.iter().enumerate() {
            write(&self.folder.join("metadata").join(format!("{}.root.json", index + 1)), root);
        }
        let targets = self.targets_json();
        write(&self.metadata_path(RoleType::Targets), &targets);
        let snapshot = self.snapshot_json(&targets);
        write(&self.metadata_path(RoleType::Snapshot), &snapshot);
        write(&self.metadata_path(RoleType::Timestamp), &self.timestamp_json(&snapshot));
    }

    fn signed_root(&self, also: &[Key]) -> Vec<u8> {
        let of = |keys: &[&Key], threshold: usize| {
            let ids: Vec<&str> = keys.iter().map(|key| key.id.as_str()).collect();
            json!({ "keyids": ids, "threshold": threshold })
        };
        let root_keys: Vec<&Key> = self.root_keys.iter().collect();
        let online = [&self.targets_key, &self.snapshot_key, &self.timestamp_key];
        let keys: serde_json::Map<String, Value> =
            root_keys.iter().chain(&online).map(|key| (key.id.clone(), key.public.clone())).collect();
        let [targets, snapshot, timestamp] = online.map(|key| of(&[key], 1));
        let root = json!({
            "_type": "root",
            "spec_version": "1.0.0",
            "consistent_snapshot": true,
            "version": self.root.version,
            "expires": rfc3339(self.root.expires),
            "keys": keys,
            "roles": {
                "root": of(&root_keys, ROOT_THRESHOLD),
                "targets": targets,
                "snapshot": snapshot,
                "timestamp": timestamp,
            },
        });
        let signers: Vec<&Key> = root_keys
            .into_iter()
            .take(self.root_signatures)
            .chain(also.iter().take(ROOT_THRESHOLD))
            .collect();
        sign::<Root>(root, &signers)
    }

    fn targets_json(&self) -> Vec<u8> {
        let targets: serde_json::Map<String, Value> = self
            .entries
            .iter()
            .map(|(name, entry)| {
                let Entry { length, sha256, custom, .. } = entry;
                (name.clone(), json!({ "length": length, "hashes": { "sha256": sha256 }, "custom": custom }))
            })
            .collect();
        let body = self.body("targets", &self.targets, "targets", targets.into());
        sign::<Targets>(body, &[&self.targets_key])
    }

    fn snapshot_json(&self, targets: &[u8]) -> Vec<u8> {
        let meta = json!({ "targets.json": described(targets, self.targets.version) });
        sign::<Snapshot>(self.body("snapshot", &self.snapshot, "meta", meta), &[&self.snapshot_key])
    }

    fn timestamp_json(&self, snapshot: &[u8]) -> Vec<u8> {
        let meta = json!({ "snapshot.json": described(snapshot, self.snapshot.version) });
        sign::<Timestamp>(self.body("timestamp", &self.timestamp, "meta", meta), &[&self.timestamp_key])
    }

    fn body(&self, role: &str, facts: &RoleFacts, field: &str, value: Value) -> Value {
        json!({
            "_type": role,
            "spec_version": "1.0.0",
            "version": facts.version,
            "expires": rfc3339(facts.expires),
            field: value,
        })
    }
}

impl Key {
    fn generate() -> Self {
        let document = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let pair = Ed25519KeyPair::from_pkcs8(document.as_ref()).unwrap();
        let public = json!({
            "keytype": "ed25519",
            "scheme": "ed25519",
            "keyval": { "public": hex::encode(pair.public_key().as_ref()) },
        });
        let key: tough::schema::key::Key = serde_json::from_value(public.clone()).unwrap();
        let id = hex::encode(key.key_id().unwrap());
        Self { pair, id, public }
    }
}

fn three_keys() -> Vec<Key> {
    (0..3).map(|_| Key::generate()).collect()
}

/// Signatures cover the canonical form of what the library reads.
fn sign<T: Role + DeserializeOwned + Serialize>(body: Value, keys: &[&Key]) -> Vec<u8> {
    let signed: T = serde_json::from_value(body).unwrap();
    let bytes = signed.canonical_form().unwrap();
    let signatures = keys.iter().map(|key| {
        serde_json::from_value(json!({ "keyid": key.id, "sig": hex::encode(key.pair.sign(&bytes).as_ref()) }))
            .unwrap()
    });
    let signatures = signatures.collect();
    serde_json::to_vec_pretty(&Signed { signed, signatures }).unwrap()
}

fn described(bytes: &[u8], version: u64) -> Value {
    json!({ "version": version, "length": bytes.len(), "hashes": { "sha256": sha256(bytes) } })
}

/// Replaced whole, so that a server that looks meanwhile never reads half a file.
fn write(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).unwrap();
    fs::rename(beside, path).unwrap();
}

fn rfc3339(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(digest(&SHA256, bytes).as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tough::error::Error;
    use tough::{FilesystemTransport, RepositoryLoader, TargetName};
    use url::Url;

    async fn load(folder: &Path, root: &[u8]) -> Result<tough::Repository, Error> {
        let url = |name: &str| Url::from_directory_path(folder.join(name)).unwrap();
        RepositoryLoader::new(&root, url("metadata"), url("targets"))
            .transport(FilesystemTransport)
            .load()
            .await
    }

    #[tokio::test]
    async fn what_is_published_is_taken_from_the_first_root_on_through_every_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let mut repository = Repository::create(folder.path());
        let release = Release::here("1.2.3", "a program");
        let name = release.target_name();
        repository.publish(release).rotate_root().rotate_timestamp().write();

        let loaded = load(folder.path(), &repository.root_json()).await.unwrap();
        assert_eq!(loaded.root().signed.version.get(), 3);
        let target = &loaded.targets().signed.targets[&TargetName::new(&name).unwrap()];
        assert_eq!((target.length, target.custom["version"].as_str()), (9, Some("1.2.3")));
    }

    #[tokio::test]
    async fn what_its_keys_did_not_sign_is_refused() {
        for role in [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp] {
            let folder = tempfile::tempdir().unwrap();
            let mut repository = Repository::create(folder.path());
            repository.publish(Release::here("1.2.3", "a program")).forge(role).write();
            load(folder.path(), &repository.root_json()).await.expect_err(&role.to_string());
        }
        let folder = tempfile::tempdir().unwrap();
        let mut repository = Repository::create(folder.path());
        repository.root_signatures = 1;
        repository.renew_root().write();
        load(folder.path(), &repository.root_json()).await.expect_err("one signature");
    }

    #[tokio::test]
    async fn an_expired_role_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut repository = Repository::create(folder.path());
        repository.timestamp.expires = Utc::now() - TimeDelta::minutes(1);
        repository.write();
        let refused = load(folder.path(), &repository.root_json()).await.unwrap_err();
        assert!(matches!(refused, Error::ExpiredMetadata { role: RoleType::Timestamp, .. }), "{refused}");
    }
}
