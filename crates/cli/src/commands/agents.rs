//! Machines.

use super::say;
use crate::api::Api;
use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use std::process::ExitCode;

#[derive(Args)]
pub struct Options {
    /// Part of a name, an address, a serial number
    search: Option<String>,
    /// All that is known of each, as JSON, one per line
    #[arg(long)]
    json: bool,
}

pub async fn run(api: &Api, options: Options) -> anyhow::Result<ExitCode> {
    let search: String =
        url::form_urlencoded::byte_serialize(options.search.unwrap_or_default().as_bytes()).collect();
    let mut cursor = String::new();
    if !options.json {
        say(format_args!("{:36}  {:8}  {:24}  {:8}  SITE", "ID", "STATUS", "NAME", "SYSTEM"));
    }
    loop {
        let page = api.get(&format!("/api/v1/agents?search={search}&limit=100{cursor}")).await?;
        for agent in page["items"].as_array().context("the list of machines is not understood")? {
            let text = |name: &str| printable(agent[name].as_str().unwrap_or_default());
            match options.json {
                true => say(format_args!("{agent}")),
                false => say(format_args!(
                    "{:36}  {:8}  {:24}  {:8}  {} / {}",
                    text("id"),
                    text("status"),
                    text("hostname"),
                    text("os_type"),
                    text("client_name"),
                    text("site_name")
                )),
            }
        }
        match &page["next_cursor"] {
            Value::String(next) => {
                cursor = format!(
                    "&cursor={}",
                    url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>()
                );
            }
            _ => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// What a machine says of itself moves no cursor here.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
