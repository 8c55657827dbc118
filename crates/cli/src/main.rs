//! `gururmm`: a tech's own terminal.

use clap::Parser as _;
use gururmm_cli::Cli;
use std::io::Write as _;
use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    match Cli::parse().run().await {
        Ok(code) => code,
        Err(error) => {
            // One sentence, causes included; nobody is there to read a failure to write it.
            let _ = writeln!(std::io::stderr(), "[ERROR] {error:#}");
            ExitCode::FAILURE
        }
    }
}
