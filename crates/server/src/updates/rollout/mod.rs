//! Rollouts: a version reaches a partner's machines in rings. Each ring is watched before the next one begins; a
//! version that is bad stops where it is, and those that took it go back.
//!
//! A rollout belongs to one partner: who decides about machines is whom they belong to, and no step of it ever reads or
//! writes two partners' rows. A platform that wants to be first with a version puts its own machines on `beta`.

mod health;
mod store;

pub use health::RingHealth;
pub use store::allowed;

use super::releases::{Release, Verified};
use super::store::{self as updates_store, NewUpdate};
use super::{Action, KEPT, Origin, Status, dispatch, plan};
use crate::alerts::{self, PartnerAlert, Severity};
use crate::app::App;
use crate::audit::Entry;
use crate::auth::Scope;
use crate::auth::permission::{ManageRollouts, ReadRollouts, System};
use crate::bus::{Event, Topic};
use crate::db::{Tx, words};
use crate::error::{Code, Error};
use crate::http::{Page, PageQuery};
use crate::policies::{self, UpdatePolicy};
use crate::{jobs, telemetry};
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::UpdateId;
use health::{Cpu, LAST, RINGS, Verdict};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use utoipa::ToSchema;
use uuid::Uuid;

/// Names the job that carries rollouts on.
pub const JOB: &str = "update rollouts";
/// Orders of one partner in a round.
const ORDERS_A_ROUND: usize = 25;
/// Orders of one partner that may be open at a time.
const MOST_OPEN: i64 = 100;
/// A trial that takes longer is lost: the watchdog gives it three minutes.
const TRIAL_IS_LOST_AFTER: TimeDelta = TimeDelta::minutes(15);
/// A machine that has been away this long since it took the version is counted as away.
const IS_AWAY_AFTER: TimeDelta = TimeDelta::minutes(15);

words! {
    /// Where a rollout stands.
    #[schema(as = RolloutState)]
    State {
        Running = "running",
        /// Someone stopped it; who has the version keeps it.
        Halted = "halted",
        /// It is bad, or someone said so: who took it goes back.
        RollingBack = "rolling_back",
        Done = "done",
    }
}

words! {
    /// What someone does with a rollout.
    #[schema(as = RolloutAction)]
    Step {
        /// Begin with the next ring now.
        Promote = "promote",
        Halt = "halt",
        Resume = "resume",
        RollBack = "roll_back",
    }
}

/// A version on its way through a partner's machines.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Rollout {
    pub id: Uuid,
    pub version: String,
    #[schema(inline)]
    pub state: State,
    /// The outermost ring that is served; there are four, 0 to 3.
    pub ring: i16,
    pub ring_since: DateTime<Utc>,
    /// When the next ring may begin, while it runs and there is one.
    pub next_ring_at: Option<DateTime<Utc>>,
    /// Why it stands still.
    pub reason: Option<String>,
    pub started_at: DateTime<Utc>,
    pub changed_at: DateTime<Utc>,
    pub rings: Vec<RingHealth>,
}

/// What to do.
#[derive(Debug, Deserialize, ToSchema)]
pub struct StepInput {
    #[schema(inline)]
    pub action: Step,
}

impl Rollout {
    fn event(&self, tenant: Uuid) -> Event {
        Event::new(Topic::RolloutChanged, tenant, self.id)
    }
}

/// The partner's rollouts, newest first.
pub async fn list(app: &App, scope: &Scope<ReadRollouts>, page: &PageQuery) -> Result<Page<Rollout>, Error> {
    let (limit, after) = (page.limit()?, page.after::<(DateTime<Utc>, Uuid)>()?);
    let mut tx = app.db.begin(scope).await?;
    let total = store::count(&mut tx).await?;
    let mut rollouts = store::list(&mut tx, after, limit + 1).await?;
    let now = Utc::now();
    for rollout in &mut rollouts {
        rollout.rings =
            store::health(&mut tx, rollout, now - TRIAL_IS_LOST_AFTER, now - IS_AWAY_AFTER).await?;
        rollout.next_ring_at = next_ring_at(rollout);
    }
    Page::of(rollouts, limit, total, |rollout| (rollout.started_at, rollout.id))
}

