//! The states of a command, and the one function that says which may follow which. Pure: every path that changes a
//! command goes through [`step`], every deadline through [`overdue`].
//!
//! `interrupted` is said when nobody knows how far a command got: the agent died, or it was not heard of for too
//! long. If the agent reports the real end of that very command later, the end replaces it: a result is never
//! thrown away. Every other final state is for ever.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::command::Outcome;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = CommandStatus)]
pub enum Status {
    /// Waits for the agent.
    Queued,
    /// Given to the agent's connection; not yet known to have started.
    Sent,
    Running,
    /// Ended by itself with exit code 0.
    Completed,
    /// Ended by itself with another code, or could not be started.
    Failed,
    /// Killed at its time limit.
    Timeout,
    Cancelled,
    /// How far it got is unknown.
    Interrupted,
    /// The agent did not come for it in time; it never ran.
    Expired,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Sent,
        Self::Running,
        Self::Completed,
        Self::Failed,
        Self::Timeout,
        Self::Cancelled,
        Self::Interrupted,
        Self::Expired,
    ];

    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Interrupted => "interrupted",
            Self::Expired => "expired",
        }
    }

    /// Reads the word; `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// Whether it has ended.
    pub fn is_final(self) -> bool {
        !matches!(self, Self::Queued | Self::Sent | Self::Running)
    }
}

/// What happens to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// It goes to the agent, for the first time or again.
    Sent,
    /// The agent says that its process runs.
    Started,
    /// The agent says how it ended.
    Ended(Outcome),
    /// Someone cancels it while the agent provably does not hold it.
    Withdrawn,
    /// Its time to be fetched is over while the agent provably does not hold it.
    Expired,
    /// Its end has not been reported in time, or the agent does not know it any more.
    GivenUp,
}

/// What follows from a trigger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is now in this state.
    To(Status),
    /// It is there already: a repetition, to be answered as the first time.
    Stay,
    /// This cannot happen to it any more.
    Refused,
}

/// What a trigger makes of a state.
pub fn step(status: Status, trigger: Trigger) -> Step {
    use Status::{Cancelled, Expired, Interrupted, Queued, Running, Sent};
    match (trigger, status) {
        (Trigger::Sent, Queued) => Step::To(Sent),
        (Trigger::Sent, Sent) => Step::Stay,
        (Trigger::Started, Queued | Sent) => Step::To(Running),
        (Trigger::Started, _) => Step::Stay,
        (Trigger::Ended(outcome), Queued | Sent | Running | Interrupted) => match of_outcome(outcome) {
            ended if ended == status => Step::Stay,
            ended => Step::To(ended),
        },
        (Trigger::Ended(_), _) => Step::Stay,
        (Trigger::Withdrawn, Queued | Sent) => Step::To(Cancelled),
        (Trigger::Expired, Queued | Sent) => Step::To(Expired),
        (Trigger::GivenUp, Sent | Running) => Step::To(Interrupted),
        (Trigger::Sent | Trigger::Withdrawn | Trigger::Expired | Trigger::GivenUp, _) => Step::Refused,
    }
}

fn of_outcome(outcome: Outcome) -> Status {
    match outcome {
        Outcome::Completed => Status::Completed,
        Outcome::Failed => Status::Failed,
        Outcome::Timeout => Status::Timeout,
        Outcome::Cancelled => Status::Cancelled,
        Outcome::Interrupted => Status::Interrupted,
    }
}

/// Times of a command that has not ended.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    pub status: Status,
    pub timeout: TimeDelta,
    pub expires_at: DateTime<Utc>,
    pub sent_at: Option<DateTime<Utc>>,
    pub started_at: Option<DateTime<Utc>>,
    pub cancel_requested_at: Option<DateTime<Utc>>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// [`Trigger::Expired`].
    Expire,
    /// The order goes out again: the agent never starts it twice.
    Resend,
    /// The agent is told (again) to kill it.
    Cancel,
    /// [`Trigger::GivenUp`].
    GiveUp,
}

/// How long a sent command may be unstarted before it is sent again.
const RESEND_AFTER: TimeDelta = TimeDelta::seconds(60);
/// What an agent gets beyond a command's own time limit, and again after it was told to kill it.
const GRACE: TimeDelta = TimeDelta::seconds(30);
/// How long an agent that is away may take to come back with a result.
const AWAY: TimeDelta = TimeDelta::minutes(15);

