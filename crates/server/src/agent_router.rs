//! Which slice an agent's message belongs to. The one place that knows all of them.

use crate::agent_logs;
use crate::agents;
pub use crate::agents::Meeting;
use crate::app::App;
use crate::commands;
use crate::commands::agent::Resumed;
use crate::error::Error;
use crate::follow;
use crate::gateway::{AgentSession, Machine};
use crate::observability::traces::spans;
use crate::policies;
use crate::telemetry;
use crate::tunnel;
pub use crate::tunnel::Taken;
use crate::updates;
use bytes::Bytes;
use gururmm_protocol::command::OutputChunk;
use gururmm_protocol::policy::AgentConfig;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::{AgentMessage, CommandId, ServerMessage};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use tracing::Instrument as _;
use uuid::Uuid;

/// How long a message waits for a database that is away before its session ends.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who a credential is. 401 for a wrong one, 403 for a machine that waits for approval. The epoch is not known yet.
pub async fn authenticate(app: &App, agent_id: Uuid, key: &str) -> Result<AgentSession, Error> {
    let agent = agents::authenticate(app, agent_id, key).await?;
    Ok(AgentSession {
        agent_id: agent.agent_id,
        num: agent.num,
        tenant_id: agent.tenant_id,
        client_id: agent.client_id,
        site_id: agent.site_id,
        retention_days: agent.retention_days,
        epoch: 0,
        hostname: String::new(),
        held_by: None,
    })
}

/// Two sessions come with one agent's key at the same time. Until the database can say more, it is one machine that
/// reconnects.
pub async fn meet(app: &App, session: &AgentSession, newcomer: &Machine, there: (&Machine, i64)) -> Meeting {
    agents::meet(app, session, newcomer, there).await.unwrap_or_else(|error| {
        tracing::warn!(agent_id = %session.agent_id, %error, "two sessions of an agent were not compared");
        Meeting::SameMachine
    })
}

/// Two machines that cannot be told apart take turns under one agent's key.
pub async fn take_turns(app: &App, session: &AgentSession, one: &Machine, other: &Machine) {
    if let Err(error) = agents::on_shared_key(app, session, one, other).await {
        tracing::error!(agent_id = %session.agent_id, %error, "nobody was told that two machines share a key");
    }
}

/// What of a hello the slices have to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct News {
    machine: bool,
    commands: bool,
    logs: bool,
    updates: bool,
    uninstall: bool,
}

impl News {
    /// All of it.
    pub const ALL: Self = Self { machine: true, commands: true, logs: true, updates: true, uninstall: true };
    const NONE: Self =
        Self { machine: false, commands: false, logs: false, updates: false, uninstall: false };
}

/// Effective settings of an agent that has come back, and what of its hello is news: mostly nothing. `None` when it had a
/// later session since it knocked, or its key has died.
pub async fn arrives(
    app: &App,
    session: &AgentSession,
    hello: &Hello,
) -> Result<Option<(AgentConfig, News)>, Error> {
    let said = agents::said(app, hello)?;
    let update = updates::agent::ability(hello);
    let ids = (session.tenant_id, session.agent_id, session.epoch);
    let Some(known) = app.db.agent_says_hello(ids, &said.stored(update.as_ref())).await? else {
        return Ok(None);
    };
    let news = News {
        machine: known.is_other_machine,
        commands: known.has_commands || !hello.commands.is_empty(),
        logs: known.has_log,
        updates: known.has_update || updates::agent::may_order(app, update.as_ref()),
        uninstall: known.has_uninstall,
    };
    Ok(Some((policies::config_of(known.settings), news)))
}

/// Handles a hello of which this is news.
pub async fn hello(
    app: &App,
    session: &AgentSession,
    hello: Hello,
    news: News,
) -> Result<Vec<ServerMessage>, Error> {
    traced(session, HELLO, None, greet(app, session, &hello, news)).await
}

