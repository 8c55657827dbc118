//! Retention: what has been over for longer than its partner keeps things goes. The class is the partner's as it is
//! now, so a shorter one holds for what is old already. Samples go by whole partitions (`telemetry`), what nobody asks
//! for again by age (`Db::prune_expired`); the audit log stays.

use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::error::Error;
use crate::{agent_logs, agents, alerts, commands, gateway, jobs, telemetry, tenancy, tunnel, updates};
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

/// Names the job in the log, and its lock.
pub const JOB: &str = "retention";
/// Rows of one transaction: what it locks, and what a stop has to wait for.
pub const BATCH: i64 = 1_000;
/// Transactions of one kind for one partner in a round: a large backlog is worked off over several rounds, and keeps
/// no other partner waiting for long.
const BATCHES_A_ROUND: usize = 100;

/// What goes. Each of them is over: a command that runs, an alert that stands and a session that is open stay,
/// whatever their age.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// With their output.
    Commands,
    Alerts,
    Tunnels,
    AgentLogs,
    /// With all their history.
    RetiredAgents,
    Updates,
    /// Sessions of agents.
    Connections,
    MetricGaps,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Commands,
        Self::Alerts,
        Self::Tunnels,
        Self::AgentLogs,
        Self::RetiredAgents,
        Self::Updates,
        Self::Connections,
        Self::MetricGaps,
    ];
}

/// Goes through all partners, one at a time.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        for kind in Kind::ALL {
            jobs::by_itself(JOB, tenant, prune(app, tenant, kind, now).await);
        }
    }
    Ok(())
}

async fn prune(app: &App, tenant: Uuid, kind: Kind, now: DateTime<Utc>) -> Result<(), Error> {
    let scope = Scope::system(JOB, tenant);
    let mut gone = 0;
    for _ in 0..BATCHES_A_ROUND {
        match prune_batch(app, &scope, kind, now).await? {
            0 => break,
            rows => gone += rows,
        }
    }
    if gone > 0 {
        tracing::info!(%tenant, ?kind, gone, "what was past its retention was removed");
    }
    Ok(())
}

async fn prune_batch(app: &App, scope: &Scope<System>, kind: Kind, now: DateTime<Utc>) -> Result<u64, Error> {
    let mut tx = app.db.begin(scope).await?;
    // Held: who chooses a longer class loses nothing by the shorter one afterwards.
    let days = tenancy::partners::hold_retention_days(&mut tx).await?;
    let over_before = now - TimeDelta::days(i64::from(days));
    let gone = match kind {
        Kind::Commands => commands::prune(&mut tx, over_before, BATCH).await?,
        Kind::Alerts => alerts::prune(&mut tx, over_before, BATCH).await?,
        Kind::Tunnels => tunnel::prune(&mut tx, over_before, BATCH).await?,
        Kind::AgentLogs => agent_logs::prune(&mut tx, over_before, BATCH).await?,
        Kind::RetiredAgents => agents::prune_retired(&mut tx, over_before, BATCH).await?,
        Kind::Updates => updates::prune(&mut tx, over_before, BATCH).await?,
        Kind::Connections => gateway::prune_visits(&mut tx, over_before, BATCH).await?,
        Kind::MetricGaps => telemetry::gaps::prune(&mut tx, over_before, BATCH).await?,
    };
    tx.commit().await?;
    Ok(gone)
}
