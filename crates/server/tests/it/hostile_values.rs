//! Every field of what agents say, with values that JSON can carry and PostgreSQL or a reader may stumble over: the
//! session lives, what is said is stored, and so is what others say.

use chrono::{DateTime, SubsecRound as _, TimeDelta, Utc};
use gururmm_protocol::command::{CommandEnd, Outcome};
use gururmm_protocol::log::{CrashCause, CrashReport};
use gururmm_protocol::metrics::{Disk, Process, Sample};
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use gururmm_protocol::virtualization::Virtualization;
use gururmm_protocol::{AgentMessage, CommandId, CrashId, Decoded, ServerMessage, decode_agent_message};
use gururmm_testkit::agent::{hello, sample};
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{SeededAgent, TestAgent, TestServer, eventually, logs};
use serde_json::{Value, json};

fn values() -> Vec<Value> {
    let times = [
        "-262143-01-01T00:00:00Z",
        "-9999-01-01T00:00:00Z",
        "-4714-11-23T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "1969-12-31T23:59:59Z",
        "2016-12-31T23:59:60.999999999Z",
        "9999-12-31T23:59:59.999999999Z",
        "+10000-01-01T00:00:00Z",
        "+262142-12-31T23:59:59.999999999Z",
    ];
    let texts =
        ["", "\0", "a\0b\0", "\u{ffff}\u{fdd0}\u{10ffff}", "\u{202e}\u{feff}\r\n\t\u{1b}[2J", "\\u0000"];
    let numbers = [
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u32::MAX),
        json!(i32::MIN),
        json!(f64::MAX),
        json!(f64::MIN),
        json!(f64::MIN_POSITIVE),
        json!(5e-324),
        json!(1e39),
        json!(-0.0),
    ];
    let long = "\u{1f600}".repeat(3_000);
    let texts =
        times.into_iter().chain(texts).map(Value::from).chain([json!(long), Value::Null, json!(true)]);
    texts.chain(numbers).collect()
}

/// Where single values stand in a message.
fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, field)| leaves(field, format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| leaves(item, format!("{at}/{index}"), found));
        }
        _ => found.push(at),
    }
}

/// The message made by `base` with each value in each place, as far as an agent can say it; `seq` counts them.
fn variants(mut base: impl FnMut(u64) -> AgentMessage, spared: &[&str]) -> Vec<(String, String)> {
    let mut places = Vec::new();
    leaves(&serde_json::to_value(base(0)).unwrap(), String::new(), &mut places);
    places.retain(|place| place != "/type" && !spared.contains(&place.as_str()));
    let mut variants = Vec::new();
    for place in places {
        for value in values() {
            let mut message = serde_json::to_value(base(variants.len() as u64 + 1)).unwrap();
            *message.pointer_mut(&place).unwrap() = value;
            let text = message.to_string();
            if let Ok(Decoded::Known(_)) = decode_agent_message(&text) {
                variants.push((place.clone(), text));
            }
        }
    }
    assert!(variants.len() >= 8, "hardly anything can be said: {variants:?}");
    variants
}

async fn heartbeat(agent: &mut TestAgent) {
    agent.send(&AgentMessage::Heartbeat { clock: None }).await;
    let pick = |message| matches!(message, ServerMessage::HeartbeatAck { .. }).then_some(());
    agent.expect("answer to a heartbeat", pick).await;
}

/// Nothing was dropped, and no message failed.
fn assert_nothing_failed() {
    let log = logs::text();
    let failed = ["a sample was dropped", "an agent's message failed", "could not be stored"];
    let lines: Vec<_> = log.lines().filter(|line| failed.iter().any(|what| line.contains(what))).collect();
    assert!(lines.is_empty(), "{lines:#?}");
}

async fn stage() -> (TestServer, SeededAgent, TestAgent) {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let agent = TestAgent::connect(&server, &machine).await;
    (server, machine, agent)
}

