//! Outbox and disk together, at a clock and a server that do what a test says.

use super::store::{MAX_FILE_BYTES, OUTBOX_DIR, Store};
use super::*;
use crate::state::StateDir;
use gururmm_protocol::metrics::Process;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

mod damage;
mod model;

const V1_0: Version = Version { major: 1, minor: 0 };
const V1_1: Version = Version { major: 1, minor: 1 };
const MINUTE: Duration = Duration::from_secs(60);

fn time(minute: u64) -> DateTime<Utc> {
    let start: DateTime<Utc> = "2031-01-01T00:00:00Z".parse().unwrap();
    start + TimeDelta::minutes(i64::try_from(minute).unwrap())
}

fn sample(minute: u64) -> Sample {
    let text = format!(r#"{{"taken_at":"{}"}}"#, time(minute).to_rfc3339());
    serde_json::from_str(&text).unwrap()
}

/// As large as those of a busy machine.
fn large_sample(minute: u64) -> Sample {
    let process = |pid: u32| Process {
        pid,
        name: format!("example-service-{pid}"),
        user: "svc-example".into(),
        cpu_percent: 12.345_679,
        memory_bytes: 1_234_567_890,
        command_line: format!(
            "/usr/lib/example/bin/example-service --port {pid} --data /var/lib/example/{minute}"
        ),
    };
    let processes: Vec<_> = (40_000..40_010).map(process).collect();
    Sample { top_cpu: processes.clone(), top_memory: processes, ..sample(minute) }
}

/// One machine, its disk, and what a server got from it.
struct Rig {
    dir: TempDir,
    store: Store,
    outbox: Outbox,
    now: Instant,
    max_file_bytes: u64,
    jobs: usize,
}

impl Rig {
    fn new() -> Self {
        Self::with_room(MAX_FILE_BYTES)
    }

    fn with_room(max_file_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        StateDir::create(&dir.path().join("state")).unwrap();
        Self::on(dir, Instant::now(), max_file_bytes)
    }

    /// A run on what another one left.
    fn on(dir: TempDir, now: Instant, max_file_bytes: u64) -> Self {
        let state = StateDir::open(&dir.path().join("state")).unwrap();
        let (store, found) = Store::open(&state, 1_000, max_file_bytes);
        Self { dir, store, outbox: Outbox::with_disk(found), now, max_file_bytes, jobs: 0 }
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("state").join(OUTBOX_DIR)
    }

    fn files(&self) -> Vec<String> {
        files(&self.folder())
    }

    /// Stopped in order, and started again.
    fn restart(mut self) -> Self {
        self.settle();
        while let Some(job) = self.outbox.last_job() {
            self.work(&job);
        }
        let Self { dir, store, now, max_file_bytes, .. } = self;
        drop(store);
        Self::on(dir, now, max_file_bytes)
    }

    /// Killed, and started again on what the disk holds at this moment.
    fn kill(self) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        if self.folder().is_dir() {
            let folder = state.sub_dir(OUTBOX_DIR).unwrap();
            for name in self.files() {
                fs::copy(self.folder().join(&name), folder.join(&name)).unwrap();
            }
        }
        Self::on(dir, self.now, self.max_file_bytes)
    }

    fn work(&mut self, job: &Job) {
        self.jobs += 1;
        let done = self.store.run(job);
        self.outbox.job_done(self.now, done);
    }

    /// Does on disk what is due.
    fn settle(&mut self) {
        while let Some(job) = self.outbox.next_job(self.now) {
            self.work(&job);
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.settle();
    }

    fn push(&mut self, sample: Sample) {
        self.outbox.push_sample(self.now, sample);
        self.settle();
    }

    /// Samples of these minutes, taken while nobody answers.
    fn offline(&mut self, minutes: std::ops::Range<u64>) {
        for minute in minutes {
            self.push(sample(minute));
            self.pass(MINUTE);
        }
    }

    fn connect(&mut self) {
        self.outbox.welcomed(V1_1);
        self.settle();
    }

    fn send(&mut self) -> Vec<AgentMessage> {
        let sent = std::iter::from_fn(|| self.outbox.poll(self.now)).collect();
        self.settle();
        sent
    }

    /// Takes and acknowledges all there is, as it comes.
    fn drain(&mut self) -> Received {
        let mut received = Received::default();
        self.connect();
        loop {
            let sent = self.send();
            if sent.is_empty() && self.outbox.next_send().is_none() {
                return received;
            }
            for message in sent {
                match message {
                    AgentMessage::Metrics { seq, sample } => {
                        received.samples.push((seq, sample.taken_at));
                        self.outbox.ack_samples(self.now, seq);
                    }
                    AgentMessage::Gap(gap) => {
                        self.outbox.ack_gap(self.now, gap.gap_id);
                        received.gaps.push(gap);
                    }
                    other => unreachable!("{other:?}"),
                }
            }
            self.pass(Duration::from_millis(50));
        }
    }
}

#[derive(Default)]
struct Received {
    samples: Vec<(u64, DateTime<Utc>)>,
    gaps: Vec<Gap>,
}

impl Received {
    fn times(&self) -> Vec<DateTime<Utc>> {
        self.samples.iter().map(|(_, time)| *time).collect()
    }
}

fn files(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn seqs(sent: &[AgentMessage]) -> Vec<u64> {
    let seq = |message: &AgentMessage| match message {
        AgentMessage::Metrics { seq, .. } | AgentMessage::NetworkState { seq, .. } => *seq,
        other => unreachable!("{other:?}"),
    };
    sent.iter().map(seq).collect()
}

#[test]
fn what_is_not_acknowledged_is_sent_again_on_the_next_connection() {
    let now = Instant::now();
    let mut outbox = Outbox::new(7);
    (0..3).for_each(|minute| outbox.push_sample(now, sample(minute)));
    outbox.set_network(NetworkState::default());
    let send = |outbox: &mut Outbox| seqs(&std::iter::from_fn(|| outbox.poll(now)).collect::<Vec<_>>());
    assert_eq!(send(&mut outbox), [10, 7, 8, 9]);
    assert!(send(&mut outbox).is_empty());
    outbox.ack_samples(now, 8);
    outbox.rewind();
    assert_eq!(send(&mut outbox), [10, 9]);
    outbox.ack_network(10);
    outbox.ack_samples(now, 9);
    outbox.rewind();
    assert!(send(&mut outbox).is_empty());
}

#[test]
fn an_acknowledgement_of_an_older_network_state_keeps_the_newer_one() {
    let now = Instant::now();
    let mut outbox = Outbox::new(1);
    outbox.set_network(NetworkState::default());
    assert_eq!(seqs(&[outbox.poll(now).unwrap()]), [1]);
    outbox.set_network(NetworkState::default());
    outbox.ack_network(1);
    assert_eq!(seqs(&[outbox.poll(now).unwrap()]), [2]);
}

#[test]
fn while_the_server_answers_nothing_is_ever_written() {
    let mut rig = Rig::new();
    rig.connect();
    for minute in 0..100 {
        rig.push(sample(minute));
        let sent = seqs(&rig.send());
        rig.pass(Duration::from_secs(14));
        rig.outbox.ack_samples(rig.now, sent[0]);
        rig.pass(MINUTE);
    }
    assert_eq!((rig.jobs, rig.folder().exists()), (0, false));
}

#[test]
fn what_waits_goes_to_disk_and_comes_in_order_with_its_own_time_after_a_restart_and_the_file_goes() {
    let mut rig = Rig::new();
    rig.offline(0..100);
    assert_eq!(rig.files(), ["samples.redb"]);
    let mut rig = rig.restart();
    rig.offline(100..103);
    rig.push(sample(103));
    let received = rig.drain();
    // How it is now comes first, then what was, in order; each with a sequence of its own.
    let expected: Vec<_> = [103].into_iter().chain(0..103).map(time).collect();
    assert_eq!(received.times(), expected);
    let mut seqs: Vec<_> = received.samples.iter().map(|(seq, _)| *seq).collect();
    assert!(seqs[1..].is_sorted());
    seqs.sort_unstable();
    seqs.dedup();
    assert_eq!(seqs.len(), 104);
    assert!(rig.files().is_empty(), "{:?}", rig.files());
    assert_eq!(rig.outbox.waiting(), 0);
}

#[test]
fn a_killed_agent_loses_no_sample_that_waited_for_longer_than_a_moment() {
    let mut rig = Rig::new();
    rig.offline(0..10);
    rig.push(sample(10));
    rig.pass(WRITE_AFTER);
    rig.push(sample(11));
    rig.pass(WRITE_AFTER - Duration::from_secs(1));
    let mut rig = rig.kill();
    assert_eq!(rig.drain().times(), (0..11).map(time).collect::<Vec<_>>());
}

#[test]
fn one_that_stops_in_order_loses_none() {
    let mut rig = Rig::new();
    rig.push(sample(0));
    let mut rig = rig.restart();
    assert_eq!(rig.drain().times(), [time(0)]);
}

#[test]
fn what_waits_is_sent_at_a_limited_rate_and_holds_up_nothing_new() {
    let mut rig = Rig::new();
    rig.offline(0..200);
    rig.connect();
    let began = rig.now;
    let mut received = 0;
    let mut is_held = false;
    while received < 200 {
        for seq in seqs(&rig.send()) {
            received += 1;
            rig.outbox.ack_samples(rig.now, seq);
        }
        if let Some(next) = rig.outbox.next_send() {
            is_held = true;
            rig.outbox.push_sample(rig.now, sample(1_000));
            assert_eq!(seqs(&rig.send()).len(), 1);
            rig.outbox.ack_samples(rig.now, rig.outbox.next_seq - 1);
            rig.now = rig.now.max(next);
        }
        rig.settle();
    }
    let took = rig.now - began;
    assert!(is_held && took >= Duration::from_secs(9) && took <= Duration::from_secs(10), "{took:?}");
}

#[test]
fn an_acknowledgement_of_a_new_sample_is_none_of_the_old_ones_sent_after_it() {
    let mut rig = Rig::new();
    rig.offline(0..40);
    rig.push(sample(40));
    rig.connect();
    let sent = seqs(&rig.send());
    let (new, old) = (sent[0], &sent[1..]);
    assert!(sent.len() > 5 && old.iter().all(|seq| *seq < new));
    // The one that came first is stored; of the others nothing is known.
    rig.outbox.ack_samples(rig.now, new);
    rig.outbox.ack_samples(rig.now, u64::MAX);
    rig.outbox.rewind();
    let received = rig.drain();
    assert_eq!(received.times(), (0..40).map(time).collect::<Vec<_>>());
    // And one of the old ones speaks for those before it, but not for a new one.
    rig.offline(0..3);
    rig.push(sample(3));
    rig.connect();
    let sent = seqs(&rig.send());
    rig.outbox.ack_samples(rig.now, sent[2]);
    rig.outbox.rewind();
    assert_eq!(rig.drain().times(), [time(3), time(2)]);
}

#[test]
fn three_days_and_more_fit_and_what_has_no_room_is_an_exact_gap() {
    let days = 72 * 60;
    let mut rig = Rig::new();
    for minute in 0..days {
        rig.outbox.push_sample(rig.now, large_sample(minute));
        // Written together, to spare the test so many waits for the disk.
        if minute % 60 == 59 {
            rig.pass(MINUTE);
        }
    }
    rig.pass(MINUTE);
    let file = rig.folder().join("samples.redb");
    let bytes = fs::metadata(&file).unwrap().len();
    assert_eq!(rig.outbox.backlog.left, days);
    assert!(bytes * 3 < MAX_FILE_BYTES, "{bytes} bytes for {days} samples");
    let received = rig.drain();
    assert_eq!(received.times(), (0..days).map(time).collect::<Vec<_>>());
    assert!(received.gaps.is_empty() && !file.exists());
}

#[test]
fn a_file_never_outgrows_its_bound_and_the_oldest_go() {
    let room = 8 * 1024 * 1024;
    let mut rig = Rig::with_room(room);
    let mut largest = 0;
    for minute in 0..1_000 {
        rig.outbox.push_sample(rig.now, large_sample(minute));
        if minute % 10 == 9 {
            rig.pass(MINUTE);
            largest = largest.max(fs::metadata(rig.folder().join("samples.redb")).unwrap().len());
        }
    }
    assert!(largest <= room, "{largest}");
    let mut rig = rig.restart();
    let received = rig.drain();
    let [gap] = &received.gaps[..] else { panic!("{:?}", received.gaps) };
    let dropped = 1_000 - received.samples.len() as u64;
    assert!(dropped > 100 && received.samples.len() > 100, "{dropped}");
    assert_eq!((gap.reason, gap.count), (GapReason::OutboxFull, Some(dropped)));
    assert_eq!((gap.from, gap.to), (time(0), time(dropped - 1)));
    assert_eq!(received.times(), (dropped..1_000).map(time).collect::<Vec<_>>());
    assert!(rig.files().is_empty());
}

#[test]
fn a_disk_that_takes_nothing_leaves_the_newest_in_memory_and_a_gap_for_the_rest() {
    let mut rig = Rig::new();
    // A file stands where the folder belongs: neither it nor anything in it can be made.
    fs::write(rig.folder(), "").unwrap();
    rig.offline(0..300);
    assert_eq!(rig.outbox.waiting(), MAX_IN_MEMORY as u64);
    let received = rig.drain();
    let [gap] = &received.gaps[..] else { panic!("{:?}", received.gaps) };
    assert_eq!(
        (gap.reason, gap.count, gap.from, gap.to),
        (GapReason::StoreFailed, Some(180), time(0), time(179))
    );
    assert!(gap.error.is_some(), "{gap:?}");
    assert_eq!(received.times(), (180..300).map(time).collect::<Vec<_>>());
}

#[test]
fn a_disk_that_works_again_takes_what_memory_holds_and_the_gap() {
    let mut rig = Rig::new();
    fs::write(rig.folder(), "").unwrap();
    rig.offline(0..130);
    fs::remove_file(rig.folder()).unwrap();
    rig.offline(130..140);
    let mut rig = rig.kill();
    let received = rig.drain();
    let [gap] = &received.gaps[..] else { panic!("{:?}", received.gaps) };
    let dropped = gap.count.unwrap();
    assert!((10..20).contains(&dropped), "{dropped}");
    assert_eq!(received.times(), (dropped..140).map(time).collect::<Vec<_>>());
}

#[test]
fn a_server_of_the_first_protocol_gets_all_samples_and_no_gap() {
    let mut rig = Rig::with_room(64 * 1024);
    rig.offline(0..200);
    rig.outbox.welcomed(V1_0);
    rig.settle();
    let sent = rig.send();
    assert!(!sent.is_empty() && sent.iter().all(|message| matches!(message, AgentMessage::Metrics { .. })));
    rig.outbox.rewind();
    assert_eq!(rig.drain().gaps.len(), 1);
}

#[test]
fn samples_of_a_wrong_clock_are_stamped_anew_on_disk_as_well() {
    let mut rig = Rig::new();
    rig.offline(0..5);
    // An earlier run that never heard the time is left as it was.
    let mut rig = rig.restart();
    rig.offline(5..10);
    rig.outbox.clock_told(TimeDelta::minutes(100));
    rig.settle();
    rig.offline(200..202);
    let mut rig = rig.kill();
    let expected: Vec<_> = (0..5).chain(105..110).chain(200..202).map(time).collect();
    assert_eq!(rig.drain().times(), expected);
}

#[test]
fn sequences_grow_although_the_clock_went_back() {
    let mut rig = Rig::new();
    rig.offline(0..5);
    let last = rig.outbox.next_seq;
    // Opened with the same first sequence as before.
    let rig = rig.restart();
    assert_eq!(rig.outbox.next_seq, last);
}

#[cfg(unix)]
#[test]
fn what_waits_is_for_nobody_else_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let mut rig = Rig::new();
    rig.offline(0..1);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&rig.folder()), mode(&rig.folder().join("samples.redb"))), (0o700, 0o600));
}
