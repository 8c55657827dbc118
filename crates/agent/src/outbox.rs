//! Samples and the network state the server has not acknowledged, and what is to be said of samples that were lost.
//!
//! A sample is held in memory until it is acknowledged, which takes a moment while all is well: then nothing is ever
//! written. One that waits longer goes to disk ([`store`]), and is read again, in its order and at a limited rate, when a
//! server takes it. New samples go before those that wait on disk, so that a machine that was away for days shows at once
//! how it is now.
//!
//! No I/O and no clock: [`Outbox::next_job`] says what is to be done on disk, [`Outbox::job_done`] is told what came of it.
//! Samples are the lowest class of what an agent has to say, and the only one that is dropped for want of room: the ends of
//! commands have their home in the journal, gaps and the network state are few.

mod gaps;
pub mod store;
#[cfg(test)]
mod tests;

use chrono::{DateTime, TimeDelta, Utc};
use gaps::Gaps;
use gururmm_protocol::gap::{Gap, GapReason};
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::network::NetworkState;
use gururmm_protocol::{AgentMessage, GapId, Version};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use store::{Done, Found, Job, Kept, Save};

/// Samples kept in memory at most while the disk does not take them: two hours at the default interval, about half a
/// megabyte, and three times that with many sensors.
const MAX_IN_MEMORY: usize = 120;
/// Samples sent and not acknowledged at most, so that a slow server is not flooded after an outage.
const MAX_IN_FLIGHT: usize = 16;
/// How long a sample may wait for its acknowledgement before it is written: what an agent that is killed, or a power cut,
/// can cost at most.
pub const WRITE_AFTER: Duration = Duration::from_secs(15);
/// How long an acknowledgement waits to be written; the next run sends again what was not.
const FORGET_AFTER: Duration = Duration::from_secs(10);
/// How many acknowledgements wait at most.
const FORGET_AT: usize = 256;
/// How soon a disk that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How often a sample that waited on disk is sent: 72 hours of them take less than four minutes.
pub const REPLAY_EVERY: Duration = Duration::from_millis(50);
/// How far that may run ahead.
const REPLAY_AHEAD: Duration = Duration::from_millis(500);
/// Samples read at once, and how few are left when more are read.
const READ: usize = 32;
const READ_AT: usize = 8;

/// What is to be sent, and sent again until it is acknowledged.
#[derive(Debug)]
pub struct Outbox {
    next_seq: u64,
    /// Not on disk, oldest first.
    fresh: VecDeque<Fresh>,
    backlog: Backlog,
    /// Sequences sent on this connection and not acknowledged, in the order in which they were sent.
    in_flight: VecDeque<u64>,
    gaps: Gaps,
    network: Option<Pending>,
    disk: Disk,
    /// Whether the server told its time to this run.
    is_clock_told: bool,
    /// By how much this run's clock was wrong before, until that is written.
    shift: Option<TimeDelta>,
    /// The version of the protocol that is spoken on this connection.
    protocol: Option<Version>,
}

#[derive(Debug)]
struct Fresh {
    seq: u64,
    since: Instant,
    is_stamped: bool,
    sample: Sample,
    /// Sent on this connection.
    is_sent: bool,
    /// About to be written.
    is_saving: bool,
}

/// Samples on disk.
#[derive(Debug)]
struct Backlog {
    left: u64,
    last_seq: u64,
    /// Up to where they were read since the connection stands.
    read_up_to: u64,
    /// Read, and not sent.
    ahead: VecDeque<(u64, Sample)>,
    /// Acknowledged, and still on disk.
    over: Vec<u64>,
    /// When these are to be removed.
    forget_at: Option<Instant>,
    /// Up to when the allowance for them is used up.
    sent_up_to: Option<Instant>,
    /// Until when nothing of them is sent.
    held_until: Option<Instant>,
    replay_every: Duration,
}

/// The state of the disk.
#[derive(Debug)]
struct Disk {
    is_there: bool,
    running: Option<Running>,
    /// Why it did not take the last job.
    trouble: Option<(GapReason, String)>,
    retry_at: Option<Instant>,
    /// Dropped from memory since then, for the log.
    dropped: u64,
}

