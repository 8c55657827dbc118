//! `serve --local-agent`: the server's own machine as its first agent. Once someone has been through the setup, this
//! leaves a single-use deployment token for the first site where `./dev up` finds it; enrolling is then the agent's
//! work, over the same endpoint as for any machine.

use crate::app::AppState;
use crate::auth::Scope;
use crate::enrollment;
use crate::error::Error;
use crate::private_file;
use crate::tenancy;
use anyhow::Context as _;
use chrono::TimeDelta;
use serde::Serialize;
use std::path::Path;
use tokio::sync::broadcast::error::RecvError;

/// Long enough for a slow machine, short enough for a file that was forgotten.
const TOKEN_LIFETIME: TimeDelta = TimeDelta::hours(1);

/// What the agent's starter needs to know.
#[derive(Serialize)]
struct Invitation<'a> {
    server: &'a str,
    site_code: &'a str,
    key_file: &'a Path,
}

/// Waits for the setup's end and leaves the token. Does nothing when this machine has enrolled before.
pub async fn invite(app: AppState) -> anyhow::Result<()> {
    let folder = app.config.data_dir.join("local-agent");
    if folder.join("state").exists() {
        return Ok(());
    }
    let mut events = app.bus.subscribe();
    while app.db.setup_is_open().await? {
        // Whatever it was, the question is asked again: setup itself is among the events.
        if let Err(RecvError::Closed) = events.recv().await {
            return Ok(());
        }
    }
    leave_token(&app, &folder).await
}

async fn leave_token(app: &AppState, folder: &Path) -> anyhow::Result<()> {
    let tenant = app.db.list_tenants().await?.into_iter().next().context("there is no partner")?;
    let scope = Scope::system("local agent", tenant);
    let mut tx = app.db.begin(&scope).await?;
    let site = tenancy::sites::first_site(&mut tx).await?.ok_or_else(Error::not_found)?;
    let key =
        enrollment::create_single_use_key(app, &mut tx, site.id, "this server's own machine", TOKEN_LIFETIME)
            .await?;
    tx.commit().await?;

    private_file::make_folder(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let write = |path: &Path, bytes: &[u8]| {
        private_file::write(path, bytes).with_context(|| format!("cannot write {}", path.display()))
    };
    let key_file = folder.join("enrollment-key");
    write(&key_file, key.secret.as_bytes())?;
    let invitation = Invitation {
        server: app.config.public_url.as_str().trim_end_matches('/'),
        site_code: &site.code,
        key_file: &key_file,
    };
    // Last: whoever waits for this file finds the key beside it.
    write(&folder.join("enrollment.json"), &serde_json::to_vec(&invitation)?)
}
