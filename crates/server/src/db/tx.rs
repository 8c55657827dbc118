//! A transaction of a scope: PostgreSQL knows partner, person and confinement before the first query runs.

use super::Db;
use crate::auth::permission::Permission;
use crate::auth::scope::Confinement;
use crate::auth::{Actor, Scope};
use crate::bus::{Bus, Event};
use crate::error::Error;
use crate::http::RequestInfo;
use crate::observability::traces::spans;
use sqlx::{PgConnection, Postgres, Transaction};
use std::marker::PhantomData;
use tracing::Instrument as _;
use uuid::Uuid;

/// An open transaction. Dropped without [`Tx::commit`], it rolls back, and its events are never told.
pub struct Tx<P> {
    inner: Transaction<'static, Postgres>,
    actor: Actor,
    request: RequestInfo,
    tenant: Option<Uuid>,
    events: Vec<Event>,
    bus: Bus,
    traced: spans::Transaction,
    permission: PhantomData<P>,
}

impl Db {
    /// Begins a transaction that sees what the scope may see.
    pub async fn begin<P: Permission>(&self, scope: &Scope<P>) -> Result<Tx<P>, Error> {
        let traced = spans::Transaction::begin(scope.lane.as_str());
        let inner = self.begun(scope).instrument(traced.span()).await?;
        Ok(Tx {
            inner,
            actor: scope.actor.clone(),
            request: scope.request.clone(),
            tenant: scope.tenant,
            events: Vec::new(),
            bus: self.bus.clone(),
            traced,
            permission: PhantomData,
        })
    }

    async fn begun<P>(&self, scope: &Scope<P>) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
        let mut inner = self.pool(scope.lane).begin().await?;
        let Confinement { client_ids, site_ids, parent_client_ids } = &scope.confinement;
        sqlx::query!(
            "SELECT set_config('app.tenant_id', $1, true) AS s1, set_config('app.user_id', $2, true) AS s2,
                    set_config('app.platform', $3, true) AS s3, set_config('app.confined', $4, true) AS s4,
                    set_config('app.client_ids', $5, true) AS s5, set_config('app.site_ids', $6, true) AS s6,
                    set_config('app.parent_client_ids', $7, true) AS s7",
            scope.tenant.map(|id| id.to_string()).unwrap_or_default(),
            scope.actor.user_id().map(|id| id.to_string()).unwrap_or_default(),
            on_off(scope.is_platform),
            on_off(scope.confinement.is_confined()),
            list(client_ids),
            list(site_ids),
            list(parent_client_ids),
        )
        .fetch_one(&mut *inner)
        .await?;
        Ok(inner)
    }
}

impl<P> Tx<P> {
    /// The connection, for a slice's `store.rs`.
    pub fn conn(&mut self) -> &mut PgConnection {
        &mut self.inner
    }

    /// The partner of this transaction. Fails where there is none.
    pub fn tenant(&self) -> Result<Uuid, Error> {
        self.tenant.ok_or_else(|| Error::new(crate::error::Code::NoPartner))
    }

    /// Who acts.
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Facts about the request.
    pub fn request(&self) -> &RequestInfo {
        &self.request
    }

    /// Writes the event's row; the bus is told after commit.
    pub async fn emit(&mut self, event: Event) -> Result<(), Error> {
        sqlx::query!(
            "INSERT INTO events (tenant_id, topic, payload) VALUES ($1, $2, $3)",
            event.tenant_id,
            event.topic.as_str(),
            event.payload(),
        )
        .execute(&mut *self.inner)
        .await?;
        self.events.push(event);
        Ok(())
    }

    /// [`Tx::emit`] for many, in one statement.
    pub async fn emit_all(&mut self, events: Vec<Event>) -> Result<(), Error> {
        if events.is_empty() {
            return Ok(());
        }
        let tenants: Vec<Uuid> = events.iter().map(|event| event.tenant_id).collect();
        let topics: Vec<String> = events.iter().map(|event| event.topic.as_str().to_owned()).collect();
        let payloads: Vec<serde_json::Value> = events.iter().map(Event::payload).collect();
        sqlx::query!(
            "INSERT INTO events (tenant_id, topic, payload)
             SELECT * FROM UNNEST($1::uuid[], $2::text[], $3::jsonb[])",
            &tenants,
            &topics,
            &payloads
        )
        .execute(&mut *self.inner)
        .await?;
        self.events.extend(events);
        Ok(())
    }

    /// Commits, then tells the bus.
    pub async fn commit(self) -> Result<(), Error> {
        self.inner.commit().instrument(self.traced.span()).await?;
        self.traced.committed();
        drop(self.traced);
        self.events.into_iter().for_each(|event| self.bus.publish(event));
        Ok(())
    }
}

fn on_off(value: bool) -> &'static str {
    if value { "on" } else { "off" }
}

fn list(ids: &[Uuid]) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",")
}
