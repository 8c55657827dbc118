//! The socket of a session with a machine: who gets in, and what passes between page and machine.

use gururmm_protocol::tunnel::forward::OpenForward;
use gururmm_protocol::tunnel::order::ChannelKind;
use gururmm_protocol::tunnel::{
    Attach, ChannelEnd, ErrorCode, FrameKind, Open, OpenChannel, Opened, SERVER_CHANNELS, WINDOW_BYTES,
};
use gururmm_testkit::socket::Closed;
use gururmm_testkit::tunnel::{OwnFrame, terminal};
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, Page, SeededAgent, TestServer, TunnelMachine, eventually};
use serde_json::json;
use std::time::Duration;
use tokio::time::sleep;
use uuid::Uuid;

/// A server with a machine, and a tech who has opened a session with it.
pub struct Scene {
    pub server: TestServer,
    pub seeded: SeededAgent,
    pub machine: TunnelMachine,
    pub tech: ApiClient,
    pub session: Uuid,
}

impl Scene {
    pub async fn new() -> Self {
        Self::on(TestServer::start().await).await
    }

    pub async fn on(server: TestServer) -> Self {
        let seeded = server.seed_agent(&acme::HQ, "web-01").await;
        let machine = TunnelMachine::connect(&server, &seeded).await;
        let tech = server.client_as(&acme::TECH).await;
        let session = open_session(&tech, &seeded).await;
        Self { server, seeded, machine, tech, session }
    }

    /// The page, once the machine has the session.
    pub async fn page(&mut self) -> Page {
        let mut page = Page::open(&self.server, &self.tech, self.session).await;
        self.machine.takes(self.session).await;
        page.text("ready").await;
        page
    }

    /// A page with a terminal open in channel 1.
    pub async fn page_with_terminal(&mut self, window: u32, machine_window: u32) -> Page {
        let mut page = self.page().await;
        page.open_terminal(1, window).await;
        assert_eq!(self.machine.frame(self.session).await.kind, FrameKind::Open);
        let opened = Opened { window: machine_window, ..Opened::default() };
        self.machine.opened(self.session, 1, opened).await;
        assert_eq!(page.frame().await.kind, FrameKind::Opened);
        page
    }

    pub async fn status(&self) -> serde_json::Value {
        self.tech.get(&format!("/api/v1/tunnel/status/{}", self.session)).await.expect(200)
    }

    /// Waits until the session is closed; answers why.
    pub async fn closed_reason(&self) -> serde_json::Value {
        eventually("the session to be closed", async || {
            let status = self.status().await;
            (status["status"] == "closed").then(|| status["closed_reason"].clone())
        })
        .await
    }
}

