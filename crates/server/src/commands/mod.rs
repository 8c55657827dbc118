//! Commands: ordered by people, run by agents, kept with their output.
//!
//! A command is a row. It is committed before the agent hears of it and before anything it reports is acknowledged;
//! both sides repeat until they are answered. [`state::step`] says which state may follow which.

pub mod agent;
pub mod dispatch;
pub mod http;
pub mod input;
mod output_store;
pub mod signals;
pub mod state;
mod store;
mod text;
mod whole;

pub use input::CommandInput;
pub use state::Status;

use crate::agents;
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ReadFleet, RunCommands, System};
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::gateway;
use crate::http::{Page, PageQuery};
use crate::observability::traces::spans;
use crate::peers::Matter;
use crate::policies::{self, WhenOffline};
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::{CommandId, ServerMessage};
use input::{CommandType, Context};
use serde::{Deserialize, Serialize};
use signals::Signals;
use state::{Step, Trigger};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use utoipa::ToSchema;
use uuid::Uuid;

/// Commands of one agent that may be open at a time.
const MAX_OPEN: i64 = 500;
/// How long a cancel waits for the agent before it answers.
const CANCEL_WAITS: Duration = Duration::from_secs(5);

/// How long someone may wait for a command's end in one request.
const WAITS_AT_MOST_SECONDS: u32 = 30;

/// What commands need in memory.
#[derive(Default)]
pub struct Commands {
    /// Wakes those who follow a command.
    pub signals: Signals,
    /// How many commands came to each state.
    pub reached: signals::Reached,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Command {
    pub id: Uuid,
    pub agent_id: Uuid,
    pub agent_hostname: String,
    pub command_type: CommandType,
    pub command: String,
    pub context: Context,
    pub interpreter: Option<String>,
    pub elevated: bool,
    pub working_directory: Option<String>,
    pub timeout_seconds: i32,
    pub status: Status,
    pub exit_code: Option<i32>,
    /// Empty in lists.
    pub stdout: String,
    /// Empty in lists.
    pub stderr: String,
    /// Bytes it wrote, kept or not.
    pub stdout_bytes: i64,
    pub stderr_bytes: i64,
    /// Whether output beyond the limit was dropped.
    pub truncated: bool,
    pub error_code: Option<String>,
    pub error: Option<String>,
    pub created_by: Option<Uuid>,
    pub created_by_name: Option<String>,
    pub created_at: DateTime<Utc>,
    /// When it last went to the agent.
    pub sent_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub ended_at: Option<DateTime<Utc>>,
    pub expires_at: DateTime<Utc>,
    pub cancel_requested_at: Option<DateTime<Utc>>,
}

/// A command that was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct Created {
    pub command_id: Uuid,
    pub status: Status,
}

/// Which commands a list shows.
#[derive(Debug, Clone, Copy, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct CommandFilter {
    pub agent_id: Option<Uuid>,
    pub status: Option<Status>,
}

/// Output after some number.
#[derive(Debug, Serialize, ToSchema)]
pub struct Output {
    pub chunks: Vec<Chunk>,
    /// Whether the command has ended and no more will come.
    pub complete: bool,
}

/// A piece of output.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Chunk {
    pub seq: i32,
    pub stream: StreamName,
    pub text: String,
}

/// A stream of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StreamName {
    Stdout,
    Stderr,
}

impl StreamName {
    fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// By its word in the database, which knows these two.
    fn of(word: &str) -> Self {
        if word == "stderr" { Self::Stderr } else { Self::Stdout }
    }
}

/// How many commands there are, for an overview.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Summary {
    /// Given to an agent and not ended.
    pub running: i64,
    /// Waiting for an agent.
    pub queued: i64,
    /// Ended within 24 hours in any way but success or cancellation.
    pub failed_24h: i64,
}

