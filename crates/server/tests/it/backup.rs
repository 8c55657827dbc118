//! `gururmm-server admin backup`: the drill that an operator should do once a quarter, done at every change.

use crate::enroll;
use chrono::Utc;

use gururmm_testkit::agent::{AGENT_HEADER, SOCKET_PATH};
use gururmm_testkit::{ApiClient, TestDatabase};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _};
use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, Command};

const PASSWORD: &str = "a long enough password";

fn program(arguments: &[&dyn AsRef<OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gururmm-server"));
    command.args(arguments.iter().map(|argument| argument.as_ref()));
    command.env_remove("GURURMM_DATABASE_URL").env_remove("RUST_LOG").kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(mut command: Command, input: &str) -> Output {
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    child.wait_with_output().await.unwrap()
}

/// What it says when it succeeds.
async fn said(arguments: &[&dyn AsRef<OsStr>], input: &str) -> String {
    let output = run(program(arguments), input).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The one sentence that it fails with.
async fn failure(command: Command) -> String {
    let output = run(command, "").await;
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(output.stdout.is_empty(), "{}", String::from_utf8_lossy(&output.stdout));
    let mut lines = errors.lines().filter(|line| line.starts_with("[ERROR] "));
    let line = lines.next().unwrap_or_else(|| panic!("{errors}")).to_owned();
    assert!(lines.next().is_none(), "{errors}");
    line
}

/// The server on its private PostgreSQL.
struct Server {
    child: Child,
    client: ApiClient,
}

impl Server {
    async fn start(data: &Path) -> Self {
        Self::start_with(data, &[]).await
    }

    async fn start_with(data: &Path, environment: &[(&str, &str)]) -> Self {
        let mut command = program(&[&"serve", &"--listen", &"127.0.0.1:0", &"--data-dir", &data]);
        let mut child = command.envs(environment.iter().copied()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let Some(line) = lines.next_line().await.unwrap() else {
            panic!("{}", String::from_utf8_lossy(&child.wait_with_output().await.unwrap().stderr))
        };
        let address = line.strip_prefix("[OK] GuruRMM serves http://").unwrap_or_else(|| panic!("{line}"));
        let client = ApiClient::anonymous(address.trim_end_matches('/').parse().unwrap());
        Self { child, client }
    }

    async fn stop(mut self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().await.unwrap().success());
    }

    async fn owner(&self) -> ApiClient {
        let credentials = json!({ "email": "ada@example.com", "password": PASSWORD });
        let session = self.client.post("/api/auth/login", credentials).await.expect(200);
        self.client.clone().with_bearer(session["token"].as_str().unwrap())
    }

    async fn enroll(&self, setup: &Value, hostname: &str) -> Value {
        let (code, key) = (setup["site_code"].as_str().unwrap(), setup["enrollment_key"].as_str().unwrap());
        let machine = enroll::machine(hostname, &hostname.repeat(10)[..64], hostname);
        self.client.post("/api/enroll", enroll::request(code, key, &machine)).await.expect(201)
    }

    /// The status with which a machine's socket is refused, or 101.
    async fn knock(&self, enrolled: &Value) -> u16 {
        let client = self.client.clone().with_bearer(enrolled["agent_key"].as_str().unwrap());
        let client = client.with(AGENT_HEADER, enrolled["agent_id"].as_str().unwrap());
        client.upgrade(SOCKET_PATH).await.map_or_else(|answer| answer.status.as_u16(), |_| 101)
    }
}

async fn set_up(data: &Path) -> Value {
    let arguments: Vec<&dyn AsRef<OsStr>> = vec![
        &"admin",
        &"setup",
        &"--data-dir",
        &data,
        &"--email",
        &"ada@example.com",
        &"--password-stdin",
        &"--partner",
        &"Acme",
        &"--client",
        &"Alpha",
        &"--site",
        &"HQ",
    ];
    serde_json::from_str(&said(&arguments, &format!("{PASSWORD}\n")).await).unwrap()
}

async fn back_up(data: &Path, to: &Path) -> PathBuf {
    let said = said(&[&"admin", &"backup", &"make", &"--data-dir", &data, &"--to", &to], "").await;
    let rest = said.strip_prefix("[OK] ").unwrap_or_else(|| panic!("{said}"));
    PathBuf::from(rest.split_once(" (").unwrap().0)
}

/// The folders and files of a folder, by name.
fn names(folder: &Path) -> Vec<String> {
    let entries = folder.read_dir().unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_was_there_at_the_backup_is_there_after_the_disaster() {
    let folder = TempDir::new().unwrap();
    let (data, again, backups) =
        (folder.path().join("data"), folder.path().join("again"), folder.path().join("to"));
    let setup = set_up(&data).await;
    let server = Server::start(&data).await;
    let known = server.enroll(&setup, "pc-alpha").await;

    // While it runs.
    let backup = back_up(&data, &backups).await;
    assert_eq!(names(&backup), ["database.dump", "keys", "manifest.json"]);
    for path in [backup.clone(), backup.join("keys")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
    }
    for path in [backup.join("database.dump"), backup.join("keys/pepper-p1"), backup.join("manifest.json")] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
    let checked = said(&[&"admin", &"backup", &"check", &"--from", &backup], "").await;
    assert!(checked.starts_with("[OK] whole and undamaged: version 0.1.0, made "), "{checked}");

    let late = server.enroll(&setup, "pc-later").await;
    server.stop().await;
    std::fs::remove_dir_all(&data).unwrap();

    let restored =
        said(&[&"admin", &"backup", &"restore", &"--data-dir", &again, &"--from", &backup], "").await;
    assert!(restored.starts_with(&format!("[OK] restored into {} as of ", again.display())), "{restored}");
    let server = Server::start(&again).await;
    assert_eq!(server.knock(&known).await, 101, "the machine is who it was");
    assert_eq!(server.knock(&late).await, 401, "of the one that came later nothing is known");
    let owner = server.owner().await;
    let list = owner.get("/api/agents").await.expect(200);
    let hostnames: Vec<_> = list.as_array().unwrap().iter().map(|agent| &agent["hostname"]).collect();
    assert_eq!(hostnames, ["pc-alpha"]);
    // Its key for the site still lets machines in, and what is new is written.
    server.enroll(&setup, "pc-gamma").await;
    let audit = owner.get("/api/v1/audit").await.expect(200);
    assert!(
        audit["items"].as_array().unwrap().iter().any(|entry| entry["action"] == "agent.enroll"),
        "{audit}"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_restored_database_is_the_same_to_the_last_row() {
    let (database, data) = (TestDatabase::with_world().await, TempDir::new().unwrap());
    let backups = TempDir::new().unwrap();
    let url = database.owner_options().to_url_lossy();
    let mut make =
        program(&[&"admin", &"backup", &"make", &"--data-dir", &data.path(), &"--to", &backups.path()]);
    make.env("GURURMM_DATABASE_URL", url.as_str());
    let output = run(make, "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let backup = backups.path().join(&names(backups.path())[0]);

    let target = bare_database().await;
    let again = data.path().join("again");
    let restore = |url: &url::Url| {
        let mut command =
            program(&[&"admin", &"backup", &"restore", &"--data-dir", &again, &"--from", &backup]);
        command.env("GURURMM_DATABASE_URL", url.as_str());
        command
    };
    let refused = failure(restore(&url)).await;
    assert!(refused.contains("the database is not empty: restore into a new one"), "{refused}");
    std::fs::remove_dir_all(&again).unwrap();
    let output = run(restore(&target.owner_options().to_url_lossy()), "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (before, after) = (text_of(&database).await, text_of(&target).await);
    assert!(before.contains("COPY public.agents") && before.contains("CREATE POLICY"));
    for (line, (one, other)) in before.lines().zip(after.lines()).enumerate() {
        assert_eq!(one, other, "line {line}");
    }
    assert_eq!(before.len(), after.len());
    assert_eq!(names(&again.join("keys")), names(&data.path().join("keys")));
}

#[tokio::test]
async fn the_private_database_moves_into_one_of_ones_own() {
    let folder = TempDir::new().unwrap();
    let (data, again) = (folder.path().join("data"), folder.path().join("again"));
    let setup = set_up(&data).await;
    let server = Server::start(&data).await;
    let known = server.enroll(&setup, "pc-alpha").await;
    server.stop().await;
    let backup = back_up(&data, &folder.path().join("to")).await;

    // As docs/operations.md says: a role of this name, that may make roles and is no superuser.
    let target = bare_database().await;
    let name = target.owner_options().get_database().unwrap().to_owned();
    let mut owner = target.owner().await;
    let role =
        "DO $$ BEGIN CREATE ROLE gururmm LOGIN CREATEROLE; EXCEPTION WHEN duplicate_object THEN NULL; END $$";
    owner.execute(role).await.unwrap();
    owner.execute(AssertSqlSafe(format!("ALTER DATABASE {name} OWNER TO gururmm"))).await.unwrap();
    owner.close().await.unwrap();
    let url = target.owner_options().username("gururmm").to_url_lossy();
    let mut restore = program(&[&"admin", &"backup", &"restore", &"--data-dir", &again, &"--from", &backup]);
    restore.env("GURURMM_DATABASE_URL", url.as_str());
    let output = run(restore, "").await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let server = Server::start_with(&again, &[("GURURMM_DATABASE_URL", url.as_str())]).await;
    assert_eq!(server.knock(&known).await, 101);
    assert!(!again.join("postgres").exists());
    server.stop().await;

    let foreign = bare_database().await;
    let mut restore = program(&[
        &"admin",
        &"backup",
        &"restore",
        &"--data-dir",
        &folder.path().join("b"),
        &"--from",
        &backup,
    ]);
    restore.env("GURURMM_DATABASE_URL", foreign.owner_options().to_url_lossy().as_str());
    let refused = failure(restore).await;
    assert!(refused.contains("must be owned by a role named gururmm"), "{refused}");
}

#[tokio::test]
async fn a_backup_that_is_not_sound_is_refused_and_nothing_is_touched() {
    let folder = TempDir::new().unwrap();
    let (data, backups, target) =
        (folder.path().join("data"), folder.path().join("to"), folder.path().join("target"));
    set_up(&data).await;
    let backup = back_up(&data, &backups).await;
    let restore = || program(&[&"admin", &"backup", &"restore", &"--data-dir", &target, &"--from", &backup]);

    let dump = backup.join("database.dump");
    let sound = std::fs::read(&dump).unwrap();
    let mut damaged = sound.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for bytes in [damaged, sound[..sound.len() - 1].to_vec()] {
        std::fs::write(&dump, bytes).unwrap();
        let said = failure(restore()).await;
        assert!(said.contains("database.dump of the backup is damaged"), "{said}");
    }
    std::fs::write(&dump, &sound).unwrap();

    let (key, manifest) = (backup.join("keys/pepper-p1"), backup.join("manifest.json"));
    let (key_bytes, text) = (std::fs::read(&key).unwrap(), std::fs::read_to_string(&manifest).unwrap());
    std::fs::remove_file(&key).unwrap();
    let said = failure(restore()).await;
    assert!(said.contains("keys/pepper-p1 of the backup cannot be read"), "{said}");
    std::fs::write(&key, key_bytes).unwrap();
    for (bent, expected) in [
        (text.replace("\"format\": 1", "\"format\": 2"), "which is later than this program"),
        (text.replace("\"schema\": ", "\"schema\": 9"), "which is later than this program"),
        (text.replace("keys/pepper-p1", "../data/keys/pepper-p1"), "which is not in the backup"),
        ("{".to_owned(), "manifest.json is damaged"),
    ] {
        assert_ne!(bent, text);
        std::fs::write(&manifest, bent).unwrap();
        let said = failure(restore()).await;
        assert!(said.contains(expected), "{said}");
    }
    std::fs::remove_file(&manifest).unwrap();
    let said = failure(restore()).await;
    assert!(said.contains("is no backup: it has no manifest.json"), "{said}");
    std::fs::write(&manifest, text).unwrap();
    assert!(!target.exists(), "refused before anything is made");

    std::fs::create_dir(&target).unwrap();
    std::fs::write(target.join("notes.txt"), "somebody's").unwrap();
    let said = failure(restore()).await;
    assert!(said.contains("is not empty: restore into a new folder"), "{said}");
    assert_eq!(names(&target), ["notes.txt"]);
}

#[tokio::test]
async fn the_oldest_go_and_what_is_no_backup_stays() {
    let folder = TempDir::new().unwrap();
    let (data, backups) = (folder.path().join("data"), folder.path().join("to"));
    set_up(&data).await;
    let first = back_up(&data, &backups).await;
    let second = back_up(&data, &backups).await;
    let begun = format!("gururmm-{}Z.partial", Utc::now().format("%Y%m%dT%H%M%S"));
    for foreign in ["gururmm-notes", "gururmm-20200101T000000Z", "photos", begun.as_str()] {
        std::fs::create_dir(backups.join(foreign)).unwrap();
        std::fs::write(backups.join(foreign).join("file"), "somebody's").unwrap();
    }
    let make: Vec<&dyn AsRef<OsStr>> =
        vec![&"admin", &"backup", &"make", &"--data-dir", &data, &"--to", &backups, &"--keep", &"2"];
    let output = said(&make, "").await;
    assert!(output.ends_with(&format!("[INFO] removed {}\n", first.display())), "{output}");
    let left = names(&backups);
    for stays in ["gururmm-notes", "gururmm-20200101T000000Z", "photos"] {
        assert!(left.iter().any(|name| name == stays), "{left:?}");
    }
    assert!(second.join("manifest.json").is_file() && !first.exists());
    assert!(!backups.join(begun).exists(), "what an interrupted one left is gone");
    assert_eq!(left.len(), 6, "two backups, three folders of others, the lock: {left:?}");

    let lock = std::fs::File::open(backups.join("gururmm-backup.lock")).unwrap();
    lock.lock().unwrap();
    let said = failure(program(&make)).await;
    assert!(said.contains("another backup is being written"), "{said}");
    assert_eq!(names(&backups), left);
}

/// A database of the tests that has nothing in it at all.
async fn bare_database() -> TestDatabase {
    let database = TestDatabase::empty().await;
    let options = database.owner_options();
    let name = options.get_database().unwrap();
    let mut maintenance = database.owner_options().database("postgres").connect().await.unwrap();
    for statement in [format!("DROP DATABASE {name}"), format!("CREATE DATABASE {name}")] {
        maintenance.execute(AssertSqlSafe(statement)).await.unwrap();
    }
    maintenance.close().await.unwrap();
    database
}

/// Everything in a database, as a script of SQL.
async fn text_of(database: &TestDatabase) -> String {
    let options = database.owner_options();
    let mut command = Command::new("pg_dump");
    command.arg("--host").arg(options.get_socket().unwrap()).arg("--username").arg(options.get_username());
    command.arg(options.get_database().unwrap());
    let output = command.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    // A password of this very script, new in each.
    text.lines()
        .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"))
        .map(|line| format!("{line}\n"))
        .collect()
}
