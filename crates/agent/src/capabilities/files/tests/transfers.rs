//! Transfers: whole, cut and gone on with.

use super::*;
use proptest::prelude::*;
use std::fs;
use std::time::{Duration, SystemTime};

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn code(result: Result<impl std::fmt::Debug, ChannelError>) -> ErrorCode {
    result.unwrap_err().code
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn a_file_comes_up_and_down_as_it_is() {
    let home = tempfile::tempdir().unwrap();
    for size in [0, 1, 32 * 1024, 1_000_003] {
        let (file, sent) = (home.path().join(format!("{size}")), noise(size));
        upload(&everything(), to_file(&file, &sent, false), &sent).await.unwrap();
        assert_eq!(fs::read(&file).unwrap(), sent);
        assert_eq!(download(&everything(), of_file(&file)).await.unwrap(), sent);
        assert_eq!(
            code(upload(&everything(), to_file(&file, &sent, false), &sent).await),
            ErrorCode::AlreadyExists
        );
        upload(&everything(), to_file(&file, &sent, true), &sent).await.unwrap();
    }
    assert_eq!(names(home.path()).len(), 4, "nothing else is left");
}

#[tokio::test]
async fn what_arrives_wrong_leaves_nothing_and_replaces_nothing() {
    let home = tempfile::tempdir().unwrap();
    let (file, sent) = (home.path().join("file"), noise(100_000));
    fs::write(&file, "before").unwrap();
    let mut up =
        Up::open(&everything(), to_file(&file, &sent, true)).await.unwrap_or_else(|end| panic!("{end:?}"));
    up.send(0, &sent).await;
    up.tech.say(&UploadMessage::Finish { sha256: sha256(b"something else") }).await;
    let end = up.served.await.unwrap();
    assert_eq!(end.error.unwrap().code, ErrorCode::ChecksumMismatch);
    assert_eq!(fs::read_to_string(&file).unwrap(), "before");
    assert_eq!(names(home.path()), ["file"]);
}

#[tokio::test]
async fn an_upload_is_given_up_or_finished_too_early() {
    let home = tempfile::tempdir().unwrap();
    let (file, sent) = (home.path().join("file"), noise(100_000));
    let rules = everything();
    let open = || Up::open(&rules, to_file(&file, &sent, false));
    let mut up = open().await.unwrap_or_else(|end| panic!("{end:?}"));
    up.send(0, &sent[..50_000]).await;
    up.tech.say(&UploadMessage::Discard {}).await;
    assert_eq!(up.served.await.unwrap(), ChannelEnd::default());
    assert_eq!(names(home.path()), Vec::<String>::new());

    let mut up = open().await.unwrap_or_else(|end| panic!("{end:?}"));
    up.send(0, &sent[..50_000]).await;
    assert_eq!(up.finish(&sent).await.error.unwrap().code, ErrorCode::Invalid);
    let mut up = open().await.unwrap_or_else(|end| panic!("{end:?}"));
    assert_eq!(up.opened.received, 50_000);
    // A gap, and more than there was to be.
    up.send(60_000, &sent[60_000..60_001]).await;
    assert_eq!(up.served.await.unwrap().error.unwrap().code, ErrorCode::Invalid);
    let mut up = open().await.unwrap_or_else(|end| panic!("{end:?}"));
    up.send(50_000, &sent).await;
    assert_eq!(up.served.await.unwrap().error.unwrap().code, ErrorCode::Invalid);
    assert!(!file.exists());
}

#[tokio::test]
async fn a_key_is_a_plain_word_and_a_folder_is_no_place_for_a_file() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    for key in ["", "a/b", "..", "a b", &"k".repeat(65)] {
        let open = OpenUpload { resume_key: key.to_owned(), ..to_file(&file, b"x", false) };
        assert_eq!(code(upload(&everything(), open, b"x").await), ErrorCode::Invalid, "{key}");
    }
    assert_eq!(
        code(upload(&everything(), to_file(home.path(), b"x", true), b"x").await),
        ErrorCode::IsAFolder
    );
    let nowhere = home.path().join("missing/file");
    assert_eq!(code(upload(&everything(), to_file(&nowhere, b"x", true), b"x").await), ErrorCode::NotFound);
    assert_eq!(names(home.path()), Vec::<String>::new());
}

