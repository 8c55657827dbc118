//! What a backup consists of. The manifest is written last: a folder without one is no backup.

use crate::db::embedded::dump;
use crate::db::whole::{self, Description};
use anyhow::{Context as _, ensure};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::Read as _;
use std::path::{Component, Path, PathBuf};

/// The manifest's name in a backup.
pub const MANIFEST: &str = "manifest.json";
/// The database's name in a backup.
pub const DATABASE: &str = "database.dump";
/// The keys' folder in a backup.
pub const KEYS: &str = "keys";
/// Grows when an older program could not restore what a newer one writes.
const FORMAT: u32 = 1;
/// More than any manifest.
const MANIFEST_MAX_BYTES: u64 = 1024 * 1024;

/// A backup's table of contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    format: u32,
    /// The server's version that made it.
    pub version: String,
    schema: i64,
    pub made_at: DateTime<Utc>,
    postgres: u32,
    /// The role that owned the database. The one it is restored into must be owned by a role of this name.
    pub owner: String,
    files: Vec<Entry>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    /// Its place in the backup.
    name: PathBuf,
    bytes: u64,
    sha256: String,
}

impl Manifest {
    /// Of the files that lie in `folder` already.
    pub fn of(
        folder: &Path,
        names: &[PathBuf],
        database: Description,
        made_at: DateTime<Utc>,
    ) -> anyhow::Result<Self> {
        let entry = |name: &PathBuf| {
            let (bytes, sha256) = measure(&folder.join(name))?;
            Ok(Entry { name: name.clone(), bytes, sha256 })
        };
        Ok(Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            schema: whole::schema_version(),
            made_at,
            postgres: database.major,
            owner: database.owner,
            files: names.iter().map(entry).collect::<anyhow::Result<_>>()?,
        })
    }

    /// All files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The names of the keys' files, without their folder.
    pub fn keys(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().filter_map(|file| file.name.strip_prefix(KEYS).ok())
    }

    /// Reads a backup's manifest and every file that it names.
    ///
    /// # Errors
    /// Something is missing, too much, damaged, or of a later version than this program.
    pub async fn check(folder: &Path) -> anyhow::Result<Self> {
        let manifest = Self::read(folder)?;
        ensure!(
            manifest.format == FORMAT && manifest.schema <= whole::schema_version(),
            "the backup was made by version {}, which is later than this program: restore it with that version",
            manifest.version
        );
        for file in &manifest.files {
            let is_inside = file.name.components().all(|part| matches!(part, Component::Normal(_)));
            let name = file.name.display();
            ensure!(is_inside, "the manifest names {name}, which is not in the backup");
            let found = measure(&folder.join(&file.name));
            let (bytes, sha256) = found.with_context(|| format!("{name} of the backup cannot be read"))?;
            ensure!(bytes == file.bytes && sha256 == file.sha256, "{name} of the backup is damaged");
        }
        let has = |name: &str| manifest.files.iter().any(|file| file.name == Path::new(name));
        ensure!(has(DATABASE) && manifest.keys().next().is_some(), "the backup is not whole");
        dump::read_through(manifest.postgres, &folder.join(DATABASE)).await?;
        Ok(manifest)
    }

    fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join(MANIFEST);
        let file = File::open(&path)
            .with_context(|| format!("{} is no backup: it has no {MANIFEST}", folder.display()))?;
        let mut text = String::new();
        file.take(MANIFEST_MAX_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is damaged", path.display()))
    }
}

/// Length and SHA-256 of a file.
fn measure(path: &Path) -> std::io::Result<(u64, String)> {
    let (mut file, mut hasher) = (File::open(path)?, Sha256::new());
    let (mut buffer, mut bytes) = (vec![0; 256 * 1024], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hex::encode(hasher.finalize()))),
            read => {
                hasher.update(buffer.get(..read).unwrap_or_default());
                bytes += read as u64;
            }
        }
    }
}
