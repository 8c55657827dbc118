//! Somebody exchanges a folder for a link that leads out, over and over, while a tech works there.

use super::*;
use crate::capabilities::files::confined::Reach;
use crate::capabilities::files::path::Absolute;
use crate::capabilities::files::tree::{Copying, Removal};
use crate::capabilities::files::work::Job;
use crate::capabilities::files::{list, partial, text as texts};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const MARK: &str = "canary-51b2e9";

#[test]
fn a_folder_that_turns_into_a_link_leads_nowhere() {
    exchange(2_000);
}

/// Does everything `times` times below a name that is now a folder and now a link out.
pub(super) fn exchange(times: u32) {
    let home = tempfile::tempdir().unwrap();
    let (allowed, outside) = (home.path().join("allowed"), home.path().join("outside"));
    fs::create_dir_all(allowed.join("swapped/folder")).unwrap();
    fs::write(allowed.join("swapped/file"), "inside").unwrap();
    fs::create_dir_all(outside.join("folder/kept")).unwrap();
    fs::write(outside.join("file"), MARK).unwrap();
    fs::write(outside.join("folder/kept/file"), MARK).unwrap();
    std::os::unix::fs::symlink(&outside, allowed.join("link")).unwrap();
    let (swapped, link) = (allowed.join("swapped"), allowed.join("link"));
    let is_over = AtomicBool::new(false);
    let swaps = AtomicU64::new(0);
    let (mut done, mut refused) = (0_u64, 0_u64);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                renameat_with(CWD, &swapped, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                swaps.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Its end ends the other, also when it panics.
        let _over = Over(&is_over);
        let reach = Arc::new(Reach::new(&only(&[&allowed])));
        let at = |rest: &str| format!("{}/swapped/{rest}", text(&allowed));
        let mut count = |was_done: bool| if was_done { done += 1 } else { refused += 1 };
        for round in 0..times {
            let read = texts::read(&reach, &at("file"));
            if let Ok(FileAnswer::Text { text, .. }) = &read {
                assert_eq!(text, "inside");
            }
            count(read.is_ok());
            let listed = list::begin(&reach, &at("folder")).and_then(|(_, mut listing)| listing.part());
            if let Ok(entries) = &listed {
                assert!(!entries.iter().any(|entry| entry.name == "kept"));
            }
            count(listed.is_ok());
            count(texts::write(&reach, &at("new"), format!("{round}"), None).is_ok());
            let spot = |rest: &str| reach.spot(&Absolute::parse(&at(rest)).unwrap());
            let made = spot("folder/made").and_then(|spot| Ok(spot.folder.make_folder(&spot.name, 0o755)?));
            count(made.is_ok());
            let renamed = spot("file").and_then(|from| {
                let to = spot("renamed")?;
                from.folder.rename(&from.name, &to.folder, &to.name, false)?;
                Ok(to.folder.rename(&to.name, &from.folder, &from.name, false)?)
            });
            count(renamed.is_ok());
            for rest in ["folder", "new"] {
                let removed =
                    spot(rest).and_then(|spot| through(Removal::new(spot, Arc::clone(&reach), true)));
                count(removed.is_ok());
            }
            if spot("folder").is_ok_and(|spot| spot.look().is_err()) {
                let _ = spot("folder").map(|spot| spot.folder.make_folder(&spot.name, 0o755));
            }
            if round % 16 == 0 {
                copy_and_remove(&reach, &at("folder"), &format!("{}/copy", text(&allowed)));
            }
        }
    });
    assert!(swaps.load(Ordering::Relaxed) > 100, "{swaps:?} exchanges");
    assert!(done > 0 && refused > 0, "{done} done, {refused} refused");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), MARK);
    assert_eq!(fs::read_to_string(outside.join("folder/kept/file")).unwrap(), MARK);
    let names = |folder: &Path| {
        let mut names: Vec<_> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(&outside), ["file", "folder"]);
    assert_eq!(names(&outside.join("folder")), ["kept"]);
}

struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn through(mut job: impl Job<Output = ()>) -> crate::capabilities::files::fault::Result<()> {
    while job.step()?.is_none() {}
    Ok(())
}

/// Nothing of what lies outside is in a copy.
fn copy_and_remove(reach: &Arc<Reach>, from: &str, to: &str) {
    let spot = |path: &str| reach.spot(&Absolute::parse(path).unwrap());
    let (Ok(from), Ok(to)) = (spot(from), spot(to)) else { return };
    let name = partial::new_name();
    let identity = to.folder.facts().unwrap().identity;
    let claim = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
        .block_on(partial::Claim::take(identity, &name));
    if through(Copying::new(from, to.clone(), (name, claim), Arc::clone(reach), false)).is_ok() {
        let copy = to.folder.open_folder(&to.name).unwrap();
        assert!(!copy.entries().unwrap().any(|name| name.unwrap() == "kept"));
        through(Removal::new(to, Arc::clone(reach), true)).unwrap();
    }
}
