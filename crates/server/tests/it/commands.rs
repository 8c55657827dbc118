//! Commands, from the order to the stored result.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::command::{Bytes, CommandEnd, Outcome, OutputChunk, ResumedCommand, Stream};
use gururmm_protocol::limits::MAX_OUTPUT_CHUNK_BYTES;
use gururmm_protocol::to_agent::GoodbyeReason;
use gururmm_protocol::{AgentMessage, CommandId, ServerMessage};
use gururmm_server::commands::dispatch::keep_deadlines;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer, eventually};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection, Postgres, Transaction};
use uuid::Uuid;

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
    async fn order(&self, body: Value) -> (CommandId, Value) {
        let answer =
            self.tech.post(&format!("/api/agents/{}/command", self.machine.id), body).await.expect(200);
        let id: Uuid = answer["command_id"].as_str().unwrap().parse().unwrap();
        (CommandId(id), answer["status"].clone())
    }

    async fn shell(&self, command: &str) -> (CommandId, Value) {
        self.order(json!({"command_type": "shell", "command": command})).await
    }

    async fn command(&self, id: CommandId) -> Value {
        self.tech.get(&format!("/api/commands/{id}")).await.expect(200)
    }

    async fn reaches(&self, id: CommandId, status: &str) -> Value {
        eventually(status, async || {
            let command = self.command(id).await;
            (command["status"] == status).then_some(command)
        })
        .await
    }

    async fn agent(&self) -> TestAgent {
        TestAgent::connect(&self.server, &self.machine).await
    }

    async fn agent_with(&self, id: CommandId, ended: bool) -> TestAgent {
        let held = vec![ResumedCommand { command_id: id, ended }];
        TestAgent::connect_with(&self.server, &self.machine, held).await
    }
}

/// Pieces that come together are refused together, as one fault.
const AS_OFTEN_AS_SENDS_AWAY: u32 = 200;

fn chunk(id: CommandId, seq: u32, data: &[u8]) -> AgentMessage {
    let data = Bytes(data.to_vec());
    AgentMessage::CommandOutput(OutputChunk { command_id: id, seq, stream: Stream::Stdout, data })
}

fn end(id: CommandId, outcome: Outcome, last_seq: u32) -> AgentMessage {
    AgentMessage::CommandEnded(CommandEnd {
        command_id: id,
        outcome,
        exit_code: (outcome == Outcome::Completed).then_some(0),
        error: None,
        error_code: None,
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: false,
        last_seq,
        started_at: None,
        ended_at: Utc::now(),
    })
}

async fn expect_output_ack(agent: &mut TestAgent) -> u32 {
    agent
        .expect("acknowledgement of output", |message| match message {
            ServerMessage::CommandOutputAck { seq, .. } => Some(seq),
            _ => None,
        })
        .await
}

async fn expect_end_ack(agent: &mut TestAgent) {
    let pick = |message| matches!(message, ServerMessage::CommandEndAck { .. }).then_some(());
    agent.expect("acknowledgement of the end", pick).await;
}

async fn expect_cancel(agent: &mut TestAgent) -> CommandId {
    agent
        .expect("cancel", |message| match message {
            ServerMessage::CommandCancel { command_id } => Some(command_id),
            _ => None,
        })
        .await
}

/// What comes before the answer to this heartbeat came because of what was said before it.
async fn said_until_now(agent: &mut TestAgent) -> Vec<ServerMessage> {
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    let mut said = Vec::new();
    loop {
        match agent.next().await.unwrap() {
            ServerMessage::HeartbeatAck { .. } => return said,
            message => said.push(message),
        }
    }
}

