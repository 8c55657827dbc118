//! Shells: typed into, looked at, left and come back to.

use super::bench::*;
use crate::binary::Process;
use crate::harness::*;
use gururmm_protocol::ServerMessage;
use gururmm_protocol::tunnel::frame::OFFSET_BYTES;
use gururmm_protocol::tunnel::terminal::{OpenTerminal, TerminalMessage, TerminalSize};
use gururmm_protocol::tunnel::{
    ChannelKind, ErrorCode, FrameKind, MAX_WINDOW_BYTES, OpenChannel, Opened, Presence, SCROLLBACK_BYTES,
    SESSION_CHANNEL, Whereabouts,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[tokio::test]
async fn a_shell_is_typed_into_in_a_terminal_of_its_own() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let mut screen = Screen::open(&mut bench, 1).await;
    assert_eq!(screen.run(&mut bench, "stty size").await, "24 80\n");
    // While something runs: at its prompt the shell would draw that again, whenever it hears of it.
    let waits = "echo waits; until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; stty size\n";
    screen.type_in(&mut bench, waits).await;
    screen.until(&mut bench, "waits\r\n").await;
    let size = TerminalMessage::Resize(TerminalSize { columns: 132, rows: 50 });
    bench.say(1, FrameKind::Message, &size).await;
    assert!(screen.until(&mut bench, "READY> ").await.contains("50 132\r\n"));
    assert_eq!(screen.run(&mut bench, "echo grüße-$((6 * 7)) 𝄞").await, "grüße-42 𝄞\n");
    // It leads its session, has the terminal for itself, and nothing of the agent's.
    let own = screen.run(&mut bench, "ps -o sid= -p $$; echo $$; tty; echo $TERM; pwd; echo ~").await;
    let lines: Vec<_> = own.lines().map(str::trim).collect();
    assert_eq!(lines[0], lines[1], "{own}");
    assert!(lines[2].starts_with("/dev/pts/"), "{own}");
    assert_eq!((lines[3], lines[4]), ("xterm-256color", lines[5]), "{own}");
    let env = screen.run(&mut bench, "env | grep -ci gururmm").await;
    assert_eq!(env, "0\n", "it has something of the agent's");
    // Keys go through as they are: this ends what runs, and the shell stays.
    screen.type_in(&mut bench, "sleep 300\n").await;
    screen.until(&mut bench, "sleep 300").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    screen.type_in(&mut bench, "\u{3}").await;
    screen.until(&mut bench, "READY> ").await;
    assert_eq!(screen.run(&mut bench, "echo $?").await, "130\n");
    screen.type_in(&mut bench, "exit 7\n").await;
    let end = bench.end_of(1).await;
    assert_eq!((end.exit_code, end.error), (Some(7), None));
}

#[tokio::test]
async fn several_at_once_are_told_apart_and_only_known_shells_start() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let (mut one, mut two) = (Screen::open(&mut bench, 1).await, Screen::open(&mut bench, 2).await);
    one.run(&mut bench, "WHO=one").await;
    two.run(&mut bench, "WHO=two").await;
    assert_eq!(one.run(&mut bench, "echo $WHO").await, "one\n");
    assert_eq!(two.run(&mut bench, "echo $WHO").await, "two\n");
    for shell in ["/usr/bin/env", "bash", "/bin/sh -c 'touch /tmp/x'", "/bin/../bin/bash", ""] {
        let open = OpenTerminal { shell: Some(shell.into()), context: Default::default(), size: SIZE };
        bench.start(3, 1_000, OpenChannel::Terminal(open)).await;
        assert_eq!(bench.end_of(3).await.error.unwrap().code, ErrorCode::NotFound, "{shell}");
    }
    let ready = bench.reopen().await;
    assert!(
        ready
            .shells
            .iter()
            .any(|shell| (shell.name.as_str(), shell.program.as_str()) == ("bash", "/bin/bash"))
    );
    assert!(!ready.kinds.contains(&ChannelKind::Registry));
    let live: Vec<_> = ready.channels.iter().map(|live| (live.channel, live.label.as_str())).collect();
    assert_eq!(live, [(1, "bash"), (2, "bash")]);
    bench.start(4, 1_000, OpenChannel::Registry {}).await;
    assert_eq!(bench.end_of(4).await.error.unwrap().code, ErrorCode::Unsupported);
}

