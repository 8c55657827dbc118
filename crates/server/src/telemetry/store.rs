//! SQL of samples. Reading goes through a person's transaction; writing is the ingest's.

use super::ingest::Queued;
use super::{Disk, Point, Processes, Sample, Sensors};
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use gururmm_protocol as protocol;
use sqlx::types::Json;
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

/// The surrogate of an agent, if the transaction may see it.
pub async fn agent_num<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<i64>, Error> {
    let num = sqlx::query_scalar!(r#"SELECT num AS "num!" FROM agent_directory WHERE id = $1"#, agent_id);
    Ok(num.fetch_optional(tx.conn()).await?)
}

/// Averages per bucket. Buckets stand on multiples of the step, so that a chart fetched again has the same ones.
pub async fn chart<P>(
    tx: &mut Tx<P>,
    agent_num: i64,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step_seconds: i64,
) -> Result<Vec<Point>, Error> {
    let points = sqlx::query_as!(
        Point,
        r#"SELECT date_bin(make_interval(secs => $4::bigint::float8), taken_at, 'epoch'::timestamptz) AS "t!",
             avg(cpu_percent)::float8 AS "cpu_percent!",
             avg(100.0 * memory_used_bytes / nullif(memory_total_bytes, 0))::float8 AS memory_percent,
             avg(disk_percent)::float8 AS disk_percent, avg(load_1)::float8 AS load_1,
             (sum(rx_bytes)::float8 / nullif(sum(interval_seconds::float8), 0)) AS rx_bytes_per_second,
             (sum(tx_bytes)::float8 / nullif(sum(interval_seconds::float8), 0)) AS tx_bytes_per_second
           FROM metric_samples WHERE agent_num = $1 AND taken_at >= $2 AND taken_at < $3
           GROUP BY 1 ORDER BY 1"#,
        agent_num,
        from,
        to,
        step_seconds
    );
    Ok(points.fetch_all(tx.conn()).await?)
}

/// The newest sample at or before a time.
pub async fn sample_at<P>(
    tx: &mut Tx<P>,
    agent_num: i64,
    time: DateTime<Utc>,
) -> Result<Option<Sample>, Error> {
    let row = sqlx::query!(
        r#"SELECT taken_at, interval_seconds, cpu_percent, cpu_count, memory_used_bytes, memory_total_bytes,
             swap_used_bytes, swap_total_bytes, load_1, load_5, load_15, rx_bytes, tx_bytes, uptime_seconds,
             process_count, boot_time, logged_in_user, user_idle_seconds, public_ip,
             disks AS "disks: Json<Vec<Disk>>", processes AS "processes: Json<Processes>", sensors
           FROM metric_samples WHERE agent_num = $1 AND taken_at <= $2 ORDER BY taken_at DESC LIMIT 1"#,
        agent_num,
        time
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| Sample {
        t: row.taken_at,
        cpu_percent: row.cpu_percent,
        cpu_count: row.cpu_count,
        memory_used_bytes: row.memory_used_bytes,
        memory_total_bytes: row.memory_total_bytes,
        swap_used_bytes: row.swap_used_bytes,
        swap_total_bytes: row.swap_total_bytes,
        load_1: row.load_1,
        load_5: row.load_5,
        load_15: row.load_15,
        uptime_seconds: row.uptime_seconds,
        boot_time: row.boot_time,
        logged_in_user: row.logged_in_user,
        user_idle_seconds: row.user_idle_seconds,
        public_ip: row.public_ip,
        rx_bytes: row.rx_bytes,
        tx_bytes: row.tx_bytes,
        interval_seconds: row.interval_seconds,
        disks: row.disks.0,
        top_cpu: row.processes.0.cpu,
        top_memory: row.processes.0.memory,
        process_count: row.process_count,
        // What cannot be read any more is not shown.
        sensors: row.sensors.and_then(|sensors| {
            serde_json::from_value::<protocol::sensors::Sensors>(sensors).ok().map(Sensors::from)
        }),
    }))
}

