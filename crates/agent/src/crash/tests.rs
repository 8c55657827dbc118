//! Runs that end in every way, and what the next one finds.
#![cfg(target_os = "linux")]

use super::*;
use crate::logging::{LOG_DIR, OwnLog};
use crate::supervisor::Run;
use chrono::{TimeDelta, Utc};
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

const MARKER: &str = "running.json";

fn state() -> (TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::create(&dir.path().join("state")).unwrap();
    (dir, state)
}

fn begin(state: &StateDir) -> Marker {
    Marker::begin(state, &Crashes::open(state), Utc::now())
}

/// What SIGKILL leaves.
fn kill(state: &StateDir) {
    std::mem::forget(begin(state));
}

fn reports(state: &StateDir) -> Vec<CrashReport> {
    let crashes = Crashes::open(state);
    crashes.ids().into_iter().filter_map(|crash_id| crashes.read(crash_id)).collect()
}

fn report(message: &str) -> CrashReport {
    CrashReport {
        crash_id: CrashId::new(),
        cause: CrashCause::Panic,
        crashed_at: Utc::now(),
        agent_version: crate::version().into(),
        message: Some(message.into()),
        log: gururmm_protocol::command::Bytes::default(),
    }
}

#[test]
fn an_agent_that_was_killed_is_reported_once_with_the_end_of_its_log() {
    let (_dir, state) = state();
    kill(&state);
    assert_eq!(reports(&state), []);
    std::fs::write(state.sub_dir(LOG_DIR).unwrap().join("agent.log"), "its last words\n").unwrap();
    kill(&state);
    let found = reports(&state);
    let [report] = &found[..] else { panic!("{found:?}") };
    assert_eq!((report.cause, report.message.as_deref()), (CrashCause::Killed, None));
    assert_eq!(
        (report.log.0.as_slice(), report.agent_version.as_str()),
        (&b"its last words\n"[..], crate::version())
    );
    assert!(Utc::now() - report.crashed_at < TimeDelta::minutes(1));
    // Reported, but the run that found it was killed before it left a marker of its own.
    let marker = std::fs::read(state.file(MARKER)).unwrap();
    drop(begin(&state));
    let two = reports(&state);
    assert_eq!(two.len(), 2);
    std::fs::write(state.file(MARKER), marker).unwrap();
    drop(begin(&state));
    assert_eq!(reports(&state), two);
}

#[test]
fn an_end_in_order_and_a_machine_that_went_down_are_no_crashes() {
    let (_dir, state) = state();
    drop(begin(&state));
    assert!(!state.file(MARKER).exists());
    kill(&state);
    let marker = std::fs::read_to_string(state.file(MARKER)).unwrap();
    let boot_id = os::boot_id().unwrap();
    assert!(marker.contains(&boot_id));
    std::fs::write(state.file(MARKER), marker.replace(&boot_id, "another")).unwrap();
    drop(begin(&state));
    assert_eq!(reports(&state), []);
}

#[test]
fn an_agent_that_cannot_start_was_not_killed() {
    let (_dir, state) = state();
    let run = Run::begin(state.path(), Arc::default()).unwrap();
    assert!(state.file(MARKER).exists());
    assert!(crate::supervisor::Supervisor::open(run).is_err(), "it is not enrolled");
    assert!(!state.file(MARKER).exists());
}

#[test]
fn a_damaged_marker_tells_of_an_agent_that_was_killed_and_nothing_else() {
    let (_dir, state) = state();
    std::fs::write(state.file(MARKER), [0xff; 1000]).unwrap();
    drop(begin(&state));
    let found = reports(&state);
    let [report] = &found[..] else { panic!("{found:?}") };
    assert_eq!((report.cause, report.agent_version.as_str()), (CrashCause::Killed, "unknown"));
    assert!(report.log.0.is_empty());
}

#[test]
fn of_more_reports_than_are_kept_the_first_and_the_newest_stay() {
    let (_dir, state) = state();
    let crashes = Crashes::open(&state);
    for n in 1..=8 {
        crashes.store(&Stored { run_id: None, report: report(&n.to_string()) }).unwrap();
        assert!(crashes.ids().len() <= MAX_KEPT);
    }
    let kept: Vec<_> = reports(&state).into_iter().filter_map(|report| report.message).collect();
    assert_eq!(kept, ["1", "5", "6", "7", "8"]);
}

