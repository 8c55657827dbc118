//! Sessions of techs with machines: who has opened one, who holds it, when it ends, and what travels through it.
//!
//! The row says that a session is open, whose it is and with which machine. The node with the tech's socket, or with an HTTP
//! request in the session, is its host ([`host`]): it checks rights, has the machine told ([`agent`]), records, and counts
//! credit ([`credit`]). Docs: `docs/decisions/0012-tunnel.md`.

pub mod agent;
mod caller;
mod carry;
mod channel;
mod claim;
mod content;
mod credit;
pub mod deadlines;
mod forwards;
mod host;
pub mod http;
mod looking;
mod relay;
mod scripts;
mod socket;
mod store;
mod words;

pub use agent::Taken;
pub use looking::keep_watch;
pub use relay::keep_carrying;

use crate::agents;
use crate::alerts::{self, NewAlert, Severity, Subject};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{EndTunnels, Role, System, UseTunnel};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use crate::gateway;
use crate::http::{Page, PageQuery};
use crate::keys::{Purpose, random_token};
use crate::policies::{self, AsksReason, TunnelPolicy};
use chrono::{DateTime, TimeDelta, Utc};
use host::Host;
use serde::Serialize;
use serde_json::json;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::OnceCell;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use utoipa::ToSchema;
use uuid::Uuid;

/// Sessions one tech may open in a minute.
const OPENS_PER_MINUTE: i64 = 30;
/// Machines that one tech opens within ten minutes, before people are told of it.
const MANY_MACHINES: i64 = 15;
const MAX_REASON_CHARS: usize = 500;
const MAX_TICKET_CHARS: usize = 64;
const TICKET_LIFETIME: TimeDelta = TimeDelta::seconds(30);
const TICKET_PREFIX: &str = "gtt_";

/// A tech's session with a machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct TunnelSession {
    pub session_id: Uuid,
    pub agent_id: Uuid,
    pub tech_id: Uuid,
    pub status: Status,
    pub opened_at: DateTime<Utc>,
    pub last_activity: DateTime<Utc>,
    pub closed_at: Option<DateTime<Utc>>,
    pub closed_reason: Option<ClosedReason>,
    /// Why it was opened, as the tech said.
    pub reason: Option<String>,
    /// The ticket that the tech named.
    pub ticket: Option<String>,
    /// When it is over at the latest.
    pub ends_at: DateTime<Utc>,
    pub agent_hostname: Option<String>,
    pub tech_name: Option<String>,
    pub bytes_to_machine: i64,
    pub bytes_from_machine: i64,
    pub client_id: Uuid,
    pub site_id: Uuid,
}

words! {
    /// Where a session stands.
    Status { Active = "active", Closed = "closed", }
}

words! {
    /// Why a session is closed.
    #[schema(as = TunnelClosedReason)]
    ClosedReason {
        ClosedByTech = "closed_by_tech",
        ClosedByAdmin = "closed_by_admin",
        /// Nothing was typed or moved for as long as the policy says.
        Idle = "idle",
        /// It was open for as long as the policy says.
        TooLong = "too_long",
        /// The machine was away for five minutes.
        AgentLost = "agent_lost",
        /// The tech may not any more.
        RightLost = "right_lost",
        RecordingFailed = "recording_failed",
        /// One side did not keep to the protocol.
        ProtocolError = "protocol_error",
        /// No page and no program was in it for five minutes.
        Unused = "unused",
    }
}

/// Which sessions a list shows.
#[derive(Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub agent_id: Option<Uuid>,
    pub tech_id: Option<Uuid>,
}

/// Why a session is opened, as far as the tech says it.
#[derive(Debug, Default)]
pub struct Wish {
    pub reason: Option<String>,
    pub ticket: Option<String>,
}

/// A session that is to be opened.
#[derive(Debug)]
struct Open {
    id: Uuid,
    reason: Option<String>,
    ticket: Option<String>,
    minutes_at_most: i32,
}

/// How much a tech has open, and opened lately.
#[derive(Debug)]
struct Load {
    active: i64,
    last_minute: i64,
    machines_lately: i64,
}

/// Lets one socket into one session, once.
#[derive(Debug, Serialize, ToSchema)]
pub struct TunnelTicket {
    pub ticket: String,
    pub expires_at: DateTime<Utc>,
}

