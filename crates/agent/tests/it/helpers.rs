//! Users' helpers, with real processes: whose they are, how they end, and who else gets nowhere.

use crate::binary::{PROGRAM, assert_only_connected_to_the_server};
use crate::desk::*;
use crate::harness::*;
use crate::installed::{CONFIRM_SECONDS, Watchdog, kill};
use gururmm_protocol::AgentMessage;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

/// A watchdog on a machine.
struct Watched {
    desk: Desk,
    watchdog: Watchdog,
}

impl Watched {
    fn start(desk: Desk, prelude: &str) -> Self {
        fs::create_dir(desk.path("program")).unwrap();
        let program = desk.path("program/gururmm-agent");
        fs::copy(PROGRAM, &program).unwrap();
        let mut command = desk.command(prelude, &program);
        command.arg("watchdog").arg("--state-dir").arg(desk.path("state"));
        command.arg("--confirm-within").arg(CONFIRM_SECONDS.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(desk.log());
        let watchdog = Watchdog(command.spawn().unwrap());
        Self { desk, watchdog }
    }

    fn pid(&self) -> u32 {
        self.watchdog.0.id()
    }

    fn children(&self) -> Vec<u32> {
        let children = read(format!("/proc/{0}/task/{0}/children", self.pid()));
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Helpers that have become what they are.
    fn helpers(&self) -> Vec<u32> {
        let is_helper = |pid: &u32| read(format!("/proc/{pid}/cmdline")).contains("\0user-helper\0");
        self.children().into_iter().filter(is_helper).collect()
    }

    async fn helper(&self, but: Option<u32>) -> u32 {
        eventually("a helper runs", || self.helpers().into_iter().any(|pid| Some(pid) != but)).await;
        self.helpers().into_iter().find(|pid| Some(*pid) != but).unwrap()
    }

    fn run_folder(&self) -> PathBuf {
        gururmm_agent::os::run_folder(&self.desk.path("state"))
    }

    /// The same from here.
    fn seen(&self, path: &Path) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid())).join(path.strip_prefix("/").unwrap())
    }

    fn socket(&self, id: &str) -> PathBuf {
        self.run_folder().join(format!("{id}.sock"))
    }

    /// What somebody gets who connects to a socket there and says what a helper says.
    fn connect_as(&self, uid: u32, id: &str) -> String {
        let text = format!(
            "import socket\ns = socket.socket(socket.AF_UNIX)\ns.settimeout(20)\n\
             try:\n    s.connect({:?})\n    s.sendall(b'{{\"verb\":\"hello\",\"version\":1}}\\n')\n    print('answer', s.recv(100))\n\
             except OSError as error:\n    print(type(error).__name__)",
            self.socket(id).display().to_string()
        );
        let mut command = Command::new("nsenter");
        command.args([format!("--target={}", self.pid()), "--mount".into(), "/usr/bin/setpriv".into()]);
        command.args([format!("--reuid={uid}"), format!("--regid={uid}"), "--clear-groups".into()]);
        let output = command.args(["/usr/bin/python3", "-c"]).arg(text).output().unwrap();
        String::from_utf8([output.stdout, output.stderr].concat()).unwrap().trim().to_owned()
    }

    fn log(&self) -> String {
        read(self.desk.path("log"))
    }
}

/// A machine where Ada sits at a Wayland screen.
fn with_ada(server: &TestServer) -> Option<Desk> {
    let desk = Desk::new(server)?;
    desk.sign_in("2", "ada", ADA, "SEAT=seat0\nTYPE=wayland");
    Some(desk)
}