/// Promotes, halts, resumes, or takes back by hand. 409 when it stands where that is not possible.
pub async fn step(app: &App, scope: &Scope<ManageRollouts>, id: Uuid, step: Step) -> Result<Rollout, Error> {
    let now = Utc::now();
    let mut tx = app.db.begin(scope).await?;
    let mut rollout = store::lock(&mut tx, id).await?.ok_or_else(Error::not_found)?;
    let (state, ring) = after(rollout.state, rollout.ring, step).ok_or_else(|| {
        Error::with_detail(Code::InvalidState, format!("the rollout is {}", rollout.state.as_str()))
    })?;
    rollout.reason = match step {
        Step::Halt => Some("someone halted it".to_owned()),
        Step::RollBack => Some("someone took it back".to_owned()),
        Step::Promote | Step::Resume => None,
    };
    if ring != rollout.ring || step == Step::Resume {
        rollout.ring_since = now;
    }
    let before = rollout.state;
    (rollout.state, rollout.ring) = (state, ring);
    write(&mut tx, &rollout, now).await?;
    let detail = json!({ "action": step, "from": before, "to": state, "ring": ring });
    tx.audit(Entry::new("rollout.step", "rollout", id).named(&rollout.version).with(detail)).await?;
    rollout.rings = store::health(&mut tx, &rollout, now - TRIAL_IS_LOST_AFTER, now - IS_AWAY_AFTER).await?;
    rollout.next_ring_at = next_ring_at(&rollout);
    tx.commit().await?;
    Ok(rollout)
}

/// State and ring after someone's step, where that is possible.
fn after(state: State, ring: i16, step: Step) -> Option<(State, i16)> {
    match (step, state) {
        (Step::Promote, State::Running) if ring < LAST => Some((State::Running, ring + 1)),
        (Step::Halt, State::Running) => Some((State::Halted, ring)),
        (Step::Resume, State::Halted | State::RollingBack) => Some((State::Running, ring)),
        (Step::RollBack, State::Running | State::Halted | State::Done) => Some((State::RollingBack, ring)),
        _ => None,
    }
}

fn next_ring_at(rollout: &Rollout) -> Option<DateTime<Utc>> {
    let ring = usize::try_from(rollout.ring).ok().filter(|ring| ring + 1 < RINGS.len())?;
    (rollout.state == State::Running).then(|| rollout.ring_since + RINGS[ring].soak)
}

/// Writes a rollout's new state. What was ordered and not begun is taken back where it does not go on.
async fn write<P>(tx: &mut Tx<P>, rollout: &Rollout, now: DateTime<Utc>) -> Result<(), Error> {
    store::write(tx, rollout, now).await?;
    if matches!(rollout.state, State::Halted | State::RollingBack) {
        store::withdraw(tx, rollout.id, now).await?;
    }
    let tenant = tx.tenant()?;
    tx.emit(rollout.event(tenant)).await
}

/// Carries all partners' rollouts on: starts those of new versions, judges those that run, and orders.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    let Some(verified) = app.updates.releases.valid(now) else { return Ok(()) };
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_of(app, tenant, &verified, now).await);
    }
    Ok(())
}

async fn keep_of(app: &App, tenant: Uuid, verified: &Verified, now: DateTime<Utc>) -> Result<(), Error> {
    let scope: Scope<System> = Scope::system(JOB, tenant);
    let mut tx = app.db.begin(&scope).await?;
    let fleet = store::fleet(&mut tx).await?;
    if fleet.is_empty() {
        return Ok(());
    }
    let policies = policies::update_policies(&mut tx).await?;
    start(&mut tx, verified, &fleet, &policies, now).await?;
    for rollout in store::unfinished(&mut tx).await? {
        judge(&mut tx, rollout, now).await?;
    }
    let room = MOST_OPEN - store::count_open(&mut tx).await?;
    let room = usize::try_from(room).unwrap_or_default().min(ORDERS_A_ROUND);
    let ordered = order(&mut tx, verified, &fleet, &policies, room, now).await?;
    tx.commit().await?;
    for agent_id in ordered {
        dispatch::send(app, &scope, agent_id).await;
    }
    Ok(())
}

