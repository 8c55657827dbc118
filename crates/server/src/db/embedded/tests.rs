//! Against real PostgreSQL. As root these run PostgreSQL as another user, and the last two run all of them once more:
//! as an ordinary user, and as a root that may not look into other users' processes.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tempfile::TempDir;
use tokio::time::timeout;

use super::postmaster::Identity;
use super::*;

/// Set in the runs within a run; says which.
const RERUN: &str = "GURURMM_TEST_RERUN";
const ORDINARY: &str = "ordinary user";
const WITHOUT_PTRACE: &str = "root without CAP_SYS_PTRACE";

/// A data folder whose PostgreSQL is killed with it.
struct Data(TempDir);

impl Data {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn cluster(&self) -> PathBuf {
        self.path().join("postgres/cluster")
    }
}

impl Drop for Data {
    fn drop(&mut self) {
        if let Ok(text) = fs::read_to_string(self.cluster().join("postmaster.pid")) {
            let pid: u32 = text.lines().next().unwrap().parse().unwrap();
            if Identity::of(pid, &Layout::of(&self.path()).unwrap()) == Identity::Ours {
                kill(pid);
            }
        }
        if super::account::own_uid() == 0 && self.path().exists() {
            let runtime = Layout::of(&self.path()).unwrap().runtime;
            let _ = fs::remove_dir_all(runtime);
        }
    }
}

async fn start(data: &Path) -> Result<Embedded, EmbeddedError> {
    Embedded::start(DataLock::take(data)?).await
}

async fn connect(embedded: &Embedded) -> PgConnection {
    PgConnection::connect_with(&embedded.connect_options(SUPERUSER)).await.unwrap()
}

async fn show(connection: &mut PgConnection, setting: &str) -> String {
    sqlx::query_scalar("SELECT current_setting($1)").bind(setting).fetch_one(connection).await.unwrap()
}

async fn write_note(embedded: &Embedded) {
    let mut connection = connect(embedded).await;
    connection.execute("CREATE TABLE note (text text); INSERT INTO note VALUES ('kept')").await.unwrap();
}

async fn note(embedded: &Embedded) -> String {
    sqlx::query_scalar("SELECT text FROM note").fetch_one(&mut connect(embedded).await).await.unwrap()
}

fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

fn signal(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid as i32).unwrap(), signal);
}

fn is_rerun(kind: &str) -> bool {
    std::env::var_os(RERUN).is_some_and(|rerun| rerun == kind)
}

