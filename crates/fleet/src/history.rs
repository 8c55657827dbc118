//! Days of samples of many machines, written as history keeps them and into a plain table as well, and read from both.

use crate::machine::Machine;
use crate::plain::{self, Times};
use crate::world::World;
use anyhow::Context as _;
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use gururmm_server::auth::Scope;
use gururmm_server::bus::Bus;
use gururmm_server::db::{APP_ROLE, Db, PoolSizes};
use gururmm_server::telemetry::history::rollup::Buckets;
use gururmm_server::telemetry::history::{self, Hour, Level, Place, rollup};
use serde::Serialize;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::mpsc;
use uuid::Uuid;

/// Days that every machine has samples of.
pub const DAYS: i64 = 7;
/// The partner's class.
const CLASS: i16 = 90;
/// What is read: every sample, and the chart of a day.
const READS: [(Level, i64); 2] = [(Level::Samples, 60), (Level::FiveMinutes, 300)];

/// What was written.
#[derive(Debug, Serialize)]
pub struct Sizes {
    pub samples: i64,
    pub ours_bytes: i64,
    pub theirs_bytes: i64,
    /// CPU and waiting of one writer, for an hour of a machine.
    pub pack_milliseconds: f64,
}

/// A database with seeded machines and their days of history.
pub struct Measured {
    options: PgConnectOptions,
    db: Arc<Db>,
    tenant: Uuid,
    /// By the machines' numbers.
    nums: Vec<i64>,
    machines: Arc<Vec<Machine>>,
    end: DateTime<Utc>,
}

impl Measured {
    /// Of the first partner of the database whose owner's URL this is.
    ///
    /// # Errors
    /// When the machines have not been seeded.
    pub async fn new(database_url: &str, world: World, end: Option<DateTime<Utc>>) -> anyhow::Result<Self> {
        let options = database_url.parse::<PgConnectOptions>()?.disable_statement_logging();
        let mut owner = options.clone().connect().await?;
        let tenant: Uuid = sqlx::query_scalar("SELECT id FROM partners ORDER BY created_at, id LIMIT 1")
            .fetch_optional(&mut owner)
            .await?
            .context("the server has not been set up: there is no partner")?;
        let nums: Vec<i64> =
            sqlx::query_scalar("SELECT num FROM agents WHERE tenant_id = $1 ORDER BY num LIMIT $2")
                .bind(tenant)
                .bind(world.machines.len() as i64)
                .fetch_all(&mut owner)
                .await?;
        anyhow::ensure!(nums.len() == world.machines.len(), "the machines have not been seeded");
        owner.close().await?;
        // As the application, under row-level security like the server itself.
        let app = options.clone().options([("role", APP_ROLE)]);
        let db = Db::connect(app, PoolSizes::default(), Bus::default()).await?;
        let end = end.unwrap_or_else(Utc::now).duration_trunc(TimeDelta::hours(1))?;
        Ok(Self { options, db: Arc::new(db), tenant, nums, machines: Arc::new(world.machines), end })
    }

    /// Writes it all, twice.
    ///
    /// # Errors
    /// When PostgreSQL refuses.
    pub async fn write(&self) -> anyhow::Result<Sizes> {
        let mut owner = self.options.clone().connect().await?;
        plain::create(&mut owner).await?;
        self.write_plain(&mut owner).await?;
        let began = Instant::now();
        let hours = self.write_history().await?;
        let pack_milliseconds = began.elapsed().as_secs_f64() * 1_000.0 / hours as f64;
        for statement in [
            "VACUUM (ANALYZE) plain_samples",
            "VACUUM (ANALYZE) metric_hours",
            "VACUUM (ANALYZE) metric_rollups",
            "VACUUM (ANALYZE) process_names",
            "CHECKPOINT",
        ] {
            sqlx::query(statement).execute(&mut owner).await?;
        }
        let samples: i64 =
            sqlx::query_scalar("SELECT sum(samples) FROM metric_hours").fetch_one(&mut owner).await?;
        let plain: i64 =
            sqlx::query_scalar("SELECT count(*) FROM plain_samples").fetch_one(&mut owner).await?;
        anyhow::ensure!(
            samples == plain,
            "{samples} samples are packed, and {plain} stand in the plain table"
        );
        Ok(Sizes {
            samples,
            ours_bytes: plain::bytes(&mut owner, &["metric_hours", "metric_rollups", "process_names"])
                .await?,
            theirs_bytes: plain::bytes(&mut owner, &["plain_samples"]).await?,
            pack_milliseconds,
        })
    }

    fn hours(&self) -> impl Iterator<Item = DateTime<Utc>> + use<> {
        let end = self.end;
        (1..=DAYS * 24).rev().map(move |hour| end - TimeDelta::hours(hour))
    }

