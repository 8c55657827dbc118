//! The agents' own logs, asked for and sent after a crash.

use chrono::{TimeDelta, Utc};
use gururmm_protocol::command::Bytes;
use gururmm_protocol::limits::{MAX_LOG_BYTES, MAX_LOG_PART_BYTES};
use gururmm_protocol::log::{CrashCause, CrashReport, LogEnd, LogPart, LogRequest};
use gururmm_protocol::{AgentMessage, CrashId, LogId, ServerMessage};
use gururmm_server::{agent_logs, retention};
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually};
use serde_json::{Value, json};

struct Stage {
    server: TestServer,
    machine: SeededAgent,
    tech: ApiClient,
}

async fn stage() -> Stage {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let tech = server.client_as(&acme::TECH).await;
    Stage { server, machine, tech }
}

impl Stage {
    async fn agent(&self) -> TestAgent {
        TestAgent::connect(&self.server, &self.machine).await
    }

    fn logs(&self) -> String {
        format!("/api/v1/agents/{}/logs", self.machine.id)
    }

    fn crashes(&self) -> String {
        format!("/api/v1/agents/{}/crashes", self.machine.id)
    }

    /// Asks for a log; the id the agent is told.
    async fn ask(&self, agent: &mut TestAgent) -> LogId {
        let asked = self.tech.post(&self.logs(), json!({})).await.expect(202);
        assert_eq!(asked["status"], "requested");
        let request = expect_request(agent).await;
        assert_eq!(asked["id"], json!(request.log_id));
        assert_eq!(request.max_bytes, MAX_LOG_BYTES);
        request.log_id
    }

    async fn read(&self, id: LogId) -> Value {
        self.tech.get(&format!("/api/v1/agent-logs/{id}")).await.expect(200)
    }

    /// The log once it is in that state.
    async fn reaches(&self, id: LogId, status: &str) -> Value {
        eventually(status, async || {
            let log = self.read(id).await;
            (log["log"]["status"] == status).then_some(log)
        })
        .await
    }

    async fn open_alerts(&self, kind: &str) -> Vec<Value> {
        let alerts = self.tech.get("/api/v1/alerts?status=open").await.expect(200);
        alerts["items"].as_array().unwrap().iter().filter(|alert| alert["kind"] == kind).cloned().collect()
    }
}

async fn expect_request(agent: &mut TestAgent) -> LogRequest {
    agent
        .expect("request for the log", |message| match message {
            ServerMessage::LogRequest(request) => Some(request),
            _ => None,
        })
        .await
}

async fn expect_crash_ack(agent: &mut TestAgent) -> CrashId {
    agent
        .expect("acknowledgement of the crash", |message| match message {
            ServerMessage::CrashReportAck { crash_id } => Some(crash_id),
            _ => None,
        })
        .await
}

fn part(log_id: LogId, seq: u32, data: &[u8]) -> AgentMessage {
    AgentMessage::LogPart(LogPart { log_id, seq, data: Bytes(data.to_vec()) })
}

fn end(log_id: LogId, last_seq: u32) -> AgentMessage {
    AgentMessage::LogEnd(LogEnd { log_id, last_seq, total_bytes: 12, lost_lines: 3, error: None })
}

fn crash(log: &[u8]) -> CrashReport {
    CrashReport {
        crash_id: CrashId::new(),
        cause: CrashCause::Panic,
        crashed_at: Utc::now() - TimeDelta::minutes(5),
        agent_version: "0.1.0".into(),
        message: Some("index out of bounds, at session.rs:7".into()),
        log: Bytes(log.to_vec()),
    }
}

#[tokio::test]
async fn a_log_is_asked_for_comes_in_pieces_and_is_read() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    // A character is cut between two pieces.
    agent.send(&part(id, 1, b"gr\xc3")).await;
    agent.send(&part(id, 2, b"\xbcn\0<b>\n")).await;
    agent.send(&end(id, 2)).await;
    let read = stage.reaches(id, "complete").await;
    assert_eq!(read["text"], "gr\u{fc}n\0<b>\n");
    let log = &read["log"];
    assert_eq!((&log["received_bytes"], &log["total_bytes"]), (&json!(10), &json!(12)));
    assert_eq!((&log["lost_lines"], &log["error"]), (&json!(3), &Value::Null));
    assert_eq!(log["requested_by_name"], acme::TECH.name);
    assert_eq!(stage.tech.get(&stage.logs()).await.expect(200), json!([log]));
    // What came after the end is nobody's.
    agent.send(&part(id, 3, b"more")).await;
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    agent
        .expect("answer", |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(()))
        .await;
    assert_eq!(stage.read(id).await, read);
}

