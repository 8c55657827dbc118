//! Shells of the user who is signed in.

use super::bench::*;
use crate::desk::*;
use crate::harness::*;
use gururmm_protocol::command::RunContext;
use gururmm_protocol::tunnel::terminal::OpenTerminal;
use gururmm_protocol::tunnel::{Consent, ErrorCode, OpenChannel, TunnelOpen};
use gururmm_protocol::{AgentMessage, ServerMessage, TunnelId};

fn as_user() -> OpenChannel {
    OpenChannel::Terminal(OpenTerminal { shell: None, context: RunContext::UserSession, size: SIZE })
}

#[tokio::test]
async fn a_users_shell_has_the_users_rights_home_and_terminal() {
    let mut server = TestServer::start().await;
    let Some(desk) = Desk::new(&server) else { return };
    let _agent = desk.start();
    let mut bench = Bench::open(&mut server).await;
    bench.start(1, 1_000, as_user()).await;
    assert_eq!(bench.end_of(1).await.error.unwrap().code, ErrorCode::NoUserSession);
    desk.sign_in("2", "ada", ADA, "SEAT=seat0");
    bench.channel(2, 100_000, as_user()).await;
    let mut screen = Screen { channel: 2, shown: Vec::new(), typed: 0 };
    screen.type_in(&mut bench, "PS1='REA'\"DY> \"; bind 'set enable-bracketed-paste off'; clear\n").await;
    screen.until(&mut bench, "READY> ").await;
    let own =
        screen.run(&mut bench, "id -un; pwd; echo $TERM; stat -c %u $(tty); ps -o sid= -p $$; echo $$").await;
    let lines: Vec<_> = own.lines().map(str::trim).collect();
    let home = desk.home("ada").canonicalize().unwrap();
    let expected = ["ada", home.to_str().unwrap(), "xterm-256color", &ADA.to_string()];
    assert_eq!(lines[..4], expected, "{own}");
    assert_eq!(lines[4], lines[5], "{own}");
    let state = desk.path("state/identity.json");
    let read =
        screen.run(&mut bench, &format!("cat {} >/dev/null 2>&1 || echo denied", state.display())).await;
    assert_eq!(read, "denied\n");
    let caps = screen.run(&mut bench, "grep -c 'Cap[A-Z][a-z][a-z]:.0000000000000000' /proc/$$/status").await;
    assert!(caps.trim().parse::<u32>().unwrap() >= 4, "{caps}");
    assert_eq!(
        screen.run(&mut bench, "jobs; sleep 300 & kill %1; echo here").await.lines().last(),
        Some("here")
    );
}

#[tokio::test]
async fn who_is_signed_in_is_not_passed_over() {
    let mut server = TestServer::start().await;
    let Some(desk) = Desk::new(&server) else { return };
    let _agent = desk.start();
    let (mut connection, _) = server.welcome().await;
    let mut open = async |is_open: bool| {
        let order = TunnelOpen { consent: Consent::WhenSignedIn, ..order(TunnelId::new()) };
        connection.send(ServerMessage::TunnelOpen(order)).await;
        let answer = connection
            .wait_for(|message| match message {
                AgentMessage::TunnelReady(_) => Some(true),
                AgentMessage::TunnelRefused(_) => Some(false),
                _ => None,
            })
            .await;
        assert_eq!(answer, is_open);
    };
    open(true).await;
    desk.sign_in("2", "ada", ADA, "SEAT=seat0");
    open(false).await;
    desk.sign_out("2");
    open(true).await;
}