    /// Minute by minute over all machines, as samples come in.
    async fn write_plain(&self, owner: &mut PgConnection) -> anyhow::Result<()> {
        let (send, mut lines) = mpsc::channel::<String>(8);
        for part in 0..2 {
            let (machines, nums, send) = (Arc::clone(&self.machines), self.nums.clone(), send.clone());
            let (tenant, hours) = (self.tenant.to_string(), self.hours());
            std::thread::spawn(move || {
                for hour in hours.skip(part).step_by(2) {
                    for minute in 0..60 {
                        let mut text = String::with_capacity(machines.len() * 4_096);
                        for (machine, num) in machines.iter().zip(&nums) {
                            plain::copy_line(&mut text, &tenant, *num, &sample(machine, hour, minute));
                        }
                        if send.blocking_send(text).is_err() {
                            return;
                        }
                    }
                }
            });
        }
        drop(send);
        let mut copy = owner.copy_in_raw(plain::COPY).await?;
        while let Some(text) = lines.recv().await {
            copy.send(text.into_bytes()).await?;
        }
        copy.finish().await?;
        Ok(())
    }

    /// Hour by hour over all machines, as the job packs them; how many hours of machines that were.
    async fn write_history(&self) -> anyhow::Result<usize> {
        self.db.ensure_metric_partitions(self.end - TimeDelta::days(DAYS), self.end).await?;
        // By one writer, as there: what processes are called is written once per partner.
        let scope = Scope::system("bench", self.tenant);
        let mut packed = 0;
        let machines: Vec<_> = self.machines.iter().zip(&self.nums).collect();
        for hour in self.hours() {
            for machines in machines.chunks(30) {
                let mut tx = self.db.begin_history(&scope).await?;
                for (machine, num) in machines {
                    let samples = (0..60).map(|minute| sample(machine, hour, minute));
                    let samples = samples.map(|sample| (sample.disk_percent(), sample.into())).collect();
                    let hour = Hour { num: **num, retention_days: CLASS, hour, samples: 60 };
                    history::add(&mut tx, &hour, samples).await?;
                    packed += 1;
                }
                tx.commit().await?;
            }
        }
        Ok(packed)
    }

    /// Reads every sample of one machine's last day, and the chart of another one's, from both, so many times each; `round`
    /// chooses which machines, and who is first.
    ///
    /// # Errors
    /// When PostgreSQL does not answer, or the two do not tell the same.
    pub async fn read(&self, round: usize, times: usize) -> anyhow::Result<[Vec<Times>; 2]> {
        let mut owner = self.options.clone().connect().await?;
        // What is cold is what is read, and not the connection or the catalogues.
        for (level, step) in READS {
            self.read_ours(0, level, step).await?;
            self.read_theirs(&mut owner, 0, level, step).await?;
        }
        let mut all = [Vec::new(), Vec::new()];
        for (at, ((level, step), all)) in READS.into_iter().zip(&mut all).enumerate() {
            for time in 0..times {
                // Twenty machines in turns: what was read once is in memory, and none was looked at just before.
                let machine = round * 37 + at * 11 + 5 + time % 20;
                let num = *self.nums.get(machine % self.nums.len()).context("no machines")?;
                let (mut ours, mut theirs) = (0, 0);
                let mut taken = Times::default();
                for turn in 0..2 {
                    let began = Instant::now();
                    if (turn + round + time).is_multiple_of(2) {
                        ours = self.read_ours(num, level, step).await?;
                        taken.ours_milliseconds = began.elapsed().as_secs_f64() * 1_000.0;
                    } else {
                        theirs = self.read_theirs(&mut owner, num, level, step).await?;
                        taken.theirs_milliseconds = began.elapsed().as_secs_f64() * 1_000.0;
                    }
                }
                anyhow::ensure!(ours == theirs && ours > 0, "{ours} points here, {theirs} there");
                all.push(taken);
            }
        }
        owner.close().await?;
        Ok(all)
    }

    async fn read_ours(&self, num: i64, level: Level, step: i64) -> anyhow::Result<usize> {
        let scope = Scope::system("bench", self.tenant);
        let mut tx = self.db.begin_to_read_history(&scope).await?;
        let place = Place { tenant_id: self.tenant, num };
        let (from, to) = (self.end - TimeDelta::days(1), self.end);
        Ok(history::buckets(&mut tx, place, level, from, to, step).await?.len())
    }

    async fn read_theirs(
        &self,
        owner: &mut PgConnection,
        num: i64,
        level: Level,
        step: i64,
    ) -> anyhow::Result<usize> {
        let (from, to) = (self.end - TimeDelta::days(1), self.end);
        if level != Level::Samples {
            return Ok(plain::chart(owner, num, from, to, step as f64).await?);
        }
        let mut buckets = Buckets::new();
        rollup::collect(&mut buckets, &plain::figures(owner, num, from, to).await?, step);
        Ok(buckets.len())
    }

    /// When the last hour ends.
    pub fn end(&self) -> DateTime<Utc> {
        self.end
    }
}

fn sample(machine: &Machine, hour: DateTime<Utc>, minute: i64) -> gururmm_protocol::metrics::Sample {
    // No two machines measure at the same moment, and none to the millisecond.
    let offset = TimeDelta::milliseconds((machine.number as i64 * 7_919 + minute * 13) % 50_000);
    machine.sample(hour + TimeDelta::minutes(minute) + offset, TimeDelta::seconds(60), true)
}
