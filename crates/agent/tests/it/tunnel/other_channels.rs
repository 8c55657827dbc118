//! Processes, services, the journal, and forwarded ports.

use super::bench::*;
use crate::binary::{PROGRAM, Process};
use crate::harness::*;
use gururmm_protocol::tunnel::events::{EventsMessage, Level, OpenEvents};
use gururmm_protocol::tunnel::frame::{OFFSET_BYTES, data_body};
use gururmm_protocol::tunnel::processes::{Priority, ProcessAnswer, ProcessKey, ProcessRequest};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::services::{ServiceAnswer, ServiceRequest, ServiceState, Startup};
use gururmm_protocol::tunnel::{ErrorCode, Flags, FrameKind, OpenChannel};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

#[tokio::test]
async fn processes_are_listed_watched_and_ended() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    bench.channel(1, 256 * 1024, OpenChannel::Processes {}).await;
    let mut child = Command::new("/bin/sh")
        .args(["-c", "sleep 311 & sleep 312 & wait"])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let pid = child.id();
    let find = |parts: &[ProcessAnswer]| {
        let processes = parts.iter().flat_map(|part| match part {
            ProcessAnswer::Processes { processes } => processes.clone(),
            other => panic!("{other:?}"),
        });
        let processes: Vec<_> = processes.collect();
        let own = processes.iter().find(|process| process.key.pid == pid).cloned();
        let children = processes.iter().filter(|process| process.parent == Some(pid)).count();
        (own, children)
    };
    let mut id = 0;
    let listed = loop {
        id += 1;
        let (parts, reply) = bench.ask(1, id, ProcessRequest::List {}).await;
        let Ok(ProcessAnswer::Figures { processes, memory_bytes, .. }) = reply else { panic!("{reply:?}") };
        assert!(processes > 2 && memory_bytes > 0);
        if let (Some(own), 2) = find(&parts) {
            break own;
        }
    };
    assert!(listed.command_line.unwrap().contains("sleep 311"));
    assert_eq!(listed.priority, Some(Priority::Normal));
    // Again and again, until something else is to be watched.
    bench
        .say(
            1,
            FrameKind::Message,
            &Request { id: 90, request: ProcessRequest::Watch { interval_ms: 1_000 } },
        )
        .await;
    let mut lists = 0;
    while lists < 2 {
        let got = bench.next_of(1).await;
        let response: Response<ProcessAnswer> = serde_json::from_slice(&got.body).unwrap();
        assert_eq!(response.id, 90);
        match response.answer {
            Answer::Part(ProcessAnswer::Figures { .. }) => lists += 1,
            Answer::Part(ProcessAnswer::Processes { processes }) => {
                // Others come and go meanwhile.
                let own = processes.iter().find(|process| process.key.pid == pid);
                assert!(own.is_none_or(|process| process.cpu_percent.is_some()));
            }
            other => panic!("{other:?}"),
        }
    }
    bench
        .say(1, FrameKind::Message, &Request { id: 91, request: ProcessRequest::Watch { interval_ms: 0 } })
        .await;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        let got = bench.next_of(1).await;
        let response: Response<ProcessAnswer> = serde_json::from_slice(&got.body).unwrap();
        if let Answer::Reply(ProcessAnswer::Done {}) = response.answer {
            ended.push(response.id);
        }
    }
    ended.sort();
    assert_eq!(ended, [90, 91]);
    let low = ProcessRequest::SetPriority { process: listed.key, priority: Priority::Low };
    let (_, done) = bench.ask::<_, ProcessAnswer>(1, 100, low).await;
    assert_eq!(done.unwrap(), ProcessAnswer::Done {});
    let other = ProcessKey { started_ms: listed.key.started_ms + 10, ..listed.key };
    let kill = |process, tree| ProcessRequest::Kill { process, tree, force: false };
    let (_, refused) = bench.ask::<_, ProcessAnswer>(1, 101, kill(other, true)).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound);
    assert!(child.try_wait().unwrap().is_none());
    let (_, killed) = bench.ask::<_, ProcessAnswer>(1, 102, kill(listed.key, true)).await;
    assert_eq!(killed.unwrap(), ProcessAnswer::Killed { processes: 3 });
    assert!(!child.wait().unwrap().success());
    let own = ProcessKey { pid: std::process::id(), started_ms: 0 };
    let (_, refused) = bench.ask::<_, ProcessAnswer>(1, 103, kill(own, false)).await;
    assert!(refused.is_err());
    bench.send(1, FrameKind::Message, Flags::default(), b"{}").await;
    assert_eq!(bench.end_of(1).await.error.unwrap().code, ErrorCode::Invalid);
}