pub async fn open_session(tech: &ApiClient, machine: &SeededAgent) -> Uuid {
    let opened = tech.post("/api/v1/tunnel/open", json!({ "agent_id": machine.id })).await.expect(200);
    opened["session_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn what_is_typed_reaches_the_machine_and_what_it_shows_reaches_the_page() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = Page::open(&scene.server, &scene.tech, session).await;
    let order = scene.machine.takes(session).await;
    assert_eq!(order.tech, acme::TECH.name);
    assert_eq!(order.rules.channels, ChannelKind::ALL);
    assert_eq!((order.rules.paths, order.rules.forwards), (None, Vec::new()));
    let ready = page.text("ready").await;
    assert_eq!((&ready["path"], &ready["channels"]), (&json!("direct"), &json!([])));
    assert_eq!(ready["shells"][0]["program"], "/bin/bash");

    page.open_terminal(1, WINDOW_BYTES).await;
    let opening = scene.machine.frame(session).await;
    assert_eq!((opening.channel, opening.kind), (1, FrameKind::Open));
    assert_eq!(opening.read::<Open>(), terminal(WINDOW_BYTES));
    let opened = Opened { window: 1_000, ..Opened::default() };
    scene.machine.opened(session, 1, opened.clone()).await;
    assert_eq!(page.frame().await.read::<Opened>(), opened);

    page.send(&OwnFrame::data(1, 0, b"echo gr\xc3\xbc\xc3\x9fe\r")).await;
    assert_eq!(scene.machine.frame(session).await.bytes(), b"echo gr\xc3\xbc\xc3\x9fe\r");
    scene.machine.send(session, &OwnFrame::data(1, 0, b"gr\xc3\xbc\xc3\x9fe\r\n\xff\x00")).await;
    assert_eq!(page.frame().await.bytes(), b"gr\xc3\xbc\xc3\x9fe\r\n\xff\x00", "bytes, whatever they are");
    page.send(&OwnFrame::json(0, FrameKind::Message, &json!({ "ping": 7 }))).await;
    let ping = scene.machine.frame(session).await;
    assert_eq!((ping.channel, ping.kind), (0, FrameKind::Message));
    scene.machine.send(session, &ping).await;
    assert_eq!(page.frame().await, ping);
    let end = ChannelEnd { exit_code: Some(3), ..ChannelEnd::default() };
    scene.machine.ends(session, 1, &end).await;
    assert_eq!(page.frame().await.read::<ChannelEnd>(), end);

    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": session })).await.expect(200);
    assert_eq!(page.closed_because().await, (Some(4000), json!("closed_by_tech")));
    assert_eq!(scene.machine.dropped().await, session);
    let status = scene.status().await;
    assert_eq!((&status["status"], &status["closed_reason"]), (&json!("closed"), &json!("closed_by_tech")));
    assert_eq!(status["bytes_to_machine"], json!(8 + 13 + 10));
    scene.machine.send(session, &OwnFrame::data(1, 0, b"too late")).await;
    scene.machine.settle().await;
}

#[tokio::test]
async fn the_socket_is_for_the_sessions_own_tech_with_a_ticket_for_it() {
    let scene = Scene::new().await;
    let (server, session) = (&scene.server, scene.session);
    let other = server.client_as(&acme::ALPHA_TECH).await;
    let ticket_path = format!("/api/v1/tunnel/{session}/ticket");
    other.post(&ticket_path, json!({})).await.expect_problem(403, "FORBIDDEN");
    let stranger = server.client_as(&gururmm_testkit::world::globex::OWNER).await;
    stranger.post(&ticket_path, json!({})).await.expect_problem(404, "NOT_FOUND");
    let socket_path = format!("/api/v1/tunnel/{session}/socket");
    let origin = server.app().config.public_url.origin().ascii_serialization();
    for (client, status, code) in [(&other, 403, "FORBIDDEN"), (&stranger, 404, "NOT_FOUND")] {
        let refused = client.clone().with("origin", &origin).upgrade(&socket_path).await;
        refused.err().unwrap().expect_problem(status, code);
    }
    let ticket = async |client: &ApiClient, path: &str| {
        client.post(path, json!({})).await.expect(200)["ticket"].as_str().unwrap().to_owned()
    };
    // A live ticket opens no session, a session's ticket no live socket and no other session.
    let live = ticket(&scene.tech, "/api/v1/live/ticket").await;
    let knock = async |session, ticket: &str| Page::knock(server, session, ticket).await.err();
    knock(session, &live).await.unwrap().expect_problem(401, "UNAUTHENTICATED");
    let machine = server.seed_agent(&acme::HQ, "web-02").await;
    let _connected = TunnelMachine::connect(server, &machine).await;
    let second = open_session(&scene.tech, &machine).await;
    let for_first = ticket(&scene.tech, &ticket_path).await;
    knock(second, &for_first).await.unwrap().expect_problem(401, "UNAUTHENTICATED");
    assert!(knock(session, &for_first).await.is_none());
    knock(session, &for_first).await.unwrap().expect_problem(401, "UNAUTHENTICATED");
    let late = ticket(&scene.tech, &ticket_path).await;
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": session })).await.expect(200);
    knock(session, &late).await.unwrap().expect_problem(409, "SESSION_CLOSED");
    scene.tech.post(&ticket_path, json!({})).await.expect_problem(409, "SESSION_CLOSED");
    scene
        .tech
        .clone()
        .with("origin", &origin)
        .upgrade(&socket_path)
        .await
        .err()
        .unwrap()
        .expect_problem(409, "SESSION_CLOSED");
}

#[tokio::test]
async fn a_page_that_is_loaded_again_takes_the_place_of_the_one_before_and_goes_on() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut before = scene.page_with_terminal(1_000, 1_000).await;
    let mut page = Page::open(&scene.server, &scene.tech, session).await;
    assert_eq!(before.closed_because().await, (Some(4001), json!("replaced")));
    // Asked anew, the machine says what there is.
    assert_eq!(scene.machine.ordered().await.tunnel_id.0, session);
    scene.machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    assert_eq!(page.text("ready").await["channels"][0]["channel"], 1);
    scene.machine.send(session, &OwnFrame::data(1, 0, b"nobody is attached")).await;
    page.attach(1, 0, 500).await;
    assert_eq!(scene.machine.frame(session).await.read::<Attach>(), Attach { have: 0, window: 500 });
    scene.machine.send(session, &OwnFrame::data(1, 0, b"from before")).await;
    scene.machine.opened(session, 1, Opened { window: 40, received: 7, ..Opened::default() }).await;
    scene.machine.send(session, &OwnFrame::data(1, 0, b"again")).await;
    assert_eq!(page.frame().await.read::<Opened>().received, 7);
    assert_eq!(page.frame().await.bytes(), b"again");
    page.send(&OwnFrame::data(1, 7, b"more")).await;
    assert_eq!(scene.machine.frame(session).await.bytes(), b"more");
}