/// How long things may take.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How often a host asks the database whether all is as it was, beside being told of changes.
    pub look: Duration,
    /// How long a machine may be away, or not answer, before its session is closed.
    pub agent_away: Duration,
    /// How long a host stays when nobody is in the session.
    pub linger: Duration,
    /// How often a quiet socket is pinged; one that is silent for three times as long is lost.
    pub ping: Duration,
    /// A minute of a policy.
    pub minute: Duration,
    /// A frame that cannot be written within this time goes to someone who does not read.
    pub write_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(15),
            agent_away: Duration::from_secs(300),
            linger: Duration::from_secs(60),
            ping: Duration::from_secs(25),
            minute: Duration::from_secs(60),
            write_within: Duration::from_secs(60),
        }
    }
}

/// The sessions that this node has to do with.
pub struct Tunnels {
    settings: Settings,
    /// Those it is the host of.
    hosts: Mutex<HashMap<Uuid, Arc<OnceCell<Arc<Host>>>>>,
    /// Those that were spoken of to agents connected here.
    here: agent::Here,
    tasks: TaskTracker,
    stopping: CancellationToken,
}

impl Tunnels {
    /// None yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            hosts: Mutex::default(),
            here: agent::Here::default(),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }

    /// How many sessions this node is the host of.
    pub fn hosted(&self) -> usize {
        self.lock().values().filter(|host| host.initialized()).count()
    }

    /// Bytes that wait in the sessions this node is the host of.
    pub fn bytes_waiting(&self) -> usize {
        self.all().iter().map(|host| host.bytes_waiting()).sum()
    }

    /// Lets all sessions go, to be held by others; waits for it `within` at most.
    pub async fn stop(&self, within: Duration) {
        self.stopping.cancel();
        self.tasks.close();
        if tokio::time::timeout(within, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "some sessions with machines were not let go in time");
        }
    }

    /// The host of a session, if that is this node.
    fn host(&self, session_id: Uuid) -> Option<Arc<Host>> {
        self.lock().get(&session_id).and_then(|host| host.get().cloned())
    }

    /// All hosts here.
    fn all(&self) -> Vec<Arc<Host>> {
        self.lock().values().filter_map(|host| host.get().cloned()).collect()
    }

    /// Where the host of a session is or will be.
    fn place(&self, session_id: Uuid) -> Arc<OnceCell<Arc<Host>>> {
        let mut hosts = self.lock();
        // What was begun and given up by all who waited for it.
        hosts.retain(|_, host| host.initialized() || Arc::strong_count(host) > 1);
        Arc::clone(hosts.entry(session_id).or_default())
    }

    /// A host is done; another one may be made.
    fn remove(&self, host: &Arc<Host>) {
        let mut hosts = self.lock();
        if hosts.get(&host.id()).and_then(|there| there.get()).is_some_and(|there| Arc::ptr_eq(there, host)) {
            hosts.remove(&host.id());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Arc<OnceCell<Arc<Host>>>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens a session with a machine, or answers the one this tech has with it already. 409 for a machine that waits
/// for approval, or is away.
pub async fn open(
    app: &App,
    scope: &Scope<UseTunnel>,
    agent_id: Uuid,
    wish: Wish,
) -> Result<TunnelSession, Error> {
    let (tech, wish) = (scope.user()?, wish.checked()?);
    let mut tx = app.db.begin(scope).await?;
    let mut agent = store::agent(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    if !agent.is_active {
        return Err(Error::new(Code::AgentNotActive));
    }
    store::take_turns(&mut tx, tech).await?;
    if let Some(id) = store::active(&mut tx, agent_id, tech).await? {
        let session = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
        tx.commit().await?;
        return Ok(session);
    }
    let policy = policies::tunnel_policy(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    may_open(&policy, scope.role(), &wish)?;
    let load = store::load(&mut tx, tech).await?;
    if load.last_minute >= OPENS_PER_MINUTE {
        return Err(Error::retry_after(Code::RateLimited, 60));
    }
    if load.active >= policy.sessions_per_tech {
        return Err(Error::new(Code::TooManySessions));
    }
    if agents::is_too_old_for_sessions(&mut tx, agent_id).await? {
        return Err(Error::new(Code::AgentTooOld));
    }
    if !gateway::is_connected(app, &mut tx, agent_id).await? {
        return Err(Error::new(Code::AgentOffline));
    }
    (agent.client_id, agent.site_id) =
        agents::hold_place(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let open = Open {
        id: Uuid::now_v7(),
        reason: wish.reason,
        ticket: wish.ticket,
        minutes_at_most: policy.minutes_at_most,
    };
    let (id, is_new) = store::open(&mut tx, &agent, tech, &open).await?;
    let session = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if is_new {
        if load.machines_lately + 1 >= MANY_MACHINES {
            many_machines(&mut tx, scope, &agent, load.machines_lately + 1).await?;
        }
        let detail = json!({ "agent_id": agent.id, "reason": session.reason, "ticket": session.ticket });
        report(&mut tx, "tunnel.open", &session, &agent, detail).await?;
    }
    tx.commit().await?;
    Ok(session)
}

impl Wish {
    fn checked(self) -> Result<Self, Error> {
        let text =
            |text: Option<String>| text.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let (reason, ticket) = (text(self.reason), text(self.ticket));
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
            return Err(Error::field("reason", "TOO_LONG", "must have at most 500 characters"));
        }
        if ticket.as_ref().is_some_and(|ticket| ticket.chars().count() > MAX_TICKET_CHARS) {
            return Err(Error::field("ticket", "TOO_LONG", "must have at most 64 characters"));
        }
        Ok(Self { reason, ticket })
    }
}

fn may_open(policy: &TunnelPolicy, role: Option<Role>, wish: &Wish) -> Result<(), Error> {
    if policy.channels(role).is_empty() {
        return Err(Error::new(Code::ChannelNotAllowed));
    }
    match policy.asks_reason {
        AsksReason::Required if wish.reason.is_none() => Err(Error::new(Code::ReasonRequired)),
        AsksReason::Ticket if wish.ticket.is_none() => Err(Error::new(Code::TicketRequired)),
        _ => Ok(()),
    }
}

async fn many_machines<P>(
    tx: &mut Tx<P>,
    scope: &Scope<UseTunnel>,
    agent: &AgentRow,
    machines: i64,
) -> Result<(), Error> {
    let (tech, name) = (scope.user()?, &scope.actor().name);
    let alert = NewAlert {
        kind: "tunnel.many_machines",
        severity: Severity::Warning,
        title: &format!("{name} opened sessions with {machines} machines within ten minutes"),
        detail: json!({ "tech_id": tech, "tech": name, "machines": machines }),
        dedup_key: &format!("tunnel.many_machines:{tech}"),
        subject: Subject { agent_id: agent.id, client_id: agent.client_id, site_id: agent.site_id },
    };
    alerts::raise(tx, alert).await
}

/// Tells of a session that moved this much.
async fn much_data<P>(tx: &mut Tx<P>, host: &Host, bytes: i64) -> Result<(), Error> {
    let facts = &host.facts;
    let gibibytes = bytes / (1024 * 1024 * 1024);
    let alert = NewAlert {
        kind: "tunnel.much_data",
        severity: Severity::Warning,
        title: &format!("{} moved {gibibytes} GiB in a session with {}", facts.tech_name, facts.hostname),
        detail: json!({
            "session_id": facts.tunnel_id, "tech_id": facts.tech_id, "tech": facts.tech_name, "bytes": bytes,
        }),
        dedup_key: &format!("tunnel.much_data:{}", facts.tunnel_id),
        subject: Subject { agent_id: facts.agent_id, client_id: facts.client_id, site_id: facts.site_id },
    };
    alerts::raise(tx, alert).await
}

/// Removes the oldest sessions that were closed before a time, at most `most`; answers how many.
pub async fn prune(tx: &mut Tx<System>, closed_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    store::prune(tx, closed_before, most).await
}

/// A session, open or closed, for the tech whose it is. 403 for another tech.
pub async fn status(app: &App, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelSession, Error> {
    let mut tx = app.db.begin(scope).await?;
    own(&mut tx, scope, id).await
}

/// Sessions, newest first: an admin's list has everybody's that she may see, a tech's her own.
pub async fn list(
    app: &App,
    scope: &Scope<UseTunnel>,
    mut filter: Filter,
    page: &PageQuery,
) -> Result<Page<TunnelSession>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    if scope.role().is_none_or(|role| role < Role::Admin) {
        let own = scope.user()?;
        if filter.tech_id.is_some_and(|tech| tech != own) {
            return Err(Error::with_detail(Code::Forbidden, "the sessions are another person's"));
        }
        filter.tech_id = Some(own);
    }
    let mut tx = app.db.begin(scope).await?;
    let total = store::count(&mut tx, &filter).await?;
    let sessions = store::list(&mut tx, &filter, after, limit + 1).await?;
    Page::of(sessions, limit, total, |session| (session.opened_at, session.session_id))
}

/// Closes a session; closing it again changes nothing. 403 for another tech.
pub async fn close(app: &App, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelSession, Error> {
    let mut tx = app.db.begin(scope).await?;
    own(&mut tx, scope, id).await?;
    closed(tx, id, ClosedReason::ClosedByTech).await
}

/// An admin ends somebody's session; ending it again changes nothing.
pub async fn end(app: &App, scope: &Scope<EndTunnels>, id: Uuid) -> Result<TunnelSession, Error> {
    closed(app.db.begin(scope).await?, id, ClosedReason::ClosedByAdmin).await
}

/// Closes a session for this reason, unless it is closed already. The bus tells hosts and machine.
async fn closed<P>(mut tx: Tx<P>, id: Uuid, reason: ClosedReason) -> Result<TunnelSession, Error> {
    let is_new = store::close(&mut tx, id, reason).await?;
    let session = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if is_new && let Some(agent) = store::agent(&mut tx, session.agent_id).await? {
        let detail = json!({
            "agent_id": agent.id,
            "tech_id": session.tech_id,
            "reason": reason,
            "bytes_to_machine": session.bytes_to_machine,
            "bytes_from_machine": session.bytes_from_machine,
        });
        report(&mut tx, "tunnel.close", &session, &agent, detail).await?;
    }
    // What was written before is kept, whoever was first.
    tx.commit().await?;
    Ok(session)
}

/// Lets a socket into one's own session. 403 for another tech's, 409 for one that is closed.
pub async fn ticket(app: &App, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelTicket, Error> {
    let mut tx = app.db.begin(scope).await?;
    own_active(&mut tx, scope, id).await?;
    drop(tx);
    let ticket = random_token(TICKET_PREFIX);
    let expires_at = Utc::now() + TICKET_LIFETIME;
    app.db.put_live_ticket(scope, &ticket_digest(app, id, &ticket), TICKET_LIFETIME).await?;
    Ok(TunnelTicket { ticket: ticket.to_string(), expires_at })
}

/// A ticket is good for one session: its id is part of what is kept.
fn ticket_digest(app: &App, id: Uuid, ticket: &str) -> [u8; 32] {
    app.keys.digest(Purpose::TunnelTicket, &format!("{id} {ticket}"))
}

async fn own<P>(tx: &mut Tx<P>, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelSession, Error> {
    let session = store::get(tx, id).await?.ok_or_else(Error::not_found)?;
    if session.tech_id != scope.user()? {
        return Err(Error::with_detail(Code::Forbidden, "the session is another person's"));
    }
    Ok(session)
}

async fn own_active<P>(tx: &mut Tx<P>, scope: &Scope<UseTunnel>, id: Uuid) -> Result<TunnelSession, Error> {
    let session = own(tx, scope, id).await?;
    match session.status {
        Status::Active => Ok(session),
        Status::Closed => Err(Error::new(Code::SessionClosed)),
    }
}

/// A machine as a session needs it.
#[derive(Debug)]
struct AgentRow {
    id: Uuid,
    tenant_id: Uuid,
    client_id: Uuid,
    site_id: Uuid,
    hostname: String,
    is_active: bool,
}

async fn report<P>(
    tx: &mut Tx<P>,
    action: &'static str,
    session: &TunnelSession,
    agent: &AgentRow,
    detail: serde_json::Value,
) -> Result<(), Error> {
    let event = Event::new(Topic::TunnelChanged, agent.tenant_id, session.session_id);
    tx.emit(event.at(agent.client_id, Some(agent.site_id)).on_agent(agent.id)).await?;
    let entry = Entry::new(action, "tunnel", session.session_id).named(&agent.hostname);
    tx.audit(entry.with(detail)).await
}
