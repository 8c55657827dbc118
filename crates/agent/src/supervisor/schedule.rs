//! What is due when: samples to keep, samples to show, a look at the network.

use crate::capabilities::metrics::Sampler;
use crate::capabilities::network;
use crate::clock::ServerClock;
use crate::os::Unsupported;
use crate::session::Session;
use gururmm_protocol::network::NetworkState;
use gururmm_protocol::policy::AgentConfig;
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
    pub(super) fn new(now: Instant) -> Self {
        let config = AgentConfig::default();
        let kept = Series::new(now, FIRST_SAMPLE, interval(&config));
        Self { config, kept, live: None, next_network: now, network: None }
    }

    pub(super) fn config(&self) -> &AgentConfig {
        &self.config
    }

    /// New settings are in force at once.
    pub(super) fn configure(&mut self, now: Instant, config: AgentConfig) {
        if config.public_ip && !self.config.public_ip {
            let unsupported = Unsupported::here("asking providers for the public address is not built yet");
            tracing::warn!(%unsupported, "policy asks for the public address");
        }
        self.kept.interval = interval(&config);
        self.kept.next = self.kept.next.min(now + self.kept.interval);
        if config.network_state && !self.config.network_state {
            self.next_network = now;
        }
        self.config = config;
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
        let live = self.live.as_ref().map(|live| live.next);
        let network = self.config.network_state.then_some(self.next_network);
        [live, network].into_iter().flatten().fold(self.kept.next, Instant::min)
    }

    /// Does what is due.
    pub(super) fn run(&mut self, now: Instant, session: &mut Session, clock: &ServerClock) {
        if self.kept.is_due(now) {
            session.push_sample(self.kept.sampler.sample(&self.config, now, clock.at(now)));
        }
        if let Some(live) = &mut self.live
            && live.is_due(now)
        {
            session.push_live_sample(live.sampler.sample(&self.config, now, clock.at(now)));
        }
        if self.config.network_state && now >= self.next_network {
            self.next_network = now + NETWORK_INTERVAL;
            match network::read() {
                Ok(state) if self.network.as_ref() != Some(&state) => {
                    session.set_network(state.clone());
                    self.network = Some(state);
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "the network state cannot be read"),
            }
        }
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
        let mut schedule = Schedule::new(now);
        let mut session = Session::new(now, 1, Ledger::default(), Outbox::new(1));
        schedule.configure(now, with_interval(600));
        assert_eq!(schedule.next(), now + FIRST_SAMPLE);
        let now = now + FIRST_SAMPLE;
        schedule.run(now, &mut session, &ServerClock::default());
        assert_eq!(schedule.next(), now + Duration::from_secs(600));
        schedule.configure(now, with_interval(30));
        assert_eq!(schedule.next(), now + Duration::from_secs(30));
        // Out of range: brought within it.
        schedule.configure(now, with_interval(0));
        assert_eq!(schedule.next(), now + Duration::from_secs(10));
    }

    #[test]
    fn someone_who_looks_gets_samples_soon_and_only_while_they_look() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        schedule.configure(now, with_interval(600));
        schedule.watch(now, Some(Duration::from_secs(2)));
        assert_eq!(schedule.next(), now + FIRST_LIVE_SAMPLE);
        schedule.watch(now, None);
        assert_eq!(schedule.next(), now + FIRST_SAMPLE);
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
