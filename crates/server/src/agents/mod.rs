//! Agents: the machines under management. Who they are, where they stand, and what people decide about them.

mod admission;
mod agent;
mod approvals;
mod copies;
mod credential;
mod decision;
pub mod http;
mod life;
mod list_store;
mod machine_type;
mod store;
mod uninstall;
mod uninstall_store;

pub use admission::{
    Admission, Admitted, Conflict, Entrance, Newcomer, PendingReason, admit, report_conflict,
};
pub use agent::{on_clock, on_hello, on_network_state, said};
pub use approvals::{
    Decision, DecisionsInput, KnownMachine, Outcome, OutcomeProblem, Verdict, WaitingMachine, decide_many,
    list_waiting,
};
pub use copies::{Meeting, meet, on_shared_key};
pub use credential::{AgentIdentity, authenticate};
pub use decision::{ApproveAs, approve, reject};
pub use life::{
    Duplicate, DuplicateReason, MergeInput, MergeKey, duplicates, merge, prune_retired, reenroll, restore,
    retire,
};
pub use list_store::{Filter, Sort, SortBy};
pub use machine_type::{AgentVirtualization, Appliance, HostedMachine, MachineType, VmHost};
pub use uninstall::{
    AgentUninstall, JOB as UNINSTALL_JOB, Status as UninstallStatus, UninstallInput, cancel_uninstall,
    is_too_old_for_sessions, keep_uninstall_deadlines, look_for_uninstall, on_uninstall_hello,
    on_uninstall_report, uninstall,
};

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManageAgents, ReadFleet};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::Error;
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use gururmm_protocol::network::{Interface, NetworkState};
use gururmm_protocol::system::{OsType, SystemInfo, UidSource};
use gururmm_protocol::to_agent::GoodbyeReason;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// One machine, as lists show it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Agent {
    pub id: Uuid,
    pub hostname: String,
    pub os_type: OsType,
    pub os_version: String,
    pub arch: String,
    pub agent_version: String,
    /// What it spoke when it last connected.
    pub protocol_version: Option<String>,
    pub status: Status,
    pub last_seen: Option<DateTime<Utc>>,
    pub is_connected: bool,
    pub site_id: Uuid,
    pub site_name: String,
    pub client_id: Uuid,
    pub client_name: String,
    pub enrolled_at: DateTime<Utc>,
    pub machine_uid_source: UidSource,
    /// Absent while the machine does not tell: its agent speaks an older protocol.
    pub machine_type: Option<MachineType>,
    pub public_ip: Option<String>,
    pub logged_in_user: Option<String>,
    pub uptime_seconds: Option<i64>,
    pub cpu_percent: Option<f32>,
    pub memory_percent: Option<f32>,
    /// Of the fullest disk.
    pub disk_percent: Option<f32>,
    /// Another machine of the client has the same host name.
    pub duplicate_hostname: bool,
    /// Why it waits for a decision, while it does.
    pub pending_reason: Option<PendingReason>,
    /// Tells the key it was given from another, while it waits: what an approval names.
    pub key_fingerprint: Option<String>,
    /// How often it was given another key while it waits. More than once asked, perhaps not by the same machine.
    pub key_changes: i32,
    /// Alerts not resolved.
    pub open_alerts: i64,
    /// When it last asked to be let in: anew, or as the machine that it is.
    pub asked_at: DateTime<Utc>,
    /// Since when it is retired, while it is.
    pub retired_at: Option<DateTime<Utc>>,
}

words! {
    /// Whether a machine is there.
    #[schema(as = AgentStatus)]
    Status {
        Online = "online",
        Offline = "offline",
        /// It waits for someone's decision.
        Pending = "pending",
        /// Someone took it out; its history is kept for a while.
        Retired = "retired",
    }
}

/// Everything known of one machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentDetail {
    pub agent: Agent,
    pub hardware: Option<Hardware>,
    /// Absent while the machine does not tell.
    pub virtualization: Option<AgentVirtualization>,
    pub network: Option<AgentNetwork>,
    pub machine_uid: String,
    pub board_serial: Option<String>,
    pub disk_serial: Option<String>,
    pub boot_time: Option<DateTime<Utc>>,
    /// How far the machine's clock is ahead of the server's, in milliseconds, as of its last heartbeat; negative when it
    /// is behind, absent while the machine is not connected.
    pub clock_offset_ms: Option<i64>,
    /// The removal of the agent from this machine that was ordered last, if any was.
    pub uninstall: Option<AgentUninstall>,
}

/// What a machine says of its hardware.
#[derive(Debug, Serialize, ToSchema)]
pub struct Hardware {
    pub cpu_model: Option<String>,
    pub cpu_cores: Option<u32>,
    pub memory_bytes: Option<u64>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub serial: Option<String>,
    pub kernel: Option<String>,
}

/// Network state of a machine, as it last changed.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentNetwork {
    pub interfaces: Vec<Interface>,
    pub gateway: Option<String>,
    pub dns: Vec<String>,
    pub received_at: DateTime<Utc>,
}

/// All machines the caller sees, by host name. Scripts rely on the array.
pub async fn list_all(app: &App, scope: &Scope<ReadFleet>) -> Result<Vec<Agent>, Error> {
    let mut tx = app.db.begin(scope).await?;
    list_store::list(&mut tx, &Filter::default(), Sort::default(), None, None).await
}