#[derive(Debug)]
enum Running {
    Save { gaps: Vec<Gap>, forget: Vec<GapId>, over: Vec<u64>, has_shift: bool },
    Read,
}

#[derive(Debug)]
struct Pending {
    seq: u64,
    state: NetworkState,
    is_sent: bool,
}

impl Outbox {
    /// Without a disk. Sequences count up from `first_seq`, which is larger than any an earlier run used.
    pub fn new(first_seq: u64) -> Self {
        Self {
            next_seq: first_seq,
            fresh: VecDeque::new(),
            backlog: Backlog {
                left: 0,
                last_seq: 0,
                read_up_to: 0,
                ahead: VecDeque::new(),
                over: Vec::new(),
                forget_at: None,
                sent_up_to: None,
                held_until: None,
                replay_every: REPLAY_EVERY,
            },
            in_flight: VecDeque::new(),
            gaps: Gaps::default(),
            network: None,
            disk: Disk { is_there: false, running: None, trouble: None, retry_at: None, dropped: 0 },
            is_clock_told: false,
            shift: None,
            protocol: None,
        }
    }

    /// With a disk, and what an earlier run left on it.
    pub fn with_disk(found: Found) -> Self {
        let mut outbox = Self::new(found.first_seq);
        outbox.disk.is_there = true;
        (outbox.backlog.left, outbox.backlog.last_seq) = (found.left, found.last_seq);
        outbox.gaps = Gaps::restored(found.gaps);
        if let Some(lost) = found.lost {
            outbox.gaps.add(lost);
        }
        // Looked at again as soon as there is a loop to wait for it.
        outbox.disk.trouble = found.trouble;
        outbox
    }

    /// Another rate at which what waited on disk is sent, for tests.
    pub fn replaying_every(mut self, replay_every: Duration) -> Self {
        self.backlog.replay_every = replay_every;
        self
    }

    /// Takes a sample to be stored by the server.
    pub fn push_sample(&mut self, now: Instant, sample: Sample) {
        if self.fresh.iter().filter(|fresh| !fresh.is_saving).count() >= MAX_IN_MEMORY {
            self.drop_oldest();
        }
        let (seq, is_stamped) = (self.take_seq(), self.is_clock_told);
        self.fresh.push_back(Fresh { seq, since: now, is_stamped, sample, is_sent: false, is_saving: false });
    }

    /// Drops the oldest sample in memory that is not on its way anywhere.
    fn drop_oldest(&mut self) {
        let oldest = self.fresh.iter().position(|fresh| !fresh.is_saving && !fresh.is_sent);
        let oldest = oldest.or_else(|| self.fresh.iter().position(|fresh| !fresh.is_saving));
        let Some(dropped) = oldest.and_then(|at| self.fresh.remove(at)) else { return };
        self.in_flight.retain(|seq| *seq != dropped.seq);
        let (reason, error) = match &self.disk.trouble {
            Some((reason, error)) => (*reason, Some(error.as_str())),
            None => (GapReason::StoreFailed, None),
        };
        self.gaps.dropped(dropped.sample.taken_at, reason, error);
        self.disk.dropped += 1;
        // Powers of two: said at once, and not once a minute for days.
        if self.disk.dropped.is_power_of_two() {
            let dropped = self.disk.dropped;
            tracing::warn!(dropped, "samples are dropped: neither the server nor the disk takes them");
        }
    }

    /// The server told its time for the first time, and it is `offset` later than was thought: the samples taken so far
    /// are stamped anew.
    pub fn clock_told(&mut self, offset: TimeDelta) {
        self.is_clock_told = true;
        for fresh in self.fresh.iter_mut().filter(|fresh| !fresh.is_stamped) {
            fresh.is_stamped = true;
            let taken_at = &mut fresh.sample.taken_at;
            *taken_at = taken_at.checked_add_signed(offset).unwrap_or(*taken_at);
        }
        let may_be_on_disk = self.backlog.left > 0 || self.is_saving();
        if may_be_on_disk && offset.abs() >= TimeDelta::seconds(1) {
            self.shift = Some(offset);
        }
    }

