//! What people decide about machines that wait.

use super::admission::{PendingReason, pending_cause};
use super::{Agent, find, store, uninstall};
use crate::alerts;
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::ManageAgents;
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use gururmm_protocol::to_agent::GoodbyeReason;
use serde_json::json;
use uuid::Uuid;

words! {
    /// As what a machine is let in.
    ApproveAs {
        /// As itself: nobody else has its identity.
        Accept = "accept",
        /// As another machine than the one whose identity it offers.
        New = "new",
        /// As that very machine: it takes over its place and history.
        SameMachine = "same_machine",
    }
}

/// Lets a waiting machine in. 409 when it does not wait, or when the decision does not fit the case, or when the key it
/// was given is another than the one that `key_fingerprint` names: whoever holds a site's enrollment key can ask in a
/// waiting machine's name, and gets a key of her own for it. The answer's id is the known agent's when it is the same
/// machine.
pub async fn approve(
    app: &App,
    scope: &Scope<ManageAgents>,
    id: Uuid,
    decision: ApproveAs,
    key_fingerprint: Option<&str>,
) -> Result<Agent, Error> {
    let mut tx = app.db.begin(scope).await?;
    let waiting = waiting(&mut tx, id).await?;
    let is_meant = match key_fingerprint {
        Some(seen) => seen == waiting.key_fingerprint,
        None => waiting.key_changes == 0,
    };
    if !is_meant {
        return Err(does_not_fit(
            "it was given another key meanwhile: look at it again, and approve the key you mean by its key_fingerprint",
        ));
    }
    alerts::resolve_cause(&mut tx, &pending_cause(id)).await?;
    let approved = match decision {
        ApproveAs::Accept => {
            if !store::activate(&mut tx, id).await? {
                return Err(does_not_fit("another machine has this identity: say whether it is the same"));
            }
            id
        }
        ApproveAs::New => {
            // A twin gets an identity of its own beside the one it offers.
            if !store::activate(&mut tx, id).await? {
                store::activate_as_twin(&mut tx, id).await?;
            }
            id
        }
        // The key it came with is the known machine's own, and the one of its record is nobody's.
        ApproveAs::SameMachine if waiting.pending_reason == Some(PendingReason::KeyCopied) => {
            return Err(does_not_fit(
                "it is another machine than the one whose key it has: let it enroll for itself",
            ));
        }
        ApproveAs::SameMachine => {
            let known =
                waiting.collides_with.ok_or_else(|| does_not_fit("no known machine has this identity"))?;
            if !store::take_over(&mut tx, known, id).await? {
                return Err(does_not_fit("the machine whose identity it offers is gone"));
            }
            uninstall::call_off(&mut tx, known).await?;
            known
        }
    };
    let agent = find(&mut tx, approved).await?;
    let event = Event::new(Topic::AgentEnrolled, tx.tenant()?, approved);
    tx.emit(event.at(agent.client_id, Some(agent.site_id)).on_agent(approved)).await?;
    if approved != id {
        let event = Event::new(Topic::AgentDeleted, tx.tenant()?, id);
        tx.emit(event.at(waiting.client_id, Some(waiting.site_id)).on_agent(id)).await?;
    }
    let detail = json!({
        "as": decision,
        "pending_reason": waiting.pending_reason,
        "collided_with": waiting.collides_with,
        "approved_as": approved,
        "key_fingerprint": waiting.key_fingerprint,
        "key_changes": waiting.key_changes,
    });
    tx.audit(Entry::new("agent.approve", "agent", id).named(&waiting.hostname).with(detail)).await?;
    tx.commit().await?;
    if approved != id {
        // Whoever is connected under the old key is not that machine any more.
        app.gateway.disconnect(approved, GoodbyeReason::Revoked);
    }
    Ok(agent)
}

/// Turns a waiting machine away: its key is dead. Should it ask again, it waits again.
pub async fn reject(app: &App, scope: &Scope<ManageAgents>, id: Uuid) -> Result<(), Error> {
    let mut tx = app.db.begin(scope).await?;
    let waiting = waiting(&mut tx, id).await?;
    alerts::resolve_cause(&mut tx, &pending_cause(id)).await?;
    store::reject(&mut tx, id).await?;
    let event = Event::new(Topic::AgentDeleted, tx.tenant()?, id);
    tx.emit(event.at(waiting.client_id, Some(waiting.site_id)).on_agent(id)).await?;
    let detail = json!({ "pending_reason": waiting.pending_reason, "collided_with": waiting.collides_with });
    tx.audit(Entry::new("agent.reject", "agent", id).named(&waiting.hostname).with(detail)).await?;
    tx.commit().await
}

/// A machine that waits, as the decision needs it.
pub(super) struct WaitingAgent {
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub state: String,
    pub hostname: String,
    pub pending_reason: Option<PendingReason>,
    pub collides_with: Option<Uuid>,
    pub key_changes: i32,
    pub key_fingerprint: String,
}

async fn waiting<P>(tx: &mut Tx<P>, id: Uuid) -> Result<WaitingAgent, Error> {
    let agent = store::lock_waiting(tx, id).await?.ok_or_else(Error::not_found)?;
    match agent.state.as_str() {
        "pending" => Ok(agent),
        "rejected" => Err(Error::not_found()),
        _ => Err(Error::new(Code::AgentNotPending)),
    }
}

fn does_not_fit(detail: &'static str) -> Error {
    Error::with_detail(Code::InvalidState, detail)
}
