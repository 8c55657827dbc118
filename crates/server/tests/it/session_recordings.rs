//! Recordings of techs' sessions with machines: written while they happen, read by owners and admins.

use crate::tunnel_socket::Scene;
use base64::Engine as _;
use chrono::{TimeDelta, Utc};
use gururmm_protocol::tunnel::frame::{Flags, Frame, FrameKind, data_body, json_body};
use gururmm_protocol::tunnel::{ChannelEnd, WINDOW_BYTES};
use gururmm_server::recordings::{self, Direction, Note, Recorder, SessionFacts};
use gururmm_testkit::tunnel::OwnFrame;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestDatabase, TestServer, eventually, logs};
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use std::path::PathBuf;
use std::time::Duration;
use uuid::Uuid;

const TO: Direction = Direction::ToMachine;
const FROM: Direction = Direction::FromMachine;

pub fn facts(machine: &SeededAgent, session: Uuid) -> SessionFacts {
    SessionFacts {
        tunnel_id: session,
        tenant_id: machine.site.partner,
        client_id: machine.site.client,
        site_id: machine.site.id,
        agent_id: machine.id,
        hostname: machine.hostname.clone(),
        tech_id: acme::TECH.id,
        tech_name: acme::TECH.name.to_owned(),
    }
}

/// A session's recorder with what a host would hand to it.
pub struct Session(pub Recorder);

impl Session {
    pub async fn of(server: &TestServer, machine: &SeededAgent, id: Uuid) -> Self {
        Self(Recorder::start(server.app(), &facts(machine, id)).await.unwrap())
    }

    pub async fn json(&self, direction: Direction, channel: u32, kind: FrameKind, value: &Value) {
        let body = json_body(value).unwrap();
        let frame = Frame { channel, kind, flags: Flags::default(), body: &body };
        self.0.frame(direction, &frame).await.unwrap();
    }

    pub async fn terminal(&self, channel: u32) {
        let open = json!({ "window": 1, "channel": { "kind": "terminal", "shell": "bash", "columns": 100, "rows": 30 } });
        self.json(TO, channel, FrameKind::Open, &open).await;
        self.json(FROM, channel, FrameKind::Opened, &json!({})).await;
    }

    pub async fn data(&self, direction: Direction, channel: u32, offset: usize, bytes: &[u8]) {
        let body = data_body(offset as u64, bytes);
        let frame = Frame { channel, kind: FrameKind::Data, flags: Flags::default(), body: &body };
        self.0.frame(direction, &frame).await.unwrap();
    }

    /// A line that is typed and echoed; both streams begin with it.
    pub async fn line(&self, channel: u32, line: &str) {
        self.data(TO, channel, 0, format!("{line}\r").as_bytes()).await;
        self.data(FROM, channel, 0, format!("{line}\r\n").as_bytes()).await;
    }

    pub async fn close(self) {
        self.0.note(Note::Closed { reason: "closed_by_tech" }).await.unwrap();
        self.0.finish().await.unwrap();
    }
}

/// A session with one terminal in which one line is typed, from its beginning to its end.
pub async fn record(server: &TestServer, machine: &SeededAgent, id: Uuid) {
    let session = Session::of(server, machine, id).await;
    session.terminal(1).await;
    session.line(1, "uptime").await;
    session.close().await;
}

fn path(id: Uuid) -> String {
    format!("/api/v1/recordings/{id}")
}