#[tokio::test]
async fn who_asks_while_a_log_is_on_its_way_gets_that_one() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    let admin = stage.server.client_as(&acme::ADMIN).await;
    let second = admin.post(&stage.logs(), json!({})).await.expect(202);
    assert_eq!((&second["id"], &second["requested_by_name"]), (&json!(id), &json!(acme::TECH.name)));
    agent.send(&end(id, 0)).await;
    let read = stage.reaches(id, "complete").await;
    assert_eq!(read["text"], "");
    assert_ne!(stage.ask(&mut agent).await, id);
}

#[tokio::test]
async fn a_lost_link_has_the_log_sent_again_from_its_beginning() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    agent.send(&part(id, 1, b"first try, ")).await;
    agent.send(&part(id, 2, b"cut off")).await;
    eventually("two pieces", async || (stage.read(id).await["text"] == "first try, cut off").then_some(()))
        .await;
    drop(agent);
    let mut agent = stage.agent().await;
    assert_eq!(expect_request(&mut agent).await.log_id, id);
    agent.send(&part(id, 1, b"second try")).await;
    agent.send(&end(id, 1)).await;
    let read = stage.reaches(id, "complete").await;
    assert_eq!((&read["text"], &read["log"]["received_bytes"]), (&json!("second try"), &json!(10)));
}

#[tokio::test]
async fn a_machine_that_is_offline_or_waits_is_not_asked() {
    let stage = stage().await;
    stage.tech.post(&stage.logs(), json!({})).await.expect_problem(409, "AGENT_OFFLINE");
    assert_eq!(stage.tech.get(&stage.logs()).await.expect(200), json!([]));
    let mut owner = stage.server.owner().await;
    sqlx::query("UPDATE agents SET state = 'pending', pending_reason = 'approval_required'")
        .execute(&mut owner)
        .await
        .unwrap();
    stage.tech.post(&stage.logs(), json!({})).await.expect_problem(409, "AGENT_NOT_ACTIVE");
}

#[tokio::test]
async fn a_machine_that_cannot_or_does_not_answer_is_said_to_have_failed() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let refused = stage.ask(&mut agent).await;
    let error = Some("the log cannot be read: \0permission denied".to_owned());
    let why = LogEnd { log_id: refused, last_seq: 0, total_bytes: 0, lost_lines: 0, error };
    agent.send(&AgentMessage::LogEnd(why)).await;
    let read = stage.reaches(refused, "failed").await;
    assert_eq!(read["log"]["error"], "the log cannot be read: permission denied");

    let short = stage.ask(&mut agent).await;
    agent.send(&part(short, 1, b"some")).await;
    agent.send(&end(short, 2)).await;
    let read = stage.reaches(short, "failed").await;
    assert_eq!(
        (&read["text"], &read["log"]["error"]),
        (&json!("some"), &json!("pieces of the log are missing"))
    );

    let silent = stage.ask(&mut agent).await;
    let (early, late) = (Utc::now() + TimeDelta::seconds(100), Utc::now() + TimeDelta::seconds(125));
    agent_logs::deadlines::keep(stage.server.app(), early).await.unwrap();
    assert_eq!(stage.read(silent).await["log"]["status"], "requested");
    agent_logs::deadlines::keep(stage.server.app(), late).await.unwrap();
    let read = stage.read(silent).await;
    assert_eq!(read["log"]["status"], "failed");
    assert_eq!(read["log"]["error"], "the machine did not send it in time");
}

