//! Alerts: what someone should look at. One open alert per cause; raising it again counts it up.

pub mod http;
mod store;

use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManageAlerts, ReadFleet, System};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// An alert as people see it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Alert {
    pub id: Uuid,
    /// What kind of cause: `agent.pending`, `agent.site_conflict`, …
    pub kind: String,
    pub severity: Severity,
    pub title: String,
    /// Facts of the cause; its fields depend on the kind.
    #[schema(value_type = Object)]
    pub detail: serde_json::Value,
    pub status: Status,
    pub agent_id: Option<Uuid>,
    pub agent_hostname: Option<String>,
    pub site_id: Option<Uuid>,
    pub client_id: Option<Uuid>,
    pub raised_at: DateTime<Utc>,
    pub last_raised_at: DateTime<Utc>,
    /// How often the cause showed.
    pub count: i32,
    pub acknowledged_at: Option<DateTime<Utc>>,
    pub acknowledged_by_name: Option<String>,
    pub resolved_at: Option<DateTime<Utc>>,
    pub resolved_by_name: Option<String>,
}

words! {
    /// How bad it is.
    Severity { Info = "info", Warning = "warning", Critical = "critical", }
}

words! {
    /// Where an alert stands: open, seen by someone, over.
    #[schema(as = AlertStatus)]
    Status { Open = "open", Acknowledged = "acknowledged", Resolved = "resolved", }
}

/// What a list shows.
#[derive(Debug, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub severity: Option<Severity>,
    pub agent_id: Option<Uuid>,
}

/// A cause that showed.
#[derive(Debug)]
pub struct NewAlert<'a> {
    pub kind: &'static str,
    pub severity: Severity,
    /// One line for people.
    pub title: &'a str,
    pub detail: serde_json::Value,
    /// The cause: while an alert with this key is not resolved, the same key counts it up.
    pub dedup_key: &'a str,
    pub subject: Subject,
}

/// A cause that concerns a whole partner and no machine of its.
#[derive(Debug)]
pub struct PartnerAlert<'a> {
    pub kind: &'static str,
    pub severity: Severity,
    /// One line for people.
    pub title: &'a str,
    pub detail: serde_json::Value,
    pub dedup_key: &'a str,
}

/// The machine an alert is about, and where it stands.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    pub agent_id: Uuid,
    pub client_id: Uuid,
    pub site_id: Uuid,
}

/// How many alerts stand in which state.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct AlertCounts {
    pub open: i64,
    pub acknowledged: i64,
    /// Of those not resolved, by severity.
    pub critical: i64,
    pub warning: i64,
    pub info: i64,
}

/// Raises an alert, or counts up the one that stands for the same cause. In the transaction that saw the cause.
pub async fn raise<P>(tx: &mut Tx<P>, alert: NewAlert<'_>) -> Result<(), Error> {
    let tenant = tx.tenant()?;
    let raised = store::raise(tx, Uuid::now_v7(), tenant, &alert).await?;
    let topic = if raised.is_new { Topic::AlertRaised } else { Topic::AlertChanged };
    let Subject { agent_id, client_id, site_id } = alert.subject;
    tx.emit(Event::new(topic, tenant, raised.id).at(client_id, Some(site_id)).on_agent(agent_id)).await
}

/// Lets an alert stand while its cause lasts: what is looked at again and again is not counted up.
pub async fn stand<P>(tx: &mut Tx<P>, alert: PartnerAlert<'_>) -> Result<(), Error> {
    let (id, tenant) = (Uuid::now_v7(), tx.tenant()?);
    if store::stand(tx, id, tenant, &alert).await? {
        tx.emit(Event::new(Topic::AlertRaised, tenant, id)).await?;
    }
    Ok(())
}

/// Machines with an alert of a kind that is not resolved and was not raised again since a time.
pub async fn standing(
    tx: &mut Tx<System>,
    kind: &str,
    raised_before: DateTime<Utc>,
) -> Result<Vec<Uuid>, Error> {
    store::standing(tx, kind, raised_before).await
}

/// Resolves whatever alert stands for a cause, when the cause is gone; the person of the transaction, if any,
/// resolved it.
pub async fn resolve_cause<P>(tx: &mut Tx<P>, dedup_key: &str) -> Result<(), Error> {
    let (tenant, person) = (tx.tenant()?, tx.actor().user_id());
    match store::resolve_cause(tx, dedup_key, person).await? {
        Some(place) => tx.emit(changed(tenant, place)).await,
        None => Ok(()),
    }
}