pub async fn cast(client: &ApiClient, id: Uuid, channel: u32) -> Vec<Value> {
    let answer = client.get(&format!("{}/channels/{channel}/cast", path(id))).await;
    assert_eq!(answer.status, 200, "{answer}");
    answer.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The exact bytes of a direction of a cast.
pub fn bytes(cast: &[Value], code: &str) -> Vec<u8> {
    let mut bytes: Vec<Vec<u8>> = Vec::new();
    for event in cast.iter().skip(1) {
        let data = event[2].as_str().unwrap();
        if event[1] == code {
            bytes.push(data.as_bytes().to_vec());
        } else if event[1] == format!("{code}b") {
            *bytes.last_mut().unwrap() = base64::engine::general_purpose::STANDARD.decode(data).unwrap();
        }
    }
    bytes.concat()
}

async fn count(server: &TestServer, what: &str) -> i64 {
    let query = AssertSqlSafe(format!("SELECT count(*) FROM {what}"));
    sqlx::query_scalar(query).fetch_one(&mut server.owner().await).await.unwrap()
}

/// Every object of recordings.
pub fn objects(server: &TestServer) -> Vec<PathBuf> {
    let mut folders = vec![server.recordings_dir().join("sessions")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_session_is_replayed_byte_for_byte() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let id = Uuid::now_v7();
    let session = Session::of(&server, &machine, id).await;
    session.0.note(Note::TechJoined).await.unwrap();
    session.0.note(Note::Ready { channels: Vec::new() }).await.unwrap();
    session.terminal(1).await;
    // More than a segment, and not all of it text.
    let output: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    session.data(TO, 1, 0, b"cat /dev/urandom | gr\xc3").await;
    session.data(TO, 1, 22, b"\xbc\xc3\x9fe\r").await;
    for (index, piece) in output.chunks(30_000).enumerate() {
        session.data(FROM, 1, index * 30_000, piece).await;
    }
    session.json(TO, 1, FrameKind::Message, &json!({ "type": "resize", "columns": 80, "rows": 24 })).await;
    session.json(TO, 2, FrameKind::Open, &json!({ "window": 1, "channel": { "kind": "processes" } })).await;
    let kill = json!({ "do": "kill", "process": { "pid": 7, "started_ms": 1 } });
    session.json(TO, 2, FrameKind::Message, &json!({ "id": 1, "request": kill })).await;
    let killed = json!({ "is": "killed", "processes": 1 });
    session.json(FROM, 2, FrameKind::Message, &json!({ "id": 1, "reply": killed })).await;
    session.json(FROM, 1, FrameKind::End, &json!({ "exit_code": 0 })).await;
    session.close().await;
    let admin = server.client_as(&acme::ADMIN).await;
    let events = cast(&admin, id, 1).await;
    assert_eq!((&events[0]["width"], &events[0]["version"]), (&json!(100), &json!(2)));
    assert!(bytes(&events, "o") == output, "the output is another one");
    assert_eq!(bytes(&events, "i"), "cat /dev/urandom | grüße\r".as_bytes());
    assert!(events.iter().any(|event| event[1] == "r" && event[2] == "80x24"));
    let times: Vec<f64> = events[1..].iter().map(|event| event[0].as_f64().unwrap()).collect();
    assert!(times.is_sorted() && *times.last().unwrap() < 60.0, "{times:?}");

    let detail = admin.get(&path(id)).await.expect(200);
    assert_eq!((&detail["hostname"], &detail["tech_name"]), (&json!("web-01"), &json!(acme::TECH.name)));
    assert_eq!(detail["kinds"], json!(["processes", "terminal"]));
    assert!(detail["ended_at"].is_string() && detail["parts"].as_array().unwrap().len() >= 3, "{detail}");
    let channels: Vec<_> =
        detail["channels"].as_array().unwrap().iter().map(|channel| &channel["kind"]).collect();
    assert_eq!(channels, ["terminal", "processes"]);
    assert_eq!(detail["gaps"], json!([]));
    let happened = admin.get(&format!("{}/events?channel=2", path(id))).await.expect(200);
    let events: Vec<_> = happened["items"].as_array().unwrap().iter().map(|item| &item["event"]).collect();
    assert_eq!(events[0]["what"], "opened");
    assert_eq!(events[1], &json!({ "what": "asked", "id": 1, "request": kill }));
    assert_eq!(events[2], &json!({ "what": "answered", "id": 1, "reply": killed }));
    assert_eq!((events.len(), &happened["next_cursor"]), (3, &Value::Null));
    // Page by page it is the same.
    let (mut all, mut query) = (Vec::new(), String::new());
    loop {
        let page = admin.get(&format!("{}/events?limit=2{query}", path(id))).await.expect(200);
        all.extend(page["items"].as_array().unwrap().clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("&cursor={cursor}");
    }
    let whole = admin.get(&format!("{}/events", path(id))).await.expect(200);
    assert_eq!(json!(all), whole["items"]);
    assert!(all.len() > 8, "{all:?}");
    for elsewhere in [2, 3] {
        let missing = format!("{}/channels/{elsewhere}/cast", path(id));
        admin.get(&missing).await.expect_problem(404, "NOT_FOUND");
    }
}

#[tokio::test]
async fn nothing_that_was_typed_or_shown_lies_about_in_the_clear() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let (id, secret) = (Uuid::now_v7(), "hunter2-hunter2-hunter2");
    logs::keep_secret(secret);
    let session = Session::of(&server, &machine, id).await;
    session.terminal(1).await;
    session.data(TO, 1, 0, b"sudo -i\r").await;
    session.data(FROM, 1, 0, b"sudo -i\r\nPassword: ").await;
    session.data(TO, 1, 8, format!("{secret}\r").as_bytes()).await;
    session.data(FROM, 1, 19, b"\r\n# ").await;
    session.close().await;
    for object in objects(&server) {
        let bytes = std::fs::read(&object).unwrap();
        for text in [secret.as_bytes(), b"sudo -i"] {
            assert!(!bytes.windows(text.len()).any(|window| window == text), "{}", object.display());
        }
    }
    assert_eq!(objects(&server).len(), 1);
    let lines: Vec<String> = sqlx::query_scalar("SELECT line FROM recording_lines")
        .fetch_all(&mut server.owner().await)
        .await
        .unwrap();
    assert_eq!(lines, ["sudo -i"], "what was not shown is not in the database");
    let dump: String = sqlx::query_scalar(
        "SELECT coalesce(string_agg(e::text, ''), '') || (SELECT string_agg(a::text, '') FROM audit_log a)
         FROM recording_entries e",
    )
    .fetch_one(&mut server.owner().await)
    .await
    .unwrap_or_default();
    assert!(!dump.contains(secret));
    let admin = server.client_as(&acme::ADMIN).await;
    let detail = admin.get(&path(id)).await.expect(200);
    let lines: Vec<_> =
        detail["commands"].as_array().unwrap().iter().map(|command| &command["line"]).collect();
    assert_eq!(lines, [&json!("sudo -i"), &Value::Null]);
    // The recording itself has it: techs are accountable.
    assert!(String::from_utf8(bytes(&cast(&admin, id, 1).await, "i")).unwrap().contains(secret));
}

#[tokio::test]
async fn what_was_written_before_a_crash_is_readable_and_the_next_host_goes_on() {
    let mut server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.recordings.write_every = Duration::from_millis(10);
    })
    .await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let id = Uuid::now_v7();
    let session = Session::of(&server, &machine, id).await;
    session.terminal(1).await;
    session.data(FROM, 1, 0, b"before ").await;
    while count(&server, "recording_entries WHERE kind = 'segment'").await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // As if the process had been killed: what it holds is never written.
    std::mem::forget(session);
    server.restart().await;
    let admin = server.client_as(&acme::ADMIN).await;
    assert_eq!(bytes(&cast(&admin, id, 1).await, "o"), b"before ");
    let session = Session::of(&server, &machine, id).await;
    let live = json!([{ "channel": 1, "kind": "terminal", "label": "bash" }]);
    let channels = serde_json::from_value(live).unwrap();
    session.0.note(Note::Ready { channels }).await.unwrap();
    session.json(TO, 1, FrameKind::Attach, &json!({ "have": 0, "window": 1 })).await;
    session.json(FROM, 1, FrameKind::Opened, &json!({ "from": 0, "received": 0 })).await;
    session.data(FROM, 1, 0, b"before and after").await;
    session.data(FROM, 1, 20, b"!").await;
    session.close().await;
    assert_eq!(bytes(&cast(&admin, id, 1).await, "o"), b"before and after!");
    let detail = admin.get(&path(id)).await.expect(200);
    assert_eq!(detail["channels"].as_array().unwrap().len(), 1, "{detail}");
    let gaps: Vec<_> = detail["gaps"].as_array().unwrap().iter().map(|gap| &gap["bytes"]).collect();
    assert_eq!(gaps, [4]);
    let cut_offs = detail["cut_offs"].as_array().unwrap();
    assert!(cut_offs.len() == 1 && cut_offs[0]["at_ms"].is_i64(), "{cut_offs:?}");
}

