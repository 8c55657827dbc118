//! The journal after crashes, damage and full disks.

use super::*;
use crate::session::ledger::never_ran;
use gururmm_protocol::command::Stream;
use tempfile::TempDir;

const LIMIT: u64 = 1024 * 1024;

fn journal() -> (TempDir, Journal) {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path()).unwrap();
    (dir, journal)
}

fn reopen(dir: &TempDir) -> Recovered {
    Journal::open(dir.path()).unwrap().1
}

fn end(command_id: CommandId, last_seq: u32) -> CommandEnd {
    CommandEnd { last_seq, exit_code: Some(0), ..never_ran(command_id, Outcome::Completed, Utc::now()) }
}

#[test]
fn a_start_without_an_end_is_interrupted_with_the_output_it_had() {
    let (dir, journal) = journal();
    let id = CommandId::new();
    let mut spool = journal.begin(id, Utc::now(), LIMIT).unwrap();
    spool.append(Stream::Stdout, b"out");
    spool.append(Stream::Stderr, b"error");
    drop(spool);
    let recovered = reopen(&dir);
    let [interrupted] = &recovered.interrupted[..] else { panic!("{recovered:?}") };
    assert_eq!((interrupted.command_id, interrupted.outcome), (id, Outcome::Interrupted));
    assert_eq!((interrupted.stdout_bytes, interrupted.stderr_bytes, interrupted.last_seq), (3, 5, 2));
    assert!(interrupted.started_at.is_some());
}

#[test]
fn an_end_is_kept_until_it_is_acknowledged_and_the_id_thereafter() {
    let (dir, journal) = journal();
    let id = CommandId::new();
    journal.begin(id, Utc::now(), LIMIT).unwrap().append(Stream::Stdout, b"x");
    let written = end(id, 1);
    journal.end(&written).unwrap();
    assert_eq!(reopen(&dir).ended, [written]);
    journal.forget(id, Utc::now()).unwrap();
    let recovered = reopen(&dir);
    assert!(recovered.ended.is_empty() && recovered.interrupted.is_empty());
    assert!(recovered.finished.contains_key(&id));
    assert!(!spool_path(dir.path(), id).exists());
}

#[test]
fn a_start_that_could_not_be_written_leaves_nothing_behind() {
    let (dir, journal) = journal();
    let id = CommandId::new();
    fs::create_dir(spool_path(dir.path(), id)).unwrap();
    assert!(journal.begin(id, Utc::now(), LIMIT).is_err());
    fs::remove_dir(spool_path(dir.path(), id)).unwrap();
    assert!(reopen(&dir).interrupted.is_empty());
}

/// Whatever byte of the log is lost or wrong, the agent starts, no started command is taken for one that never was,
/// and what is untouched is still known.
#[test]
fn damage_at_any_byte_never_forgets_a_start_and_never_stops_the_agent() {
    let (dir, journal) = journal();
    let (first, second) = (CommandId::new(), CommandId::new());
    journal.begin(first, Utc::now(), LIMIT).unwrap();
    journal.end(&end(first, 0)).unwrap();
    journal.begin(second, Utc::now(), LIMIT).unwrap();
    drop(journal);
    let log = dir.path().join("journal.log");
    let whole = fs::read(&log).unwrap();
    for at in 0..whole.len() {
        let mut wrong = whole.clone();
        wrong[at] ^= 0x20;
        for bytes in [&whole[..at], &wrong[..]] {
            fs::write(&log, bytes).unwrap();
            let recovered = reopen(&dir);
            let known: Vec<_> =
                recovered.ended.iter().chain(&recovered.interrupted).map(|end| end.command_id).collect();
            assert!(known.contains(&first) && known.contains(&second), "byte {at}: {known:?}");
            for end in &recovered.ended {
                assert_eq!((end.command_id, end.outcome), (first, Outcome::Completed));
            }
            // It works on: what is written now is there at the next start.
            let (journal, _) = Journal::open(dir.path()).unwrap();
            let third = CommandId::new();
            journal.begin(third, Utc::now(), LIMIT).unwrap();
            let recovered = reopen(&dir);
            assert!(recovered.interrupted.iter().any(|end| end.command_id == third), "byte {at}");
            assert_eq!(recovered.damaged, 0, "damage is set aside once");
            fs::remove_file(spool_path(dir.path(), third)).unwrap();
        }
    }
}

