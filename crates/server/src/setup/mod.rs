//! The first run: whoever holds the one-time token makes the platform's admin and the first partner with a
//! client, a site and its enrollment key, all or nothing. Afterwards there is no setup.

pub mod http;
mod store;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::{Scope, password};
use crate::enrollment::{self, KeyOnce};
use crate::error::{Code, Error};
use crate::http::RequestInfo;
use crate::keys::Purpose;
use crate::tenancy::sites::{Site, SiteInput};
use crate::tenancy::{self, Client, ClientInput, checked_name};
use crate::users::checked_email;
use serde_json::json;
use uuid::Uuid;
use zeroize::Zeroizing;

/// The first account and the first place to put machines.
pub struct FirstRun {
    pub email: String,
    pub name: String,
    pub password: Zeroizing<String>,
    pub partner_name: String,
    pub client_name: String,
    pub site_name: String,
}

/// Why someone may run setup.
pub enum Proof<'t> {
    /// The token of the printed link.
    Token(&'t str),
    /// Being the administrator of the machine, who owns the data folder.
    DataFolder,
}

/// What setup made.
pub struct Done {
    pub user_id: Uuid,
    pub user_name: String,
    pub partner_id: Uuid,
    pub partner_name: String,
    pub client: Client,
    pub site: Site,
    /// The site's standing key; its secret is shown once.
    pub enrollment_key: KeyOnce,
}

/// Whether the token would be taken now.
///
/// # Errors
/// `SETUP_TOKEN_INVALID`, `RATE_LIMITED`.
pub async fn check_token(app: &App, request: &RequestInfo, token: &str) -> Result<(), Error> {
    app.limits.one_time_link.check(request)?;
    match app.db.setup_token_is_valid(&digest(app, token)).await? {
        true => Ok(()),
        false => Err(Error::new(Code::SetupTokenInvalid)),
    }
}

/// Sets the server up. Of several at once exactly one succeeds; the others find that setup is over.
///
/// # Errors
/// `SETUP_TOKEN_INVALID`, `NOT_FOUND` when setup is over, field errors.
pub async fn run(app: &App, request: RequestInfo, proof: Proof<'_>, input: FirstRun) -> Result<Done, Error> {
    if let Proof::Token(token) = proof {
        check_token(app, &request, token).await?;
    }
    let email = checked_email("email", &input.email)?;
    let user_name = checked_name(&input.name)?;
    let partner_name = checked_name_of("partner_name", &input.partner_name)?;
    let client_name = checked_name_of("client_name", &input.client_name)?.to_owned();
    let site_name = checked_name_of("site_name", &input.site_name)?.to_owned();
    password::check_rules("password", &input.password, email, user_name)?;
    let hash = password::hash(&input.password).await?;

    let (user_id, partner_id) = (Uuid::now_v7(), Uuid::now_v7());
    let mut tx = app.db.begin(&Scope::platform("setup", request).in_tenant(partner_id)).await?;
    let token = match proof {
        Proof::Token(token) => Some(digest(app, token)),
        Proof::DataFolder => None,
    };
    let user = store::FirstUser { id: user_id, email, name: user_name, password_hash: &hash };
    if !store::insert_first_user(&mut tx, token.as_ref().map(|digest| digest.as_slice()), &user).await? {
        drop(tx);
        let is_over = !app.db.setup_is_open().await?;
        return Err(if is_over { Error::not_found() } else { Error::new(Code::SetupTokenInvalid) });
    }
    tenancy::partners::add_partner(&mut tx, partner_id, partner_name).await?;
    store::insert_owner(&mut tx, partner_id, user_id).await?;
    let client = tenancy::add_client(&mut tx, ClientInput { name: client_name }).await?;
    let site = SiteInput { client_id: client.id, name: site_name, approval_required: false };
    let site = tenancy::sites::add_site(&mut tx, site).await?;
    let enrollment_key = enrollment::create_standing_key(app, &mut tx, site.id).await?;
    let detail = json!({ "email": email, "client": client.name, "site": site.name });
    tx.audit(Entry::new("setup.complete", "partner", partner_id).named(partner_name).with(detail)).await?;
    tx.commit().await?;
    Ok(Done {
        user_id,
        user_name: user_name.to_owned(),
        partner_id,
        partner_name: partner_name.to_owned(),
        client,
        site,
        enrollment_key,
    })
}

/// What an account is called whose person gave no name: what stands before the `@`.
pub fn local_part(email: &str) -> String {
    email.trim().split('@').next().unwrap_or_default().to_owned()
}

fn digest(app: &App, token: &str) -> [u8; 32] {
    app.keys.digest(Purpose::SetupToken, token)
}

fn checked_name_of<'n>(field: &'static str, name: &'n str) -> Result<&'n str, Error> {
    checked_name(name).map_err(|error| error.at_field(field))
}
