//! The server's log: to standard error, for people or for machines.

use super::traces::{self, Traces};
use anyhow::Context as _;
use clap::ValueEnum;
use std::io::IsTerminal as _;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::{EnvFilter, FilterExt as _};
use tracing_subscriber::layer::Layer as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Starts the log of this process, and its traces if there are any. What is logged stands in `RUST_LOG`; `info` and
/// above where it is not set.
///
/// # Errors
/// When `RUST_LOG` cannot be read, or a log was started before.
pub fn start(format: LogFormat, traces: Option<&Traces>) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::INFO.into())
        .from_env()
        .context("RUST_LOG is not valid")?
        .and(traces::untraced());
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let log = match format {
        LogFormat::Text => log.with_ansi(std::io::stderr().is_terminal()).with_filter(filter).boxed(),
        LogFormat::Json => log.json().with_filter(filter).boxed(),
    };
    let started = traces::subscriber(log, traces).try_init();
    started.map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