#[tokio::test]
async fn two_hosts_of_one_session_take_nothing_from_each_other() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let id = Uuid::now_v7();
    let one = Session::of(&server, &machine, id).await;
    let other = Session::of(&server, &machine, id).await;
    one.terminal(1).await;
    one.data(FROM, 1, 0, b"one").await;
    other.terminal(0x8000_0000).await;
    other.data(FROM, 0x8000_0000, 0, b"other").await;
    one.0.finish().await.unwrap();
    other.close().await;
    let admin = server.client_as(&acme::ADMIN).await;
    assert_eq!(bytes(&cast(&admin, id, 1).await, "o"), b"one");
    assert_eq!(bytes(&cast(&admin, id, 0x8000_0000).await, "o"), b"other");
    assert_eq!(admin.get(&path(id)).await.expect(200)["cut_offs"], json!([]), "both had written all");
}

#[tokio::test]
async fn a_recording_that_cannot_be_written_fails_and_with_it_the_session() {
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.recordings.write_every = Duration::from_millis(10);
        options.recordings.write_within = Duration::from_millis(500);
    })
    .await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let fails = async |session: &Session| {
        let failed = tokio::time::timeout(Duration::from_secs(20), session.0.failed()).await;
        assert!(failed.is_ok(), "it goes on");
        let ping = Frame { channel: 1, kind: FrameKind::End, flags: Flags::default(), body: b"{}" };
        assert!(session.0.frame(FROM, &ping).await.is_err());
        assert!(session.0.note(Note::TechLeft).await.is_err());
    };
    // The object store: a file stands where its folder was.
    let session = Session::of(&server, &machine, Uuid::now_v7()).await;
    let (place, aside) = (server.recordings_dir(), server.recordings_dir().with_extension("aside"));
    std::fs::rename(&place, &aside).unwrap();
    std::fs::write(&place, "in the way").unwrap();
    session.terminal(1).await;
    fails(&session).await;
    assert!(session.0.finish().await.is_err());
    std::fs::remove_file(&place).unwrap();
    std::fs::rename(&aside, &place).unwrap();
    // The database refuses.
    let session = Session::of(&server, &machine, Uuid::now_v7()).await;
    for statement in [
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'out of order'; END $$",
        "CREATE TRIGGER refuse BEFORE INSERT ON recording_entries FOR EACH ROW EXECUTE FUNCTION refuse()",
    ] {
        sqlx::query(statement).execute(&mut server.owner().await).await.unwrap();
    }
    session.terminal(1).await;
    fails(&session).await;
    assert!(Recorder::start(server.app(), &facts(&machine, Uuid::now_v7())).await.is_err());
}

