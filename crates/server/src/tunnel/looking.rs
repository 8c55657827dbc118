//! Whether a session is still as it was: asked when something happened, and every so often in any case.

use super::claim;
use super::host::{Host, Link, Over, Way};
use super::relay::Stream;
use super::store::{self, Figures};
use super::{ClosedReason, agent};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::credential::{Admitted, Session};
use crate::auth::permission::{System, UseTunnel};
use crate::bus::{Event, Topic};
use crate::db::Tx;
use crate::error::Error;
use crate::gateway;
use crate::http::RequestInfo;
use crate::peers::{self, Signal};
use crate::policies;
use chrono::{TimeDelta, Utc};
use gururmm_protocol::tunnel::TunnelOpen;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What one session moves before people are told of it.
const MUCH_BYTES: i64 = 20 * 1024 * 1024 * 1024;
/// Times that pass in memory are looked at so often.
const TICK: Duration = Duration::from_secs(1);
/// Between two questions to the database, however much happens.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks after a session until it is over.
pub async fn keep_looking(app: &App, host: &Host) -> Over {
    let settings = &app.tunnel.settings;
    let mut next = Instant::now();
    loop {
        if let Some(over) = timed_out(host, settings.agent_away, settings.linger) {
            return over;
        }
        if Instant::now() >= next {
            match look(app, host).await {
                Ok(Some(over)) => return over,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(session_id = %host.id(), %error, "a session is looked at again later");
                }
            }
            next = Instant::now() + settings.look;
        }
        let tick = (Instant::now() + TICK.min(settings.minute)).min(next);
        tokio::select! {
            () = host.wake.notified() => {
                sleep_until(Instant::now() + PAUSE).await;
                next = Instant::now();
            }
            () = sleep_until(tick) => {}
        }
    }
}

fn timed_out(host: &Host, agent_away: Duration, linger: Duration) -> Option<Over> {
    let state = host.state();
    let closed = |reason| Some(Over::Closed { reason, told: false });
    if Utc::now() >= state.ends_at {
        return closed(ClosedReason::TooLong);
    }
    if state.last_input.elapsed() >= state.idle {
        return closed(ClosedReason::Idle);
    }
    if state.away_since.is_some_and(|since| since.elapsed() >= agent_away) {
        return closed(ClosedReason::AgentLost);
    }
    state.unused_since.is_some_and(|since| since.elapsed() >= linger).then_some(Over::Unused)
}

/// Asks the database; answers how the session is over, if it is.
async fn look(app: &App, host: &Host) -> Result<Option<Over>, Error> {
    for admitted in host.users() {
        match still_may(app, host, &admitted).await? {
            Some(session) => host.state().role = session.role,
            None => return Ok(Some(Over::Closed { reason: ClosedReason::RightLost, told: false })),
        }
    }
    let id = host.id();
    let scope: Scope<System> = Scope::system("tunnel", host.facts.tenant_id);
    let mut tx = app.db.begin(&scope).await?;
    let Some(held) = store::held(&mut tx, id).await? else {
        // Deleted with its machine.
        return Ok(Some(Over::Closed { reason: ClosedReason::AgentLost, told: true }));
    };
    if !held.is_active {
        let reason = held.closed_reason.unwrap_or(ClosedReason::ClosedByTech);
        return Ok(Some(Over::Closed { reason, told: true }));
    }
    let (host_key, role, before) = {
        let mut state = host.state();
        if let Some(ends_at) = held.ends_at {
            state.ends_at = ends_at;
        }
        (state.host_key, state.role, state.orders.clone())
    };
    if held.host_key != Some(host_key) {
        return Ok(Some(Over::Moved));
    }
    let Some(policy) = policies::tunnel_policy(&mut tx, host.facts.agent_id).await? else {
        return Ok(Some(Over::Closed { reason: ClosedReason::AgentLost, told: false }));
    };
    let orders = claim::orders(id, &before.tech, role, &policy);
    let is_changed = orders != before;
    let written = serde_json::to_value(&orders).map_err(Error::internal)?;
    let found = find(app, &mut tx, host.facts.agent_id).await?;
    let known = host.state().way.link();
    let mut key = host_key;
    match &found {
        Found::There(link) if known != Some(*link) => {
            // Another key for each way: what was said before is worth nothing on it.
            key = Uuid::new_v4();
            if store::claim(&mut tx, id, app.bus.node_id(), key, &written).await?.is_none() {
                return Ok(None);
            }
        }
        _ if is_changed => store::set_orders(&mut tx, id, host_key, &written).await?,
        _ => {}
    }
    let figures = figures(host);
    let noted = async {
        note(&mut tx, host, host_key, &figures, false).await?;
        tx.commit().await
    };
    if let Err(error) = noted.await {
        put_back(host, &figures);
        return Err(error);
    }
    {
        let mut state = host.state();
        (state.host_key, state.idle) = (key, app.tunnel.settings.minute * policy.idle_minutes);
        if is_changed {
            host.set_orders(&mut state, orders.clone());
        }
    }
    follow(app, host, found, known, is_changed, &orders);
    Ok(None)
}

