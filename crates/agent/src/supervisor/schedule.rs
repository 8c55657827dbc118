//! What is due when: samples to keep, samples to show, a look at the network.

use crate::capabilities::metrics::Sampler;
use crate::capabilities::network;
use crate::capabilities::public_ip::PublicIp;
use crate::capabilities::sensors::SensorWatch;
use crate::capabilities::user_idle::UserIdle;
use crate::clock::ServerClock;
use crate::session::Session;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::network::NetworkState;
use gururmm_protocol::policy::AgentConfig;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// The first sample comes soon, so that a machine is not blank for a whole interval.
const FIRST_SAMPLE: Duration = Duration::from_secs(1);
/// The first sample for someone who just began to look.
const FIRST_LIVE_SAMPLE: Duration = Duration::from_millis(300);
/// How often the network is looked at; only changes are sent.
const NETWORK_INTERVAL: Duration = Duration::from_secs(15);
/// What policy may ask for.
const INTERVAL_SECONDS: std::ops::RangeInclusive<u32> = 10..=3600;

/// Timers of one running agent.
#[derive(Debug)]
pub(super) struct Schedule {
    config: AgentConfig,
    kept: Series,
    live: Option<Series>,
    next_network: Instant,
    network: Option<NetworkState>,
    facts: Facts,
}

/// What is asked for beside the loop, and put into the samples as it is known.
#[derive(Debug)]
struct Facts {
    public_ip: PublicIp,
    user_idle: UserIdle,
    sensors: SensorWatch,
}

#[derive(Debug)]
struct Series {
    sampler: Sampler,
    interval: Duration,
    next: Instant,
}

impl Series {
    fn new(now: Instant, first: Duration, interval: Duration) -> Self {
        Self { sampler: Sampler::new(now), interval, next: now + first }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        if now < self.next {
            return false;
        }
        // Not `next + interval`: a machine that slept does not owe the samples of its sleep.
        self.next = now + self.interval;
        true
    }
}

impl Schedule {
    /// The protocol's defaults until the server says otherwise.
    pub(super) fn new(now: Instant, run_folder: PathBuf) -> Self {
        let config = AgentConfig::default();
        let kept = Series::new(now, FIRST_SAMPLE, interval(&config));
        let facts = Facts {
            public_ip: PublicIp::new(now),
            user_idle: UserIdle::new(run_folder),
            sensors: SensorWatch::default(),
        };
        Self { config, kept, live: None, next_network: now, network: None, facts }
    }

    pub(super) fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// New settings are in force at once.
    pub(super) fn configure(&mut self, now: Instant, config: AgentConfig) {
        self.facts.public_ip.want(now, config.public_ip);
        self.kept.interval = interval(&config);
        self.kept.next = self.kept.next.min(now + self.kept.interval);
        if config.network_state && !self.config.network_state {
            self.next_network = now;
        }
        self.config = config;
    }

    /// The server said whence it sees this machine.
    pub(super) fn observed(&mut self, now: Instant, address: Option<IpAddr>) {
        self.facts.public_ip.observed(now, address);
    }

    /// Someone looks, or nobody does any more.
    pub(super) fn watch(&mut self, now: Instant, interval: Option<Duration>) {
        match (interval, &mut self.live) {
            (None, live) => *live = None,
            (Some(interval), Some(live)) => {
                live.interval = interval;
                live.next = live.next.min(now + interval);
            }
            (Some(interval), live) => *live = Some(Series::new(now, FIRST_LIVE_SAMPLE, interval)),
        }
    }

    /// When [`Schedule::run`] is to be called at the latest.
    pub(super) fn next(&self) -> Instant {
        let network = self.config.network_state.then_some(self.next_network);
        let sample = self.next_sample();
        let Facts { public_ip, user_idle, sensors } = &self.facts;
        let facts = [public_ip.next(), user_idle.next(sample), sensors.next(sample)];
        facts.into_iter().chain([network]).flatten().fold(sample, Instant::min)
    }

    fn next_sample(&self) -> Instant {
        self.live.as_ref().map_or(self.kept.next, |live| live.next.min(self.kept.next))
    }