#[tokio::test]
async fn a_segment_that_was_moved_or_changed_is_not_shown() {
    let server = TestServer::start().await;
    let ours = server.seed_agent(&acme::HQ, "web-01").await;
    let theirs = server.seed_agent(&globex::HQ, "db-01").await;
    let ids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for (machine, id) in [(&ours, ids[0]), (&ours, ids[1]), (&theirs, ids[2])] {
        record(&server, machine, id).await;
    }
    let all = objects(&server);
    let object_of =
        |id: Uuid| all.iter().find(|path| path.to_str().unwrap().contains(&id.to_string())).unwrap().clone();
    let admin = server.client_as(&acme::ADMIN).await;
    let own = object_of(ids[0]);
    let original = std::fs::read(&own).unwrap();
    for other in [object_of(ids[1]), object_of(ids[2])] {
        std::fs::copy(other, &own).unwrap();
        admin.get(&path(ids[0])).await.expect_problem(409, "RECORDING_DAMAGED");
    }
    // Not even where the entry was made to fit.
    let entry = "UPDATE recording_entries SET detail = jsonb_set(detail, '{object}', (SELECT detail->'object' FROM
        recording_entries WHERE recording_id = $2 AND kind = 'segment')) || jsonb_build_object('sha256', (SELECT
        detail->'sha256' FROM recording_entries WHERE recording_id = $2 AND kind = 'segment'))
        WHERE recording_id = $1 AND kind = 'segment'";
    for other in [ids[1], ids[2]] {
        let mut owner = server.owner().await;
        let changed = sqlx::query(entry).bind(ids[0]).bind(other).execute(&mut owner).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
        admin.get(&path(ids[0])).await.expect_problem(409, "RECORDING_DAMAGED");
    }
    std::fs::write(&own, original).unwrap();
    admin.get(&path(ids[1])).await.expect(200);
}

