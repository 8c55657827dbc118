//! The table that history is measured against: a row for every sample, with lists as jsonb, as one would write it down first.

use chrono::{DateTime, Utc};
use gururmm_protocol::metrics::Sample;
use gururmm_server::telemetry::history::pack::Figures;
use serde::Serialize;
use serde_json::{Value, json};
use sqlx::PgConnection;

/// Makes the table, in the place of the one before.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn create(owner: &mut PgConnection) -> sqlx::Result<()> {
    // Not logged ahead: what is written and read later is the same, and filling it takes half the time.
    for statement in [
        "DROP TABLE IF EXISTS plain_samples",
        "CREATE UNLOGGED TABLE plain_samples (
           tenant_id uuid NOT NULL, agent_num bigint NOT NULL, taken_at timestamptz NOT NULL, interval_seconds real NOT NULL,
           cpu_percent real NOT NULL, cpu_count integer NOT NULL, memory_used_bytes bigint NOT NULL,
           memory_total_bytes bigint NOT NULL, swap_used_bytes bigint NOT NULL, swap_total_bytes bigint NOT NULL,
           load_1 real, load_5 real, load_15 real, disk_percent real, rx_bytes bigint NOT NULL, tx_bytes bigint NOT NULL,
           uptime_seconds bigint NOT NULL, process_count integer NOT NULL, boot_time timestamptz, logged_in_user text,
           user_idle_seconds bigint, public_ip text, disks jsonb NOT NULL, processes jsonb NOT NULL, sensors jsonb,
           PRIMARY KEY (agent_num, taken_at))",
    ] {
        sqlx::query(statement).execute(&mut *owner).await?;
    }
    Ok(())
}

/// Makes it a table that is logged ahead like any other.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn make_durable(owner: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query("ALTER TABLE plain_samples SET LOGGED").execute(owner).await.map(drop)
}

/// A sample's row in COPY's text format.
pub fn copy_line(into: &mut String, tenant: &str, num: i64, sample: &Sample) {
    let load = sample.load.map(|load| load.map(|value| value as f32));
    let mut fields = vec![
        Some(tenant.to_owned()),
        Some(num.to_string()),
        Some(sample.taken_at.to_rfc3339()),
        Some((sample.interval_seconds as f32).to_string()),
        Some(sample.cpu_percent.to_string()),
    ];
    fields.push(Some(sample.cpu_count.to_string()));
    let bytes = [
        sample.memory_used_bytes,
        sample.memory_total_bytes,
        sample.swap_used_bytes,
        sample.swap_total_bytes,
    ];
    fields.extend(bytes.map(|value| Some(value.to_string())));
    fields.extend((0..3).map(|at| load.map(|load| load[at].to_string())));
    fields.push(sample.disk_percent().map(|value| value.to_string()));
    fields.extend(
        [sample.rx_bytes, sample.tx_bytes, sample.uptime_seconds].map(|value| Some(value.to_string())),
    );
    fields.extend([
        Some(sample.process_count.to_string()),
        sample.boot_time.map(|time| time.to_rfc3339()),
        sample.logged_in_user.clone(),
        sample.user_idle_seconds.map(|value| value.to_string()),
        sample.public_ip.clone(),
        Some(json!(sample.disks).to_string()),
        Some(processes(sample).to_string()),
        sample.sensors.as_ref().map(|sensors| json!(sensors).to_string()),
    ]);
    for (at, field) in fields.into_iter().enumerate() {
        if at > 0 {
            into.push('\t');
        }
        match field {
            Some(text) => text.chars().for_each(|character| match character {
                '\\' => into.push_str("\\\\"),
                '\t' => into.push_str("\\t"),
                '\n' => into.push_str("\\n"),
                '\r' => into.push_str("\\r"),
                other => into.push(other),
            }),
            None => into.push_str("\\N"),
        }
    }
    into.push('\n');
}

/// COPY takes [`copy_line`]s by this.
pub const COPY: &str = "COPY plain_samples FROM STDIN";

fn processes(sample: &Sample) -> Value {
    json!({ "cpu": sample.top_cpu, "memory": sample.top_memory })
}