fn is_alive(pid: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A process of the cluster's own user, called `name`: the kind that PostgreSQL itself takes for a postmaster.
fn sleeper_of(owner: fs::Metadata, name: &str) -> Child {
    let mut command = Command::new("sleep");
    command.arg0(name).arg("60").current_dir("/").stdin(Stdio::null());
    if super::account::own_uid() == 0 {
        command.uid(owner.uid()).gid(owner.gid());
    }
    command.spawn().unwrap()
}

#[tokio::test]
async fn the_first_start_makes_a_durable_cluster_that_listens_on_its_socket_only() {
    let data = Data::new();
    let embedded = start(&data.path()).await.unwrap();
    let mut connection = connect(&embedded).await;
    for (setting, value) in [
        ("fsync", "on"),
        ("full_page_writes", "on"),
        ("synchronous_commit", "on"),
        ("data_checksums", "on"),
        ("listen_addresses", ""),
        ("server_encoding", "UTF8"),
        ("lc_collate", "C.UTF-8"),
        ("TimeZone", "UTC"),
        ("log_min_error_statement", "panic"),
    ] {
        assert_eq!(show(&mut connection, setting).await, value, "{setting}");
    }
    let sockets = show(&mut connection, "unix_socket_directories").await;
    let socket = fs::metadata(sockets.trim_matches('"')).unwrap();
    assert_eq!(socket.mode() & 0o777, 0o700);
    drop(connection);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn postgres_runs_unprivileged_in_a_group_and_an_environment_of_its_own() {
    let data = Data::new();
    let embedded = start(&data.path()).await.unwrap();
    let process = PathBuf::from(format!("/proc/{}", embedded.postmaster_pid()));
    assert_ne!(fs::metadata(&process).unwrap().uid(), 0);
    assert_eq!(fs::metadata(data.cluster()).unwrap().uid(), fs::metadata(&process).unwrap().uid());
    let group = rustix::process::getpgid(Pid::from_raw(embedded.postmaster_pid() as i32)).unwrap();
    assert_eq!(group.as_raw_nonzero().get() as u32, embedded.postmaster_pid());
    if !is_rerun(WITHOUT_PTRACE) {
        let environment = fs::read(process.join("environ")).unwrap();
        assert!(!String::from_utf8_lossy(&environment).contains("HOME="));
    }
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_start_keeps_the_data() {
    let data = Data::new();
    let first = start(&data.path()).await.unwrap();
    write_note(&first).await;
    let pid = first.postmaster_pid();
    first.stop().await.unwrap();
    assert!(!is_alive(pid));
    assert!(!Layout::of(&data.path()).unwrap().runtime.exists());

    let second = start(&data.path()).await.unwrap();
    assert_eq!(note(&second).await, "kept");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn the_owners_url_and_the_running_endpoint_lead_to_the_same_database() {
    let data = Data::new();
    assert!(Embedded::running(&data.path()).unwrap().is_none());
    let embedded = start(&data.path()).await.unwrap();
    write_note(&embedded).await;
    let endpoint = Embedded::running(&data.path()).unwrap().unwrap();
    let mut connection = PgConnection::connect(&endpoint.owner_url()).await.unwrap();
    let text: String = sqlx::query_scalar("SELECT text FROM note").fetch_one(&mut connection).await.unwrap();
    assert_eq!(text, "kept");
    drop(connection);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_cluster_that_outlived_its_server_is_adopted() {
    let data = Data::new();
    let first = start(&data.path()).await.unwrap();
    write_note(&first).await;
    let pid = first.postmaster_pid();
    drop(first);
    assert!(is_alive(pid));

    let second = start(&data.path()).await.unwrap();
    assert_eq!(second.postmaster_pid(), pid);
    assert_eq!(note(&second).await, "kept");
    second.stop().await.unwrap();
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_cluster_whose_socket_is_gone_is_restarted_rather_than_adopted() {
    let data = Data::new();
    let first = start(&data.path()).await.unwrap();
    let pid = first.postmaster_pid();
    drop(first);
    fs::remove_file(Layout::of(&data.path()).unwrap().socket.join(layout::SOCKET_FILE)).unwrap();

    let second = start(&data.path()).await.unwrap();
    assert_ne!(second.postmaster_pid(), pid);
    assert!(!is_alive(pid));
    second.stop().await.unwrap();
}

#[tokio::test]
async fn after_both_were_killed_what_was_committed_is_there() {
    let data = Data::new();
    let first = start(&data.path()).await.unwrap();
    write_note(&first).await;
    // A client keeps a process of the old postmaster alive past its death for a while.
    let client = connect(&first).await;
    let pid = first.postmaster_pid();
    drop(first);
    kill(pid);

    let second = start(&data.path()).await.unwrap();
    assert_ne!(second.postmaster_pid(), pid);
    assert_eq!(note(&second).await, "kept");
    drop(client);
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_postmaster_that_dies_while_we_run_is_started_again() {
    let data = Data::new();
    let embedded = start(&data.path()).await.unwrap();
    write_note(&embedded).await;
    let pid = embedded.postmaster_pid();
    let mut watch = std::pin::pin!(embedded.watch());
    kill(pid);
    until("PostgreSQL is started again", || embedded.postmaster_pid() != pid).await;
    assert_eq!(note(&embedded).await, "kept");
    assert!(is_pending(watch.as_mut()), "a restart is not the end");
    embedded.stop().await.unwrap();
    assert!(is_pending(watch), "stopping on purpose is not a failure");
}

fn is_pending(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.poll(&mut context).is_pending()
}

#[tokio::test]
async fn a_pid_file_that_names_a_living_stranger_is_stale() {
    let data = Data::new();
    let first = start(&data.path()).await.unwrap();
    write_note(&first).await;
    let pid_file = data.cluster().join("postmaster.pid");
    let socket_lock = Layout::of(&data.path()).unwrap().socket.join(".s.PGSQL.5432.lock");
    let (running, running_lock) =
        (fs::read_to_string(&pid_file).unwrap(), fs::read_to_string(&socket_lock).unwrap());
    let pid = first.postmaster_pid();
    first.stop().await.unwrap();

    let mut stranger = sleeper_of(fs::metadata(data.cluster()).unwrap(), "sleep");
    fs::create_dir_all(socket_lock.parent().unwrap()).unwrap();
    for (file, text) in [(&pid_file, running), (&socket_lock, running_lock)] {
        fs::write(file, text.replacen(&pid.to_string(), &stranger.id().to_string(), 1)).unwrap();
    }
    let second = start(&data.path()).await.unwrap();
    assert_ne!(second.postmaster_pid(), stranger.id());
    assert_eq!(note(&second).await, "kept");
    second.stop().await.unwrap();
    assert!(is_alive(stranger.id()), "the stranger is left alone");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[tokio::test]
async fn a_process_that_may_be_our_postgres_is_left_alone_and_named() {
    if !is_rerun(WITHOUT_PTRACE) {
        return; // Whoever may look knows.
    }
    let data = Data::new();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    let mut sleeper = sleeper_of(fs::metadata(data.cluster()).unwrap(), "postgres");
    let pid_file = data.cluster().join("postmaster.pid");
    fs::write(&pid_file, format!("{}\n", sleeper.id())).unwrap();
    let socket = Layout::of(&data.path()).unwrap().socket;
    fs::create_dir_all(&socket).unwrap();
    fs::write(socket.join(layout::SOCKET_FILE), "").unwrap();

    let said = [
        start(&data.path()).await.unwrap_err().to_string(),
        Embedded::running(&data.path()).unwrap_err().to_string(),
    ];
    for said in said {
        assert!(said.contains(&sleeper.id().to_string()) && said.contains("CAP_SYS_PTRACE"), "{said}");
    }
    assert!(socket.join(layout::SOCKET_FILE).exists(), "its socket is its own");
    assert!(is_alive(sleeper.id()));
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    start(&data.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_postmaster_that_hangs_is_replaced() {
    let data = Data::new();
    let first = start(&data.path()).await.unwrap();
    write_note(&first).await;
    let pid = first.postmaster_pid();
    drop(first);
    signal(pid, Signal::STOP);

    let second =
        timeout(Duration::from_secs(40), start(&data.path())).await.expect("it waits for ever").unwrap();
    assert_ne!(second.postmaster_pid(), pid);
    assert!(!is_alive(pid));
    assert_eq!(note(&second).await, "kept");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn an_empty_pid_file_does_not_stop_the_start() {
    let data = Data::new();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    fs::write(data.cluster().join("postmaster.pid"), "").unwrap();
    start(&data.path()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn two_servers_do_not_share_a_data_folder() {
    let data = Data::new();
    let first = start(&data.path()).await.unwrap();
    let error = start(&data.path()).await.unwrap_err().to_string();
    assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
    first.stop().await.unwrap();
}

#[tokio::test]
async fn a_folder_of_someone_elses_is_refused_and_left_alone() {
    let data = Data::new();
    let theirs = data.path().join("postgres");
    fs::create_dir_all(&theirs).unwrap();
    fs::write(theirs.join("letter.txt"), "dear").unwrap();
    let error = start(&data.path()).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Foreign { .. }), "{error}");
    let entries: Vec<_> = theirs.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries, ["letter.txt"]);
}

#[tokio::test]
async fn a_link_in_place_of_the_folder_is_refused() {
    let data = Data::new();
    let elsewhere = data.0.path().join("elsewhere");
    fs::create_dir_all(data.path()).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, data.path().join("postgres")).unwrap();
    let error = start(&data.path()).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Foreign { .. }), "{error}");
}

#[tokio::test]
async fn a_damaged_cluster_is_named_as_such() {
    let data = Data::new();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    let control = data.cluster().join("global/pg_control");
    let whole = fs::read(&control).unwrap();
    fs::write(&control, vec![0x5a; whole.len()]).unwrap();
    let error = start(&data.path()).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Corrupt { .. }), "{error}");

    fs::remove_file(&control).unwrap();
    let error = start(&data.path()).await.unwrap_err().to_string();
    assert!(error.contains("global/pg_control is missing") && error.contains("backup"), "{error}");
}

#[tokio::test]
async fn a_cluster_of_another_version_asks_for_that_version() {
    let data = Data::new();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    fs::write(data.cluster().join("PG_VERSION"), "9\n").unwrap();
    let error = start(&data.path()).await.unwrap_err().to_string();
    assert!(error.contains("made by PostgreSQL 9, and only"), "{error}");
}

#[tokio::test]
async fn a_first_start_that_was_cut_short_is_done_over() {
    let data = Data::new();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    let half = data.path().join("postgres/cluster.new");
    fs::rename(data.cluster(), &half).unwrap();
    fs::remove_file(half.join("PG_VERSION")).unwrap();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    assert!(!half.exists());
}

#[tokio::test]
async fn a_data_folder_with_a_long_and_odd_name_works() {
    let data = TempDir::new().unwrap();
    let path = data.path().join(format!("{} with, \"blanks\" é+%", "long".repeat(20)));
    let embedded = start(&path).await.unwrap();
    let mut connection = PgConnection::connect(&embedded.owner_url()).await.unwrap();
    assert_eq!(show(&mut connection, "fsync").await, "on");
    drop(connection);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn a_short_folder_with_an_odd_name_works() {
    let data = TempDir::new().unwrap();
    let path = data.path().join("a, \"b\" é+%");
    let embedded = start(&path).await.unwrap();
    let mut connection = PgConnection::connect(&embedded.owner_url()).await.unwrap();
    assert_eq!(show(&mut connection, "fsync").await, "on");
    drop(connection);
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_is_cut_when_it_grows_long() {
    let data = Data::new();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    let log = data.path().join("postgres/postgres.log");
    fs::OpenOptions::new().write(true).open(&log).unwrap().set_len(9 * 1024 * 1024).unwrap();
    start(&data.path()).await.unwrap().stop().await.unwrap();
    assert!(fs::metadata(&log).unwrap().len() < 1024 * 1024);
    assert!(fs::metadata(data.path().join("postgres/postgres.log.1")).unwrap().len() > 8 * 1024 * 1024);
}

/// The other user is PostgreSQL's own when we are root: even it is not let in, except through its files.
#[tokio::test]
async fn another_user_of_the_machine_is_not_let_in() {
    if super::account::own_uid() != 0 {
        return; // Needs root to become someone else.
    }
    let data = Data::new();
    let embedded = start(&data.path()).await.unwrap();
    let socket = Layout::of(&data.path()).unwrap().socket;
    let owner = fs::metadata(&socket).unwrap();
    let psql = Command::new("psql")
        .args(["-X", "-h", socket.to_str().unwrap(), "-U", SUPERUSER, "-d", DATABASE, "-c", "SELECT 1"])
        .current_dir("/")
        .uid(owner.uid())
        .gid(owner.gid())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&psql.stderr);
    assert!(!psql.status.success() && said.contains("Peer authentication failed"), "{said}");
    embedded.stop().await.unwrap();
}

#[tokio::test]
async fn as_root_a_closed_parent_folder_does_not_matter() {
    let data = Data::new();
    fs::set_permissions(data.0.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let embedded = start(&data.path()).await.unwrap();
    write_note(&embedded).await;
    embedded.stop().await.unwrap();
}

/// Runs this file's tests again as an ordinary user, where that takes root to do.
#[test]
fn an_ordinary_user_gets_the_same() {
    const NOBODY: u32 = 65534;
    if super::account::own_uid() != 0 || std::env::var_os(RERUN).is_some() {
        return;
    }
    // The folder of the build may be closed to others.
    let folder = TempDir::new().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("tests");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    let scratch = folder.path().join("t");
    fs::create_dir(&scratch).unwrap();
    chown(&scratch, Some(NOBODY), Some(NOBODY)).unwrap();

    let mut command = Command::new(&program);
    command.env("TMPDIR", &scratch).current_dir("/").uid(NOBODY).gid(NOBODY);
    rerun(command, ORDINARY);
}

/// Docker's containers are such a root: it may do nearly everything, but not see where another user's process works.
#[test]
fn root_gets_the_same_where_it_may_not_look_into_processes() {
    if super::account::own_uid() != 0 || std::env::var_os(RERUN).is_some() {
        return; // Only root has a right to lose.
    }
    let mut command = Command::new("setpriv");
    command
        .args(["--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace"])
        .arg(std::env::current_exe().unwrap());
    rerun(command, WITHOUT_PTRACE);
}

/// Runs this file's tests as `command` runs this program.
fn rerun(mut command: Command, kind: &str) {
    let output = command.arg("db::embedded::").env(RERUN, kind).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("a_second_start_keeps_the_data ... ok"), "{said}");
}
