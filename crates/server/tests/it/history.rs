//! Samples of hours that are over: packed, rolled up, and read back as if they were not.

use chrono::{DateTime, Duration, TimeDelta, Timelike as _, Utc};
use gururmm_protocol::metrics::{Disk, Process, Sample};
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use gururmm_server::auth::Scope;
use gururmm_server::telemetry::history;
use gururmm_server::telemetry::ingest::Queued;
use gururmm_testkit::agent::sample;
use gururmm_testkit::world::{acme, globex};
use gururmm_testkit::{SeededAgent, TestServer, eventually};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};

const MINUTE: TimeDelta = TimeDelta::minutes(1);

/// A full hour, some hours ago.
fn past() -> DateTime<Utc> {
    let hour = Utc::now() - TimeDelta::hours(30);
    hour.with_minute(0).and_then(|t| t.with_second(0)).and_then(|t| t.with_nanosecond(0)).unwrap()
}

/// With everything in it, and with values that only a careful store gives back.
fn rich(taken_at: DateTime<Utc>, n: u32) -> Sample {
    let process = |pid: u32, name: &str| Process {
        pid,
        name: name.into(),
        user: if pid.is_multiple_of(2) { "root" } else { "a.berg" }.into(),
        cpu_percent: (n * pid) as f32 / 7.0,
        memory_bytes: u64::from(n / 5) * 4_096 + u64::from(pid),
        command_line: format!("/usr/sbin/{name} --number {pid}"),
    };
    let value = 40.0 + n as f32 / 3.0;
    let sensor = |kind, value| Sensor {
        device: "coretemp".into(),
        name: "Package".into(),
        kind,
        value,
        low: None,
        high: Some(0.1),
        critical: None,
    };
    Sample {
        taken_at,
        cpu_percent: (n % 90) as f32 + 0.1,
        memory_used_bytes: (2 << 30) + u64::from(n) * 12_345,
        load: (!n.is_multiple_of(3)).then_some([0.1 + f64::from(n), 0.2, 0.3]),
        uptime_seconds: 60 * u64::from(n),
        boot_time: Some("2026-01-02T03:04:05.678901Z".parse().unwrap()),
        rx_bytes: u64::from(n) * 1_001,
        disks: vec![Disk {
            mount: "/".into(),
            device: "/dev/sda1".into(),
            file_system: "ext4".into(),
            used_bytes: u64::from(n) * 1_000_003,
            total_bytes: 1 << 40,
        }],
        logged_in_user: (n > 5).then(|| "k.lind".into()),
        user_idle_seconds: (n > 7).then(|| u64::from(n)),
        public_ip: (n > 9).then(|| "192.0.2.7".into()),
        top_cpu: vec![process(7, "nginx"), process(8, "postgres")],
        top_memory: vec![process(8, "postgres"), process(9, "java"), process(7, "nginx")],
        sensors: n.is_multiple_of(2).then(|| Sensors {
            readings: vec![sensor(SensorKind::Temperature, value), sensor(SensorKind::Fan, 0.3)],
            ..Sensors::default()
        }),
        ..sample()
    }
}

struct Stage {
    server: TestServer,
    machine: SeededAgent,
    owner: PgConnection,
}

async fn stage() -> Stage {
    let server = TestServer::start().await;
    let machine = server.seed_agent(&acme::HQ, "web-01").await;
    let owner = server.owner().await;
    Stage { server, machine, owner }
}

impl Stage {
    /// As they come from the agent, late or not. Waits until they are stored.
    async fn store(&mut self, samples: impl IntoIterator<Item = Sample>) {
        let machine = self.machine.clone();
        self.store_of(&machine, 90, samples).await;
    }

    async fn store_of(
        &mut self,
        machine: &SeededAgent,
        class: i16,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let before = self.server.app().counters.samples_stored.total();
        let mut came = 0;
        for (seq, sample) in samples.into_iter().enumerate() {
            let queued = Queued {
                agent_id: machine.id,
                epoch: 1,
                tenant_id: machine.site.partner,
                num: machine.num,
                retention_days: class,
                seq: seq as u64 + 1,
                sample: Some(Box::new(sample.into())),
                received_at: Utc::now(),
            };
            self.server.app().telemetry.ingest.put(queued).await;
            came += 1;
        }
        let app = self.server.app();
        eventually("samples that are stored", async || {
            (app.counters.samples_stored.total() >= before + came).then_some(())
        })
        .await;
    }

