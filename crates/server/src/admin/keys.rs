//! `admin keys`.

use super::{explained, print_json, with_app};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::{ManageKeys, Permission, ReadKeys};
use crate::cli::DataArgs;
use crate::enrollment::{self, DeploymentInput};
use crate::http::PageQuery;
use anyhow::Context as _;
use clap::{Args, Subcommand};
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List a site's newest keys as JSON, without their secrets.
    List(SiteArgs),
    /// Give a site a new standing key, printed once as JSON; the one before is void.
    Rotate(SiteArgs),
    /// Make a deployment token for a site, printed once as JSON.
    Create(CreateArgs),
}

#[derive(Debug, Args)]
pub struct SiteArgs {
    #[command(flatten)]
    data: DataArgs,
    /// The site's code.
    #[arg(long, value_name = "CODE")]
    site: String,
}

#[derive(Debug, Args)]
pub struct CreateArgs {
    #[command(flatten)]
    site: SiteArgs,
    /// 1 to 8760; without it, the token does not expire.
    #[arg(long)]
    expires_in_hours: Option<i64>,
    /// How many machines it lets in; without it, as many as ask.
    #[arg(long)]
    max_uses: Option<i32>,
    /// What it is for.
    #[arg(long)]
    label: Option<String>,
}

pub(super) async fn run(command: KeysCommand) -> anyhow::Result<()> {
    match command {
        KeysCommand::List(args) => {
            with_app(&args.data, async |app| {
                let (scope, site) = find::<ReadKeys>(app, &args.site).await?;
                let query = PageQuery { limit: Some(crate::http::page::MAX_LIMIT), ..PageQuery::default() };
                print_json(&enrollment::list_keys(app, &scope, site, &query).await.map_err(explained)?.items)
            })
            .await
        }
        KeysCommand::Rotate(args) => {
            with_app(&args.data, async |app| {
                let (scope, site) = find::<ManageKeys>(app, &args.site).await?;
                print_json(&enrollment::rotate_key(app, &scope, site).await.map_err(explained)?)
            })
            .await
        }
        KeysCommand::Create(CreateArgs { site: args, expires_in_hours, max_uses, label }) => {
            let input = DeploymentInput { expires_in_hours, max_uses, label };
            with_app(&args.data, async |app| {
                let (scope, site) = find::<ManageKeys>(app, &args.site).await?;
                let made = enrollment::create_deployment_key(app, &scope, site, &input).await;
                print_json(&made.map_err(explained)?)
            })
            .await
        }
    }
}

async fn find<P: Permission>(app: &App, code: &str) -> anyhow::Result<(Scope<P>, Uuid)> {
    let site =
        app.db.lookup_site(code).await?.with_context(|| format!("there is no site with the code {code}"))?;
    Ok((Scope::administrator(site.tenant_id), site.site_id))
}
