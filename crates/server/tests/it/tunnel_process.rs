//! Sessions with machines on a real server process: it is killed while it records, and much more comes than a page reads.

use crate::process::{ServerProcess, until};
use crate::session_recordings::{bytes, cast};
use crate::tunnel_socket::open_session;
use gururmm_protocol::tunnel::order::ChannelKind;
use gururmm_protocol::tunnel::{Attach, FrameKind, MAX_WINDOW_BYTES, Opened};
use gururmm_server::auth::credential::SessionKind;
use gururmm_server::tunnel::deadlines;
use gururmm_testkit::tunnel::OwnFrame;
use gururmm_testkit::world::{Person, acme};
use gururmm_testkit::{ApiClient, Endpoint as _, Page, SeededAgent, TestServer, TunnelMachine, eventually};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

/// A server process, and the test server that made its database and stands still meanwhile.
struct Stage {
    process: ServerProcess,
    arranged: TestServer,
    seeded: SeededAgent,
    machine: TunnelMachine,
    tech: ApiClient,
    admin: ApiClient,
    session: Uuid,
}

impl Stage {
    async fn start() -> Self {
        let mut arranged = TestServer::start().await;
        let seeded = arranged.seed_agent(&acme::HQ, "web-01").await;
        let token = async |person: &Person| arranged.session_of(person, SessionKind::Api).await.token;
        let (tech, admin) = (token(&acme::TECH).await, token(&acme::ADMIN).await);
        arranged.stop().await;
        let place = arranged.recordings_dir();
        let arguments = ["--recordings", place.to_str().unwrap()];
        let process = ServerProcess::launch(&arranged, &arguments, &[]);
        process.serves().await;
        let (tech, admin) = (process.anonymous().with_bearer(&tech), process.anonymous().with_bearer(&admin));
        let machine = TunnelMachine::connect(&process, &seeded).await;
        until("the machine to be online", async || {
            let shown = tech.get(&format!("/api/agents/{}", seeded.id)).await.expect(200);
            (shown["is_connected"] == true).then_some(())
        })
        .await;
        let session = open_session(&tech, &seeded).await;
        Self { process, arranged, seeded, machine, tech, admin, session }
    }

    /// A page with a terminal of which nothing was shown yet.
    async fn page(&mut self) -> Page {
        let mut page = Page::open(&self.process, &self.tech, self.session).await;
        self.machine.takes(self.session).await;
        page.text("ready").await;
        page.open_terminal(1, MAX_WINDOW_BYTES).await;
        assert_eq!(self.machine.frame(self.session).await.kind, FrameKind::Open);
        self.machine.opened(self.session, 1, Opened { window: 1_000, ..Opened::default() }).await;
        assert_eq!(page.frame().await.kind, FrameKind::Opened);
        page
    }

    /// A page that comes back to the terminal, having all of it.
    async fn page_again(&mut self, have: u64, received: u64) -> Page {
        let mut page = Page::open(&self.process, &self.tech, self.session).await;
        assert_eq!(self.machine.ordered().await.tunnel_id.0, self.session);
        self.machine.ready(self.session, &[(1, ChannelKind::Terminal)]).await;
        page.text("ready").await;
        page.attach(1, have, MAX_WINDOW_BYTES).await;
        let attach: Attach = self.machine.frame(self.session).await.read();
        assert_eq!(attach.have, have);
        let opened = Opened { window: 1_000, from: have, received, ..Opened::default() };
        self.machine.opened(self.session, 1, opened).await;
        page
    }

    async fn recording(&self) -> Value {
        self.admin.get(&format!("/api/v1/recordings/{}", self.session)).await.expect(200)
    }

    /// What the recording says was shown.
    async fn recorded(&self) -> Vec<u8> {
        bytes(&cast(&self.admin, self.session, 1).await, "o")
    }
}

/// What was shown in a terminal, and when its page had it.
#[derive(Default)]
struct Shown {
    bytes: Vec<u8>,
    seen: Vec<(Instant, usize)>,
}

impl Shown {
    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The machine shows this, and the page takes it.
    async fn show(&mut self, stage: &mut Stage, page: &mut Page, bytes: &[u8]) {
        let frame = OwnFrame::data(1, self.len(), bytes);
        stage.machine.send(stage.session, &frame).await;
        assert_eq!(page.frame().await.bytes(), bytes);
        page.send(&OwnFrame::credit(1, frame.body.len() as u32)).await;
        assert_eq!(stage.machine.frame(stage.session).await.kind, FrameKind::Credit);
        self.bytes.extend_from_slice(bytes);
        self.seen.push((Instant::now(), self.bytes.len()));
    }

