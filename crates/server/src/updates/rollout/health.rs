//! Whether a rollout goes on: a decision from figures alone.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;
use utoipa::ToSchema;

/// A ring: which part of the machines it reaches, with the rings before it.
#[derive(Debug, Clone, Copy)]
pub struct Ring {
    /// Per hundred machines.
    pub percent: usize,
    /// However many that would be.
    pub at_most: usize,
    /// How long it is watched before the next one begins.
    pub soak: TimeDelta,
}

/// From the few that find out whether a version is bad, to everyone.
pub const RINGS: [Ring; 4] = [
    Ring { percent: 1, at_most: 10, soak: TimeDelta::hours(1) },
    Ring { percent: 10, at_most: usize::MAX, soak: TimeDelta::hours(4) },
    Ring { percent: 50, at_most: usize::MAX, soak: TimeDelta::hours(24) },
    Ring { percent: 100, at_most: usize::MAX, soak: TimeDelta::hours(24) },
];
/// The outermost ring.
pub const LAST: i16 = RINGS.len() as i16 - 1;

/// How many of `fleet` machines the rings up to this one reach; at least one, so that there is a first.
pub fn reach(ring: usize, fleet: usize) -> usize {
    let Ring { percent, at_most, .. } = RINGS[ring.min(RINGS.len() - 1)];
    (fleet * percent / 100).clamp(1, at_most.max(1)).min(fleet)
}

/// Of the machines that were tried, how many per hundred may have gone back or be lost.
const MOST_BACK_PERCENT: i64 = 5;
/// Of the orders that ended, how many per hundred may have failed before they were tried, once there are a few.
const MOST_FAILED_PERCENT: i64 = 30;
const FEW_FAILURES: i64 = 3;
/// Of the machines that stayed, how many per hundred may have crashed, or be away.
const MOST_CRASHED_PERCENT: i64 = 10;
const MOST_AWAY_PERCENT: i64 = 40;
const FEW_AWAY: i64 = 2;
/// By how many points the mean use of the processors may rise.
const MOST_CPU_POINTS: f64 = 25.0;
/// Of the machines of a ring that were ordered, how many per hundred have to stay before the next one begins.
const LEAST_CONFIRMED_PERCENT: i64 = 60;

/// The figures of one ring, or of all together.
#[derive(Debug, Clone, Default, PartialEq, Serialize, ToSchema)]
pub struct RingHealth {
    pub ring: i16,
    /// Machines that belong to it.
    pub machines: i64,
    /// Of them: those with an order that has not ended.
    pub open: i64,
    pub confirmed: i64,
    pub rolled_back: i64,
    /// Tried it, and were not heard of since.
    pub lost: i64,
    /// Could not take it.
    pub failed: i64,
    /// Still to be ordered.
    pub pending: i64,
    /// Stayed with it, and crashed.
    pub crashed: i64,
    /// Stayed with it, and are away.
    pub away: i64,
}

impl RingHealth {
    /// All rings together.
    pub fn sum(rings: &[Self]) -> Self {
        rings.iter().fold(Self::default(), |sum, ring| Self {
            ring: ring.ring,
            machines: sum.machines + ring.machines,
            open: sum.open + ring.open,
            confirmed: sum.confirmed + ring.confirmed,
            rolled_back: sum.rolled_back + ring.rolled_back,
            lost: sum.lost + ring.lost,
            failed: sum.failed + ring.failed,
            pending: sum.pending + ring.pending,
            crashed: sum.crashed + ring.crashed,
            away: sum.away + ring.away,
        })
    }
}

/// Use of the processors of the machines that stayed, in percent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cpu {
    pub before: f64,
    pub after: f64,
}

/// What to do with a rollout that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Wait,
    Promote,
    /// Everyone has it who takes it.
    Done,
    /// It is bad, and is taken back. Why, for people.
    TakeBack(String),
}

