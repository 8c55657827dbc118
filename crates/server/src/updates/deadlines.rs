//! Every waiting state has an end: what nothing came of in time is said to have expired.

use super::{Status, store};
use crate::app::App;
use crate::auth::Scope;
use crate::error::Error;
use crate::jobs;
use chrono::{DateTime, Utc};
use uuid::Uuid;

/// Names the job that keeps them.
pub const JOB: &str = "update deadlines";

/// Goes through all partners' open updates.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_of(app, tenant, now).await);
    }
    Ok(())
}

async fn keep_of(app: &App, tenant: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin(&Scope::system(JOB, tenant)).await?;
    for (id, agent_id) in store::lock_overdue(&mut tx, now).await? {
        store::end(&mut tx, id, Status::Expired, None, now).await?;
        if let Some(machine) = store::machine(&mut tx, agent_id).await? {
            tx.emit(machine.changed(id)).await?;
        }
    }
    tx.commit().await
}
