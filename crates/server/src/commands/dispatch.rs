//! Queued commands go to connected agents, and every waiting state ends by its deadline.

use super::state::{Due, Trigger, overdue};
use super::store::{self, End};
use super::{Locked, Status, apply, own_scope};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::Error;
use crate::gateway;
use crate::jobs;
use crate::observability::traces::spans;
use crate::peers::Matter;
use chrono::{DateTime, Utc};
use gururmm_protocol::command::CommandStart;
use gururmm_protocol::{CommandId, ServerMessage};
use std::collections::HashSet;
use tracing::Instrument as _;
use uuid::Uuid;

/// Commands that may be on their way to one agent, unstarted. It keeps the agent's queue from filling up; what
/// waits goes out when one of them starts or ends.
pub const ON_THEIR_WAY: i64 = 16;
/// Names the job that keeps deadlines.
pub const DEADLINES: &str = "command deadlines";

/// Sends what waits for an agent, if it is connected; answers what went. What fails is logged: the rows are there,
/// and the next hello, start, end or deadline tries again.
pub async fn dispatch(app: &App, scope: &Scope<System>, agent_id: Uuid) -> Vec<Uuid> {
    if !app.gateway.is_connected(agent_id) {
        if let Some(tenant_id) = scope.tenant {
            gateway::look(app, tenant_id, agent_id, Matter::Commands);
        }
        return Vec::new();
    }
    let span = spans::dispatch(agent_id);
    match send_queued(app, scope, agent_id).instrument(span.clone()).await {
        Ok(sent) => sent,
        Err(error) => {
            spans::failed(&span);
            tracing::warn!(%agent_id, %error, "queued commands could not be sent; tried again later");
            Vec::new()
        }
    }
}

async fn send_queued(app: &App, scope: &Scope<System>, agent_id: Uuid) -> Result<Vec<Uuid>, Error> {
    let now = Utc::now();
    let mut tx = app.db.begin(scope).await?;
    let queued = store::lock_queued(&mut tx, agent_id, ON_THEIR_WAY, now).await?;
    if queued.is_empty() {
        return Ok(Vec::new());
    }
    let mut sent = Vec::new();
    for command in &queued {
        if apply(&mut tx, command, Trigger::Sent, None, now).await?.is_some() {
            sent.push(command.id);
        }
    }
    let starts = store::take_starts(&mut tx, &sent, now).await?;
    // Before the send: a command the agent has is never `queued`.
    tx.commit().await?;
    for start in starts {
        send(app, agent_id, start);
    }
    Ok(sent)
}

/// Hands an order, which is committed as sent, to the agent's connection. Where that has gone meanwhile, the agent's next
/// hello shows that it never arrived.
pub fn send(app: &App, agent_id: Uuid, start: CommandStart) {
    let id = start.command_id.0;
    spans::command_message("command_start", agent_id, id)
        .in_scope(|| app.gateway.send(agent_id, ServerMessage::CommandStart(start)));
    app.commands.signals.wake(id);
    app.commands.reached.count(Status::Sent);
}

/// Another node says that there is something for an agent that is connected here: a command, or that one is to be
/// cancelled.
pub async fn look(app: &App, scope: &Scope<System>, agent_id: Uuid) -> Result<(), Error> {
    let cancelled = store::cancelled_of(&mut app.db.begin(scope).await?, agent_id).await?;
    for id in cancelled {
        let message = ServerMessage::CommandCancel { command_id: CommandId(id) };
        spans::command_message("command_cancel", agent_id, id)
            .in_scope(|| app.gateway.send(agent_id, message));
    }
    dispatch(app, scope, agent_id).await;
    Ok(())
}

/// Looks through all partners' open commands for what is overdue at `now`. Every node does so for the agents that are
/// connected to it, and for those that are connected to none.
pub async fn keep_deadlines(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(DEADLINES, tenant, keep_deadlines_of(app, tenant, now).await);
    }
    Ok(())
}

/// One partner's. A command that cannot be decided keeps no other one from its end; the first error is answered.
async fn keep_deadlines_of(app: &App, tenant: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let scope = own_scope(tenant);
    let mut tx = app.db.begin(&scope).await?;
    let open = store::open(&mut tx, now).await?;
    let away: Vec<Uuid> = open.iter().map(|command| command.agent_id).collect();
    let elsewhere: HashSet<Uuid> =
        gateway::connected_elsewhere(app, &mut tx, &away).await?.into_iter().collect();
    drop(tx);
    let mut kept = Ok(());
    for command in open {
        if elsewhere.contains(&command.agent_id) && !app.gateway.is_connected(command.agent_id) {
            continue;
        }
        let connected_since = app.gateway.connected_since(command.agent_id);
        if overdue(&command.times, connected_since, now).is_some() {
            kept = kept.and(keep_deadline(app, &scope, command.id, now).await);
        }
        if command.status == Status::Queued && connected_since.is_some() {
            dispatch(app, &scope, command.agent_id).await;
        }
    }
    kept
}

/// One command, decided again under its lock.
async fn keep_deadline(app: &App, scope: &Scope<System>, id: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let Some(command) = store::lock(&mut tx, id).await? else { return Ok(()) };
    let connected_since = app.gateway.connected_since(command.agent_id);
    let Some(due) = overdue(&command.times, connected_since, now) else { return Ok(()) };
    let (messages, changed) = carry_out(&mut tx, &command, due, now).await?;
    tx.commit().await?;
    for message in messages {
        let kind = if due == Due::Cancel { "command_cancel" } else { "command_start" };
        spans::command_message(kind, command.agent_id, id)
            .in_scope(|| app.gateway.send(command.agent_id, message));
    }
    app.commands.signals.wake(id);
    if let Some(status) = changed {
        tracing::info!(command_id = %id, status = status.as_str(), "a command's deadline passed");
        app.commands.reached.count(status);
    }
    Ok(())
}

async fn carry_out(
    tx: &mut Tx<System>,
    command: &Locked,
    due: Due,
    now: DateTime<Utc>,
) -> Result<(Vec<ServerMessage>, Option<Status>), Error> {
    Ok(match due {
        Due::Expire => (Vec::new(), apply(tx, command, Trigger::Expired, None, now).await?),
        Due::GiveUp => {
            let end = End::given_up(command, "the agent did not report an end in time");
            (Vec::new(), apply(tx, command, Trigger::GivenUp, Some(&end), now).await?)
        }
        Due::Resend => {
            let starts = store::take_starts(tx, &[command.id], now).await?;
            (starts.into_iter().map(ServerMessage::CommandStart).collect(), None)
        }
        Due::Cancel => {
            store::request_cancel(tx, command.id).await?;
            (vec![ServerMessage::CommandCancel { command_id: CommandId(command.id) }], None)
        }
    })
}