    /// Takes a changed network state; an older one not yet acknowledged is replaced.
    pub fn set_network(&mut self, state: NetworkState) {
        let seq = self.take_seq();
        self.network = Some(Pending { seq, state, is_sent: false });
    }

    /// A server takes messages, in this version of the protocol.
    pub fn welcomed(&mut self, protocol: Version) {
        self.protocol = Some(protocol);
    }

    /// The next message to send.
    pub fn poll(&mut self, now: Instant) -> Option<AgentMessage> {
        if let Some(pending) = self.network.as_mut().filter(|pending| !pending.is_sent) {
            pending.is_sent = true;
            return Some(AgentMessage::NetworkState { seq: pending.seq, state: pending.state.clone() });
        }
        // One that the disk is about to make larger is not said as it was before.
        if self.protocol.is_some_and(Version::has_gaps)
            && !self.is_saving()
            && let Some(gap) = self.gaps.poll()
        {
            return Some(AgentMessage::Gap(gap));
        }
        self.backlog.held_until = None;
        if self.in_flight.len() >= MAX_IN_FLIGHT {
            return None;
        }
        if let Some(fresh) = self.fresh.iter_mut().find(|fresh| !fresh.is_sent) {
            fresh.is_sent = true;
            self.in_flight.push_back(fresh.seq);
            return Some(AgentMessage::Metrics { seq: fresh.seq, sample: fresh.sample.clone() });
        }
        let (seq, sample) = self.backlog.poll(now)?;
        self.in_flight.push_back(seq);
        Some(AgentMessage::Metrics { seq, sample })
    }

    /// When there may be more to send although nothing else happens.
    pub fn next_send(&self) -> Option<Instant> {
        self.backlog.held_until
    }

    /// The server stored all samples up to `seq` of those it was sent before.
    ///
    /// Samples are not sent in the order of their sequences, and the acknowledgement says nothing of what was sent after
    /// `seq`, nor of what is larger: only what is neither is over.
    pub fn ack_samples(&mut self, now: Instant, seq: u64) {
        let Some(last) = self.in_flight.iter().position(|sent| *sent == seq) else { return };
        let later = self.in_flight.split_off(last + 1);
        let sent = std::mem::replace(&mut self.in_flight, later);
        for sent in sent.into_iter().rev() {
            if sent <= seq {
                self.delivered(now, sent);
            } else {
                self.in_flight.push_front(sent);
            }
        }
    }

    fn delivered(&mut self, now: Instant, seq: u64) {
        let fresh = self.fresh.iter().position(|fresh| fresh.seq == seq);
        let fresh = fresh.and_then(|at| self.fresh.remove(at));
        if self.disk.is_there && fresh.is_none_or(|fresh| fresh.is_saving) {
            self.backlog.over.push(seq);
            self.backlog.forget_at.get_or_insert(now + FORGET_AFTER);
        }
    }

    /// The server stored that these samples are lost.
    pub fn ack_gap(&mut self, now: Instant, gap_id: GapId) {
        self.gaps.acknowledged(gap_id);
        self.backlog.forget_at.get_or_insert(now + FORGET_AFTER);
    }

    /// The server stored the network state.
    pub fn ack_network(&mut self, seq: u64) {
        if self.network.as_ref().is_some_and(|pending| pending.seq <= seq) {
            self.network = None;
        }
    }

    /// The connection is gone: everything not acknowledged is sent again.
    pub fn rewind(&mut self) {
        self.protocol = None;
        self.in_flight.clear();
        self.fresh.iter_mut().for_each(|fresh| fresh.is_sent = false);
        self.backlog.rewind();
        self.gaps.rewind();
        if let Some(pending) = &mut self.network {
            pending.is_sent = false;
        }
    }

    /// How many samples wait to be acknowledged.
    pub fn waiting(&self) -> u64 {
        let over = self.backlog.over.len();
        let in_memory = self.fresh.iter().filter(|fresh| !fresh.is_saving).count();
        let on_disk = self.backlog.left.saturating_sub(u64::try_from(over).unwrap_or(u64::MAX));
        on_disk.saturating_add(u64::try_from(in_memory).unwrap_or(u64::MAX))
    }

