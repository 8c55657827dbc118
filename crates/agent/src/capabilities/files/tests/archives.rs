//! Folders as archives.

use super::*;
use crate::capabilities::files::archive::MISSING;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;

/// Its kind, its content, and what it points to.
type Member = (tar::EntryType, Vec<u8>, Option<String>);

/// What is in an archive, and the name of the last member.
fn unpacked(archive: &[u8]) -> (BTreeMap<String, Member>, String) {
    let mut members = BTreeMap::new();
    let mut last = String::new();
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    for member in archive.entries().unwrap() {
        let mut member = member.unwrap();
        last = member.path().unwrap().to_str().unwrap().trim_end_matches('/').replace('\\', "/");
        let link = member.link_name().unwrap().map(|link| link.to_str().unwrap().to_owned());
        let mut content = Vec::new();
        member.read_to_end(&mut content).unwrap();
        members.insert(last.clone(), (member.header().entry_type(), content, link));
    }
    (members, last)
}

fn tree() -> tempfile::TempDir {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join("data");
    fs::create_dir_all(folder.join("a/b/c")).unwrap();
    fs::write(folder.join("a/one"), "one").unwrap();
    fs::write(folder.join("a/b/empty"), "").unwrap();
    // Neither a multiple of what is read at a time nor of a block.
    fs::write(folder.join("a/b/c/large"), vec![7; 1_000_001]).unwrap();
    fs::write(folder.join(format!("a/{}", "long".repeat(40))), "long").unwrap();
    home
}

#[tokio::test]
async fn a_folder_comes_as_an_archive_of_all_in_it() {
    let home = tree();
    let archive = download(&everything(), of_folder(&home.path().join("data"))).await.unwrap();
    let (members, _) = unpacked(&archive);
    assert_eq!(members["data"].0, tar::EntryType::Directory);
    assert_eq!(members["data/a/one"].1, b"one");
    assert_eq!(members["data/a/b/empty"].1, b"");
    assert_eq!(members["data/a/b/c/large"].1, vec![7; 1_000_001]);
    assert_eq!(members[&format!("data/a/{}", "long".repeat(40))].1, b"long");
    assert_eq!(members.len(), 8);
    let of_file = download(&everything(), of_folder(&home.path().join("data/a/one"))).await;
    assert_eq!(of_file.unwrap_err().code, ErrorCode::NotAFolder);
    let later = OpenDownload { offset: 1, ..of_folder(home.path()) };
    assert_eq!(download(&everything(), later).await.unwrap_err().code, ErrorCode::Invalid);
}

#[tokio::test]
async fn an_archive_goes_on_after_a_lost_link_as_far_as_it_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let noise = noise(4_000_000);
    fs::write(home.path().join("noise"), &noise).unwrap();
    let window = 300_000;
    let open = || async {
        Down::open(&everything(), of_folder(home.path()), window)
            .await
            .unwrap_or_else(|end| panic!("{end:?}"))
    };
    let mut down = open().await;
    let mut have = Vec::new();
    assert_eq!(down.take(&mut have, 500_000).await, None);
    // What was under way is lost, and a bit more.
    have.truncate(400_000);
    down.tech.lose_link();
    down.tech.attach(have.len() as u64, window).await;
    assert_eq!(down.tech.opened().await.from, 400_000);
    let end = down.take(&mut have, usize::MAX).await.unwrap();
    assert_eq!((end.error, end.sha256), (None, Some(sha256(&have))));
    let (members, _) = unpacked(&have);
    let name = home.path().file_name().unwrap().to_str().unwrap();
    assert_eq!(members[&format!("{name}/noise")].1, noise);

    let mut down = open().await;
    let mut have = Vec::new();
    assert_eq!(down.take(&mut have, 3_000_000).await, None);
    down.tech.lose_link();
    down.tech.attach(0, window).await;
    assert_eq!(down.served.await.unwrap().error.unwrap().code, ErrorCode::Closed);
}

#[cfg(unix)]
#[tokio::test]
async fn links_stay_links_and_what_is_missing_is_named_at_the_end() {
    use std::os::unix::fs::symlink;
    let home = tree();
    let folder = home.path().join("data");
    symlink("/etc/passwd", folder.join("out")).unwrap();
    symlink("a", folder.join("to-folder")).unwrap();
    let socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let archive = download(&everything(), of_folder(&folder)).await.unwrap();
    drop(socket);
    let (members, last) = unpacked(&archive);
    assert_eq!(members["data/out"].0, tar::EntryType::Symlink);
    assert_eq!(members["data/out"].2.as_deref(), Some("/etc/passwd"));
    assert_eq!(members["data/to-folder"].2.as_deref(), Some("a"));
    assert!(!members.contains_key("data/to-folder/one"));
    assert_eq!(last, MISSING);
    let missing = String::from_utf8(members[MISSING].1.clone()).unwrap();
    assert!(missing.starts_with("data/socket: ") && missing.lines().count() == 1, "{missing}");
}

#[tokio::test]
async fn a_file_that_becomes_shorter_is_filled_up_and_named() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("log");
    let noise = noise(8_000_000);
    fs::write(&file, &noise).unwrap();
    let mut down = Down::open(&everything(), of_folder(home.path()), 100_000)
        .await
        .unwrap_or_else(|end| panic!("{end:?}"));
    let mut have = Vec::new();
    assert_eq!(down.take(&mut have, 50_000).await, None);
    fs::File::options().write(true).open(&file).unwrap().set_len(2_000_000).unwrap();
    let end = down.take(&mut have, usize::MAX).await.unwrap();
    assert_eq!(end.error, None);
    let (members, last) = unpacked(&have);
    let name = home.path().file_name().unwrap().to_str().unwrap();
    let content = &members[&format!("{name}/log")].1;
    assert_eq!(content.len(), noise.len());
    assert_eq!(content[..2_000_000], noise[..2_000_000]);
    assert!(content[2_000_000..].iter().all(|byte| *byte == 0));
    assert_eq!(last, MISSING);
}
