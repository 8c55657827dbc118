//! Whatever the file holds: the agent starts, says what it lost, and keeps what comes next.

use super::*;
use redb::{Database, TableDefinition};

fn left_behind() -> (TempDir, Vec<u8>) {
    let mut rig = Rig::new();
    for minute in 0..60 {
        rig.outbox.push_sample(rig.now, large_sample(minute));
    }
    rig.pass(MINUTE);
    let rig = rig.restart();
    let bytes = fs::read(rig.folder().join("samples.redb")).unwrap();
    (rig.dir, bytes)
}

/// Starts on these bytes. Answers how many samples are missing, all of which have to be told.
fn start_on(bytes: &[u8], what: &str) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::create(&dir.path().join("state")).unwrap();
    fs::write(state.sub_dir(OUTBOX_DIR).unwrap().join("samples.redb"), bytes).unwrap();
    let mut rig = Rig::on(dir, Instant::now(), MAX_FILE_BYTES);
    // It goes on keeping samples.
    rig.offline(1_000..1_003);
    let mut rig = rig.kill();
    let received = rig.drain();
    let (old, new): (Vec<_>, Vec<_>) =
        received.times().into_iter().partition(|taken_at| *taken_at < time(1_000));
    assert_eq!(new, (1_000..1_003).map(time).collect::<Vec<_>>(), "{what}");
    assert!(old.is_sorted() && old.iter().all(|taken_at| *taken_at <= time(59)), "{what}");
    let lost = 60 - old.len() as u64;
    let told: Option<u64> = received.gaps.iter().map(|gap| gap.count).sum();
    assert!(received.gaps.iter().all(|gap| gap.reason == GapReason::StoreUnreadable), "{what}");
    match told {
        Some(told) => assert_eq!(told, lost, "{what}"),
        None => assert_eq!(lost, 60, "{what}: of an unknown number only because all are lost"),
    }
    assert!(rig.files().iter().all(|name| name == "samples.redb.unreadable"), "{what}: {:?}", rig.files());
    lost
}

#[test]
fn a_store_that_was_cut_off_anywhere_is_set_aside_or_read() {
    let (_dir, whole) = left_behind();
    assert_eq!(start_on(&whole, "whole"), 0);
    let lost = (0..24).map(|part| {
        let length = whole.len() * part / 24;
        start_on(&whole[..length], &format!("cut to {length}"))
    });
    assert!(lost.filter(|lost| *lost > 0).count() > 12);
}

#[test]
fn a_store_with_garbage_anywhere_is_set_aside_or_read() {
    let (_dir, whole) = left_behind();
    let mut seed = 7_u64;
    for round in 0..60 {
        // A small generator of one's own: what failed can be had again.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (at, mut bytes) = ((seed >> 16) as usize % whole.len(), whole.clone());
        // The header is small and matters most.
        let at = if round % 3 == 0 { at % 512 } else { at };
        let until = (at + 1 + (seed >> 48) as usize % 700).min(bytes.len());
        bytes[at..until].iter_mut().for_each(|byte| *byte ^= (seed >> 33) as u8 | 1);
        start_on(&bytes, &format!("garbage from {at} to {until}"));
    }
    for garbage in
        [vec![], vec![0; 4096], vec![0xff; 100_000], b"SQLite format 3\0".to_vec(), vec![0; whole.len()]]
    {
        start_on(&garbage, "only garbage");
    }
}

#[test]
fn a_store_of_a_newer_agent_is_set_aside_and_only_the_last_of_them_stays() {
    let (dir, _) = left_behind();
    let mut rig = Rig::on(dir, Instant::now(), MAX_FILE_BYTES);
    for _ in 0..3 {
        rig.offline(0..1);
        let Rig { dir, store, now, max_file_bytes, .. } = rig;
        drop(store);
        let path = dir.path().join("state").join(OUTBOX_DIR).join("samples.redb");
        let db = Database::open(path).unwrap();
        let write = db.begin_write().unwrap();
        write.open_table(TableDefinition::<&str, u64>::new("meta")).unwrap().insert("format", 2).unwrap();
        write.commit().unwrap();
        drop(db);
        rig = Rig::on(dir, now, max_file_bytes);
        assert_eq!(rig.files(), ["samples.redb.unreadable"]);
    }
    let received = rig.drain();
    let [gap] = &received.gaps[..] else { panic!("{:?}", received.gaps) };
    assert_eq!((gap.reason, gap.count), (GapReason::StoreUnreadable, None));
    assert_eq!(gap.error.as_deref(), Some("it is of the format 2, not 1"));
    assert!(received.samples.is_empty());
}

#[test]
fn a_store_that_is_lost_is_said_to_have_been_kept_since_its_first_sample() {
    let (dir, _) = left_behind();
    let store = dir.path().join("state").join(OUTBOX_DIR).join("samples.redb");
    let made: DateTime<Utc> = fs::metadata(&store).unwrap().created().unwrap().into();
    fs::write(&store, [0x5a; 50_000]).unwrap();
    let received = Rig::on(dir, Instant::now(), MAX_FILE_BYTES).drain();
    let [gap] = &received.gaps[..] else { panic!("{:?}", received.gaps) };
    // Wine keeps no time at which a file was made, and says when it was changed.
    let off = (gap.from - (made - WRITE_AFTER)).abs();
    assert!(off < chrono::TimeDelta::seconds(1), "what is in it had waited for so long when it was made");
}

#[test]
fn a_folder_in_the_place_of_the_store_is_set_aside() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.folder().join("samples.redb").join("more")).unwrap();
    rig.offline(0..3);
    let received = rig.drain();
    assert_eq!((received.times().len(), received.gaps.len()), (3, 1));
}

#[test]
fn a_single_damaged_sample_costs_that_one_and_is_counted() {
    let mut rig = Rig::new();
    rig.offline(0..10);
    let rig = rig.restart();
    let Rig { dir, store, now, max_file_bytes, .. } = rig;
    drop(store);
    let db = Database::open(dir.path().join("state").join(OUTBOX_DIR).join("samples.redb")).unwrap();
    let write = db.begin_write().unwrap();
    // As a bit that fell over in memory leaves it: the file itself is sound.
    write
        .open_table(TableDefinition::<u64, &[u8]>::new("samples"))
        .unwrap()
        .insert(1_004, b"no sample".as_slice())
        .unwrap();
    write.commit().unwrap();
    drop(db);
    let mut rig = Rig::on(dir, now, max_file_bytes);
    let mut received = rig.drain();
    let expected: Vec<_> = (0..10).filter(|minute| *minute != 4).map(time).collect();
    assert_eq!(received.times(), expected);
    rig.pass(MINUTE);
    received.gaps.extend(rig.drain().gaps);
    let [gap] = &received.gaps[..] else { panic!("{:?}", received.gaps) };
    assert_eq!((gap.reason, gap.count), (GapReason::StoreUnreadable, Some(1)));
    assert!(rig.files().is_empty());
}