/// Starts the rollout of every version that a machine would take now and that has none. Rings are drawn once: machines
/// that are there and able first, in an order that hangs on the rollout and the machine alone, so that not the same ones
/// are always first.
async fn start(
    tx: &mut Tx<System>,
    verified: &Verified,
    fleet: &[store::Member],
    policies: &HashMap<Uuid, UpdatePolicy>,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    let known: HashMap<String, State> = store::versions(tx).await?.into_iter().collect();
    let mut takers: HashMap<String, Vec<&store::Member>> = HashMap::new();
    for member in fleet {
        let Some((policy, build)) = policies.get(&member.id).zip(member.build()) else { continue };
        let wanted = plan::newest(&verified.releases, &build, policy.channel, |release| {
            let state = known.get(&release.version.to_string());
            matches!(state, Some(State::Halted | State::RollingBack))
                || plan::ordered_until(policy, release, now).is_none()
        });
        // What a machine waits for in a rollout that is there already is better than anything older.
        let version = wanted.map(|(release, _)| release.version.to_string());
        if let Some(version) = version.filter(|version| !known.contains_key(version)) {
            takers.entry(version).or_default().push(member);
        }
    }
    let tenant = tx.tenant()?;
    for (version, takers) in takers {
        let ready: HashSet<Uuid> =
            takers.iter().filter(|member| member.is_ready()).map(|member| member.id).collect();
        if ready.is_empty() {
            continue;
        }
        let id = Uuid::now_v7();
        let mut drawn: Vec<&store::Member> = fleet.iter().collect();
        drawn.sort_by_cached_key(|member| (!ready.contains(&member.id), place(id, member.id)));
        let rings: Vec<(Uuid, i16)> = drawn
            .iter()
            .enumerate()
            .map(|(index, member)| (member.id, ring_of(index, ready.len(), drawn.len())))
            .collect();
        if store::insert(tx, id, &version, &rings, now).await? {
            tracing::info!(%tenant, version, machines = rings.len(), "a rollout starts");
            tx.emit(Event::new(Topic::RolloutChanged, tenant, id)).await?;
        }
    }
    Ok(())
}

/// The ring of the machine at this place. The first ring holds only machines that are `ready`: what cannot show
/// anything is no test.
fn ring_of(index: usize, ready: usize, fleet: usize) -> i16 {
    let ring = (0..RINGS.len()).find(|ring| index < health::reach(*ring, fleet)).unwrap_or(RINGS.len() - 1);
    let ring = if index >= ready { ring.max(1) } else { ring };
    i16::try_from(ring).unwrap_or(LAST)
}

fn place(rollout: Uuid, agent: Uuid) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(rollout.as_bytes()).update(agent.as_bytes());
    *hasher.finalize().as_bytes()
}

async fn judge(tx: &mut Tx<System>, mut rollout: Rollout, now: DateTime<Utc>) -> Result<(), Error> {
    if rollout.state != State::Running {
        return Ok(());
    }
    let mut rings = store::health(tx, &rollout, now - TRIAL_IS_LOST_AFTER, now - IS_AWAY_AFTER).await?;
    rings.retain(|ring| ring.ring <= rollout.ring);
    // A ring without machines still is watched.
    if rings.last().is_none_or(|ring| ring.ring < rollout.ring) {
        rings.push(RingHealth { ring: rollout.ring, ..RingHealth::default() });
    }
    let stayed = store::stayed(tx, rollout.id).await?;
    let cpu = telemetry::cpu_around(tx, &stayed).await?.map(|(before, after)| Cpu { before, after });
    match health::judge(&rings, cpu, rollout.ring_since, now) {
        Verdict::Wait => return Ok(()),
        Verdict::Promote => (rollout.ring, rollout.ring_since) = (rollout.ring + 1, now),
        Verdict::Done => rollout.state = State::Done,
        Verdict::TakeBack(reason) => {
            tracing::warn!(version = rollout.version, reason, "a rollout is taken back");
            let title = format!("Agent {} is taken back: {reason}", rollout.version);
            let alert = PartnerAlert {
                kind: "updates.rollout_halted",
                severity: Severity::Critical,
                title: &title,
                detail: json!({ "rollout_id": rollout.id, "version": rollout.version, "ring": rollout.ring }),
                dedup_key: &format!("updates.rollout_halted:{}", rollout.id),
            };
            alerts::stand(tx, alert).await?;
            (rollout.state, rollout.reason) = (State::RollingBack, Some(reason));
        }
    }
    write(tx, &rollout, now).await
}

/// Orders what the rollouts allow, few at a time, machines in a fixed order; answers whom.
async fn order(
    tx: &mut Tx<System>,
    verified: &Verified,
    fleet: &[store::Member],
    policies: &HashMap<Uuid, UpdatePolicy>,
    room: usize,
    now: DateTime<Utc>,
) -> Result<Vec<Uuid>, Error> {
    // Asked one by one are only those for whom something may be due.
    let candidates = store::candidates(tx).await?;
    let is_due = |member: &&store::Member, policy: &UpdatePolicy| {
        candidates.get(&member.id).is_some_and(|is_bad| {
            *is_bad
                || member.build().is_some_and(|build| {
                    let is_unwanted = |release: &Release| plan::ordered_until(policy, release, now).is_none();
                    plan::newest(&verified.releases, &build, policy.channel, is_unwanted).is_some()
                })
        })
    };
    let mut ordered = Vec::new();
    for member in fleet {
        let Some(policy) = policies.get(&member.id).filter(|policy| is_due(&member, policy)) else {
            continue;
        };
        if ordered.len() >= room {
            break;
        }
        if is_ordered(tx, verified, member.id, policy, now).await? {
            ordered.push(member.id);
        }
    }
    Ok(ordered)
}