#[tokio::test]
async fn after_a_lost_link_the_same_shell_goes_on_and_nothing_is_lost_or_doubled() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let mut screen = Screen::open(&mut bench, 1).await;
    screen.run(&mut bench, "SECRET=kept").await;
    // Twenty thousand lines while the link breaks somewhere among them.
    screen
        .type_in(&mut bench, "for i in $(seq 20000); do echo \"line $i\"; done; echo all\\ of\\ them\n")
        .await;
    screen.until(&mut bench, "line 1000\r\n").await;
    bench.connection.socket.close(None).await.unwrap();
    let (connection, hello) = server.welcome().await;
    assert_eq!(hello.tunnels, [bench.session]);
    bench.connection = connection;
    bench.frames.clear();
    let ready = bench.reopen().await;
    assert_eq!(ready.channels.len(), 1);
    let have = screen.shown.len() as u64;
    let opened = bench.attach(1, have, 256 * 1024).await;
    assert_eq!((opened.from, opened.received), (have, screen.typed));
    while !screen.shown.ends_with(b"all of them\r\nREADY> ") {
        screen.take(&mut bench).await;
    }
    let text = String::from_utf8(screen.shown.clone()).unwrap();
    let lines: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("line ")).collect();
    let expected: Vec<_> = (1..=20_000).map(|number| number.to_string()).collect();
    assert_eq!(lines, expected);
    // What is typed twice because its arrival was not known runs once.
    let offset = screen.typed;
    screen.type_in(&mut bench, "echo $SECRET\n").await;
    bench.data(1, offset, b"echo $SECRET\n").await;
    let shown = screen.until(&mut bench, "READY> ").await;
    assert_eq!(shown.matches("kept").count(), 1, "{shown}");
    // A page that was loaded again has nothing, and gets the beginning.
    let opened = bench.attach(1, 0, 256 * 1024).await;
    assert_eq!(opened.from, 0);
    let before = std::mem::take(&mut screen.shown);
    while screen.shown.len() < before.len() {
        screen.take(&mut bench).await;
    }
    assert_eq!(screen.shown, before);
}

#[tokio::test]
async fn while_nobody_is_there_the_shell_works_on_and_the_last_of_it_is_kept() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let mut screen = Screen::open(&mut bench, 1).await;
    let done = shows_much(&mut bench, &mut screen, &agent.state_dir()).await;
    server.set_mode(Mode::Refuse(502, "NOBODY"));
    bench.connection.socket.close(None).await.unwrap();
    eventually("it is done without anybody", || done.exists()).await;
    server.set_mode(Mode::Accept);
    let (connection, _) = server.welcome().await;
    bench.connection = connection;
    bench.frames.clear();
    bench.reopen().await;
    finds_the_last_of_it(&mut bench, &screen).await;
}

/// The server says so, while the link stands.
#[tokio::test]
async fn while_the_tech_is_away_the_shell_works_on_and_the_last_of_it_is_kept() {
    let mut server = TestServer::start().await;
    let agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let mut screen = Screen::open(&mut bench, 1).await;
    let done = shows_much(&mut bench, &mut screen, &agent.state_dir()).await;
    bench.say(SESSION_CHANNEL, FrameKind::Message, &Presence { tech: Whereabouts::Away }).await;
    eventually("it is done without anybody", || done.exists()).await;
    finds_the_last_of_it(&mut bench, &screen).await;
}

/// Has the shell show far more than is kept, after a moment; gives the file that is made when it has.
async fn shows_much(bench: &mut Bench, screen: &mut Screen, folder: &Path) -> PathBuf {
    let done = folder.join("done");
    let line = format!(
        "sleep 0.3; yes 0123456789abcde | head -c 8000000; echo; echo the end; touch {}\n",
        done.display()
    );
    screen.type_in(bench, &line).await;
    screen.until(bench, "touch").await;
    done
}

/// Attaches, and is shown as much as is kept: up to the prompt.
async fn finds_the_last_of_it(bench: &mut Bench, screen: &Screen) {
    let have = screen.shown.len() as u64;
    let opened = bench.attach(1, have, MAX_WINDOW_BYTES).await;
    assert!(opened.from > have, "more was kept than there is room for");
    let mut shown = Vec::new();
    while !String::from_utf8_lossy(&shown[shown.len().saturating_sub(200)..]).contains("READY> ") {
        let got = bench.next_of(1).await;
        assert_eq!(got.body[..OFFSET_BYTES], (opened.from + shown.len() as u64).to_be_bytes());
        shown.extend_from_slice(&got.body[OFFSET_BYTES..]);
    }
    // What the terminal still held when somebody came is shown behind it.
    let kept = SCROLLBACK_BYTES..SCROLLBACK_BYTES + 64 * 1024;
    assert!(kept.contains(&shown.len()), "{} bytes", shown.len());
    assert!(String::from_utf8_lossy(&shown).contains("0123456789abcde\r\n\r\nthe end\r\n"));
}

