//! A disk that fails under the outbox, at each of its calls in turn: nothing that was kept is lost, and what comes next is
//! kept as soon as the disk takes it.
//!
//! The calls are those of a process of its own, which strace lets fail: this test program, told by its environment to keep
//! samples.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_agent::outbox::Outbox;
use gururmm_agent::outbox::store::{Done, MAX_FILE_BYTES, OUTBOX_DIR, Store};
use gururmm_agent::state::StateDir;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::{AgentMessage, SUPPORTED};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Names the child's state folder.
const CHILD: &str = "GURURMM_TEST_OUTBOX";
const MINUTE: Duration = Duration::from_secs(60);
/// What the child takes while the disk may fail.
const SAMPLES: i64 = 6;

fn time(minute: i64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(20_000) + TimeDelta::minutes(minute)
}

fn sample(minute: i64) -> Sample {
    serde_json::from_value(serde_json::json!({ "taken_at": time(minute) })).unwrap()
}

/// Does what is due, and writes down how many samples are on disk since.
fn settle(outbox: &mut Outbox, store: &mut Store, now: Instant, kept: &Path) {
    while let Some(job) = outbox.next_job(now) {
        let done = store.run(&job);
        if let Done::Saved { left, .. } = done {
            std::fs::write(kept, left.to_string()).unwrap();
        }
        outbox.job_done(now, done);
    }
}

/// Keeps samples for nobody who asks, and is gone without a word.
#[test]
fn the_child_that_keeps_samples() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let folder = Path::new(&folder);
    let state = StateDir::open(&folder.join("state")).unwrap();
    let kept = folder.join("kept");
    let mut now = Instant::now();
    let (mut store, found) = Store::open(&state, 1, MAX_FILE_BYTES);
    let mut outbox = Outbox::with_disk(found);
    for minute in 0..SAMPLES {
        outbox.push_sample(now, sample(minute));
        now += MINUTE;
        settle(&mut outbox, &mut store, now, &kept);
    }
    // Long enough for every call that failed once to be tried again.
    for _ in 0..3 {
        now += MINUTE;
        settle(&mut outbox, &mut store, now, &kept);
    }
    std::process::exit(0);
}

/// Lets calls of the child fail. Answers whether any did.
fn keeps(call: &str, error: &str, when: &str) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::create(&dir.path().join("state")).unwrap();
    let (faults, folder) = (dir.path().join("faults"), dir.path().join("state").join(OUTBOX_DIR));
    let status = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={call}")])
        .args(["-e", &format!("inject={call}:error={error}:when={when}"), "-P"])
        .arg(&folder)
        .args(
            ["", ".new"]
                .iter()
                .flat_map(|end| ["-P".into(), folder.join(format!("samples.redb{end}")).into_os_string()]),
        )
        .arg("-o")
        .args([faults.as_os_str(), std::env::current_exe().unwrap().as_os_str()])
        .args(["--exact", "outbox_faults::the_child_that_keeps_samples", "--nocapture"])
        .env(CHILD, dir.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("strace is installed");
    assert!(status.code() == Some(0), "{call} {when}: the outbox does not survive it");
    let kept: i64 = crate::harness::read(dir.path().join("kept")).parse().unwrap_or(0);

    // The disk is well again.
    let (store, found) = Store::open(&state, 1, MAX_FILE_BYTES);
    assert!(found.lost.is_none() && found.trouble.is_none(), "{call} {when}: {found:?}");
    let received = drain(Outbox::with_disk(found), store);
    // What was written before the call failed may be there, too, although nobody was told.
    assert!(received.len() as i64 >= kept, "{call} {when}: {} of {kept}", received.len());
    assert!(received.iter().copied().eq((0..received.len() as i64).map(time)), "{call} {when}: {received:?}");
    if !when.ends_with('+') {
        assert_eq!(kept, SAMPLES, "{call} {when}: a call that fails once costs nothing");
    }
    std::fs::read_to_string(&faults).unwrap_or_default().contains("INJECTED")
}

fn drain(mut outbox: Outbox, mut store: Store) -> BTreeSet<DateTime<Utc>> {
    let (mut now, mut received) = (Instant::now(), BTreeSet::new());
    outbox.welcomed(SUPPORTED[1]);
    loop {
        while let Some(job) = outbox.next_job(now) {
            let done = store.run(&job);
            outbox.job_done(now, done);
        }
        match outbox.poll(now) {
            Some(AgentMessage::Metrics { seq, sample }) => {
                assert!(received.insert(sample.taken_at));
                outbox.ack_samples(now, seq);
            }
            Some(other) => panic!("{other:?}"),
            None if outbox.next_send().is_some() => now += MINUTE,
            None => return received,
        }
    }
}

/// Each call in turn, and from each on all of them.
fn keeps_each(call: &str, error: &str) {
    let mut failed = 0;
    while keeps(call, error, &(failed + 1).to_string()) {
        failed += 1;
        if failed % 3 == 0 {
            assert!(keeps(call, error, &format!("{failed}+")));
        }
        assert!(failed < 500, "{call} without end");
    }
    assert!(failed > 0, "no {call} ever failed");
    assert!(keeps(call, error, "1+"));
}

#[test]
fn no_write_that_fails_costs_a_sample_that_was_kept() {
    keeps_each("pwrite64", "ENOSPC");
}

#[test]
fn no_sync_that_fails_costs_a_sample_that_was_kept() {
    keeps_each("fdatasync", "EIO");
}

#[test]
fn no_file_that_cannot_grow_costs_a_sample_that_was_kept() {
    keeps_each("ftruncate", "ENOSPC");
}

#[test]
fn no_file_that_cannot_be_put_in_its_place_costs_a_sample_that_was_kept() {
    keeps_each("rename", "ENOSPC");
}

#[test]
fn no_folder_that_cannot_be_made_costs_a_sample_that_was_kept() {
    keeps_each("mkdir", "ENOSPC");
}

#[test]
fn no_file_that_cannot_be_opened_costs_a_sample_that_was_kept() {
    keeps_each("openat", "EACCES");
}

/// The names of the calls are those that the library makes.
#[test]
fn a_child_without_failures_keeps_all() {
    assert!(!keeps("pwrite64", "ENOSPC", "60000"));
}