#[tokio::test]
async fn an_absurd_count_of_bytes_spoils_neither_the_command_nor_the_machines_next_hello() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("yes").await;
    agent.expect_command().await;
    let AgentMessage::CommandEnded(mut absurd) = end(id, Outcome::Completed, 0) else { unreachable!() };
    (absurd.stdout_bytes, absurd.stderr_bytes) = (u64::MAX, u64::MAX);
    // Twice: the second time its row is read with what it says.
    for _ in 0..2 {
        agent.send(&AgentMessage::CommandEnded(absurd.clone())).await;
        expect_end_ack(&mut agent).await;
    }
    stage.reaches(id, "completed").await;
    drop(agent);
    let mut agent = stage.agent_with(id, true).await;
    let (next, _) = stage.shell("true").await;
    assert_eq!(agent.expect_command().await.command_id, next);
}

#[tokio::test]
async fn a_command_runs_and_its_result_is_kept() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, status) = stage.shell("echo hello").await;
    assert_eq!(status, "sent");
    let start = agent.expect_command().await;
    assert_eq!((start.command_id, start.command.as_str(), start.timeout_seconds), (id, "echo hello", 300));
    agent.run(&start, "hello\n", 0).await;
    let command = stage.command(id).await;
    assert_eq!(command["status"], "completed", "{command}");
    assert_eq!((&command["stdout"], &command["exit_code"]), (&json!("hello\n"), &json!(0)));
    assert_eq!(command["created_by_name"], acme::TECH.name);
    let listed = stage.tech.get("/api/commands").await.expect(200);
    assert_eq!((&listed[0]["id"], &listed[0]["stdout"]), (&json!(id), &json!("")));
    let page = stage.tech.get("/api/v1/commands?status=completed").await.expect(200);
    assert_eq!(page["total"], 1);
}

#[tokio::test]
async fn a_script_that_waits_is_answered_with_the_end_and_one_that_does_not_at_once() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("true").await;
    let start = agent.expect_command().await;
    let path = format!("/api/v1/commands/{id}");
    assert_eq!(stage.tech.get(&path).await.expect(200)["status"], "sent");
    let waiting_path = format!("{path}?wait_seconds=30");
    let (waited, ()) = tokio::join!(stage.tech.get(&waiting_path), async {
        // It is asked for before it ends: somebody follows it.
        let followed = async || stage.server.app().commands.signals.is_followed(id.0).then_some(());
        eventually("someone who waits", followed).await;
        agent.run(&start, "", 0).await;
    });
    assert_eq!(waited.expect(200)["status"], "completed");
    assert_eq!(stage.tech.get(&waiting_path).await.expect(200)["status"], "completed");
    stage.tech.get(&format!("{path}?wait_seconds=31")).await.expect(422);
}

/// Whatever the machine's clock shows.
#[tokio::test]
async fn a_command_never_ends_before_it_started_nor_in_the_future() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    for wrong in [-TimeDelta::hours(10), TimeDelta::hours(10)] {
        let (id, _) = stage.shell("true").await;
        assert_eq!(agent.expect_command().await.command_id, id);
        agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
        let AgentMessage::CommandEnded(told) = end(id, Outcome::Completed, 0) else { unreachable!() };
        agent.send(&AgentMessage::CommandEnded(CommandEnd { ended_at: told.ended_at + wrong, ..told })).await;
        let command = stage.reaches(id, "completed").await;
        let time = |name: &str| -> DateTime<Utc> { command[name].as_str().unwrap().parse().unwrap() };
        assert!(time("started_at") <= time("ended_at") && time("ended_at") <= Utc::now(), "{command}");
    }
}

#[tokio::test]
async fn a_command_for_a_machine_that_is_away_waits_for_it() {
    let stage = stage().await;
    let (id, status) = stage.shell("uptime").await;
    assert_eq!(status, "queued");
    let mut agent = stage.agent().await;
    assert_eq!(agent.expect_command().await.command_id, id);
    stage.reaches(id, "sent").await;
}

#[tokio::test]
async fn a_command_is_sent_again_until_it_is_in_the_journal_and_never_after() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("reboot-check").await;
    agent.expect_command().await;
    drop(agent);
    let mut agent = stage.agent().await;
    assert_eq!(agent.expect_command().await.command_id, id, "it never arrived, as far as anyone knows");
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    stage.reaches(id, "running").await;
    drop(agent);
    let mut agent = stage.agent_with(id, false).await;
    assert_eq!(said_until_now(&mut agent).await, [], "it is in the journal");
    agent.send(&end(id, Outcome::Completed, 0)).await;
    expect_end_ack(&mut agent).await;
    stage.reaches(id, "completed").await;
}

