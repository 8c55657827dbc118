//! How fast a peer on a socket may talk: two token buckets, for messages and for bytes. Pure; time is passed in.

use std::time::Duration;
use tokio::time::Instant;

/// Token buckets of one socket.
#[derive(Debug)]
pub struct Pace {
    messages: Bucket,
    bytes: Bucket,
    held_back_since: Option<Instant>,
    held_back_at_most: Duration,
}

/// What to do with a message that came.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Take it.
    Take,
    /// Take it after this time.
    Wait(Duration),
    /// The peer has been held back without a break for too long: it does not mean to be served.
    Abusive,
}

impl Pace {
    /// Full buckets: five seconds' worth of messages, a quarter of a second's worth of bytes, because a burst of large
    /// messages is work that everyone else waits for.
    pub fn new(messages_per_second: u32, bytes_per_second: u32, at_most: Duration, now: Instant) -> Self {
        Self {
            messages: Bucket::new(f64::from(messages_per_second), 5.0, now),
            bytes: Bucket::new(f64::from(bytes_per_second), 0.25, now),
            held_back_since: None,
            held_back_at_most: at_most,
        }
    }

    /// Judges a message of `bytes` that came at `now`.
    pub fn admit(&mut self, bytes: usize, now: Instant) -> Verdict {
        let wait = self.messages.take(1.0, now).max(self.bytes.take(bytes as f64, now));
        if wait.is_zero() {
            self.held_back_since = None;
            return Verdict::Take;
        }
        let since = *self.held_back_since.get_or_insert(now);
        match now.saturating_duration_since(since) > self.held_back_at_most {
            true => Verdict::Abusive,
            false => Verdict::Wait(wait),
        }
    }
}

#[derive(Debug)]
struct Bucket {
    /// Below zero: taken in advance, to be waited for.
    tokens: f64,
    capacity: f64,
    per_second: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new(per_second: f64, seconds: f64, now: Instant) -> Self {
        let capacity = per_second * seconds;
        Self { tokens: capacity, capacity, per_second, filled_at: now }
    }

    fn take(&mut self, tokens: f64, now: Instant) -> Duration {
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.filled_at = now;
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.capacity) - tokens;
        Duration::from_secs_f64((-self.tokens / self.per_second).clamp(0.0, 60.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(now: Instant) -> Pace {
        Pace::new(10, 1_000, Duration::from_secs(3), now)
    }

    #[test]
    fn a_burst_is_taken_and_what_follows_waits() {
        let now = Instant::now();
        let mut pace = pace(now);
        for _ in 0..50 {
            assert_eq!(pace.admit(1, now), Verdict::Take);
        }
        assert!(matches!(pace.admit(1, now), Verdict::Wait(wait) if wait <= Duration::from_millis(101)));
        assert_eq!(pace.admit(1, now + Duration::from_secs(1)), Verdict::Take);
    }

    #[test]
    fn bytes_are_counted_apart_from_messages() {
        let now = Instant::now();
        let mut pace = pace(now);
        assert_eq!(pace.admit(250, now), Verdict::Take);
        assert!(matches!(pace.admit(500, now), Verdict::Wait(wait) if wait > Duration::from_millis(400)));
    }

    #[test]
    fn who_never_lets_up_is_abusive_and_who_pauses_is_not() {
        let start = Instant::now();
        let (mut eager, mut now, mut verdicts) = (pace(start), start, Vec::new());
        for _ in 0..500 {
            let verdict = eager.admit(1, now);
            if let Verdict::Wait(wait) = verdict {
                now += wait;
            }
            verdicts.push(verdict);
        }
        assert!(verdicts.contains(&Verdict::Abusive));

        let (mut calm, mut now) = (pace(start), start);
        for _ in 0..500 {
            assert_ne!(calm.admit(1, now), Verdict::Abusive);
            now += Duration::from_millis(110);
        }
    }
}
