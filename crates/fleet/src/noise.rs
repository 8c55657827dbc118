//! Chance that can be asked again: the same seed and the same moment give the same value.

use chrono::{DateTime, Utc};

/// A source of chance of its own, for one property of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise(u64);

impl Noise {
    /// The root of everything of one fleet.
    pub fn of(seed: u64) -> Self {
        Self(mixed(seed))
    }

    /// The source of one part of what this one stands for.
    pub fn part(self, number: u64) -> Self {
        Self(mixed(self.0 ^ mixed(number)))
    }

    /// 0 up to 1, always the same.
    pub fn share(self) -> f64 {
        (mixed(self.0) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// One of these.
    pub fn pick<T>(self, of: &[T]) -> Option<&T> {
        of.get(self.below(of.len() as u64) as usize)
    }

    /// 0 up to `limit`, which is left out; 0 when that is 0.
    pub fn below(self, limit: u64) -> u64 {
        ((self.share() * limit as f64) as u64).min(limit.saturating_sub(1))
    }

    /// 0 up to 1, another value in every `seconds` of time.
    pub fn at(self, time: DateTime<Utc>, seconds: i64) -> f64 {
        self.part(time.timestamp().div_euclid(seconds).cast_unsigned()).share()
    }

    /// 0 up to 1, going smoothly from one value to the next one `seconds` later.
    pub fn smooth(self, time: DateTime<Utc>, seconds: i64) -> f64 {
        let slot = time.timestamp().div_euclid(seconds);
        let value = |slot: i64| self.part(slot.cast_unsigned()).share();
        let way = time.timestamp().rem_euclid(seconds) as f64 / seconds as f64;
        let eased = way * way * (3.0 - 2.0 * way);
        value(slot) * (1.0 - eased) + value(slot + 1) * eased
    }
}

/// The finalizer of SplitMix64.
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;

    #[test]
    fn values_are_spread_and_come_again() {
        let of = |number| Noise::of(7).part(number).share();
        let mean = (0..10_000).map(of).sum::<f64>() / 10_000.0;
        assert!((0.48..0.52).contains(&mean), "{mean}");
        assert_eq!(of(5), of(5));
        assert_ne!(of(5), of(6));
        assert_ne!(Noise::of(8).part(5).share(), of(5));
        assert!((0..1_000).all(|number| Noise::of(1).part(number).below(3) < 3));
        assert_eq!(Noise::of(1).below(0), 0);
    }

    #[test]
    fn smooth_values_do_not_jump() {
        let (noise, start) = (Noise::of(1), DateTime::from_timestamp(1_790_000_000, 0).unwrap_or_default());
        let values: Vec<f64> =
            (0..3_600).map(|second| noise.smooth(start + TimeDelta::seconds(second), 300)).collect();
        assert!(values.windows(2).all(|pair| (pair[0] - pair[1]).abs() < 0.01));
        let (low, high) =
            values.iter().fold((1.0_f64, 0.0_f64), |(low, high), v| (low.min(*v), high.max(*v)));
        assert!(high - low > 0.3, "{low} to {high}");
    }
}
