//! Samples: stored once, acknowledged after, drawn as charts.

use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::metrics::{Process, Sample};
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use gururmm_protocol::{AgentMessage, ServerMessage};
use gururmm_server::telemetry;
use gururmm_testkit::agent::sample;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{SeededAgent, TestAgent, TestServer};
use serde_json::Value;

async fn stage() -> (TestServer, SeededAgent) {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    (server, machine)
}

async fn expect_ack(agent: &mut TestAgent, wanted: u64) {
    let pick = |message| matches!(message, ServerMessage::MetricsAck { seq } if seq >= wanted).then_some(());
    agent.expect("acknowledgement of metrics", pick).await;
}

async fn stored(server: &TestServer, machine: &SeededAgent) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM metric_samples WHERE agent_num = $1")
        .bind(machine.num)
        .fetch_one(&mut server.owner().await)
        .await
        .unwrap()
}

fn at(taken_at: DateTime<Utc>) -> Sample {
    Sample { taken_at, ..sample() }
}

#[tokio::test]
async fn an_acknowledged_sample_is_stored_once_and_shown() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let process = Process {
        pid: 7,
        name: "<img src=x onerror=alert(1)>\0".into(),
        user: "root".into(),
        cpu_percent: 99.0,
        memory_bytes: 1 << 20,
        command_line: "busy --loop".into(),
    };
    let sample = Sample { top_cpu: vec![process], ..sample() };
    for _ in 0..2 {
        agent.send(&AgentMessage::Metrics { seq: 1, sample: sample.clone() }).await;
        expect_ack(&mut agent, 1).await;
    }
    assert_eq!(stored(&server, &machine).await, 1);
    let reader = server.client_as(&acme::READER).await;
    let shown = reader.get(&format!("/api/v1/agents/{}/metrics/at", machine.id)).await.expect(200);
    assert_eq!(shown["cpu_percent"], 12.5);
    assert_eq!(shown["top_cpu"][0]["name"], "<img src=x onerror=alert(1)>", "text stays text, without NUL");
    let latest: (Option<f32>, Option<f32>) =
        sqlx::query_as("SELECT cpu_percent, memory_percent FROM agent_status WHERE agent_id = $1")
            .bind(machine.id)
            .fetch_one(&mut server.owner().await)
            .await
            .unwrap();
    assert_eq!(latest, (Some(12.5), Some(25.0)));
    let stranger = server.client_as(&globex::OWNER).await;
    for path in ["metrics", "metrics/at"] {
        let path = format!("/api/v1/agents/{}/{path}", machine.id);
        stranger.get(&path).await.expect_problem(404, "NOT_FOUND");
    }
}

/// What is shown of the sensors of a machine, after it sent `sensors`.
async fn shown_sensors(sensors: Option<Sensors>) -> Value {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    agent.send(&AgentMessage::Metrics { seq: 1, sample: Sample { sensors, ..sample() } }).await;
    expect_ack(&mut agent, 1).await;
    let reader = server.client_as(&acme::READER).await;
    let shown = reader.get(&format!("/api/v1/agents/{}/metrics/at", machine.id)).await.expect(200);
    shown["sensors"].clone()
}