/// Inserts a batch of many partners' samples; one that is there already stays as it is.
pub async fn insert_samples(
    tx: &mut Transaction<'static, Postgres>,
    rows: &[(&Queued, &Sample)],
) -> Result<(), Error> {
    fn column<T>(rows: &[(&Queued, &Sample)], value: impl Fn(&Queued, &Sample) -> T) -> Vec<T> {
        rows.iter().map(|(queued, sample)| value(queued, sample)).collect()
    }
    let processes =
        |sample: &Sample| serde_json::json!({ "cpu": sample.top_cpu, "memory": sample.top_memory });
    sqlx::query!(
        "INSERT INTO metric_samples (tenant_id, agent_num, taken_at, retention_days, interval_seconds, cpu_percent,
           memory_used_bytes, memory_total_bytes, swap_used_bytes, swap_total_bytes, load_1, load_5, load_15,
           disk_percent, rx_bytes, tx_bytes, uptime_seconds, process_count, cpu_count, boot_time, logged_in_user,
           user_idle_seconds, public_ip, disks, processes, sensors)
         SELECT * FROM UNNEST($1::uuid[], $2::bigint[], $3::timestamptz[], $4::smallint[], $5::real[], $6::real[],
           $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[], $11::real[], $12::real[], $13::real[],
           $14::real[], $15::bigint[], $16::bigint[], $17::bigint[], $18::integer[], $19::integer[],
           $20::timestamptz[], $21::text[], $22::bigint[], $23::text[], $24::jsonb[], $25::jsonb[],
           $26::jsonb[])
         ON CONFLICT DO NOTHING",
        &column(rows, |queued, _| queued.tenant_id),
        &column(rows, |queued, _| queued.num),
        &column(rows, |_, sample| sample.t),
        &column(rows, |queued, _| queued.retention_days),
        &column(rows, |_, sample| sample.interval_seconds),
        &column(rows, |_, sample| sample.cpu_percent),
        &column(rows, |_, sample| sample.memory_used_bytes),
        &column(rows, |_, sample| sample.memory_total_bytes),
        &column(rows, |_, sample| sample.swap_used_bytes),
        &column(rows, |_, sample| sample.swap_total_bytes),
        &column(rows, |_, sample| sample.load_1) as &[Option<f32>],
        &column(rows, |_, sample| sample.load_5) as &[Option<f32>],
        &column(rows, |_, sample| sample.load_15) as &[Option<f32>],
        &column(rows, |_, sample| sample.disk_percent()) as &[Option<f32>],
        &column(rows, |_, sample| sample.rx_bytes),
        &column(rows, |_, sample| sample.tx_bytes),
        &column(rows, |_, sample| sample.uptime_seconds),
        &column(rows, |_, sample| sample.process_count),
        &column(rows, |_, sample| sample.cpu_count),
        &column(rows, |_, sample| sample.boot_time) as &[Option<DateTime<Utc>>],
        &column(rows, |_, sample| sample.logged_in_user.clone()) as &[Option<String>],
        &column(rows, |_, sample| sample.user_idle_seconds) as &[Option<i64>],
        &column(rows, |_, sample| sample.public_ip.clone()) as &[Option<String>],
        &column(rows, |_, sample| serde_json::json!(sample.disks)),
        &column(rows, |_, sample| processes(sample)),
        &column(rows, |_, sample| {
            sample.sensors.as_ref().map(|sensors| serde_json::json!(sensors.stored()))
        }) as &[Option<serde_json::Value>],
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Writes the latest values of agents, unless newer ones stand there. One row per agent. What stands there from the
/// future, since the server's own clock was once ahead, is no newer.
pub async fn update_latest(
    tx: &mut Transaction<'static, Postgres>,
    rows: &[(&Queued, &Sample)],
) -> Result<(), Error> {
    fn column<T>(rows: &[(&Queued, &Sample)], value: impl Fn(&Queued, &Sample) -> T) -> Vec<T> {
        rows.iter().map(|(queued, sample)| value(queued, sample)).collect()
    }
    sqlx::query!(
        "UPDATE agent_status s SET last_sample_at = u.taken_at, cpu_percent = u.cpu, memory_percent = u.memory,
           disk_percent = u.disk, uptime_seconds = u.uptime, logged_in_user = u.logged_in, public_ip = u.ip
         FROM UNNEST($1::uuid[], $2::timestamptz[], $3::real[], $4::real[], $5::real[], $6::bigint[], $7::text[],
           $8::text[]) AS u (agent_id, taken_at, cpu, memory, disk, uptime, logged_in, ip)
         WHERE s.agent_id = u.agent_id AND (s.last_sample_at IS NULL OR s.last_sample_at <= u.taken_at
           OR s.last_sample_at > now() + interval '5 minutes')",
        &column(rows, |queued, _| queued.agent_id),
        &column(rows, |_, sample| sample.t),
        &column(rows, |_, sample| sample.cpu_percent),
        &column(rows, |_, sample| sample.memory_percent()) as &[Option<f32>],
        &column(rows, |_, sample| sample.disk_percent()) as &[Option<f32>],
        &column(rows, |_, sample| sample.uptime_seconds),
        &column(rows, |_, sample| sample.logged_in_user.clone()) as &[Option<String>],
        &column(rows, |_, sample| sample.public_ip.clone()) as &[Option<String>],
    )
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Mean use of the processors of machines in the two hours before and after a moment of each; `None` where there are no
/// samples on either side.
pub async fn cpu_around<P>(
    tx: &mut Tx<P>,
    nums: &[i64],
    moments: &[DateTime<Utc>],
) -> Result<Option<(f64, f64)>, Error> {
    let mean = sqlx::query!(
        r#"SELECT avg(m.cpu_percent) FILTER (WHERE m.taken_at < t.moment)::float8 AS before,
             avg(m.cpu_percent) FILTER (WHERE m.taken_at > t.moment + interval '10 minutes')::float8 AS after
           FROM UNNEST($1::bigint[], $2::timestamptz[]) AS t (num, moment)
           JOIN metric_samples m ON m.agent_num = t.num
             AND m.taken_at BETWEEN t.moment - interval '2 hours' AND t.moment + interval '2 hours'"#,
        nums,
        moments
    );
    let mean = mean.fetch_one(tx.conn()).await?;
    Ok(mean.before.zip(mean.after))
}