/// Writes the order that a machine without an open one is due now, if any.
pub(super) async fn is_ordered(
    tx: &mut Tx<System>,
    verified: &Verified,
    agent_id: Uuid,
    policy: &UpdatePolicy,
    now: DateTime<Utc>,
) -> Result<bool, Error> {
    let Some(machine) = updates_store::machine(tx, agent_id).await? else { return Ok(false) };
    let Some(build) = machine.build() else { return Ok(false) };
    let allowed = store::allowed(tx, agent_id).await?;
    let is_bad = |version: &str| {
        allowed.iter().any(|known| known.version == version && known.state == State::RollingBack)
    };
    let order = if is_bad(&machine.agent_version) {
        let previous = machine.previous_version.clone().filter(|version| *version != machine.agent_version);
        let Some(previous) = previous else { return Ok(false) };
        let of = allowed.iter().find(|known| known.version == machine.agent_version);
        NewUpdate {
            action: Action::RollBack,
            origin: Origin::Rollout,
            to_version: previous,
            channel: String::new(),
            rollout: of.map(|known| (known.rollout_id, known.member_ring.unwrap_or(LAST))),
            valid_until: now + super::ORDER_VALID,
        }
    } else {
        let spared = updates_store::spared_versions(tx, agent_id, now).await?;
        let newest = plan::newest(&verified.releases, &build, policy.channel, |release| {
            let version = release.version.to_string();
            let is_reached = allowed.iter().any(|known| known.version == version && known.reaches());
            !is_reached || spared.contains(&version) || plan::ordered_until(policy, release, now).is_none()
        });
        let Some((release, channel)) = newest else { return Ok(false) };
        let Some(valid_until) = plan::ordered_until(policy, release, now) else { return Ok(false) };
        let version = release.version.to_string();
        let of = allowed.iter().find(|known| known.version == version);
        NewUpdate {
            action: Action::Install,
            origin: Origin::Rollout,
            to_version: version,
            channel: channel.as_str().to_owned(),
            rollout: of.map(|known| (known.rollout_id, known.member_ring.unwrap_or(LAST))),
            valid_until,
        }
    };
    let id = UpdateId::new();
    if !updates_store::insert(tx, id.0, &machine, &order, now).await? {
        return Ok(false);
    }
    updates_store::keep_newest(tx, agent_id, id.0, KEPT).await?;
    tx.emit(machine.changed(id.0)).await?;
    Ok(true)
}

/// Versions that were found bad: nobody is sent there, not by hand either.
pub(super) async fn bad_versions<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Vec<String>, Error> {
    let allowed = store::allowed(tx, agent_id).await?;
    let bad = allowed.into_iter().filter(|known| known.state == State::RollingBack);
    Ok(bad.map(|known| known.version).collect())
}

/// The status an order of a rollout that does not go on ends with.
const WITHDRAWN: Status = Status::Superseded;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand_a_rollout_only_goes_where_it_can() {
        use State::{Done, Halted, RollingBack, Running};
        assert_eq!(after(Running, 0, Step::Promote), Some((Running, 1)));
        assert_eq!(after(Running, LAST, Step::Promote), None);
        assert_eq!(after(Halted, 1, Step::Promote), None);
        assert_eq!(after(Halted, 1, Step::Resume), Some((Running, 1)));
        assert_eq!(after(RollingBack, 0, Step::Halt), None);
        assert_eq!(after(Done, LAST, Step::RollBack), Some((RollingBack, LAST)));
        assert_eq!(after(Done, LAST, Step::Resume), None);
    }

    #[test]
    fn the_first_ring_holds_only_machines_that_can_show_something() {
        assert_eq!((0..5).map(|index| ring_of(index, 0, 1_000)).max(), Some(1));
        let first = (0..1_000).filter(|index| ring_of(*index, 1_000, 1_000) == 0).count();
        assert_eq!(first, 10);
        assert_eq!(ring_of(999, 1_000, 1_000), LAST);
    }
}
