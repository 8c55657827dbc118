//! Requests: what they do, and what they refuse.

use super::*;
use gururmm_protocol::tunnel::files::{EntryKind, MAX_TEXT_BYTES, Place};
use std::fs;

fn make_folder(path: &Path) -> FileRequest {
    FileRequest::MakeFolder { path: text(path) }
}

fn rename(from: &Path, to: &Path) -> FileRequest {
    FileRequest::Rename { from: text(from), to: text(to) }
}

fn copy(from: &Path, to: &Path) -> FileRequest {
    FileRequest::Copy { from: text(from), to: text(to) }
}

fn delete(path: &Path, recursive: bool) -> FileRequest {
    FileRequest::Delete { path: text(path), recursive }
}

fn write(path: &Path, content: &str, version: Option<&str>) -> FileRequest {
    FileRequest::WriteText { path: text(path), text: content.to_owned(), version: version.map(str::to_owned) }
}

#[tokio::test]
async fn folders_are_made_renamed_copied_and_removed() {
    let home = tempfile::tempdir().unwrap();
    let (a, b, c) = (home.path().join("a"), home.path().join("b"), home.path().join("c"));
    let mut desk = Desk::open(&everything()).await;
    desk.done(make_folder(&a)).await;
    assert_eq!(desk.refused(make_folder(&a)).await, ErrorCode::AlreadyExists);
    assert_eq!(desk.refused(make_folder(&a.join("x/y"))).await, ErrorCode::NotFound);
    fs::write(a.join("one.txt"), "one").unwrap();
    fs::create_dir(a.join("in")).unwrap();
    fs::write(a.join("in/two.txt"), "two").unwrap();
    desk.done(copy(&a, &b)).await;
    assert_eq!(fs::read_to_string(b.join("in/two.txt")).unwrap(), "two");
    assert_eq!(fs::read_to_string(b.join("one.txt")).unwrap(), "one");
    assert_eq!(desk.refused(copy(&a, &b)).await, ErrorCode::AlreadyExists);
    assert_eq!(desk.refused(rename(&a, &b)).await, ErrorCode::AlreadyExists);
    assert_eq!(fs::read_to_string(b.join("one.txt")).unwrap(), "one");
    desk.done(rename(&a, &c)).await;
    assert_eq!(desk.names(home.path()).await, ["b", "c"]);
    assert_eq!(desk.refused(delete(&b, false)).await, ErrorCode::NotEmpty);
    desk.done(delete(&b, true)).await;
    desk.done(delete(&c.join("one.txt"), false)).await;
    assert_eq!(desk.names(&c).await, ["in"]);
    assert_eq!(desk.refused(delete(&b, true)).await, ErrorCode::NotFound);
    desk.leave().await;
}

#[tokio::test]
async fn nothing_is_ever_replaced_by_a_rename_or_a_copy() {
    let home = tempfile::tempdir().unwrap();
    let (file, other, folder) =
        (home.path().join("file"), home.path().join("other"), home.path().join("folder"));
    fs::write(&file, "file").unwrap();
    fs::write(&other, "other").unwrap();
    fs::create_dir(&folder).unwrap();
    let mut desk = Desk::open(&everything()).await;
    for to in [&other, &folder] {
        assert_eq!(desk.refused(rename(&file, to)).await, ErrorCode::AlreadyExists);
        assert_eq!(desk.refused(copy(&file, to)).await, ErrorCode::AlreadyExists);
    }
    assert_eq!(fs::read_to_string(&other).unwrap(), "other");
    assert_eq!(desk.names(home.path()).await, ["file", "folder", "other"]);
    desk.leave().await;
}

#[tokio::test]
async fn a_folder_is_not_copied_or_moved_into_itself() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("folder");
    fs::create_dir_all(folder.join("a/b")).unwrap();
    let mut desk = Desk::open(&everything()).await;
    assert_eq!(desk.refused(copy(&folder, &folder.join("a/copy"))).await, ErrorCode::Invalid);
    let refused = desk.refused(rename(&folder, &folder.join("a/moved"))).await;
    assert!(
        matches!(refused, ErrorCode::Invalid | ErrorCode::PermissionDenied | ErrorCode::Failed),
        "{refused:?}"
    );
    assert_eq!(desk.names(&folder.join("a")).await, ["b"], "nothing is left of the copy");
    desk.leave().await;
}