    /// How much the page had then.
    fn until(&self, time: Instant) -> usize {
        self.seen.iter().take_while(|(seen, _)| *seen <= time).last().map_or(0, |(_, length)| *length)
    }
}

/// What a server that is killed loses at most of what passed, as `docs/recordings.md` says.
const LOST_WITHIN: Duration = Duration::from_secs(6);
const LOST_BYTES: usize = 4 * 1088 * 1024;
/// What a busy machine may take beyond it to write a segment.
const BUSY: Duration = Duration::from_secs(4);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_loses_the_last_seconds_of_a_recording_which_says_that_it_was_cut_off() {
    let mut stage = Stage::start().await;
    let (session, mut shown) = (stage.session, Shown::default());
    let mut page = stage.page().await;
    page.send(&OwnFrame::data(1, 0, b"uptime\r")).await;
    assert_eq!(stage.machine.frame(session).await.bytes(), b"uptime\r");
    shown.show(&mut stage, &mut page, b"uptime\r\n").await;
    let began = Instant::now();
    while began.elapsed() < LOST_WITHIN + BUSY + Duration::from_secs(3) {
        let line = format!("line {:06}\r\n", shown.seen.len());
        shown.show(&mut stage, &mut page, line.as_bytes()).await;
        sleep(Duration::from_millis(20)).await;
    }
    let killed_at = Instant::now();
    stage.process.kill().await;
    stage.process.start_again().await;
    let written = stage.recorded().await;
    assert!(shown.bytes.starts_with(&written), "{} bytes that were not shown", written.len());
    let certain = shown.until(killed_at - LOST_WITHIN - BUSY);
    assert!(certain > 0 && written.len() >= certain, "{} of {certain} bytes", written.len());
    let recording = stage.recording().await;
    assert_eq!(recording["commands"][0]["line"], "uptime");
    assert_eq!((&recording["ended_at"], &recording["cut_offs"]), (&Value::Null, &json!([])), "it may go on");

    // Machine and page come back, and go on where they were.
    stage.machine = TunnelMachine::connect_having(&stage.process, &stage.seeded, &[session]).await;
    let mut page = stage.page_again(shown.len(), 7).await;
    assert_eq!(page.frame().await.kind, FrameKind::Opened);
    let before_second = shown.bytes.len();
    for _ in 0..400 {
        shown.show(&mut stage, &mut page, &[b'y'; 20_000]).await;
    }
    stage.process.kill().await;
    stage.arranged.restart().await;
    stage.admin = stage.arranged.client_as(&acme::ADMIN).await;
    let all = stage.recorded().await;
    let (first, second) = all.split_at(written.len());
    assert_eq!(first, written);
    assert!(shown.bytes[before_second..].starts_with(second), "{} bytes that were not shown", second.len());
    let certain = shown.bytes.len() - before_second - LOST_BYTES;
    assert!(second.len() >= certain, "{} of {certain} bytes", second.len());
    let recording = stage.recording().await;
    let lost: Vec<u64> =
        recording["gaps"].as_array().unwrap().iter().map(|gap| gap["bytes"].as_u64().unwrap()).collect();
    assert_eq!(lost.iter().sum::<u64>(), (before_second - written.len()) as u64, "{lost:?}");
    let cut_offs = recording["cut_offs"].as_array().unwrap();
    assert_eq!(cut_offs.len(), 1, "the second may go on: {cut_offs:?}");

    // Nobody comes back.
    let change = async |statement: &'static str| {
        sqlx::query(statement).execute(&mut stage.arranged.owner().await).await.unwrap()
    };
    change("UPDATE tunnel_sessions SET opened_at = now() - interval '9 minutes', host_seen = now() - interval '6 minutes'").await;
    deadlines::keep(stage.arranged.app()).await.unwrap();
    change("UPDATE tunnel_sessions SET closed_at = closed_at - interval '2 minutes'").await;
    let recording = stage.recording().await;
    assert!(recording["ended_at"].is_string(), "{}", recording["ended_at"]);
    let ends: Vec<i64> =
        recording["cut_offs"].as_array().unwrap().iter().map(|cut| cut["at_ms"].as_i64().unwrap()).collect();
    assert!(ends.len() == 2 && ends[0] < ends[1], "{ends:?}");
    let verified = stage.process.admin(&["verify-audit"]).await;
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success() && said.contains("[OK]"), "{said}");
}