#[tokio::test]
async fn sensors_are_kept_with_their_sample_and_shown_with_how_they_stand_to_their_limits() {
    let sensor = |device: &str, name: &str, value, critical| Sensor {
        device: device.into(),
        name: name.into(),
        kind: SensorKind::Temperature,
        value,
        low: None,
        high: None,
        critical,
    };
    let readings =
        vec![sensor("nvme", "<b>\0", 101.5, Some(84.0)), sensor("coretemp", "Core 0", 45.5, Some(100.0))];
    let shown = shown_sensors(Some(Sensors { readings, omitted: 3, unavailable: None })).await;
    let expected = serde_json::json!({
        "readings": [
            { "device": "coretemp", "name": "Core 0", "kind": "temperature", "value": 45.5, "low": null,
              "high": null, "critical": 100.0, "state": "normal" },
            { "device": "nvme", "name": "<b>", "kind": "temperature", "value": 101.5, "low": null, "high": null,
              "critical": 84.0, "state": "critical" },
        ],
        "omitted": 3,
        "unavailable": null,
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn a_machine_without_sensors_differs_from_one_that_cannot_read_them_and_one_that_does_not_tell() {
    assert_eq!(shown_sensors(None).await, Value::Null);
    let none = shown_sensors(Some(Sensors::default())).await;
    assert_eq!((&none["readings"], &none["unavailable"]), (&serde_json::json!([]), &Value::Null));
    let unavailable = Some("not supported on macos: nobody knows how".to_owned());
    let cannot = shown_sensors(Some(Sensors { unavailable, ..Sensors::default() })).await;
    assert_eq!(cannot["unavailable"], "not supported on macos: nobody knows how");
}

#[tokio::test]
async fn a_flood_of_sensors_is_cut_and_counted() {
    let sensor = Sensor {
        device: "chip".into(),
        name: "x".repeat(400),
        kind: SensorKind::Fan,
        value: 1.0,
        low: None,
        high: None,
        critical: None,
    };
    let shown = shown_sensors(Some(Sensors { readings: vec![sensor; 300], ..Sensors::default() })).await;
    let readings = shown["readings"].as_array().unwrap();
    assert_eq!((readings.len(), &shown["omitted"]), (128, &serde_json::json!(172)));
    assert_eq!(readings[0]["name"].as_str().unwrap().len(), 255);
}

#[tokio::test]
async fn a_backlog_of_days_arrives_and_what_is_out_of_time_does_not_block_it() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let now = Utc::now();
    let times = [
        now - TimeDelta::days(400),
        now - TimeDelta::days(20),
        now - TimeDelta::days(3),
        now - TimeDelta::minutes(1),
        now + TimeDelta::days(365),
    ];
    for (index, time) in times.into_iter().enumerate() {
        agent.send(&AgentMessage::Metrics { seq: index as u64 + 1, sample: at(time) }).await;
    }
    expect_ack(&mut agent, 5).await;
    assert_eq!(stored(&server, &machine).await, 4, "the one of last year is past its retention");
    let latest: DateTime<Utc> =
        sqlx::query_scalar("SELECT max(taken_at) FROM metric_samples WHERE agent_num = $1")
            .bind(machine.num)
            .fetch_one(&mut server.owner().await)
            .await
            .unwrap();
    assert!(latest <= Utc::now() + TimeDelta::minutes(5), "a clock a year ahead counts as now: {latest}");
}

#[tokio::test]
async fn a_chart_of_any_range_has_at_most_a_thousand_points_and_honest_rates() {
    let (server, machine) = stage().await;
    let now = Utc::now();
    sqlx::query(
        "INSERT INTO metric_samples SELECT $1, $2, $3 - n * interval '1 minute', 90, 60, 50, 1, 4, 0, 0, NULL, NULL, NULL,
           10, 6000, 600, 1, 1, 1, NULL, NULL, NULL, NULL, '[]', '{}' FROM generate_series(1, 1500) n",
    )
    .bind(acme::PARTNER.id)
    .bind(machine.num)
    .bind(now)
    .execute(&mut server.owner().await)
    .await
    .unwrap();
    let reader = server.client_as(&acme::READER).await;
    let chart = async |query: String| -> Value {
        reader.get(&format!("/api/v1/agents/{}/metrics?{query}", machine.id)).await.expect(200)
    };
    let stamp = |time: DateTime<Utc>| time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    for (from, points) in
        [(TimeDelta::hours(25), 1_000), (TimeDelta::days(3_650), 1_000), (TimeDelta::hours(2), 2)]
    {
        let chart = chart(format!("from={}&points={points}", stamp(now - from))).await;
        let drawn = chart["points"].as_array().unwrap();
        assert!(!drawn.is_empty() && drawn.len() <= points, "{} points", drawn.len());
        for point in drawn {
            assert_eq!(point["rx_bytes_per_second"], 100.0);
            assert_eq!(point["memory_percent"], 25.0);
        }
    }
    let path = format!("/api/v1/agents/{}/metrics?points=1001", machine.id);
    reader.get(&path).await.expect_problem(400, "INVALID_QUERY");
}

#[tokio::test]
async fn a_live_sample_is_not_stored() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    agent.send(&AgentMessage::Metrics { seq: 0, sample: sample() }).await;
    agent.send(&AgentMessage::Metrics { seq: 1, sample: sample() }).await;
    expect_ack(&mut agent, 1).await;
    assert_eq!(stored(&server, &machine).await, 1);
}

#[tokio::test]
async fn a_sample_is_acknowledged_after_its_commit_and_not_before() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    let mut owner = server.owner().await;
    sqlx::raw_sql("BEGIN; LOCK TABLE metric_samples IN ACCESS EXCLUSIVE MODE")
        .execute(&mut owner)
        .await
        .unwrap();
    agent.send(&AgentMessage::Metrics { seq: 1, sample: sample() }).await;
    // Longer than a batch waits: it is in the database's hands by now.
    let early = tokio::time::timeout(std::time::Duration::from_millis(700), agent.next()).await;
    assert!(early.is_err(), "nothing is stored, and yet: {early:?}");
    // The connection that writes is cut: the batch is neither lost nor acknowledged, but tried again.
    sqlx::query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = 'Lock'",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    sqlx::raw_sql("ROLLBACK").execute(&mut owner).await.unwrap();
    expect_ack(&mut agent, 1).await;
    assert_eq!(stored(&server, &machine).await, 1);
}

