//! Temperatures, fans, voltages and power, as far as the system shows them. Drivers may take their time, or never answer:
//! they are read on a thread of their own shortly before a sample is due, and no sample waits for them.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as platform;

#[cfg(any(windows, test))]
mod reported;
#[cfg(windows)]
mod windows;
#[cfg(windows)]
use windows as platform;

#[cfg(target_os = "macos")]
mod macos;
#[cfg(target_os = "macos")]
use macos as platform;

use crate::os::Unsupported;
use gururmm_protocol::limits::clean;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use std::collections::HashMap;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::{Duration, Instant};

/// How long before a sample they are read.
const LEAD: Duration = Duration::from_secs(2);
/// They are read no more often than this, whoever looks: slow chips are asked over a slow bus.
const PAUSE: Duration = Duration::from_secs(5);
/// What is older than this says nothing about now.
const FRESH: Duration = Duration::from_secs(90);
/// A reading that takes longer than this will hardly ever end.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longest name of a chip or sensor, in characters.
const MAX_NAME_CHARS: usize = 64;

type Read = fn() -> Result<Sensors, Unsupported>;

/// The sensors as they were last read. A reading that hangs is not joined by another.
#[derive(Debug)]
pub struct SensorWatch {
    read: Read,
    started: Option<Instant>,
    reading: Option<Receiver<Sensors>>,
    last: Option<(Instant, Sensors)>,
}

impl Default for SensorWatch {
    fn default() -> Self {
        Self::reading_by(platform::read)
    }
}

impl SensorWatch {
    fn reading_by(read: Read) -> Self {
        Self { read, started: None, reading: None, last: None }
    }

    /// When [`SensorWatch::run`] is to be called for the sample that is `due`.
    pub fn next(&self, due: Instant) -> Option<Instant> {
        if self.reading.is_some() {
            return None;
        }
        let lead = due.checked_sub(LEAD).unwrap_or(due);
        let at = self.started.map_or(lead, |started| lead.max(started + PAUSE));
        (at <= due).then_some(at)
    }

    /// Begins to read when the sample that is `due` is near.
    pub fn run(&mut self, now: Instant, due: Instant) {
        self.collect();
        if self.next(due).is_none_or(|at| at > now) {
            return;
        }
        self.started = Some(now);
        let (sender, receiver) = sync_channel(1);
        let read = self.read;
        let thread = std::thread::Builder::new().name("sensors".into()).spawn(move || {
            let sensors = read().unwrap_or_else(|unsupported| unavailable(unsupported.to_string()));
            // Nobody waits any more when the agent stops.
            let _ = sender.send(sensors);
        });
        match thread {
            Ok(_) => self.reading = Some(receiver),
            Err(error) => tracing::debug!(%error, "the sensors cannot be read now"),
        }
    }

    /// Writes what was last read into a sample.
    pub fn complete(&mut self, now: Instant, sample: &mut Sample) {
        self.collect();
        let since = |then: Instant| now.saturating_duration_since(then);
        sample.sensors = match &self.last {
            Some((at, sensors)) if since(*at) < FRESH => Some(sensors.clone()),
            _ if self.reading.is_some() && self.started.is_some_and(|at| since(at) > PATIENCE) => {
                Some(unavailable("a driver does not answer".to_owned()))
            }
            _ => None,
        };
    }

    fn collect(&mut self) {
        match self.reading.as_ref().map(Receiver::try_recv) {
            None | Some(Err(TryRecvError::Empty)) => {}
            Some(Err(TryRecvError::Disconnected)) => self.reading = None,
            Some(Ok(mut sensors)) => {
                self.reading = None;
                for sensor in &mut sensors.readings {
                    clean(&mut sensor.device, MAX_NAME_CHARS);
                    clean(&mut sensor.name, MAX_NAME_CHARS);
                }
                tell_apart(&mut sensors.readings);
                sensors.clean();
                self.last = self.started.map(|started| (started, sensors));
            }
        }
    }
}

fn unavailable(why: String) -> Sensors {
    Sensors { unavailable: Some(why), ..Sensors::default() }
}

/// Device, kind and name tell sensors apart: those that have all of them in common are numbered.
fn tell_apart(sensors: &mut [Sensor]) {
    let mut seen: HashMap<(String, SensorKind, String), u32> = HashMap::new();
    for sensor in sensors {
        let times = seen.entry((sensor.device.clone(), sensor.kind, sensor.name.clone())).or_default();
        *times += 1;
        if *times > 1 {
            sensor.name = format!("{} {times}", sensor.name);
        }
    }
}

/// Whether a sensor of this kind can show this. Inputs that nothing is connected to show the ends of their range.
fn is_sane(kind: SensorKind, value: f32) -> bool {
    let range = match kind {
        SensorKind::Temperature => -60.0..=200.0,
        SensorKind::Fan => 0.0..=100_000.0,
        SensorKind::Voltage => -1_000.0..=1_000.0,
        SensorKind::Power => 0.0..=100_000.0,
        SensorKind::Current => -10_000.0..=10_000.0,
        SensorKind::Other => return false,
    };
    range.contains(&value)
}

