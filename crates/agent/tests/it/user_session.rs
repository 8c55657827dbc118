//! Commands in the signed-in user's session: theirs in everything, and nothing of root's comes along.

use crate::binary::{PROGRAM, Process};
use crate::desk::*;
use crate::harness::*;
use gururmm_protocol::ServerMessage;
use gururmm_protocol::command::{CommandEnd, CommandKind, CommandStart, Outcome, RunContext};
use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Stdio;

fn in_session(command: impl Into<String>) -> CommandStart {
    CommandStart { context: RunContext::UserSession, ..shell(command) }
}

struct Running {
    desk: Desk,
    _agent: Process,
    connection: Connection,
    _server: TestServer,
}

impl Running {
    /// An agent on a machine where Ada sits at the screen.
    async fn new() -> Option<Self> {
        Self::with(|desk| desk.sign_in("2", "ada", ADA, "SEAT=seat0\nTYPE=wayland")).await
    }

    async fn with(prepare: impl FnOnce(&Desk)) -> Option<Self> {
        let mut server = TestServer::start().await;
        let desk = Desk::new(&server)?;
        prepare(&desk);
        let agent = desk.start();
        let (connection, _) = server.welcome().await;
        Some(Self { desk, _agent: agent, connection, _server: server })
    }

    /// What the command prints; it has to succeed.
    async fn output(&mut self, start: CommandStart) -> String {
        let finished = self.connection.run(start).await;
        let stdout = String::from_utf8(finished.stdout).unwrap();
        let stderr = String::from_utf8(finished.stderr).unwrap();
        assert_eq!(finished.end.outcome, Outcome::Completed, "{stdout}{stderr}{:?}", finished.end.error);
        stdout
    }

    async fn end(&mut self, start: CommandStart) -> CommandEnd {
        self.connection.run(start).await.end
    }
}

fn variables(text: &str) -> BTreeMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once('=')).collect()
}

#[tokio::test]
async fn a_command_in_a_session_is_the_users_and_keeps_nothing_of_roots() {
    let Some(mut running) = Running::new().await else { return };
    let output = running.output(in_session("id -u; id -g; id -G; umask; pwd; cat /proc/self/status")).await;
    let home = running.desk.home("ada");
    let expected = format!("{ADA}\n{ADA}\n{ADA} {STAFF}\n0022\n{}\n", home.canonicalize().unwrap().display());
    assert!(output.starts_with(&expected), "{output}");
    let status: BTreeMap<_, _> = output.lines().filter_map(|line| line.split_once(":\t")).collect();
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(status[set], "0000000000000000", "{set}");
    }
    let four = vec![ADA.to_string(); 4].join("\t");
    assert_eq!((status["Uid"], status["Gid"]), (four.as_str(), four.as_str()));
}

