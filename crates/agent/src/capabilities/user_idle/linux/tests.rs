//! Against a real X server, and against one that is dead.

use super::display::tests::entry;
use super::display::{COOKIE_NAME, Cookie};
use super::x11::{Connection, X11Error};
use super::*;
use crate::capabilities::user_idle::UserIdle;
use chrono::Utc;
use gururmm_protocol::metrics::Sample;
use gururmm_protocol::policy::AgentConfig;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const COOKIE: [u8; 16] = *b"sixteen bytes...";
const SOON: Duration = Duration::from_secs(20);

struct Kill(Child);

impl Drop for Kill {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An X server with a session of the test's user on it, as far as the agent looks.
struct Desk {
    folder: TempDir,
    number: u16,
    server: Kill,
    _program: Kill,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("authority");
        fs::write(&authority, entry("", COOKIE_NAME, &COOKIE)).unwrap();
        let mut server = Command::new("Xvfb")
            // As on a desk, the agent is never the only one connected: without its last client a server starts anew.
            .args(["-noreset", "-displayfd", "1", "-nolisten", "tcp", "-screen", "0", "64x64x24", "-auth"])
            .arg(&authority)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Xvfb (package xvfb)");
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let number = line.trim().parse().unwrap();
        let program = Command::new("sleep")
            .arg("600")
            .env("DISPLAY", format!(":{number}"))
            .env("XAUTHORITY", &authority)
            .spawn()
            .unwrap();
        let desk = Self { folder, number, server: Kill(server), _program: Kill(program) };
        let uid = fs::metadata(&authority).unwrap().uid();
        desk.session(&format!("UID={uid}\nTYPE=x11\nDISPLAY=:{number}\n"));
        desk
    }

    fn session(&self, fields: &str) {
        fs::create_dir_all(self.sessions()).unwrap();
        let text = format!("USER=ada\nACTIVE=1\nSEAT=seat0\nTTY=tty2\nCLASS=user\n{fields}");
        fs::write(self.sessions().join("1"), text).unwrap();
    }

    fn sessions(&self) -> PathBuf {
        self.folder.path().join("sessions")
    }

    fn display(&self) -> Display {
        Display { number: self.number, cookie: Some(Cookie(COOKIE.to_vec())) }
    }

    /// As if someone had moved the mouse: `ForceScreenSaver(Reset)`.
    async fn input(&self) {
        let mut connection = Connection::open(&self.display()).await.unwrap();
        connection.send(&[115, 0, 1, 0]).await.unwrap();
        // Answered after the request before it was done.
        connection.extension().await.unwrap();
    }

    fn signal(&self, name: &str) {
        let pid = self.server.0.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }
}