    /// What is to be done on disk; one thing at a time, so that nothing comes until [`Outbox::job_done`] was told.
    pub fn next_job(&mut self, now: Instant) -> Option<Job> {
        if !self.is_disk_ready() || self.disk.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        let is_late = self.fresh.front().is_some_and(|fresh| fresh.since + WRITE_AFTER <= now);
        if is_late || self.is_tidying_due(now) {
            return Some(self.save(is_late));
        }
        let backlog = &self.backlog;
        let wants_more =
            backlog.ahead.len() < READ_AT && backlog.read_up_to < backlog.last_seq && backlog.left > 0;
        if self.protocol.is_some() && wants_more {
            self.disk.running = Some(Running::Read);
            return Some(Job::Read { after: backlog.read_up_to, most: READ });
        }
        None
    }

    /// The agent stops: what is not on disk goes there now.
    pub fn last_job(&mut self) -> Option<Job> {
        let has_news = !self.fresh.is_empty() || !self.backlog.over.is_empty() || self.gaps.is_changed();
        (has_news && self.is_disk_ready()).then(|| self.save(true))
    }

    /// When [`Outbox::next_job`] is to be asked at the latest.
    pub fn next_job_at(&self) -> Option<Instant> {
        if !self.is_disk_ready() {
            return None;
        }
        if self.disk.trouble.is_some() {
            return self.disk.retry_at;
        }
        let write_at = self.fresh.front().map(|fresh| fresh.since + WRITE_AFTER);
        [write_at, self.backlog.forget_at].into_iter().flatten().min()
    }

    fn is_disk_ready(&self) -> bool {
        self.disk.is_there && self.disk.running.is_none()
    }

    fn is_saving(&self) -> bool {
        matches!(self.disk.running, Some(Running::Save { .. }))
    }

    /// Whether something beside new samples is to be written.
    fn is_tidying_due(&self, now: Instant) -> bool {
        let backlog = &self.backlog;
        let over = backlog.over.len();
        let is_all_over = over > 0 && u64::try_from(over).is_ok_and(|over| over >= backlog.left);
        self.disk.trouble.is_some()
            || self.shift.is_some()
            || is_all_over
            || over >= FORGET_AT
            || backlog.forget_at.is_some_and(|at| at <= now) && over > 0
            // A gap that nothing has been planned for was found at the start.
            || backlog.forget_at.is_none_or(|at| at <= now) && self.gaps.is_changed()
    }

    fn save(&mut self, with_samples: bool) -> Job {
        self.backlog.forget_at = None;
        let mut samples = Vec::new();
        for fresh in self.fresh.iter_mut().filter(|_| with_samples) {
            fresh.is_saving = true;
            let Fresh { seq, is_stamped, sample, .. } = fresh;
            samples.push(Kept { seq: *seq, is_stamped: *is_stamped, sample: sample.clone() });
        }
        let (gaps, forget) = self.gaps.begin_save();
        let over = std::mem::take(&mut self.backlog.over);
        let ahead = self.backlog.ahead.iter().map(|(seq, _)| *seq);
        let save = Save {
            delete: over.clone(),
            gaps: gaps.clone(),
            forget: forget.clone(),
            overflowing: self.gaps.overflowing().cloned(),
            on_their_way: self.in_flight.iter().copied().chain(ahead).collect(),
            shift: self.shift,
            samples,
        };
        self.disk.running = Some(Running::Save { gaps, forget, over, has_shift: save.shift.is_some() });
        Job::Save(Box::new(save))
    }