#[test]
fn a_damaged_report_is_put_aside_and_keeps_no_other_from_being_sent() {
    let (_dir, state) = state();
    let crashes = Crashes::open(&state);
    let good = report("good");
    crashes.store(&Stored { run_id: None, report: good.clone() }).unwrap();
    let folder = state.file(CRASHES_DIR);
    for (id, text) in [(CrashId::new(), "{}".to_owned()), (CrashId::new(), "x".repeat(1_000_000))] {
        std::fs::write(folder.join(format!("{id}.json")), text).unwrap();
    }
    // Another's report under a name that is not its own would never be acknowledged.
    std::fs::copy(
        folder.join(format!("{}.json", good.crash_id)),
        folder.join(format!("{}.json", CrashId::new())),
    )
    .unwrap();
    std::fs::write(folder.join(format!("{}.json.new", CrashId::new())), "half").unwrap();
    assert_eq!(crashes.ids().len(), 4);
    assert_eq!(reports(&state), [good]);
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().flatten().map(|file| file.file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn an_agent_starts_although_nothing_can_be_kept() {
    let (_dir, state) = state();
    kill(&state);
    std::fs::remove_dir(state.file(CRASHES_DIR)).unwrap();
    std::fs::write(state.file(CRASHES_DIR), "in the way").unwrap();
    std::fs::write(state.file(LOG_DIR), "in the way").unwrap();
    std::fs::create_dir(state.file("running.json.new")).unwrap();
    let run = Run::begin(state.path(), Arc::default()).unwrap();
    assert!(!state.file(MARKER).exists(), "the end before would be told again and again");
    drop(run);
}

#[test]
fn an_agent_that_outlived_a_panic_and_is_killed_then_is_reported_for_both() {
    let (_dir, state) = state();
    let crashes = Crashes::open(&state);
    let marker = begin(&state);
    let run_id = Some(marker.run_id());
    crashes.store(&Stored { run_id, report: report("in a task") }).unwrap();
    assert!(crashes.take_news() && !crashes.take_news());
    crashes.outlived(marker.run_id());
    std::mem::forget(marker);
    drop(begin(&state));
    let causes: Vec<_> = reports(&state).iter().map(|report| report.cause).collect();
    assert_eq!(causes, [CrashCause::Panic, CrashCause::Killed]);
}

/// Set for the process that panics: its state folder.
const FOLDER: &str = "GURURMM_TEST_PANICS_IN";

#[test]
fn a_program_that_panics_reports_what_it_said_and_its_log() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        panic_in(Path::new(&folder));
    }
    let (_dir, state) = state();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::tests::a_program_that_panics_reports_what_it_said_and_its_log",
            "--nocapture",
        ])
        .env(FOLDER, state.path())
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("it broke"), "the hook before is still called: {said}");
    // The marker stands, but the panic's own report tells more.
    assert!(state.file(MARKER).exists());
    let run = Run::begin(state.path(), Arc::default()).unwrap();
    let found = reports(&state);
    let [report] = &found[..] else { panic!("{found:?}") };
    assert_eq!((report.cause, report.agent_version.as_str()), (CrashCause::Panic, crate::version()));
    let message = report.message.as_deref().unwrap();
    assert!(message.contains("src/crash/tests.rs:"), "{message}");
    assert!(message.ends_with(": it broke\\nwith cak_[redacted]"), "{message}");
    let log = String::from_utf8(report.log.0.clone()).unwrap();
    let lines: Vec<_> = log.lines().collect();
    assert_eq!((lines.len(), lines[0]), (2, "before"), "{log}");
    assert!(lines[1].ends_with(&format!("ERROR gururmm_agent: the program panicked: {message}")), "{log}");
    drop(run);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let folder = state.file(CRASHES_DIR);
        let file = folder.join(format!("{}.json", report.crash_id));
        assert_eq!((mode(&folder), mode(&file)), (0o700, 0o600));
    }
}

fn panic_in(folder: &Path) -> ! {
    let log = Arc::new(OwnLog::default());
    let run = Run::begin(folder, Arc::clone(&log)).unwrap();
    run.report_panics();
    writeln!(&*log, "before").unwrap();
    panic!("it broke\nwith cak_secret");
}

#[test]
fn a_fault_that_comes_back_for_ever_is_reported_often_enough_and_not_for_ever() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        panic_often(Path::new(&folder));
        return;
    }
    let (_dir, state) = state();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::tests::a_fault_that_comes_back_for_ever_is_reported_often_enough_and_not_for_ever",
        ])
        .env(FOLDER, state.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let kept = reports(&state);
    let said: Vec<_> = kept.iter().map(|report| report.message.as_deref().unwrap()).collect();
    let ends = ["fault 1", "fault 13", "fault 14", "fault 15", "fault 16"];
    assert_eq!(said.len(), ends.len());
    assert!(said.iter().zip(ends).all(|(said, end)| said.ends_with(end)), "{said:?}");
}

fn panic_often(folder: &Path) {
    let run = Run::begin(folder, Arc::default()).unwrap();
    run.report_panics();
    for n in 1..=40 {
        let fault = std::thread::spawn(move || panic!("fault {n}"));
        assert!(fault.join().is_err());
    }
}