#[tokio::test]
async fn text_is_replaced_only_as_it_was_read() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("motd");
    let mut desk = Desk::open(&everything()).await;
    let version = |answered: Answered| match answered {
        Ok((_, FileAnswer::Text { version, .. })) => version,
        other => panic!("{other:?}"),
    };
    let first = version(desk.ask(write(&file, "hello\n", None)).await);
    assert_eq!(desk.refused(write(&file, "again", None)).await, ErrorCode::AlreadyExists);
    let (content, read) = desk.read(&file).await.unwrap();
    assert_eq!((content.as_str(), &read), ("hello\n", &first));
    let second = version(desk.ask(write(&file, "hello, acme\n", Some(&first))).await);
    assert_eq!(desk.refused(write(&file, "late", Some(&first))).await, ErrorCode::Conflict);
    // The same size and the same time, and another text all the same.
    let modified = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "HELLO, ACME\n").unwrap();
    fs::File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
    assert_eq!(desk.refused(write(&file, "late", Some(&second))).await, ErrorCode::Conflict);
    fs::remove_file(&file).unwrap();
    assert_eq!(desk.refused(write(&file, "late", Some(&second))).await, ErrorCode::Conflict);
    assert_eq!(desk.names(home.path()).await, Vec::<String>::new(), "no temporary file is left");
    desk.leave().await;
}

#[tokio::test]
async fn what_is_no_small_text_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let (large, binary, escaped) =
        (home.path().join("large"), home.path().join("binary"), home.path().join("escaped"));
    fs::write(&large, "x".repeat(MAX_TEXT_BYTES + 1)).unwrap();
    fs::write(&binary, [0xff, 0xfe, 0x00]).unwrap();
    // In JSON each is written with six characters.
    fs::write(&escaped, "\u{1}".repeat(MAX_TEXT_BYTES)).unwrap();
    let mut desk = Desk::open(&everything()).await;
    assert_eq!(desk.read(&large).await.unwrap_err().code, ErrorCode::TooLarge);
    assert_eq!(desk.read(&binary).await.unwrap_err().code, ErrorCode::Invalid);
    assert_eq!(desk.read(&escaped).await.unwrap_err().code, ErrorCode::TooLarge);
    assert_eq!(desk.read(home.path()).await.unwrap_err().code, ErrorCode::IsAFolder);
    let text = "y".repeat(MAX_TEXT_BYTES);
    fs::write(&large, &text).unwrap();
    assert_eq!(desk.read(&large).await.unwrap().0, text);
    desk.leave().await;
}