#[tokio::test]
async fn a_machine_is_told_that_nobody_is_there_for_whom_something_is_open() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let _before = scene.page().await;
    let mut page = Page::open(&scene.server, &scene.tech, session).await;
    scene.machine.takes(session).await;
    page.text("ready").await;
    scene.machine.settle().await;
    assert!(!scene.machine.was_told_away(session), "nothing is open");
    page.open_terminal(1, 1_000).await;
    assert_eq!(scene.machine.frame(session).await.kind, FrameKind::Open);
    scene.machine.opened(session, 1, Opened { window: 1_000, ..Opened::default() }).await;
    page.frame().await;
    drop(page);
    scene.machine.hears_away(session).await;
    // It is there anew, with a host that has no page yet.
    drop(scene.machine);
    let mut machine = TunnelMachine::connect_having(&scene.server, &scene.seeded, &[session]).await;
    machine.ordered().await;
    machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    machine.hears_away(session).await;
    let mut page = Page::open(&scene.server, &scene.tech, session).await;
    machine.ordered().await;
    machine.ready(session, &[]).await;
    page.text("ready").await;
    // It ended meanwhile: how, the machine says.
    page.attach(1, 0, 500).await;
    assert_eq!(machine.frame(session).await.kind, FrameKind::Attach);
    machine.ends(session, 1, &ChannelEnd { exit_code: Some(3), ..ChannelEnd::default() }).await;
    assert_eq!(page.frame().await.read::<ChannelEnd>().exit_code, Some(3));
}

#[tokio::test]
async fn an_agent_that_comes_back_goes_on_with_the_session() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = scene.page_with_terminal(1_000, 1_000).await;
    drop(scene.machine);
    page.text("waiting").await;
    page.send(&OwnFrame::data(1, 0, b"into the void")).await;
    let mut machine = TunnelMachine::connect_having(&scene.server, &scene.seeded, &[session]).await;
    assert_eq!(machine.ordered().await.tunnel_id.0, session);
    machine.ready(session, &[(1, ChannelKind::Terminal)]).await;
    page.text("ready").await;
    page.attach(1, 0, 100).await;
    assert_eq!(machine.frame(session).await.kind, FrameKind::Attach, "what was lost is not sent late");
    machine.opened(session, 1, Opened { window: 100, ..Opened::default() }).await;
    page.frame().await;
    page.send(&OwnFrame::data(1, 0, b"ls\r")).await;
    assert_eq!(machine.frame(session).await.bytes(), b"ls\r");
}

#[tokio::test]
async fn whoever_sends_more_than_was_granted_ends_the_session() {
    let mut scene = Scene::new().await;
    let mut page = scene.page_with_terminal(100, 100).await;
    page.send(&OwnFrame::data(1, 0, &[b'x'; 93])).await;
    assert_eq!(page.closed_because().await, (Some(4000), json!("protocol_error")));
    assert_eq!(scene.closed_reason().await, "protocol_error");
    assert_eq!(scene.machine.dropped().await, scene.session);

    scene.session = open_session(&scene.tech, &scene.seeded).await;
    let mut page = scene.page_with_terminal(100, 100).await;
    scene.machine.send(scene.session, &OwnFrame::data(1, 0, &[b'x'; 92])).await;
    assert_eq!(page.frame().await.bytes().len(), 92);
    scene.machine.send(scene.session, &OwnFrame::data(1, 92, b"")).await;
    assert_eq!(page.closed_because().await, (Some(4000), json!("protocol_error")));
    assert_eq!(scene.closed_reason().await, "protocol_error");
    // The agent's own session goes on.
    scene.machine.settle().await;
}

