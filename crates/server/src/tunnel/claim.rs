//! How a node becomes the host of a session, and stops being it.

use super::caller::Caller;
use super::forwards::Reached;
use super::host::{Beginning, Event, Host, Over, RECORDING_FAILED, Use};
use super::{ClosedReason, Wish, looking};
use super::{forwards, store};
use crate::app::{App, AppState};
use crate::auth::Scope;
use crate::auth::permission::{Role, System};
use crate::error::{Code, Error};
use crate::peers::{self, Signal};
use crate::policies::{self, TunnelPolicy};
use crate::recordings::{Note, Recorder, SessionFacts};
use gururmm_protocol::TunnelId;
use gururmm_protocol::tunnel::{TunnelOpen, TunnelRules};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

/// How long somebody waits for the host before to be done.
const WAITS_FOR: Duration = Duration::from_secs(10);
const LOOKS_EVERY: Duration = Duration::from_millis(20);
/// How often the end of a session is written, before that is left to the others.
const TRIES: usize = 5;

/// Enters one's own session, of which this node becomes the host where it is not yet. 403 for another tech's, 409 for one
/// that is closed.
pub async fn enter(app: &AppState, caller: &Caller, id: Uuid) -> Result<Use, Error> {
    // Before the host is looked for: it may be somebody else's.
    super::own_active(&mut app.db.begin(&caller.scope).await?, &caller.scope, id).await?;
    let until = Instant::now() + WAITS_FOR;
    loop {
        let place = app.tunnel.place(id);
        let host = place.get_or_try_init(|| begin(app, caller, id)).await?;
        if host.over().is_none() {
            return Ok(host.enter(caller.admitted.clone()));
        }
        if Instant::now() > until {
            return Err(Error::new(Code::Unavailable));
        }
        sleep(LOOKS_EVERY).await;
    }
}

async fn begin(app: &AppState, caller: &Caller, id: Uuid) -> Result<Arc<Host>, Error> {
    if app.tunnel.stopping.is_cancelled() {
        return Err(Error::new(Code::Unavailable));
    }
    let scope = &caller.scope;
    let mut tx = app.db.begin(scope).await?;
    let session = super::own_active(&mut tx, scope, id).await?;
    let agent = store::agent(&mut tx, session.agent_id).await?.ok_or_else(Error::not_found)?;
    let policy = policies::tunnel_policy(&mut tx, agent.id).await?.ok_or_else(Error::not_found)?;
    let orders = orders(id, &scope.actor().name, scope.role(), &policy);
    let (node_id, host_key) = (app.bus.node_id(), Uuid::new_v4());
    let written = serde_json::to_value(&orders).map_err(Error::internal)?;
    let before = store::claim(&mut tx, id, node_id, host_key, &written).await?;
    let before = before.ok_or_else(|| Error::new(Code::SessionClosed))?;
    tx.commit().await?;
    if let Some(before) = before.filter(|before| *before != node_id) {
        let signal = Signal::Tunnel { session_id: id, agent_id: agent.id };
        peers::tell_one(&app.bus, before, agent.tenant_id, &signal);
    }
    let facts = SessionFacts {
        tunnel_id: id,
        tenant_id: agent.tenant_id,
        client_id: agent.client_id,
        site_id: agent.site_id,
        agent_id: agent.id,
        hostname: agent.hostname,
        tech_id: session.tech_id,
        tech_name: scope.actor().name.clone(),
    };
    let recorder = Recorder::start(app, &facts).await?;
    let (host, happened) = Host::new(Beginning {
        facts,
        opened_at: session.opened_at,
        ends_at: session.ends_at,
        wish: Wish { reason: session.reason, ticket: session.ticket },
        host_key,
        orders,
        idle: app.tunnel.settings.minute * policy.idle_minutes,
        role: scope.role(),
    });
    app.tunnel.tasks.spawn(run(app.clone(), Arc::clone(&host), happened, recorder));
    Ok(host)
}

/// What a machine is told of a session.
pub fn orders(id: Uuid, tech: &str, role: Option<Role>, policy: &TunnelPolicy) -> TunnelOpen {
    let rules = TunnelRules {
        channels: policy.channels(role).to_vec(),
        paths: policy.paths.clone(),
        forwards: policy.forwards.clone(),
    };
    TunnelOpen { tunnel_id: TunnelId(id), tech: tech.to_owned(), rules, consent: policy.consent }
}

async fn run(app: AppState, host: Arc<Host>, mut happened: mpsc::Receiver<Event>, recorder: Recorder) {
    let over = tokio::select! {
        over = host.ended() => over,
        over = host.follow(&mut happened, &recorder) => over,
        over = host.carry_to_tech(&app, &recorder) => over,
        over = host.carry_to_machine(&app, &recorder) => over,
        over = looking::keep_looking(&app, &host) => over,
        _failed = recorder.failed() => RECORDING_FAILED,
        () = app.tunnel.stopping.cancelled() => Over::Stopping,
    };
    host.end(over);
    let over = host.over().unwrap_or(over);
    tracing::debug!(session_id = %host.id(), ?over, "a host is done");
    leave(&app, &host, over).await;
    host.done.cancel();
    host.close_server_ends();
    if let Over::Closed { reason, .. } = over {
        // One that failed to record says so by its reason.
        let _failed_already = recorder.note(Note::Closed { reason: reason.as_str() }).await;
    }
    if recorder.finish().await.is_err() && over != RECORDING_FAILED {
        tracing::error!(session_id = %host.id(), "the end of a session was not recorded");
    }
    app.tunnel.remove(&host);
}

/// Writes down what the session moved, and that it is over, if it is.
async fn leave(app: &App, host: &Host, over: Over) {
    let reached = host.forwards().take();
    for attempt in 1..=TRIES {
        match write_end(app, host, over, &reached).await {
            Ok(()) => return,
            Err(error) if attempt < TRIES && error.is_transient() => {
                sleep(Duration::from_millis(200) * u32::try_from(attempt).unwrap_or(1)).await;
            }
            Err(error) => {
                // It is closed once nobody has held it for a while.
                tracing::warn!(session_id = %host.id(), %error, "the end of a session could not be written");
                return;
            }
        }
    }
}

async fn write_end(app: &App, host: &Host, over: Over, reached: &[Reached]) -> Result<(), Error> {
    let scope: Scope<System> = Scope::system("tunnel", host.facts.tenant_id);
    let mut tx = app.db.begin(&scope).await?;
    let key = host.state().host_key;
    let figures = looking::figures(host);
    let writing = async {
        looking::note(&mut tx, host, key, &figures, true).await?;
        forwards::note_all(&mut tx, host, reached).await?;
        match over {
            Over::Closed { reason, told: false } => match super::closed(tx, host.id(), reason).await {
                // Deleted with its machine.
                Err(error) if error.code() == Code::NotFound => Ok(()),
                closed => closed.map(drop),
            },
            _ => tx.commit().await,
        }
    };
    writing.await.inspect_err(|_| looking::put_back(host, &figures))
}

/// The word for how it ended that a page is told.
pub fn word(over: Over) -> &'static str {
    match over {
        Over::Closed { reason, .. } => reason.as_str(),
        Over::Moved => "replaced",
        Over::Stopping => "server_stopping",
        Over::Unused => ClosedReason::Unused.as_str(),
    }
}
