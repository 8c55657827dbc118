//! What scripts do in a session by HTTP requests, with a machine that answers as an agent would.

use crate::tunnel_socket::Scene;
use gururmm_protocol::tunnel::events::{EventsMessage, Level, LogEntry};
use gururmm_protocol::tunnel::files::{Entry, EntryKind, FileAnswer, FileRequest, UploadMessage};
use gururmm_protocol::tunnel::processes::{Process, ProcessAnswer, ProcessKey, ProcessRequest};
use gururmm_protocol::tunnel::registry::{RegistryAnswer, RegistryRequest};
use gururmm_protocol::tunnel::request::{Answer, Request, Response};
use gururmm_protocol::tunnel::services::{Service, ServiceAnswer, ServiceRequest, ServiceState};
use gururmm_protocol::tunnel::{
    BULK_WINDOW_BYTES, ChannelEnd, ChannelError, ErrorCode, FrameKind, Open, OpenChannel, Opened,
    SERVER_CHANNELS, WINDOW_BYTES,
};
use gururmm_testkit::TunnelMachine;
use gururmm_testkit::tunnel::OwnFrame;
use gururmm_testkit::world::acme;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A machine that answers channels of the server's own, as long as a request runs.
struct Answering {
    machine: TunnelMachine,
    session: Uuid,
    /// What was asked for.
    asked: Vec<OpenChannel>,
}

impl Answering {
    /// The next channel that is opened: its number.
    async fn opens(&mut self, window: u32) -> u32 {
        let frame = self.machine.frame(self.session).await;
        assert_eq!(frame.kind, FrameKind::Open, "{frame:?}");
        assert!(frame.channel >= SERVER_CHANNELS);
        self.asked.push(frame.read::<Open>().channel);
        let opened = Opened { window, ..Opened::default() };
        self.machine.opened(self.session, frame.channel, opened).await;
        frame.channel
    }

    /// The request in a channel that was just opened, answered by parts, then by a reply or an error.
    async fn answers<R: DeserializeOwned, A: Serialize + Clone>(
        &mut self,
        parts: &[A],
        reply: Answer<A>,
    ) -> R {
        let channel = self.opens(WINDOW_BYTES).await;
        let request: Request<R> = self.machine.frame(self.session).await.read();
        for answer in parts.iter().cloned().map(Answer::Part).chain([reply]) {
            let response = Response { id: request.id, answer };
            let frame = OwnFrame::json(channel, FrameKind::Message, &response);
            self.machine.send(self.session, &frame).await;
        }
        let end = self.machine.frame(self.session).await;
        assert_eq!((end.channel, end.kind), (channel, FrameKind::End), "the request is over");
        request.request
    }
}

async fn scene() -> (Scene, Answering) {
    let mut scene = Scene::new().await;
    let session = scene.session;
    // The first request makes the server the host; a socket does it here.
    let page = gururmm_testkit::Page::open(&scene.server, &scene.tech, session).await;
    scene.machine.takes(session).await;
    let other = scene.server.seed_agent(&acme::HQ, "unused").await;
    let unused = TunnelMachine::connect(&scene.server, &other).await;
    let machine = std::mem::replace(&mut scene.machine, unused);
    drop(page);
    (scene, Answering { machine, session, asked: Vec::new() })
}

impl Scene {
    fn path(&self, rest: &str) -> String {
        format!("/api/v1/tunnel/{}/{rest}", self.session)
    }

    async fn audited(&self) -> Value {
        let admin = self.server.client_as(&acme::ADMIN).await;
        admin.get("/api/v1/audit?limit=1").await.expect(200)["items"][0].clone()
    }
}

fn process(pid: u32) -> Process {
    Process {
        key: ProcessKey { pid, started_ms: 1_000 },
        parent: None,
        name: "nginx".to_owned(),
        command_line: None,
        user: None,
        cpu_percent: None,
        memory_bytes: 1 << 20,
        priority: None,
        threads: None,
    }
}

