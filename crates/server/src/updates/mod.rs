//! Updates of the agents: what is published, what is ordered, what came of it.
//!
//! An order is a row; it is committed before the agent hears of it, sent again at every hello until it ends, and every
//! state but the last has a deadline. What may run is not decided here: agents verify the signed metadata themselves.

pub mod agent;
pub mod alarm;
pub mod census;
pub mod deadlines;
pub mod dispatch;
pub mod download;
pub mod http;
mod plan;
pub mod releases;
pub mod rollout;
mod state;
mod store;

pub use crate::policies::Channel;
pub use releases::{Refusal, SignedRole};

use crate::agents;
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManagePlatform, ReadFleet, RunCommands, System};
use crate::bus::{Event, Topic};
use crate::config::Config;
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::UpdateId;
use gururmm_protocol::bootstrap::BootstrapAction;
use gururmm_protocol::update::{UpdateAction, UpdateOrder};
use plan::Build;
use releases::Releases;
use semver::Version;
use serde::Serialize;
use serde_json::json;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

/// How long an order of policy is valid. One that was not begun is decided anew.
pub(crate) const ORDER_VALID: TimeDelta = TimeDelta::hours(24);
/// How long an order of a person waits for a machine that is away.
const FORCED_VALID: TimeDelta = TimeDelta::days(7);
/// How often the folder of releases is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Updates kept of one machine.
const KEPT: i64 = 200;

/// What updates need in memory.
pub struct Updates {
    pub releases: Releases,
    pub downloads: download::Downloads,
}

impl Updates {
    /// With the repository in the folder of packages.
    pub fn new(config: &Config) -> Self {
        Self {
            releases: Releases::new(&config.dist, &config.data_dir),
            downloads: download::Downloads::default(),
        }
    }
}

words! {
    /// How far an update is.
    #[schema(as = UpdateStatus)]
    Status {
        /// The machine has not begun.
        Ordered = "ordered",
        Downloading = "downloading",
        /// It is verified, and waits for running commands to end.
        Ready = "ready",
        /// It is started for the first time, and has to connect.
        Trying = "trying",
        Confirmed = "confirmed",
        /// The new version did not connect: the one before runs again.
        RolledBack = "rolled_back",
        /// It was not tried.
        Failed = "failed",
        /// Its time was over.
        Expired = "expired",
        /// Another order took its place, or it is not wanted any more.
        Superseded = "superseded",
    }
}

words! {
    /// What an update does.
    #[schema(as = UpdateActionName)]
    Action { Install = "install", RollBack = "roll_back", }
}

words! {
    /// Who wanted an update.
    #[schema(as = UpdateOrigin)]
    Origin {
        Policy = "policy",
        Person = "person",
        Rollout = "rollout",
        /// The machine did it by itself.
        Machine = "machine",
    }
}

/// An update of one machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentUpdate {
    pub id: Uuid,
    pub agent_id: Uuid,
    pub action: Action,
    pub origin: Origin,
    pub status: Status,
    pub from_version: String,
    pub to_version: String,
    /// Empty for what the machine did by itself.
    pub channel: String,
    pub ordered_by_name: Option<String>,
    pub rollout_id: Option<Uuid>,
    pub ring: Option<i16>,
    pub ordered_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    /// The machine does not begin with it afterwards.
    pub valid_until: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    pub error_code: Option<String>,
    pub error: Option<String>,
}

/// An update that was ordered.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ordered {
    pub update_id: Uuid,
    pub status: Status,
}

/// How one machine stands with updates.
#[derive(Debug, Serialize, ToSchema)]
pub struct UpdateState {
    pub agent_version: String,
    /// Whether the machine can become another version.
    pub supported: bool,
    /// Why not, for people.
    pub reason: Option<String>,
    /// The version it kept to go back to.
    pub previous_version: Option<String>,
    /// The newest version that is published for it in its channel, when that is another than it runs.
    pub available_version: Option<String>,
    #[schema(inline)]
    pub channel: Channel,
    /// What is under way.
    pub open: Option<AgentUpdate>,
}

/// A version that is published, and for what.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PublishedRelease {
    pub version: String,
    pub os: String,
    pub arch: String,
    #[schema(inline)]
    pub channels: Vec<Channel>,
    pub released_at: DateTime<Utc>,
    /// In bytes.
    pub size: u64,
    pub sha256: String,
}

/// What this server publishes.
#[derive(Debug, Serialize, ToSchema)]
pub struct Published {
    /// Newest first.
    pub releases: Vec<PublishedRelease>,
    /// Who signed, and until when that is good. Empty while nothing is published.
    pub roles: Vec<SignedRole>,
    pub verified_at: Option<DateTime<Utc>>,
    /// Set while what lies in the folder is refused; the releases are those of the last good one.
    pub refusal: Option<Refusal>,
    /// Whether a role has expired: agents take nothing.
    pub is_expired: bool,
}

