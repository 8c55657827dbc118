//! `admin users`.

use super::{explained, print_json, with_app};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::{ReadFleet, ReadUsers};
use crate::cli::{DataArgs, print};
use crate::error::Error;
use crate::http::PageQuery;
use crate::tenancy::partners::get_partner;
use crate::users::{PartnerUser, list_users};
use clap::Subcommand;
use serde::Serialize;
use uuid::Uuid;

#[derive(Debug, Subcommand)]
pub enum UsersCommand {
    /// List the members of all partners.
    List {
        #[command(flatten)]
        data: DataArgs,
        /// As a JSON array.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Serialize)]
struct Member {
    partner_id: Uuid,
    partner_name: String,
    #[serde(flatten)]
    user: PartnerUser,
}

pub(super) async fn run(command: UsersCommand) -> anyhow::Result<()> {
    let UsersCommand::List { data, json } = command;
    with_app(&data, async |app| {
        let members = members(app).await.map_err(explained)?;
        if json {
            return print_json(&members);
        }
        members.iter().try_for_each(|Member { partner_name, user, .. }| {
            print(&format!(
                "{}\t{}\t{}\t{}",
                user.email,
                partner_name,
                user.role.as_str(),
                user.status.as_str()
            ))
        })
    })
    .await
}

async fn members(app: &App) -> Result<Vec<Member>, Error> {
    let mut members = Vec::new();
    for tenant in app.db.list_tenants().await? {
        let partner = get_partner(app, &Scope::<ReadFleet>::administrator(tenant)).await?;
        let mut query = PageQuery { limit: Some(crate::http::page::MAX_LIMIT), ..PageQuery::default() };
        loop {
            let page = list_users(app, &Scope::<ReadUsers>::administrator(tenant), None, &query).await?;
            members.extend(page.items.into_iter().map(|user| Member {
                partner_id: partner.id,
                partner_name: partner.name.clone(),
                user,
            }));
            match page.next_cursor {
                Some(next) => query.cursor = Some(next),
                None => break,
            }
        }
    }
    Ok(members)
}
