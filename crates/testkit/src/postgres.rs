//! One throwaway PostgreSQL for all tests that run at the same time, whatever process they are in: the first
//! starts it, and it goes, with its folder, when nobody has used it for a while.

use std::fs::{self, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use xtask::cluster::Cluster;

/// Every user of the cluster holds the lock shared, whoever starts or ends it holds it alone.
const END_WHEN_UNUSED: &str = r#"
lock=$1 folder=$2
while sleep 20; do
  flock --exclusive --nonblock "$lock" sh -c '
    postmaster=$(head -n 1 "$1/data/postmaster.pid") || exit 0
    kill -QUIT "$postmaster"
    while kill -0 "$postmaster"; do sleep 0.1; done
    rm -rf "$1"' sh "$folder" && exit
done
"#;

struct Postgres {
    socket_folder: PathBuf,
    /// Locked shared for as long as this process lives.
    _in_use: File,
}

/// The folder of the running cluster's socket; starts the cluster when it does not run.
pub fn socket_folder() -> &'static Path {
    static POSTGRES: OnceLock<Postgres> = OnceLock::new();
    &POSTGRES.get_or_init(start).socket_folder
}

fn start() -> Postgres {
    let own = fs::metadata("/proc/self").unwrap().uid();
    let folder = std::env::temp_dir().join(format!("gururmm-test-{own}"));
    // Others may pass through it (PostgreSQL's user, when this is root) but not look around.
    fs::DirBuilder::new().recursive(true).mode(0o711).create(&folder).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().uid(), own, "{} is someone else's", folder.display());
    let (lock_path, socket_folder) = (folder.join("lock"), folder.join("postgres"));
    let lock = File::options().create(true).append(true).open(&lock_path).unwrap();
    loop {
        lock.lock_shared().unwrap();
        if is_alive(&socket_folder) {
            return Postgres { socket_folder, _in_use: lock };
        }
        lock.unlock().unwrap();
        lock.lock().unwrap();
        if !is_alive(&socket_folder) {
            if socket_folder.exists() {
                Cluster::remove(&socket_folder).unwrap();
            }
            Cluster::start(&socket_folder).unwrap();
            end_when_unused(&lock_path, &socket_folder);
        }
        lock.unlock().unwrap();
    }
}

fn is_alive(socket_folder: &Path) -> bool {
    UnixStream::connect(socket_folder.join(".s.PGSQL.5432")).is_ok()
}

#[expect(clippy::zombie_processes, reason = "it outlives this process")]
fn end_when_unused(lock: &Path, socket_folder: &Path) {
    Command::new("sh")
        .args(["-c", END_WHEN_UNUSED, "sh"])
        .args([lock, socket_folder])
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
}