/// A gibibyte, of which nobody takes more than a window.
#[tokio::test]
async fn a_shell_whose_output_nobody_takes_stands_still_and_costs_nothing() {
    let mut server = TestServer::start().await;
    let dir = TestAgent::enrolled(&server.url);
    let agent = Process::start(dir.path());
    let mut bench = Bench::open(&mut server).await;
    let mut screen = Screen::open(&mut bench, 1).await;
    let before = resident_kib(agent.0.id());
    let mark = dir.path().join("done");
    bench.grants = false;
    let line = format!("yes $(seq 100) | head -c 1073741824; touch {}\n", mark.display());
    screen.type_in(&mut bench, &line).await;
    let mut taken = 0;
    let until = Instant::now() + Duration::from_secs(4);
    while Instant::now() < until {
        match tokio::time::timeout(Duration::from_millis(300), bench.next()).await {
            Ok(got) if got.kind == FrameKind::Data => taken += got.body.len(),
            Ok(_) => {}
            Err(_) => break,
        }
    }
    assert!(taken <= 300 * 1024, "{taken} bytes came without being granted");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!mark.exists(), "somebody takes it");
    let grown = resident_kib(agent.0.id()).saturating_sub(before);
    assert!(grown < 2 * 1024, "{grown} KiB more");
    // Commands and heartbeats do not mind.
    assert_eq!(bench.connection.run(shell("echo there")).await.stdout, b"there\n");
    // And on it goes, from where it stood.
    bench.grants = true;
    let opened = bench.attach(1, screen.shown.len() as u64, MAX_WINDOW_BYTES).await;
    assert_eq!(opened.from, screen.shown.len() as u64);
    while screen.shown.len() < 40 << 20 {
        screen.take(&mut bench).await;
    }
    let grown = resident_kib(agent.0.id()).saturating_sub(before);
    assert!(grown < 8 * 1024, "{grown} KiB more");
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test]
async fn a_closed_session_ends_its_shells_with_all_in_them() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let mut screen = Screen::open(&mut bench, 1).await;
    // In the foreground, in the background, and deaf to being hung up.
    let own = screen.run(&mut bench, "sleep 301 & (trap '' HUP TERM; exec sleep 302) & echo $$ $!").await;
    let pids: Vec<String> =
        own.split_whitespace().map(str::to_owned).filter(|word| word.parse::<u32>().is_ok()).collect();
    screen.type_in(&mut bench, "sh -c 'echo inner $$; exec sleep 303'\n").await;
    let shown = screen.until(&mut bench, "inner ").await;
    let inner = shown.rsplit("inner ").next().unwrap().split_whitespace().next().map(str::to_owned);
    let alive = || pids.iter().chain(&inner).any(|pid| is_alive(pid));
    assert!(pids.len() >= 2 && alive());
    bench.close().await;
    eventually("all are ended", || !alive()).await;
    bench.start(5, 1_000, terminal()).await;
    assert_eq!(bench.end_of(5).await.error.unwrap().code, ErrorCode::Closed);
    bench.session = gururmm_protocol::TunnelId::new();
    bench.frames.clear();
    bench.reopen().await;
    // So does a channel that the tech closes, and an agent that stops.
    let mut screen = Screen::open(&mut bench, 1).await;
    let pid = screen.run(&mut bench, "echo $$").await.trim().to_owned();
    bench.say(1, FrameKind::End, &gururmm_protocol::tunnel::ChannelEnd::default()).await;
    bench.end_of(1).await;
    assert!(!is_alive(&pid));
    let mut screen = Screen::open(&mut bench, 2).await;
    let pid = screen.run(&mut bench, "echo $$").await.trim().to_owned();
    let (took, _) = _agent.stop().await;
    assert!(!is_alive(&pid) && took < Duration::from_secs(5), "{took:?}");
}

#[tokio::test]
async fn a_session_is_refused_where_the_user_would_have_to_be_asked() {
    use gururmm_protocol::AgentMessage;
    use gururmm_protocol::tunnel::order::Refusal;
    use gururmm_protocol::tunnel::{Consent, TunnelOpen};
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, hello) = server.welcome().await;
    assert_eq!(hello.tunnels, []);
    let session = gururmm_protocol::TunnelId::new();
    let asked = TunnelOpen { consent: Consent::Always, ..order(session) };
    connection.send(ServerMessage::TunnelOpen(asked)).await;
    let refused = connection
        .wait_for(|message| match message {
            AgentMessage::TunnelRefused(refused) => Some(refused),
            AgentMessage::TunnelReady(_) => panic!("it is open"),
            _ => None,
        })
        .await;
    assert_eq!((refused.tunnel_id, refused.reason), (session, Refusal::ConsentUnavailable));
}

#[tokio::test]
async fn a_shell_that_ended_while_nobody_was_there_says_how() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let mut screen = Screen::open(&mut bench, 1).await;
    screen.type_in(&mut bench, "sleep 0.3; echo last words; exit 9\n").await;
    screen.until(&mut bench, "exit 9").await;
    server.set_mode(Mode::Refuse(502, "NOBODY"));
    bench.connection.socket.close(None).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    server.set_mode(Mode::Accept);
    let (connection, _) = server.welcome().await;
    bench.connection = connection;
    bench.frames.clear();
    bench.reopen().await;
    let opened: Opened = bench.attach(1, screen.shown.len() as u64, 100_000).await;
    assert_eq!(opened.from, screen.shown.len() as u64);
    screen.until(&mut bench, "last words\r\n").await;
    assert_eq!(bench.end_of(1).await.exit_code, Some(9));
}