/// Client and site of a machine, which stays there until the transaction ends: whoever writes its place down elsewhere
/// in the same transaction writes the right one.
pub(crate) async fn hold_place<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Option<(Uuid, Uuid)>, Error> {
    store::hold_place(tx, id).await
}

/// One page of machines.
pub async fn list(
    app: &App,
    scope: &Scope<ReadFleet>,
    filter: &Filter,
    sort: Sort,
    page: &PageQuery,
) -> Result<Page<Agent>, Error> {
    let (limit, after) = (page.limit()?, page.after::<list_store::Place>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = list_store::count(&mut tx, filter).await?;
    if total >= list_store::MANY && sort.by.is_of_status() && !scope.confinement.is_confined() {
        list_store::expect_many(&mut tx).await?;
    }
    let agents = list_store::list(&mut tx, filter, sort, after, Some(limit + 1)).await?;
    Page::of(agents, limit, total, |agent| list_store::Place::of(agent, sort))
}

/// Machines that need someone: offline or with open alerts, those with the most alerts first.
pub async fn needing_attention<P>(tx: &mut Tx<P>, most: i64) -> Result<Vec<Agent>, Error> {
    let filter = Filter { needs_attention: true, ..Filter::default() };
    let sort = Sort { by: SortBy::Alerts, is_descending: true };
    list_store::list(tx, &filter, sort, None, Some(most)).await
}

/// One machine.
pub async fn get(app: &App, scope: &Scope<ReadFleet>, id: Uuid) -> Result<Agent, Error> {
    let mut tx = app.db.begin(scope).await?;
    find(&mut tx, id).await
}

/// One machine with all that is known of it.
pub async fn get_detail(app: &App, scope: &Scope<ReadFleet>, id: Uuid) -> Result<AgentDetail, Error> {
    let mut tx = app.db.begin(scope).await?;
    let agent = find(&mut tx, id).await?;
    let facts = store::facts(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    // What cannot be read any more is not shown; the next hello writes it anew.
    let network = facts.network.and_then(|state| serde_json::from_value::<NetworkState>(state).ok());
    let mut system = serde_json::from_value::<SystemInfo>(facts.system).ok();
    let virtualization = system.as_mut().and_then(|system| system.virtualization.take());
    Ok(AgentDetail {
        agent,
        virtualization: virtualization.map(|said| AgentVirtualization::from(*said)),
        boot_time: system.as_ref().and_then(|system| system.boot_time),
        hardware: system.map(|system| Hardware {
            cpu_model: system.cpu_model,
            cpu_cores: system.cpu_cores,
            memory_bytes: system.memory_bytes,
            manufacturer: system.manufacturer,
            model: system.model,
            serial: system.serial,
            kernel: system.kernel,
        }),
        network: network.zip(facts.network_received_at).map(|(state, received_at)| AgentNetwork {
            interfaces: state.interfaces,
            gateway: state.gateway,
            dns: state.dns,
            received_at,
        }),
        machine_uid: facts.machine_uid,
        board_serial: facts.board_serial,
        disk_serial: facts.disk_serial,
        clock_offset_ms: app.gateway.machine_clock(id).map(|clock| clock.offset_ms),
        uninstall: uninstall::newest(&mut tx, id).await?,
    })
}

/// Takes a machine out of management with all its history. Its key is dead at once; its number is never given again,
/// so its samples, which are dropped with their partitions, belong to nobody.
pub async fn delete(app: &App, scope: &Scope<ManageAgents>, id: Uuid) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let agent = store::delete(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let event = Event::new(Topic::AgentDeleted, tx.tenant()?, id);
    tx.emit(event.at(agent.client_id, Some(agent.site_id)).on_agent(id)).await?;
    tx.audit(Entry::new("agent.delete", "agent", id).named(&agent.hostname)).await?;
    tx.commit().await?;
    app.gateway.disconnect(id, GoodbyeReason::Revoked);
    Ok(())
}

/// Moves a machine to another site of the partner; key and history go along. 404 when the caller does not see both.
pub async fn move_to(
    app: &App,
    scope: &Scope<ManageAgents>,
    id: Uuid,
    site_id: Uuid,
) -> Result<Agent, Error> {
    let mut tx = app.db.begin(scope).await?;
    let before = find(&mut tx, id).await?;
    let site = store::site(&mut tx, site_id).await?.ok_or_else(Error::not_found)?;
    if before.site_id == site_id {
        return Ok(before);
    }
    store::set_place(&mut tx, id, site.client_id, site_id).await?;
    let agent = find(&mut tx, id).await?;
    let tenant = tx.tenant()?;
    // Those who see only the old place hear of it too.
    for (client, site) in [(before.client_id, before.site_id), (site.client_id, site_id)] {
        tx.emit(Event::new(Topic::AgentMoved, tenant, id).at(client, Some(site)).on_agent(id)).await?;
    }
    let detail = json!({
        "from": { "site_id": before.site_id, "site_name": before.site_name },
        "to": { "site_id": site_id, "site_name": agent.site_name },
    });
    tx.audit(Entry::new("agent.move", "agent", id).named(&agent.hostname).with(detail)).await?;
    tx.commit().await?;
    Ok(agent)
}

async fn find<P>(tx: &mut Tx<P>, id: Uuid) -> Result<Agent, Error> {
    let filter = Filter { id: Some(id), ..Filter::default() };
    let found = list_store::list(tx, &filter, Sort::default(), None, Some(1)).await?;
    found.into_iter().next().ok_or_else(Error::not_found)
}