/// Orders a command. It is sent at once when the agent is connected. Otherwise it waits, or is refused with 409, as the
/// order says or else the machine's policy.
pub async fn create(
    app: &App,
    scope: &Scope<RunCommands>,
    agent_id: Uuid,
    input: CommandInput,
) -> Result<Created, Error> {
    let (id, now, is_ai_task) = (CommandId::new(), Utc::now(), input.is_ai_task());
    let order = input.checked(id)?;
    let mut tx = app.db.begin(scope).await?;
    let mut agent = store::agent(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    if agent.state != "active" {
        return Err(Error::new(Code::AgentNotActive));
    }
    if is_ai_task {
        return Err(Error::new(Code::AiProviderNotConfigured));
    }
    if agent.open >= MAX_OPEN {
        return Err(Error::with_detail(Code::RateLimited, "too many commands of this machine are not ended"));
    }
    let policy = policies::command_policy(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let when_offline = order.when_offline.unwrap_or(policy.when_offline);
    if when_offline == WhenOffline::Refuse && !gateway::is_connected(app, &mut tx, agent_id).await? {
        return Err(Error::new(Code::AgentOffline));
    }
    let expires_at = now + TimeDelta::seconds(order.expiry_seconds.unwrap_or(policy.expiry_seconds));
    // Held until commit: a command that is ordered while its machine moves is seen where the machine is then.
    (agent.client_id, agent.site_id) =
        agents::hold_place(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    // Written once where it can go at once: an agent that is here, and nothing of it waits before this.
    let goes_at_once =
        agent.queued == 0 && agent.sent < dispatch::ON_THEIR_WAY && app.gateway.is_connected(agent_id);
    let status = if goes_at_once { Status::Sent } else { Status::Queued };
    store::insert(&mut tx, &agent, &order, status, now, expires_at).await?;
    let event = Event::new(Topic::CommandCreated, tx.tenant()?, id.0)
        .on_agent(agent_id)
        .at(agent.client_id, Some(agent.site_id));
    tx.emit(event).await?;
    // Standard input and values may be secrets; what was run is the point of the log.
    let start = &order.start;
    let detail = serde_json::json!({
        "agent_id": agent_id,
        "command_type": start.kind,
        "command": start.command,
        "context": start.context,
        "elevated": start.elevated,
        "interpreter": start.interpreter,
        "working_directory": start.working_directory,
        "environment_names": start.environment.keys().collect::<Vec<_>>(),
        "has_stdin": start.stdin.is_some(),
        "timeout_seconds": start.timeout_seconds,
    });
    tx.audit(Entry::new("command.create", "command", id.0).named(&agent.hostname).with(detail)).await?;
    let tenant = tx.tenant()?;
    // Before the send: a command the agent has is never `queued`, and never unknown.
    tx.commit().await?;
    if goes_at_once {
        dispatch::send(app, agent_id, order.start);
        return Ok(Created { command_id: id.0, status });
    }
    app.commands.reached.count(status);
    let sent = dispatch::dispatch(app, &Scope::system("commands: dispatch", tenant), agent_id).await;
    let status = if sent.contains(&id.0) { Status::Sent } else { Status::Queued };
    Ok(Created { command_id: id.0, status })
}

/// The newest commands the caller may see, without output.
pub async fn list(
    app: &App,
    scope: &Scope<ReadFleet>,
    filter: CommandFilter,
    page: &PageQuery,
) -> Result<Page<Command>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count(&mut tx, filter).await?;
    let commands = store::list(&mut tx, filter, after, limit + 1).await?;
    Page::of(commands, limit, total, |command| (command.created_at, command.id))
}

/// One command without its output.
pub async fn get_without_output(app: &App, scope: &Scope<ReadFleet>, id: Uuid) -> Result<Command, Error> {
    store::get(&mut app.db.begin(scope).await?, id).await?.ok_or_else(Error::not_found)
}

/// One command without its output, once it has ended, or as it is when the time is over.
pub async fn ended_or_as_it_is(
    app: &App,
    scope: &Scope<ReadFleet>,
    id: Uuid,
    wait_seconds: u32,
) -> Result<Command, Error> {
    if wait_seconds > WAITS_AT_MOST_SECONDS {
        return Err(Error::field("wait_seconds", "OUT_OF_RANGE", "must be from 0 to 30"));
    }
    let until = Instant::now() + Duration::from_secs(wait_seconds.into());
    // Followed before it is read: an end between the two is noticed.
    let mut signal = app.commands.signals.follow(id);
    loop {
        let command = get_without_output(app, scope, id).await?;
        if command.status.is_final() || timeout_at(until, signal.changed()).await.is_err() {
            return Ok(command);
        }
    }
}

/// Output after chunk `after_seq`, a bounded piece at a time.
pub async fn output(app: &App, scope: &Scope<ReadFleet>, id: Uuid, after_seq: i32) -> Result<Output, Error> {
    let mut tx = app.db.begin(scope).await?;
    // Read first: what has ended has all its output.
    let status = store::status_of(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let chunks = output_store::output_after(&mut tx, id, after_seq).await?;
    let complete = status.is_final() && chunks.len() < output_store::CHUNKS_PER_READ;
    if !chunks.is_empty() {
        note_read(&mut tx, id).await?;
        tx.commit().await?;
    }
    Ok(Output { chunks, complete })
}

/// Cancels a command. One that waits is cancelled at once; of one that an agent has, its process tree is killed,
/// which is waited for a few seconds. 409 when it has ended in another way.
pub async fn cancel(app: &App, scope: &Scope<RunCommands>, id: Uuid) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let locked = store::lock(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let changed = match locked.status {
        Status::Cancelled => return Ok(()),
        Status::Queued => apply(&mut tx, &locked, Trigger::Withdrawn, None, Utc::now()).await?,
        Status::Sent | Status::Running => {
            store::request_cancel(&mut tx, id).await?;
            tx.emit(locked.changed()?).await?;
            None
        }
        ended => {
            let detail = format!("the command is {} already", ended.as_str());
            return Err(Error::with_detail(Code::InvalidState, detail));
        }
    };
    let detail = serde_json::json!({ "agent_id": locked.agent_id, "status": locked.status });
    tx.audit(Entry::new("command.cancel", "command", id).with(detail)).await?;
    let mut signal = app.commands.signals.follow(id);
    let is_elsewhere = !gateway::connected_elsewhere(app, &mut tx, &[locked.agent_id]).await?.is_empty();
    tx.commit().await?;
    app.commands.signals.wake(id);
    if let Some(status) = changed {
        app.commands.reached.count(status);
    }
    let until = Instant::now() + CANCEL_WAITS;
    let message = ServerMessage::CommandCancel { command_id: id.into() };
    let told = !locked.status.is_final()
        && locked.status != Status::Queued
        && (spans::command_message("command_cancel", locked.agent_id, id)
            .in_scope(|| app.gateway.send(locked.agent_id, message))
            || is_elsewhere && gateway::look(app, locked.tenant_id, locked.agent_id, Matter::Commands));
    if told {
        while !is_final(app, scope, id).await? && timeout_at(until, signal.changed()).await.is_ok() {}
    }
    Ok(())
}

/// Removes the oldest commands that ended before a time, with their output; answers how many, at most `most` and fewer
/// where their output is large.
pub async fn prune(tx: &mut Tx<System>, ended_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    output_store::prune(tx, ended_before, most).await
}

/// Writes down that someone reads what another person's command wrote.
async fn note_read<P>(tx: &mut Tx<P>, id: Uuid) -> Result<(), Error> {
    let Some(order) = output_store::ordered(tx, id).await? else { return Ok(()) };
    if tx.actor().user_id().is_none() || order.created_by == tx.actor().user_id() {
        return Ok(());
    }
    let detail = serde_json::json!({ "agent_id": order.agent_id, "ordered_by": order.created_by });
    tx.audit_read(Entry::new("command.read_output", "command", id).named(&order.hostname).with(detail)).await
}

/// How many commands the caller may see in which kind of state.
pub async fn summary(app: &App, scope: &Scope<ReadFleet>) -> Result<Summary, Error> {
    store::summary(&mut app.db.begin(scope).await?).await
}

async fn is_final(app: &App, scope: &Scope<RunCommands>, id: Uuid) -> Result<bool, Error> {
    let status = store::status_of(&mut app.db.begin(scope).await?, id).await?;
    Ok(status.is_none_or(Status::is_final))
}

/// A locked row: what deciding about a command takes.
#[derive(Debug, Clone)]
pub struct Locked {
    id: Uuid,
    tenant_id: Uuid,
    client_id: Uuid,
    site_id: Uuid,
    agent_id: Uuid,
    status: Status,
    last_seq: i32,
    stored_bytes: i64,
    truncated: bool,
    created_at: DateTime<Utc>,
    times: state::Times,
}

impl Locked {
    fn changed(&self) -> Result<Event, Error> {
        Ok(Event::new(Topic::CommandChanged, self.tenant_id, self.id)
            .on_agent(self.agent_id)
            .at(self.client_id, Some(self.site_id)))
    }
}

/// The one way a command changes its state: asks [`state::step`], writes, tells. `None` when it stays as it is;
/// 409 when it cannot be.
async fn apply<P>(
    tx: &mut Tx<P>,
    locked: &Locked,
    trigger: Trigger,
    end: Option<&store::End>,
    at: DateTime<Utc>,
) -> Result<Option<Status>, Error> {
    match state::step(locked.status, trigger) {
        Step::Stay => Ok(None),
        Step::Refused => {
            let detail = format!("the command is {}", locked.status.as_str());
            Err(Error::with_detail(Code::InvalidState, detail))
        }
        Step::To(status) => {
            match end {
                Some(end) => store::end(tx, locked.id, status, at, end).await?,
                None => store::set_status(tx, locked.id, status, at).await?,
            }
            tx.emit(locked.changed()?).await?;
            Ok(Some(status))
        }
    }
}

/// The scope of the server's own work on a partner's commands.
fn own_scope(tenant: Uuid) -> Scope<System> {
    Scope::system("commands", tenant)
}
