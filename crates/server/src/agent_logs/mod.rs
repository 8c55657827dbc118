//! The agents' own logs: asked for by a person, and sent by themselves after a crash. The newest few of each machine
//! are kept, for as long as the partner keeps things.

pub mod agent;
pub mod deadlines;
pub mod http;
mod store;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ReadAgentLogs, System};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use crate::gateway;
use crate::peers::Matter;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::limits::MAX_LOG_BYTES;
use gururmm_protocol::log::LogRequest;
use gururmm_protocol::{LogId, ServerMessage};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// Logs kept of one machine, and as many crashes.
const KEPT: i64 = 10;
/// How long a machine may be silent about a log that was asked of it.
const SILENCE: TimeDelta = TimeDelta::minutes(2);

/// A log that was asked of a machine.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentLog {
    pub id: Uuid,
    pub agent_id: Uuid,
    pub status: Status,
    pub requested_at: DateTime<Utc>,
    pub requested_by_name: Option<String>,
    pub ended_at: Option<DateTime<Utc>>,
    /// What came of it.
    pub received_bytes: i64,
    /// What the machine holds, sent or not; absent until all has come.
    pub total_bytes: Option<i64>,
    /// Lines the agent could not write since it started.
    pub lost_lines: Option<i64>,
    /// Why it failed.
    pub error: Option<String>,
}

words! {
    /// How far a log that was asked for has come.
    #[schema(as = AgentLogStatus)]
    Status {
        Requested = "requested",
        Complete = "complete",
        /// The machine could not send it, or fell silent; what came is kept.
        Failed = "failed",
    }
}

/// A log with its text.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentLogText {
    pub log: AgentLog,
    /// At most two mebibytes; what is not UTF-8 is U+FFFD.
    pub text: String,
}

/// An end of an agent that nobody had asked for.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AgentCrash {
    pub id: Uuid,
    pub agent_id: Uuid,
    pub cause: Cause,
    pub crashed_at: DateTime<Utc>,
    pub received_at: DateTime<Utc>,
    /// The version that crashed.
    pub agent_version: String,
    /// What the program said, and where; absent when it was ended from outside.
    pub message: Option<String>,
}

words! {
    /// How an agent ended without meaning to.
    #[schema(as = AgentCrashCause)]
    Cause {
        /// A fault of the program's own.
        Panic = "panic",
        /// It was gone while the machine went on: killed, or ended by the system.
        Killed = "killed",
        Other = "other",
    }
}

/// A crash with the end of the log before it.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentCrashText {
    pub crash: AgentCrash,
    /// At most 32 kibibytes; what is not UTF-8 is U+FFFD.
    pub text: String,
}

/// Asks a machine for its agent's log. One that is on its way already is answered again. 409 when the machine is offline
/// or not approved.
pub async fn ask(app: &App, scope: &Scope<ReadAgentLogs>, agent_id: Uuid) -> Result<AgentLog, Error> {
    let (log_id, now) = (LogId::new(), Utc::now());
    let mut tx = app.db.begin(scope).await?;
    let machine = store::machine(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    if machine.state != "active" {
        return Err(Error::new(Code::AgentNotActive));
    }
    if !gateway::is_connected(app, &mut tx, agent_id).await? {
        return Err(Error::new(Code::AgentOffline));
    }
    let is_new = store::insert(&mut tx, log_id.0, agent_id, now, now + SILENCE).await?;
    if !is_new {
        // Ended in this moment: then there is nothing to share, and asking again gets a new one.
        return store::open_of(&mut tx, agent_id).await?.ok_or_else(|| Error::new(Code::Unavailable));
    }
    store::keep_newest_logs(&mut tx, agent_id, log_id.0, KEPT).await?;
    let log = store::get(&mut tx, log_id.0).await?.ok_or_else(Error::not_found)?;
    tx.emit(machine.event(tx.tenant()?, agent_id, log_id.0)).await?;
    tx.audit(Entry::new("agent.ask_log", "agent", agent_id).named(&machine.hostname)).await?;
    tx.commit().await?;
    // Lost with its line, it is asked for again at the next hello.
    if !app.gateway.send(agent_id, request(log_id)) {
        gateway::look(app, scope.tenant()?, agent_id, Matter::Log);
    }
    Ok(log)
}

/// Another node says that a log is asked of an agent that is connected here.
pub async fn look(app: &App, scope: &Scope<System>, agent_id: Uuid) -> Result<(), Error> {
    if let Some(open) = store::open_of(&mut app.db.begin(scope).await?, agent_id).await? {
        app.gateway.send(agent_id, request(LogId(open.id)));
    }
    Ok(())
}

/// Logs that were asked of a machine, newest first.
pub async fn list(app: &App, scope: &Scope<ReadAgentLogs>, agent_id: Uuid) -> Result<Vec<AgentLog>, Error> {
    let mut tx = app.db.begin(scope).await?;
    store::machine(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    store::list(&mut tx, agent_id).await
}

/// Crashes of a machine's agent, newest first.
pub async fn list_crashes(
    app: &App,
    scope: &Scope<ReadAgentLogs>,
    agent_id: Uuid,
) -> Result<Vec<AgentCrash>, Error> {
    let mut tx = app.db.begin(scope).await?;
    store::machine(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    store::list_crashes(&mut tx, agent_id).await
}

/// A log with what has come of it.
pub async fn read(app: &App, scope: &Scope<ReadAgentLogs>, id: Uuid) -> Result<AgentLogText, Error> {
    let mut tx = app.db.begin(scope).await?;
    let log = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let bytes = store::bytes(&mut tx, id).await?;
    note_read(&mut tx, log.agent_id, json!({ "log_id": id })).await?;
    tx.commit().await?;
    Ok(AgentLogText { log, text: text(bytes) })
}

/// A crash with the end of the log before it.
pub async fn read_crash(app: &App, scope: &Scope<ReadAgentLogs>, id: Uuid) -> Result<AgentCrashText, Error> {
    let mut tx = app.db.begin(scope).await?;
    let (crash, bytes) = store::get_crash(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    note_read(&mut tx, crash.agent_id, json!({ "crash_id": id })).await?;
    tx.commit().await?;
    Ok(AgentCrashText { crash, text: text(bytes) })
}

/// Removes the oldest logs and crashes from before a time, at most `most` of each; answers how many.
pub async fn prune(tx: &mut Tx<System>, before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    Ok(store::prune_logs(tx, before, most).await? + store::prune_crashes(tx, before, most).await?)
}

/// A log tells what a machine does and who works at it.
async fn note_read<P>(tx: &mut Tx<P>, agent_id: Uuid, which: serde_json::Value) -> Result<(), Error> {
    let Some(machine) = store::machine(tx, agent_id).await? else { return Ok(()) };
    tx.audit_read(Entry::new("agent.read_log", "agent", agent_id).named(&machine.hostname).with(which)).await
}

fn request(log_id: LogId) -> ServerMessage {
    ServerMessage::LogRequest(LogRequest { log_id, max_bytes: MAX_LOG_BYTES })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// The machine a log is of.
struct Machine {
    state: String,
    hostname: String,
    client_id: Uuid,
    site_id: Uuid,
}

impl Machine {
    fn event(&self, tenant: Uuid, agent_id: Uuid, log_id: Uuid) -> Event {
        Event::new(Topic::AgentLogChanged, tenant, log_id)
            .on_agent(agent_id)
            .at(self.client_id, Some(self.site_id))
    }
}