/// What the service manager left open, and its terminal, are not the user's.
#[tokio::test]
async fn nothing_that_the_agent_has_open_is_open_in_a_session() {
    let mut server = TestServer::start().await;
    let Some(desk) = Desk::new(&server) else { return };
    desk.sign_in("2", "ada", ADA, "SEAT=seat0");
    let mut command = desk.command("exec 7</etc/shadow", Path::new(PROGRAM));
    command.arg("run").arg("--state-dir").arg(desk.path("state")).stderr(desk.log());
    let agent = Process(command.spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    assert!(fs::read_link(format!("/proc/{}/fd/7", agent.0.id())).unwrap().ends_with("shadow"));
    let finished = connection.run(in_session("ls /proc/self/fd; ps -o sid= -p $$; echo $$")).await;
    let text = String::from_utf8(finished.stdout).unwrap();
    let lines: Vec<_> = text.lines().map(str::trim).collect();
    // The last is the folder that `ls` reads.
    assert_eq!(lines[..4], ["0", "1", "2", "3"], "{text}");
    assert_eq!((lines.len(), lines[4]), (6, lines[5]), "it leads no session of its own: {text}");
}

#[tokio::test]
async fn it_has_the_environment_of_the_session_and_its_own_variables() {
    let Some(mut running) = Running::new().await else { return };
    let _eves =
        running.desk.program(EVE, &[("DISPLAY", ":9"), ("XAUTHORITY", "/e"), ("LANG", "e"), ("TZ", "e")]);
    let _adas = running.desk.program(
        ADA,
        &[("WAYLAND_DISPLAY", "wayland-0"), ("DISPLAY", ":0"), ("LD_PRELOAD", "/x.so"), ("PATH", "/x")],
    );
    let mut start = in_session("env");
    start.environment = [("COLOUR".into(), "blue".into()), ("LANG".into(), "C".into())].into();
    let command_id = start.command_id.to_string();
    let output = running.output(start).await;
    let home = running.desk.home("ada").display().to_string();
    let expected = [
        ("COLOUR", "blue"),
        ("DISPLAY", ":0"),
        ("GURURMM_COMMAND_ID", command_id.as_str()),
        ("HOME", &home),
        ("LANG", "C"),
        ("LOGNAME", "ada"),
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("SHELL", "/bin/bash"),
        ("USER", "ada"),
        ("WAYLAND_DISPLAY", "wayland-0"),
        ("XDG_SESSION_ID", "2"),
    ];
    let mut found = variables(&output);
    // The shell's own.
    for own in ["PWD", "OLDPWD", "SHLVL", "_"] {
        found.remove(own);
    }
    assert_eq!(found, BTreeMap::from(expected));
}

#[tokio::test]
async fn the_users_runtime_folder_and_bus_are_found_where_systemd_has_them() {
    let Some(mut running) = Running::new().await else { return };
    let make = "mkdir -p /run/user/U && touch /run/user/U/bus && chown -R U /run/user/U"
        .replace('U', &ADA.to_string());
    running.output(shell(make)).await;
    let output = running.output(in_session("env")).await;
    let found = variables(&output);
    assert_eq!(found["XDG_RUNTIME_DIR"], format!("/run/user/{ADA}"));
    assert_eq!(found["DBUS_SESSION_BUS_ADDRESS"], format!("unix:path=/run/user/{ADA}/bus"));
    running.output(shell(format!("chown -R {EVE} /run/user/{ADA}"))).await;
    assert!(!running.output(in_session("env")).await.contains("/run/user"), "it is somebody else's");
}

#[tokio::test]
async fn without_anybody_signed_in_it_says_so() {
    let Some(mut running) = Running::with(|_| {}).await else { return };
    running.desk.sign_in("c1", "gdm", ADA, "SEAT=seat0\nCLASS=greeter");
    fs::write(running.desk.path("sessions/c1"), "UID=1\nUSER=gdm\nACTIVE=1\nCLASS=greeter\n").unwrap();
    let end = running.end(in_session("true")).await;
    assert_eq!((end.outcome, end.error_code.as_deref()), (Outcome::Failed, Some("NO_USER_SESSION")));
    assert_eq!(end.error.as_deref(), Some("nobody is signed in at this machine"));
    assert_eq!(end.started_at, None);
    running.desk.sign_in("4", "ada", ADA, "");
    assert_eq!(running.output(in_session("id -un")).await, "ada\n");
    running.desk.sign_out("4");
    assert_eq!(running.end(in_session("true")).await.error_code.as_deref(), Some("NO_USER_SESSION"));
    // Somebody the account database does not know is not guessed at.
    running.desk.sign_in("5", "bob", 4_200_099, "");
    assert_eq!(running.end(in_session("true")).await.error_code.as_deref(), Some("SPAWN_FAILED"));
}

#[tokio::test]
async fn of_two_who_are_signed_in_it_is_the_one_at_the_screen() {
    let Some(mut running) = Running::new().await else { return };
    running.desk.sign_in("7", "eve", EVE, "REMOTE=1\nREALTIME=9");
    assert_eq!(running.output(in_session("id -un")).await, "ada\n");
    running.desk.sign_out("2");
    assert_eq!(running.output(in_session("id -un")).await, "eve\n");
}

#[tokio::test]
async fn a_users_rights_are_all_that_it_has() {
    let Some(mut running) = Running::new().await else { return };
    let state = running.desk.path("state/identity.json");
    let output = running.output(in_session(format!("cat {} 2>&1 || echo kept", state.display()))).await;
    assert!(output.contains("Permission denied") && output.ends_with("kept\n"), "{output}");
    let elevated = CommandStart { elevated: true, ..in_session("true") };
    assert_eq!(running.end(elevated).await.error_code.as_deref(), Some("UNSUPPORTED"));
    // Kernel and system look at the folder with the user's rights, too.
    let there = CommandStart {
        working_directory: Some(running.desk.path("state").display().to_string()),
        ..in_session("pwd")
    };
    let end = running.end(there).await;
    assert_eq!((end.outcome, end.error_code.as_deref()), (Outcome::Failed, Some("SPAWN_FAILED")));
}

#[tokio::test]
async fn a_script_is_the_users_to_read_and_nobodys_to_exchange() {
    let Some(mut running) = Running::new().await else { return };
    let text = "cd \"$(dirname \"$0\")\"; stat -c '%u %a' \"$0\" . ..
        rm -f \"$0\" 2>/dev/null; ln -s /etc/passwd \"$0.new\" 2>/dev/null; mv \"$0.new\" \"$0\" 2>/dev/null
        cd ..; mv \"$(dirname \"$0\")\" x 2>/dev/null; mkdir x 2>/dev/null; test -f \"$0\" && echo there
        echo changed >> \"$0\" 2>/dev/null; echo \"$0\"";
    let output = running.output(in_session(text)).await;
    let (path, lines) = (output.lines().last().unwrap(), output.lines().take(4).collect::<Vec<_>>());
    assert_eq!(lines, [format!("{ADA} 400").as_str(), "0 711", "0 711", "there"], "{output}");
    let folder = Path::new(path).parent().unwrap();
    // Seen from the agent's side of the mounts: nothing is left.
    let left = running.output(shell(format!("ls -A {}", folder.parent().unwrap().display()))).await;
    assert_eq!(left, "");
    // Others cannot read it while it runs.
    let waits = in_session("sleep 300");
    let command_id = waits.command_id;
    running.connection.send(ServerMessage::CommandStart(waits)).await;
    running.connection.started(command_id).await;
    let read = format!(
        "setpriv --reuid={EVE} --regid={EVE} --clear-groups cat {}/*/* {}/*",
        folder.parent().unwrap().display(),
        folder.parent().unwrap().display()
    );
    let finished = running.connection.run(shell(read)).await;
    assert_eq!((finished.end.outcome, finished.stdout.as_slice()), (Outcome::Failed, &b""[..]));
    running.connection.send(ServerMessage::CommandCancel { command_id }).await;
    assert_eq!(running.connection.finish(command_id).await.end.outcome, Outcome::Cancelled);
}

#[tokio::test]
async fn a_home_that_leads_elsewhere_is_entered_with_the_users_rights() {
    let Some(mut running) = Running::with(|desk| {
        let (home, secret) = (desk.home("ada"), desk.path("secret"));
        fs::create_dir(&secret).unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o700)).unwrap();
        fs::remove_dir(&home).unwrap();
        symlink(&secret, &home).unwrap();
        desk.sign_in("2", "ada", ADA, "SEAT=seat0");
    })
    .await
    else {
        return;
    };
    assert_eq!(running.output(in_session("/bin/pwd")).await, "/\n");
}

