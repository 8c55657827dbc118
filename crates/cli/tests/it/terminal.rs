//! `gururmm terminal` in a terminal of its own, typed into.

use crate::{Office, PROGRAM};
use gururmm_agent::os::terminal::{Program, Terminal};
use gururmm_protocol::tunnel::terminal::TerminalSize;
use gururmm_testkit::PATIENCE;
use gururmm_testkit::world::acme;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// What the remote shell is told first: a prompt that is nothing that a command prints.
const PLAIN: &str = "PS1='REA'\"DY> \"; bind 'set enable-bracketed-paste off'; unset PROMPT_COMMAND; clear\r";

/// The tech's terminal, in which a shell runs the program and then says how it ended.
pub struct Desk {
    terminal: Terminal,
    /// All that was ever on the screen.
    pub shown: String,
    /// What was waited for ended here.
    seen: usize,
}

impl Desk {
    /// Runs `gururmm terminal` with bash on the machine.
    pub async fn open(office: &Office) -> Self {
        const SCRIPT: &str = "export HOME=\"$1\"; before=$(stty -g); \"$0\" terminal \"$2\" --shell bash; \
            echo \"code=$?\"; [ \"$(stty -g)\" = \"$before\" ] && echo 'the terminal is as before'";
        let home = office.folder.path().to_str().unwrap();
        let arguments = ["-c", SCRIPT, PROGRAM, home, &office.name].map(Into::into).to_vec();
        let program = Program { path: "/bin/sh".into(), arguments };
        let size = TerminalSize { columns: 80, rows: 24 };
        let terminal = Terminal::start(&program, size, None).unwrap();
        let mut desk = Self { terminal, shown: String::new(), seen: 0 };
        desk.until("Ctrl-] ends the session\r\n").await;
        desk.type_in(PLAIN).await;
        desk.until("READY> ").await;
        desk
    }

    pub async fn type_in(&mut self, text: &str) {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let typed = self.terminal.keyboard.write(rest).await.unwrap();
            rest = &rest[typed..];
        }
    }

    pub fn resize(&self, columns: u16, rows: u16) {
        self.terminal.resize(TerminalSize { columns, rows }).unwrap();
    }

    /// Waits until that is shown, behind what was waited for before.
    pub async fn until(&mut self, text: &str) -> String {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let new = &self.shown[self.seen..];
            if let Some(place) = new.find(text) {
                let new = new[..place + text.len()].to_owned();
                self.seen += new.len();
                return new;
            }
            let read = timeout(PATIENCE, self.terminal.screen.read(&mut buffer)).await;
            let bytes = read.map_or(0, |read| read.unwrap());
            assert!(bytes > 0, "no {text} in {:?}", self.shown);
            self.shown.push_str(std::str::from_utf8(&buffer[..bytes]).unwrap());
        }
    }

    /// Runs a line in the remote shell; gives what it printed.
    pub async fn run(&mut self, line: &str) -> String {
        self.type_in(&format!("{line}\r")).await;
        self.until(&format!("{line}\r\n")).await;
        let shown = self.until("READY> ").await;
        shown.trim_end_matches("READY> ").replace("\r\n", "\n")
    }

    /// How the program ended; the terminal is as it was before.
    pub async fn ended(mut self) -> String {
        self.until("code=").await;
        let code = self.until("\r\n").await;
        self.until("the terminal is as before\r\n").await;
        code.trim().to_owned()
    }
}

#[tokio::test]
async fn a_shell_there_is_typed_into_here_and_ends_as_it_ends() {
    let office = Office::signed_in(&acme::TECH).await;
    let mut desk = Desk::open(&office).await;
    assert_eq!(desk.run("stty size").await, "24 80\n");
    assert_eq!(desk.run("echo gr\u{fc}\u{df}e-$((6 * 7))").await, "gr\u{fc}\u{df}e-42\n");
    // While something runs: at its prompt the shell would draw that again, whenever it hears of it.
    let waits = "echo wai''ts; until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; stty size";
    desk.type_in(&format!("{waits}\r")).await;
    desk.until("waits\r\n").await;
    desk.resize(132, 50);
    assert_eq!(desk.until("READY> ").await, "50 132\r\nREADY> ");
    // Keys go there as they are: this ends what runs, and neither the shell nor the program here.
    desk.type_in("sleep 300; echo never\r").await;
    desk.until("echo never\r\n").await;
    sleep(Duration::from_millis(200)).await;
    desk.type_in("\u{3}").await;
    desk.until("READY> ").await;
    assert_eq!(desk.run("echo $?").await, "130\n");
    desk.type_in("exit 7\r").await;
    assert_eq!(desk.ended().await, "7");
}

#[tokio::test]
async fn the_escape_key_ends_the_session_with_all_in_it() {
    let office = Office::signed_in(&acme::TECH).await;
    let mut desk = Desk::open(&office).await;
    let pid = desk.run("echo $$").await.trim().to_owned();
    assert!(std::fs::exists(format!("/proc/{pid}")).unwrap());
    desk.type_in("\u{1d}").await;
    assert_eq!(desk.ended().await, "0");
    let tech = office.server.client_as(&acme::TECH).await;
    let sessions = tech.get("/api/v1/tunnel/sessions").await.expect(200);
    assert_eq!(sessions["items"][0]["closed_reason"], "closed_by_tech", "{sessions}");
    gururmm_testkit::eventually("the shell to be gone", async || {
        (!std::fs::exists(format!("/proc/{pid}")).unwrap()).then_some(())
    })
    .await;
}
