//! SQL of samples. Reading goes through a person's transaction; writing is the ingest's.

use super::Sample;
use super::history::Place;
use super::ingest::Queued;
use crate::db::Tx;
use crate::error::Error;
use chrono::{DateTime, Utc};
use sqlx::{Postgres, Transaction};
use uuid::Uuid;

/// Where an agent's samples stand, if the transaction may see it.
pub async fn place<P>(tx: &mut Tx<P>, agent_id: Uuid) -> Result<Option<Place>, Error> {
    let place = sqlx::query_as!(
        Place,
        r#"SELECT tenant_id AS "tenant_id!", num AS "num!" FROM agent_directory WHERE id = $1"#,
        agent_id
    );
    Ok(place.fetch_optional(tx.conn()).await?)
}

/// A loose sample as its row has it.
pub struct RawSample {
    pub taken_at: DateTime<Utc>,
    pub interval_seconds: f32,
    pub cpu_percent: f32,
    pub cpu_count: i32,
    pub memory_used_bytes: i64,
    pub memory_total_bytes: i64,
    pub swap_used_bytes: i64,
    pub swap_total_bytes: i64,
    pub load_1: Option<f32>,
    pub load_5: Option<f32>,
    pub load_15: Option<f32>,
    pub disk_percent: Option<f32>,
    pub rx_bytes: i64,
    pub tx_bytes: i64,
    pub uptime_seconds: i64,
    pub process_count: i32,
    pub boot_time: Option<DateTime<Utc>>,
    pub logged_in_user: Option<String>,
    pub user_idle_seconds: Option<i64>,
    pub public_ip: Option<String>,
    /// JSON, like the two after it.
    pub disks: String,
    pub processes: String,
    pub sensors: Option<String>,
}

/// The newest sample at or before a time, of those that are not packed.
pub async fn loose_sample_at<P>(
    tx: &mut Tx<P>,
    place: Place,
    time: DateTime<Utc>,
) -> Result<Option<Sample>, Error> {
    let row = sqlx::query_as!(
        RawSample,
        r#"SELECT taken_at, interval_seconds, cpu_percent, cpu_count, memory_used_bytes, memory_total_bytes,
             swap_used_bytes, swap_total_bytes, load_1, load_5, load_15, disk_percent, rx_bytes, tx_bytes, uptime_seconds,
             process_count, boot_time, logged_in_user, user_idle_seconds, public_ip, disks::text AS "disks!",
             processes::text AS "processes!", sensors::text AS sensors
           FROM metric_samples WHERE tenant_id = $1 AND agent_num = $2 AND taken_at <= $3
           ORDER BY taken_at DESC LIMIT 1"#,
        place.tenant_id,
        place.num,
        time
    );
    Ok(row.fetch_optional(tx.conn()).await?.map(Sample::from))
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