#[tokio::test]
async fn another_channel_with_the_same_key_takes_the_upload_over() {
    let home = tempfile::tempdir().unwrap();
    let (file, sent) = (home.path().join("file"), noise(500_000));
    let rules = everything();
    let open = || Up::open(&rules, to_file(&file, &sent, false));
    let mut first = open().await.unwrap_or_else(|end| panic!("{end:?}"));
    first.send(0, &sent[..300_000]).await;
    let mut second = open().await.unwrap_or_else(|end| panic!("{end:?}"));
    assert_eq!(first.served.await.unwrap().error.unwrap().code, ErrorCode::Closed);
    let received = usize::try_from(second.opened.received).unwrap();
    second.send(second.opened.received, &sent[received..]).await;
    assert_eq!(second.finish(&sent).await.error, None);
    assert_eq!(fs::read(&file).unwrap(), sent);
}

#[tokio::test]
async fn what_nobody_came_back_for_goes_after_a_day_when_its_folder_is_used() {
    let home = tempfile::tempdir().unwrap();
    let (one, two, sent) = (home.path().join("one"), home.path().join("two"), noise(1_000));
    for file in [&one, &two] {
        let mut up = Up::open(&everything(), to_file(file, &sent, false))
            .await
            .unwrap_or_else(|end| panic!("{end:?}"));
        up.send(0, &sent[..500]).await;
        up.tech.leave();
        up.served.await.unwrap();
    }
    let left = names(home.path());
    assert_eq!(left.len(), 2);
    let age = |name: &str, hours| {
        let then = SystemTime::now() - Duration::from_hours(hours);
        fs::File::options().write(true).open(home.path().join(name)).unwrap().set_modified(then).unwrap();
    };
    age(&left[0], 25);
    age(&left[1], 23);
    let mut desk = Desk::open(&everything()).await;
    assert_eq!(desk.names(home.path()).await, [left[1].clone()]);
    assert_eq!(names(home.path()), [left[1].clone()]);
    desk.leave().await;
    age(&left[1], 25);
    upload(&everything(), to_file(&home.path().join("three"), &sent, false), &sent).await.unwrap();
    assert_eq!(names(home.path()), ["three"]);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_has_no_room_is_refused_before_it_is_sent() {
    let home = tempfile::tempdir().unwrap();
    let open = OpenUpload { size: 1 << 60, ..to_file(&home.path().join("file"), b"", false) };
    let Err(end) = Up::open(&everything(), open).await else { panic!("it was opened") };
    assert_eq!(end.error.unwrap().code, ErrorCode::NoSpace);
    assert_eq!(names(home.path()), Vec::<String>::new());
}

/// On a disk of two mebibytes, which this test runs itself again for: in a mount namespace of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_keeps_what_arrived() {
    const FOLDER: &str = "GURURMM_TEST_SMALL_DISK";
    const NAME: &str = "capabilities::files::tests::transfers::a_disk_that_fills_up_keeps_what_arrived";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return runtime().block_on(fill_up(Path::new(&folder)));
    }
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let script = r#"mount -t tmpfs -o size=2m none "$1" && exec "$2" --exact "$3""#;
    let run = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(home.path())
        .arg(std::env::current_exe().unwrap())
        .arg(NAME)
        .env(FOLDER, home.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&run.stdout);
    assert!(
        run.status.success() && said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&run.stderr)
    );
}

#[cfg(target_os = "linux")]
async fn fill_up(folder: &Path) {
    let (file, sent) = (folder.join("file"), noise(1_500_000));
    let open = || async {
        Up::open(&everything(), to_file(&file, &sent, false)).await.unwrap_or_else(|end| panic!("{end:?}"))
    };
    let mut up = open().await;
    up.send(0, &sent[..500_000]).await;
    // All of it is there before the disk fills up.
    up.tech.lose_link();
    up.tech.attach(0, WINDOW_BYTES).await;
    assert_eq!(up.tech.opened().await.received, 500_000);
    fs::write(folder.join("filler"), noise(1_200_000)).unwrap();
    up.send(500_000, &sent[500_000..]).await;
    assert_eq!(up.served.await.unwrap().error.unwrap().code, ErrorCode::NoSpace);
    fs::remove_file(folder.join("filler")).unwrap();
    let mut up = open().await;
    let received = usize::try_from(up.opened.received).unwrap();
    assert!((500_000..1_000_000).contains(&received), "{received}");
    up.send(received as u64, &sent[received..]).await;
    assert_eq!(up.finish(&sent).await.error, None);
    assert_eq!(fs::read(&file).unwrap(), sent);
}

