//! Samples that will never come: what a machine measured while it could not reach its server and could not keep. It counts
//! them, so that a chart can say what is missing and why.

pub mod http;
mod store;

use super::{DEFAULT_RANGE, FUTURE_AT_MOST, LONGEST_RETENTION};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::{ReadFleet, System};
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::gateway::AgentSession;
use chrono::{DateTime, Utc};
use gururmm_protocol::ServerMessage;
use gururmm_protocol::gap::Gap;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

/// Gaps that are shown at once.
const MOST_SHOWN: i64 = 200;
/// Gaps that are kept of one machine; an honest one has a handful in a bad year. Those that ended first go first.
const MOST_KEPT: i64 = 500;

/// What is known to be missing in a span.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricGaps {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// Those that touch the span, newest first, at most 200.
    pub gaps: Vec<MetricGap>,
}

/// Samples that were lost for one reason.
#[derive(Debug, Serialize, ToSchema)]
pub struct MetricGap {
    /// When the earliest of them was taken.
    pub from: DateTime<Utc>,
    /// When the latest of them was taken.
    pub to: DateTime<Utc>,
    /// How many; absent where the machine does not know.
    pub count: Option<i64>,
    /// `outbox_full`, `disk_full`, `store_failed`, `store_unreadable` or `other`.
    pub reason: String,
    /// What the machine's system said.
    pub error: Option<String>,
    pub received_at: DateTime<Utc>,
}

/// Stored before it is acknowledged. One that comes again may have grown; it never shrinks.
pub async fn reported(app: &App, session: &AgentSession, mut gap: Gap) -> Result<Vec<ServerMessage>, Error> {
    gap.clean();
    let now = Utc::now();
    let storable = |time: DateTime<Utc>| time.clamp(now - LONGEST_RETENTION, now + FUTURE_AT_MOST);
    (gap.from, gap.to) = (storable(gap.from), storable(gap.to));
    if gap.count != Some(0) {
        let mut tx = app.db.begin(&session.scope()).await?;
        let is_news = store::keep(&mut tx, session.agent_id, &gap).await?;
        if is_news {
            store::drop_beyond(&mut tx, session.agent_id, MOST_KEPT).await?;
        }
        tx.commit().await?;
        if is_news {
            let (agent_id, samples, reason) = (session.agent_id, gap.count, gap.reason.as_str());
            tracing::info!(%agent_id, samples, reason, from = %gap.from, to = %gap.to, "samples of a machine are lost");
        }
    }
    Ok(vec![ServerMessage::GapAck { gap_id: gap.gap_id }])
}

/// Two records of one machine become one: what was counted as lost under `from` is `to`'s.
pub async fn hand_over<P>(tx: &mut Tx<P>, from: Uuid, to: Uuid) -> Result<(), Error> {
    store::hand_over(tx, from, to).await?;
    store::drop_beyond(tx, to, MOST_KEPT).await
}

/// What is known to be missing of an agent. `from` is a day before `to` when absent, `to` is now.
pub async fn list(
    app: &App,
    scope: &Scope<ReadFleet>,
    agent_id: Uuid,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<MetricGaps, Error> {
    let to = to.unwrap_or_else(Utc::now);
    let from = from.or_else(|| to.checked_sub_signed(DEFAULT_RANGE)).unwrap_or(to);
    if from >= to {
        return Err(Error::with_detail(Code::InvalidQuery, "from must be before to"));
    }
    let now = Utc::now();
    let (first, last) = (from.max(now - LONGEST_RETENTION), to.min(now + FUTURE_AT_MOST));
    let mut tx = app.db.begin(scope).await?;
    super::store::place(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let gaps = match first < last {
        true => store::list(&mut tx, agent_id, first, last, MOST_SHOWN).await?,
        false => Vec::new(),
    };
    Ok(MetricGaps { from, to, gaps })
}

/// Removes those that ended before `before`, with the samples beside them. How many went.
pub async fn prune(tx: &mut Tx<System>, before: DateTime<Utc>, most: i64) -> Result<u64, Error> {
    store::prune(tx, before, most).await
}