#[tokio::test]
async fn programs_in_the_users_folders_are_run_by_the_user_only() {
    let Some(mut running) = Running::new().await else { return };
    let (home, mark) = (running.desk.home("ada"), running.desk.home("ada").join("ran"));
    for name in ["sh", "python3", "perl"] {
        fs::write(home.join(name), format!("#!/bin/sh\nid -u >> {}\n", mark.display())).unwrap();
        fs::set_permissions(home.join(name), Permissions::from_mode(0o755)).unwrap();
    }
    let python = CommandStart { kind: CommandKind::Python, ..in_session("print(6 * 7)") };
    assert_eq!(running.output(python).await, "42\n");
    let perl = CommandStart {
        kind: CommandKind::Script,
        interpreter: Some("perl".into()),
        ..in_session("print 'perl';")
    };
    assert_eq!(running.output(perl.clone()).await, "perl");
    assert!(!mark.exists());
    // Asked for by name: it is hers, and runs as her.
    let own = CommandStart {
        command_id: gururmm_protocol::CommandId::new(),
        interpreter: Some(home.join("perl").display().to_string()),
        ..perl
    };
    running.output(own).await;
    assert_eq!(read(&mark), ADA.to_string());
}

#[tokio::test]
async fn output_input_time_limit_and_cancel_are_those_of_every_command() {
    let Some(mut running) = Running::new().await else { return };
    let echo = CommandStart { stdin: Some("typed".into()), ..in_session("cat; echo wrong >&2; exit 3") };
    let finished = running.connection.run(echo).await;
    assert_eq!((finished.stdout.as_slice(), finished.stderr.as_slice()), (&b"typed"[..], &b"wrong\n"[..]));
    assert_eq!(finished.end.exit_code, Some(3));
    let pids = running.desk.home("ada").join("pids");
    let forks =
        format!("setsid sh -c 'echo $$ >> {0}; exec sleep 300' & echo $$ >> {0}; wait", pids.display());
    let limited = CommandStart { timeout_seconds: 1, ..in_session(&forks) };
    assert_eq!(running.end(limited).await.outcome, Outcome::Timeout);
    let alive = || read(&pids).lines().filter(|pid| is_alive(pid)).count();
    assert_eq!((read(&pids).lines().count(), alive()), (2, 0));
    let cancelled = in_session(&forks);
    let command_id = cancelled.command_id;
    running.connection.send(ServerMessage::CommandStart(cancelled)).await;
    eventually("it runs", || alive() == 2).await;
    running.connection.send(ServerMessage::CommandCancel { command_id }).await;
    assert_eq!(running.connection.finish(command_id).await.end.outcome, Outcome::Cancelled);
    assert_eq!(alive(), 0);
}

