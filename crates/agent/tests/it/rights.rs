//! Somebody without rights on the machine cannot make the agent write, read or run anything of his: one case per way.

use crate::binary::{PROGRAM, Process};
use crate::harness::*;
use crate::installed::*;
use gururmm_protocol::ServerMessage;
use gururmm_protocol::command::{CommandKind, CommandStart, Outcome};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// A file of somebody's that must stay as it is.
struct Canary(tempfile::TempDir);

const TEXT: &str = "nobody's business";

impl Canary {
    fn new() -> Self {
        let canary = Self(tempfile::tempdir().unwrap());
        fs::write(canary.file(), TEXT).unwrap();
        fs::set_permissions(canary.file(), Permissions::from_mode(0o644)).unwrap();
        fs::create_dir(canary.folder()).unwrap();
        canary
    }

    fn file(&self) -> std::path::PathBuf {
        self.0.path().join("file")
    }

    fn folder(&self) -> std::path::PathBuf {
        self.0.path().join("folder")
    }

    fn assert_untouched(&self, about: &str) {
        assert_eq!(fs::read_to_string(self.file()).unwrap(), TEXT, "{about}");
        assert_eq!(fs::metadata(self.file()).unwrap().permissions().mode() & 0o777, 0o644, "{about}");
        assert_eq!(fs::read_dir(self.folder()).unwrap().count(), 0, "{about}");
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
}

/// Works for a moment, as far as it can: connects, runs a command, writes its files.
async fn work(server: &mut TestServer, installed: &Installed) {
    let mut watchdog = installed.start();
    let connected = tokio::time::timeout(std::time::Duration::from_secs(3), server.welcome()).await;
    if let Ok((mut connection, _)) = connected {
        connection.send(ServerMessage::CommandStart(shell("echo ran"))).await;
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
    watchdog.signal("-TERM");
    watchdog.0.wait().unwrap();
}

#[tokio::test]
async fn no_link_in_place_of_a_file_of_the_agents_is_written_through() {
    let files = [
        "lock",
        "watchdog.lock",
        "status.json",
        "server-time",
        "running.json",
        "log/agent.log",
        "log/agent.log.1",
        "journal/commands.log",
        "update/watchdog.json",
        "update/report.json",
    ];
    for name in files {
        let (mut server, canary) = (TestServer::start().await, Canary::new());
        let installed = Installed::new(&server);
        // Once in peace, so that everything stands.
        work(&mut server, &installed).await;
        for leftover in ["", ".new"] {
            let path = installed.state_dir().join(format!("{name}{leftover}"));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            remove(&path);
            symlink(canary.file(), &path).unwrap();
        }
        work(&mut server, &installed).await;
        canary.assert_untouched(name);
    }
}

#[tokio::test]
async fn no_link_in_place_of_a_folder_of_the_agents_is_entered() {
    for name in ["log", "journal", "scripts", "update", "outbox"] {
        let (mut server, canary) = (TestServer::start().await, Canary::new());
        let installed = Installed::new(&server);
        work(&mut server, &installed).await;
        let path = installed.state_dir().join(name);
        remove(&path);
        symlink(canary.folder(), &path).unwrap();
        work(&mut server, &installed).await;
        canary.assert_untouched(name);
    }
}

#[tokio::test]
async fn another_name_of_somebodys_file_does_not_make_it_the_agents() {
    for name in ["status.json", "server-time", "running.json", "update/report.json", "identity.json.new"] {
        let (mut server, canary) = (TestServer::start().await, Canary::new());
        let installed = Installed::new(&server);
        work(&mut server, &installed).await;
        let path = installed.state_dir().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        remove(&path);
        fs::hard_link(canary.file(), &path).unwrap();
        work(&mut server, &installed).await;
        assert_eq!(fs::read_to_string(canary.file()).unwrap(), TEXT, "{name}");
    }
}

/// A program that leaves a mark when it runs, under the names that commands ask for.
fn plant_programs(folder: &Path, mark: &Path) {
    for name in ["sh", "python3", "python", "pwsh", "bash", "ps", "id", "loginctl", "systemctl"] {
        let path = folder.join(name);
        fs::write(&path, format!("#!/bin/sh\n/usr/bin/touch {}\nexit 1\n", mark.display())).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    }
}

fn python(command: &str) -> CommandStart {
    CommandStart { kind: CommandKind::Python, ..shell(command) }
}

/// The folder an agent is started in, and one that a search path names by a relative name, are anybody's.
#[tokio::test]
async fn nothing_is_run_from_the_working_folder() {
    let mut server = TestServer::start().await;
    let (state, planted) = (TestAgent::enrolled(&server.url), tempfile::tempdir().unwrap());
    let mark = state.path().join("ran");
    plant_programs(planted.path(), &mark);
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg("--state-dir").arg(state.path().join("state")).current_dir(planted.path());
    command.env("PATH", ".::./bin:/usr/local/bin:/usr/bin:/bin").stderr(Stdio::null());
    let _process = Process(command.spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    let finished = connection.run(shell("echo honest")).await;
    assert_eq!((finished.end.outcome, finished.stdout.as_slice()), (Outcome::Completed, &b"honest\n"[..]));
    let finished = connection.run(python("print('honest')")).await;
    assert_eq!((finished.end.outcome, finished.stdout.as_slice()), (Outcome::Completed, &b"honest\n"[..]));
    // What the command itself finds by its search path is as safe.
    let finished = connection.run(shell("ps >/dev/null 2>&1; id -u; pwd")).await;
    assert!(!String::from_utf8(finished.stdout).unwrap().contains(planted.path().to_str().unwrap()));
    assert!(!mark.exists(), "a program of the working folder has run");
}

/// What stands in the agent's own environment is not what its commands run with.
#[tokio::test]
async fn the_agents_environment_is_not_its_commands() {
    let mut server = TestServer::start().await;
    let (state, planted) = (TestAgent::enrolled(&server.url), tempfile::tempdir().unwrap());
    let mark = state.path().join("ran");
    let script = planted.path().join("rc");
    fs::write(&script, format!("/usr/bin/touch {}\n", mark.display())).unwrap();
    fs::write(
        planted.path().join("sitecustomize.py"),
        format!("open({:?}, 'w')", mark.display().to_string()),
    )
    .unwrap();
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg("--state-dir").arg(state.path().join("state")).stderr(Stdio::null());
    command.env("ENV", &script).env("BASH_ENV", &script).env("PYTHONPATH", planted.path());
    command.env("LD_LIBRARY_PATH", planted.path()).env("GURURMM_SECRET", "canary");
    let _process = Process(command.spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    let finished = connection.run(shell("env")).await;
    let environment = String::from_utf8(finished.stdout).unwrap();
    for name in ["ENV=", "BASH_ENV=", "PYTHONPATH=", "LD_LIBRARY_PATH=", "GURURMM_SECRET="] {
        assert!(!environment.lines().any(|line| line.starts_with(name)), "{name} in {environment}");
    }
    let finished = connection.run(python("print('honest')")).await;
    assert_eq!(finished.stdout, b"honest\n");
    assert!(!mark.exists(), "a file that the agent's environment names has run");
}

/// Needs root to make files another account's; elsewhere there is nothing to show.
#[tokio::test]
async fn a_program_or_folder_of_another_account_is_not_run() {
    if !gururmm_agent::os::is_elevated() {
        return;
    }
    let server = TestServer::start().await;
    for owned in ["program", "program/versions", "state", "state/identity.json"] {
        let installed = Installed::new(&server);
        fs::create_dir(installed.program_folder().join("versions")).unwrap();
        let path = installed.program_folder().parent().unwrap().join(owned);
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        let mut watchdog = installed.start();
        let code = watchdog.0.wait().unwrap().code();
        assert!(matches!(code, Some(1 | 78)), "{owned}: {code:?}");
        assert!(installed.log().contains("belongs to another account"), "{owned}: {}", installed.log());
    }
}
