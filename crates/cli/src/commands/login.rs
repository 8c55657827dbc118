//! Signing in and out.

use super::say;
use crate::api::Api;
use crate::credentials::{self, Credentials};
use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use url::Url;

#[derive(Args)]
pub struct Options {
    /// One's mail address; asked for when absent
    #[arg(long)]
    email: Option<String>,
}

pub async fn run(url: Option<Url>, ca: Option<&Path>, options: Options) -> anyhow::Result<ExitCode> {
    let url = url.context("which server? --url https://rmm.example.com")?;
    let ca = ca.map(credentials::read_ca).transpose()?;
    let api = Api::new(&url, ca.as_deref())?;
    let email = match options.email {
        Some(email) => email,
        None => ask("Mail address: ")?,
    };
    let password = match io::stdin().is_terminal() {
        true => rpassword::prompt_password("Password: ").context("no password was read")?,
        false => line()?,
    };
    let answer = api.post("/api/auth/login", json!({ "email": email, "password": password })).await?;
    let token = answer["token"].as_str().context("the server answered no token")?.to_owned();
    let place = Credentials { url: url.clone(), token, ca }.store()?;
    say(format_args!("[OK] signed in at {url} as {email}; the token is in {}", place.display()));
    Ok(ExitCode::SUCCESS)
}

pub async fn forget(api: &Api) -> anyhow::Result<ExitCode> {
    // Forgotten here in any case; a session that cannot be ended at the server now ends there by itself.
    let ended = api.post("/api/auth/logout", Value::Null).await;
    Credentials::forget()?;
    ended.context("the token is forgotten here, but the server could not be told")?;
    say(format_args!("[OK] signed out"));
    Ok(ExitCode::SUCCESS)
}

fn ask(question: &str) -> anyhow::Result<String> {
    write!(io::stderr(), "{question}")?;
    io::stderr().flush()?;
    line()
}

fn line() -> anyhow::Result<String> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    let line = line.trim_end_matches(['\r', '\n']).to_owned();
    anyhow::ensure!(!line.is_empty(), "nothing was read");
    Ok(line)
}
