//! Orders go out: at once where the agent is connected, and at its next hello otherwise.

use super::{Action, AgentUpdate, Origin, Status, store};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::gateway;
use crate::peers::Matter;
use gururmm_protocol::ServerMessage;
use gururmm_protocol::update::{UpdateAction, UpdateOrder};
use uuid::Uuid;

/// Sends the agent's open order, if it is connected and has not begun. What is lost is sent again at its next hello.
pub async fn send(app: &App, scope: &Scope<System>, agent_id: Uuid) {
    if !app.gateway.is_connected(agent_id) {
        if let Some(tenant_id) = scope.tenant {
            gateway::look(app, tenant_id, agent_id, Matter::Update);
        }
        return;
    }
    let open = async { store::open_of(&mut app.db.begin(scope).await?, agent_id).await };
    match open.await {
        Ok(Some(update)) if update.status == Status::Ordered => {
            app.gateway.send(agent_id, message(&update));
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%agent_id, %error, "an update order is sent at the next hello instead"),
    }
}

/// The order as the agent hears it.
pub fn message(update: &AgentUpdate) -> ServerMessage {
    ServerMessage::UpdateOrder(UpdateOrder {
        update_id: update.id.into(),
        action: match update.action {
            Action::Install => UpdateAction::Install,
            Action::RollBack => UpdateAction::RollBack,
        },
        version: update.to_version.clone(),
        channel: update.channel.clone(),
        valid_until: update.valid_until,
        // A rollout goes back because the new version is bad: it does not wait for what that one runs.
        at_once: update.action == Action::RollBack && update.origin == Origin::Rollout,
    })
}
