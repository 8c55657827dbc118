//! What machines measure: stored in batches, drawn as charts, shown live while someone looks.

pub mod agent;
pub mod gaps;
pub mod history;
pub mod http;
pub mod ingest;
pub mod live;
mod sensors;
mod store;

pub use sensors::{Sensor, SensorState, Sensors};

use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::ReadFleet;
use crate::db::Tx;
use crate::error::{Code, Error};
use crate::tenancy;
use chrono::{DateTime, TimeDelta, Utc};
use gururmm_protocol::metrics;
use history::rollup::{self, Bucket, Buckets};
use history::{LEVELS, Level};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Most points a chart gets.
pub const MAX_POINTS: u32 = 1_000;
const DEFAULT_POINTS: u32 = 300;
const DEFAULT_RANGE: TimeDelta = TimeDelta::hours(24);
/// Bucket sizes a chart may have, in seconds; beyond the last, whole days.
const STEPS: &[i64] =
    &[10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, DAY_SECONDS];
const DAY_SECONDS: i64 = 86_400;

/// The telemetry of all agents on this server.
#[derive(Default)]
pub struct Telemetry {
    /// From sockets to the database.
    pub ingest: ingest::Ingest,
    /// From sockets to screens.
    pub live: live::LiveView,
}

/// A chart of one agent. A bucket without samples is absent: the machine was off or out of reach.
#[derive(Debug, Serialize, ToSchema)]
pub struct Chart {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    /// Length of a bucket.
    pub resolution_seconds: i64,
    /// What it was drawn from: the finest that is still kept of the whole span, and fits the resolution.
    pub source: Level,
    pub points: Vec<Point>,
}

/// Averages over one bucket, with the least and the most that a sample in it had.
#[derive(Debug, Serialize, ToSchema)]
pub struct Point {
    /// Start of the bucket.
    pub t: DateTime<Utc>,
    pub cpu_percent: f64,
    pub memory_percent: Option<f64>,
    /// Of the fullest disk.
    pub disk_percent: Option<f64>,
    pub load_1: Option<f64>,
    /// Bytes received, over the time they were counted in.
    pub rx_bytes_per_second: Option<f64>,
    pub tx_bytes_per_second: Option<f64>,
    /// How many samples it stands for.
    pub samples: u64,
    pub cpu_percent_range: Option<Extremes>,
    pub memory_percent_range: Option<Extremes>,
    pub disk_percent_range: Option<Extremes>,
    pub load_1_range: Option<Extremes>,
    pub rx_bytes_per_second_range: Option<Extremes>,
    pub tx_bytes_per_second_range: Option<Extremes>,
}

/// The least and the most of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct Extremes {
    pub min: f64,
    pub max: f64,
}

/// One measurement of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sample {
    /// When it was taken.
    pub t: DateTime<Utc>,
    pub cpu_percent: f32,
    pub cpu_count: i32,
    pub memory_used_bytes: i64,
    pub memory_total_bytes: i64,
    pub swap_used_bytes: i64,
    pub swap_total_bytes: i64,
    pub load_1: Option<f32>,
    pub load_5: Option<f32>,
    pub load_15: Option<f32>,
    pub uptime_seconds: i64,
    pub boot_time: Option<DateTime<Utc>>,
    pub logged_in_user: Option<String>,
    pub user_idle_seconds: Option<i64>,
    pub public_ip: Option<String>,
    /// Bytes received within `interval_seconds`.
    pub rx_bytes: i64,
    pub tx_bytes: i64,
    pub interval_seconds: f32,
    pub disks: Vec<Disk>,
    /// Busiest first, at most ten.
    pub top_cpu: Vec<Process>,
    /// Largest first, at most ten.
    pub top_memory: Vec<Process>,
    pub process_count: i32,
    /// Absent where the agent does not tell: before protocol 1.1, or while it has not read them yet.
    pub sensors: Option<Sensors>,
}

/// One mounted file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Disk {
    pub mount: String,
    pub device: String,
    pub file_system: String,
    pub used_bytes: i64,
    pub total_bytes: i64,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Process {
    pub pid: i64,
    pub name: String,
    pub user: String,
    /// Of one core: a busy process of many threads exceeds 100.
    pub cpu_percent: f32,
    pub memory_bytes: i64,
    pub command_line: String,
}

/// The top processes as they are kept beside a sample.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Processes {
    pub cpu: Vec<Process>,
    pub memory: Vec<Process>,
}

