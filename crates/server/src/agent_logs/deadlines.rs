//! A log that was asked for comes, or is said to have failed.

use super::{Status, store};
use crate::app::App;
use crate::auth::Scope;
use crate::error::Error;
use crate::jobs;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Names the job that keeps them.
pub const JOB: &str = "agent log deadlines";

/// Goes through all partners' open requests.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_of(app, tenant, now).await);
    }
    Ok(())
}

async fn keep_of(app: &App, tenant: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin(&Scope::system(JOB, tenant)).await?;
    for (id, agent_id) in store::lock_overdue(&mut tx, now).await? {
        let silent = Some("the machine did not send it in time");
        store::end(&mut tx, id, Status::Failed, None, silent, now).await?;
        if let Some(machine) = store::machine(&mut tx, agent_id).await? {
            tx.emit(machine.event(tenant, agent_id, id)).await?;
        }
    }
    tx.commit().await
}