/// A machine's `systemctl` and `journalctl`, as far as they are asked: scripts that keep what they are told.
fn tools(folder: &Path) {
    let script = |name: &str, text: &str| {
        let path = folder.join("bin").join(name);
        fs::write(&path, format!("#!/bin/bash\ncd {}\n{text}", folder.display())).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    fs::create_dir(folder.join("bin")).unwrap();
    fs::write(folder.join("active"), "inactive").unwrap();
    fs::write(folder.join("enabled"), "disabled").unwrap();
    script(
        "systemctl",
        r#"printf '%s|' "$@" >> asked; echo >> asked
        name="${@: -1}"
        show() { printf 'Id=web.service\nDescription=The web\nLoadState=loaded\nActiveState=%s\nUnitFileState=%s\nMainPID=0\nUser=www\n' "$(cat active)" "$(cat enabled)"; }
        case "$1 $name" in
            *broken.service) echo "Failed to $1 broken.service: Unit broken.service not found." >&2; exit 5;;
            "show web.service") show;;
            show*) show;;
            list-unit-files*) echo "cups.service disabled enabled";;
            start*|restart*) echo -n active > active;;
            stop*) echo -n inactive > active;;
            enable*) echo -n enabled > enabled;;
            disable*) echo -n disabled > enabled;;
            mask*) echo -n masked > enabled;;
            unmask*) if grep -q masked enabled; then echo -n disabled > enabled; fi;;
        esac"#,
    );
    script(
        "journalctl",
        r#"printf '%s|' "$@" >> asked; echo >> asked
        [ ! -e no-journal ] || exit 0
        entry() { echo "{\"__CURSOR\":\"c$1\",\"__REALTIME_TIMESTAMP\":\"$((1893456000000000 + $1 * 1000000))\",\"PRIORITY\":\"$2\",\"SYSLOG_IDENTIFIER\":\"web\",\"_PID\":\"7\",\"MESSAGE\":\"entry $1\"}"; }
        case " $* " in
            *short-iso*) echo "2030-01-01T00:00:00 web[7]: one"; echo "2030-01-01T00:00:01 web[7]: two";;
            *" --follow "*) entry 500 4; sleep 0.2; entry 501 3; exec sleep 300;;
            *) for i in $(seq 300 -1 1); do entry $i $((i % 8)); done;;
        esac"#,
    );
}

fn start_with_tools(server: &TestServer) -> (tempfile::TempDir, Process) {
    let dir = TestAgent::enrolled(&server.url);
    tools(dir.path());
    let mut command = Command::new(PROGRAM);
    command.arg("run").arg("--state-dir").arg(dir.path().join("state")).stderr(Stdio::null());
    let path = format!("{}:{}", dir.path().join("bin").display(), std::env::var("PATH").unwrap());
    let process = Process(command.env("PATH", path).spawn().unwrap());
    (dir, process)
}