#[tokio::test]
async fn typed_lines_are_searched_until_the_partner_switches_it_off() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let lines =
        ["systemctl restart nginx", "vim /etc/nginx/sites-enabled/acme.conf", "Get-Service -Name Spooler"];
    let mut ids = Vec::new();
    for line in lines {
        let id = Uuid::now_v7();
        let session = Session::of(&server, &machine, id).await;
        session.terminal(1).await;
        session.line(1, line).await;
        session.close().await;
        ids.push(id);
    }
    let owner = server.client_as(&acme::OWNER).await;
    let found = async |q: &str| {
        let page = owner.get(&format!("/api/v1/recordings?q={q}")).await.expect(200);
        let items = page["items"].as_array().unwrap().clone();
        assert_eq!(page["total"], items.len());
        items
            .iter()
            .map(|item| item["session_id"].as_str().unwrap().parse::<Uuid>().unwrap())
            .collect::<Vec<_>>()
    };
    assert_eq!(found("nginx").await, [ids[1], ids[0]]);
    assert_eq!(found("restart%20nginx").await, [ids[0]]);
    assert_eq!(found("get-serv%20spool").await, [ids[2]]);
    assert_eq!(found("apache").await, Vec::<Uuid>::new());
    assert_eq!(found("%20").await.len(), 3);
    owner.get("/api/v1/recordings?q=--").await.expect_problem(400, "INVALID_QUERY");
    let page = owner.get("/api/v1/recordings?q=sites").await.expect(200);
    assert_eq!(page["items"][0]["matches"][0]["line"], lines[1]);
    let stranger = server.client_as(&globex::OWNER).await;
    assert_eq!(stranger.get("/api/v1/recordings?q=nginx").await.expect(200)["total"], 0);

    let off = json!({ "recordings_are_indexed": false });
    assert_eq!(owner.patch("/api/v1/partner", off).await.expect(200)["recordings_are_indexed"], false);
    assert_eq!(count(&server, "recording_lines").await, 0);
    record(&server, &machine, Uuid::now_v7()).await;
    assert_eq!(count(&server, "recording_lines").await, 0);
    assert_eq!(found("nginx").await, Vec::<Uuid>::new());
    // What the recordings hold stays.
    assert_eq!(owner.get(&path(ids[0])).await.expect(200)["commands"][0]["line"], lines[0]);
    owner.patch("/api/v1/partner", json!({ "recordings_are_indexed": true })).await.expect(200);
    record(&server, &machine, Uuid::now_v7()).await;
    assert_eq!(found("uptime").await.len(), 1);
}

