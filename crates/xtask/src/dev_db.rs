//! `xtask dev-db`: what `DATABASE_URL` points at while one writes queries.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::{cluster, cluster::Cluster, migrations};

#[derive(Args)]
pub struct Options {
    /// Name of the database; one that exists is dropped and made again
    #[arg(long, default_value = "gururmm_dev")]
    name: String,

    /// Folder of the throwaway cluster, kept running between calls
    #[arg(long, default_value = "/tmp/gururmm-dev-postgres")]
    dir: PathBuf,

    /// Stop the cluster and remove its folder
    #[arg(long)]
    remove: bool,
}

/// Makes the database and prints `DATABASE_URL=…`.
///
/// # Errors
/// When PostgreSQL is missing or a migration does not apply.
pub fn run(root: &Path, options: &Options) -> anyhow::Result<()> {
    if options.remove {
        return Cluster::remove(&options.dir);
    }
    let cluster = Cluster::start(&options.dir)?;
    migrated_database(root, &cluster, &options.name)?;
    println!("DATABASE_URL={}", cluster.url(&options.name));
    Ok(())
}

/// Makes an empty database and applies every migration to it.
///
/// # Errors
/// When the name is not a plain one or a migration does not apply.
pub fn migrated_database(root: &Path, cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    cluster::check_database_name(name)?;
    cluster.recreate_database(name)?;
    for file in migrations::files(root)? {
        cluster.sql_file(name, &file)?;
    }
    Ok(())
}
