//! Getting the agent onto machines: the downloads, the one-line command, installers that know their site by their name,
//! and what installers report when they fail.

mod dist;
mod downloads;
pub mod http;
mod store;

pub use dist::{Arch, Opened, Package, PackageKind};
pub use downloads::Downloads;

use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::{ManageKeys, ReadFleet};
use crate::bus::{Event, Topic};
use crate::enrollment::{self, DeploymentInput, Key};
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery, RequestInfo};
use crate::keys::Purpose;
use chrono::{DateTime, Utc};
use dist::Unavailable;
use gururmm_protocol::installer::{InstallerName, SiteKey};
use gururmm_protocol::limits::{MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional};
use gururmm_protocol::system::OsType;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;
use zeroize::Zeroizing;

const NO_AGENT: &str = "this server has no agent to hand out; its operator builds one by ./dev dist, or gives it one with --agent-binary";
/// What people look for, and what to say where it is not there.
const OFFERED: [(OsType, PackageKind, &str); 4] = [
    (
        OsType::Windows,
        PackageKind::Msi,
        "this server has no Windows installer; its operator builds it by ./dev dist",
    ),
    (
        OsType::Linux,
        PackageKind::Deb,
        "this server has no .deb package; its operator builds it by ./dev dist",
    ),
    (
        OsType::Linux,
        PackageKind::Rpm,
        "this server has no .rpm package; its operator builds it by ./dev dist",
    ),
    (
        OsType::Macos,
        PackageKind::Pkg,
        "this server has no macOS package; its operator makes it on a Mac from what ./dev dist builds",
    ),
];
const MISMATCH: &str = "the file is not the one that the manifest of packages names; its operator builds both again by ./dev dist";
const UNNAMEABLE: &str =
    "this server's address does not fit into the name of a file; give SITEKEY and SERVER instead";
const NEVER_SERVED: &str = "the server has not run on this data folder yet, so its address is not known: start it, and make the key again";

/// An installer that failed, as it says.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct InstallReport {
    pub id: Uuid,
    /// Where it failed: `download`, `verify`, `install`, …
    pub stage: String,
    pub error: String,
    pub hostname: Option<String>,
    pub os_type: Option<String>,
    pub agent_version: Option<String>,
    /// Who sent it.
    pub ip: Option<String>,
    pub reported_at: DateTime<Utc>,
}

/// A report to be kept. Longer texts are cut.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InstallReportInput {
    pub site_code: Option<String>,
    /// Cut to 64 characters.
    #[schema(min_length = 1)]
    pub stage: String,
    /// Cut to 2,048 characters.
    pub error: String,
    pub hostname: Option<String>,
    pub os_type: Option<String>,
    pub agent_version: Option<String>,
}

/// What the dashboard needs to know of the server.
#[derive(Debug, Serialize, ToSchema)]
pub struct ServerInfo {
    pub version: &'static str,
    pub public_url: String,
    /// `sha256:…` of the server's own CA, when it has one.
    pub ca_fingerprint: Option<String>,
    /// Whether `/install/` has an agent for Linux to hand out.
    pub agent_available: bool,
    /// What `/install/packages/` hands out.
    pub packages: Vec<Package>,
    /// Kinds of packages that it does not, and why.
    pub missing_packages: Vec<MissingPackage>,
}

/// A kind of package that this server cannot hand out.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct MissingPackage {
    pub os: OsType,
    pub kind: PackageKind,
    /// Why, in a sentence, and what helps.
    pub reason: &'static str,
}

/// Which package to hand out under a name that says where a machine belongs, and the limits of the token in it.
#[derive(Debug, Deserialize, ToSchema)]
pub struct InstallerInput {
    /// An MSI or a macOS package of `packages`.
    #[schema(max_length = 128)]
    pub file: String,
    #[serde(flatten)]
    pub limits: DeploymentInput,
}

/// A package under a name of its own. The name holds the token.
pub struct Installer {
    pub name: Zeroizing<String>,
    pub key: Key,
    pub opened: Opened,
}

/// Facts about this server.
pub async fn server_info(app: &App) -> ServerInfo {
    let packages = app.downloads.dist.packages().await.to_vec();
    let is_there = |kind| packages.iter().any(|package| package.kind == kind);
    let missing = OFFERED.into_iter().filter(|(_, kind, _)| !is_there(*kind));
    ServerInfo {
        version: env!("CARGO_PKG_VERSION"),
        public_url: origin(app),
        ca_fingerprint: app.config.ca_fingerprint.clone(),
        agent_available: app.downloads.has_agent().await,
        missing_packages: missing.map(|(os, kind, reason)| MissingPackage { os, kind, reason }).collect(),
        packages,
    }
}

/// A package as it lies in the folder of packages, the same bytes for everyone.
pub async fn open_package(app: &App, file: &str) -> Result<Opened, Error> {
    app.downloads.dist.open(file).await?.map_err(|why| match why {
        Unavailable::Unknown => Error::not_found(),
        Unavailable::Mismatch => Error::with_detail(Code::InstallerMissing, MISMATCH),
    })
}