#[tokio::test]
async fn they_are_listed_by_machine_person_and_time_newest_first() {
    let server = TestServer::start().await;
    let (one, other) =
        (server.seed_agent(&acme::HQ, "one").await, server.seed_agent(&acme::LAB, "other").await);
    let ids = [Uuid::now_v7(), Uuid::now_v7(), Uuid::now_v7()];
    for (machine, id) in [(&one, ids[0]), (&other, ids[1]), (&one, ids[2])] {
        record(&server, machine, id).await;
    }
    let admin = server.client_as(&acme::ADMIN).await;
    let listed = async |query: &str| {
        let page = admin.get(&format!("/api/v1/recordings?{query}")).await.expect(200);
        let ids = page["items"].as_array().unwrap().iter().map(|item| item["session_id"].as_str().unwrap());
        ids.map(|id| id.parse::<Uuid>().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(listed("").await, [ids[2], ids[1], ids[0]]);
    assert_eq!(listed(&format!("agent_id={}", one.id)).await, [ids[2], ids[0]]);
    assert_eq!(listed(&format!("tech_id={}", acme::TECH.id)).await.len(), 3);
    assert_eq!(listed(&format!("tech_id={}", acme::ADMIN.id)).await, Vec::<Uuid>::new());
    assert_eq!(listed("to=2020-01-01T00:00:00Z").await, Vec::<Uuid>::new());
    assert_eq!(listed("from=2020-01-01T00:00:00Z").await.len(), 3);
    let first = admin.get("/api/v1/recordings?limit=2").await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    assert_eq!(listed(&format!("limit=2&cursor={cursor}")).await, [ids[0]]);
}

#[tokio::test]
async fn owners_and_admins_of_the_partner_read_them_and_each_look_is_written_down() {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let id = Uuid::now_v7();
    record(&server, &machine, id).await;
    let paths = [
        "/api/v1/recordings".to_owned(),
        path(id),
        format!("{}/events", path(id)),
        format!("{}/channels/1/cast", path(id)),
    ];
    for person in [&acme::TECH, &acme::READER, &acme::ALPHA_ADMIN] {
        let client = server.client_as(person).await;
        for path in &paths {
            client.get(path).await.expect_problem(403, "FORBIDDEN");
        }
    }
    let stranger = server.client_as(&globex::OWNER).await;
    assert_eq!(stranger.get(&paths[0]).await.expect(200)["total"], 0);
    for path in &paths[1..] {
        stranger.get(path).await.expect_problem(404, "NOT_FOUND");
    }
    for person in [&acme::OWNER, &acme::ADMIN] {
        let client = server.client_as(person).await;
        for path in &paths {
            assert_eq!(client.get(path).await.status, 200, "{path}");
        }
        client.get("/api/v1/recordings?q=uptime").await.expect(200);
        client.get("/api/v1/recordings?q=uptime").await.expect(200);
    }
    let entries: Vec<(String, Uuid, Value)> = sqlx::query_as(
        "SELECT action, actor_id, detail FROM audit_log WHERE tenant_id = $1 AND action LIKE 'recording.%' ORDER BY seq",
    )
    .bind(acme::PARTNER.id)
    .fetch_all(&mut server.owner().await)
    .await
    .unwrap();
    let told: Vec<_> = entries.iter().map(|(action, actor, _)| (action.as_str(), *actor)).collect();
    let by = |person: Uuid| {
        ["recording.list", "recording.read", "recording.search", "recording.search"]
            .map(|what| (what, person))
    };
    assert_eq!(told, [by(acme::OWNER.id), by(acme::ADMIN.id)].concat());
    assert_eq!(entries[2].2["q"], "uptime");
}

#[tokio::test]
async fn past_retention_they_are_archived_or_removed_and_the_chain_stays_whole() {
    let server = TestServer::start().await;
    let ours = server.seed_agent(&acme::HQ, "web-01").await;
    let theirs = server.seed_agent(&globex::HQ, "db-01").await;
    let [old, older, new, foreign] = [(); 4].map(|()| Uuid::now_v7());
    for (machine, id) in [(&ours, old), (&theirs, foreign), (&ours, older), (&ours, new)] {
        record(&server, machine, id).await;
    }
    let age = async |id: Uuid, days: i32| {
        sqlx::query("UPDATE recordings SET last_at = last_at - make_interval(days => $2) WHERE id = $1")
            .bind(id)
            .bind(days)
            .execute(&mut server.owner().await)
            .await
            .unwrap();
    };
    for (id, days) in [(old, 91), (older, 89), (foreign, 91)] {
        age(id, days).await;
    }
    let strangers = server.client_as(&globex::OWNER).await;
    strangers.patch("/api/v1/partner", json!({ "recordings_afterwards": "delete" })).await.expect(200);
    recordings::keep_expiry(server.app(), Utc::now()).await.unwrap();
    let admin = server.client_as(&acme::ADMIN).await;
    admin.get(&path(old)).await.expect_problem(404, "NOT_FOUND");
    admin.get(&path(older)).await.expect(200);
    assert_eq!(admin.get("/api/v1/recordings").await.expect(200)["total"], 2);
    assert_eq!(admin.get("/api/v1/recordings?q=uptime").await.expect(200)["total"], 2);
    assert_eq!(count(&server, "recording_lines").await, 2);
    strangers.get(&path(foreign)).await.expect_problem(404, "NOT_FOUND");
    let left = objects(&server);
    let has = |id: Uuid| left.iter().any(|path| path.to_str().unwrap().contains(&id.to_string()));
    assert_eq!([old, older, new, foreign].map(has), [true, true, true, false]);
    // A shorter class holds for what is old already; one round more changes nothing.
    server
        .client_as(&acme::OWNER)
        .await
        .patch("/api/v1/partner", json!({ "retention_days": 30 }))
        .await
        .expect(200);
    for _ in 0..2 {
        recordings::keep_expiry(server.app(), Utc::now()).await.unwrap();
    }
    assert_eq!(admin.get("/api/v1/recordings").await.expect(200)["total"], 1);
    let archived = count(&server, "recording_entries WHERE kind = 'archived'").await;
    assert_eq!((archived, count(&server, "recording_entries WHERE kind = 'removed'").await), (2, 1));
    let report = gururmm_server::chain::verify(server.app(), Default::default()).await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
    // What is out of sight is not gone on with.
    assert!(Recorder::start(server.app(), &facts(&ours, old)).await.is_err());
    // One whose session is open stays, whatever its age.
    let later = Utc::now() + TimeDelta::days(31);
    for (status, left) in [("'active', closed_at = NULL", 1), ("'closed', closed_at = now()", 0)] {
        let session = format!(
            "INSERT INTO tunnel_sessions (id, tenant_id, client_id, site_id, agent_id, tech_id, status)
             SELECT id, tenant_id, client_id, site_id, agent_id, tech_id, 'active' FROM recordings WHERE id = '{new}'
             ON CONFLICT (id) DO UPDATE SET status = {status}"
        );
        sqlx::query(AssertSqlSafe(session)).execute(&mut server.owner().await).await.unwrap();
        recordings::keep_expiry(server.app(), later).await.unwrap();
        assert_eq!(admin.get("/api/v1/recordings").await.expect(200)["total"], left);
    }
}

#[tokio::test]
async fn what_passes_in_a_session_is_in_its_recording() {
    let mut scene = Scene::new().await;
    let mut page = scene.page_with_terminal(WINDOW_BYTES, WINDOW_BYTES).await;
    page.send(&OwnFrame::data(1, 0, b"uptime\r")).await;
    assert_eq!(scene.machine.frame(scene.session).await.bytes(), b"uptime\r");
    scene.machine.send(scene.session, &OwnFrame::data(1, 0, b"uptime\r\n up 3 days \xff\r\n")).await;
    assert_eq!(page.frame().await.bytes(), b"uptime\r\n up 3 days \xff\r\n");
    scene.machine.ends(scene.session, 1, &ChannelEnd::default()).await;
    page.frame().await;
    scene.tech.post("/api/v1/tunnel/close", json!({ "session_id": scene.session })).await.expect(200);
    page.closed_because().await;
    let admin = scene.server.client_as(&acme::ADMIN).await;
    let detail = eventually("the end of the recording", async || {
        let answer = admin.get(&path(scene.session)).await;
        let detail = (answer.status == 200).then(|| answer.json())?;
        detail["commands"].get(0).is_some().then_some(detail)
    })
    .await;
    let whole = "recording_entries WHERE kind = 'closed'";
    eventually("the chain's last entry", async || (count(&scene.server, whole).await == 1).then_some(()))
        .await;
    assert_eq!((&detail["hostname"], &detail["agent_id"]), (&json!("web-01"), &json!(scene.seeded.id)));
    assert_eq!(detail["commands"][0]["line"], "uptime");
    let events = cast(&admin, scene.session, 1).await;
    assert_eq!(bytes(&events, "o"), b"uptime\r\n up 3 days \xff\r\n");
    assert_eq!(bytes(&events, "i"), b"uptime\r");
    let happened = admin.get(&format!("{}/events?channel=0", path(scene.session))).await.expect(200);
    let what: Vec<_> =
        happened["items"].as_array().unwrap().iter().map(|item| &item["event"]["what"]).collect();
    assert_eq!(what.last().unwrap(), &"closed");
    assert!(what.contains(&&json!("tech_joined")) && what.contains(&&json!("ready")), "{what:?}");
    let report = gururmm_server::chain::verify(scene.server.app(), Default::default()).await.unwrap();
    assert_eq!(report.findings, Vec::<String>::new());
}

#[tokio::test]
async fn a_session_ends_when_it_cannot_be_recorded() {
    let server = TestServer::start_with(TestDatabase::with_world().await, |options| {
        options.recordings.write_every = Duration::from_millis(10);
        options.recordings.write_within = Duration::from_millis(300);
    })
    .await;
    let mut scene = Scene::on(server).await;
    let mut page = scene.page_with_terminal(WINDOW_BYTES, WINDOW_BYTES).await;
    let place = scene.server.recordings_dir();
    std::fs::rename(&place, place.with_extension("aside")).unwrap();
    std::fs::write(&place, "in the way").unwrap();
    page.send(&OwnFrame::data(1, 0, b"whoami\r")).await;
    assert_eq!(page.closed_because().await, (Some(4000), json!("recording_failed")));
    assert_eq!(scene.machine.dropped().await, scene.session);
    assert_eq!(scene.closed_reason().await, "recording_failed");
}
