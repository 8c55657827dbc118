//! The commands, one file each.

pub mod agents;
pub mod command;
pub mod connect;
pub mod files;
pub mod login;
pub mod terminal;

use crate::api::Api;
use anyhow::Context as _;
use clap::Args;
use serde_json::Value;
use std::io::{self, Write as _};
use uuid::Uuid;

/// What a session with a machine may be asked for.
#[derive(Args)]
pub struct SessionOptions {
    /// The machine: its name, or its id
    agent: String,
    /// Why, where the policy asks for it
    #[arg(long)]
    reason: Option<String>,
    /// The ticket, where the policy asks for one
    #[arg(long)]
    ticket: Option<String>,
}

impl SessionOptions {
    async fn open(&self, api: &Api) -> anyhow::Result<crate::tunnel::Session> {
        let agent = find_agent(api, &self.agent).await?;
        crate::tunnel::Session::open(api, agent, self.reason.as_deref(), self.ticket.as_deref()).await
    }
}

/// The machine with this id, or the one with this name.
pub async fn find_agent(api: &Api, named: &str) -> anyhow::Result<Uuid> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    let search: String = url::form_urlencoded::byte_serialize(named.as_bytes()).collect();
    let found = api.get(&format!("/api/v1/agents?search={search}&limit=100")).await?;
    let items = found["items"].as_array().context("the list of machines is not understood")?;
    let is_named =
        |agent: &&Value| agent["hostname"].as_str().is_some_and(|name| name.eq_ignore_ascii_case(named));
    let mut named_so = items.iter().filter(is_named);
    let (Some(agent), None) = (named_so.next(), named_so.next()) else {
        let number = items.iter().filter(is_named).count();
        match number {
            0 => anyhow::bail!("no machine is called {named}"),
            _ => anyhow::bail!(
                "{number} machines are called {named}: name one by its id (`gururmm agents {named}`)"
            ),
        }
    };
    agent["id"].as_str().and_then(|id| id.parse().ok()).context("the list of machines is not understood")
}

/// Says one line on standard output; nobody listening is fine.
fn say(line: std::fmt::Arguments<'_>) {
    let _nobody_listens = writeln!(io::stdout(), "{line}");
}