#[tokio::test]
async fn each_session_with_a_screen_has_a_helper_of_its_user() {
    let mut server = TestServer::start().await;
    let Some(desk) = with_ada(&server) else { return };
    desk.sign_in("3", "eve", EVE, "REMOTE=1\nTYPE=tty");
    let watched = Watched::start(desk, "exec 7</etc/shadow; echo 500 > /proc/self/oom_score_adj");
    let (_connection, _) = server.welcome().await;
    let helper = watched.helper(None).await;
    assert_eq!(watched.helpers(), [helper], "a terminal needs none");
    let status = read(format!("/proc/{helper}/status"));
    let four = vec![ADA.to_string(); 4].join("\t");
    for line in [format!("Uid:\t{four}"), format!("Gid:\t{four}"), format!("Groups:\t{ADA} {STAFF}")] {
        assert!(status.contains(&line), "{line} in {status}");
    }
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{set} in {status}");
    }
    assert_eq!(
        read(format!("/proc/{helper}/oom_score_adj")),
        "0",
        "it is spared as its watchdog is, or is not"
    );
    let environment = read(format!("/proc/{helper}/environ"));
    assert!(environment.contains("USER=ada") && !environment.contains("CARGO"), "{environment}");
    let open = fs::read_dir(format!("/proc/{helper}/fd")).unwrap().flatten();
    let open: Vec<_> = open.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    assert!(!open.contains(&PathBuf::from("/etc/shadow")), "it has what the watchdog has open: {open:?}");
    eventually("it is connected", || watched.log().contains("helper was started")).await;
    // Nobody of all these listens on the network.
    for pid in watched.children().into_iter().chain([watched.pid()]) {
        let may_be_connected = !watched.helpers().contains(&pid) && pid != watched.pid();
        assert_only_connected_to_the_server(pid, usize::from(may_be_connected));
    }
    let socket = fs::symlink_metadata(watched.seen(&watched.socket("2"))).unwrap();
    assert_eq!((socket.uid(), socket.mode() & 0o777), (ADA, 0o600));
    let folder = fs::symlink_metadata(watched.seen(&watched.run_folder())).unwrap();
    assert_eq!((folder.uid(), folder.mode() & 0o777), (0, 0o711));
    // Eve comes to a screen of her own.
    watched.desk.sign_in("4", "eve", EVE, "TYPE=x11\nREALTIME=5");
    let eves = watched.helper(Some(helper)).await;
    eventually("it is hers", || read(format!("/proc/{eves}/status")).contains(&format!("Uid:\t{EVE}"))).await;
    watched.desk.sign_out("2");
    eventually("Ada's helper goes with her", || watched.helpers() == [eves]).await;
    eventually("and then her socket", || !watched.seen(&watched.socket("2")).exists()).await;
}

#[tokio::test]
async fn a_helper_that_dies_is_started_again_and_none_outlives_its_watchdog() {
    let server = TestServer::start().await;
    let Some(desk) = with_ada(&server) else { return };
    let mut watched = Watched::start(desk, "");
    let first = watched.helper(None).await;
    kill(first, "-KILL");
    let second = watched.helper(Some(first)).await;
    assert!(watched.log().contains("a user's helper ended"), "{}", watched.log());
    watched.watchdog.signal("-TERM");
    assert!(watched.watchdog.0.wait().unwrap().success());
    assert!(!is_alive(&second.to_string()));

    // Killed, it can end nothing; the pipe does.
    let Watched { desk, .. } = watched;
    fs::remove_dir_all(desk.path("program")).unwrap();
    let mut watched = Watched::start(desk, "");
    let third = watched.helper(None).await;
    watched.watchdog.0.kill().unwrap();
    watched.watchdog.0.wait().unwrap();
    eventually("it ends with its watchdog", || !is_alive(&third.to_string())).await;
}

