//! The server's migrations, as files.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// Where the migrations lie, below the repository's root.
pub const DIRECTORY: &str = "crates/server/migrations";

/// All migrations in the order of their numbers.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let directory = root.join(DIRECTORY);
    let mut files = fs::read_dir(&directory)
        .with_context(|| format!("reading {}", directory.display()))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<Vec<_>, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    Ok(files)
}