#[tokio::test]
async fn a_running_command_the_journal_does_not_know_is_interrupted_and_a_late_result_still_counts() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("long").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    stage.reaches(id, "running").await;
    drop(agent);
    let mut agent = stage.agent().await;
    let command = stage.reaches(id, "interrupted").await;
    assert_eq!(command["error_code"], "NO_RESULT");
    agent.send(&chunk(id, 1, b"done")).await;
    assert_eq!(expect_output_ack(&mut agent).await, 1);
    agent.send(&end(id, Outcome::Completed, 1)).await;
    expect_end_ack(&mut agent).await;
    let command = stage.command(id).await;
    assert_eq!((&command["status"], &command["stdout"]), (&json!("completed"), &json!("done")));
    assert_eq!(command["error_code"], Value::Null);
    agent.send(&end(id, Outcome::Failed, 1)).await;
    expect_end_ack(&mut agent).await;
    assert_eq!(stage.command(id).await["status"], "completed", "a result is for ever");
}

#[tokio::test]
async fn repeated_output_and_ends_change_nothing_and_are_acknowledged_again() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("echo").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    for (seq, acknowledged) in [(1, 1), (1, 1), (3, 1), (2, 2), (2, 2)] {
        agent.send(&chunk(id, seq, format!("{seq};").as_bytes())).await;
        assert_eq!(expect_output_ack(&mut agent).await, acknowledged, "after chunk {seq}");
    }
    agent.send(&end(id, Outcome::Completed, 5)).await;
    assert_eq!(said_until_now(&mut agent).await, [], "its output is not all there");
    assert_eq!(stage.command(id).await["status"], "running");
    for _ in 0..2 {
        agent.send(&end(id, Outcome::Completed, 2)).await;
        expect_end_ack(&mut agent).await;
    }
    assert_eq!(stage.command(id).await["stdout"], "1;2;");
    let state = stage.tech.get(&format!("/api/v1/commands/{id}")).await.expect(200);
    assert_eq!((&state["status"], &state["stdout"]), (&json!("completed"), &json!("")), "its state alone");
    let output = stage.tech.get(&format!("/api/v1/commands/{id}/output?after_seq=1")).await.expect(200);
    assert_eq!(output["complete"], true);
    assert_eq!(output["chunks"], json!([{"seq": 2, "stream": "stdout", "text": "2;"}]));
}

#[tokio::test]
async fn a_command_sent_before_the_hello_was_handled_is_neither_expired_nor_withdrawn() {
    let stage = stage().await;
    let socket = TestAgent::open(&stage.server, &stage.machine).await.unwrap();
    // The hello waits for this row, the order does not.
    let mut owner = stage.server.owner().await;
    sqlx::raw_sql("BEGIN").execute(&mut owner).await.unwrap();
    sqlx::query("SELECT 1 FROM agents WHERE id = $1 FOR NO KEY UPDATE")
        .bind(stage.machine.id)
        .execute(&mut owner)
        .await
        .unwrap();
    let mut agent = TestAgent::greet(socket, &stage.machine, Vec::new()).await;
    let (id, _) = stage.shell("true").await;
    let start = agent.expect_command().await;
    assert_eq!(start.command_id, id);
    sqlx::query("UPDATE commands SET expires_at = now() - interval '1 second' WHERE id = $1")
        .bind(id.0)
        .execute(&mut stage.server.owner().await)
        .await
        .unwrap();
    sqlx::raw_sql("COMMIT").execute(&mut owner).await.unwrap();
    agent.run(&start, "it ran", 0).await;
    let command = stage.command(id).await;
    assert_eq!((&command["status"], &command["stdout"]), (&json!("completed"), &json!("it ran")));
}