/// What is published, as it is known now.
pub fn published(app: &App) -> Published {
    let known = app.updates.releases.known();
    let Some(verified) = known.verified else {
        let refusal = known.refusal;
        return Published {
            releases: Vec::new(),
            roles: Vec::new(),
            verified_at: None,
            refusal,
            is_expired: false,
        };
    };
    let releases = verified.releases.iter().map(|release| PublishedRelease {
        version: release.version.to_string(),
        os: release.os.clone(),
        arch: release.arch.clone(),
        channels: release.channels.clone(),
        released_at: release.released_at,
        size: release.size,
        sha256: release.sha256.clone(),
    });
    Published {
        releases: releases.collect(),
        roles: verified.roles.clone(),
        verified_at: Some(verified.verified_at),
        refusal: known.refusal,
        is_expired: verified.expires_at() <= Utc::now(),
    }
}

/// Looks at the folder at once, and answers what is published now.
pub async fn check(app: &App, _scope: &Scope<ManagePlatform>) -> Published {
    app.updates.releases.look(Utc::now()).await;
    published(app)
}

/// Looks at the folder of releases once a minute, until `stop`. Every server does: each hands out what it verified.
pub async fn keep_looking(app: &App, stop: CancellationToken) {
    let mut tick = interval(LOOK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        app.updates.releases.look(Utc::now()).await;
        if let Err(error) = census::learn_retired(app).await {
            tracing::debug!(%error, "retired protocol versions are read again in a minute");
        }
    }
}

