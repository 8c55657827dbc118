//! A transaction of a scope: PostgreSQL knows partner, person and confinement before the first query runs.

use super::Db;
use super::begin::begin;
use crate::auth::permission::{Permission, System};
use crate::auth::scope::Confinement;
use crate::auth::{Actor, Scope};
use crate::bus::{Bus, Event};
use crate::error::Error;
use crate::http::RequestInfo;
use crate::observability::traces::spans;
use sqlx::{AssertSqlSafe, PgConnection, Postgres, Transaction};
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
        self.begin_after(scope, "").await
    }

    /// A transaction of the job that packs samples: besides reading it may take samples of its partner away and write
    /// history, and nothing else.
    pub async fn begin_history(&self, scope: &Scope<System>) -> Result<Tx<System>, Error> {
        self.begin_after(scope, "SET LOCAL ROLE gururmm_history;").await
    }

    /// A transaction that reads history: PostgreSQL keeps its plans. By itself it plans a query over partitions anew each time,
    /// which takes longer than to carry it out.
    pub async fn begin_to_read_history<P: Permission>(&self, scope: &Scope<P>) -> Result<Tx<P>, Error> {
        self.begin_after(scope, "SET LOCAL plan_cache_mode = force_generic_plan;").await
    }

    /// The same in which `setting` holds, a whole statement that ends with its semicolon, or nothing.
    async fn begin_after<P: Permission>(
        &self,
        scope: &Scope<P>,
        setting: &'static str,
    ) -> Result<Tx<P>, Error> {
        let traced = spans::Transaction::begin(scope.lane.as_str());
        // In one way there and back, for every request pays for it. Nothing but ids and two words stands in it.
        let statement = AssertSqlSafe(format!("{}; {setting} BEGIN", settings(scope)));
        let inner = begin(self.pool(scope.lane), statement).instrument(traced.span()).await?;
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

/// The statement that tells PostgreSQL for this transaction who acts, and what may be seen.
fn settings<P>(scope: &Scope<P>) -> String {
    let Confinement { client_ids, site_ids, parent_client_ids } = &scope.confinement;
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let settings = [
        ("tenant_id", id(scope.tenant)),
        ("user_id", id(scope.actor.user_id())),
        ("platform", on_off(scope.is_platform).to_owned()),
        ("confined", on_off(scope.confinement.is_confined()).to_owned()),
        ("client_ids", list(client_ids)),
        ("site_ids", list(site_ids)),
        ("parent_client_ids", list(parent_client_ids)),
    ];
    let one = |(name, value): (&str, String)| format!("set_config('app.{name}', '{value}', true)");
    format!("SELECT {}", settings.map(one).join(", "))
}

fn on_off(value: bool) -> &'static str {
    if value { "on" } else { "off" }
}

fn list(ids: &[Uuid]) -> String {
    ids.iter().map(Uuid::to_string).collect::<Vec<_>>().join(",")
}
