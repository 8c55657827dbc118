//! Agents on their way in, from the knock to the hello that has been dealt with. When all of them come back at once, as many
//! as the server can take are taken, and the others are told when to come again: so the database works for those who come
//! in, and people's requests are answered meanwhile.

use crate::error::{Code, Error};
use serde::Serialize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::ToSchema;

/// Of them, for how many something is done at a time. More would only wait for each other, in the database; with six, fifty
/// thousand on two cores came back no sooner, and people waited as long.
const AT_WORK: usize = 16;
/// How many agents a second come in where the server does little else.
const PER_SECOND: u64 = 200;
/// What those who are turned away are told, at least and at most.
const COME_AGAIN: std::ops::RangeInclusive<u64> = 2..=60;
/// Over what time those who were turned away are counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How often it is said in the log that there is no room.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// The door.
#[derive(Debug)]
pub struct Arrivals {
    at_most: usize,
    /// For how many agents there is room, those who are connected included.
    room: usize,
    under_way: AtomicUsize,
    work: Arc<Semaphore>,
    turned_away: Mutex<TurnedAway>,
}

#[derive(Debug)]
struct TurnedAway {
    since: Instant,
    now: u64,
    before: u64,
    all: u64,
    last: Option<Instant>,
    complained: Option<Instant>,
}

/// How it stands at the door.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Arrivals)]
pub struct Door {
    /// Agents on their way in.
    pub under_way: usize,
    /// As many as may be.
    pub at_most: usize,
    /// Those told to come again since the server started.
    pub turned_away: u64,
    /// Whether one was told so in the last ten seconds.
    pub is_holding_back: bool,
    /// For how many agents there is room at this server. Some of the files it may have open are kept for people.
    pub room: usize,
    /// Whether there is none left.
    pub is_full: bool,
}

/// An agent on its way in, until this is dropped.
#[derive(Debug)]
pub struct Arrival(Arc<Arrivals>);

impl Arrivals {
    /// Nobody is on the way in; `at_most` may be at a time, and `room` agents may be connected.
    pub fn new(at_most: usize, room: usize, now: Instant) -> Arc<Self> {
        Arc::new(Self {
            at_most,
            room,
            under_way: AtomicUsize::new(0),
            work: Arc::new(Semaphore::new(AT_WORK)),
            turned_away: Mutex::new(TurnedAway {
                since: now,
                now: 0,
                before: 0,
                all: 0,
                last: None,
                complained: None,
            }),
        })
    }

    /// An agent knocks while so many are connected: it is let in, or told when to come again, by when those before it should
    /// be in. Where there is no room at all, that is late: there may be another server, whom it reaches the next time.
    pub fn knock(self: &Arc<Self>, connected: usize, now: Instant) -> Result<Arrival, Error> {
        let arrival = Arrival(Arc::clone(self));
        let before = self.under_way.fetch_add(1, Ordering::Relaxed);
        if before < self.at_most && connected.saturating_add(before) < self.room {
            return Ok(arrival);
        }
        drop(arrival);
        let mut turned_away = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seconds = turned_away.one_more(now) / PER_SECOND;
        if connected >= self.room {
            seconds = *COME_AGAIN.end();
            turned_away.complain(self.room, now);
        }
        Err(Error::retry_after(Code::Unavailable, seconds.clamp(*COME_AGAIN.start(), *COME_AGAIN.end())))
    }

    /// How many are on their way in, and how many were told to come again.
    pub fn door(&self, connected: usize, now: Instant) -> Door {
        let turned_away = self.turned_away.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = |last| now.saturating_duration_since(last) < WINDOW;
        Door {
            // Who is being turned away is counted for a moment, too.
            under_way: self.under_way.load(Ordering::Relaxed).min(self.at_most),
            at_most: self.at_most,
            turned_away: turned_away.all,
            is_holding_back: turned_away.last.is_some_and(is_recent),
            room: self.room,
            is_full: connected >= self.room,
        }
    }
}