    async fn pack(&self) {
        history::keep(self.server.app(), Utc::now()).await.unwrap();
    }

    async fn number(&mut self, query: &'static str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&mut self.owner).await.unwrap()
    }

    async fn loose(&mut self) -> i64 {
        self.number("SELECT count(*) FROM metric_samples").await
    }

    async fn packed(&mut self) -> i64 {
        self.number("SELECT coalesce(sum(samples), 0) FROM metric_hours").await
    }

    async fn get(&self, path: String) -> Value {
        let reader = self.server.client_as(&acme::READER).await;
        reader.get(&format!("/api/v1/agents/{}/{path}", self.machine.id)).await.expect(200)
    }

    async fn at(&self, time: DateTime<Utc>) -> Value {
        self.get(format!("metrics/at?time={}", stamp(time))).await
    }

    async fn chart(&self, from: DateTime<Utc>, to: DateTime<Utc>, points: u32) -> Value {
        self.get(format!("metrics?from={}&to={}&points={points}", stamp(from), stamp(to))).await
    }

    /// All that people see of these hours.
    async fn everything(&self, from: DateTime<Utc>, hours: i32) -> Vec<Value> {
        let to = from + TimeDelta::hours(1) * hours;
        let mut seen = Vec::new();
        for minute in 0..hours * 60 {
            // Not on the sample's own time.
            seen.push(self.at(from + MINUTE * minute + TimeDelta::seconds(30)).await);
        }
        for (points, source) in [(1_000, "samples"), (20, "five_minutes"), (2, "hours")] {
            let chart = self.chart(from, to, points).await;
            assert_eq!(chart["source"], source);
            assert_eq!(chart["points"].as_array().map(Vec::is_empty), Some(false));
            seen.push(rounded(chart));
        }
        let chart = self.chart(from - TimeDelta::days(300), to, 300).await;
        assert_eq!(chart["source"], "days");
        seen.push(rounded(chart));
        seen
    }
}

fn stamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
}

/// In what order figures are added up changes their last bits.
fn rounded(mut value: Value) -> Value {
    match &mut value {
        Value::Number(number) => {
            let rounded = number.as_f64().map(|number| (number * 1e6).round() / 1e6);
            return json!(rounded);
        }
        Value::Array(items) => items.iter_mut().for_each(|item| *item = rounded(item.take())),
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = rounded(field.take())),
        _ => {}
    }
    value
}

fn minutes(from: DateTime<Utc>, count: u32) -> impl Iterator<Item = Sample> {
    (0..count).map(move |n| rich(from + Duration::milliseconds(60_000 * i64::from(n) + 7), n))
}

#[tokio::test]
async fn what_is_packed_is_seen_as_it_was() {
    let (mut stage, start) = (stage().await, past());
    stage.store(minutes(start, 150)).await;
    let before = stage.everything(start, 2).await;
    stage.pack().await;
    assert_eq!((stage.loose().await, stage.packed().await), (0, 150));
    assert_eq!(stage.number("SELECT count(*) FROM metric_hours").await, 3);
    assert_eq!(stage.number("SELECT count(*) FROM process_names").await, 3, "each name once");
    let after = stage.everything(start, 2).await;
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    assert_eq!(before[8]["public_ip"], Value::Null);
    assert_eq!(after[10]["top_memory"][1]["command_line"], "/usr/sbin/java --number 9");
    assert_eq!(after[10]["sensors"]["readings"][0]["state"], "high");
}

#[tokio::test]
async fn an_hour_that_goes_on_is_left_alone() {
    let mut stage = stage().await;
    stage.store([sample()]).await;
    stage.pack().await;
    assert_eq!((stage.loose().await, stage.packed().await), (1, 0));
}