/// Judges a rollout. `rings` are the figures up to the ring it serves, which began at `since`.
pub fn judge(rings: &[RingHealth], cpu: Option<Cpu>, since: DateTime<Utc>, now: DateTime<Utc>) -> Verdict {
    let all = RingHealth::sum(rings);
    if let Some(reason) = fault(&all, cpu) {
        return Verdict::TakeBack(reason);
    }
    let Some(ring) = rings.last() else { return Verdict::Wait };
    let is_last = ring.ring >= LAST;
    let soak = RINGS[usize::try_from(ring.ring).unwrap_or_default().min(RINGS.len() - 1)].soak;
    if now - since < soak || all.confirmed == 0 {
        return Verdict::Wait;
    }
    if is_last {
        let is_over = all.open == 0 && all.pending == 0;
        return if is_over { Verdict::Done } else { Verdict::Wait };
    }
    let ordered = ring.open + ring.confirmed + ring.rolled_back + ring.lost + ring.failed;
    // A ring whose machines are all gone, or took another version meanwhile, has nothing to show.
    let has_shown = if ordered == 0 { ring.pending == 0 } else { at_least(ring.confirmed, ordered) };
    if has_shown { Verdict::Promote } else { Verdict::Wait }
}

fn at_least(confirmed: i64, ordered: i64) -> bool {
    confirmed * 100 >= ordered * LEAST_CONFIRMED_PERCENT
}