#[tokio::test]
async fn nobody_but_the_helper_is_heard_on_its_socket() {
    let server = TestServer::start().await;
    let Some(desk) = with_ada(&server) else { return };
    desk.sign_in("4", "eve", EVE, "TYPE=x11");
    let watched = Watched::start(desk, "");
    eventually("both helpers run", || watched.helpers().len() == 2).await;
    // Another account does not even come to be asked; nor does one whose own session has another socket.
    assert_eq!(watched.connect_as(EVE, "2"), "PermissionError");
    assert_eq!(watched.connect_as(ADA, "4"), "PermissionError");
    // Ada's other programs are not her helper, and nor is root.
    for uid in [ADA, 0] {
        let got = watched.connect_as(uid, "2");
        assert!(["answer b''", "ConnectionResetError", "BrokenPipeError"].contains(&got.as_str()), "{got}");
    }
    assert!(watched.log().contains("a connection to a user's helper's socket is refused"));
    // None of them has a way to put something in the socket's place.
    let folder = watched.run_folder().display().to_string();
    let attack = format!(
        "rm -f {folder}/2.sock; mv {folder} {folder}.old; touch {folder}/x; ln -s /etc/shadow {folder}/y; ls {folder}"
    );
    let output = Command::new("nsenter")
        .args([format!("--target={}", watched.pid()), "--mount".into(), "/usr/bin/setpriv".into()])
        .args([format!("--reuid={ADA}"), format!("--regid={ADA}"), "--clear-groups".into()])
        .args(["/bin/sh", "-c", &attack])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "");
    assert!(watched.seen(&watched.socket("2")).exists());
}

#[tokio::test]
async fn a_planted_run_folder_is_not_used() {
    let mut server = TestServer::start().await;
    let Some(desk) = with_ada(&server) else { return };
    let canary = desk.path("canary");
    fs::create_dir(&canary).unwrap();
    let run = gururmm_agent::os::run_folder(&desk.path("state"));
    let watched = Watched::start(desk, &format!("ln -s {} {}", canary.display(), run.display()));
    // The agent works all the same.
    let (_connection, _) = server.welcome().await;
    eventually("it says so", || watched.log().contains("is a link")).await;
    assert_eq!((watched.helpers(), fs::read_dir(&canary).unwrap().count()), (vec![], 0));
}

/// A bus as GNOME's session has it, as far as the helper asks.
async fn compositor(listener: UnixListener, milliseconds: u64) {
    let answer = |body: &[u8]| {
        let mut message = vec![b'l', 2, 0, 1];
        for number in [body.len() as u32, 9, 8] {
            message.extend(number.to_le_bytes());
        }
        message.extend([5, 1, b'u', 0, 1, 0, 0, 0]);
        message.extend(body);
        message
    };
    while let Ok((mut stream, _)) = listener.accept().await {
        let mut bytes = vec![0; 1024];
        let _ = stream.read(&mut bytes).await;
        let _ = stream.write_all(b"OK 0123\r\n").await;
        let _ = stream.write_all(&answer(b"name")).await;
        let _ = stream.write_all(&answer(&milliseconds.to_le_bytes())).await;
        let _ = stream.read(&mut bytes).await;
    }
}

#[tokio::test]
async fn what_only_the_users_programs_can_see_stands_in_the_samples() {
    let mut server = TestServer::start().await;
    let Some(desk) = with_ada(&server) else { return };
    let bus = desk.path("bus");
    let listener = UnixListener::bind(&bus).unwrap();
    fs::set_permissions(&bus, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    tokio::spawn(compositor(listener, 4_000_000));
    let address = format!("unix:path={}", bus.display());
    let _program =
        desk.program(ADA, &[("DBUS_SESSION_BUS_ADDRESS", &address), ("WAYLAND_DISPLAY", "wayland-0")]);
    let watched = Watched::start(desk, "");
    watched.helper(None).await;
    let config = gururmm_protocol::policy::AgentConfig { metrics_interval_seconds: 5, ..Default::default() };
    let (mut connection, _) = server.welcome_with(config, 30).await;
    let idle = connection
        .wait_for(|message| match message {
            AgentMessage::Metrics { sample, .. } => {
                assert_eq!(sample.logged_in_user.as_deref(), Some("ada"));
                sample.user_idle_seconds
            }
            _ => None,
        })
        .await;
    assert!((4_000..4_060).contains(&idle), "{idle}");
}
