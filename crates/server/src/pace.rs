//! How fast a peer on a socket may talk: two token buckets, for messages and for bytes. Pure; time is passed in.

use std::time::Duration;
use tokio::time::Instant;

/// Token buckets of one socket.
#[derive(Debug)]
pub struct Pace {
    messages: Bucket,
    bytes: Bucket,
    held_back: Option<HeldBack>,
    held_back_at_most: Duration,
}

/// From the first of several waits to the end of the last one.
#[derive(Debug)]
struct HeldBack {
    since: Instant,
    until: Instant,
}

/// A wait is no shorter: many messages are taken after one wait, so that they can be dealt with together.
const SHORTEST_WAIT: Duration = Duration::from_millis(100);
/// Messages taken without a wait for this long are a break.
const BREAK: Duration = Duration::from_secs(1);

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
            held_back: None,
            held_back_at_most: at_most,
        }
    }

    /// Judges a message of `bytes` that came at `now`.
    pub fn admit(&mut self, bytes: usize, now: Instant) -> Verdict {
        let wait = self.messages.take(1.0, now).max(self.bytes.take(bytes as f64, now));
        if wait.is_zero() {
            return Verdict::Take;
        }
        let wait = wait.max(SHORTEST_WAIT);
        let since = match &self.held_back {
            Some(before) if now.saturating_duration_since(before.until) < BREAK => before.since,
            _ => now,
        };
        self.held_back = Some(HeldBack { since, until: now + wait });
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

    /// Sends a byte as soon as it may, then rests for a while after each.
    fn talk(resting: Duration) -> Vec<Verdict> {
        let start = Instant::now();
        let (mut pace, mut now, mut verdicts) = (pace(start), start, Vec::new());
        for _ in 0..500 {
            let verdict = pace.admit(1, now);
            if let Verdict::Wait(wait) = verdict {
                now += wait;
            }
            now += resting;
            verdicts.push(verdict);
        }
        verdicts
    }

    #[test]
    fn who_never_lets_up_is_abusive_and_who_pauses_is_not() {
        assert!(talk(Duration::ZERO).contains(&Verdict::Abusive));
        assert!(!talk(Duration::from_millis(110)).contains(&Verdict::Abusive));
    }

    #[test]
    fn messages_taken_between_two_waits_are_no_break() {
        let verdicts = talk(Duration::from_millis(20));
        let first = verdicts.iter().position(|verdict| matches!(verdict, Verdict::Wait(_)));
        let after = &verdicts[first.unwrap_or_default()..];
        assert!(after.contains(&Verdict::Take));
        assert!(after.contains(&Verdict::Abusive));
    }

    #[test]
    fn waits_with_a_break_between_them_do_not_add_up() {
        let start = Instant::now();
        let (mut pace, mut now) = (pace(start), start);
        for _ in 0..20 {
            assert!(matches!(pace.admit(500, now), Verdict::Wait(_)), "more than a burst");
            now += Duration::from_secs(2);
        }
    }

    #[test]
    fn after_a_wait_many_messages_are_taken_at_once() {
        let start = Instant::now();
        let mut pace = Pace::new(1_000, 1_000_000, Duration::from_secs(60), start);
        let (mut now, mut taken, mut waits) = (start, 0, 0);
        while taken < 20_000 {
            match pace.admit(1, now) {
                Verdict::Wait(wait) => (waits, now) = (waits + 1, now + wait),
                verdict => assert_eq!(verdict, Verdict::Take),
            }
            taken += 1;
        }
        assert!(waits > 100 && waits < 200, "{waits} waits");
        let rate = f64::from(taken - 5_000) / (now - start).as_secs_f64();
        assert!((900.0..=1_020.0).contains(&rate), "{rate} messages a second");
    }
}