#[tokio::test]
async fn what_a_script_leaves_open_with_null_is_as_if_it_were_absent() {
    let stage = stage().await;
    let (id, _) = stage
        .order(json!({ "command_type": "shell", "command": "true", "context": null, "elevated": null,
                       "environment": null, "timeout_seconds": null }))
        .await;
    let command = stage.command(id).await;
    assert_eq!((&command["context"], &command["elevated"]), (&json!("system"), &json!(false)));
}

#[tokio::test]
async fn a_long_queue_for_a_machine_that_is_away_keeps_no_deadline_of_others() {
    let stage = stage().await;
    let away = stage.server.seed_agent(&acme::HQ, "away-01").await;
    sqlx::query(
        "INSERT INTO commands (id, tenant_id, client_id, site_id, agent_id, command_type, command, context,
           timeout_seconds, status, created_at, expires_at)
         SELECT gen_random_uuid(), $1, $2, $3, $4, 'shell', 'true', 'system', 300, 'queued', now() - interval '1 hour',
           now() + interval '1 day' FROM generate_series(1, 10000)",
    )
    .bind(acme::PARTNER.id)
    .bind(acme::HQ.client)
    .bind(acme::HQ.id)
    .bind(away.id)
    .execute(&mut stage.server.owner().await)
    .await
    .unwrap();
    let (id, _) =
        stage.order(json!({"command_type": "shell", "command": "true", "expires_in_seconds": 10})).await;
    keep_deadlines(stage.server.app(), Utc::now() + TimeDelta::seconds(11)).await.unwrap();
    assert_eq!(stage.command(id).await["status"], "expired");
}

#[tokio::test]
async fn long_output_of_both_streams_is_told_whole() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("cat \"\\").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    for seq in 1..=30 {
        // Characters are cut between chunks, and some have to be escaped.
        let data: Vec<u8> =
            format!("{seq} \"\u{1}\\\n\u{20ac}").bytes().cycle().skip(seq as usize).take(1_000).collect();
        let (stream, all) = match seq % 3 {
            0 => (Stream::Stderr, &mut stderr),
            _ => (Stream::Stdout, &mut stdout),
        };
        all.extend_from_slice(&data);
        let chunk = OutputChunk { command_id: id, seq, stream, data: Bytes(data) };
        agent.send(&AgentMessage::CommandOutput(chunk)).await;
        assert_eq!(expect_output_ack(&mut agent).await, seq);
        if seq == 20 {
            let so_far = stage.command(id).await;
            assert_eq!(so_far["stdout"], String::from_utf8_lossy(&stdout).as_ref());
        }
    }
    agent.send(&end(id, Outcome::Completed, 30)).await;
    expect_end_ack(&mut agent).await;
    let mut expected = stage.tech.get(&format!("/api/v1/commands/{id}")).await.expect(200);
    expected["stdout"] = json!(String::from_utf8_lossy(&stdout));
    expected["stderr"] = json!(String::from_utf8_lossy(&stderr));
    let answer = stage.tech.get(&format!("/api/commands/{id}")).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.expect(200), expected);
    let again = stage.tech.post(&format!("/api/commands/{id}/cancel"), json!({})).await;
    again.expect_problem(409, "INVALID_STATE");
}

/// A command that runs.
async fn started(stage: &Stage, agent: &mut TestAgent) -> CommandId {
    let (id, _) = stage.shell("yes").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    stage.reaches(id, "running").await;
    id
}

/// While this transaction is open the first piece of the command's output waits, and others come.
async fn held_up(owner: &mut PgConnection, id: CommandId) -> Transaction<'_, Postgres> {
    let mut held = owner.begin().await.unwrap();
    let lock = sqlx::query("SELECT 1 FROM commands WHERE id = $1 FOR UPDATE").bind(id.0);
    lock.execute(&mut *held).await.unwrap();
    held
}