/// How many alerts the transaction's person sees.
pub async fn counts<P>(tx: &mut Tx<P>) -> Result<AlertCounts, Error> {
    store::counts(tx).await
}

/// One page of alerts, newest first.
pub async fn list(
    app: &App,
    scope: &Scope<ReadFleet>,
    filter: &Filter,
    page: &PageQuery,
) -> Result<Page<Alert>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count(&mut tx, filter).await?;
    let alerts = store::list(&mut tx, filter, after, limit + 1).await?;
    Page::of(alerts, limit, total, |alert| (alert.raised_at, alert.id))
}

/// One alert.
pub async fn get(app: &App, scope: &Scope<ReadFleet>, id: Uuid) -> Result<Alert, Error> {
    let mut tx = app.db.begin(scope).await?;
    store::get(&mut tx, id).await?.ok_or_else(Error::not_found)
}

/// Says that someone looks at it. 409 unless it is open.
pub async fn acknowledge(app: &App, scope: &Scope<ManageAlerts>, id: Uuid) -> Result<Alert, Error> {
    change(app, scope, id, Status::Acknowledged).await
}

/// Says that it is over. 409 when it is already.
pub async fn resolve(app: &App, scope: &Scope<ManageAlerts>, id: Uuid) -> Result<Alert, Error> {
    change(app, scope, id, Status::Resolved).await
}

async fn change(app: &App, scope: &Scope<ManageAlerts>, id: Uuid, to: Status) -> Result<Alert, Error> {
    let (person, tenant) = (scope.user()?, scope.tenant()?);
    let mut tx = app.db.begin(scope).await?;
    let before = store::lock(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if !may_become(before, to) {
        let detail = format!("the alert is {}", before.as_str());
        return Err(Error::with_detail(Code::InvalidState, detail));
    }
    store::set_status(&mut tx, id, to, person).await?;
    let alert = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let place = Place { id, agent_id: alert.agent_id, client_id: alert.client_id, site_id: alert.site_id };
    tx.emit(changed(tenant, place)).await?;
    let action = if to == Status::Resolved { "alert.resolve" } else { "alert.acknowledge" };
    tx.audit(Entry::new(action, "alert", id).named(&alert.title)).await?;
    tx.commit().await?;
    Ok(alert)
}

/// Removes an alert that is over. 409 while it is not: then it would only be raised again.
pub async fn delete(app: &App, scope: &Scope<ManageAlerts>, id: Uuid) -> Result<(), Error> {
    let tenant = scope.tenant()?;
    let mut tx = app.db.begin(scope).await?;
    let status = store::lock(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    if status != Status::Resolved {
        return Err(Error::with_detail(Code::InvalidState, format!("the alert is {}", status.as_str())));
    }
    let alert = store::get(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    store::delete(&mut tx, id).await?;
    let place = Place { id, agent_id: alert.agent_id, client_id: alert.client_id, site_id: alert.site_id };
    tx.emit(changed(tenant, place)).await?;
    let detail = serde_json::json!({ "kind": alert.kind, "raised_at": alert.raised_at });
    tx.audit(Entry::new("alert.delete", "alert", id).named(&alert.title).with(detail)).await?;
    tx.commit().await
}

/// Removes the oldest alerts that were resolved before a time, at most `most`; answers how many.
pub async fn prune(tx: &mut Tx<System>, resolved_before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    store::prune(tx, resolved_before, most).await
}

/// Which way an alert goes: open, acknowledged, resolved, and never back.
fn may_become(from: Status, to: Status) -> bool {
    match to {
        Status::Open => false,
        Status::Acknowledged => from == Status::Open,
        Status::Resolved => from != Status::Resolved,
    }
}

/// An alert and what it is about.
struct Place {
    id: Uuid,
    agent_id: Option<Uuid>,
    client_id: Option<Uuid>,
    site_id: Option<Uuid>,
}

fn changed(tenant: Uuid, Place { id, agent_id, client_id, site_id }: Place) -> Event {
    Event { agent_id, client_id, site_id, ..Event::new(Topic::AlertChanged, tenant, id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_only_goes_forward() {
        use Status::{Acknowledged, Open, Resolved};
        let allowed = [(Open, Acknowledged), (Open, Resolved), (Acknowledged, Resolved)];
        for from in [Open, Acknowledged, Resolved] {
            for to in [Open, Acknowledged, Resolved] {
                assert_eq!(may_become(from, to), allowed.contains(&(from, to)), "{from:?} to {to:?}");
            }
        }
    }
}
