//! Bare inserts of the same samples that agents send: what storing them costs without a server.

use crate::plain;
use crate::world::World;
use anyhow::Context as _;
use chrono::{TimeDelta, Utc};
use serde::Serialize;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Samples that are made before the clock starts.
const MADE: usize = 10_000;

/// What was done.
#[derive(Debug, Serialize)]
pub struct Inserted {
    pub rows: u64,
    pub seconds: f64,
    /// Of this process, while it inserted.
    pub cpu_seconds: f64,
}

/// Inserts rows into the plain table for some time, so many in a statement; each statement is committed.
///
/// # Errors
/// When PostgreSQL refuses.
pub async fn insert(
    database_url: &str,
    world: &World,
    at_once: usize,
    longest: Duration,
) -> anyhow::Result<Inserted> {
    let options: PgConnectOptions = database_url.parse()?;
    let mut owner = options.disable_statement_logging().connect().await?;
    plain::create(&mut owner).await?;
    plain::make_durable(&mut owner).await?;
    let now = Utc::now();
    let machines = &world.machines;
    anyhow::ensure!(!machines.is_empty(), "there are no machines");
    let mut samples: Vec<_> = (0..MADE)
        .map(|n| {
            let time = now + TimeDelta::seconds((n / machines.len()) as i64);
            machines[n % machines.len()].sample(time, TimeDelta::seconds(60), true)
        })
        .collect();
    let (tenant, mut rows) = (Uuid::now_v7(), 0);
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    'time: loop {
        for (part, samples) in samples.chunks(at_once).enumerate() {
            let rows_of = samples.iter().enumerate();
            let batch: Vec<_> =
                rows_of.map(|(n, sample)| (((part * at_once + n) % machines.len()) as i64, sample)).collect();
            plain::insert(&mut owner, tenant, &batch).await?;
            rows += batch.len() as u64;
            if began.elapsed() >= longest {
                break 'time;
            }
        }
        samples.iter_mut().for_each(|sample| sample.taken_at += TimeDelta::days(1));
    }
    Ok(Inserted { rows, seconds: began.elapsed().as_secs_f64(), cpu_seconds: cpu_seconds()? - cpu })
}

/// User and system time of this process so far.
fn cpu_seconds() -> anyhow::Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = text.rsplit_once(')').context("no name in stat")?;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<u32>).sum::<Result<u32, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}
