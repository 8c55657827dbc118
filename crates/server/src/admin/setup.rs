//! `admin setup`.

use super::{explained, print_json, with_app};
use crate::cli::DataArgs;
use crate::error::Code;
use crate::http::RequestInfo;
use crate::setup::{FirstRun, Proof, local_part};
use anyhow::{Context as _, ensure};
use clap::Args;
use serde_json::json;
use std::io::Read as _;
use zeroize::Zeroizing;

/// More than any password; what is longer is some other file.
const MAX_INPUT_BYTES: u64 = 4_096;

/// What the wizard asks for.
#[derive(Debug, Args)]
pub struct SetupArgs {
    #[command(flatten)]
    data: DataArgs,
    /// Address of the first account.
    #[arg(long)]
    email: String,
    /// Its person's name; what stands before the @ when absent.
    #[arg(long)]
    name: Option<String>,
    /// Read the password from standard input; arguments are visible to others.
    #[arg(long, required = true)]
    password_stdin: bool,
    /// Name of the first partner.
    #[arg(long)]
    partner: String,
    /// Name of its first client.
    #[arg(long)]
    client: String,
    /// Name of the client's first site.
    #[arg(long)]
    site: String,
}

pub(super) async fn run(args: SetupArgs) -> anyhow::Result<()> {
    let first_run = FirstRun {
        name: args.name.unwrap_or_else(|| local_part(&args.email)),
        email: args.email,
        password: password_from_stdin()?,
        partner_name: args.partner,
        client_name: args.client,
        site_name: args.site,
    };
    with_app(&args.data, async |app| {
        let done = crate::setup::run(app, RequestInfo::default(), Proof::DataFolder, first_run).await;
        let done = done.map_err(|error| match error.code() {
            Code::NotFound => anyhow::anyhow!("setup is over: someone has an account already"),
            _ => explained(error),
        })?;
        let key = &done.enrollment_key;
        // Flat: scripts take one field each.
        print_json(&json!({
            "user_id": done.user_id,
            "partner_id": done.partner_id,
            "client_id": done.client.id,
            "site_id": done.site.id,
            "site_code": done.site.code,
            "enrollment_key": key.secret.as_str(),
            "enrollment_key_id": key.key.id,
            "enrollment_key_label": key.key.label,
        }))
    })
    .await
}

/// One line, without its end.
fn password_from_stdin() -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    std::io::stdin()
        .take(MAX_INPUT_BYTES + 1)
        .read_to_string(&mut text)
        .context("cannot read the password from standard input")?;
    let password = text.trim_end_matches(['\r', '\n']);
    ensure!(!password.is_empty(), "there is no password on standard input");
    ensure!(
        !password.contains('\n') && text.len() as u64 <= MAX_INPUT_BYTES,
        "the password must be one line"
    );
    Ok(Zeroizing::new(password.to_owned()))
}