/// The display's answer once it is one that `is_it` takes.
async fn idle_until(display: &Display, is_it: impl Fn(Duration) -> bool) -> Duration {
    let asked = async {
        loop {
            let idle = x11::idle(display).await.unwrap();
            if is_it(idle) {
                return idle;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("the display never said so")
}

#[tokio::test]
async fn a_display_tells_how_long_nobody_touched_it() {
    let desk = Desk::new();
    let display = desk.display();
    let second = Duration::from_secs(1);
    idle_until(&display, |idle| idle >= second).await;
    desk.input().await;
    let idle = x11::idle(&display).await.unwrap();
    assert!(idle < second, "{idle:?}");
}

#[tokio::test]
async fn a_display_lets_in_only_whoever_has_the_cookie() {
    let desk = Desk::new();
    let wrong = Display { number: desk.number, cookie: Some(Cookie(vec![0; 16])) };
    assert!(matches!(x11::idle(&wrong).await, Err(X11Error::Refused)));
    let absent = Display { number: u16::MAX, cookie: None };
    assert!(matches!(x11::idle(&absent).await, Err(X11Error::Io(_))));
}

fn sample_of(user: &str) -> Sample {
    let config = AgentConfig { process_list: false, user_activity: false, ..AgentConfig::default() };
    let mut sampler = crate::capabilities::metrics::Sampler::new(Instant::now());
    let mut sample = sampler.sample(&config, Instant::now(), Utc::now());
    sample.logged_in_user = Some(user.to_owned());
    sample
}

/// Asks as for a sample that is due now, and completes one after the answer.
async fn completed(idle: &mut UserIdle, user: &str) -> Option<u64> {
    let mut sample = sample_of(user);
    idle.complete(Instant::now(), &mut sample);
    let due = Instant::now();
    idle.run(due, due);
    let answered = async {
        while idle.asking.is_some() {
            idle.run(due, due);
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, answered).await.expect("it hangs");
    let mut sample = sample_of(user);
    idle.complete(Instant::now(), &mut sample);
    sample.user_idle_seconds
}

fn at(desk: &Desk) -> UserIdle {
    let source = Source { sessions_dir: desk.sessions(), ..Source::default() };
    UserIdle { source, ..UserIdle::default() }
}

#[tokio::test]
async fn a_sample_says_how_long_the_user_of_an_x_session_is_idle() {
    let desk = Desk::new();
    let mut idle = at(&desk);
    idle_until(&desk.display(), |idle| idle >= Duration::from_secs(1)).await;
    assert!(completed(&mut idle, "ada").await.unwrap() >= 1);
    // Known from here on, and asked again all the same.
    assert!(idle.source.known.is_some());
    desk.input().await;
    assert_eq!(completed(&mut idle, "ada").await, Some(0));
    // It is the time of nobody else.
    assert_eq!(completed(&mut idle, "bob").await, None);
}

#[tokio::test]
async fn nothing_is_asked_of_sessions_without_an_x_display() {
    let desk = Desk::new();
    let mut idle = at(&desk);
    for kind in ["TYPE=wayland", "TYPE=tty"] {
        desk.session(&format!("UID=0\n{kind}\nDISPLAY=:{}\n", desk.number));
        assert!(idle.source.ask().is_none(), "{kind}");
    }
    // Nor for samples that know already, or that name nobody.
    desk.session(&format!("UID=0\nTYPE=x11\nDISPLAY=:{}\n", desk.number));
    let mut sample = sample_of("ada");
    sample.user_idle_seconds = Some(7);
    idle.complete(Instant::now(), &mut sample);
    assert_eq!((sample.user_idle_seconds, idle.next(Instant::now())), (Some(7), None));
    sample.logged_in_user = None;
    sample.user_idle_seconds = None;
    idle.complete(Instant::now(), &mut sample);
    assert_eq!((sample.user_idle_seconds, idle.next(Instant::now())), (None, None));
}

#[tokio::test]
async fn a_display_that_hangs_costs_the_figure_and_nothing_else() {
    let desk = Desk::new();
    let mut idle = at(&desk);
    assert!(completed(&mut idle, "ada").await.is_some());
    desk.signal("-STOP");
    let begun = Instant::now();
    let due = begun + Duration::from_secs(60);
    idle.seen = None;
    idle.run(due, due);
    assert!(idle.asking.is_some() && begun.elapsed() < Duration::from_secs(1), "asking takes no time");
    assert_eq!(completed(&mut idle, "ada").await, None);
    // It lives again: found anew.
    desk.signal("-CONT");
    assert!(completed(&mut idle, "ada").await.is_some());
}

#[tokio::test]
async fn a_display_nobody_takes_connections_of_does_not_block() {
    let number = 60_000 + (std::process::id() % 5_000) as u16;
    let path = PathBuf::from(format!("/tmp/.X11-unix/X{number}"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let display = Display { number, cookie: None };
    let limit = Duration::from_millis(100);
    assert!(tokio::time::timeout(limit, x11::idle(&display)).await.is_err());
    drop(listener);
    fs::remove_file(&path).unwrap();
}
