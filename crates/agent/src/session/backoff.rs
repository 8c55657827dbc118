//! When to try again. Every wait is random, so that a fleet that lost its server does not come back as one.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

const FIRST: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(60);
/// The widest that a server may have its agents spread themselves when they find it gone.
const WIDEST_SPREAD: Duration = Duration::from_secs(90);
const LONGEST_REFUSED: Duration = Duration::from_secs(15 * 60);

/// Why the last connection is gone or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setback {
    /// Lost, refused by the network, or silent.
    Lost,
    /// The server asked to come back within a time.
    Invited {
        /// The window it named.
        within: Duration,
    },
    /// The server is busy and named the shortest wait.
    Busy {
        /// That wait.
        at_least: Duration,
    },
    /// Approval of this machine is still pending.
    Pending,
    /// The server does not accept this agent's key or version. It may be right, so it is asked rarely; it may be
    /// wrong, so the key stays.
    Refused,
}

/// Counts setbacks in a row.
#[derive(Debug)]
pub struct Backoff {
    rng: StdRng,
    lost: u32,
    refused: u32,
    /// How widely agents spread themselves once the server is gone for all of them.
    spread: Duration,
}

impl Backoff {
    /// `seed` makes the waits repeatable.
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), lost: 0, refused: 0, spread: Duration::ZERO }
    }

    /// The server said how widely its agents are to spread themselves when they find it gone.
    pub fn spread(&mut self, within: Duration) {
        self.spread = within.min(WIDEST_SPREAD);
    }

    /// A connection stood long enough to count as good.
    pub fn reset(&mut self) {
        self.lost = 0;
        self.refused = 0;
    }

    /// How long to wait now.
    pub fn next(&mut self, setback: Setback) -> Duration {
        match setback {
            Setback::Lost => {
                let most = FIRST.saturating_mul(1 << self.lost.min(10)).min(LONGEST);
                // Who alone lost its link is back with the first try. Whoever then finds nobody there is one of all.
                let most = if self.lost == 0 { most } else { most.max(self.spread) };
                self.lost += 1;
                self.up_to(most)
            }
            Setback::Invited { within } => self.up_to(within.min(LONGEST_REFUSED)),
            Setback::Busy { at_least } => {
                let at_least = at_least.min(LONGEST_REFUSED);
                at_least + self.up_to(at_least.max(FIRST))
            }
            Setback::Pending => LONGEST / 2 + self.up_to(LONGEST / 2),
            Setback::Refused => {
                let most = LONGEST.saturating_mul(1 << self.refused.min(10)).min(LONGEST_REFUSED);
                self.refused += 1;
                most / 2 + self.up_to(most / 2)
            }
        }
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.random_range(0.0..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_link_is_retried_within_two_seconds_and_never_later_than_a_minute() {
        for seed in 0..200 {
            let mut backoff = Backoff::new(seed);
            assert!(backoff.next(Setback::Lost) <= FIRST);
            (0..100).for_each(|_| assert!(backoff.next(Setback::Lost) <= LONGEST));
            backoff.reset();
            assert!(backoff.next(Setback::Lost) <= FIRST);
        }
    }

    #[test]
    fn waits_are_spread_over_the_whole_window() {
        let within = Duration::from_secs(100);
        let waits: Vec<_> =
            (0..400).map(|seed| Backoff::new(seed).next(Setback::Invited { within })).collect();
        for quarter in 0..4 {
            let range = within / 4 * quarter..within / 4 * (quarter + 1);
            let share = waits.iter().filter(|wait| range.contains(wait)).count();
            assert!((60..=140).contains(&share), "quarter {quarter} holds {share} of 400");
        }
    }

    #[test]
    fn whoever_finds_the_server_gone_comes_back_spread_and_whoever_lost_its_link_at_once() {
        let within = Duration::from_secs(80);
        let waits = |tries: usize| -> Vec<Duration> {
            let wait = |seed| {
                let mut backoff = Backoff::new(seed);
                backoff.spread(within);
                (0..tries).map(|_| backoff.next(Setback::Lost)).last()
            };
            (0..400).filter_map(wait).collect()
        };
        assert!(waits(1).iter().all(|wait| *wait <= FIRST));
        for tries in [2, 3] {
            let late = waits(tries).iter().filter(|wait| **wait > within / 2).count();
            assert!((140..=260).contains(&late), "{late} of 400 come in the second half");
        }
        assert!(waits(9).iter().all(|wait| *wait <= within));
    }

    #[test]
    fn no_server_spreads_its_agents_over_more_than_a_minute_and_a_half() {
        let mut backoff = Backoff::new(1);
        backoff.spread(Duration::from_secs(86_400));
        (0..100).for_each(|_| assert!(backoff.next(Setback::Lost) <= WIDEST_SPREAD));
    }

    #[test]
    fn a_refused_key_is_tried_rarely_and_still_tried() {
        let mut backoff = Backoff::new(1);
        let waits: Vec<_> = (0..20).map(|_| backoff.next(Setback::Refused)).collect();
        assert!(waits[0] >= Duration::from_secs(30));
        assert!(waits[19] >= Duration::from_secs(450) && waits[19] <= LONGEST_REFUSED);
    }
}