/// Where the agent is.
enum Found {
    Nowhere,
    Here(Link, Arc<gateway::Line>),
    There(Link),
}

async fn find(app: &App, tx: &mut Tx<System>, agent_id: Uuid) -> Result<Found, Error> {
    let node_id = app.bus.node_id();
    if let Some(line) = app.gateway.line(agent_id) {
        return Ok(Found::Here(Link { node_id, epoch: line.epoch() }, line));
    }
    Ok(match gateway::session_elsewhere(tx, node_id, agent_id).await? {
        Some((node_id, epoch)) => Found::There(Link { node_id, epoch }),
        None => Found::Nowhere,
    })
}

/// Takes the way to the machine that there is now, and has it told what it does not know.
fn follow(app: &App, host: &Host, found: Found, known: Option<Link>, is_changed: bool, orders: &TunnelOpen) {
    let mut state = host.state();
    let is_answered = (state.ready.is_some() || state.refused.is_some()) && !state.awaits_list;
    state.is_looked_for = true;
    // Who waits for the machine looks again.
    host.phase.send_modify(|_phase| {});
    match found {
        Found::Nowhere => {
            if known.is_some() {
                host.set_way(&mut state, Way::None);
            }
        }
        Found::Here(link, line) => {
            if known != Some(link) {
                host.set_way(&mut state, Way::Here(link, Arc::clone(&line)));
            } else if is_answered && !is_changed {
                return;
            }
            drop(state);
            agent::tell(app, &line, orders, None);
        }
        Found::There(link) => {
            if known != Some(link) {
                let stream = Stream::of_host(app, &host.facts, state.host_key, link);
                host.set_way(&mut state, Way::There(link, Arc::new(stream)));
            } else if is_answered && !is_changed {
                return;
            }
            drop(state);
            ask_there(app, host, link);
        }
    }
}

/// Has the machine say anew which channels it has, for a page that has just come.
pub fn ask(app: &App, host: &Host) {
    let state = host.state();
    let orders = state.orders.clone();
    match &state.way {
        // It is told as soon as it is found.
        Way::None => host.wake.notify_one(),
        Way::Here(_, line) => {
            let line = Arc::clone(line);
            drop(state);
            agent::tell(app, &line, &orders, None);
        }
        Way::There(link, _) => {
            let link = *link;
            drop(state);
            ask_there(app, host, link);
        }
    }
}

fn ask_there(app: &App, host: &Host, link: Link) {
    let signal = Signal::Tunnel { session_id: host.id(), agent_id: host.facts.agent_id };
    peers::tell_one(&app.bus, link.node_id, host.facts.tenant_id, &signal);
}