#[tokio::test]
async fn processes_are_listed_and_ended() {
    let (scene, mut answering) = scene().await;
    let path = scene.path("processes");
    let parts =
        [1, 2].map(|part| ProcessAnswer::Processes { processes: vec![process(part), process(part + 10)] });
    let figures =
        ProcessAnswer::Figures { processes: 4, cpu_percent: 12.5, memory_used_bytes: 1, memory_bytes: 2 };
    let (listed, asked) = tokio::join!(
        scene.tech.get(&path),
        answering.answers::<ProcessRequest, _>(&parts, Answer::Reply(figures))
    );
    assert_eq!(asked, ProcessRequest::List {});
    let listed = listed.expect(200);
    let pids: Vec<_> = listed["processes"].as_array().unwrap().iter().map(|one| one["pid"].clone()).collect();
    assert_eq!(
        (pids, &listed["cpu_percent"]),
        (vec![json!(1), json!(11), json!(2), json!(12)], &json!(12.5))
    );

    let kill = json!({ "pid": 11, "started_ms": 1_000, "tree": true });
    let killed = ProcessAnswer::Killed { processes: 3 };
    let path = scene.path("processes/kill");
    let (answer, asked) = tokio::join!(
        scene.tech.post(&path, kill),
        answering.answers::<ProcessRequest, _>(&[], Answer::Reply(killed))
    );
    assert_eq!(answer.expect(200), json!({ "processes": 3 }));
    let process = ProcessKey { pid: 11, started_ms: 1_000 };
    assert_eq!(asked, ProcessRequest::Kill { process, tree: true, force: false });
    let entry = scene.audited().await;
    assert_eq!((&entry["action"], &entry["detail"]["pid"]), (&json!("tunnel.process_kill"), &json!(11)));
    assert_eq!(answering.asked, [OpenChannel::Processes {}, OpenChannel::Processes {}]);
}

#[tokio::test]
async fn what_the_machine_cannot_do_is_said_in_its_own_words() {
    let (scene, mut answering) = scene().await;
    let path = scene.path("services/restart");
    let error = |code| Answer::Error(ChannelError::new(code, "the unit is masked"));
    let restart = json!({ "name": "nginx.service" });
    let (answer, asked) = tokio::join!(
        scene.tech.post(&path, restart),
        answering.answers::<ServiceRequest, ServiceAnswer>(&[], error(ErrorCode::PermissionDenied))
    );
    assert_eq!(asked, ServiceRequest::Restart { name: "nginx.service".to_owned() });
    let problem = answer.expect_problem(409, "MACHINE_FAILED");
    assert_eq!(problem["detail"], "the unit is masked");
    assert_eq!(problem["errors"][0]["code"], "PERMISSION_DENIED");
    scene
        .tech
        .post(&scene.path("services/dance"), json!({ "name": "x" }))
        .await
        .expect_problem(404, "NOT_FOUND");
    scene
        .tech
        .post(&scene.path("services/startup"), json!({ "name": "x" }))
        .await
        .expect_problem(422, "VALIDATION_FAILED");

    let service = Service {
        name: "nginx.service".to_owned(),
        display_name: "web server".to_owned(),
        state: ServiceState::Running,
        startup: None,
        pid: Some(7),
        user: None,
    };
    let path = scene.path("services/start");
    let (answer, _) = tokio::join!(
        scene.tech.post(&path, json!({ "name": "nginx.service" })),
        answering.answers::<ServiceRequest, _>(&[], Answer::Reply(ServiceAnswer::Service { service }))
    );
    assert_eq!(answer.expect(200)["state"], "running");
    let path = path_of_registry(&scene);
    let (answer, ()) = tokio::join!(scene.tech.get(&path), async {
        let channel = answering.opens(WINDOW_BYTES).await;
        let end = ChannelEnd::from(ChannelError::new(ErrorCode::Unsupported, "this system has no registry"));
        answering.machine.ends(answering.session, channel, &end).await;
    });
    assert_eq!(answer.expect_problem(409, "MACHINE_FAILED")["errors"][0]["code"], "UNSUPPORTED");
}

fn path_of_registry(scene: &Scene) -> String {
    scene.path("registry?key=HKLM")
}

