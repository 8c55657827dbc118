//! Recordings past their partner's retention: out of sight, their lines out of the index; their objects stay where they
//! are, or go where the partner says so. The chain keeps their entries, so it verifies as before.

use super::{Afterwards, folder_of, store};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::error::Error;
use crate::jobs;
use crate::tenancy::partners::{self, RecordingWishes};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use uuid::Uuid;

/// Names the job in the log, and its lock.
pub const JOB: &str = "recording retention";
/// Recordings of one transaction.
const BATCH: i64 = 100;
/// Transactions for one partner in a round.
const BATCHES_A_ROUND: usize = 100;

/// Goes through all partners, one at a time.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        let scope = Scope::system(JOB, tenant);
        jobs::by_itself(JOB, tenant, expire(app, &scope, now).await);
        jobs::by_itself(JOB, tenant, remove(app, &scope, tenant).await);
    }
    Ok(())
}

async fn expire(app: &App, scope: &Scope<System>, now: DateTime<Utc>) -> Result<(), Error> {
    for _ in 0..BATCHES_A_ROUND {
        let mut tx = app.db.begin(scope).await?;
        // Held: who chooses a longer class loses nothing by the shorter one afterwards.
        let RecordingWishes { retention_days, afterwards, .. } =
            partners::hold_recording_wishes(&mut tx).await?;
        let before = now - TimeDelta::days(i64::from(retention_days));
        let over = store::over(&mut tx, before, BATCH).await?;
        let (state, kind) = match afterwards {
            Afterwards::Archive => ("archived", "archived"),
            Afterwards::Delete => ("removing", "removed"),
        };
        for id in &over {
            store::put_away(&mut tx, *id, state).await?;
        }
        for id in &over {
            store::append(&mut tx, *id, kind, None, &json!({ "retention_days": retention_days })).await?;
        }
        tx.commit().await?;
        if over.is_empty() {
            break;
        }
        tracing::info!(recordings = over.len(), kind, "recordings are past their retention");
    }
    Ok(())
}

/// The objects go after the chain has said so: what is missing from the store is always accounted for.
async fn remove(app: &App, scope: &Scope<System>, tenant: Uuid) -> Result<(), Error> {
    for _ in 0..BATCHES_A_ROUND {
        let mut tx = app.db.begin(scope).await?;
        let left = store::to_remove(&mut tx, BATCH).await?;
        tx.commit().await?;
        if left.is_empty() {
            break;
        }
        for id in left {
            let objects = &app.recordings.objects;
            for object in objects.list(&folder_of(tenant, id)).await.map_err(Error::internal)? {
                objects.delete(&object.path).await.map_err(Error::internal)?;
            }
            let mut tx = app.db.begin(scope).await?;
            store::removed(&mut tx, id).await?;
            tx.commit().await?;
        }
    }
    Ok(())
}