/// Names of the partitions of a retention class, oldest first.
async fn partitions(server: &TestServer, days: i32) -> Vec<String> {
    sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
         WHERE i.inhparent = ('metric_samples_' || $1)::regclass ORDER BY 1",
    )
    .bind(days)
    .fetch_all(&mut server.owner().await)
    .await
    .unwrap()
}

#[tokio::test]
async fn samples_are_kept_for_their_retention_and_dropped_by_the_partition_after_it() {
    let server = TestServer::start().await;
    let time = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
    let now = time("2024-07-03T00:00:00Z");
    // Around the cut-offs 2024-06-03, 2024-04-04, 2023-07-04 and 2021-07-04.
    for (from, to) in [
        ("2024-06-01T00:00:00Z", "2024-06-05T00:00:00Z"),
        ("2024-03-20T00:00:00Z", "2024-04-09T00:00:00Z"),
        ("2023-06-15T00:00:00Z", "2023-08-02T00:00:00Z"),
        ("2021-06-15T00:00:00Z", "2021-08-02T00:00:00Z"),
    ] {
        server.app().db.ensure_metric_partitions(time(from), time(to)).await.unwrap();
    }
    let oldest_kept = [
        (30, "metric_samples_30_20240603"),
        (90, "metric_samples_90_20240401"),
        (365, "metric_samples_365_20230701"),
        (1095, "metric_samples_1095_20210701"),
    ];
    telemetry::keep_partitions(server.app(), now - TimeDelta::seconds(1)).await.unwrap();
    assert_eq!(partitions(&server, 30).await[0], "metric_samples_30_20240602", "a second before its end");
    // A day of old samples again, so that each class has something to drop.
    let old = time("2021-06-30T00:00:00Z");
    server.app().db.ensure_metric_partitions(old, old).await.unwrap();
    let mut before = Vec::new();
    for (days, oldest) in oldest_kept {
        let there = partitions(&server, days).await;
        assert!(there[0].as_str() < oldest, "{there:?}");
        before.push(there);
    }
    telemetry::keep_partitions(server.app(), now).await.unwrap();
    for ((days, oldest), before) in oldest_kept.into_iter().zip(before) {
        let left = partitions(&server, days).await;
        assert_eq!(left[0], oldest);
        // The job also makes those of the next days.
        let lost: Vec<&String> =
            before.iter().filter(|name| name.as_str() >= oldest && !left.contains(name)).collect();
        assert!(lost.is_empty(), "dropped before their time: {lost:?}");
    }
}