#[tokio::test]
async fn a_hundred_thousand_entries_come_in_parts_and_in_little_memory() {
    // Wine takes a millisecond for each.
    const ENTRIES: usize = if cfg!(windows) { 5_000 } else { 100_000 };
    let home = tempfile::tempdir().unwrap();
    for number in 0..ENTRIES {
        fs::File::create(home.path().join(format!("{number:06}-{}", "n".repeat(60)))).unwrap();
    }
    let mut desk = Desk::open(&everything()).await;
    // Whatever the first listing of all takes does not count.
    desk.names(tempfile::tempdir().unwrap().path()).await;
    let id = desk.send(FileRequest::List { path: text(home.path()) }).await;
    let (mut seen, mut parts) = (vec![false; ENTRIES], 0);
    #[cfg(target_os = "linux")]
    let before = long::memory_kib();
    let end = loop {
        let allowed = desk.tech.allowed;
        let response: Response<FileAnswer> = desk.tech.message().await;
        assert!(allowed - desk.tech.allowed <= 64 * 1024);
        desk.tech.grant(allowed - desk.tech.allowed);
        assert_eq!(response.id, id);
        match response.answer {
            Answer::Part(FileAnswer::Entries { entries }) => {
                parts += 1;
                for entry in entries {
                    let number: usize = entry.name[..6].parse().unwrap();
                    assert!(!std::mem::replace(&mut seen[number], true));
                }
            }
            Answer::Reply(end) => break end,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(end, FileAnswer::Folder { path: text(home.path()), entries: ENTRIES as u64 });
    assert!(seen.iter().all(|seen| *seen));
    assert!(parts >= ENTRIES / 200);
    #[cfg(target_os = "linux")]
    {
        let grown = long::memory_kib().saturating_sub(before);
        assert!(grown < 8 * 1024, "{grown} KiB more");
    }
    desk.leave().await;
}

#[tokio::test]
async fn requests_of_one_channel_are_answered_beside_each_other_and_nonsense_is_said_to_be_that() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(&everything()).await;
    let mut open: Vec<u32> = Vec::new();
    for _ in 0..40 {
        open.push(desk.send(FileRequest::Stat { path: text(home.path()) }).await);
    }
    desk.tech.say(&serde_json::json!({"id": 4_000, "request": {"do": "defragment"}})).await;
    desk.tech.say(&serde_json::json!({"id": 4_001, "request": {"do": "list"}})).await;
    let mut codes = Vec::new();
    while !open.is_empty() || codes.len() < 2 {
        let response: Response<FileAnswer> = desk.tech.message().await;
        match response.answer {
            Answer::Reply(FileAnswer::Entry { .. }) => open.retain(|id| *id != response.id),
            Answer::Error(error) => codes.push((response.id, error.code)),
            other => panic!("{other:?}"),
        }
    }
    codes.sort_by_key(|(id, _)| *id);
    assert_eq!(codes, [(4_000, ErrorCode::Unsupported), (4_001, ErrorCode::Invalid)]);
    desk.tech.say(&"nothing of the kind").await;
    let end = desk.served.await.unwrap();
    assert_eq!(end.error.unwrap().code, ErrorCode::Invalid);
}

#[tokio::test]
async fn who_comes_back_asks_anew_and_what_was_begun_is_carried_out() {
    let home = tempfile::tempdir().unwrap();
    for number in 0..3_000 {
        fs::File::create(home.path().join(format!("{number:06}-{}", "n".repeat(100)))).unwrap();
    }
    let mut desk = Desk::open(&everything()).await;
    // Its parts are more than the window, and nobody takes them.
    desk.send(FileRequest::List { path: text(home.path()) }).await;
    desk.tech.message::<serde_json::Value>().await;
    desk.tech.lose_link();
    desk.tech.attach(0, WINDOW_BYTES).await;
    desk.tech.opened().await;
    desk.done(make_folder(&home.path().join("new"))).await;
    assert_eq!(desk.names(home.path()).await.len(), 3_001);
    desk.leave().await;
}

#[tokio::test]
async fn a_copy_that_nobody_waits_for_any_more_leaves_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (from, to) = (home.path().join("from"), home.path().join("to"));
    fs::create_dir(&from).unwrap();
    for number in 0..2_000 {
        fs::write(from.join(format!("{number}")), "content").unwrap();
    }
    let mut desk = Desk::open(&everything()).await;
    desk.send(copy(&from, &to)).await;
    let entries = || fs::read_dir(home.path()).unwrap().count();
    wait_until(|| entries() == 2).await;
    desk.leave().await;
    wait_until(|| entries() == 1).await;
    assert_eq!(fs::read_dir(&from).unwrap().count(), 2_000);
    assert!(!to.exists());
}