#[tokio::test]
async fn pieces_that_come_together_are_stored_together() {
    const PIECES: u32 = 120;
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (one, other) = (started(&stage, &mut agent).await, started(&stage, &mut agent).await);
    let mut owner = stage.server.owner().await;
    let held = held_up(&mut owner, one).await;
    let mut written = String::new();
    for seq in 1..=PIECES {
        let data = format!("{seq} ");
        written.push_str(&data);
        agent.send(&chunk(one, seq, data.as_bytes())).await;
        match seq {
            // Repeated, beyond a gap, of another command, no message at all: none of it spoils what is beside it.
            20 => agent.send(&chunk(one, 3, b"again")).await,
            21 => agent.send(&chunk(one, 500, b"beyond")).await,
            40 => agent.send(&chunk(other, 1, b"other")).await,
            60 => agent.socket.send_text("{").await,
            _ => {}
        }
    }
    agent.send(&end(one, Outcome::Completed, PIECES)).await;
    held.commit().await.unwrap();

    let (mut acks, mut other_acks) = (Vec::new(), Vec::new());
    let until_end = |message| match message {
        ServerMessage::CommandOutputAck { command_id, seq } if command_id == one => {
            acks.push(seq);
            None
        }
        ServerMessage::CommandOutputAck { seq, .. } => {
            other_acks.push(seq);
            None
        }
        ServerMessage::CommandEndAck { .. } => Some(()),
        _ => None,
    };
    agent.expect("acknowledgement of the end", until_end).await;
    assert!(acks.is_sorted() && acks.last() == Some(&PIECES), "{acks:?}");
    assert!(acks.len() < PIECES as usize / 2, "{acks:?}");
    assert_eq!(other_acks, [1]);
    let done = stage.reaches(one, "completed").await;
    assert_eq!((&done["stdout"], &done["truncated"]), (&json!(written), &json!(false)));
    let other = stage.command(other).await;
    assert_eq!((&other["stdout"], &other["stdout_bytes"]), (&json!("other"), &json!(5)));
}

#[tokio::test]
async fn a_piece_that_is_too_large_takes_no_others_with_it() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let id = started(&stage, &mut agent).await;
    let mut owner = stage.server.owner().await;
    let held = held_up(&mut owner, id).await;
    for seq in 1..=4 {
        agent.send(&chunk(id, seq, b"small ")).await;
    }
    agent.send(&chunk(id, 5, &[b'x'; MAX_OUTPUT_CHUNK_BYTES + 1])).await;
    agent.send(&chunk(id, 5, b"end")).await;
    held.commit().await.unwrap();
    let pick = |message| matches!(message, ServerMessage::CommandOutputAck { seq: 5, .. }).then_some(());
    agent.expect("acknowledgement of the fifth piece", pick).await;
    assert_eq!(stage.command(id).await["stdout"], "small small small small end");
}

#[tokio::test]
async fn an_agent_that_never_stops_writing_is_sent_away() {
    const HEARD: i64 = 2 * 17 * 1024 * 1024;
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("yes").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    agent.send(&chunk(id, 1, b"y")).await;
    assert_eq!(expect_output_ack(&mut agent).await, 1);
    // As if it had gone on: the rest of the way is long.
    sqlx::query("UPDATE commands SET stdout_bytes = $2 WHERE id = $1")
        .bind(id.0)
        .bind(HEARD - 1)
        .execute(&mut stage.server.owner().await)
        .await
        .unwrap();
    agent.send(&chunk(id, 2, b"y")).await;
    assert_eq!(expect_output_ack(&mut agent).await, 2);
    let command = stage.command(id).await;
    assert_eq!((&command["truncated"], &command["stdout_bytes"]), (&json!(true), &json!(HEARD)));
    for _ in 0..AS_OFTEN_AS_SENDS_AWAY {
        agent.send(&chunk(id, 3, b"y")).await;
    }
    assert_eq!(agent.socket.closed().await.code, Some(1008));
    assert_eq!(stage.command(id).await["stdout"], "y");
}

