//! The queue of machines that wait for someone: what there is to see of them, and decisions about many at once.

use super::{Agent, ApproveAs, Filter, Sort, Status, approve, list_store, reject, store};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::{ManageAgents, ReadFleet};
use crate::db::words;
use crate::error::Error;
use crate::http::{Page, PageQuery};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use utoipa::ToSchema;
use uuid::Uuid;

/// Decisions in one request: each is a transaction of its own.
const MAX_DECISIONS: usize = 100;

/// A machine that waits, with what speaks for it and against it.
#[derive(Debug, Serialize, ToSchema)]
pub struct WaitingMachine {
    pub agent: Agent,
    /// The address it asked from.
    pub asked_from: Option<String>,
    /// When it last asked.
    pub asked_at: Option<DateTime<Utc>>,
    pub mac_addresses: Vec<String>,
    pub board_serial: Option<String>,
    pub disk_serial: Option<String>,
    /// The enrollment key it asked with: `v3 (7F2A)`.
    pub key_label: Option<String>,
    pub key_note: Option<String>,
    /// The known machine whose identity it offers.
    pub collides_with: Option<KnownMachine>,
}

/// The known machine that a newcomer may be.
#[derive(Debug, Serialize, ToSchema)]
pub struct KnownMachine {
    pub id: Uuid,
    pub hostname: String,
    pub is_connected: bool,
    pub is_retired: bool,
    pub last_seen: Option<DateTime<Utc>>,
}

words! {
    /// What becomes of a machine that waits.
    Verdict {
        /// Let in as itself: nobody else has its identity.
        Accept = "accept",
        /// Let in as another machine than the one whose identity it offers.
        New = "new",
        /// Let in as that very machine.
        SameMachine = "same_machine",
        /// Turned away.
        Reject = "reject",
    }
}

/// Decisions about machines that wait.
#[derive(Debug, Deserialize, ToSchema)]
pub struct DecisionsInput {
    /// 1 to 100, each about another machine.
    #[schema(min_items = 1, max_items = 100)]
    pub decisions: Vec<Decision>,
}

/// A decision about one machine.
#[derive(Debug, Deserialize, ToSchema)]
pub struct Decision {
    pub agent_id: Uuid,
    pub verdict: Verdict,
    /// `key_fingerprint` of the machine as it was looked at. Needed where it was given another key while it waits.
    #[schema(max_length = 64)]
    pub key_fingerprint: Option<String>,
}

/// What became of one decision.
#[derive(Debug, Serialize, ToSchema)]
pub struct Outcome {
    pub agent_id: Uuid,
    /// The agent it is now: its own id, or the known machine's; null where it was turned away, or nothing was done.
    pub approved_as: Option<Uuid>,
    /// Why nothing was done; null where it was.
    pub problem: Option<OutcomeProblem>,
}

/// Why a decision was not carried out, as a request about that machine alone would have been answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutcomeProblem {
    pub code: &'static str,
    pub detail: String,
}

/// One page of the machines that wait, the oldest first.
pub async fn list_waiting(
    app: &App,
    scope: &Scope<ReadFleet>,
    site_id: Option<Uuid>,
    page: &PageQuery,
) -> Result<Page<WaitingMachine>, Error> {
    let (limit, after) = (page.limit()?, page.after::<Uuid>()?);
    let mut tx = app.db.begin(scope).await?;
    let filter = Filter { status: Some(Status::Pending), site_id, ..Filter::default() };
    let total = list_store::count(&mut tx, &filter).await?;
    let facts = store::waiting_facts(&mut tx, site_id, after, limit + 1).await?;
    let ids = facts.iter().map(|facts| facts.id).collect();
    let filter = Filter { ids: Some(ids), ..filter };
    let mut agents = list_store::list(&mut tx, &filter, Sort::default(), None, None).await?;
    let waiting = facts.into_iter().filter_map(|facts| {
        let at = agents.iter().position(|agent| agent.id == facts.id)?;
        Some(facts.about(agents.swap_remove(at)))
    });
    Page::of(waiting.collect(), limit, total, |waiting| waiting.agent.id)
}

/// Carries out decisions one after the other, each in a transaction of its own: what is refused about one machine keeps
/// no other waiting. 422 for none, too many, or two about one machine.
pub async fn decide_many(
    app: &App,
    scope: &Scope<ManageAgents>,
    input: &DecisionsInput,
) -> Result<Vec<Outcome>, Error> {
    let decisions = input.decisions.as_slice();
    if decisions.is_empty() || decisions.len() > MAX_DECISIONS {
        return Err(Error::field("decisions", "OUT_OF_RANGE", "must be 1 to 100"));
    }
    let about: HashSet<Uuid> = decisions.iter().map(|decision| decision.agent_id).collect();
    if about.len() != decisions.len() {
        return Err(Error::field("decisions", "INVALID", "must be about a machine once"));
    }
    let mut outcomes = Vec::with_capacity(decisions.len());
    for decision in decisions {
        let done = carry_out(app, scope, decision).await;
        let (approved_as, problem) = match done {
            Ok(approved_as) => (approved_as, None),
            Err(Error::Problem(problem)) => {
                let detail = problem.detail.as_deref().unwrap_or(problem.code.title()).to_owned();
                (None, Some(OutcomeProblem { code: problem.code.as_str(), detail }))
            }
            // What was decided before it stands; the caller asks again for the rest.
            Err(error) => return Err(error),
        };
        outcomes.push(Outcome { agent_id: decision.agent_id, approved_as, problem });
    }
    Ok(outcomes)
}

async fn carry_out(
    app: &App,
    scope: &Scope<ManageAgents>,
    Decision { agent_id, verdict, key_fingerprint }: &Decision,
) -> Result<Option<Uuid>, Error> {
    let approve_as = match verdict {
        Verdict::Reject => return reject(app, scope, *agent_id).await.map(|()| None),
        Verdict::Accept => ApproveAs::Accept,
        Verdict::New => ApproveAs::New,
        Verdict::SameMachine => ApproveAs::SameMachine,
    };
    let approved = approve(app, scope, *agent_id, approve_as, key_fingerprint.as_deref()).await?;
    Ok(Some(approved.id))
}