async fn wait_until(is_so: impl Fn() -> bool) {
    let begun = std::time::Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < std::time::Duration::from_secs(30));
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn roots_and_folders_of_the_policy_stay() {
    let home = tempfile::tempdir().unwrap();
    let (outer, inner) = (home.path().join("outer"), home.path().join("outer").join("x").join("inner"));
    fs::create_dir_all(&inner).unwrap();
    let mut desk = Desk::open(&only(&[&outer, &inner])).await;
    assert_eq!(desk.refused(delete(&outer, true)).await, ErrorCode::NotAllowed);
    assert_eq!(desk.refused(delete(&inner, true)).await, ErrorCode::NotAllowed);
    assert_eq!(desk.refused(delete(&outer.join("x"), true)).await, ErrorCode::NotAllowed);
    assert_eq!(desk.refused(rename(&inner, &outer.join("y"))).await, ErrorCode::NotAllowed);
    assert!(inner.is_dir());
    let (_, answer) = desk.ask(FileRequest::Places {}).await.unwrap();
    let place = |path: &Path| Place { path: text(path), label: text(path) };
    assert_eq!(answer, FileAnswer::Places { places: vec![place(&outer), place(&inner)] });
    assert_eq!(desk.entry(&outer).await.kind, EntryKind::Folder);
    desk.leave().await;
    let root = if cfg!(windows) { Path::new(r"C:\") } else { Path::new("/") };
    let mut desk = Desk::open(&everything()).await;
    // Without all in it: whatever goes wrong here, it has something in it.
    assert_eq!(desk.refused(delete(root, false)).await, ErrorCode::NotAllowed);
    assert_eq!(desk.entry(root).await.kind, EntryKind::Folder);
    let (_, answer) = desk.ask(FileRequest::Places {}).await.unwrap();
    let FileAnswer::Places { places } = answer else { panic!("{answer:?}") };
    assert!(places.iter().any(|place| place.path == text(root)), "{places:?}");
    desk.leave().await;
}

#[tokio::test]
async fn a_policy_without_folders_allows_none() {
    let home = tempfile::tempdir().unwrap();
    let mut desk = Desk::open(&TunnelRules { paths: Some(Vec::new()), ..everything() }).await;
    assert_eq!(desk.refused(FileRequest::List { path: text(home.path()) }).await, ErrorCode::NotAllowed);
    let (_, answer) = desk.ask(FileRequest::Places {}).await.unwrap();
    assert_eq!(answer, FileAnswer::Places { places: Vec::new() });
    desk.leave().await;
}

#[cfg(windows)]
#[tokio::test]
async fn what_windows_does_not_have_is_said_to_be_unsupported() {
    let home = tempfile::tempdir().unwrap();
    let path = text(home.path());
    let mut desk = Desk::open(&everything()).await;
    let mode = FileRequest::SetMode { path: path.clone(), mode: 0o755 };
    assert_eq!(desk.refused(mode).await, ErrorCode::Unsupported);
    let owner = FileRequest::SetOwner { path, owner: Some("acme".to_owned()), group: None };
    assert_eq!(desk.refused(owner).await, ErrorCode::Unsupported);
    desk.leave().await;
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().mode() & 0o7777
    }

    fn set_mode(path: &Path, mode: u32) -> FileRequest {
        FileRequest::SetMode { path: text(path), mode }
    }

    #[tokio::test]
    async fn links_are_shown_as_links_and_removed_as_links() {
        let home = tempfile::tempdir().unwrap();
        let (kept, file) = (home.path().join("kept"), home.path().join("kept/file"));
        fs::create_dir(&kept).unwrap();
        fs::write(&file, "stays").unwrap();
        symlink(&kept, home.path().join("to-folder")).unwrap();
        symlink("kept/file", home.path().join("to-file")).unwrap();
        symlink("nowhere", home.path().join("dangling")).unwrap();
        let mut desk = Desk::open(&everything()).await;
        let link = desk.entry(&home.path().join("to-file")).await;
        assert_eq!((link.kind, link.target.as_deref()), (EntryKind::Link, Some("kept/file")));
        // A link leads to what it stands for where that is what is asked for.
        assert_eq!(desk.names(&home.path().join("to-folder")).await, ["file"]);
        assert_eq!(desk.read(&home.path().join("to-file")).await.unwrap().0, "stays");
        let copied = home.path().join("copied");
        desk.done(make_folder(&copied)).await;
        for name in ["to-folder", "to-file", "dangling"] {
            desk.done(copy(&home.path().join(name), &copied.join(name))).await;
            assert!(fs::symlink_metadata(copied.join(name)).unwrap().is_symlink());
        }
        desk.done(delete(&copied, true)).await;
        for name in ["to-folder", "to-file", "dangling"] {
            desk.done(delete(&home.path().join(name), true)).await;
        }
        assert_eq!(fs::read_to_string(&file).unwrap(), "stays");
        desk.leave().await;
    }

    #[tokio::test]
    async fn writing_to_a_link_writes_what_it_stands_for_and_keeps_mode_and_attributes() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("file"), home.path().join("link"));
        fs::write(&file, "before").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("file", &link).unwrap();
        #[cfg(target_os = "linux")]
        rustix::fs::setxattr(&file, "user.origin", b"acme", rustix::fs::XattrFlags::empty()).unwrap();
        let mut desk = Desk::open(&only(&[home.path()])).await;
        let (_, version) = desk.read(&link).await.unwrap();
        desk.ask(write(&link, "after", Some(&version))).await.unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&file).unwrap(), "after");
        assert_eq!(mode(&file), 0o640);
        #[cfg(target_os = "linux")]
        {
            let mut value = Vec::with_capacity(16);
            rustix::fs::getxattr(&file, "user.origin", rustix::buffer::spare_capacity(&mut value)).unwrap();
            assert_eq!(value, b"acme");
        }
        let content = b"uploaded";
        upload(&only(&[home.path()]), to_file(&link, content, true), content).await.unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), content);
        assert_eq!(mode(&file), 0o640);
        desk.leave().await;
    }

    #[tokio::test]
    async fn rights_and_owners_are_set_on_files_and_never_through_links() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("file"), home.path().join("link"));
        fs::write(&file, "x").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        symlink("file", &link).unwrap();
        let mut desk = Desk::open(&everything()).await;
        desk.done(set_mode(&file, 0o4750)).await;
        assert_eq!(mode(&file), 0o4750);
        assert_eq!(desk.entry(&file).await.mode, Some(0o4750));
        assert_eq!(desk.refused(set_mode(&link, 0o777)).await, ErrorCode::Unsupported);
        assert_eq!(desk.refused(set_mode(&file, 0o10_000)).await, ErrorCode::Invalid);
        assert_eq!(mode(&file), 0o4750);
        let owner = |path: &Path, owner: &str, group: Option<&str>| FileRequest::SetOwner {
            path: text(path),
            owner: Some(owner.to_owned()),
            group: group.map(str::to_owned),
        };
        let unknown = owner(&file, "nobody-of-this-name", None);
        assert_eq!(desk.refused(unknown).await, ErrorCode::NotFound);
        if rustix::process::geteuid().is_root() {
            desk.done(owner(&link, "4321", Some("4322"))).await;
            let link = fs::symlink_metadata(&link).unwrap();
            assert_eq!((link.uid(), link.gid()), (4321, 4322));
            assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
            desk.done(owner(&file, "4321", Some("root"))).await;
            let entry = desk.entry(&file).await;
            assert_eq!((entry.owner.as_deref(), entry.group.as_deref()), (Some("4321"), Some("root")));
        }
        desk.leave().await;
    }

    #[tokio::test]
    async fn a_copy_keeps_modes_times_and_owners() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("script"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(from.join("script"), fs::Permissions::from_mode(0o751)).unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o2710)).unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::open(from.join("script")).unwrap().set_modified(then).unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(from.join("script"), Some(4321), Some(4322)).unwrap();
        }
        let mut desk = Desk::open(&everything()).await;
        desk.done(copy(&from, &to)).await;
        assert_eq!((mode(&to), mode(&to.join("script"))), (0o2710, 0o751));
        let (was, is) =
            (fs::metadata(from.join("script")).unwrap(), fs::metadata(to.join("script")).unwrap());
        assert_eq!(is.modified().unwrap(), then);
        assert_eq!((is.uid(), is.gid()), (was.uid(), was.gid()));
        desk.leave().await;
    }

    #[tokio::test]
    async fn what_cannot_be_copied_fails_whole_and_leaves_nothing() {
        let home = tempfile::tempdir().unwrap();
        let (from, to) = (home.path().join("from"), home.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("a"), "a").unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            from.join("pipe"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(fs::symlink_metadata(from.join("pipe")).unwrap().file_type().is_fifo());
        let mut desk = Desk::open(&everything()).await;
        assert_eq!(desk.refused(copy(&from, &to)).await, ErrorCode::Unsupported);
        assert_eq!(desk.names(home.path()).await, ["from"]);
        // Nobody writes into it: what reads it would wait for ever.
        assert_eq!(desk.read(&from.join("pipe")).await.unwrap_err().code, ErrorCode::Unsupported);
        desk.leave().await;
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_on_another_file_system_is_moved_there_by_copying_and_never_removed_with_a_folder() {
        let home = tempfile::tempdir().unwrap();
        let Ok(memory) = tempfile::tempdir_in("/dev/shm") else { return };
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        assert_ne!(device(home.path()), device(memory.path()), "two file systems for this test");
        let (from, to) = (home.path().join("from"), memory.path().join("to"));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("file"), "content").unwrap();
        symlink("file", from.join("link")).unwrap();
        let mut desk = Desk::open(&everything()).await;
        fs::create_dir(&to).unwrap();
        assert_eq!(desk.refused(rename(&from, &to)).await, ErrorCode::AlreadyExists);
        assert!(from.join("file").exists());
        fs::remove_dir(&to).unwrap();
        desk.done(rename(&from, &to)).await;
        assert!(!from.exists());
        assert_eq!(fs::read_to_string(to.join("file")).unwrap(), "content");
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("file"));
        assert_eq!(desk.names(memory.path()).await, ["to"]);
        // Not with all in it: should this not be refused, the system refuses it.
        assert_eq!(desk.refused(delete(Path::new("/proc"), false)).await, ErrorCode::NotAllowed);
        desk.leave().await;
    }

    #[tokio::test]
    async fn under_a_policy_no_program_runs_as_its_owner_and_no_file_has_a_second_name_outside() {
        let home = tempfile::tempdir().unwrap();
        let (allowed, outside) = (home.path().join("allowed"), home.path().join("outside"));
        fs::create_dir(&allowed).unwrap();
        fs::write(&outside, "outside").unwrap();
        fs::set_permissions(&outside, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(allowed.join("tool"), "tool").unwrap();
        fs::hard_link(&outside, allowed.join("hard")).unwrap();
        let rules = only(&[&allowed]);
        let mut desk = Desk::open(&rules).await;
        assert_eq!(desk.refused(set_mode(&allowed.join("tool"), 0o4755)).await, ErrorCode::NotAllowed);
        desk.done(set_mode(&allowed.join("tool"), 0o755)).await;
        let hard = allowed.join("hard");
        assert_eq!(desk.read(&hard).await.unwrap_err().code, ErrorCode::NotAllowed);
        assert_eq!(desk.refused(set_mode(&hard, 0o644)).await, ErrorCode::NotAllowed);
        assert_eq!(desk.refused(copy(&hard, &allowed.join("copy"))).await, ErrorCode::NotAllowed);
        let owner = FileRequest::SetOwner { path: text(&hard), owner: Some("0".into()), group: None };
        assert_eq!(desk.refused(owner).await, ErrorCode::NotAllowed);
        assert_eq!(download(&rules, of_file(&hard)).await.unwrap_err().code, ErrorCode::NotAllowed);
        assert_eq!(mode(&outside), 0o600);
        // The name itself can go: the file stays.
        desk.done(delete(&hard, false)).await;
        assert_eq!(fs::read_to_string(&outside).unwrap(), "outside");
        desk.leave().await;
    }

    #[tokio::test]
    async fn a_folder_of_the_policy_is_not_reached_by_a_link_that_a_user_could_have_put_there() {
        let home = tempfile::tempdir().unwrap();
        let (own, link) = (home.path().join("own"), home.path().join("link"));
        fs::create_dir(&own).unwrap();
        fs::write(own.join("file"), "x").unwrap();
        symlink(&own, &link).unwrap();
        let list = |path: &Path| FileRequest::List { path: text(path) };
        // Of this account, which is the agent's.
        let mut desk = Desk::open(&only(&[&link])).await;
        assert_eq!(desk.names(&link).await, ["file"]);
        desk.leave().await;
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::lchown(&link, Some(4321), Some(4321)).unwrap();
            let mut desk = Desk::open(&only(&[&link])).await;
            assert_eq!(desk.refused(list(&link)).await, ErrorCode::NotAllowed);
            desk.leave().await;
        }
    }

    #[tokio::test]
    async fn names_that_are_not_unicode_are_listed_and_go_with_their_folder() {
        use std::os::unix::ffi::OsStrExt;
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("folder");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        let mut desk = Desk::open(&everything()).await;
        let (entries, _) = desk.ask(FileRequest::List { path: text(&folder) }).await.unwrap();
        assert_eq!(entries[0].name, "caf\u{fffd}");
        assert!(entries[0].is_unnameable);
        desk.done(copy(&folder, &home.path().join("copy"))).await;
        desk.done(delete(&folder, true)).await;
        assert!(home.path().join("copy").join(std::ffi::OsStr::from_bytes(b"caf\xe9")).exists());
        desk.leave().await;
    }
}