#[tokio::test]
async fn an_agent_cannot_touch_anothers_command() {
    let stage = stage().await;
    let neighbour = stage.server.seed_agent(&acme::HQ, "web-02").await;
    let stranger = stage.server.seed_agent(&globex::HQ, "db-01").await;
    let mut owner = stage.agent().await;
    let (id, _) = stage.shell("secret work").await;
    owner.expect_command().await;
    let before = stage.command(id).await;
    for machine in [&neighbour, &stranger] {
        let mut other = TestAgent::connect(&stage.server, machine).await;
        other.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
        other.send(&chunk(id, 1, b"forged")).await;
        other.send(&end(id, Outcome::Completed, 0)).await;
        assert_eq!(said_until_now(&mut other).await, []);
    }
    assert_eq!(stage.command(id).await, before);
}

#[tokio::test]
async fn cancelling_takes_a_waiting_command_back_and_kills_a_running_one() {
    let stage = stage().await;
    let (waiting, _) = stage.shell("sleep 1").await;
    let cancelled = stage.tech.post(&format!("/api/commands/{waiting}/cancel"), json!({})).await.expect(200);
    assert_eq!(cancelled["status"], "cancelled");
    stage.tech.post(&format!("/api/commands/{waiting}/cancel"), json!({})).await.expect(200);

    let mut agent = stage.agent().await;
    let (running, _) = stage.shell("sleep 600").await;
    let start = agent.expect_command().await;
    assert_eq!(start.command_id, running, "the cancelled one was never sent");
    agent.send(&AgentMessage::CommandStarted { command_id: running, started_at: Utc::now() }).await;
    let path = format!("/api/commands/{running}/cancel");
    let (answer, ()) = tokio::join!(stage.tech.post(&path, json!({})), async {
        assert_eq!(expect_cancel(&mut agent).await, running);
        agent.send(&end(running, Outcome::Cancelled, 0)).await;
        expect_end_ack(&mut agent).await;
    });
    assert_eq!(answer.expect(200)["status"], "cancelled");

    let (done, _) = stage.shell("true").await;
    let start = agent.expect_command().await;
    agent.run(&start, "", 0).await;
    let refused = stage.tech.post(&format!("/api/commands/{done}/cancel"), json!({})).await;
    refused.expect_problem(409, "INVALID_STATE");
}

#[tokio::test]
async fn what_was_cancelled_while_the_machine_was_away_is_never_started() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (unstarted, _) = stage.shell("one").await;
    agent.expect_command().await;
    let (started, _) = stage.shell("two").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: started, started_at: Utc::now() }).await;
    stage.reaches(started, "running").await;
    drop(agent);
    eventually("the agent to be gone", async || {
        (!stage.server.app().gateway.is_connected(stage.machine.id)).then_some(())
    })
    .await;
    for id in [unstarted, started] {
        stage.tech.post(&format!("/api/commands/{id}/cancel"), json!({})).await.expect(200);
    }
    let mut agent = stage.agent_with(started, false).await;
    assert_eq!(expect_cancel(&mut agent).await, started);
    stage.reaches(unstarted, "cancelled").await;
    assert_eq!(said_until_now(&mut agent).await, []);
}

#[tokio::test]
async fn every_waiting_state_ends_by_its_deadline() {
    let stage = stage().await;
    let app = stage.server.app();
    let (queued, _) =
        stage.order(json!({"command_type": "shell", "command": "a", "expires_in_seconds": 10})).await;
    keep_deadlines(app, Utc::now()).await.unwrap();
    assert_eq!(stage.command(queued).await["status"], "queued");
    keep_deadlines(app, Utc::now() + TimeDelta::seconds(11)).await.unwrap();
    assert_eq!(stage.command(queued).await["status"], "expired");

    let mut agent = stage.agent().await;
    let (stuck, _) =
        stage.order(json!({"command_type": "shell", "command": "b", "timeout_seconds": 60})).await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: stuck, started_at: Utc::now() }).await;
    stage.reaches(stuck, "running").await;
    keep_deadlines(app, Utc::now() + TimeDelta::seconds(80)).await.unwrap();
    assert_eq!(stage.command(stuck).await["status"], "running", "the agent's own limit comes first");
    keep_deadlines(app, Utc::now() + TimeDelta::seconds(95)).await.unwrap();
    assert_eq!(expect_cancel(&mut agent).await, stuck);
    keep_deadlines(app, Utc::now() + TimeDelta::seconds(200)).await.unwrap();
    assert_eq!(stage.command(stuck).await["status"], "interrupted");

    let (lost, _) =
        stage.order(json!({"command_type": "shell", "command": "c", "timeout_seconds": 60})).await;
    assert_eq!(agent.expect_command().await.command_id, lost, "the stuck one blocks nothing");
    keep_deadlines(app, Utc::now() + TimeDelta::seconds(130)).await.unwrap();
    assert_eq!(agent.expect_command().await.command_id, lost, "sent again: it was not started for a minute");
    drop(agent);
    keep_deadlines(app, Utc::now() + TimeDelta::hours(2)).await.unwrap();
    assert_eq!(stage.command(lost).await["status"], "interrupted");
}

