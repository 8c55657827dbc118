//! `xtask sqlx-prepare`: what the SQL macros need to know of the database, as the files in `.sqlx`.
//!
//! sqlx's macros write one file per query into `$SQLX_OFFLINE_DIR` whenever they ask a live database. So: a database
//! of one's own with all migrations, one compiler run, and the folder is complete.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::cluster::Cluster;
use crate::dev_db;

/// The crate that holds all queries.
const PACKAGE: &str = "gururmm-server";

/// Where sqlx looks for the files when it has no database.
const COMMITTED: &str = ".sqlx";

#[derive(Args)]
pub struct Options {
    /// Change nothing; fail where the committed files are not what the queries need
    #[arg(long)]
    check: bool,
}

/// Writes, or with `check` compares, `.sqlx`.
///
/// # Errors
/// When PostgreSQL is missing, a migration or a query is wrong, or the files differ.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    let folder = std::env::temp_dir().join(format!("gururmm-sqlx-prepare-{}", std::process::id()));
    let described = describe(root, &folder.join("postgres"), &folder.join("queries"));
    // Whatever happened, the cluster goes.
    let removed = Cluster::remove(&folder.join("postgres")).and_then(|()| Ok(fs::remove_dir_all(&folder)?));
    let fresh = described?;
    removed?;

    let committed = read_queries(&root.join(COMMITTED))?;
    if options.check {
        return compare(&committed, &fresh);
    }
    fs::create_dir_all(root.join(COMMITTED))?;
    for name in committed.keys().filter(|name| !fresh.contains_key(*name)) {
        fs::remove_file(root.join(COMMITTED).join(name))?;
    }
    for (name, query) in fresh.iter().filter(|(name, query)| committed.get(*name) != Some(query)) {
        fs::write(root.join(COMMITTED).join(name), query)?;
    }
    println!("{} queries in {COMMITTED}", fresh.len());
    Ok(())
}

type Queries = BTreeMap<String, String>;

fn describe(root: &Path, postgres: &Path, queries: &Path) -> anyhow::Result<Queries> {
    fs::create_dir_all(queries)?;
    let cluster = Cluster::start(postgres)?;
    dev_db::migrated_database(root, &cluster, "prepare")?;
    let roots = crate_roots(root)?;
    // Cargo cannot know that the macros must run again; newer crate roots tell it so. Afterwards they are as old as
    // before: nothing else has to be built again.
    set_modified(roots.keys().map(|path| (path, SystemTime::now())))?;
    let compiled = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["check", "--quiet", "--all-targets", "--workspace"])
        .current_dir(root)
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", queries)
        .env("DATABASE_URL", cluster.url("prepare"))
        .status();
    set_modified(roots.iter().map(|(path, modified)| (path, *modified)))?;
    let compiled = compiled.context("starting cargo")?;
    ensure!(compiled.success(), "{PACKAGE} does not compile against the migrated database");
    read_queries(queries)
}

/// The server's crate roots, and how old they are.
fn crate_roots(root: &Path) -> anyhow::Result<BTreeMap<PathBuf, SystemTime>> {
    let mut roots = BTreeMap::new();
    for file in ["src/lib.rs", "src/main.rs", "tests/it/main.rs"] {
        let path = root.join("crates/server").join(file);
        if path.exists() {
            let modified = fs::metadata(&path)?.modified()?;
            roots.insert(path, modified);
        }
    }
    Ok(roots)
}

fn set_modified<'a>(times: impl Iterator<Item = (&'a PathBuf, SystemTime)>) -> anyhow::Result<()> {
    for (path, modified) in times {
        fs::File::options().append(true).open(path)?.set_modified(modified)?;
    }
    Ok(())
}

fn read_queries(folder: &Path) -> anyhow::Result<Queries> {
    let mut queries = Queries::new();
    if !folder.exists() {
        return Ok(queries);
    }
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let entry = entry?;
        queries.insert(entry.file_name().to_string_lossy().into_owned(), fs::read_to_string(entry.path())?);
    }
    Ok(queries)
}

fn compare(committed: &Queries, fresh: &Queries) -> anyhow::Result<()> {
    let missing = fresh.keys().filter(|name| !committed.contains_key(*name)).count();
    let left_over = committed.keys().filter(|name| !fresh.contains_key(*name)).count();
    let changed =
        fresh.iter().filter(|(name, query)| committed.get(*name).is_some_and(|old| old != *query)).count();
    if missing + left_over + changed > 0 {
        bail!(
            "{COMMITTED} is not what the queries need: {missing} missing, {left_over} left over, {changed} changed; \
             run ./dev fmt"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Queries, compare};

    fn queries(files: &[(&str, &str)]) -> Queries {
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    #[test]
    fn what_is_missing_left_over_or_changed_is_said() {
        let committed = queries(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let fresh = queries(&[("b", "1"), ("c", "2"), ("d", "1"), ("e", "1")]);
        let error = compare(&committed, &fresh).unwrap_err().to_string();
        assert!(error.contains("2 missing, 1 left over, 1 changed"), "{error}");
        assert!(compare(&fresh, &fresh).is_ok());
    }
}
