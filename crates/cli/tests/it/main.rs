//! The program, as a tech runs it, with a real server and a real agent.
#![expect(clippy::unwrap_used, reason = "tests fail by panic")]

mod away;
mod cable;
mod lost_links;
#[cfg(unix)]
mod terminal;

use cable::Cable;
use chrono::Utc;
use gururmm_agent::identity::{Identity, Secret};
use gururmm_agent::state::StateDir;
use gururmm_protocol::AgentId;
use gururmm_testkit::world::{PASSWORD, Person, acme};
use gururmm_testkit::{SeededAgent, TestServer, eventually};
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_gururmm");

/// A server, one machine that is connected to it, and a tech's folder.
struct Office {
    server: TestServer,
    machine: SeededAgent,
    /// As the machine itself says.
    name: String,
    folder: TempDir,
    _agent: Child,
}

/// What a program did.
struct Done {
    out: String,
    err: String,
    code: i32,
}

impl Office {
    async fn open() -> Self {
        let server = TestServer::start().await;
        let machine = server.seed_agent(&acme::HQ, "seeded").await;
        let folder = tempfile::tempdir().unwrap();
        let state = StateDir::create(&folder.path().join("state")).unwrap();
        let identity = Identity {
            agent_id: AgentId(machine.id),
            agent_key: Secret::new(machine.key.clone()),
            server_url: url(&server),
            site_code: machine.site.code.to_owned(),
            enrolled_at: Utc::now(),
            ca_pinned: false,
        };
        identity.save(&state).unwrap();
        let agent = Command::new(Path::new(PROGRAM).with_file_name("gururmm-agent"))
            .args(["run", "--state-dir"])
            .arg(folder.path().join("state"))
            .stdin(Stdio::null())
            .stderr(fs::File::create(folder.path().join("agent.log")).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let api = server.client_as(&acme::OWNER).await;
        let mut name = String::new();
        eventually("the machine is connected, and has said its name", async || {
            let agent = api.get(&format!("/api/agents/{}", machine.id)).await.expect(200);
            name = agent["hostname"].as_str().unwrap().to_owned();
            (agent["is_connected"] == true && name != "seeded").then_some(())
        })
        .await;
        Self { server, machine, name, folder, _agent: agent }
    }

    /// Signed in as this person, by mail address and password.
    async fn signed_in(person: &Person) -> Self {
        let office = Self::open().await;
        office.sign_in(person, &url(&office.server)).await;
        office
    }

    /// The same, at the server's end of a cable.
    async fn signed_in_over_cable(person: &Person) -> (Self, Cable) {
        let office = Self::open().await;
        let cable = Cable::to(office.server.address()).await;
        office.sign_in(person, &format!("http://{}", cable.address)).await;
        (office, cable)
    }

    async fn sign_in(&self, person: &Person, url: &str) {
        let done = self.run_with(&["login", "--url", url, "--email", person.email], PASSWORD).await;
        assert_eq!(done.code, 0, "{}", done.err);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env_clear()
            .env("HOME", self.folder.path())
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Done {
        let output = self.command(arguments).output().await.unwrap();
        done(output)
    }

    async fn run_with(&self, arguments: &[&str], input: &str) -> Done {
        let mut child = self.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{input}\n").as_bytes()).await.unwrap();
        drop(stdin);
        done(child.wait_with_output().await.unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn url(server: &TestServer) -> String {
    format!("http://{}", server.address())
}

fn done(output: std::process::Output) -> Done {
    Done {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

#[tokio::test]
async fn who_signs_in_leaves_a_token_that_she_alone_can_read_and_signing_out_ends_it() {
    let office = Office::signed_in(&acme::TECH).await;
    let file = office.path(".config/gururmm/credentials.json");
    #[cfg(unix)]
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions()) & 0o777,
        0o600
    );
    let kept: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let token = kept["token"].as_str().unwrap().to_owned();
    let machines = office.run(&["agents", &office.name]).await;
    assert!(machines.out.contains(&office.name) && machines.out.contains("online"), "{}", machines.out);
    // Another server is never shown the token.
    let stranger = office.run(&["agents", "--url", "http://127.0.0.1:9"]).await;
    assert!(stranger.err.starts_with("[ERROR] not signed in at") && stranger.code == 1, "{}", stranger.err);
    assert_eq!(office.run(&["logout"]).await.code, 0);
    assert!(!file.exists());
    let refused = office.server.anonymous().with_bearer(&token).get("/api/auth/me").await;
    refused.expect_problem(401, "UNAUTHENTICATED");
    let after = office.run(&["agents"]).await;
    assert!(after.err.contains("gururmm login") && after.code == 1, "{}", after.err);
}

#[tokio::test]
async fn a_wrong_password_leaves_nothing() {
    let office = Office::open().await;
    let arguments = ["login", "--url", &url(&office.server), "--email", acme::TECH.email];
    let done = office.run_with(&arguments, "not the password").await;
    assert!(done.code == 1 && done.err.starts_with("[ERROR] "), "{}", done.err);
    assert!(!office.path(".config/gururmm/credentials.json").exists());
}

#[tokio::test]
async fn a_command_prints_what_it_prints_and_ends_as_it_ended() {
    let office = Office::signed_in(&acme::TECH).await;
    let done = office.run(&["command", &office.name.to_uppercase(), "echo out; echo err >&2; exit 7"]).await;
    assert_eq!((done.out.as_str(), done.err.as_str(), done.code), ("out\n", "err\n", 7));
    let unknown = office.run(&["command", "no-such", "true"]).await;
    assert_eq!((unknown.err.as_str(), unknown.code), ("[ERROR] no machine is called no-such\n", 1));
}

#[tokio::test]
async fn files_go_there_and_back_and_nothing_is_replaced_unasked() {
    let office = Office::signed_in(&acme::TECH).await;
    let (local, far, back) = (office.path("local.bin"), office.path("far.bin"), office.path("back.bin"));
    let bytes: Vec<u8> =
        (0..3_000_000_u32).map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(&local, &bytes).unwrap();
    let (local, far_path, back_path) =
        (local.to_str().unwrap(), far.to_str().unwrap(), back.to_str().unwrap());
    let put = office.run(&["files", &office.name, "put", local, far_path]).await;
    assert!(put.code == 0 && put.out.starts_with("[OK] 3000000 bytes"), "{}{}", put.out, put.err);
    assert!(fs::read(&far).unwrap() == bytes);
    let again = office.run(&["files", &office.name, "put", local, far_path]).await;
    assert!(again.code == 1 && again.err.starts_with("[ERROR] "), "{}", again.err);
    // As a fetch that was cut yesterday left it.
    fs::write(office.path("back.bin.part"), &bytes[..1_000_000]).unwrap();
    let get = office.run(&["files", &office.name, "get", far_path, back_path]).await;
    assert_eq!(get.code, 0, "{}", get.err);
    assert!(fs::read(&back).unwrap() == bytes);
    let folder = office.folder.path().to_str().unwrap();
    let list = office.run(&["files", &office.name, "ls", folder]).await;
    assert!(list.out.lines().any(|line| line.ends_with("3000000 far.bin")), "{}", list.out);
    assert_eq!(office.run(&["files", &office.name, "rm", far_path]).await.code, 0);
    assert!(!far.exists());
    let missing = office.run(&["files", &office.name, "get", far_path]).await;
    assert!(missing.code == 1 && missing.err.lines().count() == 1, "{}", missing.err);
}

#[tokio::test]
async fn a_forwarded_port_reaches_what_the_policy_allows_and_nothing_else() {
    let office = Office::signed_in(&acme::TECH).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        // Says back what it hears, and then how much that was.
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard).await.unwrap();
            heard.extend(format!(" ({})", heard.len()).into_bytes());
            stream.write_all(&heard).await.unwrap();
        }
    });
    let owner = office.server.client_as(&acme::OWNER).await;
    let policy = format!("/api/v1/policies/agent/{}", office.machine.id);
    let allow = json!({ "tunnel_forwards": [format!("127.0.0.1:{}", target.port())] });
    owner.put(&policy, json!({ "settings": allow })).await.expect(200);
    let forward = format!("0:127.0.0.1:{}", target.port());
    let mut child = office
        .command(&["connect", &office.name, "--forward", &forward, "-L", "0:127.0.0.1:1"])
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut place = async || {
        let line = said.next_line().await.unwrap().unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let (allowed, forbidden) = (place().await, place().await);
    for text in ["hello", "again"] {
        let mut stream = TcpStream::connect(&allowed).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        // The half that is closed here is closed there, and the answer still comes.
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, format!("{text} (5)"));
    }
    let mut stream = TcpStream::connect(&forbidden).await.unwrap();
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0, "nothing comes from there");
    child.kill().await.unwrap();
}
