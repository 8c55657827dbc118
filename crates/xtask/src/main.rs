//! The project's own build steps, where bash would be the wrong tool. `./dev` calls them.
#![allow(clippy::print_stdout, reason = "a command line tool answers on standard output")]

mod cluster;
mod dev_db;
mod migrations;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "xtask", about = "Build steps of GuruRMM")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Make (or make again) a migrated database on a throwaway PostgreSQL and print its DATABASE_URL
    DevDb(dev_db::Options),
}

fn main() -> anyhow::Result<()> {
    let root = workspace_root()?;
    match Arguments::parse().task {
        Task::DevDb(options) => dev_db::run(&root, &options),
    }
}

/// The repository this program was built from: two folders above its own manifest.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(own.ancestors().nth(2).context("xtask lies two folders below the workspace")?.to_path_buf())
}