#[tokio::test]
async fn numbers_that_are_not_ones_own_lead_nowhere() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = scene.page_with_terminal(1_000, 1_000).await;
    // Another machine, which speaks of this session.
    let other = scene.server.seed_agent(&acme::HQ, "web-02").await;
    let mut other = TunnelMachine::connect(&scene.server, &other).await;
    for frame in [
        OwnFrame::data(1, 0, b"forged"),
        OwnFrame::json(1, FrameKind::End, &ChannelEnd::default()),
        OwnFrame::json(1, FrameKind::Opened, &Opened::default()),
    ] {
        other.send(session, &frame).await;
        other.send(Uuid::now_v7(), &frame).await;
    }
    let Closed { code, .. } = other.closed().await;
    assert_eq!(code, Some(1008), "faults, as other frames that are none");
    // Channels that nobody opened, and frames that no machine sends.
    scene.machine.send(session, &OwnFrame::data(2, 0, b"nobody asked")).await;
    scene.machine.send(session, &OwnFrame::data(SERVER_CHANNELS + 5, 0, b"nobody asked")).await;
    scene.machine.send(session, &OwnFrame::data(1, 0, b"shown")).await;
    assert_eq!(page.frame().await.bytes(), b"shown");
    page.send(&OwnFrame::data(9, 0, b"nowhere")).await;
    page.send(&OwnFrame::data(1, 0, b"typed")).await;
    assert_eq!(scene.machine.frame(session).await.bytes(), b"typed");
    page.send(&OwnFrame::json(SERVER_CHANNELS, FrameKind::Open, &terminal(10))).await;
    assert_eq!(page.closed_because().await, (Some(4000), json!("protocol_error")));
    let mut page = {
        scene.session = open_session(&scene.tech, &scene.seeded).await;
        scene.page_with_terminal(10, 10).await
    };
    scene.machine.send(scene.session, &OwnFrame::json(4, FrameKind::Open, &terminal(10))).await;
    assert_eq!(page.closed_because().await, (Some(4000), json!("protocol_error")));
}

#[tokio::test]
async fn what_the_policy_does_not_allow_is_not_opened_and_ends_when_that_changes() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let policy = async |settings: serde_json::Value| {
        let path = format!("/api/v1/policies/agent/{}", scene.seeded.id);
        admin.put(&path, json!({ "settings": settings })).await.expect(200);
    };
    let allowed = json!({ "tunnel_channels_tech": ["terminal"], "tunnel_paths": ["/srv"], "tunnel_consent": "when_signed_in" });
    policy(allowed).await;
    let mut page = Page::open(&scene.server, &scene.tech, session).await;
    let order = scene.machine.takes(session).await;
    assert_eq!(order.rules.channels, [ChannelKind::Terminal]);
    assert_eq!(order.rules.paths, Some(vec!["/srv".to_owned()]));
    page.text("ready").await;
    let files = Open { window: 100, channel: OpenChannel::Files {} };
    page.send(&OwnFrame::json(1, FrameKind::Open, &files)).await;
    let end: ChannelEnd = page.frame().await.read();
    assert_eq!(end.error.map(|error| error.code), Some(ErrorCode::NotAllowed));
    page.open_terminal(2, 100).await;
    assert_eq!(scene.machine.frame(session).await.channel, 2, "the other one was not passed on");
    scene.machine.opened(session, 2, Opened::default()).await;
    page.frame().await;

    policy(json!({ "tunnel_channels_tech": ["files"] })).await;
    let end = page.frame().await;
    assert_eq!((end.channel, end.kind), (2, FrameKind::End));
    assert_eq!(scene.machine.frame(session).await.kind, FrameKind::End);
    // What held before may be said twice.
    while scene.machine.ordered().await.rules.channels != [ChannelKind::Files] {}
    page.send(&OwnFrame::json(3, FrameKind::Open, &files)).await;
    assert_eq!(scene.machine.frame(session).await.channel, 3);
}

#[tokio::test]
async fn a_key_that_is_pressed_overtakes_what_is_transferred() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = scene.page_with_terminal(WINDOW_BYTES, 1_000).await;
    page.open_terminal(2, 4 * WINDOW_BYTES).await;
    scene.machine.frame(session).await;
    scene.machine.opened(session, 2, Opened { window: 100, ..Opened::default() }).await;
    page.frame().await;
    // While the page does not read: far more than the systems' buffers take.
    let piece = vec![7; 32 * 1024];
    for number in 0..31 {
        scene.machine.send(session, &OwnFrame::data(2, number * 32 * 1024, &piece).bulk()).await;
    }
    let end = ChannelEnd { size: Some(31 * 32 * 1024), ..ChannelEnd::default() };
    scene.machine.ends(session, 2, &end).await;
    scene.machine.send(session, &OwnFrame::data(1, 0, b"echo")).await;
    scene.machine.settle().await;
    let mut order = Vec::new();
    for _ in 0..33 {
        let frame = page.frame().await;
        order.push((frame.channel, frame.kind));
    }
    let place = order.iter().position(|one| *one == (1, FrameKind::Data)).unwrap();
    assert_eq!(order.last(), Some(&(2, FrameKind::End)), "a channel never overtakes itself");
    assert!(place < 32, "{place}");
}