#[tokio::test]
async fn services_are_listed_started_stopped_and_switched() {
    let mut server = TestServer::start().await;
    let (dir, _agent) = start_with_tools(&server);
    let mut bench = Bench::open(&mut server).await;
    bench.channel(1, 256 * 1024, OpenChannel::Services {}).await;
    let (parts, reply) = bench.ask::<_, ServiceAnswer>(1, 1, ServiceRequest::List {}).await;
    assert_eq!(reply.unwrap(), ServiceAnswer::Count { services: 2, manager: "systemd".into() });
    let [ServiceAnswer::Services { services }] = &parts[..] else { panic!("{parts:?}") };
    assert_eq!((services[0].name.as_str(), services[1].name.as_str()), ("cups.service", "web.service"));
    let web = || "web.service".to_owned();
    let changes = [
        (ServiceRequest::Start { name: web() }, ServiceState::Running, Startup::Manual),
        (
            ServiceRequest::SetStartup { name: web(), startup: Startup::Automatic },
            ServiceState::Running,
            Startup::Automatic,
        ),
        (ServiceRequest::Stop { name: web() }, ServiceState::Stopped, Startup::Automatic),
        (ServiceRequest::Restart { name: "web".into() }, ServiceState::Running, Startup::Automatic),
        (
            ServiceRequest::SetStartup { name: web(), startup: Startup::Disabled },
            ServiceState::Running,
            Startup::Disabled,
        ),
        (
            ServiceRequest::SetStartup { name: web(), startup: Startup::Manual },
            ServiceState::Running,
            Startup::Manual,
        ),
    ];
    for (id, (request, state, startup)) in changes.into_iter().enumerate() {
        let (_, reply) = bench.ask::<_, ServiceAnswer>(1, 10 + id as u32, request).await;
        let ServiceAnswer::Service { service } = reply.unwrap() else { panic!("no service") };
        assert_eq!(
            (service.state, service.startup, service.user.as_deref()),
            (state, Some(startup), Some("www"))
        );
    }
    let broken = ServiceRequest::Start { name: "broken".into() };
    let (_, refused) = bench.ask::<_, ServiceAnswer>(1, 20, broken).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::NotFound);
    let delayed = ServiceRequest::SetStartup { name: web(), startup: Startup::Delayed };
    let (_, refused) = bench.ask::<_, ServiceAnswer>(1, 21, delayed).await;
    assert_eq!(refused.unwrap_err().code, ErrorCode::Unsupported);
    let (_, log) =
        bench.ask::<_, ServiceAnswer>(1, 22, ServiceRequest::Log { name: web(), lines: 9_999 }).await;
    let ServiceAnswer::Log { lines } = log.unwrap() else { panic!("no log") };
    assert_eq!(lines.len(), 2);
    let asked = read(dir.path().join("asked"));
    assert!(asked.contains("restart|--no-ask-password|--|web.service|"), "{asked}");
    assert!(asked.contains("--unit=web.service|--lines=500|"), "{asked}");
    for name in ["--force", "a b", "$(reboot)", "../x"] {
        let (_, refused) =
            bench.ask::<_, ServiceAnswer>(1, 30, ServiceRequest::Stop { name: name.into() }).await;
        assert_eq!(refused.unwrap_err().code, ErrorCode::Invalid, "{name}");
    }
    assert_eq!(read(dir.path().join("asked")), asked, "nothing of that came so far");
}