/// Mints a deployment token and hands out a package under a name that carries it (decision 24): the bytes are everyone's,
/// so its signature holds. The token is in the answer only: in no address, and in no log.
pub async fn create_installer(
    app: &App,
    scope: &Scope<ManageKeys>,
    site_id: Uuid,
    input: &InstallerInput,
) -> Result<Installer, Error> {
    let opened = open_package(app, &input.file).await?;
    let (kind, file) = (opened.package.kind, opened.package.file.as_str());
    if !matches!(kind, PackageKind::Msi | PackageKind::Pkg) {
        return Err(Error::field("file", "INVALID", "is no installer that reads its own name"));
    }
    let mut tx = app.db.begin(scope).await?;
    let once = enrollment::mint_for(app, &mut tx, site_id, &input.limits, file).await?;
    let site_key: SiteKey = once.install.site_key.parse().map_err(Error::internal)?;
    let name = InstallerName { server: origin(app), site_key }.file_name(kind.as_str());
    let name = name.ok_or_else(|| Error::with_detail(Code::InvalidState, UNNAMEABLE))?;
    tx.commit().await?;
    Ok(Installer { name: Zeroizing::new(name), key: once.key, opened })
}

/// What a machine needs to enroll at a site, but for the server's address, as `SITEKEY` carries it.
pub fn site_key(app: &App, site_code: &str, secret: &str) -> Zeroizing<String> {
    let key = SiteKey {
        site_code: site_code.to_owned(),
        enrollment_key: secret.to_owned(),
        ca_fingerprint: app.config.ca_fingerprint.clone(),
    };
    Zeroizing::new(key.to_text())
}

/// The line to type on a Linux machine: fetches the installer, checks that it is the one this server hands out now,
/// and gives it the key on its standard input, so that no process list shows it. Why there is none instead, while
/// there is no agent to hand out, or no server to get it from.
pub async fn linux_command(
    app: &App,
    site_code: &str,
    secret: &str,
) -> Result<Result<Zeroizing<String>, &'static str>, Error> {
    if !app.config.is_served {
        return Ok(Err(NEVER_SERVED));
    }
    let Some(script) = app.downloads.linux_script().await? else { return Ok(Err(NO_AGENT)) };
    let (server, checksum) = (origin(app), downloads::sha256_hex(script.as_bytes()));
    let words =
        [server.as_str(), site_code, secret, app.config.ca_fingerprint.as_deref().unwrap_or_default()];
    if words.iter().any(|word| !is_plain(word)) {
        return Err(Error::internal(anyhow::anyhow!("a word of the install command is not plain")));
    }
    // The server's own CA is nobody's root yet: the checksum, which came over the dashboard's connection, vouches
    // for the installer, and the agent pins the CA.
    let (insecure, pin) = match &app.config.ca_fingerprint {
        Some(fingerprint) => ("k", format!(" --ca-fingerprint {fingerprint}")),
        None => ("", String::new()),
    };
    Ok(Ok(Zeroizing::new(format!(
        "printf '%s\\n' '{secret}' | $(command -v sudo) sh -c 'set -eu; d=$(mktemp -d); trap \"rm -rf $d\" EXIT; \
         curl -fsS{insecure} -o \"$d/install.sh\" \"{server}/install/linux.sh\" </dev/null; \
         echo \"{checksum}  $d/install.sh\" | sha256sum -c --quiet -; \
         sh \"$d/install.sh\" --server \"{server}\" --site {site_code}{pin}'"
    ))))
}

/// Keeps an installer's report, if it names a site there is. The answer never tells.
pub async fn report(app: &App, request: RequestInfo, mut input: InstallReportInput) -> Result<(), Error> {
    app.limits.install_report.check(&request)?;
    clean(&mut input.stage, 64);
    clean(&mut input.error, MAX_TEXT_CHARS);
    for text in [&mut input.hostname, &mut input.os_type, &mut input.agent_version] {
        clean_optional(text, MAX_NAME_CHARS);
    }
    if input.stage.trim().is_empty() {
        return Err(Error::field("stage", "REQUIRED", "must not be empty"));
    }
    let code = input.site_code.as_deref().unwrap_or_default();
    if code.len() > 64 || !is_plain(code) {
        return Ok(());
    }
    let Some(site) = app.db.lookup_site(code).await? else { return Ok(()) };
    let key = app.keys.digest(Purpose::Throttle, &format!("install report:{}", site.site_id));
    if app.limits.install_report_site.check_key(&key).is_err() {
        return Ok(());
    }
    let id = Uuid::now_v7();
    let mut tx = app.db.begin(&Scope::enrollment(site.tenant_id, request)).await?;
    store::insert(&mut tx, id, &site, &input).await?;
    let event = Event::new(Topic::InstallReported, site.tenant_id, id);
    tx.emit(event.at(site.client_id, Some(site.site_id))).await?;
    tx.commit().await
}

/// One page of a site's reports, newest first.
pub async fn list_reports(
    app: &App,
    scope: &Scope<ReadFleet>,
    site_id: Uuid,
    page: &PageQuery,
) -> Result<Page<InstallReport>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    if !store::sees_site(&mut tx, site_id).await? {
        return Err(Error::not_found());
    }
    let total = store::count(&mut tx, site_id).await?;
    let reports = store::list(&mut tx, site_id, after, limit + 1).await?;
    Page::of(reports, limit, total, |report| (report.reported_at, report.id))
}

/// What there is to say where a download is missing.
fn no_agent() -> Error {
    Error::with_detail(Code::NotFound, NO_AGENT)
}

/// `https://host[:port]`, as machines reach this server.
pub(crate) fn origin(app: &App) -> String {
    app.config.public_url.origin().ascii_serialization()
}

/// Nothing in it means anything to a shell, within double quotes or, but for brackets of an address, without.
fn is_plain(word: &str) -> bool {
    word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/[]".contains(&b))
}