#[tokio::test]
async fn samples_that_come_late_are_there_at_once_and_count_once() {
    let (mut late, mut whole, start) = (stage().await, stage().await, past());
    whole.store(minutes(start, 120)).await;
    let wanted = whole.everything(start, 2).await;
    late.store(minutes(start, 120).enumerate().filter(|(n, _)| n % 3 == 0).map(|(_, s)| s)).await;
    late.pack().await;
    assert_eq!((late.loose().await, late.packed().await), (0, 40));
    // All of it, after an outage: what was there already, and what was not.
    late.store(minutes(start, 120)).await;
    assert_eq!(late.loose().await, 120, "beside what is packed");
    assert_eq!(late.everything(start, 2).await, wanted);
    late.pack().await;
    assert_eq!((late.loose().await, late.packed().await), (0, 120));
    assert_eq!(late.everything(start, 2).await, wanted);
    // Again, and nothing changes.
    late.store(minutes(start, 120)).await;
    late.pack().await;
    late.pack().await;
    assert_eq!((late.loose().await, late.packed().await), (0, 120));
    assert_eq!(late.everything(start, 2).await, wanted);
    assert_eq!(late.number("SELECT count(*) FROM metric_hours").await, 2);
}

#[tokio::test]
async fn a_failure_at_any_step_loses_nothing_and_doubles_nothing() {
    let (mut stage, start) = (stage().await, past());
    stage.store(minutes(start, 70)).await;
    let wanted = stage.everything(start, 2).await;
    let steps = [
        ("metric_samples", "DELETE", "OLD.taken_at IS NOT NULL"),
        ("process_names", "INSERT", "NEW.name = 'java'"),
        ("metric_hours", "INSERT", "true"),
        ("metric_rollups", "INSERT", "NEW.bucket_seconds = 300"),
        ("metric_rollups", "INSERT", "NEW.bucket_seconds = 3600"),
        ("metric_rollups", "INSERT", "NEW.bucket_seconds = 86400"),
        ("metric_rollups", "UPDATE", "NEW.bucket_seconds = 86400"),
    ];
    for (table, event, when) in steps {
        let break_it = format!(
            "CREATE OR REPLACE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS
               $$ BEGIN RAISE EXCEPTION 'broken on purpose'; END $$;
             CREATE TRIGGER broken BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) EXECUTE FUNCTION broken()"
        );
        sqlx::raw_sql(AssertSqlSafe(break_it)).execute(&mut stage.owner).await.unwrap();
        stage.pack().await;
        let mended = format!("DROP TRIGGER broken ON {table}");
        sqlx::raw_sql(AssertSqlSafe(mended)).execute(&mut stage.owner).await.unwrap();
        assert_eq!(stage.loose().await + stage.packed().await, 70, "{event} of {table} where {when}");
        assert!(stage.loose().await > 0, "{event} of {table} where {when} did not fail");
        assert_eq!(stage.everything(start, 2).await, wanted, "{event} of {table} where {when}");
    }
    stage.pack().await;
    assert_eq!((stage.loose().await, stage.packed().await), (0, 70));
    assert_eq!(stage.everything(start, 2).await, wanted);
}

#[tokio::test]
async fn a_connection_that_is_cut_in_the_middle_loses_nothing() {
    let (mut stage, start) = (stage().await, past());
    stage.store(minutes(start, 60)).await;
    sqlx::raw_sql(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN PERFORM pg_advisory_xact_lock(4712); RETURN NEW; END $$;
         CREATE TRIGGER wait BEFORE INSERT ON metric_rollups FOR EACH ROW WHEN (NEW.bucket_seconds = 3600)
           EXECUTE FUNCTION wait();
         SELECT pg_advisory_lock(4712)",
    )
    .execute(&mut stage.owner)
    .await
    .unwrap();
    let mut other = stage.server.owner().await;
    let cut = eventually("a round that is cut off", async || {
        sqlx::query_scalar::<_, bool>(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
               AND query LIKE 'INSERT INTO metric_rollups%' AND wait_event_type = 'Lock'",
        )
        .fetch_optional(&mut other)
        .await
        .unwrap()
    });
    tokio::join!(cut, async {
        // Its hour is tried a second time by itself, which waits as well: both are given up.
        let _round = tokio::time::timeout(std::time::Duration::from_secs(2), stage.pack()).await;
    });
    sqlx::raw_sql("SELECT pg_advisory_unlock(4712); DROP TRIGGER wait ON metric_rollups")
        .execute(&mut stage.owner)
        .await
        .unwrap();
    eventually("the end of the other try", async || {
        let loose: i64 =
            sqlx::query_scalar("SELECT count(*) FROM metric_samples").fetch_one(&mut other).await.unwrap();
        (loose == 60).then_some(())
    })
    .await;
    assert_eq!(stage.packed().await, 0);
    stage.pack().await;
    assert_eq!((stage.loose().await, stage.packed().await), (0, 60));
}

