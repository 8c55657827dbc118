//! One command on one machine.

use super::find_agent;
use crate::api::Api;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// How long one request waits for the end, in seconds.
const WAIT_SECONDS: u32 = 25;

#[derive(Args)]
pub struct Options {
    /// The machine: its name, or its id
    agent: String,
    /// What to run
    command: String,
    /// What runs it
    #[arg(long, value_enum, default_value_t = Kind::Shell)]
    kind: Kind,
    /// In the session of the person who is signed in there, instead of as root or SYSTEM
    #[arg(long)]
    as_user: bool,
    /// Seconds after which it is ended
    #[arg(long, default_value_t = 300)]
    timeout: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Shell,
    Powershell,
    Python,
}

pub async fn run(api: &Api, options: Options) -> anyhow::Result<ExitCode> {
    let agent = find_agent(api, &options.agent).await?;
    let kind = match options.kind {
        Kind::Shell => "shell",
        Kind::Powershell => "powershell",
        Kind::Python => "python",
    };
    let order = json!({
        "command_type": kind,
        "command": options.command,
        "context": if options.as_user { "user_session" } else { "system" },
        "timeout_seconds": options.timeout,
    });
    let ordered = api.post(&format!("/api/agents/{agent}/command"), order).await?;
    let id = ordered["command_id"].as_str().context("the server answered no command")?.to_owned();
    let mut shown = 0;
    loop {
        let command = api.get(&format!("/api/v1/commands/{id}?wait_seconds={WAIT_SECONDS}")).await?;
        show_output(api, &id, &mut shown).await?;
        let status = command["status"].as_str().unwrap_or_default();
        if matches!(status, "queued" | "sent" | "running") {
            continue;
        }
        if status == "completed" || status == "failed" {
            let code = command["exit_code"].as_i64();
            if let Some(code) = code {
                return Ok(ExitCode::from(u8::try_from(code & 0xff).unwrap_or(1)));
            }
        }
        let why = command["error"].as_str().unwrap_or("no more is known");
        anyhow::bail!("the command is {status}: {why}");
    }
}

async fn show_output(api: &Api, id: &str, shown: &mut u64) -> anyhow::Result<()> {
    loop {
        let output = api.get(&format!("/api/v1/commands/{id}/output?after_seq={shown}")).await?;
        let chunks = output["chunks"].as_array().map(Vec::as_slice).unwrap_or_default();
        for chunk in chunks {
            let text = chunk["text"].as_str().unwrap_or_default();
            let _nobody_listens = match chunk["stream"] == "stderr" {
                true => io::stderr().write_all(text.as_bytes()),
                false => io::stdout().write_all(text.as_bytes()),
            };
            *shown = chunk["seq"].as_u64().unwrap_or(*shown).max(*shown);
        }
        if chunks.is_empty() {
            let _nobody_listens = io::stdout().flush();
            return Ok(());
        }
    }
}
