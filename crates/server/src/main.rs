//! `gururmm-server`: see `cli.rs` for its commands.

use clap::Parser as _;
use gururmm_server::cli::Cli;
use std::io::Write as _;
use std::process::ExitCode;

/// Thousands of sockets come and go, and each leaves a few kilobytes that stay among many that do not: with the system's
/// allocator a connected agent costs a quarter more. Elsewhere than on x86_64 it would have to know the size of pages when it
/// is built.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One sentence, causes included; nobody is there to read a failure to write it.
            let _ = writeln!(std::io::stderr(), "[ERROR] {error:#}");
            ExitCode::FAILURE
        }
    }
}