    /// What came of the job.
    pub fn job_done(&mut self, now: Instant, done: Done) {
        let running = self.disk.running.take();
        let is_done = !matches!(done, Done::Failed { .. });
        if is_done && self.disk.trouble.take().is_some() {
            tracing::info!("samples can be kept on disk again");
            self.disk.dropped = 0;
        }
        self.disk.retry_at = None;
        if let Some(Running::Save { gaps, forget, over, has_shift }) = running {
            self.gaps.saved(&gaps, &forget, is_done);
            if is_done {
                self.fresh.retain(|fresh| !fresh.is_saving);
                if has_shift {
                    self.shift = None;
                }
            } else {
                self.fresh.iter_mut().for_each(|fresh| fresh.is_saving = false);
                self.backlog.over.extend(over);
            }
        }
        match done {
            Done::Saved { left, last_seq, overflowed } => {
                (self.backlog.left, self.backlog.last_seq) = (left, last_seq);
                if let Some(gap) = overflowed {
                    tracing::warn!(dropped = gap.count, "samples are dropped: the outbox is full");
                    self.gaps.overflowed(gap);
                }
            }
            Done::Read { after, samples, damaged, damaged_at, is_end } => {
                self.have_read(now, after, samples, &damaged, is_end);
                for _ in &damaged {
                    self.gaps.dropped(damaged_at, GapReason::StoreUnreadable, None);
                }
            }
            Done::Failed { reason, error, lost } => self.failed(now, reason, error, lost),
        }
        if self.gaps.is_changed() || !self.backlog.over.is_empty() {
            self.backlog.forget_at.get_or_insert(now + FORGET_AFTER);
        }
    }

    fn have_read(
        &mut self,
        now: Instant,
        after: u64,
        samples: Vec<(u64, Sample)>,
        damaged: &[u64],
        is_end: bool,
    ) {
        // Of a connection that is gone.
        if after != self.backlog.read_up_to || self.protocol.is_none() {
            return;
        }
        let last = samples.iter().map(|(seq, _)| *seq).chain(damaged.iter().copied()).max();
        self.backlog.read_up_to = if is_end { self.backlog.last_seq } else { last.unwrap_or(after) };
        let is_known = |seq: u64| self.in_flight.contains(&seq) || self.backlog.over.contains(&seq);
        let news: Vec<_> = samples.into_iter().filter(|(seq, _)| !is_known(*seq)).collect();
        self.backlog.ahead.extend(news);
        if !damaged.is_empty() {
            tracing::error!(damaged = damaged.len(), "samples on disk are damaged and lost");
            self.backlog.over.extend(damaged);
            self.backlog.forget_at.get_or_insert(now);
        }
    }

    fn failed(&mut self, now: Instant, reason: GapReason, error: String, lost: Option<Gap>) {
        match lost {
            // A new one can be begun at once.
            Some(lost) => {
                self.gaps.add(lost);
                self.backlog.emptied();
            }
            None => {
                if self.disk.trouble.is_none() {
                    tracing::warn!(error, "samples cannot be kept on disk; memory holds the newest");
                }
                self.disk.retry_at = Some(now + RETRY_AFTER);
                self.disk.trouble = Some((reason, error));
            }
        }
    }

    fn take_seq(&mut self) -> u64 {
        let seq = self.next_seq;
        self.next_seq += 1;
        seq
    }
}

impl Backlog {
    /// The next one that the rate allows.
    fn poll(&mut self, now: Instant) -> Option<(u64, Sample)> {
        self.ahead.front()?;
        let sent_up_to = self.sent_up_to.map_or(now, |at| at.max(now));
        if sent_up_to > now + REPLAY_AHEAD {
            self.held_until = Some(sent_up_to - REPLAY_AHEAD);
            return None;
        }
        self.sent_up_to = Some(sent_up_to + self.replay_every);
        self.ahead.pop_front()
    }

    fn rewind(&mut self) {
        self.ahead.clear();
        self.read_up_to = 0;
        self.held_until = None;
    }

    /// Nothing is left on disk. What was read is still good.
    fn emptied(&mut self) {
        (self.left, self.last_seq, self.read_up_to) = (0, 0, 0);
        self.over.clear();
    }
}

/// Where a run's sequences begin.
pub fn first_seq(clock: DateTime<Utc>) -> u64 {
    // Seconds since 1970: above every sequence of an earlier run, since a sample takes far longer than one.
    u64::try_from(clock.timestamp()).unwrap_or(1)
}