    /// Does what is due.
    pub(super) fn run(&mut self, now: Instant, session: &mut Session, clock: &ServerClock) {
        self.facts.public_ip.run(now);
        let next_sample = self.next_sample();
        self.facts.user_idle.run(now, next_sample);
        self.facts.sensors.run(now, next_sample);
        if self.kept.is_due(now) {
            let sample = self.kept.sampler.sample(&self.config, now, clock.at(now));
            session.push_sample(now, self.facts.complete(now, sample));
        }
        if let Some(live) = &mut self.live
            && live.is_due(now)
        {
            let sample = live.sampler.sample(&self.config, now, clock.at(now));
            session.push_live_sample(self.facts.complete(now, sample));
        }
        if self.config.network_state && now >= self.next_network {
            self.next_network = now + NETWORK_INTERVAL;
            match network::read() {
                Ok(state) if self.network.as_ref() != Some(&state) => {
                    // The first look is no change.
                    if self.network.is_some() {
                        self.facts.public_ip.changed(now);
                    }
                    session.set_network(state.clone());
                    self.network = Some(state);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the network state cannot be read"),
            }
        }
    }
}

impl Facts {
    fn complete(&mut self, now: Instant, mut sample: Sample) -> Sample {
        sample.public_ip = self.public_ip.current().map(|address| address.to_string());
        self.user_idle.complete(now, &mut sample);
        self.sensors.complete(now, &mut sample);
        sample
    }
}

fn interval(config: &AgentConfig) -> Duration {
    let seconds = config.metrics_interval_seconds.clamp(*INTERVAL_SECONDS.start(), *INTERVAL_SECONDS.end());
    Duration::from_secs(seconds.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Outbox;
    use crate::session::ledger::Ledger;

    fn with_interval(metrics_interval_seconds: u32) -> AgentConfig {
        AgentConfig { metrics_interval_seconds, network_state: false, ..AgentConfig::default() }
    }

    #[test]
    fn a_changed_interval_is_in_force_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, PathBuf::from("/nonexistent"));
        let mut session = Session::new(now, 1, Ledger::default(), Outbox::new(1));
        schedule.configure(now, with_interval(600));
        assert_eq!(schedule.next_sample(), now + FIRST_SAMPLE);
        let now = now + FIRST_SAMPLE;
        schedule.run(now, &mut session, &ServerClock::default());
        assert_eq!(schedule.next_sample(), now + Duration::from_secs(600));
        schedule.configure(now, with_interval(30));
        assert_eq!(schedule.next_sample(), now + Duration::from_secs(30));
        // Out of range: brought within it.
        schedule.configure(now, with_interval(0));
        assert_eq!(schedule.next_sample(), now + Duration::from_secs(10));
    }

    #[test]
    fn someone_who_looks_gets_samples_soon_and_only_while_they_look() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, PathBuf::from("/nonexistent"));
        schedule.configure(now, with_interval(600));
        schedule.watch(now, Some(Duration::from_secs(2)));
        assert_eq!(schedule.next_sample(), now + FIRST_LIVE_SAMPLE);
        schedule.watch(now, None);
        assert_eq!(schedule.next_sample(), now + FIRST_SAMPLE);
    }

    #[test]
    fn what_sensors_show_comes_with_the_samples() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, PathBuf::from("/nonexistent"));
        let mut session = Session::new(now, 1, Ledger::default(), Outbox::new(1));
        // They are read before the first sample is due.
        schedule.run(now, &mut session, &ServerClock::default());
        let until = now + Duration::from_secs(20);
        let has_sensors = |schedule: &mut Schedule| {
            let sample = serde_json::from_str(r#"{"taken_at":"2031-01-01T00:00:00Z"}"#).unwrap();
            schedule.facts.complete(now, sample).sensors.is_some()
        };
        while !has_sensors(&mut schedule) {
            assert!(Instant::now() < until, "nothing was read");
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_machine_that_slept_does_not_catch_up_on_samples() {
        let now = Instant::now();
        let mut series = Series::new(now, Duration::ZERO, Duration::from_secs(60));
        let awake = now + Duration::from_secs(8 * 3600);
        assert!(series.is_due(awake));
        assert!(!series.is_due(awake + Duration::from_secs(59)));
    }
}
