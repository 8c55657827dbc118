//! Agents whose socket another node holds. Which node that is, the database says; what they are to be told, the node
//! reads there itself.

use super::registry::Line;
use super::{AgentSession, Machine, store};
use crate::app::App;
use crate::db::Tx;
use crate::error::Error;
use crate::peers::{self, Matter, Signal};
use gururmm_protocol::to_agent::GoodbyeReason;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How long another node may take to say which machine it has at the other end. One that died says nothing.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// Questions that may be open. Beyond it two sessions of one key on two nodes are not compared.
const QUESTIONS_AT_MOST: usize = 1_024;
/// How often a node asks the database which of its sessions are not their agents' living ones.
const COMPARED_EVERY: Duration = Duration::from_secs(15);
/// Sessions in one such question.
const COMPARED_AT_ONCE: usize = 5_000;

/// The session that an agent has on another node, as that node tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    pub epoch: i64,
    pub machine: Machine,
    /// The machines that it and its predecessors replaced.
    pub former: Vec<Machine>,
}

/// Questions to other nodes that are not answered yet.
#[derive(Default)]
pub struct Questions(Mutex<HashMap<Uuid, oneshot::Sender<Met>>>);

impl Questions {
    /// The answer came. One that nobody waits for is thrown away.
    pub fn answered(&self, question: Uuid, met: Met) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asker) = open.remove(&question) {
            let _gave_up = asker.send(met);
        }
    }

    fn open(&self, question: Uuid) -> Option<oneshot::Receiver<Met>> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() >= QUESTIONS_AT_MOST {
            return None;
        }
        let (asker, answer) = oneshot::channel();
        open.insert(question, asker);
        Some(answer)
    }

    fn close(&self, question: Uuid) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&question);
    }
}

/// Which machine is at the other end of the session that another node holds for this agent, if that node says so in time.
pub(super) async fn met(app: &App, session: &AgentSession) -> Option<Met> {
    let node_id = session.held_by.filter(|_| app.bus.has_others())?;
    let (questions, question) = (&app.gateway.questions, Uuid::now_v7());
    let answer = questions.open(question)?;
    let signal = Signal::Who { question, agent_id: session.agent_id };
    peers::tell_one(&app.bus, node_id, session.tenant_id, &signal);
    let met = timeout(ANSWERS_WITHIN, answer).await.ok().and_then(Result::ok);
    questions.close(question);
    met.filter(|met| met.epoch < session.epoch)
}

/// Another node asks who is at the other end of an agent's session.
pub fn say_who(app: &App, asked_by: Uuid, tenant_id: Uuid, question: Uuid, agent_id: Uuid) {
    if let Some(met) = app.gateway.registry.line(agent_id).and_then(|line| line.met()) {
        let signal = Signal::This { question, met: Box::new(met) };
        peers::tell_one(&app.bus, asked_by, tenant_id, &signal);
    }
}

/// Tells the node that holds the agent's socket to look for something that is there for it. Answers whether a node may
/// have heard it: whoever is not told looks into the database later.
pub fn look(app: &App, tenant_id: Uuid, agent_id: Uuid, at: Matter) -> bool {
    peers::tell(&app.bus, tenant_id, &Signal::Look { agent_id, at });
    app.bus.has_others()
}

/// Whether the agent has a session here or on another node.
pub async fn is_connected<P>(app: &App, tx: &mut Tx<P>, agent_id: Uuid) -> Result<bool, Error> {
    if app.gateway.is_connected(agent_id) {
        return Ok(true);
    }
    Ok(!store::connected_elsewhere(tx, app.bus.node_id(), &[agent_id]).await?.is_empty())
}

/// Which of these agents have a session on another node.
pub async fn connected_elsewhere<P>(
    app: &App,
    tx: &mut Tx<P>,
    agent_ids: &[Uuid],
) -> Result<Vec<Uuid>, Error> {
    match app.bus.has_others() && !agent_ids.is_empty() {
        true => store::connected_elsewhere(tx, app.bus.node_id(), agent_ids).await,
        false => Ok(Vec::new()),
    }
}

/// An agent's session may have ended. Whether it has, the database says.
pub async fn ended(app: &App, agent_id: Uuid, reason: GoodbyeReason) -> Result<(), Error> {
    let Some(line) = app.gateway.registry.line(agent_id) else { return Ok(()) };
    if !app.db.stale_sessions(&[agent_id], &[line.epoch()]).await?.is_empty() {
        line.close(reason, Duration::ZERO);
    }
    Ok(())
}

/// Ends sessions that are not their agents' living ones, until `stop`: what a node was not told, it finds by itself.
pub async fn keep_comparing(app: &App, stop: CancellationToken) {
    let mut suspects: HashMap<Uuid, i64> = HashMap::new();
    while stop.run_until_cancelled(tokio::time::sleep(COMPARED_EVERY)).await.is_some() {
        if app.bus.has_others() {
            match compare(app, &suspects).await {
                Ok(found) => suspects = found,
                Err(error) => tracing::debug!(%error, "sessions are compared with the database later"),
            }
        }
    }
}

/// Ends what was suspect before and still is, and answers what is suspect now: a newer session may be at its hello, and
/// turn out to be a copy's.
async fn compare(app: &App, suspects: &HashMap<Uuid, i64>) -> Result<HashMap<Uuid, i64>, Error> {
    let mut found = HashMap::new();
    for lines in app.gateway.registry.lines().chunks(COMPARED_AT_ONCE) {
        let ids: Vec<Uuid> = lines.iter().map(|line| line.agent_id()).collect();
        let epochs: Vec<i64> = lines.iter().map(|line| line.epoch()).collect();
        let stale = app.db.stale_sessions(&ids, &epochs).await?;
        let is_stale = |line: &&Arc<Line>| stale.contains(&line.agent_id());
        for line in lines.iter().filter(is_stale) {
            if suspects.get(&line.agent_id()) == Some(&line.epoch()) {
                tracing::info!(agent_id = %line.agent_id(), epoch = line.epoch(), "a session that is over");
                line.close(GoodbyeReason::Replaced, Duration::ZERO);
            }
            found.insert(line.agent_id(), line.epoch());
        }
    }
    Ok(found)
}
