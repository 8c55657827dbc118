//! Paths that try to leave a folder of the policy's, each with everything that can be asked about it.
//!
//! They are made of parts: from where, how out, to what. Beside the folder lie canaries; that nothing of them is heard, and
//! nothing about them has changed, not even when they were last read, is looked at after every path.

use super::*;
use flate2::read::GzDecoder;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::PathBuf;

const MARK: &str = "canary-7c1fd0";

/// A folder of the policy's, and what must not be reached beside it.
struct Ground {
    home: tempfile::TempDir,
    /// Whether this system let links be made.
    has_links: bool,
}

impl Ground {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let outside = home.path().join("outside");
        fs::create_dir_all(outside.join("folder")).unwrap();
        fs::create_dir(home.path().join("allowed-not")).unwrap();
        for file in
            ["outside/secret.txt", "outside/folder/deep.txt", "outside/hard.txt", "allowed-not/secret.txt"]
        {
            fs::write(home.path().join(file), format!("{MARK} {file}")).unwrap();
        }
        let mut ground = Self { home, has_links: false };
        ground.lay();
        ground
    }

    fn allowed(&self) -> PathBuf {
        self.home.path().join("allowed")
    }

    /// Makes the folder anew, whatever became of it. The folder itself stays: it is held.
    fn lay(&mut self) {
        let (allowed, outside) = (self.allowed(), self.home.path().join("outside"));
        fs::create_dir_all(&allowed).unwrap();
        for entry in fs::read_dir(&allowed).unwrap() {
            let entry = entry.unwrap();
            let is_folder = entry.file_type().unwrap().is_dir();
            if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) }.unwrap();
        }
        fs::create_dir_all(allowed.join("sub/deeper")).unwrap();
        for file in ["inside.txt", "sub/inside.txt", "sub/deeper/inside.txt"] {
            fs::write(allowed.join(file), "inside").unwrap();
        }
        fs::hard_link(outside.join("hard.txt"), allowed.join("hard.txt")).unwrap();
        let outside_text = outside.to_str().unwrap().to_owned();
        let links: [(&str, String, bool); 13] = [
            ("to_file", format!("{outside_text}/secret.txt"), false),
            ("to_folder", outside_text.clone(), true),
            ("up", "..".into(), true),
            ("up_out", "../outside".into(), true),
            ("up_file", "../outside/secret.txt".into(), false),
            ("chain", "up_out".into(), true),
            ("self", ".".into(), true),
            ("round", "round".into(), true),
            ("winding", "sub/deeper/../../../outside".into(), true),
            ("kernel", "/proc/self/root".into(), true),
            ("sub/up_out", "../../outside".into(), true),
            ("sub/to_folder", outside_text.clone(), true),
            ("not", format!("{}/allowed-not", self.home.path().display()), true),
        ];
        let made: Vec<bool> = links
            .iter()
            .map(|(name, target, is_folder)| link(target, &allowed.join(name), *is_folder).is_ok())
            .collect();
        self.has_links = made.iter().all(|made| *made);
    }

    /// What must stay as it is.
    fn outside(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        let mut folders = vec![self.home.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                let facts = fs::symlink_metadata(&path).unwrap();
                if path == self.allowed() {
                    continue;
                }
                if facts.is_dir() {
                    folders.push(path.clone());
                }
                found.insert(path, about(&facts));
            }
        }
        found
    }
}

#[cfg(unix)]
fn link(target: &str, at: &Path, _is_folder: bool) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, at)
}

