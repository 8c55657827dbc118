//! Samples and the network state the server has not acknowledged, in memory and bounded: the oldest sample goes first.

use chrono::TimeDelta;
use gururmm_protocol::AgentMessage;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::network::NetworkState;
use std::collections::VecDeque;

/// Samples kept at most: two hours at the default interval, about half a megabyte, and three times that with many sensors.
const MAX_SAMPLES: usize = 120;
/// Samples sent and not acknowledged at most, so that a slow server is not flooded after an outage.
const MAX_IN_FLIGHT: usize = 16;

/// What is to be sent, and sent again until it is acknowledged.
#[derive(Debug)]
pub struct Outbox {
    next_seq: u64,
    samples: VecDeque<(u64, Sample)>,
    /// How many of `samples` were sent on this connection.
    sent: usize,
    dropped: u64,
    network: Option<Pending>,
}

#[derive(Debug)]
struct Pending {
    seq: u64,
    state: NetworkState,
    is_sent: bool,
}

impl Outbox {
    /// Sequences count up from `first_seq`, which is larger than any an earlier run used.
    pub fn new(first_seq: u64) -> Self {
        Self { next_seq: first_seq, samples: VecDeque::new(), sent: 0, dropped: 0, network: None }
    }

    /// Takes a sample to be stored by the server.
    pub fn push_sample(&mut self, sample: Sample) {
        if self.samples.len() == MAX_SAMPLES {
            self.samples.pop_front();
            self.sent = self.sent.saturating_sub(1);
            self.dropped += 1;
            // Powers of two: said at once, and not once a minute for days.
            if self.dropped.is_power_of_two() {
                tracing::warn!(dropped = self.dropped, "samples are dropped: the server does not take them");
            }
        }
        let seq = self.take_seq();
        self.samples.push_back((seq, sample));
    }

    /// The server told its time for the first time, and it is `offset` later than was thought: the samples taken so far
    /// are stamped anew.
    pub fn clock_told(&mut self, offset: TimeDelta) {
        for (_, sample) in &mut self.samples {
            sample.taken_at = sample.taken_at.checked_add_signed(offset).unwrap_or(sample.taken_at);
        }
    }

    /// Takes a changed network state; an older one not yet acknowledged is replaced.
    pub fn set_network(&mut self, state: NetworkState) {
        let seq = self.take_seq();
        self.network = Some(Pending { seq, state, is_sent: false });
    }

    /// The next message to send.
    pub fn poll(&mut self) -> Option<AgentMessage> {
        if let Some(pending) = self.network.as_mut().filter(|pending| !pending.is_sent) {
            pending.is_sent = true;
            return Some(AgentMessage::NetworkState { seq: pending.seq, state: pending.state.clone() });
        }
        if self.sent >= MAX_IN_FLIGHT {
            return None;
        }
        let (seq, sample) = self.samples.get(self.sent)?;
        self.sent += 1;
        Some(AgentMessage::Metrics { seq: *seq, sample: sample.clone() })
    }

    /// The server stored all samples up to `seq`.
    pub fn ack_samples(&mut self, seq: u64) {
        while self.samples.front().is_some_and(|(first, _)| *first <= seq) {
            self.samples.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// The server stored the network state.
    pub fn ack_network(&mut self, seq: u64) {
        if self.network.as_ref().is_some_and(|pending| pending.seq <= seq) {
            self.network = None;
        }
    }

    /// The connection is gone: everything not acknowledged is sent again.
    pub fn rewind(&mut self) {
        self.sent = 0;
        if let Some(pending) = &mut self.network {
            pending.is_sent = false;
        }
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Sample {
        serde_json::from_str(r#"{"taken_at":"2031-01-01T00:00:00Z"}"#).unwrap()
    }

    fn seqs(outbox: &mut Outbox) -> Vec<u64> {
        std::iter::from_fn(|| outbox.poll())
            .map(|message| match message {
                AgentMessage::Metrics { seq, .. } | AgentMessage::NetworkState { seq, .. } => seq,
                other => unreachable!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn what_is_not_acknowledged_is_sent_again_on_the_next_connection() {
        let mut outbox = Outbox::new(7);
        (0..3).for_each(|_| outbox.push_sample(sample()));
        outbox.set_network(NetworkState::default());
        assert_eq!(seqs(&mut outbox), [10, 7, 8, 9]);
        assert!(seqs(&mut outbox).is_empty());
        outbox.ack_samples(8);
        outbox.rewind();
        assert_eq!(seqs(&mut outbox), [10, 9]);
        outbox.ack_network(10);
        outbox.ack_samples(9);
        outbox.rewind();
        assert!(seqs(&mut outbox).is_empty());
    }

    #[test]
    fn an_acknowledgement_of_an_older_network_state_keeps_the_newer_one() {
        let mut outbox = Outbox::new(1);
        outbox.set_network(NetworkState::default());
        assert_eq!(seqs(&mut outbox), [1]);
        outbox.set_network(NetworkState::default());
        outbox.ack_network(1);
        assert_eq!(seqs(&mut outbox), [2]);
    }

    #[test]
    fn the_oldest_samples_go_when_the_outbox_is_full_and_few_are_in_flight() {
        let mut outbox = Outbox::new(1);
        (0..MAX_SAMPLES + 5).for_each(|_| outbox.push_sample(sample()));
        assert_eq!(outbox.samples.len(), MAX_SAMPLES);
        let sent = seqs(&mut outbox);
        assert_eq!(sent.first(), Some(&6));
        assert_eq!(sent.len(), MAX_IN_FLIGHT);
    }
}