#[tokio::test]
async fn whatever_a_sample_says_it_is_stored_and_so_are_others() {
    let (server, machine, mut agent) = stage().await;
    let other = server.seed_agent(&globex::HQ, "db-01").await;
    let mut neighbour = TestAgent::connect(&server, &other).await;
    let now = Utc::now().trunc_subsecs(3);
    let at = |seq: u64| now - TimeDelta::milliseconds(seq.cast_signed());
    let disk = Disk {
        mount: "/".into(),
        device: "/dev/sda1".into(),
        file_system: "ext4".into(),
        used_bytes: 1,
        total_bytes: 2,
    };
    let process = Process {
        pid: 1,
        name: "init".into(),
        user: "root".into(),
        cpu_percent: 1.0,
        memory_bytes: 1,
        command_line: "init".into(),
    };
    let sensors = Sensors {
        readings: vec![Sensor {
            device: "coretemp".into(),
            name: "Core 0".into(),
            kind: SensorKind::Temperature,
            value: 45.5,
            low: Some(1.0),
            high: Some(80.0),
            critical: Some(100.0),
        }],
        omitted: 1,
        unavailable: Some("no".into()),
    };
    let said = variants(
        |seq| {
            let sample = Sample {
                taken_at: at(seq),
                boot_time: Some(now),
                disks: vec![disk.clone()],
                logged_in_user: Some("dana".into()),
                user_idle_seconds: Some(1),
                public_ip: Some("192.0.2.7".into()),
                top_cpu: vec![process.clone()],
                top_memory: vec![process.clone()],
                sensors: Some(sensors.clone()),
                ..sample()
            };
            AgentMessage::Metrics { seq, sample }
        },
        &["/seq"],
    );
    let mut expected: Vec<DateTime<Utc>> = Vec::new();
    for (index, (place, text)) in said.iter().enumerate() {
        let seq = index as u64 + 1;
        if place != "/sample/taken_at" {
            expected.push(at(seq));
        }
        agent.socket.send_text(text.clone()).await;
        if index % 20 == 0 {
            neighbour
                .send(&AgentMessage::Metrics { seq, sample: Sample { taken_at: at(seq), ..sample() } })
                .await;
        }
    }
    let last = said.len() as u64;
    let pick = |message| matches!(message, ServerMessage::MetricsAck { seq } if seq >= last).then_some(());
    agent.expect("acknowledgement of all", pick).await;
    heartbeat(&mut agent).await;
    let mut owner = server.owner().await;
    let missing: Vec<DateTime<Utc>> = sqlx::query_scalar(
        "SELECT t FROM UNNEST($2::timestamptz[]) t
         WHERE NOT EXISTS (SELECT FROM metric_samples WHERE agent_num = $1 AND taken_at = t)",
    )
    .bind(machine.num)
    .bind(&expected)
    .fetch_all(&mut owner)
    .await
    .unwrap();
    let lost: Vec<_> =
        said.iter().enumerate().filter(|(i, _)| missing.contains(&at(*i as u64 + 1))).collect();
    assert!(lost.is_empty(), "not stored: {lost:#?}");
    let of_neighbour = last.div_ceil(20);
    eventually("the neighbour's samples", async || {
        let stored: i64 = sqlx::query_scalar("SELECT count(*) FROM metric_samples WHERE agent_num = $1")
            .bind(other.num)
            .fetch_one(&mut owner)
            .await
            .unwrap();
        (stored.cast_unsigned() == of_neighbour).then_some(())
    })
    .await;
    // What is stored can be read again: the newest, and a chart over all of it.
    let reader = server.client_as(&acme::READER).await;
    for path in ["metrics/at", "metrics"] {
        reader.get(&format!("/api/v1/agents/{}/{path}", machine.id)).await.expect(200);
    }
    assert_nothing_failed();
}

#[tokio::test]
async fn whatever_a_hello_says_it_is_stored() {
    let (server, machine, agent) = stage().await;
    // Beside a session that lives, a machine with other hardware would be a copy.
    let is_gone = async || (!server.app().gateway.is_connected(machine.id)).then_some(());
    agent.socket.close().await;
    eventually("the end of the session", is_gone).await;
    let virtualization: Box<Virtualization> = serde_json::from_value(json!({
        "hypervisor": "kvm", "cloud": "aws", "container": "docker", "vm_uuid": "V-1",
        "host": { "kind": "libvirt", "total": 1, "unlisted": "no",
                  "machines": [{ "name": "dc-01", "uuid": "V-2", "running": true }] },
        "appliance": { "kind": "qnap", "model": "Model One", "version": "5.1" },
    }))
    .unwrap();
    let said = variants(
        |seq| {
            let mut hello = hello(&machine, Vec::new());
            hello.agent_version = format!("{seq}.0.0");
            hello.system.serial = Some("S-1".into());
            hello.system.boot_time = Some(Utc::now());
            hello.system.virtualization = Some(virtualization.clone());
            hello.identity.board_serial = Some("B-1".into());
            hello.identity.disk_serial = Some("D-1".into());
            AgentMessage::Hello(hello)
        },
        &["/agent_version"],
    );
    let mut owner = server.owner().await;
    for (index, (place, text)) in said.iter().enumerate() {
        let mut socket = TestAgent::open(&server, &machine).await.ok().unwrap();
        socket.send_text(text.clone()).await;
        socket.expect("welcome").await;
        let version = format!("{}.0.0", index + 1);
        eventually(&format!("the hello with a hostile {place}: {text}"), async || {
            let known: String = sqlx::query_scalar("SELECT agent_version FROM agents WHERE id = $1")
                .bind(machine.id)
                .fetch_one(&mut owner)
                .await
                .unwrap();
            (known == version).then_some(())
        })
        .await;
        socket.close().await;
        eventually("the end of the session", is_gone).await;
    }
    let reader = server.client_as(&acme::READER).await;
    reader.get(&format!("/api/v1/agents/{}", machine.id)).await.expect(200);
    assert_nothing_failed();
}

