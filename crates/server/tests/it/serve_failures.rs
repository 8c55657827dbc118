//! `gururmm-server serve` as a person meets it when it cannot start: it ends by itself, and says why in one sentence.

use gururmm_server::db::embedded::DataLock;
use gururmm_testkit::{NatsServer, TestDatabase};
use sqlx::ConnectOptions as _;
use std::ffi::OsStr;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// What `serve` may take to give up; it waits for nothing but, at most, a database.
const GIVES_UP_WITHIN: Duration = Duration::from_secs(60);

fn serve(data_dir: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gururmm-server"));
    command.arg("serve").arg("--data-dir").arg(data_dir);
    command.env_remove("GURURMM_DATABASE_URL").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

fn serve_with(data_dir: &Path, arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = serve(data_dir);
    command.args(arguments.iter().map(|argument| argument.as_ref()));
    command
}

/// Runs it to its end, and gives the one sentence it said.
async fn sentence(mut command: Command) -> String {
    let output: Output = timeout(GIVES_UP_WITHIN, command.output()).await.expect("it must give up").unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 1, "more or less than one line:\n{said}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    lines[0].strip_prefix("[ERROR] ").unwrap_or_else(|| panic!("{said}")).to_owned()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().unwrap()
}

/// What a folder holds.
fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn a_taken_port() {
    let (data, taken) = (folder(), TcpListener::bind("127.0.0.1:0").unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let said = sentence(serve_with(data.path(), &[&"--listen", &address])).await;
    assert!(said.starts_with(&format!("{address} is taken by another program")), "{said}");

    let metrics = &[&"--listen" as &dyn AsRef<OsStr>, &"127.0.0.1:0", &"--metrics-listen", &address];
    let said = sentence(serve_with(data.path(), metrics)).await;
    assert!(said.contains("metrics") && said.contains("is taken by another program"), "{said}");
    assert_eq!(names(data.path()), ["server.lock"], "nothing was begun");
}

#[tokio::test]
async fn plain_http_on_a_network() {
    let said = sentence(serve_with(folder().path(), &[&"--listen", &"0.0.0.0:0"])).await;
    assert!(said.contains("passwords") && said.contains("--tls-self-signed"), "{said}");
}

#[tokio::test]
async fn a_folder_of_packages_that_is_not_there() {
    let data = folder();
    let missing = data.path().join("no-packages");
    let arguments: &[&dyn AsRef<OsStr>] = &[&"--listen", &"127.0.0.1:0", &"--dist", &missing];
    let said = sentence(serve_with(data.path(), arguments)).await;
    assert!(said.contains("--dist") && said.contains("no-packages is not a folder"), "{said}");
}

#[tokio::test]
async fn a_certificate_that_is_not_there() {
    let data = folder();
    let missing = data.path().join("missing.pem");
    let arguments: &[&dyn AsRef<OsStr>] =
        &[&"--listen", &"127.0.0.1:0", &"--tls-cert", &missing, &"--tls-key", &missing];
    let said = sentence(serve_with(data.path(), arguments)).await;
    assert!(said.contains("missing.pem"), "{said}");
}

#[tokio::test]
async fn a_data_folder_that_cannot_be_written() {
    // Nobody, root included, can make a folder there.
    let said = sentence(serve_with(Path::new("/sys/gururmm-data"), &[&"--listen", &"127.0.0.1:0"])).await;
    assert!(said.contains("/sys/gururmm-data"), "{said}");
}

#[tokio::test]
async fn a_data_folder_that_is_a_file() {
    let data = folder();
    let file = data.path().join("file");
    std::fs::write(&file, "not a folder").unwrap();
    let said = sentence(serve_with(&file, &[&"--listen", &"127.0.0.1:0"])).await;
    assert!(said.contains("file"), "{said}");
}

#[tokio::test]
async fn a_data_folder_with_a_damaged_key() {
    let data = folder();
    std::fs::create_dir(data.path().join("keys")).unwrap();
    std::fs::write(data.path().join("keys/pepper-p1"), "short").unwrap();
    let said = sentence(serve_with(data.path(), &[&"--listen", &"127.0.0.1:0"])).await;
    assert!(said.contains("pepper-p1 is damaged"), "{said}");
}

#[tokio::test]
async fn a_data_folder_whose_key_is_lost() {
    let data = folder();
    std::fs::create_dir_all(data.path().join("postgres/cluster")).unwrap();
    let said = sentence(serve_with(data.path(), &[&"--listen", &"127.0.0.1:0"])).await;
    assert!(said.contains("pepper-p1 is missing") && said.contains("backup"), "{said}");
    assert!(!data.path().join("keys/pepper-p1").exists(), "no new key was made");
}

#[tokio::test]
async fn a_data_folder_that_is_someone_elses() {
    let data = folder();
    std::fs::create_dir(data.path().join("postgres")).unwrap();
    std::fs::write(data.path().join("postgres/precious"), "do not touch").unwrap();
    let said = sentence(serve_with(data.path(), &[&"--listen", &"127.0.0.1:0"])).await;
    assert!(said.contains("was not made by gururmm-server"), "{said}");
    assert_eq!(std::fs::read(data.path().join("postgres/precious")).unwrap(), b"do not touch");
}

#[tokio::test]
async fn a_database_url_that_leads_nowhere() {
    let data = folder();
    for (url, expected) in [
        ("nonsense", "the database URL is not valid"),
        ("postgres://rmm:canary-secret@127.0.0.1:1/rmm", "cannot connect to the database"),
    ] {
        let mut command = serve_with(data.path(), &[&"--listen", &"127.0.0.1:0"]);
        command.env("GURURMM_DATABASE_URL", url);
        let said = sentence(command).await;
        assert!(said.starts_with(expected), "{said}");
        assert!(!said.contains("canary"), "{said}");
    }
}

#[tokio::test]
async fn a_collectors_address_with_a_password() {
    let mut command = serve_with(folder().path(), &[&"--listen", &"127.0.0.1:0"]);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "https://ada:canary-secret@otlp.example.com");
    let said = sentence(command).await;
    assert!(said.contains("OTEL_EXPORTER_OTLP_HEADERS") && !said.contains("canary"), "{said}");
}

#[tokio::test]
async fn a_log_filter_that_cannot_be_read() {
    let mut command = serve_with(folder().path(), &[&"--listen", &"127.0.0.1:0"]);
    command.env("RUST_LOG", "gururmm_server=loud");
    let said = sentence(command).await;
    assert!(said.starts_with("RUST_LOG is not valid"), "{said}");
}

#[tokio::test]
async fn a_data_folder_that_another_server_just_takes_into_use() {
    let data = folder();
    let _first = DataLock::take(data.path()).unwrap();
    let said = sentence(serve_with(data.path(), &[&"--listen", &"127.0.0.1:0", &"--tls-self-signed"])).await;
    assert!(said.contains("in use by another gururmm-server"), "{said}");
    assert_eq!(names(data.path()), ["server.lock"], "no key, no authority and no database is made beside it");
}

#[tokio::test]
async fn a_second_server_on_the_same_data() {
    let data = folder();
    refuses_a_second(|| serve_with(data.path(), &[&"--listen", &"127.0.0.1:0"])).await;
}

#[tokio::test]
async fn a_second_server_on_the_same_data_with_a_database_elsewhere() {
    let (data, database) = (folder(), TestDatabase::empty().await);
    refuses_a_second(|| {
        let mut command = serve_with(data.path(), &[&"--listen", &"127.0.0.1:0"]);
        command.env("GURURMM_DATABASE_URL", database.owner_options().to_url_lossy().as_str());
        command
    })
    .await;
}

/// Starts what `command` makes, and sees the same refused beside it.
async fn refuses_a_second(command: impl Fn() -> Command) {
    let mut first = command().spawn().unwrap();
    let mut lines = BufReader::new(first.stdout.take().unwrap()).lines();
    let up = timeout(GIVES_UP_WITHIN, lines.next_line()).await.expect("the first must start").unwrap();
    assert!(up.is_some_and(|line| line.starts_with("[OK]")));

    let said = sentence(command()).await;
    let pid = first.id().unwrap();
    assert!(said.contains(&format!("in use by another gururmm-server (pid {pid})")), "{said}");
    stop(first).await;
}

/// Asks it to end, as an operator would, so that its PostgreSQL ends with it.
async fn stop(mut server: Child) {
    let pid = rustix::process::Pid::from_raw(server.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let ended = timeout(GIVES_UP_WITHIN, server.wait()).await.expect("it must stop").unwrap();
    assert!(ended.success(), "{ended}");
}

/// A server that works with others on this database.
fn serve_among_others(data_dir: &Path, database: &TestDatabase, nats: &NatsServer) -> Command {
    let mut command =
        serve_with(data_dir, &[&"--listen", &"127.0.0.1:0", &"--nats", &nats.url(), &"--tls-self-signed"]);
    command.env("GURURMM_DATABASE_URL", database.owner_options().to_url_lossy().as_str());
    command.env("GURURMM_NATS_TOKEN", nats.token()).env("RUST_LOG", "off");
    command
}

#[tokio::test]
async fn a_further_server_without_the_installations_keys() {
    let (first, database, nats) = (folder(), TestDatabase::empty().await, NatsServer::start().await);
    let mut running = serve_among_others(first.path(), &database, &nats).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let up = timeout(GIVES_UP_WITHIN, lines.next_line()).await.expect("the first must start").unwrap();
    assert!(up.is_some_and(|line| line.starts_with("[OK]")));

    let copied = |files: &[&str]| {
        let further = folder();
        std::fs::create_dir(further.path().join("keys")).unwrap();
        for file in files {
            let name = Path::new("keys").join(file);
            std::fs::copy(first.path().join(&name), further.path().join(&name)).unwrap();
        }
        further
    };
    for (files, said) in [
        (&[] as &[&str], "made with other keys"),
        (&["pepper-p1"], "keys/follow-me is not this installation's"),
        (&["pepper-p1", "follow-me"], "keys/ca.pem is not this installation's"),
    ] {
        let further = copied(files);
        let sentence = sentence(serve_among_others(further.path(), &database, &nats)).await;
        assert!(sentence.contains(said), "with {files:?}: {sentence}");
    }
    let further = copied(&["pepper-p1", "follow-me", "ca.pem"]);
    let mut second = serve_among_others(further.path(), &database, &nats).spawn().unwrap();
    let mut lines = BufReader::new(second.stdout.take().unwrap()).lines();
    let up = timeout(GIVES_UP_WITHIN, lines.next_line()).await.expect("the second must start").unwrap();
    assert!(up.is_some_and(|line| line.starts_with("[OK]")));
    stop(second).await;
    stop(running).await;
}

#[tokio::test]
async fn nats_without_a_shared_database_or_with_a_wrong_login() {
    let (data, database, nats) = (folder(), TestDatabase::empty().await, NatsServer::start().await);
    let alone = serve_with(data.path(), &[&"--listen", &"127.0.0.1:0", &"--nats", &nats.url()]);
    let said = sentence(alone).await;
    assert!(said.contains("this one needs --database-url"), "{said}");

    let mut wrong = serve_among_others(data.path(), &database, &nats);
    wrong.env("GURURMM_NATS_TOKEN", "canary-secret");
    let said = sentence(wrong).await;
    assert!(said.contains("NATS does not let this node in") && !said.contains("canary-secret"), "{said}");

    let secret = serve_with(data.path(), &[&"--nats", &"nats://node:canary-secret@127.0.0.1"]);
    let said = sentence(secret).await;
    assert!(
        said.contains("a login does not belong into the address") && !said.contains("canary-secret"),
        "{said}"
    );
}