/// How a machine stands with updates.
pub async fn state_of(app: &App, scope: &Scope<ReadFleet>, agent_id: Uuid) -> Result<UpdateState, Error> {
    let mut tx = app.db.begin(scope).await?;
    let machine = store::machine(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let policy = crate::policies::update_policy(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let available = machine.build().and_then(|build| {
        let verified = app.updates.releases.valid(Utc::now())?;
        plan::newest(&verified.releases, &build, policy.channel, |_| false)
            .map(|(release, _)| release.version.to_string())
    });
    Ok(UpdateState {
        open: store::open_of(&mut tx, agent_id).await?,
        supported: machine.can_update(),
        reason: machine.why_not(),
        previous_version: machine.previous_version.clone(),
        agent_version: machine.agent_version,
        available_version: available,
        channel: policy.channel,
    })
}

/// A machine's updates, newest first.
pub async fn list(
    app: &App,
    scope: &Scope<ReadFleet>,
    agent_id: Uuid,
    page: &PageQuery,
) -> Result<Page<AgentUpdate>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    store::machine(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let total = store::count(&mut tx, agent_id).await?;
    let updates = store::list(&mut tx, agent_id, after, limit + 1).await?;
    Page::of(updates, limit, total, |update| (update.ordered_at, update.id))
}

/// Orders the newest version of the machine's channel at once: windows and deferring are for what happens by itself.
pub async fn force(app: &App, scope: &Scope<RunCommands>, agent_id: Uuid) -> Result<Ordered, Error> {
    let now = Utc::now();
    let mut tx = app.db.begin(scope).await?;
    let machine = able(&mut tx, agent_id).await?;
    let policy = crate::policies::update_policy(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let build = machine.build().ok_or_else(|| Error::new(Code::NoUpdatePublished))?;
    let verified = app.updates.releases.valid(now).ok_or_else(|| Error::new(Code::NoUpdatePublished))?;
    let bad = rollout::bad_versions(&mut tx, agent_id).await?;
    let is_bad = |release: &releases::Release| bad.contains(&release.version.to_string());
    let (release, channel) = plan::newest(&verified.releases, &build, policy.channel, is_bad)
        .ok_or_else(|| Error::new(Code::NoUpdatePublished))?;
    let order = store::NewUpdate {
        action: Action::Install,
        origin: Origin::Person,
        to_version: release.version.to_string(),
        channel: channel.as_str().to_owned(),
        rollout: None,
        valid_until: now + FORCED_VALID,
    };
    by_person(app, scope, tx, &machine, order, "agent.update", now).await
}

/// Orders a machine back to the version it kept.
pub async fn roll_back(app: &App, scope: &Scope<RunCommands>, agent_id: Uuid) -> Result<Ordered, Error> {
    let now = Utc::now();
    let mut tx = app.db.begin(scope).await?;
    let machine = able(&mut tx, agent_id).await?;
    let previous = machine.previous_version.clone().filter(|version| *version != machine.agent_version);
    let order = store::NewUpdate {
        action: Action::RollBack,
        origin: Origin::Person,
        to_version: previous.ok_or_else(|| Error::new(Code::NoPreviousVersion))?,
        channel: String::new(),
        rollout: None,
        valid_until: now + FORCED_VALID,
    };
    by_person(app, scope, tx, &machine, order, "agent.roll_back", now).await
}

/// What a hello without any credential is told beside "upgrade". A stranger may ask this: so it is answered from what
/// the caller says and what is published to everyone, without a look at any agent, and nothing is written. Who has no
/// agent's key cannot fetch what it names, and an agent takes it only with the publisher's signatures. Policy is not
/// asked: an agent that may not connect has no other way back.
pub fn for_outdated(
    app: &App,
    action: BootstrapAction,
    version: Option<&str>,
    os: Option<&str>,
    arch: Option<&str>,
    now: DateTime<Utc>,
) -> Option<UpdateOrder> {
    if action != BootstrapAction::Upgrade {
        return None;
    }
    let build = Build { version: Version::parse(version?).ok()?, os: os?.to_owned(), arch: arch?.to_owned() };
    let verified = app.updates.releases.valid(now)?;
    let (release, channel) = plan::newest(&verified.releases, &build, Channel::Stable, |_| false)?;
    Some(UpdateOrder {
        update_id: UpdateId::new(),
        action: UpdateAction::Install,
        version: release.version.to_string(),
        channel: channel.as_str().to_owned(),
        valid_until: now + ORDER_VALID,
        at_once: false,
    })
}

/// Removes the oldest updates that ended before a time, at most `most`; answers how many.
pub async fn prune(tx: &mut Tx<System>, ended_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    store::prune(tx, ended_before, most).await
}

/// A machine that can become another version.
async fn able<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<store::Machine, Error> {
    let machine = store::machine(tx, agent_id).await?.ok_or_else(Error::not_found)?;
    if machine.state != "active" {
        return Err(Error::new(Code::AgentNotActive));
    }
    if let Some(reason) = machine.why_not() {
        return Err(Error::with_detail(Code::UpdateUnsupported, reason));
    }
    Ok(machine)
}

/// Writes a person's order and sends it. What policy ordered and the machine has not begun gives way; what is under
/// way, or is another person's, does not.
async fn by_person(
    app: &App,
    scope: &Scope<RunCommands>,
    mut tx: Tx<RunCommands>,
    machine: &store::Machine,
    order: store::NewUpdate,
    action: &'static str,
    now: DateTime<Utc>,
) -> Result<Ordered, Error> {
    agents::hold_place(&mut tx, machine.id).await?.ok_or_else(Error::not_found)?;
    if let Some(open) = store::open_of(&mut tx, machine.id).await? {
        if open.origin == Origin::Person || open.status != Status::Ordered {
            let detail = format!("{} to {} is {}", machine.hostname, open.to_version, open.status.as_str());
            return Err(Error::with_detail(Code::UpdateUnderWay, detail));
        }
        store::end(&mut tx, open.id, Status::Superseded, None, now).await?;
    }
    let id = UpdateId::new();
    if !store::insert(&mut tx, id.0, machine, &order, now).await? {
        return Err(Error::new(Code::UpdateUnderWay));
    }
    store::keep_newest(&mut tx, machine.id, id.0, KEPT).await?;
    tx.emit(machine.changed(id.0)).await?;
    let detail = json!({ "from": machine.agent_version, "to": order.to_version });
    tx.audit(Entry::new(action, "agent", machine.id).named(&machine.hostname).with(detail)).await?;
    tx.commit().await?;
    dispatch::send(app, &Scope::system("updates: send", scope.tenant()?), machine.id).await;
    Ok(Ordered { update_id: id.0, status: Status::Ordered })
}

impl store::Machine {
    /// What it runs, if that is a version.
    fn build(&self) -> Option<Build> {
        Some(Build {
            version: Version::parse(&self.agent_version).ok()?,
            os: self.os_type.clone(),
            arch: self.arch.clone(),
        })
    }

    fn can_update(&self) -> bool {
        self.supported == Some(true)
    }

    fn why_not(&self) -> Option<String> {
        let unknown = || {
            "the machine's agent has not said that it can, as agents before protocol 1.1 cannot".to_owned()
        };
        match self.supported {
            Some(true) => None,
            Some(false) => Some(self.reason.clone().unwrap_or_else(unknown)),
            None => Some(unknown()),
        }
    }

    fn changed(&self, update_id: Uuid) -> Event {
        Event::new(Topic::AgentUpdateChanged, self.tenant_id, update_id)
            .on_agent(self.id)
            .at(self.client_id, Some(self.site_id))
    }
}