/// Inserts rows in one statement and one transaction.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn insert(
    owner: &mut PgConnection,
    tenant: uuid::Uuid,
    rows: &[(i64, &Sample)],
) -> sqlx::Result<()> {
    fn column<T>(rows: &[(i64, &Sample)], value: impl Fn(&Sample) -> T) -> Vec<T> {
        rows.iter().map(|(_, sample)| value(sample)).collect()
    }
    let load = |at: usize| column(rows, |sample| sample.load.map(|load| load[at] as f32));
    sqlx::query(
        "INSERT INTO plain_samples SELECT $1, * FROM UNNEST($2::bigint[], $3::timestamptz[], $4::real[], $5::real[],
           $6::integer[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::real[], $12::real[], $13::real[],
           $14::real[], $15::bigint[], $16::bigint[], $17::bigint[], $18::integer[], $19::timestamptz[], $20::text[],
           $21::bigint[], $22::text[], $23::jsonb[], $24::jsonb[], $25::jsonb[])",
    )
    .bind(tenant)
    .bind(rows.iter().map(|(num, _)| *num).collect::<Vec<_>>())
    .bind(column(rows, |sample| sample.taken_at))
    .bind(column(rows, |sample| sample.interval_seconds as f32))
    .bind(column(rows, |sample| sample.cpu_percent))
    .bind(column(rows, |sample| sample.cpu_count.cast_signed()))
    .bind(column(rows, |sample| sample.memory_used_bytes.cast_signed()))
    .bind(column(rows, |sample| sample.memory_total_bytes.cast_signed()))
    .bind(column(rows, |sample| sample.swap_used_bytes.cast_signed()))
    .bind(column(rows, |sample| sample.swap_total_bytes.cast_signed()))
    .bind(load(0))
    .bind(load(1))
    .bind(load(2))
    .bind(column(rows, Sample::disk_percent))
    .bind(column(rows, |sample| sample.rx_bytes.cast_signed()))
    .bind(column(rows, |sample| sample.tx_bytes.cast_signed()))
    .bind(column(rows, |sample| sample.uptime_seconds.cast_signed()))
    .bind(column(rows, |sample| sample.process_count.cast_signed()))
    .bind(column(rows, |sample| sample.boot_time))
    .bind(column(rows, |sample| sample.logged_in_user.clone()))
    .bind(column(rows, |sample| sample.user_idle_seconds.map(u64::cast_signed)))
    .bind(column(rows, |sample| sample.public_ip.clone()))
    .bind(column(rows, |sample| json!(sample.disks)))
    .bind(column(rows, processes))
    .bind(column(rows, |sample| sample.sensors.as_ref().map(|sensors| json!(sensors))))
    .execute(owner)
    .await
    .map(drop)
}

/// What a chart draws of a machine's samples in a span, row by row.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn figures(
    owner: &mut PgConnection,
    num: i64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> sqlx::Result<Vec<Figures>> {
    type Row = (DateTime<Utc>, f32, f32, i64, i64, Option<f32>, Option<f32>, i64, i64);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT taken_at, interval_seconds, cpu_percent, memory_used_bytes, memory_total_bytes, load_1, disk_percent, rx_bytes,
           tx_bytes
         FROM plain_samples WHERE agent_num = $1 AND taken_at >= $2 AND taken_at < $3 ORDER BY taken_at",
    )
    .bind(num)
    .bind(from)
    .bind(to)
    .fetch_all(owner)
    .await?;
    let figures = |row: Row| Figures {
        t: row.0,
        interval_seconds: row.1,
        cpu_percent: row.2,
        memory_used_bytes: row.3,
        memory_total_bytes: row.4,
        load_1: row.5,
        disk_percent: row.6,
        rx_bytes: row.7,
        tx_bytes: row.8,
    };
    Ok(rows.into_iter().map(figures).collect())
}

/// Averages, least and most of a span in buckets, as PostgreSQL computes them; how many buckets there were.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn chart(
    owner: &mut PgConnection,
    num: i64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step_seconds: f64,
) -> sqlx::Result<usize> {
    let rows = sqlx::query(
        "SELECT date_bin(make_interval(secs => $4), taken_at, 'epoch'), avg(cpu_percent), min(cpu_percent), max(cpu_percent),
           avg(100.0::float8 * memory_used_bytes / nullif(memory_total_bytes, 0)), avg(disk_percent), avg(load_1),
           sum(rx_bytes)::float8 / nullif(sum(interval_seconds::float8), 0),
           sum(tx_bytes)::float8 / nullif(sum(interval_seconds::float8), 0)
         FROM plain_samples WHERE agent_num = $1 AND taken_at >= $2 AND taken_at < $3 GROUP BY 1 ORDER BY 1",
    )
    .bind(num)
    .bind(from)
    .bind(to)
    .bind(step_seconds)
    .fetch_all(owner)
    .await?;
    Ok(rows.len())
}

/// Bytes on disk, with indexes and what was moved out of the rows.
///
/// # Errors
/// When PostgreSQL does not answer.
pub async fn bytes(owner: &mut PgConnection, tables: &[&str]) -> sqlx::Result<i64> {
    // A table without partitions is not in any tree.
    let query = "SELECT coalesce(sum(pg_total_relation_size(coalesce(tree.relid, name::regclass))), 0)::bigint
                 FROM UNNEST($1::text[]) AS t (name) LEFT JOIN LATERAL pg_partition_tree(name::regclass) AS tree ON true
                 WHERE tree.isleaf IS NOT FALSE";
    let tables: Vec<String> = tables.iter().map(|table| (*table).to_owned()).collect();
    sqlx::query_scalar(query).bind(tables).fetch_one(owner).await
}

/// What a measurement came to, a line of JSON for the program that asked for it.
#[derive(Debug, Default, Serialize)]
pub struct Times {
    pub ours_milliseconds: f64,
    pub theirs_milliseconds: f64,
}
