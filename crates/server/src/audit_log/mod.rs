//! Reading the audit log. It is written in the kernel (`audit.rs`), in the transaction of every change.

mod export;
pub mod http;
mod store;

pub use export::{Format, export};

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::ReadAudit;
use crate::error::Error;
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// One thing that was done.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuditEntry {
    pub id: Uuid,
    /// Counts up by one within the partner.
    pub seq: i64,
    pub at: DateTime<Utc>,
    /// `user`, `agent`, `system` or `anonymous`.
    pub actor_kind: String,
    pub actor_id: Option<Uuid>,
    pub actor_name: Option<String>,
    /// Object and verb: `client.create`.
    pub action: String,
    pub target_kind: Option<String>,
    pub target_id: Option<Uuid>,
    pub target_name: Option<String>,
    /// What changed; an object whose fields depend on the action.
    #[schema(value_type = Object)]
    pub detail: Value,
    pub ip: Option<String>,
    pub request_id: Option<String>,
}

/// Which entries.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditFilter {
    /// One action, or all of one kind of object with its name and a dot: `client.`.
    #[param(max_length = 120)]
    pub action: Option<String>,
    pub actor_id: Option<Uuid>,
    pub target_id: Option<Uuid>,
    /// Not before this time.
    pub from: Option<DateTime<Utc>>,
    /// Before this time.
    pub to: Option<DateTime<Utc>>,
    /// Part of an actor's or a target's name, or of the action, in any case.
    #[param(max_length = 254)]
    pub search: Option<String>,
}

/// Whether the log is whole.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verification {
    pub ok: bool,
    pub entries: i64,
    /// Hash of the newest entry, in hex; null while there is none. Kept elsewhere, it shows a cut tail.
    pub head: Option<String>,
    /// The first entry that was changed, inserted, moved, or follows a deleted one.
    pub first_bad_seq: Option<i64>,
}

/// One page of the log, newest first. That someone looks is an entry of its own, once an hour.
pub async fn list(
    app: &App,
    scope: &Scope<ReadAudit>,
    filter: &AuditFilter,
    page: &PageQuery,
) -> Result<Page<AuditEntry>, Error> {
    let (limit, before) = (page.limit()?, page.after::<i64>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count(&mut tx, filter).await?;
    let entries = store::list(&mut tx, filter, before, limit + 1).await?;
    let tenant = tx.tenant()?;
    tx.audit_read(Entry::new("audit.read", "partner", tenant)).await?;
    tx.commit().await?;
    Page::of(entries, limit, total, |entry| entry.seq)
}

/// Walks the whole chain.
pub async fn verify(app: &App, scope: &Scope<ReadAudit>) -> Result<Verification, Error> {
    store::verify(&mut app.db.begin(scope).await?).await
}