/// Limits of which `high` comes before `critical`. What a chip was never told reads as zero or as the end of its range.
fn limited(mut sensor: Sensor) -> Sensor {
    let kind = sensor.kind;
    let is_set = |limit: &f32| *limit != 0.0 && is_sane(kind, *limit);
    sensor.critical = sensor.critical.filter(is_set);
    sensor.high =
        sensor.high.filter(is_set).filter(|high| sensor.critical.is_none_or(|critical| *high < critical));
    sensor.low = sensor.low.filter(is_set);
    sensor
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    fn sample() -> Sample {
        serde_json::from_str(r#"{"taken_at":"2031-01-01T00:00:00Z"}"#).unwrap()
    }

    fn shown(watch: &mut SensorWatch, now: Instant) -> Option<Sensors> {
        let mut sample = sample();
        watch.complete(now, &mut sample);
        sample.sensors
    }

    /// Waits for the thread as long as it may take on a busy machine.
    fn read(watch: &mut SensorWatch, now: Instant) -> Sensors {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(sensors) = shown(watch, now) {
                return sensors;
            }
            std::thread::yield_now();
        }
        panic!("nothing was read")
    }

    fn one() -> Result<Sensors, Unsupported> {
        let (name, kind) = ("fan1".to_owned(), SensorKind::Fan);
        let sensor = Sensor {
            device: "chip".to_owned(),
            name,
            kind,
            value: 900.0,
            low: None,
            high: None,
            critical: None,
        };
        Ok(Sensors { readings: vec![sensor.clone(), sensor.clone(), sensor], ..Sensors::default() })
    }

    #[test]
    fn they_are_read_shortly_before_a_sample_and_no_more_often_than_every_five_seconds() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut watch = SensorWatch::reading_by(one);
        assert_eq!(watch.next(at(60)), Some(at(58)));
        watch.run(at(57), at(60));
        assert_eq!(shown(&mut watch, at(57)), None, "not read yet");
        watch.run(at(58), at(60));
        assert_eq!(watch.next(at(60)), None, "being read");
        read(&mut watch, at(60));
        // Someone looks: every two seconds.
        assert_eq!(watch.next(at(62)), None);
        assert_eq!(watch.next(at(64)), Some(at(63)));
        assert!(shown(&mut watch, at(62)).is_some());
        assert_eq!(shown(&mut watch, at(58) + FRESH), None, "too old");
    }

    #[test]
    fn sensors_alike_are_numbered() {
        let mut watch = SensorWatch::reading_by(one);
        let now = Instant::now();
        watch.run(now, now);
        let names: Vec<_> = read(&mut watch, now).readings.into_iter().map(|sensor| sensor.name).collect();
        assert_eq!(names, ["fan1", "fan1 2", "fan1 3"]);
    }

    #[test]
    fn what_a_system_cannot_show_is_said() {
        let mut watch = SensorWatch::reading_by(|| Err(Unsupported::here("nobody knows how")));
        let now = Instant::now();
        watch.run(now, now);
        assert!(read(&mut watch, now).unavailable.is_some_and(|why| why.ends_with("nobody knows how")));
    }

    #[test]
    fn a_driver_that_never_answers_holds_up_no_sample_and_is_not_asked_again() {
        static GATE: Mutex<()> = Mutex::new(());
        static STARTED: Mutex<u32> = Mutex::new(0);
        fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
            of.lock().unwrap_or_else(PoisonError::into_inner)
        }
        fn hang() -> Result<Sensors, Unsupported> {
            *lock(&STARTED) += 1;
            drop(lock(&GATE));
            one()
        }
        let closed = lock(&GATE);
        let now = Instant::now();
        let mut watch = SensorWatch::reading_by(hang);
        watch.run(now, now);
        let later = now + PATIENCE + Duration::from_secs(1);
        assert_eq!(shown(&mut watch, now + PATIENCE), None);
        let sensors = shown(&mut watch, later).unwrap();
        assert_eq!(sensors.unavailable.as_deref(), Some("a driver does not answer"));
        watch.run(later, later);
        drop(closed);
        assert_eq!(read(&mut watch, now).readings.len(), 3, "it did answer in the end");
        assert_eq!(*lock(&STARTED), 1);
    }

    #[test]
    fn a_reading_that_dies_is_followed_by_another() {
        let (sender, receiver) = channel();
        drop(sender);
        let mut watch = SensorWatch { reading: Some(receiver), ..SensorWatch::reading_by(one) };
        let now = Instant::now();
        watch.run(now, now);
        assert!(!read(&mut watch, now).readings.is_empty());
    }

    #[test]
    fn this_machine_shows_its_sensors_or_says_why_not() {
        let mut watch = SensorWatch::default();
        let now = Instant::now();
        watch.run(now, now);
        let sensors = read(&mut watch, now);
        assert!(sensors.readings.iter().all(|sensor| is_sane(sensor.kind, sensor.value)), "{sensors:?}");
    }
}
