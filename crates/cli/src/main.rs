//! `gururmm`: a tech's own terminal.

use anyhow::Context as _;
use clap::Parser as _;
use gururmm_cli::Cli;
use std::io::Write as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            // One sentence, causes included; nobody is there to read a failure to write it.
            let _ = writeln!(std::io::stderr(), "[ERROR] {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.enable_all().build().context("the program cannot be started")?;
    let code = runtime.block_on(cli.run());
    // A thread that waits for the next key is not waited for.
    runtime.shutdown_background();
    code
}