#[tokio::test]
async fn samples_of_many_agents_are_written_together() {
    const AGENTS: usize = 20;
    const SAMPLES: u64 = 10;
    let server = TestServer::start().await;
    // A sequence forgets nothing, and a statement's trigger runs once, however many rows there are.
    for statement in [
        "CREATE SEQUENCE statements MINVALUE 0 START 0",
        "SELECT nextval('statements')",
        "CREATE FUNCTION count_statement() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
           $$ BEGIN PERFORM nextval('public.statements'); RETURN NULL; END $$",
        "CREATE TRIGGER counted AFTER INSERT ON metric_samples FOR EACH STATEMENT
           EXECUTE FUNCTION count_statement()",
        "CREATE TRIGGER counted AFTER UPDATE OF last_sample_at ON agent_status FOR EACH STATEMENT
           EXECUTE FUNCTION count_statement()",
    ] {
        sqlx::query(statement).execute(&mut server.owner().await).await.unwrap();
    }
    let mut agents = Vec::new();
    for number in 0..AGENTS {
        let site = if number % 2 == 0 { &acme::HQ } else { &globex::HQ };
        let machine = server.seed_agent(site, &format!("pc-{number}")).await;
        agents.push(TestAgent::connect(&server, &machine).await);
    }
    let now = Utc::now();
    for seq in 1..=SAMPLES {
        for agent in &mut agents {
            let sample = at(now - TimeDelta::seconds(60 - seq.cast_signed()));
            agent.send(&AgentMessage::Metrics { seq, sample }).await;
        }
    }
    for agent in &mut agents {
        expect_ack(agent, SAMPLES).await;
    }
    let (rows, statements): (i64, i64) =
        sqlx::query_as("SELECT (SELECT count(*) FROM metric_samples), (SELECT last_value FROM statements)")
            .fetch_one(&mut server.owner().await)
            .await
            .unwrap();
    assert_eq!(rows, 200);
    assert!(statements >= 2, "both tables are written, or the count is none");
    assert!(statements <= rows / 5, "{statements} statements for {rows} samples");
}

#[tokio::test]
async fn a_sample_too_old_to_keep_is_acknowledged_and_counted() {
    let (server, machine) = stage().await;
    let mut agent = TestAgent::connect(&server, &machine).await;
    agent.send(&AgentMessage::Metrics { seq: 1, sample: at(Utc::now() - TimeDelta::days(365)) }).await;
    expect_ack(&mut agent, 1).await;
    assert_eq!((stored(&server, &machine).await, server.app().counters.samples_too_old.total()), (0, 1));
}

#[tokio::test]
async fn latest_figures_from_the_future_do_not_keep_new_ones_out() {
    let (server, machine) = stage().await;
    // As they stand there after the server's own clock was set back by a year.
    sqlx::query("UPDATE agent_status SET last_sample_at = now() + interval '1 year' WHERE agent_id = $1")
        .bind(machine.id)
        .execute(&mut server.owner().await)
        .await
        .unwrap();
    let mut agent = TestAgent::connect(&server, &machine).await;
    agent.send(&AgentMessage::Metrics { seq: 1, sample: sample() }).await;
    expect_ack(&mut agent, 1).await;
    let reader = server.client_as(&acme::READER).await;
    let shown = reader.get(&format!("/api/agents/{}", machine.id)).await.expect(200);
    assert_eq!(shown["cpu_percent"], 12.5);
}
