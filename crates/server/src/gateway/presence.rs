//! Presence: the registry is the truth; here it is written down in batches, and the bus is told.

use super::registry::{Line, Presence};
use super::store;
use super::visits::Visit;
use crate::agent_router;
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::Error;
use chrono::{TimeDelta, Utc};
use gururmm_protocol::to_agent::GoodbyeReason;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often it is written when agents were last heard. Coming and going is written at once.
const LAST_SEEN_EVERY: Duration = Duration::from_secs(10);

/// A node that did not say for so long that it lives is gone.
const NODE_IS_LOST_AFTER: TimeDelta = TimeDelta::seconds(20);

/// What the database now says of an agent.
#[derive(Debug)]
pub struct Change {
    pub agent_id: Uuid,
    pub is_connected: bool,
    pub was_connected: bool,
    pub client_id: Uuid,
    pub site_id: Uuid,
}

/// Writes presence until `stop`, and once more then, so that nobody is left online by a server that stops.
pub async fn keep(app: &App, stop: CancellationToken) {
    let mut tick = interval(app.gateway.settings().presence_every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last_seen_at = Instant::now();
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        flush(app).await;
        if last_seen_at.elapsed() >= LAST_SEEN_EVERY {
            last_seen_at = Instant::now();
            flush_last_seen(app).await;
        }
    }
    flush(app).await;
}

async fn flush(app: &App) {
    let mut by_tenant: HashMap<Uuid, Vec<Presence>> = HashMap::new();
    for presence in app.gateway.registry.take_changed() {
        by_tenant.entry(presence.tenant_id).or_default().push(presence);
    }
    for (tenant_id, presences) in by_tenant {
        if let Err(error) = flush_tenant(app, tenant_id, &presences).await {
            tracing::warn!(%tenant_id, %error, "presence could not be written; it is tried again");
            app.gateway.registry.put_back(&presences);
        }
    }
    let mut by_tenant: HashMap<Uuid, Vec<Visit>> = HashMap::new();
    for visit in app.gateway.registry.take_visits() {
        by_tenant.entry(visit.tenant_id).or_default().push(visit);
    }
    for (tenant_id, visits) in by_tenant {
        if let Err(error) = flush_visits(app, tenant_id, &visits).await {
            tracing::warn!(%tenant_id, %error, "sessions could not be written; they are tried again");
            app.gateway.registry.put_visits_back(visits);
        }
    }
}

async fn flush_visits(app: &App, tenant_id: Uuid, visits: &[Visit]) -> Result<(), Error> {
    let scope: Scope<System> = Scope::system("gateway: sessions", tenant_id);
    let mut tx = app.db.begin(&scope).await?;
    store::write_visits(&mut tx, app.bus.node_id(), visits).await?;
    tx.commit().await
}

/// Writes down at once that an agent is connected here. What fails is written with the next batch, as all of it is.
pub(super) async fn write_now(app: &App, line: &Line) {
    let presence = Presence {
        agent_id: line.agent_id(),
        tenant_id: line.tenant_id(),
        epoch: line.epoch(),
        connected_since: Some(line.connected_since()),
    };
    if let Err(error) = flush_tenant(app, line.tenant_id(), &[presence]).await {
        tracing::warn!(agent_id = %line.agent_id(), %error, "presence could not be written at once");
    }
}

async fn flush_tenant(app: &App, tenant_id: Uuid, presences: &[Presence]) -> Result<(), Error> {
    let scope: Scope<System> = Scope::system("gateway: presence", tenant_id);
    let mut tx = app.db.begin(&scope).await?;
    let changes = store::write_presence(&mut tx, app.bus.node_id(), presences, Utc::now()).await?;
    emit(&mut tx, tenant_id, changes).await?;
    tx.commit().await
}

async fn emit(tx: &mut Tx<System>, tenant_id: Uuid, changes: Vec<Change>) -> Result<(), Error> {
    let differ = changes.into_iter().filter(|change| change.is_connected != change.was_connected);
    let event = |change: Change| {
        let topic = if change.is_connected { Topic::AgentOnline } else { Topic::AgentOffline };
        Event::new(topic, tenant_id, change.agent_id)
            .on_agent(change.agent_id)
            .at(change.client_id, Some(change.site_id))
    };
    tx.emit_all(differ.map(event).collect()).await
}

/// Says that the agents of nodes that fell silent are offline, unless they are connected elsewhere by now.
pub async fn give_up_nodes(app: &App) -> Result<(), Error> {
    for (tenant_id, node_id) in app.db.give_up_nodes(NODE_IS_LOST_AFTER).await? {
        let scope: Scope<System> = Scope::system("gateway: lost node", tenant_id);
        let mut tx = app.db.begin(&scope).await?;
        store::end_visits(&mut tx, node_id).await?;
        let changes = store::clear_presence(&mut tx, node_id).await?;
        tracing::warn!(%node_id, %tenant_id, agents = changes.len(), "a node is gone: its agents are offline");
        emit(&mut tx, tenant_id, changes).await?;
        tx.commit().await?;
    }
    Ok(())
}

async fn flush_last_seen(app: &App) {
    let mut agent_ids = app.gateway.registry.take_seen();
    agent_ids.sort_unstable();
    if agent_ids.is_empty() {
        return;
    }
    // A lost round is no loss: the next one says more.
    if let Err(error) = store::write_last_seen(app, &agent_ids, Utc::now()).await {
        tracing::debug!(%error, "last-seen times could not be written");
    }
}

async fn follow(app: &App, line: &Line, may_have_moved: bool) -> Result<(), Error> {
    let Some(agent) = app.db.lookup_agent(line.agent_id()).await? else { return Ok(()) };
    line.set_place((agent.client_id, agent.site_id, agent.retention_days));
    if may_have_moved {
        agent_router::moved(app, line.tenant_id(), line.agent_id()).await?;
    }
    Ok(())
}

/// Keeps what sessions know of their agents' place true while they last: agents are moved, and partners choose
/// another retention.
pub async fn follow_moves(app: &App, stop: CancellationToken) {
    let mut events = app.bus.subscribe();
    while let Some(event) = stop.run_until_cancelled(events.recv()).await {
        let may_have_moved = !matches!(event, Ok(Event { topic: Topic::PartnerChanged, .. }));
        let lines = match event {
            Ok(Event { topic: Topic::AgentMoved, id: Some(id), .. }) => {
                app.gateway.registry.line(id).into_iter().collect()
            }
            Ok(Event { topic: Topic::PartnerChanged, tenant_id, .. }) => {
                let mut lines = app.gateway.registry.lines();
                lines.retain(|line| line.tenant_id() == tenant_id);
                lines
            }
            Ok(_) => continue,
            Err(RecvError::Lagged(_)) => app.gateway.registry.lines(),
            Err(RecvError::Closed) => return,
        };
        for line in lines {
            if let Err(error) = follow(app, &line, may_have_moved).await {
                tracing::warn!(%error, "an agent's new place could not be read");
                line.close(GoodbyeReason::Other, Duration::ZERO);
            }
        }
    }
}