#[tokio::test]
async fn an_hour_that_cannot_be_packed_keeps_no_other_one_out() {
    let (mut stage, start) = (stage().await, past());
    stage.store(minutes(start, 60)).await;
    stage.pack().await;
    sqlx::query("UPDATE metric_hours SET details = 'no history'").execute(&mut stage.owner).await.unwrap();
    let late = rich(start + TimeDelta::seconds(10), 1);
    let other = stage.server.seed_agent(&acme::HQ, "web-02").await;
    stage.store([late, rich(start + TimeDelta::hours(1), 2)]).await;
    stage.store_of(&other, 90, minutes(start, 10)).await;
    stage.pack().await;
    assert_eq!((stage.loose().await, stage.packed().await), (1, 71));
    let lag = lag(&stage).await;
    assert_eq!((lag.hours_waiting, lag.oldest_waiting), (1, Some(start)));
    assert!(lag.looked_at.is_some());
}

async fn lag(stage: &Stage) -> history::Lag {
    let lag: (Option<DateTime<Utc>>, i64, Option<DateTime<Utc>>) = sqlx::query_as(
        "SELECT looked_at, hours_waiting, oldest_waiting FROM history_progress WHERE tenant_id = $1",
    )
    .bind(acme::PARTNER.id)
    .fetch_one(&mut stage.server.owner().await)
    .await
    .unwrap();
    history::Lag { looked_at: lag.0, hours_waiting: lag.1, oldest_waiting: lag.2 }
}

#[tokio::test]
async fn a_flood_of_samples_is_thinned_and_counted() {
    let (mut stage, start) = (stage().await, past());
    let flood = (0..1_000).map(|n| Sample {
        taken_at: start + TimeDelta::seconds(600) + TimeDelta::milliseconds(100 * n),
        ..sample()
    });
    stage.store(flood).await;
    stage.pack().await;
    assert_eq!((stage.loose().await, stage.packed().await), (0, 20));
    assert_eq!(stage.server.app().counters.samples_thinned.total(), 980);
    // Nor does it help to come again and again.
    let next = start + TimeDelta::hours(1);
    for round in 0..2 {
        let flood = (0..700)
            .map(|n| Sample { taken_at: next + TimeDelta::milliseconds(100 * n + round), ..sample() });
        stage.store(flood).await;
        stage.pack().await;
    }
    assert_eq!((stage.loose().await, stage.packed().await), (0, 20 + 14));
}

#[tokio::test]
async fn a_peak_of_seconds_is_seen_in_a_chart_of_a_year() {
    let (mut stage, start) = (stage().await, past());
    let busy = |n| if n == 33 { 99.5 } else { 5.0 };
    let samples = minutes(start, 120).enumerate().map(|(n, s)| Sample { cpu_percent: busy(n), ..s });
    stage.store(samples).await;
    stage.pack().await;
    for (days, points) in [(1, 200), (7, 300), (30, 300), (360, 300)] {
        let to = start + TimeDelta::hours(3);
        let chart = stage.chart(to - TimeDelta::days(days), to, points).await;
        let all = chart["points"].as_array().unwrap();
        let most = all.iter().filter_map(|point| point["cpu_percent_range"]["max"].as_f64());
        assert_eq!(most.reduce(f64::max), Some(99.5), "{days} days");
        let least = all.iter().filter_map(|point| point["cpu_percent_range"]["min"].as_f64());
        assert_eq!(least.reduce(f64::min), Some(5.0), "{days} days");
        let samples: u64 = all.iter().filter_map(|point| point["samples"].as_u64()).sum();
        assert_eq!(samples, 120, "{days} days");
        // Weighted by what each bucket stands for.
        let sum: f64 = all
            .iter()
            .map(|point| point["cpu_percent"].as_f64().unwrap() * point["samples"].as_f64().unwrap())
            .sum();
        assert!((sum - (119.0 * 5.0 + 99.5)).abs() < 1e-6, "{days} days: {sum}");
    }
}

