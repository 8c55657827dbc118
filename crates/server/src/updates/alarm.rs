//! What people are told of the repository: that it is refused, and that a role is about to expire.

use super::releases::{EXPIRES_SOON, Known};
use crate::alerts::{self, PartnerAlert, Severity};
use crate::app::App;
use crate::auth::Scope;
use crate::error::Error;
use crate::jobs;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

/// Names the job that tells.
pub const JOB: &str = "update alarms";
const REFUSED: &str = "updates.refused";
const EXPIRING: &str = "updates.expiring";
/// From here on it is urgent.
const URGENT: TimeDelta = TimeDelta::days(7);

/// Raises or ends the alerts of all partners: each of them has machines that are not updated any more.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    let known = app.updates.releases.known();
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_of(app, tenant, &known, now).await);
    }
    Ok(())
}

async fn keep_of(app: &App, tenant: Uuid, known: &Known, now: DateTime<Utc>) -> Result<(), Error> {
    let mut tx = app.db.begin(&Scope::system(JOB, tenant)).await?;
    match &known.refusal {
        Some(refusal) => {
            let alert = PartnerAlert {
                kind: REFUSED,
                severity: Severity::Warning,
                title: "The repository of agent updates is refused",
                detail: json!({ "reason": refusal.reason, "since": refusal.since }),
                dedup_key: REFUSED,
            };
            alerts::stand(&mut tx, alert).await?;
        }
        None => alerts::resolve_cause(&mut tx, REFUSED).await?,
    }
    let roles = known.verified.iter().flat_map(|verified| &verified.roles);
    match roles.min_by_key(|role| role.expires_at).filter(|role| role.expires_at - now < EXPIRES_SOON) {
        Some(role) => {
            let left = role.expires_at - now;
            let title = if left > TimeDelta::zero() {
                format!("The {} role of agent updates expires in {} days", role.role, left.num_days())
            } else {
                format!("The {} role of agent updates has expired: no agent takes an update", role.role)
            };
            let alert = PartnerAlert {
                kind: EXPIRING,
                severity: if left < URGENT { Severity::Critical } else { Severity::Warning },
                title: &title,
                detail: json!({ "role": role.role, "version": role.version, "expires_at": role.expires_at }),
                dedup_key: EXPIRING,
            };
            alerts::stand(&mut tx, alert).await?;
        }
        None => alerts::resolve_cause(&mut tx, EXPIRING).await?,
    }
    tx.commit().await
}
