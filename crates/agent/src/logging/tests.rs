//! A log on a real disk.

use super::file::{LogFile, MAX_FILE_BYTES, NEW, OLD};
use super::*;
use crate::state::StateDir;
use gururmm_protocol::limits::{MAX_LOG_BYTES, MAX_LOG_PART_BYTES};
use proptest::prelude::*;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

struct Kept {
    _dir: TempDir,
    state: StateDir,
    log: OwnLog,
}

impl Kept {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::create(&dir.path().join("state")).unwrap();
        let log = OwnLog::default();
        log.keep_in(&state);
        Self { _dir: dir, state, log }
    }

    fn dir(&self) -> PathBuf {
        self.state.file(LOG_DIR)
    }

    fn say(&self, text: &str) {
        say(&self.log, text);
    }

    fn text(&self) -> String {
        text(&self.dir())
    }
}

/// As `tracing_subscriber` does: each event in one piece.
fn say(mut log: &OwnLog, text: &str) {
    log.write_all(format!("{text}\n").as_bytes()).unwrap();
}

/// Both files, the older one first.
fn text(dir: &Path) -> String {
    [OLD, NEW].map(|name| fs::read_to_string(dir.join(name)).unwrap_or_default()).concat()
}

fn all(mut tail: Tail) -> String {
    let mut bytes = Vec::new();
    loop {
        let piece = tail.next_piece().unwrap();
        assert!(piece.len() <= MAX_LOG_PART_BYTES);
        if piece.is_empty() {
            return String::from_utf8(bytes).unwrap();
        }
        bytes.extend(piece);
    }
}

#[test]
fn what_was_said_before_the_folder_was_known_stands_at_the_beginning() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::create(&dir.path().join("state")).unwrap();
    let log = OwnLog::default();
    say(&log, "first");
    (0..1000).for_each(|n| say(&log, &format!("early {n:050}")));
    assert!(log.tail(1).is_err() && log.lost_lines() > 0);
    log.keep_in(&state);
    say(&log, "later");
    let text = text(&state.file(LOG_DIR));
    assert!(text.starts_with("first\nearly ") && text.ends_with("\nlater\n"));
    assert_eq!(text.lines().count() as u64 + log.lost_lines(), 1002);
}

#[cfg(unix)]
#[test]
fn the_log_is_private_and_no_link_is_followed() {
    use std::os::unix::fs::PermissionsExt;
    let kept = Kept::new();
    kept.say("x");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(kept.dir()), mode(kept.dir().join(NEW))), (0o700, 0o600));
    let planted = Kept::new();
    std::os::unix::fs::symlink(kept.dir().join(NEW), planted.dir().join(NEW)).unwrap();
    planted.say("through the link");
    assert_eq!((planted.log.lost_lines(), kept.text().as_str()), (1, "x\n"));
    assert!(planted.log.tail(1).is_err());
}

#[test]
fn the_log_never_takes_more_than_two_files_of_a_mebibyte_and_keeps_the_newest_lines() {
    let kept = Kept::new();
    for n in 0..3_500 {
        kept.say(&format!("{n:05} {}", "x".repeat(1_000)));
        let length = |name| fs::metadata(kept.dir().join(name)).map_or(0, |metadata| metadata.len());
        assert!(length(NEW) <= MAX_FILE_BYTES && length(OLD) <= MAX_FILE_BYTES);
    }
    assert_eq!(fs::read_dir(kept.dir()).unwrap().count(), 2);
    let text = kept.text();
    assert!(text.len() as u64 > MAX_FILE_BYTES);
    let numbers: Vec<u32> = text.lines().map(|line| line[..5].parse().unwrap()).collect();
    let first = numbers[0];
    assert_eq!(numbers, (first..3_500).collect::<Vec<_>>());
    assert_eq!(kept.log.lost_lines(), 0);
    assert_eq!(all(kept.log.tail(MAX_LOG_BYTES).unwrap()), text);
}

#[test]
#[cfg_attr(windows, ignore = "a folder does not go while a file in it is open")]
fn a_log_somebody_removed_is_begun_anew() {
    let kept = Kept::new();
    kept.say("before");
    fs::remove_file(kept.dir().join(NEW)).unwrap();
    (0..2_000).for_each(|_| kept.say(&"x".repeat(1_000)));
    assert!(kept.text().len() as u64 > MAX_FILE_BYTES / 2);
    // Its folder, too: from the next file on lines are lost, and that is told.
    fs::remove_dir_all(kept.dir()).unwrap();
    (0..2_000).for_each(|_| kept.say(&"x".repeat(1_000)));
    assert!(kept.log.lost_lines() > 0);
    // Once it can be written again, it is.
    kept.state.sub_dir(LOG_DIR).unwrap();
    kept.say("after");
    assert_eq!(kept.text(), "after\n");
}

#[test]
fn half_a_line_an_agent_left_stays_apart_from_the_next_one() {
    let kept = Kept::new();
    fs::write(kept.dir().join(NEW), "whole\nhal").unwrap();
    kept.say("next");
    assert_eq!(kept.text(), "whole\nhal\nnext\n");
}

#[test]
fn a_log_whose_folder_cannot_be_used_counts_its_lines() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::create(&dir.path().join("state")).unwrap();
    fs::write(state.file(LOG_DIR), "in the way").unwrap();
    let log = OwnLog::default();
    log.keep_in(&state);
    say(&log, "x");
    assert_eq!(log.lost_lines(), 1);
    assert!(log.tail(1).is_err());
}

#[test]
#[cfg_attr(windows, ignore = "Wine does not replace a file that is open")]
fn what_is_written_or_put_aside_while_it_is_read_changes_nothing() {
    let kept = Kept::new();
    (0..1_500).for_each(|n| kept.say(&format!("{n:05} {}", "x".repeat(1_000))));
    let before = kept.text();
    let mut tail = kept.log.tail(MAX_LOG_BYTES).unwrap();
    assert_eq!(tail.total_bytes(), before.len() as u64);
    let first = tail.next_piece().unwrap();
    // Both files are replaced meanwhile.
    (0..4_000).for_each(|n| kept.say(&format!("{n:05} {}", "y".repeat(1_000))));
    assert!(!kept.text().contains('x'));
    assert_eq!(String::from_utf8(first).unwrap() + &all(tail), before);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_tail_is_the_newest_whole_lines(
        old in "([a-z]{0,9}\n){0,12}", new in "([a-z]{0,9}\n){0,12}", max_bytes in 0..130_u64
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(OLD), &old).unwrap();
        fs::write(dir.path().join(NEW), &new).unwrap();
        let text = old + &new;
        let tail = all(super::tail::open(dir.path(), max_bytes).unwrap());
        // The longest end of the text that fits and begins a line.
        let begins = |at: usize| at == 0 || text.as_bytes()[at - 1] == b'\n';
        let from = text.len().saturating_sub(max_bytes as usize);
        let expected = (from..=text.len()).find(|at| begins(*at)).unwrap();
        prop_assert_eq!(tail, &text[expected..]);
    }
}

#[test]
fn a_file_takes_the_line_that_just_fits() {
    let dir = tempfile::tempdir().unwrap();
    let mut file = LogFile::new(dir.path().to_owned());
    let line = format!("{}\n", "x".repeat(1_023));
    (0..1_023).for_each(|_| file.append(&line).unwrap());
    assert!(!dir.path().join(OLD).exists());
    (0..2).for_each(|_| file.append(&line).unwrap());
    assert!(dir.path().join(OLD).exists());
    assert_eq!(file.dir(), dir.path());
}
