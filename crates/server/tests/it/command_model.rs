//! Commands against a model: a machine with a journal, driven at random through drops, deaths, repetitions and
//! restarts of the server. Whatever happens: nothing starts twice, everything ends, and no acknowledged result is
//! lost. A failing seed replays the same choices.

use chrono::Utc;
use gururmm_protocol::command::{Bytes, CommandEnd, Outcome, OutputChunk, ResumedCommand, Stream};
use gururmm_protocol::{AgentMessage, CommandId, Decoded, ServerMessage, decode_server_message};
use gururmm_testkit::world::acme;
use gururmm_testkit::{ApiClient, SeededAgent, TestAgent, TestServer};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const STEPS: usize = 120;
const COMMANDS_AT_MOST: usize = 10;

/// What the machine keeps of a command until its end is acknowledged.
#[derive(Default)]
struct Held {
    chunks: Vec<String>,
    acknowledged: u32,
    end: Option<Outcome>,
}

/// A machine that keeps the rules: journal before start, send until acknowledged.
struct Machine {
    seeded: SeededAgent,
    connection: Option<TestAgent>,
    journal: BTreeMap<CommandId, Held>,
    /// Ended and acknowledged, with outcome and output.
    finished: BTreeMap<CommandId, (Outcome, String)>,
    started: BTreeSet<CommandId>,
}

impl Machine {
    async fn connect(&mut self, server: &TestServer) {
        let held = self.journal.iter();
        let held =
            held.map(|(id, held)| ResumedCommand { command_id: *id, ended: held.end.is_some() }).collect();
        self.connection = Some(TestAgent::connect_with(server, &self.seeded, held).await);
        for id in self.journal.keys().copied().collect::<Vec<_>>() {
            self.say_all(id).await;
        }
    }

    /// Everything the server has not acknowledged of a command, in order.
    async fn say_all(&mut self, id: CommandId) {
        self.say(&AgentMessage::CommandStarted { command_id: id, started_at: Utc::now() }).await;
        let Some(held) = self.journal.get(&id) else { return };
        let (from, count, end) = (held.acknowledged, held.chunks.len() as u32, held.end);
        for seq in from + 1..=count {
            self.say_chunk(id, seq).await;
        }
        if end.is_some() {
            self.say_end(id).await;
        }
    }

    async fn say(&mut self, message: &AgentMessage) {
        if let Some(connection) = &mut self.connection {
            connection.send(message).await;
        }
    }

    async fn say_chunk(&mut self, id: CommandId, seq: u32) {
        let Some(held) = self.journal.get(&id) else { return };
        let Some(text) = held.chunks.get(seq as usize - 1) else { return };
        let data = Bytes(text.clone().into_bytes());
        let chunk = OutputChunk { command_id: id, seq, stream: Stream::Stdout, data };
        self.say(&AgentMessage::CommandOutput(chunk)).await;
    }

    async fn say_end(&mut self, id: CommandId) {
        let Some(Held { chunks, end: Some(outcome), .. }) = self.journal.get(&id) else { return };
        let end = CommandEnd {
            command_id: id,
            outcome: *outcome,
            exit_code: (*outcome == Outcome::Completed).then_some(0),
            error: None,
            error_code: None,
            stdout_bytes: chunks.iter().map(|chunk| chunk.len() as u64).sum(),
            stderr_bytes: 0,
            truncated: false,
            last_seq: chunks.len() as u32,
            started_at: None,
            ended_at: Utc::now(),
        };
        self.say(&AgentMessage::CommandEnded(end)).await;
    }

    /// Takes one message, if one comes soon. `false` when there was none.
    async fn hear(&mut self, patience: Duration) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let text = match tokio::time::timeout(patience, connection.socket.next_ever()).await {
            Err(_) => return false,
            Ok(Err(_)) => {
                self.connection = None;
                return true;
            }
            Ok(Ok(text)) => text,
        };
        let Decoded::Known(message) = decode_server_message(&text).unwrap() else { panic!("{text}") };
        match message {
            ServerMessage::CommandStart(start) => {
                let id = start.command_id;
                if !self.finished.contains_key(&id) && !self.journal.contains_key(&id) {
                    assert!(self.started.insert(id), "{id} would start a second time");
                    self.journal.insert(id, Held::default());
                }
                self.say_all(id).await;
            }
            ServerMessage::CommandCancel { command_id: id } if !self.finished.contains_key(&id) => {
                let held = self.journal.entry(id).or_default();
                held.end.get_or_insert(Outcome::Cancelled);
                self.started.insert(id);
                self.say_all(id).await;
            }
            ServerMessage::CommandOutputAck { command_id, seq } => {
                if let Some(held) = self.journal.get_mut(&command_id) {
                    assert!(seq as usize <= held.chunks.len(), "what was never sent was acknowledged");
                    held.acknowledged = held.acknowledged.max(seq);
                }
            }
            ServerMessage::CommandEndAck { command_id } => {
                if let Some(Held { chunks, end: Some(outcome), .. }) = self.journal.remove(&command_id) {
                    self.finished.insert(command_id, (outcome, chunks.concat()));
                }
            }
            _ => {}
        }
        true
    }

    /// One of the commands whose process runs.
    fn running(&self, random: &mut SmallRng) -> Option<CommandId> {
        let running: Vec<_> =
            self.journal.iter().filter(|(_, held)| held.end.is_none()).map(|(id, _)| *id).collect();
        (!running.is_empty()).then(|| running[random.random_range(0..running.len())])
    }

    /// The machine's process dies: what ran is interrupted, as the journal says at the next start.
    fn die(&mut self) {
        self.connection = None;
        for held in self.journal.values_mut() {
            held.end.get_or_insert(Outcome::Interrupted);
        }
    }

    async fn end(&mut self, id: CommandId, outcome: Outcome) {
        if let Some(held) = self.journal.get_mut(&id) {
            held.end = Some(outcome);
            self.say_end(id).await;
        }
    }
}

