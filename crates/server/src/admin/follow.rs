//! `admin follow-me`.

use super::{explained, print_json, with_app};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::ManagePlatform;
use crate::cli::{DataArgs, print};
use crate::follow::{self, FollowInput};
use anyhow::Context as _;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum FollowCommand {
    /// Send all agents to a renamed or new server.
    Set {
        #[command(flatten)]
        data: DataArgs,
        /// Where they are to go: https://host[:port].
        #[arg(long, value_name = "URL")]
        url: String,
        /// Fingerprint of the one authority they are to trust there, sha256:HEX. Public certificates without.
        #[arg(long, value_name = "FINGERPRINT")]
        ca: Option<String>,
        /// How long the record is good.
        #[arg(long, value_name = "DAYS")]
        days: Option<i64>,
        /// The public key of the server there, as its `show` prints it, where it has not this one's data folder.
        #[arg(long, value_name = "KEY")]
        next_key: Option<String>,
    },
    /// Print where agents are sent, and how many went, as JSON.
    Show {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Send no agent there any more; those that went stay.
    Withdraw {
        #[command(flatten)]
        data: DataArgs,
    },
}

pub(super) async fn run(command: FollowCommand) -> anyhow::Result<()> {
    match command {
        FollowCommand::Set { data, url, ca, days, next_key } => {
            let input = FollowInput {
                server_url: url,
                ca_fingerprint: ca,
                valid_days: days,
                next_key,
                ..FollowInput::default()
            };
            with_app(&data, async |app| {
                print_json(&follow::set(app, &scope(app).await?, &input).await.map_err(explained)?)
            })
            .await
        }
        FollowCommand::Show { data } => {
            with_app(&data, async |app| {
                print_json(&follow::status(app, &scope(app).await?).await.map_err(explained)?)
            })
            .await
        }
        FollowCommand::Withdraw { data } => {
            with_app(&data, async |app| {
                follow::withdraw(app, &scope(app).await?).await.map_err(explained)?;
                print("[OK] no agent is sent elsewhere any more")
            })
            .await
        }
    }
}

/// The record is no partner's, but whose log would say so, if not the first one's?
async fn scope(app: &App) -> anyhow::Result<Scope<ManagePlatform>> {
    let tenants = app.db.list_tenants().await.map_err(explained)?;
    let first = tenants.into_iter().next().context("there is no partner yet, and so no agent to send")?;
    Ok(Scope::administrator(first))
}