/// Every waiting state has a deadline and a way out. `connected_since` is absent while the agent is away.
pub fn overdue(times: &Times, connected_since: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<Due> {
    let since = |time: Option<DateTime<Utc>>| time.map_or(TimeDelta::MAX, |time| now - time);
    let connected = connected_since.is_some();
    match times.status {
        Status::Queued => (now >= times.expires_at).then_some(Due::Expire),
        Status::Sent if now >= times.expires_at + times.timeout + AWAY => Some(Due::GiveUp),
        Status::Sent => {
            let settled = connected && since(connected_since) > RESEND_AFTER;
            let due = if times.cancel_requested_at.is_some() { Due::Cancel } else { Due::Resend };
            (settled && since(times.sent_at) > RESEND_AFTER).then_some(due)
        }
        Status::Running => {
            let limit = times.started_at.unwrap_or(times.expires_at) + times.timeout;
            let was_told = times.cancel_requested_at.is_some() && since(times.cancel_requested_at) >= GRACE;
            match connected {
                true if now >= limit + GRACE + GRACE && was_told => Some(Due::GiveUp),
                true => (now >= limit + GRACE).then_some(Due::Cancel),
                false => (now >= limit + AWAY).then_some(Due::GiveUp),
            }
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OUTCOMES: [Outcome; 5] =
        [Outcome::Completed, Outcome::Failed, Outcome::Timeout, Outcome::Cancelled, Outcome::Interrupted];

    fn any_trigger() -> impl Strategy<Value = Trigger> {
        prop_oneof![
            Just(Trigger::Sent),
            Just(Trigger::Started),
            proptest::sample::select(&OUTCOMES[..]).prop_map(Trigger::Ended),
            Just(Trigger::Withdrawn),
            Just(Trigger::Expired),
            Just(Trigger::GivenUp),
        ]
    }

    proptest! {
        #[test]
        fn a_final_state_is_left_only_by_a_late_result(triggers in proptest::collection::vec(any_trigger(), 0..40)) {
            let mut status = Status::Queued;
            for trigger in triggers {
                if let Step::To(next) = step(status, trigger) {
                    prop_assert_ne!(next, status);
                    if status.is_final() {
                        prop_assert_eq!(status, Status::Interrupted);
                        prop_assert!(matches!(trigger, Trigger::Ended(_)) && next.is_final());
                    }
                    prop_assert!(next != Status::Queued, "nothing goes back to the queue");
                    prop_assert!(next != Status::Sent || status == Status::Queued);
                    status = next;
                }
            }
        }

        #[test]
        fn a_reported_end_is_final_whatever_was_before(
            status in proptest::sample::select(&Status::ALL[..]), outcome in proptest::sample::select(&OUTCOMES[..]),
        ) {
            let after = match step(status, Trigger::Ended(outcome)) { Step::To(next) => next, _ => status };
            prop_assert!(after.is_final());
            prop_assert_eq!(step(after, Trigger::Ended(outcome)), Step::Stay, "the same end again changes nothing");
        }

        #[test]
        fn what_nobody_reports_on_ends_by_its_deadlines(
            connected in any::<bool>(), started in any::<bool>(), timeout in 1_i64..=86_400, expires in 10_i64..=604_800,
        ) {
            let (start, mut now) = (Utc::now(), Utc::now());
            let mut times = Times {
                status: if started { Status::Running } else { Status::Sent },
                timeout: TimeDelta::seconds(timeout),
                expires_at: start + TimeDelta::seconds(expires),
                sent_at: Some(start),
                started_at: started.then_some(start),
                cancel_requested_at: None,
            };
            let stride = TimeDelta::seconds(10.max((timeout + expires) / 2_000));
            // The last deadline may fall between two looks, and being told to cancel takes one more.
            let end = start + TimeDelta::seconds(timeout + expires) + AWAY + GRACE + stride * 3;
            while !times.status.is_final() && now <= end {
                match overdue(&times, connected.then_some(start), now) {
                    Some(Due::GiveUp) => match step(times.status, Trigger::GivenUp) {
                        Step::To(status) => times.status = status,
                        other => prop_assert!(false, "{other:?}"),
                    },
                    Some(Due::Cancel) => times.cancel_requested_at = times.cancel_requested_at.or(Some(now)),
                    Some(Due::Resend) => times.sent_at = Some(now),
                    Some(Due::Expire) => prop_assert!(false, "it was sent"),
                    None => {}
                }
                now += stride;
            }
            prop_assert_eq!(times.status, Status::Interrupted);
        }
    }

    #[test]
    fn a_queued_command_expires_at_its_time_and_not_before() {
        let now = Utc::now();
        let mut times = Times {
            status: Status::Queued,
            timeout: TimeDelta::seconds(300),
            expires_at: now + TimeDelta::seconds(1),
            sent_at: None,
            started_at: None,
            cancel_requested_at: None,
        };
        assert_eq!(overdue(&times, None, now), None);
        times.expires_at = now;
        assert_eq!(overdue(&times, None, now), Some(Due::Expire));
    }

    #[test]
    fn every_status_reads_its_own_word() {
        for status in Status::ALL {
            assert_eq!(Status::parse(status.as_str()), Some(status));
        }
        assert_eq!(Status::parse("lost"), None);
    }
}