#[tokio::test]
async fn every_piece_puts_the_deadline_off() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    let mut owner = stage.server.owner().await;
    sqlx::query("UPDATE agent_logs SET expires_at = now()").execute(&mut owner).await.unwrap();
    agent.send(&part(id, 1, b"slow")).await;
    eventually("a piece", async || (stage.read(id).await["text"] == "slow").then_some(())).await;
    agent_logs::deadlines::keep(stage.server.app(), Utc::now()).await.unwrap();
    assert_eq!(stage.read(id).await["log"]["status"], "requested");
}

#[tokio::test]
async fn a_log_that_is_begun_again_and_again_ends() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    for _ in 0..12 {
        agent.send(&part(id, 1, b"from the beginning")).await;
    }
    let read = stage.reaches(id, "failed").await;
    assert_eq!(read["log"]["error"], "the link broke too often");
    // Nor is it kept open for ever by pieces that come slowly.
    let slow = stage.ask(&mut agent).await;
    let mut owner = stage.server.owner().await;
    let earlier = "UPDATE agent_logs SET requested_at = now() - interval '29 minutes' WHERE id = $1";
    sqlx::query(earlier).bind(slow.0).execute(&mut owner).await.unwrap();
    agent.send(&part(slow, 1, b"slow")).await;
    eventually("a piece", async || (stage.read(slow).await["text"] == "slow").then_some(())).await;
    agent_logs::deadlines::keep(stage.server.app(), Utc::now() + TimeDelta::seconds(90)).await.unwrap();
    assert_eq!(stage.read(slow).await["log"]["status"], "failed");
}

#[tokio::test]
async fn what_came_while_a_clock_was_ahead_keeps_nothing_new_out() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let mut owner = stage.server.owner().await;
    for statement in [
        "INSERT INTO agent_logs (id, tenant_id, agent_id, status, requested_at, expires_at, ended_at)
         SELECT gen_random_uuid(), tenant_id, id, 'complete', now() + interval '1 year', now(), now()
         FROM agents, generate_series(1, 10)",
        "INSERT INTO agent_crashes (id, tenant_id, agent_id, crash_id, cause, crashed_at, received_at, agent_version, log)
         SELECT gen_random_uuid(), tenant_id, id, gen_random_uuid(), 'killed', now(), now() + interval '1 year', '0.1.0', 'x'
         FROM agents, generate_series(1, 10)",
    ] {
        sqlx::query(statement).execute(&mut owner).await.unwrap();
    }
    stage.ask(&mut agent).await;
    let report = crash(b"x");
    agent.send(&AgentMessage::CrashReport(report.clone())).await;
    expect_crash_ack(&mut agent).await;
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_crashes WHERE crash_id = $1")
        .bind(report.crash_id.0)
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn pieces_nobody_asked_for_are_refused_and_change_nothing() {
    let stage = stage().await;
    let other = stage.server.seed_agent(&globex::HQ, "globex-server").await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    agent.send(&part(id, 1, b"mine")).await;
    let mut stranger = TestAgent::connect(&stage.server, &other).await;
    for message in [part(id, 1, b"theirs"), part(id, 2, b"theirs"), end(id, 1)] {
        stranger.send(&message).await;
    }
    // Out of order, too large, and too much altogether: faults of this agent, told apart from a broken link.
    agent.send(&part(id, 3, b"gap")).await;
    agent.send(&part(id, 2, &vec![b'x'; MAX_LOG_PART_BYTES + 1])).await;
    for agent in [&mut agent, &mut stranger] {
        agent.send(&AgentMessage::Heartbeat { clock: None }).await;
        agent
            .expect("answer", |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(()))
            .await;
    }
    let read = stage.read(id).await;
    assert_eq!((&read["text"], &read["log"]["status"]), (&json!("mine"), &json!("requested")));
}

#[tokio::test]
async fn a_log_grows_no_larger_than_was_asked_for() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    let pieces = u32::try_from(MAX_LOG_BYTES).unwrap() / u32::try_from(MAX_LOG_PART_BYTES).unwrap();
    let piece = vec![b'x'; MAX_LOG_PART_BYTES];
    for seq in 1..=pieces + 1 {
        agent.send(&part(id, seq, &piece)).await;
    }
    agent.send(&end(id, pieces)).await;
    let read = stage.reaches(id, "complete").await;
    assert_eq!(read["log"]["received_bytes"], json!(MAX_LOG_BYTES));
    assert_eq!(read["text"].as_str().unwrap().len() as u64, MAX_LOG_BYTES);
}

