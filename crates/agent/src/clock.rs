//! What time it is for the server: its clock at the last message, carried on by a monotonic timer.
//!
//! The machine's own clock may jump; timestamps of a connected agent do not.

use chrono::{DateTime, TimeDelta, Utc};
use std::sync::Mutex;
use std::time::Instant;

/// The agent's idea of the server's time. Shared by reference; cheap to read.
#[derive(Debug, Default)]
pub struct ServerClock {
    anchor: Mutex<Option<(Instant, DateTime<Utc>)>>,
}

impl ServerClock {
    /// Takes over the time the server just told.
    pub fn set(&self, now: Instant, server_time: DateTime<Utc>) {
        if let Ok(mut anchor) = self.anchor.lock() {
            *anchor = Some((now, server_time));
        }
    }

    /// The server's time at `now`; the machine's own clock before the first contact.
    pub fn at(&self, now: Instant) -> DateTime<Utc> {
        let anchor = self.anchor.lock().map(|anchor| *anchor).unwrap_or_default();
        anchor
            .and_then(|(then, time)| {
                let passed = TimeDelta::from_std(now.saturating_duration_since(then)).ok()?;
                time.checked_add_signed(passed)
            })
            .unwrap_or_else(Utc::now)
    }

    /// The server's time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_time_the_server_told_is_carried_on_by_the_monotonic_clock() {
        let clock = ServerClock::default();
        let start = Instant::now();
        let told: DateTime<Utc> = "2031-02-03T04:05:06Z".parse().unwrap();
        clock.set(start, told);
        assert_eq!(clock.at(start + Duration::from_secs(90)), told + TimeDelta::seconds(90));
    }

    #[test]
    fn a_time_at_the_end_of_the_calendar_does_not_panic() {
        let clock = ServerClock::default();
        let start = Instant::now();
        clock.set(start, DateTime::<Utc>::MAX_UTC);
        let _ = clock.at(start + Duration::from_secs(1));
    }
}