/// Whether someone may still be in the session; as who he is now.
async fn still_may(app: &App, host: &Host, admitted: &Admitted) -> Result<Option<Session>, Error> {
    let Some(now) = app.db.lookup_session(&admitted.token_digest).await? else { return Ok(None) };
    if now.tenant_id != Some(host.facts.tenant_id) || now.user_id != host.facts.tech_id {
        return Ok(None);
    }
    let Ok(scope) = Scope::<UseTunnel>::for_session(&now, RequestInfo::default()) else { return Ok(None) };
    // What stands out of sight of a confined person is not seen in a transaction of hers.
    let mut tx = app.db.begin(&scope).await?;
    Ok(store::held(&mut tx, host.id()).await?.is_some().then_some(now))
}

/// Writes down what went through since the last time, and tells people where that makes it much. A host that leaves says so.
pub async fn note(
    tx: &mut Tx<System>,
    host: &Host,
    key: Uuid,
    figures: &Figures,
    leaves: bool,
) -> Result<(), Error> {
    let all = store::note(tx, host.id(), key, figures, leaves).await?;
    let moved = figures.bytes_to_machine + figures.bytes_from_machine;
    if all >= MUCH_BYTES && all - moved < MUCH_BYTES {
        super::much_data(tx, host, all).await?;
    }
    Ok(())
}

/// What went through since the last time. To be put back where it cannot be written.
pub fn figures(host: &Host) -> Figures {
    let take = |counter: &std::sync::atomic::AtomicU64| {
        i64::try_from(counter.swap(0, Ordering::Relaxed)).unwrap_or(i64::MAX)
    };
    let idle = TimeDelta::from_std(host.state().last_input.elapsed()).unwrap_or_default();
    Figures {
        last_activity: Utc::now() - idle,
        bytes_to_machine: take(&host.moved.to_machine),
        bytes_from_machine: take(&host.moved.from_machine),
    }
}

/// It was not written.
pub fn put_back(host: &Host, figures: &Figures) {
    let back = |counter: &std::sync::atomic::AtomicU64, bytes: i64| {
        counter.fetch_add(u64::try_from(bytes).unwrap_or_default(), Ordering::Relaxed);
    };
    back(&host.moved.to_machine, figures.bytes_to_machine);
    back(&host.moved.from_machine, figures.bytes_from_machine);
}

/// Hears what may concern a session that this node has to do with, until `stop`.
pub async fn keep_watch(app: &App, stop: CancellationToken) {
    let mut events = app.bus.subscribe();
    while let Some(event) = stop.run_until_cancelled(events.recv()).await {
        match event {
            Ok(event) => heard(app, &event).await,
            Err(RecvError::Lagged(_)) => {
                app.tunnel.all().iter().for_each(|host| host.wake.notify_one());
                agent::look_at_all(app).await;
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn heard(app: &App, event: &Event) {
    let wake = |concerns: &dyn Fn(&Host) -> bool| {
        app.tunnel.all().iter().filter(|host| concerns(host)).for_each(|host| host.wake.notify_one());
    };
    match event.topic {
        Topic::TunnelChanged => {
            wake(&|host| Some(host.id()) == event.id);
            if let Some((session_id, agent_id)) = event.id.zip(event.agent_id) {
                agent::look_logged(app, session_id, agent_id).await;
            }
        }
        Topic::AgentOnline | Topic::AgentOffline | Topic::AgentMoved | Topic::AgentDeleted => {
            wake(&|host| event.agent_id.or(event.id) == Some(host.facts.agent_id));
        }
        Topic::PolicyChanged => wake(&|host| event.tenant_id == host.facts.tenant_id),
        Topic::UserChanged => wake(&|host| event.id == Some(host.facts.tech_id)),
        Topic::SessionRevoked => {
            wake(&|host| host.users().iter().any(|user| Some(user.session.session_id) == event.id));
        }
        _ => {}
    }
}
