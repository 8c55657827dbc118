//! What becomes of a machine's record: retired and brought back, merged with its duplicate, given up to be enrolled anew.

use super::admission::is_a_serial;
use super::{Agent, Filter, Sort, Status, find, list_store, store, uninstall, uninstall_store};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManageAgents, ManageKeys, ReadFleet, System};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::enrollment::{self, DeploymentInput, KeyOnce};
use crate::error::{Code, Error};
use crate::gateway;
use crate::telemetry;
use chrono::{DateTime, Utc};
use gururmm_protocol::to_agent::GoodbyeReason;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;
use uuid::Uuid;

/// Records that are looked at as duplicates of one machine.
const MAX_DUPLICATES: i64 = 20;
/// Agents that go in one transaction when their time is over: each takes its whole history along.
const MAX_PRUNED: i64 = 20;

words! {
    /// Why a record may be another one of the same machine.
    DuplicateReason {
        MachineUid = "machine_uid",
        BoardSerial = "board_serial",
        DiskSerial = "disk_serial",
        MacAddress = "mac_address",
        /// The same name at the same client.
        Hostname = "hostname",
    }
}

/// A record that may be another one of the same machine.
#[derive(Debug, Serialize, ToSchema)]
pub struct Duplicate {
    pub agent: Agent,
    pub reasons: Vec<DuplicateReason>,
}

words! {
    /// Whose key works from then on.
    MergeKey {
        /// The kept record's; the other's is refused.
        Kept = "kept",
        /// The other's: the machine that has it is the kept record from then on, and the kept record's old key is refused.
        Merged = "merged",
    }
}

/// What is merged into a record, and whose key goes on.
#[derive(Debug, Deserialize, ToSchema)]
pub struct MergeInput {
    /// The record that goes; its history goes to the kept one.
    pub merged_id: Uuid,
    pub key: MergeKey,
}

/// What a person found out about two records.
pub(super) struct Likeness {
    pub id: Uuid,
    pub same_uid: bool,
    pub same_board: bool,
    pub same_disk: bool,
    pub same_mac: bool,
    pub same_name: bool,
}

/// Takes a machine out of management and keeps its history: its key is refused at once, and it is in no list but that of
/// retired machines. Should it ask to be let in again, it waits. 409 unless it is active.
pub async fn retire(app: &App, scope: &Scope<ManageAgents>, id: Uuid) -> Result<Agent, Error> {
    let mut tx = app.db.begin(scope).await?;
    let before = find(&mut tx, id).await?;
    let person = tx.actor().user_id();
    if !store::retire(&mut tx, id, person).await? {
        return Err(wrong_state(before.status));
    }
    uninstall::call_off(&mut tx, id).await?;
    let agent = changed(&mut tx, id, "agent.retire", json!({})).await?;
    tx.commit().await?;
    app.gateway.disconnect(id, GoodbyeReason::Revoked);
    Ok(agent)
}

/// Brings a retired machine back as it was; the key it had is good again. 409 unless it is retired, or when another
/// machine has its identity by now.
pub async fn restore(app: &App, scope: &Scope<ManageAgents>, id: Uuid) -> Result<Agent, Error> {
    let mut tx = app.db.begin(scope).await?;
    let before = find(&mut tx, id).await?;
    if before.status != Status::Retired {
        return Err(wrong_state(before.status));
    }
    if !store::restore(&mut tx, id).await? {
        let detail =
            "another machine has this identity by now: merge this one into it, or retire that one first";
        return Err(Error::with_detail(Code::InvalidState, detail));
    }
    let agent = changed(&mut tx, id, "agent.restore", json!({ "retired_at": before.retired_at })).await?;
    tx.commit().await?;
    Ok(agent)
}

