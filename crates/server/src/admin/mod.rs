//! `gururmm-server admin`: what the administrator of the machine does without a browser. It works on the same
//! database as the server, beside it or while it is stopped, and through the same operations as the API.

mod backup;
mod follow;
mod keys;
mod setup;
mod users;
mod verify_audit;

use crate::app::{App, Sockets};
use crate::bus::Bus;
use crate::cli::{DataArgs, print};
use crate::config::Config;
use crate::database::{Database, DatabaseChoice};
use crate::db::{Db, PoolSizes};
use crate::error::Error;
use crate::keys::Keys;
use crate::recordings::{self, Recordings};
use crate::serve::DIST_FOLDER;
use crate::served::Served;
use anyhow::Context as _;
use clap::Subcommand;
use serde::Serialize;
use std::net::{Ipv4Addr, SocketAddr};
use url::Url;

/// One at a time is enough.
const POOLS: PoolSizes = PoolSizes { operators: 2, agents: 1, background: 1 };

/// What an administrator can do.
#[derive(Debug, Subcommand)]
pub enum AdminCommand {
    /// Do what the setup link does: first account, partner, client, site. Prints JSON, with the key once.
    Setup(setup::SetupArgs),
    /// Look at accounts.
    #[command(subcommand)]
    Users(users::UsersCommand),
    /// Look at and make enrollment keys.
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Send agents to a renamed or new server.
    #[command(subcommand)]
    FollowMe(follow::FollowCommand),
    /// Keep what the installation cannot do without, and bring it back.
    #[command(subcommand)]
    Backup(backup::BackupCommand),
    /// Hold the audit log, the recordings and their anchors against each other; fails when something does not fit.
    VerifyAudit(verify_audit::VerifyArgs),
    /// Print the URL of the database as its owner. It may hold a password.
    DbUrl(DataArgs),
}

/// Runs one of them.
pub async fn run(command: AdminCommand) -> anyhow::Result<()> {
    match command {
        AdminCommand::Setup(args) => setup::run(args).await,
        AdminCommand::Users(command) => users::run(command).await,
        AdminCommand::Keys(command) => keys::run(command).await,
        AdminCommand::FollowMe(command) => follow::run(command).await,
        AdminCommand::Backup(command) => backup::run(command).await,
        AdminCommand::VerifyAudit(args) => verify_audit::run(args).await,
        AdminCommand::DbUrl(data) => {
            let database = open(&data).await?;
            let url = database.owner_url.clone();
            database.close().await?;
            print(&url.context("this database has no URL")?)
        }
    }
}

/// Brings the database up to date, which opening it does.
pub async fn migrate(data: DataArgs) -> anyhow::Result<()> {
    open(&data).await?.close().await?;
    print("[OK] the database is up to date")
}

/// Does some work with the server's parts, on its database.
async fn with_app<T>(
    data: &DataArgs,
    work: impl AsyncFnOnce(&App) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let database = open(data).await?;
    let result = async {
        let bus = Bus::default();
        let place = Served::last(&data.data_dir).and_then(|served| served.recordings);
        let options = recordings::Options { place, ..recordings::Options::default() };
        let recordings = Recordings::open_existing(options, &data.data_dir)?;
        let db = Db::connect(database.app.clone(), POOLS, bus.clone()).await?;
        let app = App::new(
            config(data)?,
            db,
            Keys::load_or_create(&data.data_dir)?,
            bus,
            Sockets::default(),
            recordings,
        );
        let result = work(&app).await;
        app.db.close().await;
        result
    }
    .await;
    database.close().await?;
    result
}

async fn open(data: &DataArgs) -> anyhow::Result<Database> {
    let keys = Keys::load_or_create(&data.data_dir)?;
    Database::open_for_task(&data.data_dir, DatabaseChoice::of(data.database_url.clone()), &keys).await
}

/// Nobody connects to a command line: machines are sent to where the server was last.
fn config(data: &DataArgs) -> anyhow::Result<Config> {
    let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let (is_served, served) = match Served::last(&data.data_dir) {
        Some(served) => (true, served),
        None => {
            let public_url = Url::parse(&format!("http://{listen}"))?;
            (
                false,
                Served { public_url, ca_fingerprint: None, agent_binary: None, dist: None, recordings: None },
            )
        }
    };
    let Served { public_url, ca_fingerprint, agent_binary, dist, recordings: _ } = served;
    Ok(Config {
        data_dir: data.data_dir.clone(),
        listen,
        node_name: String::new(),
        is_secure: public_url.scheme() == "https",
        public_url,
        trusted_proxies: Vec::new(),
        ca_fingerprint,
        agent_binary,
        dist: dist.unwrap_or_else(|| data.data_dir.join(DIST_FOLDER)),
        is_served,
    })
}

fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

/// A problem in one sentence, as it would stand in an answer of the API.
fn explained(error: Error) -> anyhow::Error {
    let Error::Problem(problem) = error else { return error.into() };
    let fields = problem.errors.iter().map(|error| format!("{} {}", error.field, error.message));
    let reasons: Vec<String> = problem.detail.iter().map(|detail| detail.to_string()).chain(fields).collect();
    match reasons.is_empty() {
        true => anyhow::anyhow!("{}", problem.code.title()),
        false => anyhow::anyhow!("{}: {}", problem.code.title(), reasons.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    #[test]
    fn a_problem_becomes_one_sentence() {
        let sentence = |error| explained(error).to_string();
        assert_eq!(sentence(Error::not_found()), "Not found");
        assert_eq!(
            sentence(Error::field("password", "TOO_SHORT", "must have at least 12 characters")),
            "Some fields are not valid: password must have at least 12 characters"
        );
        assert_eq!(
            sentence(Error::with_detail(Code::Forbidden, "only owners do")),
            "Your role does not allow this: only owners do"
        );
    }
}