impl TurnedAway {
    /// Counts one; answers how many they were lately.
    fn one_more(&mut self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed >= WINDOW {
            self.before = if elapsed < 2 * WINDOW { self.now } else { 0 };
            (self.since, self.now) = (now, 0);
        }
        self.now += 1;
        self.all += 1;
        self.last = Some(now);
        self.before.max(self.now)
    }

    fn complain(&mut self, room: usize, now: Instant) {
        if self.complained.is_none_or(|before| now.saturating_duration_since(before) >= COMPLAIN_EVERY) {
            self.complained = Some(now);
            tracing::warn!(room, "no room for more agents: add a server, or raise the limit of open files");
        }
    }
}

impl Arrival {
    /// Waits for a turn to have something done.
    pub async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        Arc::clone(&self.0.work).acquire_owned().await.ok()
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(refused: Result<Arrival, Error>) -> Option<u64> {
        match refused {
            Err(Error::Problem(problem)) => problem.retry_after_seconds,
            _ => None,
        }
    }

    #[test]
    fn a_full_house_tells_when_to_come_again_and_takes_the_next_one_when_somebody_is_in() {
        let now = Instant::now();
        let arrivals = Arrivals::new(3, 100, now);
        let mut inside: Vec<_> = (0..3).map(|_| arrivals.knock(0, now).unwrap()).collect();
        assert_eq!(told(arrivals.knock(0, now)), Some(2));
        inside.pop();
        inside.push(arrivals.knock(0, now).unwrap());
        assert!(arrivals.knock(0, now).is_err());
        let door = arrivals.door(0, now);
        assert_eq!((door.under_way, door.at_most, door.turned_away), (3, 3, 2));
    }

    #[test]
    fn agents_are_held_back_until_none_was_turned_away_for_a_while() {
        let start = Instant::now();
        let arrivals = Arrivals::new(1, 100, start);
        let inside = arrivals.knock(0, start).unwrap();
        assert!(!arrivals.door(0, start).is_holding_back, "nobody was turned away");
        assert!(arrivals.knock(0, start + WINDOW).is_err());
        drop(inside);
        assert!(arrivals.door(0, start + 2 * WINDOW - Duration::from_millis(1)).is_holding_back);
        let after = arrivals.door(0, start + 2 * WINDOW);
        assert_eq!((after.is_holding_back, after.under_way, after.turned_away), (false, 0, 1));
    }

    #[test]
    fn the_more_were_turned_away_the_later_they_are_asked_to_come() {
        let start = Instant::now();
        let arrivals = Arrivals::new(3, 100, start);
        let _inside: Vec<_> = (0..3).map(|_| arrivals.knock(0, start).unwrap()).collect();
        let last = (0..6_000).filter_map(|_| told(arrivals.knock(0, start))).max();
        assert_eq!(last, Some(6_000 / PER_SECOND));
        assert_eq!(
            told(arrivals.knock(0, start + WINDOW)),
            Some(6_000 / PER_SECOND),
            "they are still to come"
        );
        assert_eq!(told(arrivals.knock(0, start + 4 * WINDOW)), Some(2));
        let most = (0..100_000).filter_map(|_| told(arrivals.knock(0, start + 4 * WINDOW))).max();
        assert_eq!(most, Some(60));
    }

    #[test]
    fn who_finds_no_room_is_told_to_come_again_late_and_is_let_in_when_there_is_some() {
        let now = Instant::now();
        let arrivals = Arrivals::new(3, 100, now);
        assert_eq!(told(arrivals.knock(100, now)), Some(60));
        assert!(arrivals.door(100, now).is_full);
        let inside = arrivals.knock(99, now).unwrap();
        assert_eq!(
            told(arrivals.knock(99, now)),
            Some(2),
            "who is on the way in has the last place, or gives it up soon"
        );
        drop(inside);
        assert!(arrivals.knock(99, now).is_ok());
        let door = arrivals.door(99, now);
        assert_eq!((door.is_full, door.room, door.turned_away), (false, 100, 2));
    }
}