#[test]
fn damaged_lines_are_set_aside() {
    let (dir, journal) = journal();
    journal.begin(CommandId::new(), Utc::now(), LIMIT).unwrap();
    drop(journal);
    let log = dir.path().join("journal.log");
    let mut bytes = fs::read(&log).unwrap();
    bytes.extend(b"half a li");
    fs::write(&log, bytes).unwrap();
    assert_eq!(reopen(&dir).damaged, 1);
    assert_eq!(fs::read(dir.path().join("journal.log.damaged")).unwrap(), b"half a li");
    assert_eq!(reopen(&dir).damaged, 0);
}

/// A spool cut or changed at any byte gives whole records up to there, and the end says that something is missing.
#[test]
fn a_damaged_spool_gives_what_is_whole() {
    let (dir, journal) = journal();
    let id = CommandId::new();
    let mut spool = journal.begin(id, Utc::now(), LIMIT).unwrap();
    ["one", "two", "three"].iter().for_each(|text| spool.append(Stream::Stdout, text.as_bytes()));
    journal.end(&end(id, 3)).unwrap();
    drop(spool);
    let path = spool_path(dir.path(), id);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len() {
        fs::write(&path, &whole[..at]).unwrap();
        let ended = reopen(&dir).ended.remove(0);
        assert!(ended.truncated && ended.last_seq < 3, "cut at {at}");
        let mut reader = journal.reader(id);
        (1..=ended.last_seq).for_each(|seq| drop(reader.read(seq).unwrap()));
        assert!(reader.read(ended.last_seq + 1).is_err());
        let mut wrong = whole.clone();
        wrong[at] ^= 0xff;
        fs::write(&path, &wrong).unwrap();
        let ended = reopen(&dir).ended.remove(0);
        let mut reader = journal.reader(id);
        (1..=ended.last_seq).for_each(|seq| drop(reader.read(seq).unwrap()));
    }
}

/// A folder is what a test can put where reading fails; a bad sector fails alike.
fn make_unreadable(path: &Path) {
    let _ = fs::remove_file(path);
    fs::create_dir(path).unwrap();
}

#[test]
fn a_spool_that_cannot_be_read_costs_its_output_and_not_the_agent() {
    let (dir, journal) = journal();
    let (ended, silent, interrupted) = (CommandId::new(), CommandId::new(), CommandId::new());
    for (id, last_seq) in [(ended, Some(1)), (silent, Some(0)), (interrupted, None)] {
        journal.begin(id, Utc::now(), LIMIT).unwrap().append(Stream::Stdout, b"lost");
        if let Some(last_seq) = last_seq {
            journal.end(&end(id, last_seq)).unwrap();
        }
        make_unreadable(&spool_path(dir.path(), id));
    }
    let recovered = reopen(&dir);
    let known = |ends: &[CommandEnd], id| {
        let end = ends.iter().find(|end| end.command_id == id).unwrap();
        (end.outcome, end.last_seq, end.truncated)
    };
    assert_eq!(known(&recovered.ended, ended), (Outcome::Completed, 0, true));
    assert_eq!(known(&recovered.ended, silent), (Outcome::Completed, 0, false), "it had said nothing");
    assert_eq!(known(&recovered.interrupted, interrupted), (Outcome::Interrupted, 0, true));
}

