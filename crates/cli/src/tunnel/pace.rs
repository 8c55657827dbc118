//! How far a transfer may be ahead: as far as keeps the line busy, and little further, so that what is typed meanwhile does
//! not wait behind it. The page does the same (dashboard, `features/tunnel/pace.ts`) and allows for more,
//! being slower.

use gururmm_protocol::tunnel::{BULK_WINDOW_BYTES, FIRST_TRANSFER_BYTES};
use std::time::{Duration, Instant};

/// What programs on the way take to pass a window of a download on, however short the way.
pub const OF_DOWNLOADS: Duration = Duration::from_micros(60);
/// The same of an upload: the machine writes what came before it grants more.
pub const OF_UPLOADS: Duration = Duration::from_micros(500);
/// It is judged when so many windows went through.
const ROUNDS: u32 = 4;

/// The window of one transfer. A window that goes through in hardly more than a quiet way there and back leaves the line idle,
/// and is doubled; one that takes a little more may, and grows by a quarter; one that takes more than five stands in queues,
/// and is halved.
#[derive(Debug)]
pub struct Pace {
    window: u32,
    /// Went through since it was judged.
    through: u32,
    since: Instant,
    handling: Duration,
}

impl Pace {
    /// As every transfer begins. `handling`: what a window takes where there is no way.
    pub fn new(now: Instant, handling: Duration) -> Self {
        Self { window: FIRST_TRANSFER_BYTES, through: 0, since: now, handling }
    }

    /// Bytes that may be on their way.
    pub fn window(&self) -> u32 {
        self.window
    }

    /// So many bytes went through. `quiet` is the shortest way there and back that was seen; while none was, nothing changes.
    /// Answers how many more may be on their way than before; fewer when it is negative.
    pub fn through(&mut self, bytes: u32, now: Instant, quiet: Option<Duration>) -> i64 {
        self.through = self.through.saturating_add(bytes);
        if self.through < ROUNDS * self.window {
            return 0;
        }
        let windows = f64::from(self.through) / f64::from(self.window);
        let took = now.duration_since(self.since).div_f64(windows);
        (self.through, self.since) = (0, now);
        let Some(quiet) = quiet else { return 0 };
        let before = self.window;
        if took <= quiet.mul_f64(1.1) + self.handling {
            self.window = (2 * before).min(BULK_WINDOW_BYTES);
        } else if took <= quiet.mul_f64(1.25) + self.handling {
            self.window = (before + before / 4).min(BULK_WINDOW_BYTES);
        } else if took > 5 * (quiet + self.handling) {
            self.window = (before / 2).max(FIRST_TRANSFER_BYTES);
        }
        i64::from(self.window) - i64::from(before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The window after half a minute on a line, and the bytes that went through in its last second.
    fn on_a_line(quiet: Duration, bytes_per_second: f64) -> (u32, f64) {
        let mut now = Instant::now();
        let (began, mut pace, mut last) = (now, Pace::new(now, OF_DOWNLOADS), 0.0);
        while now.duration_since(began) < Duration::from_secs(30) {
            let window = pace.window();
            let took = quiet.max(Duration::from_secs_f64(f64::from(window) / bytes_per_second));
            now += took;
            last = f64::from(window) / took.as_secs_f64();
            pace.through(window, now, Some(quiet));
        }
        (pace.window(), last)
    }

    proptest! {
        #[test]
        fn it_fills_the_line_and_no_queue(
            quiet_microseconds in 100_u64..300_000,
            bytes_per_second in 100_000.0..1e9_f64,
        ) {
            let quiet = Duration::from_micros(quiet_microseconds);
            let (window, rate) = on_a_line(quiet, bytes_per_second);
            let needed = bytes_per_second * quiet.as_secs_f64();
            prop_assert!((FIRST_TRANSFER_BYTES..=BULK_WINDOW_BYTES).contains(&window));
            let most = bytes_per_second.min(f64::from(BULK_WINDOW_BYTES) / quiet.as_secs_f64());
            prop_assert!(rate >= 0.9 * most, "{rate} of {most}");
            let needed = needed + OF_DOWNLOADS.as_secs_f64() * bytes_per_second;
            prop_assert!(f64::from(window) <= (2.25 * needed).max(f64::from(FIRST_TRANSFER_BYTES)), "{window}, {needed} fill the line");
        }
    }

    #[test]
    fn it_grows_the_less_the_fuller_the_line_is() {
        let quiet = Duration::from_millis(20);
        for (took, window) in
            [(21, 2 * FIRST_TRANSFER_BYTES), (24, FIRST_TRANSFER_BYTES * 5 / 4), (26, FIRST_TRANSFER_BYTES)]
        {
            let began = Instant::now();
            let mut pace = Pace::new(began, OF_DOWNLOADS);
            let now = began + ROUNDS * Duration::from_millis(took);
            let more = pace.through(ROUNDS * FIRST_TRANSFER_BYTES, now, Some(quiet));
            assert_eq!(
                (pace.window(), more),
                (window, i64::from(window) - i64::from(FIRST_TRANSFER_BYTES)),
                "{took}"
            );
        }
    }

    #[test]
    fn while_the_way_is_unknown_it_stays_as_it_is() {
        let began = Instant::now();
        let mut pace = Pace::new(began, OF_UPLOADS);
        for round in 1..100 {
            assert_eq!(pace.through(FIRST_TRANSFER_BYTES, began + Duration::from_micros(round), None), 0);
        }
        assert_eq!(pace.window(), FIRST_TRANSFER_BYTES);
    }
}