async fn greet(
    app: &App,
    session: &AgentSession,
    hello: &Hello,
    news: News,
) -> Result<Vec<ServerMessage>, Error> {
    let (resumed, due) = retrying(|| arrived(app, session, hello, news)).await?;
    let mut answers = commands::agent::resumed(app, session, resumed).await;
    answers.extend(telemetry::agent::hello(app, session));
    answers.extend(due);
    answers.extend(follow::agent::hello(app, hello));
    answers.extend(retrying(|| tunnel::agent::hello(app, session, &hello.tunnels)).await?);
    Ok(answers)
}

/// A binary frame from an agent: it belongs to a channel of a tech's session.
pub fn frame(app: &App, session: &AgentSession, bytes: &Bytes) -> Taken {
    tunnel::agent::frame(app, session, bytes)
}

/// An agent's session is over.
pub fn left(app: &App, session: &AgentSession) {
    tunnel::agent::left(app, session);
}

/// A connected agent stands in another place: what holds there holds for it from now on.
pub async fn moved(app: &App, tenant: Uuid, agent_id: Uuid) -> Result<(), Error> {
    policies::moved(app, tenant, agent_id).await
}

/// Handles a message; what comes back is sent to the agent in this order.
pub async fn handle(
    app: &App,
    session: &AgentSession,
    message: AgentMessage,
) -> Result<Vec<ServerMessage>, Error> {
    // Not traced: it comes twice a minute from every machine, and hardly ever says anything new.
    if let AgentMessage::Heartbeat { clock: Some(clock) } = message {
        retrying(|| agents::on_clock(app, session, clock)).await?;
        return Ok(Vec::new());
    }
    let (kind, command_id) = about(&message);
    traced(session, kind, command_id, deliver(app, session, message)).await
}

/// [`handle`] for pieces of one command's output that came together: they are stored in one transaction.
pub async fn output(
    app: &App,
    session: &AgentSession,
    command_id: CommandId,
    pieces: &[OutputChunk],
) -> Result<Vec<ServerMessage>, Error> {
    let stored = retrying(|| commands::agent::output(app, session, command_id, pieces));
    traced(session, COMMAND_OUTPUT, Some(command_id), stored).await
}

/// Whether a piece of output may be put together with others.
pub fn may_join(piece: &OutputChunk) -> bool {
    commands::agent::is_piece(piece)
}

async fn traced(
    session: &AgentSession,
    kind: &'static str,
    command_id: Option<CommandId>,
    work: impl Future<Output = Result<Vec<ServerMessage>, Error>>,
) -> Result<Vec<ServerMessage>, Error> {
    let span = spans::agent_message(kind, session.agent_id, command_id.map(|id| id.0));
    let answers = work.instrument(span.clone()).await;
    if answers.is_err() {
        spans::failed(&span);
    }
    answers
}

const HELLO: &str = "hello";
const COMMAND_OUTPUT: &str = "command_output";

/// The message's word on the wire, and the command it is about.
fn about(message: &AgentMessage) -> (&'static str, Option<CommandId>) {
    match message {
        AgentMessage::Hello(_) => (HELLO, None),
        AgentMessage::Heartbeat { .. } => ("heartbeat", None),
        AgentMessage::Metrics { .. } => ("metrics", None),
        AgentMessage::NetworkState { .. } => ("network_state", None),
        AgentMessage::CommandStarted { command_id, .. } => ("command_started", Some(*command_id)),
        AgentMessage::CommandOutput(chunk) => (COMMAND_OUTPUT, Some(chunk.command_id)),
        AgentMessage::CommandEnded(end) => ("command_ended", Some(end.command_id)),
        AgentMessage::LogPart(_) => ("log_part", None),
        AgentMessage::LogEnd(_) => ("log_end", None),
        AgentMessage::CrashReport(_) => ("crash_report", None),
        AgentMessage::UpdateReport(_) => ("update_report", None),
        AgentMessage::UninstallReport(_) => ("uninstall_report", None),
        AgentMessage::FollowReport(_) => ("follow_report", None),
        AgentMessage::Gap(_) => ("gap", None),
        AgentMessage::TunnelReady(_) => ("tunnel_ready", None),
        AgentMessage::TunnelRefused(_) => ("tunnel_refused", None),
        AgentMessage::Goodbye {} => ("goodbye", None),
        AgentMessage::Unknown => ("unknown", None),
    }
}