#[test]
#[cfg_attr(windows, ignore = "what stands in for a damaged disk, a folder, is refused otherwise")]
fn a_log_that_cannot_be_read_is_set_aside_and_no_start_is_forgotten() {
    let (dir, journal) = journal();
    let id = CommandId::new();
    journal.begin(id, Utc::now(), LIMIT).unwrap().append(Stream::Stdout, b"out");
    drop(journal);
    make_unreadable(&dir.path().join("journal.log"));
    let (journal, recovered) = Journal::open(dir.path()).unwrap();
    assert_eq!(recovered.interrupted[0].command_id, id);
    assert!(dir.path().join("journal.log.unreadable").exists());
    let written = end(id, 1);
    journal.end(&written).unwrap();
    assert_eq!(reopen(&dir).ended, [written], "it works on");
}

#[test]
fn output_is_read_in_order_again_and_after_release() {
    let (_dir, journal) = journal();
    let id = CommandId::new();
    let mut spool = journal.begin(id, Utc::now(), LIMIT).unwrap();
    for n in 1..=20u32 {
        spool.append(if n % 2 == 0 { Stream::Stderr } else { Stream::Stdout }, n.to_string().as_bytes());
    }
    let mut reader = journal.reader(id);
    let text = |reader: &mut SpoolReader, seq| String::from_utf8(reader.read(seq).unwrap().1).unwrap();
    for seq in 1..=10 {
        assert_eq!(text(&mut reader, seq), seq.to_string());
    }
    reader.release(4);
    for seq in 5..=20 {
        assert_eq!(text(&mut reader, seq), seq.to_string());
    }
    assert_eq!(reader.read(20).unwrap().0, Stream::Stderr);
    assert!(reader.read(21).is_err());
}

#[test]
fn large_output_is_cut_into_chunks_and_ends_at_the_limit() {
    let (_dir, journal) = journal();
    let mut spool = journal.begin(CommandId::new(), Utc::now(), 100_000).unwrap();
    spool.append(Stream::Stdout, &vec![b'x'; 90_000]);
    spool.append(Stream::Stdout, &vec![b'y'; 90_000]);
    spool.append(Stream::Stderr, b"late");
    assert_eq!((spool.stdout_bytes, spool.stderr_bytes, spool.truncated), (180_000, 4, true));
    // 32 KiB + 32 KiB + the rest of the first, and what room there was for the second; nothing after the cut.
    assert_eq!(spool.state().last_seq(), 4);
}

#[test]
fn the_log_is_written_anew_when_it_has_grown_and_keeps_what_counts() {
    let (dir, journal) = journal();
    let kept = CommandId::new();
    journal.begin(kept, Utc::now(), LIMIT).unwrap();
    let text = "x".repeat(8_000);
    let mut forgotten = Vec::new();
    while forgotten.len() < 200 {
        let id = CommandId::new();
        journal.end(&CommandEnd { error: Some(text.clone()), ..end(id, 0) }).unwrap();
        journal.forget(id, Utc::now()).unwrap();
        forgotten.push(id);
    }
    let bytes = fs::metadata(dir.path().join("journal.log")).unwrap().len();
    assert!(bytes < 2 * COMPACT_AFTER_BYTES, "{bytes}");
    let recovered = reopen(&dir);
    assert_eq!(recovered.interrupted[0].command_id, kept);
    assert!(forgotten.iter().all(|id| recovered.finished.contains_key(id)));
}

#[test]
fn finished_ids_are_remembered_for_a_week_and_not_without_bound() {
    let now = Utc::now();
    let mut finished: HashMap<_, _> =
        [(CommandId::new(), now - TimeDelta::days(8)), (CommandId::new(), now - TimeDelta::days(6))].into();
    prune_finished(&mut finished, now);
    assert_eq!(finished.len(), 1);
    let newest = CommandId::new();
    for n in 0..MAX_FINISHED as i64 + 10 {
        finished.insert(CommandId::new(), now - TimeDelta::seconds(n));
    }
    finished.insert(newest, now);
    prune_finished(&mut finished, now);
    assert!(finished.len() <= MAX_FINISHED && finished.contains_key(&newest));
}
