//! Backups of an installation: its database and its keys, without which the database is of no use. A backup is a folder
//! of files and a manifest with their checksums; it is there whole or not at all.

mod manifest;

pub use manifest::Manifest;

use crate::database::{Database, DatabaseChoice};
use crate::db::embedded::{DataLock, dump};
use crate::db::whole;
use crate::private_file;
use anyhow::{Context as _, ensure};
use chrono::Utc;
use manifest::{DATABASE, KEYS, MANIFEST};
use std::fs::{File, TryLockError};
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

/// What a backup's folder is named: the time follows.
const PREFIX: &str = "gururmm-";
/// What is behind the name while it is being written.
const PARTIAL: &str = "partial";
/// Keeps two backups from being written into the same folder at once.
const LOCK: &str = "gururmm-backup.lock";

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    pub folder: PathBuf,
    pub bytes: u64,
    /// Older ones that had to go.
    pub removed: Vec<PathBuf>,
}

/// Writes a backup of the database and the keys of `data_dir` into the folder of backups `to`, and removes the oldest
/// ones beyond `keep`.
///
/// # Errors
/// It could not be made; then `to` holds the backups that it held before.
pub async fn make(
    data_dir: &Path,
    database: &Database,
    to: &Path,
    keep: Option<NonZeroUsize>,
) -> anyhow::Result<Made> {
    let url = database.owner_url.as_deref().context("this database has no URL")?;
    private_file::make_folder(to).with_context(|| format!("cannot create {}", to.display()))?;
    let _lock = lock(to)?;
    remove_partial(to)?;
    let made_at = Utc::now();
    let folder = to.join(format!("{PREFIX}{}", made_at.format("%Y%m%dT%H%M%S%3fZ")));
    let partial = folder.with_added_extension(PARTIAL);
    let manifest = match fill(&partial, data_dir, url, made_at).await {
        Ok(manifest) => manifest,
        Err(error) => {
            // What is left of it would be removed by the next one, too.
            let _ = std::fs::remove_dir_all(&partial);
            return Err(error);
        }
    };
    let placed = std::fs::rename(&partial, &folder).and_then(|()| private_file::sync_folder_of(&folder));
    placed.with_context(|| format!("cannot write {}", folder.display()))?;
    let removed = keep.map(|keep| remove_oldest(to, keep)).transpose()?.unwrap_or_default();
    Ok(Made { folder, bytes: manifest.bytes(), removed })
}

/// Reads a backup through.
///
/// # Errors
/// It is not whole, damaged, or of a later version.
pub async fn check(from: &Path) -> anyhow::Result<Manifest> {
    Manifest::check(from).await
}

/// Brings a backup into `data_dir`, which is new or empty, and into the private database there or the empty one that
/// `database_url` names.
///
/// # Errors
/// The backup is not sound, or the place is not empty: nothing has been changed. Or PostgreSQL failed: then there are
/// parts, which no server takes into use, for the keys come last.
pub async fn restore(from: &Path, data_dir: &Path, database_url: Option<String>) -> anyhow::Result<Manifest> {
    let manifest = Manifest::check(from).await?;
    let is_empty = match data_dir.read_dir() {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", data_dir.display())),
    };
    ensure!(is_empty, "{} is not empty: restore into a new folder", data_dir.display());
    let empty = Database::empty(DataLock::take(data_dir)?, DatabaseChoice::of(database_url)).await?;
    let restored = fill_database(&manifest, from, &empty.url).await;
    let closed = empty.close().await;
    restored.with_context(|| format!("{} holds a part: remove it and try again", data_dir.display()))?;
    closed?;
    let keys = data_dir.join(KEYS);
    private_file::make_folder(&keys).with_context(|| format!("cannot create {}", keys.display()))?;
    for name in manifest.keys() {
        let bytes = std::fs::read(from.join(KEYS).join(name))?;
        let path = keys.join(name);
        private_file::create(&path, &bytes).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(manifest)
}

async fn fill_database(manifest: &Manifest, from: &Path, url: &str) -> anyhow::Result<()> {
    let database = whole::prepare_empty(url).await?;
    ensure!(
        database.owner == manifest.owner,
        "the database must be owned by a role named {}, as the one that was backed up: this one is {}'s",
        manifest.owner,
        database.owner
    );
    Ok(dump::restore(url, database.major, &from.join(DATABASE)).await?)
}

async fn fill(
    folder: &Path,
    data_dir: &Path,
    url: &str,
    made_at: chrono::DateTime<Utc>,
) -> anyhow::Result<Manifest> {
    let keys = folder.join(KEYS);
    private_file::make_folder(&keys).with_context(|| format!("cannot create {}", keys.display()))?;
    let mut names = Vec::new();
    for entry in data_dir.join(KEYS).read_dir().context("cannot read the keys")? {
        let entry = entry?;
        if entry.file_type()?.is_file() && !is_partial(&entry.path()) {
            private_file::create(&keys.join(entry.file_name()), &std::fs::read(entry.path())?)?;
            names.push(Path::new(KEYS).join(entry.file_name()));
        }
    }
    names.sort();
    let database = whole::describe(url).await?;
    dump::dump(url, database.major, &folder.join(DATABASE)).await?;
    names.push(DATABASE.into());
    let manifest = Manifest::of(folder, &names, database, made_at)?;
    private_file::create(&folder.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    Ok(manifest)
}

fn lock(to: &Path) -> anyhow::Result<File> {
    let path = to.join(LOCK);
    let file = File::options().write(true).create(true).truncate(false).open(&path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            anyhow::bail!("another backup is being written into {}", to.display())
        }
        Err(TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", path.display()))
        }
    }
}

/// What backups that were interrupted left behind. The lock is held, so none is being written.
fn remove_partial(to: &Path) -> anyhow::Result<()> {
    for path in backups(to, is_partial)? {
        std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn remove_oldest(to: &Path, keep: NonZeroUsize) -> anyhow::Result<Vec<PathBuf>> {
    // Only what is a backup of ours, whole: whatever else lies there is somebody's.
    let mut whole = backups(to, |path| !is_partial(path) && path.join(MANIFEST).is_file())?;
    whole.sort();
    whole.truncate(whole.len().saturating_sub(keep.get()));
    for path in &whole {
        // Without its manifest it is no backup any more, should the rest of this be cut short.
        std::fs::remove_file(path.join(MANIFEST))
            .and_then(|()| std::fs::rename(path, path.with_added_extension(PARTIAL)))
            .and_then(|()| std::fs::remove_dir_all(path.with_added_extension(PARTIAL)))
            .with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(whole)
}

fn backups(to: &Path, which: impl Fn(&Path) -> bool) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in to.read_dir().with_context(|| format!("cannot read {}", to.display()))? {
        let entry = entry?;
        let is_ours = entry.file_name().to_str().is_some_and(|name| {
            name.strip_prefix(PREFIX)
                .is_some_and(|time| time.starts_with(|first: char| first.is_ascii_digit()))
        });
        if is_ours && entry.file_type()?.is_dir() && which(&entry.path()) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == PARTIAL)
}