async fn deliver(
    app: &App,
    session: &AgentSession,
    message: AgentMessage,
) -> Result<Vec<ServerMessage>, Error> {
    match message {
        AgentMessage::Hello(hello) => greet(app, session, &hello, News::ALL).await,
        AgentMessage::Metrics { seq, sample } => {
            telemetry::agent::metrics(app, session, seq, sample).await;
            Ok(Vec::new())
        }
        AgentMessage::NetworkState { seq, state } => {
            retrying(|| agents::on_network_state(app, session, &state)).await?;
            Ok(vec![ServerMessage::NetworkStateAck { seq }])
        }
        AgentMessage::CommandStarted { command_id, started_at } => {
            retrying(|| commands::agent::started(app, session, command_id, started_at)).await
        }
        AgentMessage::CommandOutput(chunk) => {
            let pieces = std::slice::from_ref(&chunk);
            retrying(|| commands::agent::output(app, session, chunk.command_id, pieces)).await
        }
        AgentMessage::CommandEnded(end) => retrying(|| commands::agent::ended(app, session, &end)).await,
        AgentMessage::LogPart(part) => {
            retrying(|| agent_logs::agent::part(app, session, &part)).await?;
            Ok(Vec::new())
        }
        AgentMessage::LogEnd(end) => {
            retrying(|| agent_logs::agent::ended(app, session, end.clone())).await?;
            Ok(Vec::new())
        }
        AgentMessage::CrashReport(report) => {
            retrying(|| agent_logs::agent::crashed(app, session, report.clone())).await
        }
        AgentMessage::UpdateReport(report) => {
            retrying(|| updates::agent::reported(app, session, report.clone())).await
        }
        AgentMessage::UninstallReport(report) => {
            retrying(|| agents::on_uninstall_report(app, session, report.clone())).await
        }
        AgentMessage::FollowReport(report) => {
            retrying(|| follow::agent::reported(app, session, report.clone())).await
        }
        AgentMessage::Gap(gap) => retrying(|| telemetry::gaps::reported(app, session, gap.clone())).await,
        AgentMessage::TunnelReady(ready) => {
            tunnel::agent::ready(app, session, ready);
            Ok(Vec::new())
        }
        AgentMessage::TunnelRefused(refused) => {
            tunnel::agent::refused(app, session, refused);
            Ok(Vec::new())
        }
        // The gateway's own, and what the decoder does not let through.
        AgentMessage::Heartbeat { .. } | AgentMessage::Goodbye {} | AgentMessage::Unknown => Ok(Vec::new()),
    }
}

/// What the slices do when an agent is back, in one transaction: in a storm it is done for thousands.
async fn arrived(
    app: &App,
    session: &AgentSession,
    hello: &Hello,
    news: News,
) -> Result<(Resumed, Vec<ServerMessage>), Error> {
    let (mut resumed, mut due) = (Resumed::default(), Vec::new());
    if news == News::NONE {
        return Ok((resumed, due));
    }
    let mut tx = app.db.begin(&session.scope()).await?;
    if news.machine {
        agents::on_hello(app, &mut tx, session, hello).await?;
    }
    if news.commands {
        resumed = commands::agent::hello(app, &mut tx, session, &hello.commands).await?;
    }
    if news.logs {
        due.extend(agent_logs::agent::hello(app, &mut tx, session).await?);
    }
    if news.updates {
        due.extend(updates::agent::hello(app, &mut tx, session, hello).await?);
    }
    if news.uninstall {
        due.extend(agents::on_uninstall_hello(app, &mut tx, session, hello).await?);
    }
    tx.commit().await?;
    Ok((resumed, due))
}

/// Repeats work while the database is away: an agent's message is neither lost nor acknowledged early.
async fn retrying<T, F: Future<Output = Result<T, Error>>>(work: impl Fn() -> F) -> Result<T, Error> {
    let (started, mut pause) = (Instant::now(), Duration::from_millis(100));
    loop {
        match work().await {
            Err(error) if error.is_transient() && started.elapsed() < PATIENCE => {
                tracing::warn!(%error, "an agent's message is tried again");
                sleep(pause).await;
                pause = (pause * 2).min(Duration::from_secs(5));
            }
            done => return done,
        }
    }
}