/// What the whole process may take beyond what it has without output: what may wait for the page and for the recorder
/// (24 MiB each), what is being written (4 MiB), and what the allocator keeps of it.
const MAY_TAKE: u64 = 96 * 1024 * 1024;
/// What it may have grown by, later on: nothing that adds up.
const MAY_GROW: u64 = 24 * 1024 * 1024;
/// What waits in front of a page when another one takes its place: its window four times, which is less than ends a session.
const ROUNDS: u64 = 4;

/// Pages that were given up and are not closed.
const PAGES: usize = 12;

/// The machine shows this much to pages that grant all the time, and take nothing. Each is given up for the next one before
/// so much waits that the session ends.
pub async fn into_a_page_that_does_not_read(offered: u64) {
    let mut stage = Stage::start().await;
    let session = stage.session;
    let mut pages = vec![stage.page().await];
    let piece = vec![b'y'; 60 * 1024];
    let cost = OwnFrame::data(1, 0, &piece).body.len() as u64;
    let pieces = u64::from(MAX_WINDOW_BYTES) / cost;
    let base = stage.process.resident_bytes();
    let (mut sent, mut most, mut early, began) = (0_u64, 0, 0, Instant::now());
    while sent < offered {
        for round in 0..ROUNDS {
            if round > 0 {
                let granted = u32::try_from(pieces * cost).unwrap();
                pages.last_mut().unwrap().send(&OwnFrame::credit(1, granted)).await;
                assert_eq!(stage.machine.frame(session).await.kind, FrameKind::Credit);
            }
            for _ in 0..pieces {
                stage.machine.send(session, &OwnFrame::data(1, sent, &piece)).await;
                sent += piece.len() as u64;
            }
            stage.machine.settle().await;
            most = most.max(stage.process.resident_bytes());
        }
        if sent * 4 < offered {
            early = most;
        }
        pages.push(stage.page_again(sent, 0).await);
        // Those before stay open and unread for a while.
        if pages.len() > PAGES {
            pages.remove(0);
        }
    }
    let (grown, later) = (most.saturating_sub(base), most.saturating_sub(early));
    let mebibytes = |bytes: u64| bytes / (1024 * 1024);
    eprintln!(
        "{} MiB offered in {:?}: {} MiB at first, {} MiB at most, {} MiB of it after the first quarter",
        mebibytes(sent),
        began.elapsed(),
        mebibytes(base),
        mebibytes(most),
        mebibytes(later)
    );
    assert!(grown < MAY_TAKE, "{} MiB more", mebibytes(grown));
    assert!(later < MAY_GROW, "{} MiB more after the first quarter", mebibytes(later));
    let status = stage.tech.get(&format!("/api/v1/tunnel/status/{session}")).await.expect(200);
    assert_eq!(status["status"], "active", "an honest machine's session goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_into_a_page_that_does_not_read_leaves_memory_as_it_is() {
    into_a_page_that_does_not_read(512 << 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_that_sends_without_being_asked_ends_its_session_and_takes_no_memory() {
    let mut stage = Stage::start().await;
    let session = stage.session;
    let _page = stage.page().await;
    let base = stage.process.resident_bytes();
    let frame = OwnFrame::data(1, 0, &[b'y'; 60 * 1024])
        .frame()
        .to_bytes_of_session(gururmm_protocol::TunnelId(session));
    let (mut sent, mut most, began) = (0_u64, 0, Instant::now());
    while began.elapsed() < Duration::from_secs(5) {
        let sending = stage.machine.agent.socket.send_binary(frame.clone());
        if timeout(Duration::from_secs(1), sending).await.is_ok() {
            sent += frame.len() as u64;
        }
        most = most.max(stage.process.resident_bytes());
    }
    assert!(sent > u64::from(MAX_WINDOW_BYTES), "it was not let send more than was granted");
    let grown = most.saturating_sub(base) / (1024 * 1024);
    eprintln!("{} MiB sent, {grown} MiB more", sent / (1024 * 1024));
    assert!(grown < 48, "{grown} MiB more");
    let status = eventually("the session to be closed", async || {
        let status = stage.tech.get(&format!("/api/v1/tunnel/status/{session}")).await.expect(200);
        (status["status"] == "closed").then_some(status)
    })
    .await;
    assert_eq!(status["closed_reason"], "protocol_error");
}