#[tokio::test]
async fn orders_are_checked_and_written_to_the_audit_log_without_their_secrets() {
    let stage = stage().await;
    let path = format!("/api/agents/{}/command", stage.machine.id);
    let order = |body: Value| stage.tech.post(&path, body);
    order(json!({"command_type": "shell", "command": ""})).await.expect_problem(422, "VALIDATION_FAILED");
    order(json!({"command_type": "magic", "command": "x"})).await.expect_problem(422, "VALIDATION_FAILED");
    for word in ["ai_task", "claude_task"] {
        order(json!({"command_type": word, "command": "x"}))
            .await
            .expect_problem(409, "AI_PROVIDER_NOT_CONFIGURED");
    }
    let foreign = format!("/api/agents/{}/command", stage.server.seed_agent(&globex::HQ, "db-01").await.id);
    stage
        .tech
        .post(&foreign, json!({"command_type": "shell", "command": "x"}))
        .await
        .expect_problem(404, "NOT_FOUND");

    stage
        .order(json!({"command_type": "shell", "command": "deploy --now", "stdin": "canary-standard-input",
            "environment": {"TOKEN": "canary-environment"}}))
        .await;
    let entry: Value = sqlx::query_scalar("SELECT detail FROM audit_log WHERE action = 'command.create'")
        .fetch_one(&mut stage.server.owner().await)
        .await
        .unwrap();
    assert_eq!(entry["command"], "deploy --now");
    assert_eq!(entry["environment_names"], json!(["TOKEN"]));
    assert!(!entry.to_string().contains("canary"), "{entry}");
}

#[tokio::test]
async fn output_beyond_the_limit_is_counted_and_not_kept() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("yes").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    stage.reaches(id, "running").await;
    // As if it had written the limit already.
    sqlx::query("UPDATE commands SET stdout_bytes = 17 * 1024 * 1024 WHERE id = $1")
        .bind(id.0)
        .execute(&mut stage.server.owner().await)
        .await
        .unwrap();
    agent.send(&chunk(id, 1, b"too much")).await;
    assert_eq!(expect_output_ack(&mut agent).await, 1);
    agent.send(&end(id, Outcome::Completed, 1)).await;
    expect_end_ack(&mut agent).await;
    let command = stage.command(id).await;
    assert_eq!((&command["truncated"], &command["stdout"]), (&json!(true), &json!("")));
}

