//! Sessions that nobody looks after: their host died, or there never was one.

use super::store;
use crate::app::App;
use crate::auth::Scope;
use crate::error::Error;
use crate::jobs;
use uuid::Uuid;

/// Names the job.
pub const JOB: &str = "tunnel deadlines";
/// Minutes that a session stays open without a host.
const WITHOUT_HOST: i32 = 5;

/// Closes them, in all partners.
pub async fn keep(app: &App) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_of(app, tenant).await);
    }
    Ok(())
}

async fn keep_of(app: &App, tenant: Uuid) -> Result<(), Error> {
    let scope = Scope::system(JOB, tenant);
    let overdue = store::overdue(&mut app.db.begin(&scope).await?, WITHOUT_HOST).await?;
    for (id, reason) in overdue {
        super::closed(app.db.begin(&scope).await?, id, reason).await?;
    }
    Ok(())
}