#[tokio::test]
async fn a_crash_is_stored_once_and_raises_one_alert() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let report = crash(b"the last line\n\xff");
    agent.send(&AgentMessage::CrashReport(report.clone())).await;
    assert_eq!(expect_crash_ack(&mut agent).await, report.crash_id);
    // The acknowledgement was lost: it comes again.
    agent.send(&AgentMessage::CrashReport(report.clone())).await;
    assert_eq!(expect_crash_ack(&mut agent).await, report.crash_id);
    let crashes = stage.tech.get(&stage.crashes()).await.expect(200);
    assert_eq!(crashes.as_array().unwrap().len(), 1);
    let stored = &crashes[0];
    assert_eq!((&stored["cause"], &stored["agent_version"]), (&json!("panic"), &json!("0.1.0")));
    assert_eq!(stored["message"], "index out of bounds, at session.rs:7");
    let path = format!("/api/v1/agent-crashes/{}", stored["id"].as_str().unwrap());
    let read = stage.tech.get(&path).await.expect(200);
    assert_eq!((&read["crash"], &read["text"]), (stored, &json!("the last line\n\u{fffd}")));
    let alerts = stage.open_alerts("agent.crashed").await;
    assert_eq!(alerts.len(), 1);
    let alert = &alerts[0];
    assert_eq!((&alert["title"], &alert["count"]), (&json!("The agent of web-01 crashed"), &json!(1)));
    assert_eq!(alert["detail"]["crash_id"], stored["id"]);

    agent.send(&AgentMessage::CrashReport(crash(b""))).await;
    expect_crash_ack(&mut agent).await;
    let alerts = stage.open_alerts("agent.crashed").await;
    assert_eq!((alerts.len(), &alerts[0]["count"]), (1, &json!(2)));
}

#[tokio::test]
async fn a_crash_is_never_in_the_future_nor_larger_than_it_may_be() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let mut report = crash(&vec![b'x'; 3 * MAX_LOG_PART_BYTES / 2]);
    report.crashed_at = Utc::now() + TimeDelta::days(400);
    let mut ancient = crash(b"");
    ancient.crashed_at = chrono::DateTime::<Utc>::MIN_UTC;
    agent.send(&AgentMessage::CrashReport(ancient)).await;
    expect_crash_ack(&mut agent).await;
    let stored = stage.tech.get(&stage.crashes()).await.expect(200)[0].clone();
    assert_eq!(stored["crashed_at"], "1970-01-01T00:00:00Z");
    report.message = Some("\0<script>alert(1)</script>".repeat(500));
    agent.send(&AgentMessage::CrashReport(report)).await;
    expect_crash_ack(&mut agent).await;
    let stored = stage.tech.get(&stage.crashes()).await.expect(200)[0].clone();
    assert!(stored["crashed_at"].as_str().unwrap() <= Utc::now().to_rfc3339().as_str());
    assert_eq!(stored["message"].as_str().unwrap().chars().count(), 2_048);
    let path = format!("/api/v1/agent-crashes/{}", stored["id"].as_str().unwrap());
    assert_eq!(stage.tech.get(&path).await.expect(200)["text"].as_str().unwrap().len(), MAX_LOG_PART_BYTES);
}

#[tokio::test]
async fn a_storm_of_crashes_is_acknowledged_and_not_kept() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    for _ in 0..15 {
        agent.send(&AgentMessage::CrashReport(crash(b"x"))).await;
        expect_crash_ack(&mut agent).await;
    }
    assert_eq!(stage.tech.get(&stage.crashes()).await.expect(200).as_array().unwrap().len(), 10);
    assert_eq!(stage.open_alerts("agent.crashed").await[0]["count"], 10);
    // A minute later the newest ones are told again, and the oldest go.
    let mut owner = stage.server.owner().await;
    let later = "UPDATE agent_crashes SET received_at = received_at - interval '2 minutes'";
    sqlx::query(later).execute(&mut owner).await.unwrap();
    let newest = crash(b"x");
    agent.send(&AgentMessage::CrashReport(newest.clone())).await;
    expect_crash_ack(&mut agent).await;
    let crashes = stage.tech.get(&stage.crashes()).await.expect(200);
    assert_eq!(crashes.as_array().unwrap().len(), 10);
    let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM agent_crashes WHERE crash_id = $1")
        .bind(newest.crash_id.0)
        .fetch_one(&mut owner)
        .await
        .unwrap();
    assert_eq!(kept, 1);
}

