//! The project's own build steps, where bash would be the wrong tool. `./dev` calls them.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool answers its caller")]

mod api;
mod bench;
mod chaos;
mod dev_db;
mod dist;
mod fleet;
mod meshcentral;
mod nats;
mod reporter;
mod retries;
mod session_checks;
mod sqlx_prepare;
mod stack;
mod tidy;
mod update_repository;
mod windows_agent;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use xtask::{cluster, migrations};

#[derive(Parser)]
#[command(name = "xtask", about = "Build steps of GuruRMM")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure
    Bench(bench::Options),
    /// Kill server, agents and PostgreSQL at random while commands run, and look for losses
    Chaos(chaos::Options),
    /// Make (or make again) a migrated database on a throwaway PostgreSQL and print its DATABASE_URL
    DevDb(dev_db::Options),
    /// Write manifest.json and SHA256SUMS of what ./dev dist has built
    DistManifest(dist::Options),
    /// Name the tests that needed a second try, from the reports of a test run
    Retries(retries::Options),
    /// Work in a session with an agent of this system, as with the one for Windows under Wine
    Sessions(session_checks::Options),
    /// Write .sqlx: what the compiler must know of the database to check the SQL queries without one
    SqlxPrepare(sqlx_prepare::Options),
    /// Check the architecture's invariants
    Tidy,
    /// Make, extend and renew the signed metadata of updates
    UpdateRepository(update_repository::Options),
    /// Install, use, kill, stop and remove the agent for Windows under Wine
    WindowsAgent(windows_agent::Options),
}

fn main() -> ExitCode {
    match run(&Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> anyhow::Result<()> {
    let root = workspace_root()?;
    match task {
        Task::Bench(options) => bench::run(&root, options),
        Task::Chaos(options) => chaos::run(&root, options),
        Task::DevDb(options) => dev_db::run(&root, options),
        Task::DistManifest(options) => dist::run(options),
        Task::Retries(options) => retries::run(options),
        Task::Sessions(options) => session_checks::run(&root, options),
        Task::SqlxPrepare(options) => sqlx_prepare::run(&root, options),
        Task::Tidy => tidy::run(&root),
        Task::UpdateRepository(options) => update_repository::run(options),
        Task::WindowsAgent(options) => windows_agent::run(&root, options),
    }
}

/// The repository this program was built from: two folders above its own manifest.
fn workspace_root() -> anyhow::Result<PathBuf> {
    let own = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    Ok(own.ancestors().nth(2).context("xtask lies two folders below the workspace")?.to_path_buf())
}
