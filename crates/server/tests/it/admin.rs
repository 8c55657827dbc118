//! The command line, as scripts use it: the real program, beside a database of its own.

use gururmm_testkit::TestDatabase;
use serde_json::Value;
use sqlx::ConnectOptions as _;
use std::process::{Output, Stdio};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

struct Machine {
    database: TestDatabase,
    data_dir: tempfile::TempDir,
}

impl Machine {
    async fn new() -> Self {
        Self { database: TestDatabase::empty().await, data_dir: tempfile::tempdir().unwrap() }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gururmm-server"));
        command.args(arguments).arg("--data-dir").arg(self.data_dir.path());
        command.env("GURURMM_DATABASE_URL", self.database.owner_options().to_url_lossy().as_str());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
        child.wait_with_output().await.unwrap()
    }

    async fn json(&self, arguments: &[&str], input: &str) -> Value {
        let output = self.run(arguments, input).await;
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The one line that a command fails with.
    async fn failure(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input).await;
        assert!(!output.status.success(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        let mut told = errors.lines().filter(|line| line.starts_with("[ERROR]"));
        let line = told.next().unwrap_or_else(|| panic!("{errors}")).to_owned();
        assert!(told.next().is_none(), "{errors}");
        line
    }
}

const SETUP: [&str; 11] = [
    "admin",
    "setup",
    "--email",
    "ada@example.com",
    "--password-stdin",
    "--partner",
    "Acme",
    "--client",
    "Alpha",
    "--site",
    "HQ",
];

#[tokio::test]
async fn a_machine_is_set_up_and_looked_after_without_a_browser() {
    let machine = Machine::new().await;
    let refused = machine.failure(&SETUP, "short\n").await;
    assert!(refused.contains("password must have at least 12 characters"), "{refused}");
    let made = machine.json(&SETUP, "a long enough password\n").await;
    let code = made["site_code"].as_str().unwrap();
    assert!(made["enrollment_key"].as_str().unwrap().starts_with("gek_1_"));
    let again = machine.failure(&SETUP, "a long enough password\n").await;
    assert!(again.contains("setup is over"), "{again}");

    let users = machine.json(&["admin", "users", "list", "--json"], "").await;
    assert_eq!(
        (users[0]["email"].as_str(), users[0]["role"].as_str()),
        (Some("ada@example.com"), Some("owner"))
    );
    assert_eq!((users[0]["name"].as_str(), users[0]["partner_name"].as_str()), (Some("ada"), Some("Acme")));

    let rotated = machine.json(&["admin", "keys", "rotate", "--site", code], "").await;
    assert_eq!(rotated["key"]["version"], 2);
    let token = machine.json(&["admin", "keys", "create", "--site", code, "--max-uses", "1"], "").await;
    assert_eq!(token["key"]["kind"], "deployment");
    let keys = machine.json(&["admin", "keys", "list", "--site", code], "").await;
    let statuses: Vec<&str> =
        keys.as_array().unwrap().iter().map(|key| key["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["active", "active", "revoked"]);
    assert!(keys[0].get("secret").is_none());
    let unknown = machine.failure(&["admin", "keys", "list", "--site", "NOSUCHCD"], "").await;
    assert!(unknown.contains("there is no site with the code NOSUCHCD"), "{unknown}");

    let audit: Vec<(String, String)> =
        sqlx::query_as("SELECT action, actor_name FROM audit_log ORDER BY seq")
            .fetch_all(&mut machine.database.owner().await)
            .await
            .unwrap();
    assert!(audit.iter().any(|(action, _)| action == "setup.complete"), "{audit:?}");
    assert!(audit.iter().any(|(_, actor)| actor == "command line"), "{audit:?}");
}

#[tokio::test]
async fn a_key_comes_with_its_install_command_once_the_server_has_been_served() {
    let machine = Machine::new().await;
    let made = machine.json(&SETUP, "a long enough password\n").await;
    let rotate = ["admin", "keys", "rotate", "--site", made["site_code"].as_str().unwrap()];
    let before = machine.json(&rotate, "").await;
    assert!(before["install"]["linux"].is_null(), "{before}");
    assert!(before["install"]["reason"].as_str().unwrap().contains("has not run"), "{before}");

    // Relative to where the server is started: the command line is elsewhere.
    let elsewhere = tempfile::tempdir().unwrap();
    std::fs::write(elsewhere.path().join("agent"), b"an agent").unwrap();
    let mut serve = machine.command(&["serve", "--listen", "127.0.0.1:0", "--tls-self-signed"]);
    serve.args(["--public-url", "https://rmm.example.com", "--agent-binary", "agent"]);
    let mut server = serve.current_dir(elsewhere.path()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let up = lines.next_line().await.unwrap();
    assert!(up.is_some_and(|line| line.starts_with("[OK]")));
    let beside = machine.json(&rotate, "").await;
    server.kill().await.unwrap();
    let after = machine.json(&rotate, "").await;
    for made in [beside, after] {
        assert!(made["install"]["reason"].is_null(), "{made}");
        let (command, secret) =
            (made["install"]["linux"].as_str().unwrap(), made["secret"].as_str().unwrap());
        assert!(command.starts_with(&format!("printf '%s\\n' '{secret}' | ")), "{command}");
        assert!(command.contains("\"https://rmm.example.com/install/linux.sh\""), "{command}");
        assert!(command.contains(" --ca-fingerprint sha256:"), "{command}");
    }
}

#[tokio::test]
async fn programs_that_are_the_first_on_a_data_folder_together_make_one_key() {
    let machine = Machine::new().await;
    let programs: Vec<_> = (0..12).map(|_| machine.command(&["admin", "db-url"]).spawn().unwrap()).collect();
    for program in programs {
        let output = program.wait_with_output().await.unwrap();
        // A key of its own would not fit the database that another one's was used on.
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let keys = machine.data_dir.path().join("keys").read_dir().unwrap();
    let mut names: Vec<_> = keys.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["follow-me", "pepper-p1"]);
}

#[tokio::test]
async fn a_command_that_fails_leaves_no_postgresql_running() {
    let data = tempfile::tempdir().unwrap();
    let db_url = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gururmm-server"));
        command.args(["admin", "db-url", "--data-dir"]).arg(data.path()).env_remove("GURURMM_DATABASE_URL");
        command
    };
    let output = db_url().output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    std::fs::write(data.path().join("keys/pepper-p1"), [7; 32]).unwrap();
    let output = db_url().output().await.unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("made with other keys"), "{said}");
    let left = std::fs::read_to_string(data.path().join("postgres/cluster/postmaster.pid"));
    assert!(left.is_err(), "PostgreSQL still runs: {left:?}");
}

#[tokio::test]
async fn a_database_out_of_reach_is_one_sentence() {
    let machine = Machine::new().await;
    let output = Command::new(env!("CARGO_BIN_EXE_gururmm-server"))
        .args(["migrate", "--data-dir"])
        .arg(machine.data_dir.path())
        .env("GURURMM_DATABASE_URL", "postgres://nobody@127.0.0.1:1/nothing")
        .output()
        .await
        .unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors.lines().filter(|line| line.starts_with("[ERROR]")).count(), 1, "{errors}");
}

#[tokio::test]
async fn keys_of_another_data_folder_are_refused_and_change_nothing() {
    let mut machine = Machine::new().await;
    let output = machine.run(&["admin", "users", "list", "--json"], "").await;
    assert!(output.status.success(), "{output:?}");
    let right = std::mem::replace(&mut machine.data_dir, tempfile::tempdir().unwrap());
    let output = machine.run(&["admin", "users", "list", "--json"], "").await;
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("made with other keys"), "{said}");
    machine.data_dir = right;
    let output = machine.run(&["admin", "users", "list", "--json"], "").await;
    assert!(output.status.success(), "{output:?}");
}

#[tokio::test]
async fn the_audit_log_is_verified_with_a_sentence_for_each_finding_and_a_status() {
    let machine = Machine::new().await;
    machine.json(&SETUP, "a long enough password\n").await;
    let verify = ["admin", "verify-audit"];
    let output = machine.run(&verify, "").await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.starts_with("[OK] "), "{said}");
    let mut owner = machine.database.owner().await;
    sqlx::query("UPDATE audit_log SET actor_name = 'Somebody Else'").execute(&mut owner).await.unwrap();
    let output = machine.run(&verify, "").await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let findings: Vec<&str> =
        said.lines().filter(|line| line.starts_with("[FAIL] the audit log of ")).collect();
    assert!(!findings.is_empty() && findings.len() == said.lines().count(), "{said}");
    assert!(findings.iter().all(|finding| finding.ends_with("was changed")), "{said}");
    let nobody = ["admin", "verify-audit", "--tenant", "00000000-0000-0000-0000-000000000001"];
    assert!(machine.run(&nobody, "").await.status.success());
    let missing = machine.failure(&["admin", "verify-audit", "--anchor", "/nowhere/anchors"], "").await;
    assert!(missing.contains("cannot read /nowhere/anchors"), "{missing}");
}