#[tokio::test]
async fn registry_log_and_folders_are_read() {
    let (scene, mut answering) = scene().await;
    let parts = [RegistryAnswer::Keys { keys: vec!["SOFTWARE".to_owned()] }];
    let reply = Answer::Reply(RegistryAnswer::Count { keys: 1, values: 0 });
    let path = path_of_registry(&scene);
    let (answer, asked) =
        tokio::join!(scene.tech.get(&path), answering.answers::<RegistryRequest, _>(&parts, reply));
    assert_eq!(asked, RegistryRequest::List { key: "HKLM".to_owned() });
    assert_eq!(answer.expect(200), json!({ "keys": ["SOFTWARE"], "values": [] }));

    let secret = json!({ "do": "set_value", "key": "HKLM\\SOFTWARE\\Example", "name": "Password",
                         "value": { "type": "string", "data": "hunter2" } });
    let path = scene.path("registry");
    let (answer, _) = tokio::join!(
        scene.tech.post(&path, secret),
        answering.answers::<RegistryRequest, _>(&[], Answer::Reply(RegistryAnswer::Done {}))
    );
    assert_eq!(answer.expect(200), json!({ "answers": [{ "is": "done" }] }));
    let entry = scene.audited().await;
    assert_eq!(entry["action"], "tunnel.registry");
    assert!(!entry.to_string().contains("hunter2"), "{entry}");

    let entry = Entry {
        name: "report.txt".to_owned(),
        kind: EntryKind::File,
        size: 5,
        modified_ms: None,
        mode: None,
        owner: None,
        group: None,
        target: None,
        is_hidden: false,
        is_unnameable: false,
    };
    let parts = [FileAnswer::Entries { entries: vec![entry] }];
    let reply = Answer::Reply(FileAnswer::Folder { path: "/srv".to_owned(), entries: 1 });
    let path = scene.path("files?path=/srv/");
    let (answer, asked) =
        tokio::join!(scene.tech.get(&path), answering.answers::<FileRequest, _>(&parts, reply));
    assert_eq!(asked, FileRequest::List { path: "/srv/".to_owned() });
    let answer = answer.expect(200);
    assert_eq!((&answer["path"], &answer["entries"][0]["name"]), (&json!("/srv"), &json!("report.txt")));

    let path = scene.path("events?level=error&limit=10&text=disk");
    let (answer, ()) = tokio::join!(scene.tech.get(&path), async {
        let channel = answering.opens(WINDOW_BYTES).await;
        let entry = LogEntry {
            time_ms: 1,
            level: Level::Error,
            source: "kernel".to_owned(),
            log: None,
            event_id: None,
            pid: None,
            text: "disk on fire".to_owned(),
        };
        for message in [EventsMessage::Events { events: vec![entry] }, EventsMessage::Caught { more: true }] {
            let frame = OwnFrame::json(channel, FrameKind::Message, &message);
            answering.machine.send(answering.session, &frame).await;
        }
    });
    let answer = answer.expect(200);
    assert_eq!((&answer["events"][0]["text"], &answer["more"]), (&json!("disk on fire"), &json!(true)));
    let OpenChannel::Events(asked) = answering.asked.last().unwrap() else { panic!("{:?}", answering.asked) };
    assert_eq!((asked.limit, asked.follow, asked.level), (10, false, Some(Level::Error)));
    scene.tech.get(&scene.path("events?limit=0")).await.expect_problem(400, "INVALID_QUERY");
}