#[tokio::test]
async fn an_agent_without_full_rights_serves_its_own_users_session_only() {
    let mut server = TestServer::start().await;
    let Some(desk) = Desk::new(&server) else { return };
    for path in ["state", "state/identity.json"] {
        chown(desk.path(path), Some(ADA), Some(ADA)).unwrap();
    }
    desk.sign_in("2", "ada", ADA, "SEAT=seat0");
    let mut command = desk.command("", Path::new("/usr/bin/setpriv"));
    command.args([format!("--reuid={ADA}"), format!("--regid={ADA}"), "--init-groups".into(), "--".into()]);
    command.arg(PROGRAM).arg("run").arg("--state-dir").arg(desk.path("state")).stderr(Stdio::null());
    let _agent = Process(command.spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    let finished = connection.run(in_session("id -un; pwd")).await;
    let expected = format!("ada\n{}\n", desk.home("ada").canonicalize().unwrap().display());
    assert_eq!(String::from_utf8(finished.stdout).unwrap(), expected, "{:?}", finished.end.error);
    desk.sign_out("2");
    desk.sign_in("3", "eve", EVE, "SEAT=seat0");
    let end = connection.run(in_session("id -un")).await.end;
    assert_eq!(end.error_code.as_deref(), Some("UNSUPPORTED"), "{:?}", end.error);
}

/// A killed agent's leftovers are removed, and what was put in their place is not followed.
#[tokio::test]
async fn a_planted_folder_for_scripts_is_not_used() {
    let mut server = TestServer::start().await;
    let Some(desk) = Desk::new(&server) else { return };
    desk.sign_in("2", "ada", ADA, "SEAT=seat0");
    let canary = desk.path("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("file"), "kept").unwrap();
    chown(&canary, Some(ADA), None).unwrap();
    let run = gururmm_agent::os::run_folder(&desk.path("state"));
    let prelude = format!("ln -s {} {}", canary.display(), run.display());
    let mut command = desk.command(&prelude, Path::new(PROGRAM));
    command.arg("run").arg("--state-dir").arg(desk.path("state")).stderr(desk.log());
    let _agent = Process(command.spawn().unwrap());
    let (mut connection, _) = server.welcome().await;
    let end = connection.run(in_session("true")).await.end;
    assert_eq!(end.error_code.as_deref(), Some("JOURNAL_FAILED"), "{:?}", end.error);
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 1);
    assert_eq!(read(canary.join("file")), "kept");
}