/// A bounded stand-in for ten gibibytes: the machine sends as fast as it is let, the page grants all the time and takes
/// nothing.
#[tokio::test]
async fn a_page_that_does_not_read_costs_a_bounded_amount_and_its_session_ends() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = scene.page_with_terminal(4 * 1024 * 1024, 1_000).await;
    let piece = vec![b'y'; 60 * 1024];
    let cost = piece.len() as u32 + 8;
    let (mut sent, mut most) = (0_u64, 0);
    loop {
        for _ in 0..50 {
            scene.machine.send(session, &OwnFrame::data(1, sent, &piece)).await;
            sent += piece.len() as u64;
        }
        scene.machine.settle().await;
        most = most.max(scene.server.app().tunnel.bytes_waiting());
        sleep(Duration::from_millis(50)).await;
        if scene.status().await["status"] != "active" {
            break;
        }
        // Whatever became of them: as much again.
        for _ in 0..50 {
            page.send(&OwnFrame::credit(1, cost)).await;
            assert_eq!(scene.machine.frame(session).await.kind, FrameKind::Credit);
        }
        assert!(sent < 1 << 30, "a gibibyte went into a page that does not read");
    }
    assert!(most > 4 * 1024 * 1024, "nothing waited: the page was read from after all");
    assert!(most <= 48 * 1024 * 1024, "{most} bytes waited");
    assert_eq!(scene.closed_reason().await, "protocol_error");
    scene.machine.settle().await;
    eventually("the room to be given back", async || {
        (scene.server.app().tunnel.bytes_waiting() == 0).then_some(())
    })
    .await;
}

/// An honest page that does not read for a while: a shell that would fill it stands still.
#[tokio::test]
async fn a_window_that_is_full_stops_its_machine_and_nothing_else() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = scene.page_with_terminal(WINDOW_BYTES, 1_000).await;
    let piece = vec![b'y'; 16 * 1024];
    let pieces = u64::from(WINDOW_BYTES) / (piece.len() as u64 + 8);
    for number in 0..pieces {
        scene.machine.send(session, &OwnFrame::data(1, number * piece.len() as u64, &piece)).await;
    }
    scene.machine.settle().await;
    sleep(Duration::from_millis(200)).await;
    scene.machine.settle().await;
    assert_eq!(scene.status().await["status"], "active");
    for number in 0..pieces {
        let frame = page.frame().await;
        assert_eq!(frame.frame().data().unwrap().0, number * piece.len() as u64, "nothing is lost");
    }
}

#[tokio::test]
async fn what_is_reached_through_a_machine_stands_in_the_audit_log() {
    let mut scene = Scene::new().await;
    let session = scene.session;
    let mut page = scene.page().await;
    let forward = OpenForward { host: "db.example.com".to_owned(), port: 5432 };
    let open = Open { window: 1_000, channel: OpenChannel::Forward(forward) };
    for channel in [1, 2] {
        page.send(&OwnFrame::json(channel, FrameKind::Open, &open)).await;
        scene.machine.frame(session).await;
        scene.machine.opened(session, channel, Opened { window: 100, ..Opened::default() }).await;
        page.frame().await;
        page.send(&OwnFrame::data(channel, 0, b"SELECT 1")).await;
        scene.machine.frame(session).await;
    }
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": session })).await.expect(200);
    page.closed_because().await;
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let log = admin.get("/api/v1/audit").await.expect(200);
    let entries = log["items"].as_array().unwrap();
    let of = |action: &str| entries.iter().filter(|entry| entry["action"] == action).collect::<Vec<_>>();
    assert_eq!(of("tunnel.forward").len(), 1, "once for an address");
    assert_eq!(of("tunnel.forward")[0]["actor_name"], acme::TECH.name);
    let reached = &of("tunnel.forwards")[0]["detail"]["addresses"][0];
    assert_eq!(
        (&reached["address"], &reached["connections"], &reached["bytes_to_machine"]),
        (&json!("db.example.com:5432"), &json!(2), &json!(16))
    );
}