#[tokio::test]
async fn a_download_goes_on_only_with_the_same_file() {
    let home = tempfile::tempdir().unwrap();
    let (file, sent) = (home.path().join("file"), noise(300_000));
    fs::write(&file, &sent).unwrap();
    let down = Down::open(&everything(), of_file(&file), BULK_WINDOW_BYTES)
        .await
        .unwrap_or_else(|end| panic!("{end:?}"));
    let opened = down.opened.clone().unwrap();
    assert_eq!((opened.from, opened.size), (0, Some(300_000)));
    let at = |offset, modified_ms| OpenDownload { offset, modified_ms, ..of_file(&file) };
    let mut rest = Down::open(&everything(), at(200_000, opened.modified_ms), BULK_WINDOW_BYTES)
        .await
        .unwrap_or_else(|end| panic!("{end:?}"));
    let mut have = sent[..200_000].to_vec();
    let end = rest.take(&mut have, usize::MAX).await.unwrap();
    assert_eq!((have, end.sha256, end.size), (sent.clone(), Some(sha256(&sent)), Some(300_000)));
    assert_eq!(code(download(&everything(), at(300_001, None)).await), ErrorCode::Conflict);
    let later = SystemTime::now() + Duration::from_secs(5);
    fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
    assert_eq!(code(download(&everything(), at(200_000, opened.modified_ms)).await), ErrorCode::Conflict);
    assert_eq!(code(download(&everything(), of_file(home.path())).await), ErrorCode::IsAFolder);
}

