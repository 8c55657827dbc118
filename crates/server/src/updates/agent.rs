//! What agents say about their updates, and what they are told at a hello.

use super::store::{self, NewUpdate};
use super::{Action, AgentUpdate, Channel, KEPT, Origin, Status, dispatch, rollout};
use crate::app::App;
use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::Error;
use crate::gateway::AgentSession;
use crate::policies;
use chrono::{DateTime, Utc};
use gururmm_protocol::ServerMessage;
use gururmm_protocol::to_server::Hello;
use gururmm_protocol::update::{UpdateAbility, UpdateReport};
use semver::Version;
use uuid::Uuid;

/// The agent is there: what it can is noted, and its open order sent again, or a new one decided. Agents before 1.1 say
/// nothing about updates and are told nothing.
pub async fn hello(
    app: &App,
    tx: &mut Tx<System>,
    session: &AgentSession,
    hello: &Hello,
) -> Result<Vec<ServerMessage>, Error> {
    let now = Utc::now();
    let Some(ability) = ability(hello) else {
        store::forget_ability(tx, session.agent_id).await?;
        return Ok(Vec::new());
    };
    store::set_ability(tx, session.agent_id, &ability).await?;
    let open = open_order(tx, session.agent_id, now).await?;
    let order = match open {
        // On its way: the agent says by itself what came of a trial.
        Some(open) => (open.status != Status::Trying).then_some(open),
        None if ability.supported => decide(app, tx, session.agent_id, now).await?,
        None => None,
    };
    Ok(order.as_ref().map(dispatch::message).into_iter().collect())
}

/// What the agent says of its ability to become another version, within limits.
pub fn ability(hello: &Hello) -> Option<UpdateAbility> {
    let mut ability = hello.update.clone()?;
    ability.clean();
    Some(ability)
}

/// Whether something may be ordered for an agent that has nothing open.
pub fn may_order(app: &App, ability: Option<&UpdateAbility>) -> bool {
    let is_published = || {
        let verified = app.updates.releases.valid(Utc::now());
        verified.is_some_and(|verified| !verified.releases.is_empty())
    };
    ability.is_some_and(|ability| ability.supported) && is_published()
}

/// What is open and still wanted. What is over is ended here and not only by the next round of deadlines.
async fn open_order(
    tx: &mut Tx<System>,
    agent_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<AgentUpdate>, Error> {
    let Some(open) = store::open_of(tx, agent_id).await? else { return Ok(None) };
    if open.status != Status::Ordered {
        return Ok(Some(open));
    }
    let is_wanted = match open.origin {
        Origin::Policy | Origin::Rollout if open.action == Action::Install => {
            policies::update_policy(tx, agent_id).await?.is_some_and(|policy| {
                let takes =
                    Channel::parse(&open.channel).is_some_and(|channel| policy.channel.takes(channel));
                let is_open = policy.window.is_none_or(|window| window.open_until(now).is_some());
                policy.is_enabled && takes && is_open
            })
        }
        _ => true,
    };
    let end = match (open.valid_until > now, is_wanted) {
        (true, true) => return Ok(Some(open)),
        (false, _) => Status::Expired,
        (true, false) => Status::Superseded,
    };
    store::end(tx, open.id, end, None, now).await?;
    Ok(None)
}

/// Orders what the agent is to become, if a rollout has reached it and its policy wants it now.
async fn decide(
    app: &App,
    tx: &mut Tx<System>,
    agent_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Option<AgentUpdate>, Error> {
    let published = app.updates.releases.valid(now).filter(|verified| !verified.releases.is_empty());
    let Some(verified) = published else { return Ok(None) };
    let Some(policy) = policies::update_policy(tx, agent_id).await? else { return Ok(None) };
    if !rollout::is_ordered(tx, &verified, agent_id, &policy, now).await? {
        return Ok(None);
    }
    store::open_of(tx, agent_id).await
}

/// How far an update is. Stored before it is acknowledged; twice, late, or in another order is no harm.
pub async fn reported(
    app: &App,
    session: &AgentSession,
    mut report: UpdateReport,
) -> Result<Vec<ServerMessage>, Error> {
    report.clean();
    let now = Utc::now();
    let acknowledged =
        vec![ServerMessage::UpdateReportAck { update_id: report.update_id, state: report.state }];
    let Some(reported) = Status::reported(report.state) else { return Ok(acknowledged) };
    let mut tx = app.db.begin(&session.scope()).await?;
    let Some(machine) = store::machine(&mut tx, session.agent_id).await? else { return Ok(acknowledged) };
    let id = report.update_id.0;
    let known = match store::lock(&mut tx, id, session.agent_id).await? {
        Some(known) => known,
        None => {
            if !by_itself(&mut tx, &machine, &report, now).await? {
                tracing::warn!(agent_id = %session.agent_id, update_id = %id, "an update of another agent is reported");
                return Ok(acknowledged);
            }
            store::Known { status: Status::Ordered, valid_until: now }
        }
    };
    if let Some(status) = known.status.after_report(reported) {
        if status.is_final() {
            store::end(&mut tx, id, status, Some(&report), now).await?;
            store::note_kept(&mut tx, id).await?;
        } else {
            store::advance(&mut tx, id, status, status.deadline(known.valid_until, now), now).await?;
        }
        tx.emit(machine.changed(id)).await?;
        tracing::info!(
            agent_id = %session.agent_id, update_id = %id, status = status.as_str(), version = report.version,
            code = report.error_code, "an agent's update went on"
        );
    }
    tx.commit().await?;
    Ok(acknowledged)
}

/// An update that nobody ordered here: the agent went back by itself, or was told by a hello. `false` when the id is
/// another agent's.
async fn by_itself(
    tx: &mut Tx<System>,
    machine: &store::Machine,
    report: &UpdateReport,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let is_older = match (Version::parse(&report.version), Version::parse(&machine.agent_version)) {
        (Ok(reported), Ok(runs)) => reported < runs,
        _ => false,
    };
    // It does one thing at a time, and this is what it does.
    if let Some(open) = store::open_of(tx, machine.id).await? {
        store::end(tx, open.id, Status::Superseded, None, now).await?;
    }
    let order = NewUpdate {
        action: if is_older { Action::RollBack } else { Action::Install },
        origin: Origin::Machine,
        to_version: report.version.clone(),
        channel: String::new(),
        rollout: None,
        valid_until: now,
    };
    let is_new = store::insert(tx, report.update_id.0, machine, &order, now).await?;
    if is_new {
        store::keep_newest(tx, machine.id, report.update_id.0, KEPT).await?;
    }
    Ok(is_new)
}
