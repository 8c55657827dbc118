//! What machines' watchdogs say of agents that cannot speak for themselves: an alert while an agent fails, and its end
//! when it is well again.

pub mod http;
mod store;

use crate::alerts::{self, NewAlert, Severity, Subject};
use crate::app::App;
use crate::auth::Scope;
use crate::error::Error;
use crate::gateway::AgentSession;
use crate::jobs;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::watchdog::{Condition, WatchdogReport};
use serde_json::json;
use uuid::Uuid;

/// Names the job that ends alerts of agents that are well again.
pub const JOB: &str = "watchdog alerts";
/// An agent that has been connected this long does not fail.
const IS_WELL_AFTER: TimeDelta = TimeDelta::minutes(10);
const KIND: &str = "agent.failing";

/// An agent ends again and again, or is well again.
pub async fn reported(app: &App, session: &AgentSession, mut report: WatchdogReport) -> Result<(), Error> {
    report.clean();
    let agent_id = session.agent_id;
    let mut tx = app.db.begin(&session.scope()).await?;
    let hostname = store::hostname(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    match report.condition {
        Condition::Failing => {
            let title = format!("The agent of {hostname} ends again and again");
            let alert = NewAlert {
                kind: KIND,
                severity: Severity::Critical,
                title: &title,
                detail: json!({
                    "failures": report.failures,
                    "agent_version": report.agent_version,
                    "reason": report.reason,
                }),
                dedup_key: &dedup_key(agent_id),
                subject: Subject { agent_id, client_id: session.client_id, site_id: session.site_id },
            };
            alerts::raise(&mut tx, alert).await?;
        }
        Condition::Recovered => alerts::resolve_cause(&mut tx, &dedup_key(agent_id)).await?,
        Condition::Other => {}
    }
    tx.commit().await
}

/// Ends the alerts of agents that have been connected for a while: a watchdog whose word was lost says nothing more.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_of(app, tenant, now).await);
    }
    Ok(())
}

async fn keep_of(app: &App, tenant: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin(&Scope::system(JOB, tenant)).await?;
    let quiet_since = now - IS_WELL_AFTER;
    let failing = alerts::standing(&mut tx, KIND, quiet_since).await?;
    for agent_id in store::connected_before(&mut tx, &failing, quiet_since).await? {
        alerts::resolve_cause(&mut tx, &dedup_key(agent_id)).await?;
    }
    tx.commit().await
}

fn dedup_key(agent_id: Uuid) -> String {
    format!("{KIND}:{agent_id}")
}
