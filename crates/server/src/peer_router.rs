//! Which slice a word from another node belongs to. The one place that knows all of them. Nothing is done because another
//! node says so: it is looked up.

use crate::agent_logs;
use crate::agents;
use crate::app::{App, AppState};
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::bus::{Note, Topic};
use crate::commands;
use crate::error::Error;
use crate::gateway;
use crate::peers::{self, Matter, Signal};
use crate::policies;
use crate::telemetry::live::LiveView;
use crate::tunnel;
use crate::updates;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Words that are followed at the same time.
const AT_ONCE: usize = 16;
/// Machines that one word may name.
const AGENTS_AT_MOST: usize = 5_000;
/// Between two looks at everything that may have been missed.
const CATCHES_UP_EVERY: Duration = Duration::from_secs(5);

/// Hears what other nodes say, until `stop`.
pub async fn listen(app: &AppState, stop: CancellationToken) {
    let (mut notes, missed) = (app.bus.notes(), Arc::new(Notify::new()));
    let mut following = JoinSet::new();
    let catching_up = tokio::spawn(catch_up(app.clone(), Arc::clone(&missed), stop.clone()));
    while let Some(note) = stop.run_until_cancelled(notes.recv()).await {
        match note {
            Ok(note) => {
                let Some(signal) = peers::read(&note.text) else {
                    tracing::debug!(from = %note.from, "a word that this node does not know");
                    continue;
                };
                if following.len() >= AT_ONCE {
                    let _followed = following.join_next().await;
                }
                let app = app.clone();
                following.spawn(async move {
                    if let Err(error) = follow(&app, &note, signal).await {
                        tracing::warn!(%error, "what another node said is looked up later");
                    }
                });
            }
            Err(RecvError::Lagged(_)) => missed.notify_one(),
            Err(RecvError::Closed) => break,
        }
    }
    following.shutdown().await;
    let _stops = catching_up.await;
}

/// Wakes those here who follow what happens to commands elsewhere, until `stop`.
pub async fn wake_followers(app: &App, stop: CancellationToken) {
    let mut events = app.bus.subscribe();
    while let Some(event) = stop.run_until_cancelled(events.recv()).await {
        match event {
            Ok(event) if event.topic == Topic::CommandChanged => {
                event.id.inspect(|id| app.commands.signals.wake(*id));
            }
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => app.commands.signals.wake_all(),
            Err(RecvError::Closed) => return,
        }
    }
}

async fn follow(app: &AppState, note: &Note, signal: Signal) -> Result<(), Error> {
    match signal {
        Signal::Look { agent_id, at } => look(app, agent_id, at).await,
        Signal::Settings { agent_ids } => {
            for agent_id in agent_ids.into_iter().take(AGENTS_AT_MOST) {
                if let Some(tenant_id) = app.gateway.tenant_of(agent_id) {
                    policies::moved(app, tenant_id, agent_id).await?;
                }
            }
            Ok(())
        }
        Signal::Ended { agent_id, reason } => gateway::ended(app, agent_id, reason).await,
        Signal::Output { command_id } => {
            app.commands.signals.wake(command_id);
            Ok(())
        }
        Signal::Watch { agent_id, seconds } => {
            LiveView::watched_elsewhere(app, note.from, agent_id, Duration::from_secs(seconds.into()));
            Ok(())
        }
        Signal::Sample { agent_id, sample } => {
            app.telemetry.live.show(note.tenant_id, agent_id, &sample);
            Ok(())
        }
        Signal::Tunnel { session_id, agent_id } => tunnel::agent::look(app, session_id, agent_id).await,
        Signal::Who { question, agent_id } => {
            gateway::say_who(app, note.from, note.tenant_id, question, agent_id);
            Ok(())
        }
        Signal::This { question, met } => {
            app.gateway.questions.answered(question, *met);
            Ok(())
        }
        Signal::Unknown => Ok(()),
    }
}

/// Sends an agent that is connected here what there is for it.
async fn look(app: &App, agent_id: Uuid, at: Matter) -> Result<(), Error> {
    let Some(tenant_id) = app.gateway.tenant_of(agent_id) else { return Ok(()) };
    let scope: Scope<System> = Scope::system("another node", tenant_id);
    match at {
        Matter::Commands => commands::dispatch::look(app, &scope, agent_id).await,
        Matter::Update => {
            updates::dispatch::send(app, &scope, agent_id).await;
            Ok(())
        }
        Matter::Uninstall => agents::look_for_uninstall(app, &scope, agent_id).await,
        Matter::Log => agent_logs::look(app, &scope, agent_id).await,
        Matter::Unknown => Ok(()),
    }
}

/// Looks for everything there may be for the agents here, whenever something was missed. Moves and settings are looked
/// after by the gateway.
async fn catch_up(app: AppState, missed: Arc<Notify>, stop: CancellationToken) {
    while stop.run_until_cancelled(missed.notified()).await.is_some() {
        app.commands.signals.wake_all();
        for line in app.gateway.connected() {
            if stop.is_cancelled() {
                return;
            }
            for at in [Matter::Commands, Matter::Update, Matter::Uninstall, Matter::Log] {
                if let Err(error) = look(&app, line.agent_id(), at).await {
                    tracing::debug!(%error, "what was missed is looked up later");
                }
            }
        }
        if stop.run_until_cancelled(sleep(CATCHES_UP_EVERY)).await.is_none() {
            return;
        }
    }
}