#[tokio::test]
async fn an_agent_that_goes_on_far_beyond_the_limit_is_sent_away() {
    let stage = stage().await;
    let mut agent = stage.agent().await;
    let (id, _) = stage.shell("yes").await;
    agent.expect_command().await;
    agent.send(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
    agent.send(&chunk(id, 1, b"y")).await;
    assert_eq!(expect_output_ack(&mut agent).await, 1);
    let mut owner = stage.server.owner().await;
    // Seven more bytes are listened to: the limit comes in the middle of pieces that come together.
    sqlx::query("UPDATE commands SET stdout_bytes = 34 * 1024 * 1024 - 7 WHERE id = $1")
        .bind(id.0)
        .execute(&mut owner)
        .await
        .unwrap();
    // What was stored and is sent again is no fault, however much there is.
    for _ in 0..10 {
        agent.send(&chunk(id, 1, b"y")).await;
        assert_eq!(expect_output_ack(&mut agent).await, 1);
    }
    let held = held_up(&mut owner, id).await;
    for seq in 2..2 + AS_OFTEN_AS_SENDS_AWAY {
        agent.send(&chunk(id, seq, b"y")).await;
    }
    held.commit().await.unwrap();
    let pick = |message| match message {
        ServerMessage::Goodbye { reason, .. } => Some(reason),
        _ => None,
    };
    assert_eq!(agent.expect("goodbye", pick).await, GoodbyeReason::ProtocolError);
}

#[tokio::test]
async fn more_commands_than_a_connection_takes_at_once_all_arrive_in_order() {
    let stage = stage().await;
    let mut ids = Vec::new();
    for number in 0..40 {
        ids.push(stage.shell(&format!("job {number}")).await.0);
    }
    let (mut agent, mut arrived) = (stage.agent().await, Vec::new());
    while arrived.len() < ids.len() {
        if let ServerMessage::CommandStart(start) = agent.next().await.unwrap() {
            let command_id = start.command_id;
            arrived.push(command_id);
            agent.send(&AgentMessage::CommandStarted { command_id, started_at: Utc::now() }).await;
            agent.send(&end(command_id, Outcome::Completed, 0)).await;
        }
    }
    assert_eq!(arrived, ids);
}

#[tokio::test]
async fn whether_a_command_waits_for_its_machine_is_its_own_choice_and_else_policys() {
    let stage = stage().await;
    let admin = stage.server.client_as(&acme::ADMIN).await;
    let set = async |settings: Value| {
        let path = format!("/api/v1/policies/site/{}", acme::HQ.id);
        admin.put(&path, json!({ "settings": settings })).await.expect(200);
    };
    let path = format!("/api/agents/{}/command", stage.machine.id);
    let shell = |options: Value| {
        let mut order = json!({ "command_type": "shell", "command": "true" });
        order.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
        order
    };
    let waits = async |options: Value| {
        let (id, status) = stage.order(shell(options)).await;
        assert_eq!(status, "queued");
        let command = stage.command(id).await;
        let time = |field: &str| command[field].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        (time("expires_at") - time("created_at")).num_seconds()
    };
    let refused = async |options: Value| {
        stage.tech.post(&path, shell(options)).await.expect_problem(409, "AGENT_OFFLINE");
    };
    assert_eq!(waits(json!({})).await, 3_600, "where nobody says anything");
    refused(json!({ "when_offline": "refuse" })).await;
    set(json!({ "command_when_offline": "refuse", "command_expiry_seconds": 7_200 })).await;
    refused(json!({})).await;
    refused(json!({ "when_offline": null, "expires_in_seconds": 60 })).await;
    assert_eq!(waits(json!({ "when_offline": "queue" })).await, 7_200);
    assert_eq!(waits(json!({ "when_offline": "queue", "expires_in_seconds": 60 })).await, 60);
    let count = stage.tech.get("/api/v1/commands").await.expect(200)["total"].clone();
    assert_eq!(count, 3, "what was refused is not there");
    stage
        .tech
        .post(&path, shell(json!({ "when_offline": "later" })))
        .await
        .expect_problem(422, "VALIDATION_FAILED");
    let bad = json!({ "settings": { "command_when_offline": "later", "command_expiry_seconds": 9 } });
    let problem = admin
        .put(&format!("/api/v1/policies/site/{}", acme::HQ.id), bad)
        .await
        .expect_problem(422, "VALIDATION_FAILED");
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");

    let mut agent = stage.agent().await;
    // What waited goes out at this very moment, and this one perhaps with it.
    let (id, _) = stage.order(shell(json!({ "when_offline": "refuse" }))).await;
    while agent.expect_command().await.command_id != id {}
}