#[tokio::test]
async fn a_file_is_downloaded_as_fast_as_it_is_taken_and_from_where_it_is_asked_for() {
    let (scene, mut answering) = scene().await;
    let size = 3 * BULK_WINDOW_BYTES as usize;
    let content: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
    let path = scene.path("files/content?path=/srv/r%C3%A9sum%C3%A9.pdf");
    let (answer, ()) = tokio::join!(scene.tech.get(&path), async {
        let frame = answering.machine.frame(answering.session).await;
        let open: Open = frame.read();
        let opened = Opened { size: Some(size as u64), ..Opened::default() };
        answering.machine.opened(answering.session, frame.channel, opened).await;
        let (mut credit, mut sent) = (open.window as usize, 0);
        while sent < size {
            let piece = (size - sent).min(32 * 1024);
            while credit < piece + 8 {
                let grant = answering.machine.frame(answering.session).await;
                assert_eq!(grant.kind, FrameKind::Credit);
                credit += grant.frame().credit().unwrap() as usize;
            }
            let data = OwnFrame::data(frame.channel, sent as u64, &content[sent..sent + piece]).bulk();
            answering.machine.send(answering.session, &data).await;
            (credit, sent) = (credit - piece - 8, sent + piece);
        }
        answering.machine.ends(answering.session, frame.channel, &ChannelEnd::default()).await;
    });
    assert_eq!((answer.status.as_u16(), answer.body.len()), (200, size));
    assert_eq!(answer.body, content);
    let disposition = answer.header("content-disposition").unwrap();
    assert_eq!(disposition, "attachment; filename*=UTF-8''r%C3%A9sum%C3%A9%2Epdf");
    assert_eq!(answer.header("content-length"), Some(size.to_string().as_str()));
    assert_eq!(scene.audited().await["action"], "tunnel.download");

    let from_there = scene.tech.clone().with("range", "bytes=10-");
    let path = scene.path("files/content?path=/srv/report.txt");
    let (answer, ()) = tokio::join!(from_there.get(&path), async {
        let mut frame = answering.machine.frame(answering.session).await;
        // What was granted for the file before comes late, and so does its end.
        while matches!(frame.kind, FrameKind::Credit | FrameKind::End) {
            frame = answering.machine.frame(answering.session).await;
        }
        let OpenChannel::Download(open) = frame.read::<Open>().channel else { panic!("{frame:?}") };
        assert_eq!((open.offset, open.path.as_str()), (10, "/srv/report.txt"));
        let opened = Opened { size: Some(15), from: 10, ..Opened::default() };
        answering.machine.opened(answering.session, frame.channel, opened).await;
        answering.machine.send(answering.session, &OwnFrame::data(frame.channel, 10, b"fives")).await;
        answering.machine.ends(answering.session, frame.channel, &ChannelEnd::default()).await;
    });
    assert_eq!((answer.status.as_u16(), &answer.body[..]), (206, &b"fives"[..]));
    assert_eq!(answer.header("content-range"), Some("bytes 10-14/15"));
}

#[tokio::test]
async fn a_file_is_uploaded_and_its_checksum_found_by_both() {
    let (scene, mut answering) = scene().await;
    let content = vec![b'u'; 100_000];
    let sha256 = hex::encode(Sha256::digest(&content));
    let path = scene.path("files/content?path=/srv/new.bin&replace=true");
    let call = scene.tech.request(axum::http::Method::PUT, &path).body(content.clone());
    let (answer, ()) = tokio::join!(call.send(), async {
        // Little is granted: the server waits for more.
        let channel = answering.opens(40_000).await;
        let OpenChannel::Upload(open) = answering.asked.last().unwrap().clone() else { panic!() };
        assert_eq!((open.size, open.replace, open.path.as_str()), (100_000, true, "/srv/new.bin"));
        let mut received = Vec::new();
        loop {
            let frame = answering.machine.frame(answering.session).await;
            match frame.kind {
                FrameKind::Data => {
                    let (offset, bytes) = frame.frame().data().unwrap();
                    assert_eq!(offset, received.len() as u64);
                    received.extend_from_slice(bytes);
                    let grant = OwnFrame::credit(channel, frame.body.len() as u32);
                    answering.machine.send(answering.session, &grant).await;
                }
                FrameKind::Message => {
                    let finish: UploadMessage = frame.read();
                    assert_eq!(finish, UploadMessage::Finish { sha256: sha256.clone() });
                    break;
                }
                _ => panic!("{frame:?}"),
            }
        }
        assert_eq!(received, content);
        answering.machine.ends(answering.session, channel, &ChannelEnd::default()).await;
    });
    assert_eq!(answer.expect(200), json!({ "size": 100_000, "sha256": sha256 }));
    assert_eq!(scene.audited().await["detail"]["sha256"], json!(sha256));
}

#[tokio::test]
async fn without_a_machine_or_a_session_nothing_is_done() {
    let (scene, answering) = scene().await;
    let path = scene.path("processes");
    drop(answering.machine);
    scene.tech.get(&path).await.expect_problem(409, "AGENT_OFFLINE");
    let other = scene.server.client_as(&acme::ALPHA_TECH).await;
    other.get(&path).await.expect_problem(403, "FORBIDDEN");
    let closed = json!({ "session_id": scene.session });
    scene.tech.post("/api/v1/tunnel/close", closed).await.expect(200);
    scene.tech.get(&path).await.expect_problem(409, "SESSION_CLOSED");
}