#[cfg(windows)]
fn link(target: &str, at: &Path, is_folder: bool) -> std::io::Result<()> {
    let target = target.replace('/', r"\");
    if is_folder {
        std::os::windows::fs::symlink_dir(target, at)
    } else {
        std::os::windows::fs::symlink_file(target, at)
    }
}

/// With when it was last read, which is set to long ago before; without what a second name changes.
#[cfg(unix)]
fn about(facts: &fs::Metadata) -> String {
    use std::os::unix::fs::MetadataExt;
    let (read, changed) = if facts.is_dir() { (0, 0) } else { (facts.atime(), facts.mtime_nsec()) };
    format!("{} {:o} {} {} {read} {changed}", facts.ino(), facts.mode(), facts.uid(), facts.len())
}

#[cfg(windows)]
fn about(facts: &fs::Metadata) -> String {
    use std::os::windows::fs::MetadataExt;
    format!("{:x} {} {}", facts.file_attributes(), facts.last_write_time(), facts.len())
}

/// From where. Under Wine, where each path takes long, from fewer.
const FROM: &[&str] = if cfg!(windows) {
    &["", "/sub"]
} else {
    &["", "/sub", "/sub/deeper", "/missing", "/inside.txt", "/self"]
};

/// How out.
const OUT: [&str; 27] = [
    "/..",
    "/../..",
    "/./..",
    "//..",
    "/../.",
    "/sub/../..",
    "/.../..",
    "/..;",
    "/.. ",
    "/%2e%2e",
    "/..%2f..",
    "/..%c0%af..",
    "/%252e%252e",
    "/\u{2025}",
    "/\u{ff0e}\u{ff0e}",
    "/\u{2024}\u{2024}",
    r"/..\..",
    r"\..",
    "/~",
    "/up",
    "/to_folder/..",
    "/chain/..",
    "/winding/..",
    "/sub/up_out/..",
    "/kernel",
    "/round",
    "/..\0",
];

/// To what.
const TO: [&str; 5] =
    ["/outside/secret.txt", "/outside", "/outside/folder/deep.txt", "/allowed-not/secret.txt", ""];

/// Links themselves, and what is behind them.
const LINKS: [&str; 20] = [
    "/to_file",
    "/to_folder",
    "/to_folder/secret.txt",
    "/to_folder/folder/deep.txt",
    "/up",
    "/up/outside/secret.txt",
    "/up_out",
    "/up_out/secret.txt",
    "/up_file",
    "/chain",
    "/chain/secret.txt",
    "/self/self/up_out/secret.txt",
    "/round/x",
    "/winding/secret.txt",
    "/sub/up_out/secret.txt",
    "/sub/to_folder/folder",
    "/not/secret.txt",
    "/hard.txt",
    "/sub/../hard.txt",
    "/kernel/etc/hostname",
];

fn paths(ground: &Ground) -> Vec<String> {
    let (allowed, home) = (text(&ground.allowed()), text(ground.home.path()));
    let mut paths = Vec::new();
    for from in FROM {
        for out in OUT {
            paths.extend(TO.map(|to| format!("{allowed}{from}{out}{to}")));
        }
    }
    paths.extend(LINKS.map(|link| format!("{allowed}{link}")));
    for root in ["", "/", "//", "/./", "file://", "~"] {
        paths.extend(TO.map(|to| format!("{root}{home}{to}")));
    }
    for prefix in ["/proc/self/root", "/proc/self/cwd/../../../../..", "/dev/fd/../../..", "/proc/1/root"] {
        paths.extend(TO.map(|to| format!("{prefix}{home}{to}")));
    }
    paths.extend(
        ["/", "", ".", "..", "/etc/passwd", "/proc/self/environ", "/dev/mem", "-rf", "*"].map(str::to_owned),
    );
    paths.extend(windows_paths(&allowed, &home));
    paths
}

/// What means something on Windows; elsewhere these are names like others.
fn windows_paths(allowed: &str, home: &str) -> Vec<String> {
    let mut paths = Vec::new();
    let (allowed, home) = (allowed.replace('/', r"\"), home.replace('/', r"\"));
    let without_drive =
        home.trim_start_matches(|c: char| c.is_ascii_alphabetic()).trim_start_matches(':').to_owned();
    for to in TO {
        let to = to.replace('/', r"\");
        for prefix in [
            r"\\?\",
            r"\\.\",
            r"\??\",
            r"\\?\GLOBALROOT\DosDevices\",
            r"\\localhost\C$\..\",
            r"//?/",
            "file:///",
        ] {
            paths.push(format!("{prefix}{home}{to}"));
            paths.push(format!(r"{prefix}{allowed}\..{to}"));
        }
        for out in [
            r"\..",
            r"\.. ",
            r"\...",
            r"\.\..",
            r"\sub\..\..",
            r"\inside.txt\..\..",
            r"\..::$INDEX_ALLOCATION",
        ] {
            paths.push(format!("{allowed}{out}{to}"));
        }
        for share in [r"\\127.0.0.1\C$", r"\\localhost\C$", r"\\?\UNC\localhost\C$", "C:", "c:.", r"Z:\"] {
            paths.push(format!("{share}{without_drive}{to}"));
        }
    }
    for device in ["CON", "NUL", "AUX", "PRN", "COM1", "LPT1", "CONIN$", "COM¹", "CLOCK$"] {
        for name in
            [device.to_owned(), format!("{device}.txt"), format!("{device} .txt"), format!("sub\\{device}")]
        {
            paths.push(format!(r"{allowed}\{name}"));
        }
    }
    for stream in
        [":hidden", "::$DATA", ":$I30:$INDEX_ALLOCATION", ":a:$DATA", ".", " ", "...", ". .", "\t", "?", "*"]
    {
        paths.push(format!(r"{allowed}\inside.txt{stream}"));
        paths.push(format!(r"{allowed}\sub{stream}\inside.txt"));
    }
    // Short names of what lies beside.
    for short in ["OUTSID~1", "ALLOWE~1", "ALLOWE~2"] {
        paths.push(format!(r"{home}\{short}\secret.txt"));
        paths.push(format!(r"{allowed}\..\{short}\secret.txt"));
    }
    paths
}

/// Everything that is asked about a path.
fn requests(path: &str, inside: &str) -> Vec<FileRequest> {
    let path = || path.to_owned();
    let inside = |name: &str| format!("{inside}{}{name}", std::path::MAIN_SEPARATOR);
    vec![
        FileRequest::List { path: path() },
        FileRequest::Stat { path: path() },
        FileRequest::ReadText { path: path() },
        FileRequest::Copy { from: path(), to: inside("copied") },
        FileRequest::Copy { from: inside("inside.txt"), to: path() },
        FileRequest::Copy { from: inside("sub"), to: path() },
        FileRequest::WriteText { path: path(), text: "written".to_owned(), version: None },
        FileRequest::WriteText {
            path: path(),
            text: "written".to_owned(),
            version: Some("0-0-0".to_owned()),
        },
        FileRequest::MakeFolder { path: path() },
        FileRequest::SetMode { path: path(), mode: 0o777 },
        FileRequest::SetOwner { path: path(), owner: Some("4321".to_owned()), group: None },
        FileRequest::Rename { from: path(), to: inside("moved") },
        FileRequest::Rename { from: inside("inside.txt"), to: path() },
        FileRequest::Delete { path: path(), recursive: false },
        FileRequest::Delete { path: path(), recursive: true },
    ]
}

/// Whether something of what lies outside was heard.
fn has_canary(heard: &[u8]) -> bool {
    heard.windows(MARK.len()).any(|window| window == MARK.as_bytes())
}

#[tokio::test]
async fn no_path_leads_out_of_the_policys_folder_whatever_is_asked() {
    let mut ground = Ground::new();
    if cfg!(unix) {
        assert!(ground.has_links);
    }
    let paths = paths(&ground);
    assert!(paths.len() >= 300, "{}", paths.len());
    let rules = only(&[&ground.allowed()]);
    let inside = text(&ground.allowed());
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    for file in
        ["outside/secret.txt", "outside/folder/deep.txt", "outside/hard.txt", "allowed-not/secret.txt"]
    {
        let file = fs::File::options().write(true).open(ground.home.path().join(file)).unwrap();
        file.set_times(fs::FileTimes::new().set_accessed(long_ago).set_modified(long_ago)).unwrap();
    }
    let before = ground.outside();
    let mut refused = 0;
    for path in &paths {
        ground.lay();
        let mut desk = Desk::open(&rules).await;
        let mut heard = Vec::new();
        for request in requests(path, &inside) {
            match desk.ask(request).await {
                Ok((entries, answer)) => {
                    heard.extend(serde_json::to_vec(&answer).unwrap());
                    heard.extend(serde_json::to_vec(&entries).unwrap());
                    let names = entries.iter().map(|entry| entry.name.as_str());
                    assert!(
                        !names.into_iter().any(|name| matches!(name, "secret.txt" | "deep.txt")),
                        "{path}: {entries:?}"
                    );
                }
                Err(_) => refused += 1,
            }
        }
        desk.leave().await;
        ground.lay();
        let file = OpenDownload { path: path.clone(), offset: 0, modified_ms: None, archive: false };
        let folder = OpenDownload { archive: true, ..file.clone() };
        heard.extend(download(&rules, file).await.unwrap_or_default());
        if let Ok(archive) = download(&rules, folder).await {
            GzDecoder::new(&archive[..]).read_to_end(&mut heard).unwrap();
        }
        for replace in [false, true] {
            let open = OpenUpload { path: path.clone(), size: 8, replace, resume_key: "key".to_owned() };
            refused += usize::from(upload(&rules, open, b"uploaded").await.is_err());
        }
        assert!(!has_canary(&heard), "{path} was read: {}", String::from_utf8_lossy(&heard));
        assert_eq!(ground.outside(), before, "{path} was changed or read");
    }
    for file in
        ["outside/secret.txt", "outside/folder/deep.txt", "outside/hard.txt", "allowed-not/secret.txt"]
    {
        assert_eq!(fs::read_to_string(ground.home.path().join(file)).unwrap(), format!("{MARK} {file}"));
    }
    // That it was asked at all: each path is refused most of what was asked.
    assert!(refused > paths.len() * 8, "{refused} of {} were refused", paths.len());
    // And that what is allowed is done.
    ground.lay();
    let mut desk = Desk::open(&rules).await;
    assert_eq!(desk.read(&ground.allowed().join("sub/inside.txt")).await.unwrap().0, "inside");
    desk.leave().await;
}
