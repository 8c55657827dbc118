//! What a tech does from her own terminal: machines, commands, and sessions with machines (a shell, files, forwarded
//! ports). Also the client that `./dev bench tunnel` measures with.

pub mod api;
mod commands;
mod credentials;
pub mod tunnel;

use api::Api;
use clap::{Args, Parser, Subcommand};
use credentials::Credentials;
use std::path::PathBuf;
use std::process::ExitCode;

/// GuruRMM for a tech's terminal.
#[derive(Parser)]
#[command(name = "gururmm", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

/// Which server, and as whom. What is not said comes from `gururmm login`.
#[derive(Args)]
struct Place {
    /// The server, `https://rmm.example.com`
    #[arg(long, global = true, env = "GURURMM_URL")]
    url: Option<url::Url>,
    /// A file with the certificate that the server's own must come from, where that is no public one (PEM)
    #[arg(long, global = true, env = "GURURMM_CA")]
    ca: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Action {
    /// Sign in; the password is asked for, or read from standard input where that is no terminal
    Login(commands::login::Options),
    /// Sign out, and forget the server
    Logout,
    /// Machines
    Agents(commands::agents::Options),
    /// Run a command on a machine, and show what it prints; ends as the command ended
    Command(commands::command::Options),
    /// A shell on a machine
    Terminal(commands::terminal::Options),
    /// Reach addresses through a machine, for as long as this runs
    Connect(commands::connect::Options),
    /// Files of a machine
    Files(commands::files::Options),
}

impl Cli {
    /// Does what was asked.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        match self.action {
            Action::Login(options) => {
                commands::login::run(self.place.url, self.place.ca.as_deref(), options).await
            }
            Action::Logout => commands::login::forget(&self.place.api()?).await,
            Action::Agents(options) => commands::agents::run(&self.place.api()?, options).await,
            Action::Command(options) => commands::command::run(&self.place.api()?, options).await,
            Action::Terminal(options) => commands::terminal::run(&self.place.api()?, options).await,
            Action::Connect(options) => commands::connect::run(&self.place.api()?, options).await,
            Action::Files(options) => commands::files::run(&self.place.api()?, options).await,
        }
    }
}

impl Place {
    fn api(&self) -> anyhow::Result<Api> {
        let token = std::env::var("GURURMM_TOKEN").ok().filter(|token| !token.is_empty());
        let stored = match (&self.url, &token) {
            (Some(_), Some(_)) => None,
            _ => Credentials::load()?,
        };
        let url = self.url.clone().or_else(|| stored.as_ref().map(|stored| stored.url.clone()));
        let Some(url) = url else {
            anyhow::bail!("no server is known: run `gururmm login --url https://rmm.example.com` first")
        };
        // A token is for the server that gave it.
        let own = stored.filter(|stored| stored.url.origin() == url.origin());
        let ca = match &self.ca {
            Some(path) => Some(credentials::read_ca(path)?),
            None => own.as_ref().and_then(|own| own.ca.clone()),
        };
        let Some(token) = token.or_else(|| own.map(|own| own.token.clone())) else {
            anyhow::bail!("not signed in at {url}: run `gururmm login --url {url}`")
        };
        Api::new(&url, ca.as_deref())?.with_token(token)
    }
}