/// Records that may be other ones of the same machine, the likeliest first.
pub async fn duplicates(app: &App, scope: &Scope<ReadFleet>, id: Uuid) -> Result<Vec<Duplicate>, Error> {
    let mut tx = app.db.begin(scope).await?;
    find(&mut tx, id).await?;
    let facts = store::facts(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let serial = |serial: Option<String>| serial.filter(|serial| is_a_serial(serial));
    let (board, disk) = (serial(facts.board_serial), serial(facts.disk_serial));
    let alike = store::alike(&mut tx, id, board.as_deref(), disk.as_deref(), MAX_DUPLICATES).await?;
    let ids = alike.iter().map(|alike| alike.id).collect();
    let filter = Filter { ids: Some(ids), ..Filter::default() };
    let mut agents = list_store::list(&mut tx, &filter, Sort::default(), None, None).await?;
    let duplicate = |likeness: &Likeness| {
        let at = agents.iter().position(|agent| agent.id == likeness.id)?;
        Some(Duplicate { agent: agents.swap_remove(at), reasons: reasons(likeness) })
    };
    Ok(alike.iter().filter_map(duplicate).collect())
}

fn reasons(likeness: &Likeness) -> Vec<DuplicateReason> {
    let all = [
        (likeness.same_uid, DuplicateReason::MachineUid),
        (likeness.same_board, DuplicateReason::BoardSerial),
        (likeness.same_disk, DuplicateReason::DiskSerial),
        (likeness.same_mac, DuplicateReason::MacAddress),
        (likeness.same_name, DuplicateReason::Hostname),
    ];
    all.into_iter().filter(|(is_alike, _)| *is_alike).map(|(_, reason)| reason).collect()
}

/// Makes two records of one machine one: the history of `input.merged_id` goes to `id`, and that record goes. There is no
/// way back. 409 when both are connected, for then they are two machines, or when one of them is not to be merged.
pub async fn merge(
    app: &App,
    scope: &Scope<ManageAgents>,
    id: Uuid,
    input: &MergeInput,
) -> Result<Agent, Error> {
    let MergeInput { merged_id, key } = *input;
    if merged_id == id {
        return Err(Error::field("merged_id", "INVALID", "is the same machine"));
    }
    let mut tx = app.db.begin(scope).await?;
    store::lock_both(&mut tx, id, merged_id).await?;
    let (kept, merged) = (find(&mut tx, id).await?, find(&mut tx, merged_id).await?);
    for (agent, may_be_retired) in [(&kept, false), (&merged, true)] {
        match agent.status {
            Status::Online | Status::Offline => {}
            Status::Retired if may_be_retired => {}
            _ => return Err(wrong_state(agent.status)),
        }
    }
    if gateway::is_connected(app, &mut tx, id).await?
        && gateway::is_connected(app, &mut tx, merged_id).await?
    {
        let detail = "both are connected at this moment: these are two machines";
        return Err(Error::with_detail(Code::InvalidState, detail));
    }
    if key == MergeKey::Merged && merged.status == Status::Retired {
        let detail = "the key of a retired machine is refused: keep the other one's";
        return Err(Error::with_detail(Code::InvalidState, detail));
    }
    for record in [id, merged_id] {
        uninstall::call_off(&mut tx, record).await?;
    }
    uninstall_store::hand_over(&mut tx, merged_id, id).await?;
    telemetry::gaps::hand_over(&mut tx, merged_id, id).await?;
    store::merge(&mut tx, id, merged_id, key).await?;
    let detail = json!({
        "merged": {
            "id": merged_id, "hostname": merged.hostname, "site_id": merged.site_id, "site_name": merged.site_name,
            "enrolled_at": merged.enrolled_at, "was_retired": merged.status == Status::Retired,
        },
        "key": key,
    });
    let gone = Event::new(Topic::AgentDeleted, tx.tenant()?, merged_id);
    tx.emit(gone.at(merged.client_id, Some(merged.site_id)).on_agent(merged_id)).await?;
    let agent = changed(&mut tx, id, "agent.merge", detail).await?;
    tx.commit().await?;
    match key {
        MergeKey::Kept => app.gateway.disconnect(merged_id, GoodbyeReason::Revoked),
        MergeKey::Merged => {
            app.gateway.disconnect(id, GoodbyeReason::Revoked);
            // It comes back at once, and its welcome tells it who it is now.
            app.gateway.disconnect(merged_id, GoodbyeReason::Other);
        }
    }
    Ok(agent)
}

/// Gives up a machine's key, so that it enrolls anew as itself, and mints a token for it: what to do when a key may have
/// been copied. 409 unless the machine is active.
pub async fn reenroll(app: &App, scope: &Scope<ManageKeys>, id: Uuid) -> Result<KeyOnce, Error> {
    let mut tx = app.db.begin(scope).await?;
    let agent = find(&mut tx, id).await?;
    if !store::revoke_key(&mut tx, id).await? {
        return Err(wrong_state(agent.status));
    }
    let limits = DeploymentInput { expires_in_hours: Some(24), max_uses: Some(1), label: None };
    let note = format!("{} enrolls anew", agent.hostname.chars().take(100).collect::<String>());
    let once = enrollment::mint_for(app, &mut tx, agent.site_id, &limits, &note).await?;
    changed(&mut tx, id, "agent.reenroll", json!({ "enrollment_key_id": once.key.id })).await?;
    tx.commit().await?;
    app.gateway.disconnect(id, GoodbyeReason::Revoked);
    Ok(once)
}

/// Deletes the agents that were retired before a time, the oldest first, at most `most`; answers how many.
pub async fn prune_retired(
    tx: &mut Tx<System>,
    retired_before: DateTime<Utc>,
    most: i64,
) -> Result<u64, Error> {
    let gone = store::prune_retired(tx, retired_before, most.min(MAX_PRUNED)).await?;
    for agent in &gone {
        let event = Event::new(Topic::AgentDeleted, tx.tenant()?, agent.id);
        tx.emit(event.at(agent.client_id, Some(agent.site_id)).on_agent(agent.id)).await?;
    }
    for agent in &gone {
        let detail = json!({ "retired_at": agent.retired_at });
        tx.audit(Entry::new("agent.delete", "agent", agent.id).named(&agent.hostname).with(detail)).await?;
    }
    Ok(gone.len() as u64)
}

/// An agent whose time after it was retired is over.
pub(super) struct Pruned {
    pub id: Uuid,
    pub hostname: String,
    pub client_id: Uuid,
    pub site_id: Uuid,
    pub retired_at: Option<DateTime<Utc>>,
}

/// Tells and audits that an agent changed, and reads it again.
pub(super) async fn changed<P>(
    tx: &mut Tx<P>,
    id: Uuid,
    action: &'static str,
    detail: serde_json::Value,
) -> Result<Agent, Error> {
    let agent = find(tx, id).await?;
    let event = Event::new(Topic::AgentChanged, tx.tenant()?, id);
    tx.emit(event.at(agent.client_id, Some(agent.site_id)).on_agent(id)).await?;
    tx.audit(Entry::new(action, "agent", id).named(&agent.hostname).with(detail)).await?;
    Ok(agent)
}

fn wrong_state(status: Status) -> Error {
    match status {
        Status::Pending => Error::new(Code::AgentNotActive),
        Status::Retired => Error::with_detail(Code::InvalidState, "the machine is retired"),
        Status::Online | Status::Offline => {
            Error::with_detail(Code::InvalidState, "the machine is not retired")
        }
    }
}