/// A chart over any range, of at most 1,000 points. `from` is a day before `to` when absent, `to` is now.
pub async fn chart(
    app: &App,
    scope: &Scope<ReadFleet>,
    agent_id: Uuid,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
    points: Option<u32>,
) -> Result<Chart, Error> {
    let to = to.unwrap_or_else(Utc::now);
    let from = from.or_else(|| to.checked_sub_signed(DEFAULT_RANGE)).unwrap_or(to);
    let points = points.unwrap_or(DEFAULT_POINTS);
    if from >= to {
        return Err(Error::with_detail(Code::InvalidQuery, "from must be before to"));
    }
    if !(2..=MAX_POINTS).contains(&points) {
        return Err(Error::with_detail(Code::InvalidQuery, "points must be 2 to 1000"));
    }
    let mut tx = app.db.begin_to_read_history(scope).await?;
    let place = store::place(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let class = tenancy::partners::retention_days(&mut tx).await?;
    let now = Utc::now();
    let (first, last) = (from.max(now - LONGEST_RETENTION), to.min(now + FUTURE_AT_MOST));
    let step = step_seconds(to - from, points);
    let finest = level_of(step);
    let (mut resolution_seconds, mut source, mut buckets) = (step, finest, Buckets::new());
    // A partner whose class was shorter has lost more than the class says: then there is nothing at that level.
    for level in LEVELS.into_iter().filter(|level| *level >= finest && first < last) {
        let is_kept = now - first <= TimeDelta::days(i64::from(level.keep_days(class)));
        if level != Level::Days && !is_kept {
            continue;
        }
        (resolution_seconds, source) = (step.max(level.seconds()), level);
        buckets = history::buckets(&mut tx, place, level, first, last, resolution_seconds).await?;
        if !buckets.is_empty() || now - first <= SHORTEST_RETENTION {
            break;
        }
    }
    let points = buckets.iter().map(|(at, bucket)| Point::of(*at, bucket)).collect();
    Ok(Chart { from, to, resolution_seconds, source, points })
}

/// The coarsest level whose buckets a step is made of.
fn level_of(step: i64) -> Level {
    let fits = |level: &Level| step % level.seconds() == 0;
    LEVELS.into_iter().rfind(fits).unwrap_or(Level::Samples)
}

impl Point {
    fn of(at: i64, bucket: &Bucket) -> Self {
        let average = |of: usize| bucket.stats[of].average();
        let range = |of: usize| bucket.stats[of].range().map(|(min, max)| Extremes { min, max });
        Self {
            t: DateTime::from_timestamp(at, 0).unwrap_or_default(),
            cpu_percent: average(rollup::CPU).unwrap_or_default(),
            memory_percent: average(rollup::MEMORY),
            disk_percent: average(rollup::DISK),
            load_1: average(rollup::LOAD),
            rx_bytes_per_second: bucket.rate(rollup::RX),
            tx_bytes_per_second: bucket.rate(rollup::TX),
            samples: bucket.samples,
            cpu_percent_range: range(rollup::CPU),
            memory_percent_range: range(rollup::MEMORY),
            disk_percent_range: range(rollup::DISK),
            load_1_range: range(rollup::LOAD),
            rx_bytes_per_second_range: range(rollup::RX),
            tx_bytes_per_second_range: range(rollup::TX),
        }
    }
}

/// The newest sample at or before a time; the newest of all when it is absent. 404 when there is none.
pub async fn sample_at(
    app: &App,
    scope: &Scope<ReadFleet>,
    agent_id: Uuid,
    time: Option<DateTime<Utc>>,
) -> Result<Sample, Error> {
    let mut tx = app.db.begin_to_read_history(scope).await?;
    let place = store::place(&mut tx, agent_id).await?.ok_or_else(Error::not_found)?;
    let latest = Utc::now() + FUTURE_AT_MOST;
    let time = time.map_or(latest, |time| time.min(latest));
    history::sample_at(&mut tx, place, time).await?.ok_or_else(Error::not_found)
}

/// 404 unless the caller may see the agent.
pub async fn check_visible(app: &App, scope: &Scope<ReadFleet>, agent_id: Uuid) -> Result<(), Error> {
    let place = store::place(&mut app.db.begin(scope).await?, agent_id).await?;
    place.map(drop).ok_or_else(Error::not_found)
}

/// Makes the partitions of the next days and drops those past their retention.
pub async fn keep_partitions(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    let made = app.db.ensure_metric_partitions(now - TimeDelta::days(1), now + TimeDelta::days(3)).await?;
    let dropped = app.db.drop_expired_metric_partitions(now).await?;
    if made + dropped > 0 {
        tracing::info!(made, dropped, "metric partitions");
    }
    Ok(())
}

/// What is kept for the shortest class is kept for every one.
const SHORTEST_RETENTION: TimeDelta = TimeDelta::days(30);
/// Nothing older is kept.
const LONGEST_RETENTION: TimeDelta = TimeDelta::days(1_096);
/// How far ahead of the server's clock a sample may be taken.
const FUTURE_AT_MOST: TimeDelta = TimeDelta::minutes(5);
/// How late a sample may come: longer than any agent's store lasts. It bounds how many partitions are made.
const LATE_AT_MOST: TimeDelta = TimeDelta::days(30);

/// The smallest step of the list with which the range has at most `points` buckets, wherever it begins.
fn step_seconds(range: TimeDelta, points: u32) -> i64 {
    // One more bucket than the length gives: both ends may cut one.
    let least = range.num_seconds() / i64::from(points - 1) + 1;
    STEPS
        .iter()
        .copied()
        .find(|step| *step >= least)
        .unwrap_or_else(|| least.div_euclid(DAY_SECONDS) * DAY_SECONDS + DAY_SECONDS)
}

/// When a sample counts as taken: within the clock's tolerance, or now when the agent's clock runs ahead. `None`
/// when it is too old to be kept.
fn storable_time(taken_at: DateTime<Utc>, now: DateTime<Utc>, retention_days: i16) -> Option<DateTime<Utc>> {
    let oldest = now - TimeDelta::days(i64::from(retention_days)).min(LATE_AT_MOST);
    if taken_at > now + FUTURE_AT_MOST {
        return Some(now);
    }
    (taken_at >= oldest).then_some(taken_at)
}

impl From<metrics::Sample> for Sample {
    fn from(sample: metrics::Sample) -> Self {
        let [load_1, load_5, load_15] =
            sample.load.map_or([None; 3], |load| load.map(|value| Some(value as f32)));
        Self {
            t: sample.taken_at,
            cpu_percent: sample.cpu_percent,
            cpu_count: int(sample.cpu_count),
            memory_used_bytes: big(sample.memory_used_bytes),
            memory_total_bytes: big(sample.memory_total_bytes),
            swap_used_bytes: big(sample.swap_used_bytes),
            swap_total_bytes: big(sample.swap_total_bytes),
            load_1,
            load_5,
            load_15,
            uptime_seconds: big(sample.uptime_seconds),
            boot_time: sample.boot_time,
            logged_in_user: sample.logged_in_user,
            user_idle_seconds: sample.user_idle_seconds.map(big),
            public_ip: sample.public_ip,
            rx_bytes: big(sample.rx_bytes),
            tx_bytes: big(sample.tx_bytes),
            interval_seconds: sample.interval_seconds as f32,
            disks: sample.disks.into_iter().map(Disk::from).collect(),
            top_cpu: sample.top_cpu.into_iter().map(Process::from).collect(),
            top_memory: sample.top_memory.into_iter().map(Process::from).collect(),
            process_count: int(sample.process_count),
            sensors: sample.sensors.map(Sensors::from),
        }
    }
}

impl From<metrics::Disk> for Disk {
    fn from(disk: metrics::Disk) -> Self {
        Self {
            mount: disk.mount,
            device: disk.device,
            file_system: disk.file_system,
            used_bytes: big(disk.used_bytes),
            total_bytes: big(disk.total_bytes),
        }
    }
}

impl From<metrics::Process> for Process {
    fn from(process: metrics::Process) -> Self {
        Self {
            pid: i64::from(process.pid),
            name: process.name,
            user: process.user,
            cpu_percent: process.cpu_percent,
            memory_bytes: big(process.memory_bytes),
            command_line: process.command_line,
        }
    }
}

impl Sample {
    /// Used share of memory, 0 to 100.
    fn memory_percent(&self) -> Option<f32> {
        share(self.memory_used_bytes, self.memory_total_bytes)
    }

    /// How full the fullest disk is, 0 to 100.
    fn disk_percent(&self) -> Option<f32> {
        self.disks.iter().filter_map(|disk| share(disk.used_bytes, disk.total_bytes)).reduce(f32::max)
    }
}

fn share(part: i64, whole: i64) -> Option<f32> {
    (whole > 0).then(|| (part as f64 / whole as f64 * 100.0).clamp(0.0, 100.0) as f32)
}

fn big(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn int(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

/// Mean use of the processors of some machines, by their numbers, before and after a moment of each.
pub async fn cpu_around<P>(
    tx: &mut Tx<P>,
    moments: &[(i64, DateTime<Utc>)],
) -> Result<Option<(f64, f64)>, Error> {
    history::cpu_around(tx, moments).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_chart_never_has_more_points_than_asked_for(
            seconds in 1_i64..=100 * 365 * DAY_SECONDS, points in 2_u32..=MAX_POINTS, offset in 0_i64..DAY_SECONDS,
        ) {
            let step = step_seconds(TimeDelta::seconds(seconds), points);
            let buckets = (offset + seconds - 1).div_euclid(step) - offset.div_euclid(step) + 1;
            prop_assert!(buckets <= i64::from(points), "{buckets} buckets of {step} s");
        }

        #[test]
        fn a_sample_is_kept_within_its_retention_and_never_in_the_future(age in -1_000_000_i64..4_000_000) {
            let now = Utc::now();
            match storable_time(now - TimeDelta::seconds(age), now, 30) {
                Some(time) => prop_assert!(time <= now + FUTURE_AT_MOST && time >= now - TimeDelta::days(30)),
                None => prop_assert!(age > 30 * DAY_SECONDS),
            }
        }
    }

    #[test]
    fn a_clock_that_runs_a_year_ahead_is_taken_as_now() {
        let now = Utc::now();
        assert_eq!(storable_time(now + TimeDelta::days(365), now, 90), Some(now));
        assert_eq!(storable_time(now - TimeDelta::days(365), now, 90), None);
    }
}