#[tokio::test]
async fn a_file_that_becomes_shorter_while_it_is_sent_is_a_conflict() {
    let home = tempfile::tempdir().unwrap();
    let (file, sent) = (home.path().join("file"), noise(4_000_000));
    fs::write(&file, &sent).unwrap();
    let mut down =
        Down::open(&everything(), of_file(&file), 256 * 1024).await.unwrap_or_else(|end| panic!("{end:?}"));
    let mut have = Vec::new();
    assert_eq!(down.take(&mut have, 100_000).await, None);
    fs::File::options().write(true).open(&file).unwrap().set_len(200_000).unwrap();
    let end = down.take(&mut have, usize::MAX).await.unwrap();
    assert_eq!(end.error.unwrap().code, ErrorCode::Conflict);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_kernels_own_files_come_whole_though_they_have_no_size() {
    let got = download(&everything(), of_file(Path::new("/proc/version"))).await.unwrap();
    assert_eq!(got, fs::read("/proc/version").unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    /// Cut anywhere, in one channel or many, with what was under way lost or sent twice: the file is what was sent.
    #[test]
    fn an_upload_is_whole_wherever_it_is_cut(
        size in 0_usize..900_000,
        cuts in proptest::collection::vec((0_usize..300_000, any::<bool>(), 0_usize..50_000), 0..5),
    ) {
        runtime().block_on(async {
            let home = tempfile::tempdir().unwrap();
            let (file, sent) = (home.path().join("file"), noise(size));
            let open = || async {
                Up::open(&everything(), to_file(&file, &sent, false)).await.unwrap_or_else(|end| panic!("{end:?}"))
            };
            let mut up = open().await;
            let (mut at, mut reached) = (0, 0);
            for (more, same_channel, again) in cuts {
                let until = (at + more).min(size);
                reached = until.max(reached);
                up.send(at as u64, &sent[at..until]).await;
                let received = if same_channel {
                    up.tech.lose_link();
                    up.tech.attach(0, WINDOW_BYTES).await;
                    up.tech.opened().await.received
                } else {
                    up.tech.leave();
                    up.served.await.unwrap();
                    up = open().await;
                    up.opened.received
                };
                let received = usize::try_from(received).unwrap();
                assert!(received <= reached);
                at = received.saturating_sub(again);
            }
            up.send(at as u64, &sent[at..]).await;
            let end = up.finish(&sent).await;
            assert_eq!((end.error, end.sha256), (None, Some(sha256(&sent))));
            assert_eq!(fs::read(&file).unwrap(), sent);
            assert_eq!(names(home.path()), ["file"]);
        });
    }

    /// The same of a download.
    #[test]
    fn a_download_is_whole_wherever_it_is_cut(
        size in 0_usize..900_000,
        window in 9_u32..600_000,
        cuts in proptest::collection::vec((0_usize..300_000, any::<bool>(), 0_usize..50_000), 0..5),
    ) {
        runtime().block_on(async {
            let home = tempfile::tempdir().unwrap();
            let (file, sent) = (home.path().join("file"), noise(size));
            fs::write(&file, &sent).unwrap();
            // With a byte at a time it would take for ever.
            let window = window.max(20_000);
            let open = |offset: u64, modified_ms| {
                let open = OpenDownload { offset, modified_ms, ..of_file(&file) };
                async move { Down::open(&everything(), open, window).await.unwrap_or_else(|end| panic!("{end:?}")) }
            };
            let mut down = open(0, None).await;
            let modified = down.opened.clone().unwrap().modified_ms;
            let mut have = Vec::new();
            let mut end = None;
            for (more, same_channel, lost) in cuts {
                let until = have.len() + more;
                end = down.take(&mut have, until).await;
                if end.is_some() {
                    break;
                }
                have.truncate(have.len().saturating_sub(lost));
                if same_channel {
                    down.tech.lose_link();
                    down.tech.attach(have.len() as u64, window).await;
                    if down.served.is_finished() {
                        // It had sent all; what was lost is fetched by another.
                        down = open(have.len() as u64, modified).await;
                    } else {
                        let opened = tokio::select! {
                            biased;
                            opened = down.tech.opened() => opened,
                            _ = &mut down.served => {
                                down = open(have.len() as u64, modified).await;
                                down.opened.clone().unwrap()
                            }
                        };
                        assert_eq!(opened.from, have.len() as u64);
                    }
                } else {
                    down.tech.leave();
                    down.served.await.unwrap();
                    down = open(have.len() as u64, modified).await;
                }
            }
            let end = match end {
                Some(end) => end,
                None => down.take(&mut have, usize::MAX).await.unwrap(),
            };
            assert_eq!((end.error, end.sha256, end.size), (None, Some(sha256(&sent)), Some(size as u64)));
            assert_eq!(have, sent);
        });
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_large_file_comes_up_and_down_in_a_few_mebibytes() {
    large(192 << 20).await;
}

/// A file of so many bytes, up and down again.
#[cfg(target_os = "linux")]
pub(super) async fn large(size: u64) {
    use super::long::memory_kib;
    const PIECE: usize = 32 * 1024;
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("file");
    let piece = noise(PIECE);
    let mut digest = ring::digest::Context::new(&ring::digest::SHA256);
    let open = OpenUpload { size, ..to_file(&file, b"", false) };
    let mut up = Up::open(&everything(), open).await.unwrap_or_else(|end| panic!("{end:?}"));
    let before = memory_kib();
    let mut most = before;
    for number in 0..size / PIECE as u64 {
        up.send(number * PIECE as u64, &piece).await;
        digest.update(&piece);
        if number % 256 == 0 {
            most = most.max(memory_kib());
        }
    }
    let sent = hex::encode(digest.finish());
    up.tech.say(&UploadMessage::Finish { sha256: sent.clone() }).await;
    let end = up.served.await.unwrap();
    assert_eq!((end.error, end.sha256), (None, Some(sent.clone())));
    let mut down = Down::open(&everything(), of_file(&file), BULK_WINDOW_BYTES)
        .await
        .unwrap_or_else(|end| panic!("{end:?}"));
    let (mut have, mut pieces) = (0_u64, 0_u64);
    let end = loop {
        tokio::select! {
            biased;
            heard = down.tech.hear() => {
                let Heard::Data { offset, bytes } = heard else { panic!("{heard:?}") };
                assert_eq!(offset, have);
                have += bytes.len() as u64;
                pieces += 1;
                down.tech.grant(8 + bytes.len() as u32);
                if pieces % 256 == 0 {
                    most = most.max(memory_kib());
                }
            }
            end = &mut down.served => break end.unwrap(),
        }
    };
    assert_eq!((end.error, end.sha256, have), (None, Some(sent), size));
    assert!(most - before < 12 * 1024, "{} KiB more", most - before);
}