fn fault(all: &RingHealth, cpu: Option<Cpu>) -> Option<String> {
    let exceeds = |part: i64, whole: i64, percent: i64| part > 0 && part * 100 > whole * percent;
    let back = all.rolled_back + all.lost;
    let tried = all.confirmed + back;
    let ended = tried + all.failed;
    if exceeds(back, tried, MOST_BACK_PERCENT) {
        return Some(format!(
            "{back} of {tried} machines that tried it went back or were not heard of since"
        ));
    }
    if all.failed >= FEW_FAILURES && exceeds(all.failed, ended, MOST_FAILED_PERCENT) {
        return Some(format!("{} of {ended} machines could not take it", all.failed));
    }
    if exceeds(all.crashed, all.confirmed, MOST_CRASHED_PERCENT) {
        return Some(format!("it crashed on {} of {} machines", all.crashed, all.confirmed));
    }
    if all.away >= FEW_AWAY && exceeds(all.away, all.confirmed, MOST_AWAY_PERCENT) {
        return Some(format!("{} of {} machines that took it are away", all.away, all.confirmed));
    }
    let rise = cpu.map(|cpu| cpu.after - cpu.before).filter(|rise| *rise > MOST_CPU_POINTS)?;
    Some(format!("the use of processors rose by {rise:.0} points on the machines that took it"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ring(number: i16, confirmed: i64, rolled_back: i64) -> RingHealth {
        let machines = confirmed + rolled_back;
        RingHealth { ring: number, machines, confirmed, rolled_back, ..RingHealth::default() }
    }

    fn after(hours: i64, rings: &[RingHealth]) -> Verdict {
        judge(rings, None, DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::hours(hours))
    }

    #[test]
    fn the_first_ring_is_one_in_a_hundred_and_never_more_than_ten() {
        let reached = [1, 5, 99, 250, 999, 1_000, 50_000].map(|fleet| reach(0, fleet));
        assert_eq!(reached, [1, 1, 1, 2, 9, 10, 10]);
        assert_eq!([1, 2, 3].map(|number| reach(number, 1_000)), [100, 500, 1_000]);
        assert_eq!(reach(0, 0), 0);
    }

    #[test]
    fn a_good_version_goes_on_when_it_was_watched_long_enough() {
        assert_eq!(after(0, &[ring(0, 10, 0)]), Verdict::Wait);
        assert_eq!(after(1, &[ring(0, 10, 0)]), Verdict::Promote);
        assert_eq!(after(1, &[ring(0, 0, 0)]), Verdict::Wait, "nobody has shown anything");
        let slow = RingHealth { open: 5, ..ring(0, 5, 0) };
        assert_eq!(after(1, &[slow]), Verdict::Wait, "half of them is not enough");
        let rings = [ring(0, 10, 0), ring(1, 90, 0), ring(2, 400, 0), ring(3, 500, 0)];
        assert_eq!(after(24, &rings), Verdict::Done);
        let left =
            [ring(0, 10, 0), ring(1, 90, 0), ring(2, 400, 0), RingHealth { pending: 1, ..ring(3, 500, 0) }];
        assert_eq!(after(24, &left), Verdict::Wait);
    }

    #[test]
    fn a_bad_version_is_taken_back_at_once() {
        assert!(matches!(after(0, &[ring(0, 9, 1)]), Verdict::TakeBack(_)));
        assert!(matches!(after(0, &[RingHealth { lost: 1, ..ring(0, 0, 0) }]), Verdict::TakeBack(_)));
        assert!(matches!(after(0, &[RingHealth { crashed: 2, ..ring(0, 10, 0) }]), Verdict::TakeBack(_)));
        assert!(matches!(after(0, &[RingHealth { away: 5, ..ring(0, 10, 0) }]), Verdict::TakeBack(_)));
        assert!(matches!(after(0, &[RingHealth { failed: 5, ..ring(0, 5, 0) }]), Verdict::TakeBack(_)));
        let cpu = Some(Cpu { before: 10.0, after: 40.0 });
        let now = DateTime::UNIX_EPOCH;
        assert!(matches!(judge(&[ring(0, 10, 0)], cpu, now, now), Verdict::TakeBack(_)));
        // One of a hundred that goes back is no reason, two who could not fetch it are none, a closed laptop is none.
        assert_eq!(after(4, &[ring(0, 10, 0), ring(1, 89, 1)]), Verdict::Promote);
        assert_eq!(after(1, &[RingHealth { failed: 2, away: 1, ..ring(0, 8, 0) }]), Verdict::Promote);
    }

    fn any_ring() -> impl Strategy<Value = RingHealth> {
        proptest::array::uniform8(0_i64..12).prop_map(
            |[open, confirmed, rolled_back, lost, failed, pending, crashed, away]| RingHealth {
                ring: 0,
                machines: open + confirmed + rolled_back + lost + failed + pending,
                open,
                confirmed,
                rolled_back,
                lost,
                failed,
                pending,
                crashed: crashed.min(confirmed),
                away: away.min(confirmed),
            },
        )
    }

    proptest! {
        /// Whatever happens: nothing is promoted that was not watched, that nobody stayed with, or that is bad; and
        /// more machines that go back never make a verdict better.
        #[test]
        fn a_verdict_is_never_kinder_than_the_figures(rings in proptest::collection::vec(any_ring(), 1..5), hours in 0_i64..48) {
            let rings: Vec<_> = rings.into_iter().zip(0..).map(|(ring, number)| RingHealth { ring: number, ..ring }).collect();
            let all = RingHealth::sum(&rings);
            let verdict = after(hours, &rings);
            if matches!(verdict, Verdict::Promote | Verdict::Done) {
                prop_assert!(all.confirmed > 0);
                prop_assert!(TimeDelta::hours(hours) >= RINGS[rings.len() - 1].soak);
                prop_assert!((all.rolled_back + all.lost) * 100 <= (all.confirmed + all.rolled_back + all.lost) * 5);
            }
            let mut worse = rings.clone();
            worse[0].rolled_back += 1;
            if matches!(verdict, Verdict::TakeBack(_)) {
                let was_for_going_back = (all.rolled_back + all.lost) * 100 > (all.confirmed + all.rolled_back + all.lost) * 5;
                if was_for_going_back {
                    prop_assert!(matches!(after(hours, &worse), Verdict::TakeBack(_)));
                }
            }
        }

        #[test]
        fn rings_grow_to_the_whole_fleet(fleet in 1_usize..100_000) {
            let reached: Vec<_> = (0..RINGS.len()).map(|number| reach(number, fleet)).collect();
            prop_assert!(reached.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(reached[0] <= 10 && (reached[0] * 100 <= fleet || reached[0] == 1));
            prop_assert_eq!(reached[RINGS.len() - 1], fleet);
        }
    }
}
