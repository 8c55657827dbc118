//! What time it is for the server: its clock at the last message, carried on by a monotonic timer.
//!
//! The machine's own clock may jump, or stand at its factory's date; timestamps of an agent that was ever connected
//! do not. The server's time also outlives the agent, in a small file, because certificates have dates
//! (`transport::dates`).

use crate::state::{StateDir, write_atomic};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const FILE: &str = "server-time";
/// Longest text that can be a time.
const MAX_FILE_BYTES: usize = 64;
/// How much of the server's time an agent that dies may lose.
const KEEP_EVERY: Duration = Duration::from_secs(3600);

/// No GuruRMM ran before, 2026-01-01: a clock that shows an earlier time is wrong.
const FIRST_RELEASE: DateTime<Utc> = DateTime::from_timestamp_nanos(1_767_225_600_000_000_000);

/// The agent's idea of the server's time. Shared by reference; cheap to read.
#[derive(Debug)]
pub struct ServerClock {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// What timestamps are made from.
    stamp: Anchor,
    /// What certificates are judged by: a time the server told that its own certificate does not contradict.
    believed: Option<Anchor>,
    /// From when to when the server's certificate is valid, once one was verified.
    vouched: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    then: Instant,
    time: DateTime<Utc>,
}

impl Anchor {
    fn at(self, now: Instant) -> DateTime<Utc> {
        let passed = TimeDelta::from_std(now.saturating_duration_since(self.then)).unwrap_or(TimeDelta::MAX);
        self.time.checked_add_signed(passed).unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl Default for ServerClock {
    /// Nothing is known of the server's time.
    fn default() -> Self {
        Self::starting(Instant::now(), Utc::now(), None)
    }
}

impl ServerClock {
    /// With what an earlier run of the agent kept.
    pub fn load(state: &StateDir) -> Self {
        Self::starting(Instant::now(), Utc::now(), read(state))
    }

    /// Before the first contact the machine's clock counts, read once, unless it is behind what is known.
    fn starting(then: Instant, system: DateTime<Utc>, known: Option<DateTime<Utc>>) -> Self {
        let time = system.max(known.unwrap_or(FIRST_RELEASE)).max(FIRST_RELEASE);
        let inner = Inner {
            stamp: Anchor { then, time },
            believed: known.map(|time| Anchor { then, time }),
            vouched: None,
        };
        Self { inner: Mutex::new(inner) }
    }

    /// Takes over the time the server just told.
    ///
    /// Certificates are judged by it only if it lies within the validity of the certificate it came under: a server
    /// whose clock is years off must not lock its agents out for when it is right again.
    pub fn set(&self, now: Instant, server_time: DateTime<Utc>) {
        let mut inner = self.lock();
        let told = Anchor { then: now, time: server_time };
        inner.stamp = told;
        if inner.vouched.is_some_and(|(first, last)| (first..=last).contains(&server_time)) {
            inner.believed = Some(told);
        }
    }

    /// The server's certificate was verified and is valid from and to these times.
    pub fn vouched(&self, not_before: DateTime<Utc>, not_after: DateTime<Utc>) {
        self.lock().vouched = Some((not_before, not_after));
    }

    /// The server's time at `now`; before the first contact the best guess.
    pub fn at(&self, now: Instant) -> DateTime<Utc> {
        self.lock().stamp.at(now)
    }

    /// The server's time now.
    pub fn now(&self) -> DateTime<Utc> {
        self.at(Instant::now())
    }

    /// The server's time now, unless finding out would mean to wait: a thread that panics may hold the clock.
    pub fn try_now(&self) -> Option<DateTime<Utc>> {
        self.inner.try_lock().ok().map(|inner| inner.stamp.at(Instant::now()))
    }

    /// It is not earlier than this, by all a server ever proved.
    pub fn earliest(&self, now: Instant) -> DateTime<Utc> {
        self.known(now).map_or(FIRST_RELEASE, |known| known.max(FIRST_RELEASE))
    }

    /// The server's time as a server told it to this installation; `None` before.
    pub fn known(&self, now: Instant) -> Option<DateTime<Utc>> {
        self.lock().believed.map(|anchor| anchor.at(now))
    }

    /// Keeps what is known for the next run.
    pub fn save(&self, state: &StateDir, now: Instant) {
        let Some(known) = self.known(now) else { return };
        let text = known.to_rfc3339_opts(SecondsFormat::Secs, true);
        if let Err(error) = write_atomic(&state.file(FILE), text.as_bytes()) {
            tracing::warn!(%error, "the server's time cannot be kept");
        }
    }

    /// [`ServerClock::save`] for another server than before: what the one before told is forgotten.
    pub fn replace(&self, state: &StateDir, now: Instant) {
        match fs::remove_file(state.file(FILE)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, "another server's time cannot be removed");
            }
            _ => self.save(state, now),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        // Every change is one assignment.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(state: &StateDir) -> Option<DateTime<Utc>> {
    let bytes = fs::read(state.file(FILE)).ok()?;
    let text = std::str::from_utf8(bytes.get(..bytes.len().min(MAX_FILE_BYTES))?).ok();
    let time = text.and_then(|text| text.trim().parse().ok());
    if time.is_none() {
        tracing::warn!("the file {FILE} is damaged and is written anew");
    }
    time
}

/// When the server's time is to be written to disk: at once when there is something new, then every hour.
#[derive(Debug, Default)]
pub struct Keeper {
    last: Option<(Instant, DateTime<Utc>)>,
}

impl Keeper {
    /// Writes what is due.
    pub fn run(&mut self, now: Instant, clock: &ServerClock, state: &StateDir) {
        let Some(known) = clock.known(now) else { return };
        // The server's own clock was set back: what stands on the disk is wrong.
        let is_due = self
            .last
            .is_none_or(|(at, kept)| now.saturating_duration_since(at) >= KEEP_EVERY || known < kept);
        if is_due {
            self.last = Some((now, known));
            clock.save(state, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    /// A server with a certificate for a few months of 2031.
    fn vouched() -> ServerClock {
        let clock = ServerClock::default();
        clock.vouched(time("2031-01-01T00:00:00Z"), time("2031-05-01T00:00:00Z"));
        clock
    }

    #[test]
    fn a_time_the_server_told_is_carried_on_by_the_monotonic_clock() {
        let clock = vouched();
        let start = Instant::now();
        let told = time("2031-02-03T04:05:06Z");
        clock.set(start, told);
        let later = start + Duration::from_secs(90);
        assert_eq!(clock.at(later), told + TimeDelta::seconds(90));
        assert_eq!(clock.known(later), Some(told + TimeDelta::seconds(90)));
    }

    #[test]
    fn a_time_at_the_end_of_the_calendar_does_not_panic() {
        let clock = ServerClock::default();
        let start = Instant::now();
        clock.set(start, DateTime::<Utc>::MAX_UTC);
        assert_eq!(clock.at(start + Duration::from_secs(1)), DateTime::<Utc>::MAX_UTC);
    }

    #[test]
    fn a_time_the_servers_own_certificate_contradicts_stamps_but_judges_no_certificate() {
        let (clock, start) = (vouched(), Instant::now());
        let (right, wrong) = (time("2031-02-03T04:05:06Z"), time("2041-02-03T04:05:06Z"));
        clock.set(start, right);
        clock.set(start, wrong);
        assert_eq!((clock.at(start), clock.known(start)), (wrong, Some(right)));
        let plain = ServerClock::default();
        plain.set(start, right);
        assert_eq!((plain.at(start), plain.known(start)), (right, None));
    }

    #[test]
    fn a_machine_whose_clock_is_behind_starts_with_what_is_known() {
        let (start, known) = (Instant::now(), time("2031-02-03T04:05:06Z"));
        let factory = time("2000-01-01T00:00:00Z");
        assert_eq!(ServerClock::starting(start, factory, Some(known)).at(start), known);
        assert_eq!(ServerClock::starting(start, factory, None).at(start), FIRST_RELEASE);
        let ahead = time("2032-01-01T00:00:00Z");
        let clock = ServerClock::starting(start, ahead, Some(known));
        assert_eq!((clock.at(start), clock.known(start)), (ahead, Some(known)));
    }

    #[test]
    fn what_is_known_outlives_the_agent_and_a_damaged_file_does_not_stop_it() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("s")).unwrap();
        assert_eq!(read(&state), None);
        let (clock, start, told) = (vouched(), Instant::now(), time("2031-02-03T04:05:06Z"));
        clock.set(start, told);
        let mut keeper = Keeper::default();
        keeper.run(start, &clock, &state);
        assert_eq!(read(&state), Some(told));
        // Not again at once, but within the hour, and at once when the server took its time back.
        keeper.run(start + Duration::from_secs(60), &clock, &state);
        assert_eq!(read(&state), Some(told));
        keeper.run(start + KEEP_EVERY, &clock, &state);
        assert_eq!(read(&state), Some(told + TimeDelta::hours(1)));
        clock.set(start, told - TimeDelta::hours(5));
        keeper.run(start + KEEP_EVERY, &clock, &state);
        assert_eq!(read(&state), Some(told - TimeDelta::hours(4)));
        fs::write(state.file(FILE), [0xff; 100_000]).unwrap();
        assert_eq!(read(&state), None);
    }
}