#[tokio::test]
async fn whatever_a_network_state_says_it_is_stored() {
    let (server, machine, mut agent) = stage().await;
    let state = json!({
        "interfaces": [{ "name": "eth0", "mac": "00:00:5e:00:53:01", "up": true, "ipv4": ["192.0.2.7/24"],
                         "ipv6": ["2001:db8::7/64"], "subnets": ["192.0.2.0/24"] }],
        "gateway": "192.0.2.1", "dns": ["192.0.2.2"],
    });
    let state: gururmm_protocol::network::NetworkState = serde_json::from_value(state).unwrap();
    let said = variants(|seq| AgentMessage::NetworkState { seq, state: state.clone() }, &["/seq"]);
    for (index, (place, text)) in said.iter().enumerate() {
        agent.socket.send_text(text.clone()).await;
        let wanted = index as u64 + 1;
        let pick = |message| {
            matches!(message, ServerMessage::NetworkStateAck { seq } if seq == wanted).then_some(())
        };
        agent.expect(&format!("acknowledgement of a hostile {place}"), pick).await;
    }
    let reader = server.client_as(&acme::READER).await;
    reader.get(&format!("/api/v1/agents/{}", machine.id)).await.expect(200);
    assert_nothing_failed();
}

#[tokio::test]
async fn whatever_is_said_of_clock_and_crash_it_is_stored() {
    let (server, _machine, mut agent) = stage().await;
    for (_, text) in variants(|_| AgentMessage::Heartbeat { clock: Some(Utc::now()) }, &[]) {
        agent.socket.send_text(text).await;
        heartbeat(&mut agent).await;
    }
    let report = || CrashReport {
        crash_id: CrashId::new(),
        cause: CrashCause::Panic,
        crashed_at: Utc::now(),
        agent_version: "0.1.0".into(),
        message: Some("index out of bounds".into()),
        log: Default::default(),
    };
    // Few of a machine are stored in a minute: each of these comes from one of its own.
    for (place, text) in variants(|_| AgentMessage::CrashReport(report()), &["/crash_id", "/log"]) {
        let machine = server.seed_agent(&acme::HQ, "web-02").await;
        let mut agent = TestAgent::connect(&server, &machine).await;
        agent.socket.send_text(text).await;
        let pick = |message| matches!(message, ServerMessage::CrashReportAck { .. }).then_some(());
        agent.expect(&format!("acknowledgement of a crash with a hostile {place}"), pick).await;
    }
    assert_nothing_failed();
}

#[tokio::test]
async fn whatever_is_said_of_a_command_it_ends() {
    let (server, machine, mut agent) = stage().await;
    let tech = server.client_as(&acme::TECH).await;
    let end = || CommandEnd {
        command_id: CommandId::new(),
        outcome: Outcome::Failed,
        exit_code: Some(1),
        error: Some("no such file".into()),
        error_code: Some("SPAWN_FAILED".into()),
        stdout_bytes: 0,
        stderr_bytes: 0,
        truncated: false,
        last_seq: 0,
        started_at: Some(Utc::now()),
        ended_at: Utc::now(),
    };
    let started_at = variants(
        |_| AgentMessage::CommandStarted { command_id: CommandId::new(), started_at: Utc::now() },
        &["/command_id"],
    );
    let ended = variants(|_| AgentMessage::CommandEnded(end()), &["/command_id", "/last_seq"]);
    for (index, (place, text)) in ended.iter().enumerate() {
        let body = json!({ "command_type": "shell", "command": "true" });
        tech.post(&format!("/api/agents/{}/command", machine.id), body).await.expect(200);
        let start = agent.expect_command().await;
        let as_this = |text: &str| {
            let mut message: Value = serde_json::from_str(text).unwrap();
            message["command_id"] = json!(start.command_id);
            message
        };
        agent.socket.send_json(&as_this(&started_at[index % started_at.len()].1)).await;
        agent.socket.send_json(&as_this(text)).await;
        let pick = |message| {
            matches!(message, ServerMessage::CommandEndAck { command_id } if command_id == start.command_id)
                .then_some(())
        };
        agent.expect(&format!("acknowledgement of an end with a hostile {place}"), pick).await;
        tech.get(&format!("/api/commands/{}", start.command_id)).await.expect(200);
    }
    assert_nothing_failed();
}