#[tokio::test]
async fn the_journal_is_read_from_its_end_and_followed() {
    let mut server = TestServer::start().await;
    let (dir, _agent) = start_with_tools(&server);
    let mut bench = Bench::open(&mut server).await;
    let open = OpenEvents {
        log: Some("web.service".into()),
        level: Some(Level::Warning),
        text: Some("ENTRY".into()),
        limit: 120,
        follow: true,
        ..OpenEvents::default()
    };
    bench.channel(1, 256 * 1024, OpenChannel::Events(open.clone())).await;
    let mut entries = Vec::new();
    let next = async |bench: &mut Bench| {
        let got = bench.next_of(1).await;
        assert_eq!(got.kind, FrameKind::Message, "{}", String::from_utf8_lossy(&got.body));
        serde_json::from_slice::<EventsMessage>(&got.body).unwrap()
    };
    loop {
        match next(&mut bench).await {
            EventsMessage::Events { events } => {
                assert!(events.len() <= 50);
                entries.extend(events);
            }
            EventsMessage::Caught { more } => break assert!(more),
        }
    }
    assert_eq!(entries.len(), 120);
    assert!(
        entries.is_sorted_by_key(|entry| entry.time_ms)
            && entries.iter().all(|entry| entry.level <= Level::Warning)
    );
    assert_eq!(entries.last().unwrap().text, "entry 300");
    for text in ["entry 500", "entry 501"] {
        let EventsMessage::Events { events } = next(&mut bench).await else { panic!("nothing comes") };
        assert_eq!((events.len(), events[0].text.as_str()), (1, text));
    }
    let asked = read(dir.path().join("asked"));
    assert!(asked.contains("--follow|--after-cursor=c300|--unit=web.service|--priority=4|"), "{asked}");
    bench.say(1, FrameKind::End, &gururmm_protocol::tunnel::ChannelEnd::default()).await;
    bench.end_of(1).await;
    // Only what there is: it ends by itself.
    let open = OpenEvents { follow: false, limit: 5, ..open };
    bench.channel(2, 256 * 1024, OpenChannel::Events(open.clone())).await;
    assert_eq!(bench.end_of(2).await.error, None);
    // Nothing that matches is no missing journal.
    let unmatched = OpenEvents { text: Some("no such entry".into()), ..open.clone() };
    bench.channel(3, 256 * 1024, OpenChannel::Events(unmatched)).await;
    assert_eq!(bench.end_of(3).await.error, None);
    fs::write(dir.path().join("no-journal"), "").unwrap();
    bench.channel(4, 256 * 1024, OpenChannel::Events(open)).await;
    assert_eq!(bench.end_of(4).await.error.unwrap().code, ErrorCode::Unsupported);
}

#[tokio::test]
async fn a_port_is_forwarded_where_the_policy_lets_it() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let mut bench = Bench::open(&mut server).await;
    let there = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = there.local_addr().unwrap().port();
    bench.channel(1, 256 * 1024, forward("localhost", port)).await;
    let (mut stream, _) = there.accept().await.unwrap();
    bench.data(1, 0, b"GET /").await;
    let mut buffer = [0; 5];
    stream.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"GET /");
    // Much, both ways at once, and each side says when it has said all.
    let much: Vec<u8> = (0..5_000_000_u32).map(|number| (number % 251) as u8).collect();
    let sending = tokio::spawn({
        let much = much.clone();
        async move {
            stream.write_all(&much).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut rest = Vec::new();
            stream.read_to_end(&mut rest).await.unwrap();
            rest
        }
    });
    let mut received = Vec::new();
    loop {
        let got = bench.next_of(1).await;
        assert_eq!(got.kind, FrameKind::Data);
        assert_eq!(got.body[..OFFSET_BYTES], (received.len() as u64).to_be_bytes());
        assert!(got.flags.has(Flags::BULK));
        received.extend_from_slice(&got.body[OFFSET_BYTES..]);
        if got.flags.has(Flags::FIN) {
            break;
        }
    }
    assert!(received == much);
    bench.data(1, 5, b" more").await;
    bench.send(1, FrameKind::Data, Flags::FIN, &data_body(10, b"!")).await;
    assert_eq!(sending.await.unwrap(), b" more!");
    let end = bench.end_of(1).await;
    assert_eq!((end.error, end.size), (None, Some(much.len() as u64)));
    for (host, code) in
        [("127.0.0.1", ErrorCode::NotAllowed), ("0.0.0.0", ErrorCode::NotAllowed), ("", ErrorCode::Invalid)]
    {
        bench.start(2, 1_000, forward(host, port)).await;
        assert_eq!(bench.end_of(2).await.error.unwrap().code, code, "{host}");
    }
    drop(there);
    bench.start(3, 1_000, forward("localhost", port)).await;
    assert_eq!(bench.end_of(3).await.error.unwrap().code, ErrorCode::Unreachable);
}
