//! The states of an update, and which one follows which.

use super::Status;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::update::UpdateState;

/// How long after its order's end an agent that began in time is waited for: it says by itself that it gave up.
const GRACE: TimeDelta = TimeDelta::minutes(10);
/// How long a trial may take: the watchdog gives it three minutes, and the machine may be switched off meanwhile.
const TRIAL: TimeDelta = TimeDelta::hours(1);

impl Status {
    /// Whether nothing is expected any more.
    pub fn is_final(self) -> bool {
        self.rank() >= Self::Confirmed.rank()
    }

    fn rank(self) -> u8 {
        match self {
            Self::Ordered => 0,
            Self::Downloading => 1,
            Self::Ready => 2,
            Self::Trying => 3,
            Self::Confirmed | Self::RolledBack | Self::Failed => 4,
            Self::Expired | Self::Superseded => 5,
        }
    }

    /// What an agent's word is here. `None` for one this build does not know.
    pub fn reported(state: UpdateState) -> Option<Self> {
        Some(match state {
            UpdateState::Downloading => Self::Downloading,
            UpdateState::Ready => Self::Ready,
            UpdateState::Trying => Self::Trying,
            UpdateState::Confirmed => Self::Confirmed,
            UpdateState::RolledBack => Self::RolledBack,
            UpdateState::Failed => Self::Failed,
            UpdateState::Other => return None,
        })
    }

    /// What follows when an agent says `reported`; `None`: it stays. Reports come twice and late, so only forward. What
    /// an agent says of the end is believed even where it was given up: nobody else knows.
    pub fn after_report(self, reported: Self) -> Option<Self> {
        let is_late_end = matches!(self, Self::Expired | Self::Superseded)
            && matches!(reported, Self::Confirmed | Self::RolledBack | Self::Failed);
        let is_forward = !self.is_final() && reported.rank() > self.rank();
        (is_forward || is_late_end).then_some(reported)
    }

    /// How long this state may last.
    pub fn deadline(self, valid_until: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
        match self {
            Self::Downloading | Self::Ready => valid_until.max(now) + GRACE,
            Self::Trying => now + TRIAL,
            _ => valid_until,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Status; 9] = [
        Status::Ordered,
        Status::Downloading,
        Status::Ready,
        Status::Trying,
        Status::Confirmed,
        Status::RolledBack,
        Status::Failed,
        Status::Expired,
        Status::Superseded,
    ];
    const REPORTS: [Status; 6] = [
        Status::Downloading,
        Status::Ready,
        Status::Trying,
        Status::Confirmed,
        Status::RolledBack,
        Status::Failed,
    ];

    #[test]
    fn an_end_that_the_agent_told_is_the_end() {
        for end in [Status::Confirmed, Status::RolledBack, Status::Failed] {
            for reported in REPORTS {
                assert_eq!(end.after_report(reported), None, "{end:?} then {reported:?}");
            }
        }
        assert_eq!(Status::Expired.after_report(Status::RolledBack), Some(Status::RolledBack));
        assert_eq!(Status::Superseded.after_report(Status::Downloading), None);
    }

    #[test]
    fn what_waits_has_an_end_to_its_waiting() {
        let now = Utc::now();
        for status in ALL.into_iter().filter(|status| !status.is_final()) {
            for valid_for in [-1_000, 1_000] {
                let deadline = status.deadline(now + TimeDelta::minutes(valid_for), now);
                assert!(deadline - now <= TimeDelta::minutes(1_000) + TRIAL, "{status:?}");
            }
        }
    }

    proptest! {
        /// Whatever order reports come in, and however often: the furthest one counts, and its first end.
        #[test]
        fn reports_may_come_in_any_order(order in proptest::collection::vec(0_usize..6, 1..20)) {
            let mut status = Status::Ordered;
            for index in &order {
                let before = status;
                status = status.after_report(REPORTS[*index]).unwrap_or(status);
                prop_assert!(status.rank() >= before.rank());
            }
            let reports: Vec<_> = order.iter().map(|index| REPORTS[*index]).collect();
            let first_end = reports.iter().copied().find(|report| report.is_final());
            let furthest = reports.iter().copied().max_by_key(|report| report.rank());
            prop_assert_eq!(Some(status), first_end.or(furthest));
        }
    }
}
