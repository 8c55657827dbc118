//! The audit log: every change and every sensitive read, in the transaction that makes it, as a hash chain per
//! partner. The chain lives in SQL (`audit_append`, migration 0003), so that there is one way to write it.

use crate::db::Tx;
use crate::error::Error;
use serde_json::{Value, json};
use uuid::Uuid;

/// How long one entry of a read speaks for further ones of the same.
const READ_COUNTS_FOR_HOURS: i32 = 1;

/// What is said about a change or a read.
#[derive(Debug, Clone)]
pub struct Entry<'a> {
    /// `client.create`, `agent.move`, … : object and verb.
    pub action: &'static str,
    pub target_kind: Option<&'static str>,
    pub target_id: Option<Uuid>,
    pub target_name: Option<&'a str>,
    /// What changed; never a secret.
    pub detail: Value,
}

impl<'a> Entry<'a> {
    /// An entry about one object.
    pub fn new(action: &'static str, target_kind: &'static str, target_id: Uuid) -> Self {
        Self {
            action,
            target_kind: Some(target_kind),
            target_id: Some(target_id),
            target_name: None,
            detail: json!({}),
        }
    }

    /// Names the object for people.
    pub fn named(mut self, name: &'a str) -> Self {
        self.target_name = Some(name);
        self
    }

    /// Says what changed.
    pub fn with(mut self, detail: Value) -> Self {
        self.detail = detail;
        self
    }
}

impl<P> Tx<P> {
    /// Appends to the log of this transaction's partner. Call it last: it serialises the partner's writers
    /// until commit.
    pub async fn audit(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        let actor = self.actor().clone();
        let (ip, request_id) =
            (self.request().peer.map(|ip| ip.to_string()), self.request().request_id.clone());
        sqlx::query!(
            "SELECT audit_append($1, $2, $3, $4, $5, $6, $7, $8, $9, ($10::text)::inet, $11)",
            Uuid::now_v7(),
            actor.kind.as_str(),
            actor.id,
            actor.name,
            entry.action,
            entry.target_kind,
            entry.target_id,
            entry.target_name,
            entry.detail,
            ip,
            request_id,
        )
        .fetch_one(self.conn())
        .await?;
        Ok(())
    }

    /// Appends a sensitive read, unless the same person's same read of the same object stands there since less than
    /// [`READ_COUNTS_FOR_HOURS`]: a page that asks again and again is one look. Call it last, like [`Tx::audit`].
    pub async fn audit_read(&mut self, entry: Entry<'_>) -> Result<(), Error> {
        let (chain, actor) = (self.tenant().unwrap_or_default(), self.actor().id);
        let is_told = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT 1 FROM audit_log WHERE tenant_id = $1 AND target_id = $2 AND action = $3
                 AND actor_id IS NOT DISTINCT FROM $4 AND at > now() - make_interval(hours => $5)) AS "is!""#,
            chain,
            entry.target_id,
            entry.action,
            actor,
            READ_COUNTS_FOR_HOURS
        )
        .fetch_one(self.conn())
        .await?;
        if is_told { Ok(()) } else { self.audit(entry).await }
    }
}
