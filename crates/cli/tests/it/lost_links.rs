//! The way to the server is cut while something goes on, and is there again.

#[cfg(unix)]
use crate::terminal::Desk;
use crate::{Office, done};
use gururmm_testkit::world::acme;
use std::fs;
use std::time::Duration;
use tokio::time::sleep;

const MIB: u64 = 1024 * 1024;

#[cfg(unix)]
#[tokio::test]
async fn a_shell_goes_on_and_nothing_is_lost_or_shown_twice() {
    let (office, cable) = Office::signed_in_over_cable(&acme::TECH).await;
    let mut desk = Desk::open(&office).await;
    desk.type_in("for i in $(seq 600); do echo \"line $i.\"; sleep 0.003; done; echo all-$((6 * 7))\r").await;
    for (line, word) in [(100, 3), (300, 4)] {
        desk.until(&format!("line {line}.\r\n")).await;
        cable.cut().await;
        desk.until("[WARNING] the link is lost").await;
        // Typed into the void: it arrives when somebody is there again.
        desk.type_in(&format!("echo typed-$((1 + {}))\r", word - 1)).await;
        sleep(Duration::from_millis(300)).await;
        cable.mend();
    }
    desk.until("all-42\r\n").await;
    desk.until("typed-3\r\n").await;
    desk.until("typed-4\r\n").await;
    let shown = desk.shown.replace("\r\n[WARNING] the link is lost; waiting for it\r\n", "");
    let lines = shown.lines().filter_map(|line| line.split("line ").nth(1)?.strip_suffix('.'));
    let lines: Vec<u32> = lines.filter_map(|number| number.parse().ok()).collect();
    assert!(lines == (1..=600).collect::<Vec<_>>(), "{lines:?}");
    assert!(!shown.contains("not kept"));
    for word in ["typed-3\r\n", "typed-4\r\n"] {
        assert_eq!(shown.matches(word).count(), 1, "{word:?}");
    }
    desk.type_in("exit 5\r").await;
    assert_eq!(desk.ended().await, "5");
}

#[cfg(unix)]
#[tokio::test]
async fn a_link_that_falls_silent_is_taken_for_dead_and_made_anew() {
    let (office, cable) = Office::signed_in_over_cable(&acme::TECH).await;
    let mut desk = Desk::open(&office).await;
    desk.type_in("echo before-$((6 * 7))\r").await;
    desk.until("before-42\r\n").await;
    cable.silence();
    // It is given twenty seconds, more than a test waits for anything.
    sleep(Duration::from_secs(10)).await;
    desk.until("[WARNING] the link is lost").await;
    desk.type_in("echo after-$((6 * 7))\r").await;
    desk.until("after-42\r\n").await;
    desk.type_in("exit 0\r").await;
    assert_eq!(desk.ended().await, "0");
}

#[tokio::test]
async fn files_go_on_where_they_were_cut_both_ways() {
    let (office, cable) = Office::signed_in_over_cable(&acme::TECH).await;
    let size = 24 * MIB;
    let bytes: Vec<u8> =
        (0..size as u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let paths = ["local.bin", "far.bin", "back.bin"].map(|name| office.path(name));
    let [local, far, back] = paths.each_ref().map(|path| path.to_str().unwrap());
    fs::write(local, &bytes).unwrap();
    for (arguments, arrived) in [(["put", local, far], far), (["get", far, back], back)] {
        let before = cable.carried();
        let child = office.command(&[&["files", &office.name], &arguments[..]].concat()).spawn().unwrap();
        for part in [6, 12] {
            cable.has_carried(before + part * MIB).await;
            cable.cut().await;
            sleep(Duration::from_millis(100)).await;
            cable.mend();
        }
        let done = done(child.wait_with_output().await.unwrap());
        assert!(done.code == 0 && done.out.starts_with("[OK] 25165824 bytes"), "{}{}", done.out, done.err);
        assert!(fs::read(arrived).unwrap() == bytes, "{arrived} is something else");
        let carried = cable.carried() - before;
        assert!(carried < size + 6 * MIB, "{carried} bytes went through: it began anew");
    }
}