#[tokio::test]
async fn roll_ups_outlive_the_samples_and_the_chart_says_what_it_was_drawn_from() {
    let (mut stage, start) = (stage().await, past() - TimeDelta::days(40));
    let machine = stage.machine.clone();
    stage.store_of(&machine, 30, minutes(start, 60)).await;
    stage.pack().await;
    let drawn = async |stage: &Stage| {
        let chart = stage.chart(start, start + TimeDelta::hours(1), 300).await;
        let points = chart["points"].as_array().unwrap().len();
        (chart["source"].as_str().unwrap().to_owned(), chart["resolution_seconds"].as_i64().unwrap(), points)
    };
    assert_eq!(drawn(&stage).await, ("samples".to_owned(), 15, 60));
    let class = |days: i16| {
        sqlx::query("UPDATE partners SET retention_days = $2 WHERE id = $1").bind(acme::PARTNER.id).bind(days)
    };
    class(30).execute(&mut stage.owner).await.unwrap();
    assert_eq!(drawn(&stage).await, ("five_minutes".to_owned(), 300, 12));
    // Of a partner whose class was shorter before, there is less than the class says.
    sqlx::query("DELETE FROM metric_hours").execute(&mut stage.owner).await.unwrap();
    class(365).execute(&mut stage.owner).await.unwrap();
    assert_eq!(drawn(&stage).await, ("five_minutes".to_owned(), 300, 12));
    let kept = "SELECT array_agg(DISTINCT (bucket_seconds, keep_days)::text ORDER BY (bucket_seconds, keep_days)::text)
                FROM metric_rollups";
    let kept: Vec<String> = sqlx::query_scalar(kept).fetch_one(&mut stage.owner).await.unwrap();
    assert_eq!(kept, ["(300,90)", "(3600,365)", "(86400,1095)"]);
}

#[tokio::test]
async fn names_go_when_no_sample_can_name_them_any_more() {
    let (mut stage, start) = (stage().await, past());
    stage.store(minutes(start, 10)).await;
    stage.pack().await;
    let keep = "SELECT count(*) FROM process_names WHERE keep_until > now() + interval '90 days'";
    assert_eq!(stage.number(keep).await, 3);
    sqlx::query("UPDATE process_names SET keep_until = now() + interval '1 day' WHERE name = 'nginx'")
        .execute(&mut stage.owner)
        .await
        .unwrap();
    // Seen again: kept again.
    stage.store(minutes(start + TimeDelta::hours(1), 10)).await;
    stage.pack().await;
    assert_eq!(stage.number(keep).await, 3);
    sqlx::query("UPDATE process_names SET keep_until = now() - interval '1 day' WHERE name = 'nginx'")
        .execute(&mut stage.owner)
        .await
        .unwrap();
    stage.pack().await;
    assert_eq!(stage.number("SELECT count(*) FROM process_names").await, 2);
}

#[tokio::test]
async fn samples_of_two_classes_and_partners_stay_apart_and_are_seen_together() {
    let (mut stage, start) = (stage().await, past());
    let machine = stage.machine.clone();
    stage.store_of(&machine, 30, minutes(start, 30)).await;
    stage.store_of(&machine, 365, minutes(start, 60).skip(30)).await;
    let foreign = stage.server.seed_agent(&globex::HQ, "db-01").await;
    stage.store_of(&foreign, 90, minutes(start, 60)).await;
    let before = stage.everything(start, 1).await;
    stage.pack().await;
    assert_eq!(stage.everything(start, 1).await, before);
    let kept = "SELECT count(*) FROM metric_hours WHERE retention_days IN (30, 365) AND samples = 30";
    assert_eq!(stage.number(kept).await, 2);
    let names = "SELECT count(DISTINCT tenant_id) FROM process_names WHERE name = 'java'";
    assert_eq!(stage.number(names).await, 2, "one name, two partners");
    let rollups = "SELECT count(*) FROM metric_rollups r JOIN agents a ON a.num = r.agent_num AND a.tenant_id <> r.tenant_id";
    assert_eq!(stage.number(rollups).await, 0);
}