#[tokio::test]
async fn the_newest_ten_logs_of_a_machine_are_kept() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let mut asked = Vec::new();
    for _ in 0..11 {
        let id = stage.ask(&mut agent).await;
        agent.send(&part(id, 1, b"x")).await;
        agent.send(&end(id, 1)).await;
        stage.reaches(id, "complete").await;
        asked.push(json!(id));
    }
    let kept = stage.tech.get(&stage.logs()).await.expect(200);
    let ids: Vec<Value> = kept.as_array().unwrap().iter().map(|log| log["id"].clone()).collect();
    asked.remove(0);
    asked.reverse();
    assert_eq!(ids, asked);
    let mut owner = stage.server.owner().await;
    let parts: i64 =
        sqlx::query_scalar("SELECT count(*) FROM agent_log_parts").fetch_one(&mut owner).await.unwrap();
    assert_eq!(parts, 10);
}

#[tokio::test]
async fn logs_and_crashes_go_by_their_partners_class() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    agent.send(&part(id, 1, b"x")).await;
    agent.send(&end(id, 1)).await;
    stage.reaches(id, "complete").await;
    agent.send(&AgentMessage::CrashReport(crash(b"x"))).await;
    expect_crash_ack(&mut agent).await;
    let days: i16 = sqlx::query_scalar("SELECT retention_days FROM partners WHERE id = $1")
        .bind(acme::PARTNER.id)
        .fetch_one(&mut stage.server.owner().await)
        .await
        .unwrap();
    let class = TimeDelta::days(days.into());
    retention::keep(stage.server.app(), Utc::now() + class - TimeDelta::hours(1)).await.unwrap();
    assert_eq!(stage.tech.get(&stage.logs()).await.expect(200).as_array().unwrap().len(), 1);
    assert_eq!(stage.tech.get(&stage.crashes()).await.expect(200).as_array().unwrap().len(), 1);
    retention::keep(stage.server.app(), Utc::now() + class + TimeDelta::hours(1)).await.unwrap();
    assert_eq!(stage.tech.get(&stage.logs()).await.expect(200), json!([]));
    assert_eq!(stage.tech.get(&stage.crashes()).await.expect(200), json!([]));
}

#[tokio::test]
async fn asking_and_reading_are_written_down() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = stage.ask(&mut agent).await;
    agent.send(&end(id, 0)).await;
    stage.reaches(id, "complete").await;
    stage.read(id).await;
    let admin = stage.server.client_as(&acme::ADMIN).await;
    let audit = admin.get("/api/v1/audit").await.expect(200);
    let told: Vec<(&str, &str)> = audit["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["action"].as_str().unwrap(), entry["target_name"].as_str().unwrap_or_default()))
        .filter(|(action, _)| action.ends_with("_log"))
        .collect();
    // One look, however often the page asks.
    assert_eq!(told, [("agent.read_log", "web-01"), ("agent.ask_log", "web-01")]);
}

#[tokio::test]
async fn pages_that_show_the_machine_hear_of_its_logs() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let mut heard = stage.server.app().bus.subscribe();
    let id = stage.ask(&mut agent).await;
    agent.send(&end(id, 0)).await;
    stage.reaches(id, "complete").await;
    let mut told = 0;
    while let Ok(event) = heard.try_recv() {
        if event.topic.kind() == "agent_log" && event.id == Some(id.0) {
            assert_eq!((event.agent_id, event.site_id), (Some(stage.machine.id), Some(acme::HQ.id)));
            told += 1;
        }
    }
    assert_eq!(told, 2, "when it was asked for and when it came");
}