pub async fn order(tech: &ApiClient, machine: &SeededAgent, number: usize) -> CommandId {
    let body = json!({"command_type": "shell", "command": format!("job {number}")});
    let answer = tech.post(&format!("/api/agents/{}/command", machine.id), body).await.expect(200);
    answer["command_id"].as_str().unwrap().parse().unwrap()
}

async fn run(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut server = TestServer::start().await;
    let session = server.client_as(&acme::TECH).await;
    let seeded = server.seed_agent(&acme::HQ, "web-01").await;
    let mut machine = Machine {
        seeded,
        connection: None,
        journal: BTreeMap::new(),
        finished: BTreeMap::new(),
        started: BTreeSet::new(),
    };
    let (mut tech, mut orders, mut cancels) = (session, Vec::new(), Vec::new());
    for step in 0..STEPS {
        match random.random_range(0..100) {
            0..12 if orders.len() < COMMANDS_AT_MOST => {
                orders.push(order(&tech, &machine.seeded, step).await);
            }
            12..24 if machine.connection.is_none() => machine.connect(&server).await,
            24..28 => machine.connection = None,
            28..31 => machine.die(),
            31 => {
                server.restart().await;
                machine.connection = None;
                tech = server.client_as(&acme::TECH).await;
            }
            32..50 => {
                if let Some(id) = machine.running(&mut random) {
                    let held = machine.journal.get_mut(&id).unwrap();
                    held.chunks.push(format!("{step};"));
                    let seq = held.chunks.len() as u32;
                    machine.say_chunk(id, seq).await;
                }
            }
            50..58 => {
                if let Some(id) = machine.running(&mut random) {
                    let outcomes = [Outcome::Completed, Outcome::Failed, Outcome::Timeout];
                    machine.end(id, outcomes[random.random_range(0..outcomes.len())]).await;
                }
            }
            58..64 => {
                let held: Vec<_> = machine.journal.keys().copied().collect();
                if !held.is_empty() {
                    machine.say_all(held[random.random_range(0..held.len())]).await;
                }
            }
            64..67 if !orders.is_empty() => {
                let (tech, id) = (tech.clone(), orders[random.random_range(0..orders.len())]);
                cancels.push(tokio::spawn(async move {
                    let answer = tech.post(&format!("/api/commands/{id}/cancel"), json!({})).await;
                    // Ended before: refused. Any answer is one.
                    assert!(answer.code().is_none_or(|code| code == "INVALID_STATE"), "{answer}");
                }));
                // The order of things in a seed must not depend on when the task gets its turn.
                if machine.connection.is_none() {
                    cancels.pop().unwrap().await.unwrap();
                }
            }
            _ => {
                machine.hear(Duration::from_millis(20)).await;
            }
        }
    }
    settle(&server, &tech, &mut machine, &orders).await;
    for cancel in cancels {
        // Those that a restart of the server cut off have no answer.
        drop(cancel.await);
    }
    check(&tech, &machine, &orders).await;
}

/// The machine comes back, lets what runs come to its end, and hears everything out.
async fn settle(server: &TestServer, tech: &ApiClient, machine: &mut Machine, orders: &[CommandId]) {
    let deadline = tokio::time::Instant::now() + gururmm_testkit::PATIENCE;
    let mut ended = BTreeSet::new();
    while ended.len() < orders.len() {
        assert!(tokio::time::Instant::now() < deadline, "some command never ends");
        if machine.connection.is_none() {
            machine.connect(server).await;
        }
        let running: Vec<_> = machine.journal.iter().filter(|(_, held)| held.end.is_none()).collect();
        for id in running.into_iter().map(|(id, _)| *id).collect::<Vec<_>>() {
            machine.end(id, Outcome::Completed).await;
        }
        if machine.hear(Duration::from_millis(20)).await || !machine.journal.is_empty() {
            continue;
        }
        for id in orders {
            let command = tech.get(&format!("/api/commands/{id}")).await.expect(200);
            if !["queued", "sent", "running"].contains(&command["status"].as_str().unwrap()) {
                ended.insert(*id);
            }
        }
    }
}

async fn check(tech: &ApiClient, machine: &Machine, orders: &[CommandId]) {
    for id in orders {
        let command = tech.get(&format!("/api/commands/{id}")).await.expect(200);
        match machine.finished.get(id) {
            Some((outcome, output)) => {
                let result = (&command["status"], &command["stdout"]);
                assert_eq!(
                    result,
                    (&json!(outcome.as_str()), &json!(output)),
                    "an acknowledged result was lost"
                );
            }
            // Never started: someone took it back before the machine had it.
            None => {
                assert!(!machine.started.contains(id), "it ran, and its result is unknown: {command}");
                assert_eq!(command["status"], "cancelled", "{command}");
            }
        }
    }
}

#[tokio::test]
async fn nothing_starts_twice_everything_ends_and_no_acknowledged_result_is_lost() {
    for seed in [1, 2, 3, 5, 8, 13] {
        eprintln!("seed {seed}");
        run(seed).await;
    }
}