#[tokio::test]
async fn history_that_is_packed_goes_to_the_record_that_stays() {
    let (mut stage, start) = (stage().await, past());
    let kept = stage.machine.clone();
    let other = stage.server.seed_agent(&acme::HQ, "web-01").await;
    stage.store(minutes(start, 40)).await;
    stage.store_of(&other, 90, minutes(start, 60).skip(40)).await;
    stage.pack().await;
    sqlx::raw_sql(AssertSqlSafe(format!(
        "BEGIN; SELECT set_config('app.tenant_id', '{}', true); SELECT merge_agent_history('{}', '{}'); COMMIT",
        acme::PARTNER.id,
        kept.id,
        other.id
    )))
    .execute(&mut stage.owner)
    .await
    .unwrap();
    let merged = stage.everything(start, 1).await;
    // What comes late goes to the record's own.
    stage.store([rich(start + TimeDelta::milliseconds(7), 0)]).await;
    stage.pack().await;
    assert_eq!(stage.everything(start, 1).await, merged);
    let mut whole = self::stage().await;
    whole.store(minutes(start, 60)).await;
    assert_eq!(whole.everything(start, 1).await, merged);
}

#[tokio::test]
async fn what_processors_did_around_a_moment_is_the_same_when_it_is_packed() {
    let (mut stage, start) = (stage().await, past());
    stage.store(minutes(start, 180)).await;
    let around = async |stage: &Stage, moment: DateTime<Utc>| {
        let scope = Scope::system("test", acme::PARTNER.id);
        let mut tx = stage.server.app().db.begin(&scope).await.unwrap();
        history::cpu_around(&mut tx, &[(stage.machine.num, moment)]).await.unwrap()
    };
    let moments =
        [start + TimeDelta::minutes(90), start + TimeDelta::minutes(61), start - TimeDelta::hours(9)];
    let mut before = Vec::new();
    for moment in moments {
        before.push(around(&stage, moment).await);
    }
    assert!(before[0].is_some_and(|(before, after)| before != after), "{before:?}");
    assert_eq!(before[2], None);
    stage.pack().await;
    for (moment, before) in moments.into_iter().zip(before) {
        let after = around(&stage, moment).await;
        let same = match (before, after) {
            (Some(one), Some(other)) => (one.0 - other.0).abs() < 1e-9 && (one.1 - other.1).abs() < 1e-9,
            (one, other) => one == other,
        };
        assert!(same, "{before:?} {after:?}");
    }
}

#[tokio::test]
async fn what_reads_history_is_not_planned_anew_each_time() {
    let mut stage = stage().await;
    let from = past();
    stage.store((0..60).map(|n| rich(from + MINUTE * n, n as u32))).await;
    stage.pack().await;
    let scope = Scope::system("test", acme::PARTNER.id);
    let mut tx = stage.server.app().db.begin_to_read_history(&scope).await.unwrap();
    let place = history::Place { tenant_id: acme::PARTNER.id, num: stage.machine.num };
    for _ in 0..3 {
        let to = from + TimeDelta::hours(1);
        let buckets = history::buckets(&mut tx, place, history::Level::Samples, from, to, 60).await.unwrap();
        assert_eq!(buckets.len(), 60);
    }
    // What the job that packs ran on this connection before is planned anew each time.
    let kept: i64 = sqlx::query_scalar(
        "SELECT sum(generic_plans)::bigint FROM pg_prepared_statements
         WHERE statement LIKE '%FROM metric_%' AND statement NOT LIKE '%pg_prepared_statements%'",
    )
    .fetch_one(tx.conn())
    .await
    .unwrap();
    assert_eq!(kept, 6, "two queries, three times");
}
