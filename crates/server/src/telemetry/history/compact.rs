//! The job that packs: an hour that is over leaves the table of loose samples, becomes one packed row, and is rolled up, in
//! one transaction. A sample that comes later opens its hour again, and the next round packs it with what is there.

use super::pack::{self, Details, Figures, Seen};
use super::read::{rolled_up, row_start, time, total};
use super::{Hour, Level, Name, rollup, store};
use crate::app::App;
use crate::auth::Scope;
use crate::auth::permission::System;
use crate::db::Tx;
use crate::error::Error;
use crate::jobs;
use crate::telemetry::store::RawSample;
use crate::telemetry::{Processes, Sample};
use chrono::{DateTime, TimeDelta, Utc};
use std::collections::{BTreeMap, HashMap, HashSet};
use uuid::Uuid;

/// Names the job in the log, and its lock.
pub const JOB: &str = "history";
/// How long an hour that is over waits for its last samples.
const GRACE: TimeDelta = TimeDelta::minutes(10);
/// Agents that are looked at together.
const AGENTS: i64 = 100;
/// Hours of those agents.
const HOURS: i64 = 2_000;
/// Loose samples of one transaction: what it holds in memory, and what a stop has to wait for.
const SAMPLES: i64 = 2_000;
/// Most samples of an agent and hour that are kept: the shortest interval makes half as many. Of more, one in
/// [`THINNED_TO`] seconds stays.
const MOST_AN_HOUR: i64 = 720;
const THINNED_TO: i64 = 5;
/// Names are kept longer than needed, so that they are seldom written again.
const NAMES_LAST: TimeDelta = TimeDelta::days(14);
/// A partition lasts a month at most, and goes when all of it is over.
const PARTITION_LASTS: TimeDelta = TimeDelta::days(32);

/// Goes through all partners, one at a time.
pub async fn keep(app: &App, now: DateTime<Utc>) -> Result<(), Error> {
    for tenant in app.db.list_tenants().await? {
        jobs::by_itself(JOB, tenant, keep_tenant(app, tenant, now).await);
    }
    Ok(())
}

async fn keep_tenant(app: &App, tenant: Uuid, now: DateTime<Utc>) -> Result<(), Error> {
    let scope = Scope::system(JOB, tenant);
    let until = time(rollup::floor((now - GRACE).timestamp(), 3_600));
    let mut tx = app.db.begin_history(&scope).await?;
    let waiting = store::all_waiting(&mut tx, until).await?;
    store::note_progress(&mut tx, waiting, now).await?;
    tx.commit().await?;
    let mut round = Round { app, scope, until, days: HashSet::new(), failed: Vec::new() };
    if waiting.0 > 0 {
        round.pack_all().await?;
    }
    let failed = i64::try_from(round.failed.len()).unwrap_or(i64::MAX);
    let mut tx = app.db.begin_history(&round.scope).await?;
    store::note_progress(&mut tx, (failed, round.failed.into_iter().min()), now).await?;
    store::prune_names(&mut tx, now).await?;
    tx.commit().await
}

/// One look at one partner.
struct Round<'a> {
    app: &'a App,
    scope: Scope<System>,
    /// Hours before this one are over.
    until: DateTime<Utc>,
    /// Days that are known to have partitions.
    days: HashSet<i64>,
    /// What could not be packed.
    failed: Vec<DateTime<Utc>>,
}

impl Round<'_> {
    async fn pack_all(&mut self) -> Result<(), Error> {
        let mut after = 0;
        loop {
            let mut tx = self.app.db.begin_history(&self.scope).await?;
            let agents = store::agents_after(&mut tx, after, self.until, AGENTS).await?;
            drop(tx);
            let Some(last) = agents.last().copied() else { return Ok(()) };
            after = last;
            while self.pack(&agents).await? {}
        }
    }

    /// Packs what waits of some agents; whether there may be more.
    async fn pack(&mut self, agents: &[i64]) -> Result<bool, Error> {
        let mut tx = self.app.db.begin_history(&self.scope).await?;
        let waiting = store::waiting(&mut tx, agents, self.until, HOURS).await?;
        drop(tx);
        let (mut done, mut failed) = (0, Vec::new());
        let mut rest = waiting.as_slice();
        while !rest.is_empty() {
            let mut samples = 0;
            let fits = |hour: &&Hour| {
                samples += hour.samples;
                samples <= SAMPLES
            };
            let (part, behind) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            rest = behind;
            for hour in part {
                if self.days.insert(rollup::floor(hour.hour.timestamp(), 86_400)) {
                    self.app.db.ensure_metric_partitions(hour.hour, hour.hour).await?;
                }
            }
            if pack_hours(self.app, &self.scope, part).await.is_ok() {
                done += part.len();
                continue;
            }
            // What cannot be packed must not keep the others out; it stays where it is.
            for hour in part {
                match pack_hours(self.app, &self.scope, std::slice::from_ref(hour)).await {
                    Ok(()) => done += 1,
                    Err(error) => {
                        let cause = std::error::Error::source(&error).map(ToString::to_string);
                        let (num, hour) = (hour.num, hour.hour);
                        tracing::warn!(num, %hour, %error, cause, "an hour could not be packed");
                        failed.push(hour);
                    }
                }
            }
        }
        // Where nothing could be done, the next look would find the same.
        let is_more = done > 0 && i64::try_from(waiting.len()).is_ok_and(|found| found == HOURS);
        if !is_more {
            self.failed.extend(failed);
        }
        Ok(is_more)
    }
}

async fn pack_hours(app: &App, scope: &Scope<System>, hours: &[Hour]) -> Result<(), Error> {
    let mut tx = app.db.begin_history(scope).await?;
    store::lock(&mut tx).await?;
    let (mut samples, mut thinned) = (0, 0);
    for hour in hours {
        if hour.samples > MOST_AN_HOUR {
            thinned += store::thin(&mut tx, hour, THINNED_TO).await?;
        }
        let (came, too_many) = pack_hour(&mut tx, hour).await?;
        samples += came;
        thinned += too_many;
    }
    tx.commit().await?;
    if thinned > 0 {
        tracing::warn!(thinned, "machines sent more samples in an hour than are kept");
    }
    let counters = &app.counters;
    counters.hours_packed.add(hours.len() as u64);
    counters.samples_packed.add(samples as u64);
    counters.samples_thinned.add(thinned);
    Ok(())
}

/// Packs the loose samples of an hour; answers how many they were, and how many of the hour's were too many.
async fn pack_hour(tx: &mut Tx<System>, hour: &Hour) -> Result<(usize, u64), Error> {
    let taken = store::take(tx, hour).await?;
    let samples: Vec<_> = taken.into_iter().map(|raw| (raw.disk_percent, Sample::from(raw))).collect();
    let came = samples.len();
    Ok((came, add(tx, hour, samples).await?))
}

/// Packs samples of an hour, each with how full its fullest disk is, together with what was packed of it before, and rolls
/// the hour up. Answers how many were too many for an hour.
pub async fn add(
    tx: &mut Tx<System>,
    hour: &Hour,
    samples: Vec<(Option<f32>, Sample)>,
) -> Result<u64, Error> {
    if samples.is_empty() {
        return Ok(0);
    }
    let mut all = BTreeMap::new();
    if let Some((figures, details)) = store::packed(tx, hour).await? {
        let details = pack::unpack_details(&details)?;
        all.extend(pack::unpack_figures(&figures)?.into_iter().zip(details).map(|both| (both.0.t, both)));
    }
    for both in with_ids(tx, hour, samples).await? {
        // What is there already stays as it is: the agent sent it again.
        all.entry(both.0.t).or_insert(both);
    }
    let found = all.len();
    if i64::try_from(found).is_ok_and(|found| found > MOST_AN_HOUR) {
        let mut last = None;
        all.retain(|time, _| {
            let slot = Some(rollup::floor(time.timestamp(), THINNED_TO));
            std::mem::replace(&mut last, slot) != slot
        });
    }
    let thinned = (found - all.len()) as u64;
    let (figures, details): (Vec<Figures>, Vec<Details>) = all.into_values().unzip();
    let first_at = figures.first().map_or(hour.hour, |figures| figures.t);
    let hour = Hour { samples: i64::try_from(figures.len()).unwrap_or(i64::MAX), ..*hour };
    let (packed, packed_details) = (pack::pack_figures(&figures)?, pack::pack_details(&details)?);
    store::put_packed(tx, &hour, first_at, &packed, &packed_details).await?;
    roll_up(tx, &hour, &figures).await?;
    Ok(thinned)
}

/// The hour's own buckets, then its place in the day's, then the day's in the month's.
async fn roll_up(tx: &mut Tx<System>, hour: &Hour, figures: &[Figures]) -> Result<(), Error> {
    let mut buckets = rolled_up(figures, Level::FiveMinutes);
    let mut starts_at = hour.hour;
    store::put_rollup(tx, hour, Level::FiveMinutes, starts_at, &rollup::pack(&buckets)?).await?;
    for level in [Level::Hours, Level::Days] {
        let own = rollup::floor(starts_at.timestamp(), level.seconds());
        let row = row_start(level, starts_at);
        let bucket = total(&buckets);
        buckets = match store::rollup(tx, hour, level, row).await? {
            Some(packed) => rollup::unpack(&packed)?,
            None => rollup::Buckets::new(),
        };
        buckets.insert(own, bucket);
        store::put_rollup(tx, hour, level, row, &rollup::pack(&buckets)?).await?;
        starts_at = row;
    }
    Ok(())
}

/// Samples whose processes are named by ids.
async fn with_ids(
    tx: &mut Tx<System>,
    hour: &Hour,
    samples: Vec<(Option<f32>, Sample)>,
) -> Result<Vec<(Figures, Details)>, Error> {
    let mut names: HashMap<Name, i64> = HashMap::new();
    for process in samples.iter().flat_map(|(_, sample)| sample.top_cpu.iter().chain(&sample.top_memory)) {
        names.entry(name_of(process)).or_default();
    }
    let needed = hour.hour + TimeDelta::days(i64::from(hour.retention_days)) + PARTITION_LASTS;
    find_ids(tx, &mut names, needed).await?;
    Ok(samples.into_iter().map(|(disk_percent, sample)| split(sample, disk_percent, &names)).collect())
}

/// A sample as it is packed.
pub fn split(sample: Sample, disk_percent: Option<f32>, names: &HashMap<Name, i64>) -> (Figures, Details) {
    let seen = |process: &crate::telemetry::Process| Seen {
        pid: process.pid,
        name: names.get(&name_of(process)).copied().unwrap_or_default(),
        cpu_percent: process.cpu_percent,
        memory_bytes: process.memory_bytes,
    };
    let figures = Figures {
        t: sample.t,
        interval_seconds: sample.interval_seconds,
        cpu_percent: sample.cpu_percent,
        memory_used_bytes: sample.memory_used_bytes,
        memory_total_bytes: sample.memory_total_bytes,
        load_1: sample.load_1,
        disk_percent,
        rx_bytes: sample.rx_bytes,
        tx_bytes: sample.tx_bytes,
    };
    let details = Details {
        cpu_count: sample.cpu_count,
        swap_used_bytes: sample.swap_used_bytes,
        swap_total_bytes: sample.swap_total_bytes,
        load_5: sample.load_5,
        load_15: sample.load_15,
        uptime_seconds: sample.uptime_seconds,
        boot_time: sample.boot_time,
        logged_in_user: sample.logged_in_user,
        user_idle_seconds: sample.user_idle_seconds,
        public_ip: sample.public_ip,
        process_count: sample.process_count,
        top_cpu: sample.top_cpu.iter().map(seen).collect(),
        top_memory: sample.top_memory.iter().map(seen).collect(),
        sensors: sample.sensors.as_ref().map(crate::telemetry::Sensors::stored),
        disks: sample.disks,
    };
    (figures, details)
}

/// What a process is called.
pub fn name_of(process: &crate::telemetry::Process) -> Name {
    Name {
        name: process.name.clone(),
        user: process.user.clone(),
        command_line: process.command_line.clone(),
    }
}

/// Gives each name its id in the partner's list, where it stays at least until `needed`.
async fn find_ids(
    tx: &mut Tx<System>,
    names: &mut HashMap<Name, i64>,
    needed: DateTime<Utc>,
) -> Result<(), Error> {
    let digests: HashMap<Vec<u8>, Name> = names.keys().map(|name| (digest(name), name.clone())).collect();
    let mut ids: HashMap<Vec<u8>, i64> = HashMap::new();
    let mut short = Vec::new();
    let asked: Vec<Vec<u8>> = digests.keys().cloned().collect();
    for (digest, id, keep_until) in store::known_names(tx, &asked).await? {
        if keep_until < needed {
            short.push(id);
        }
        ids.insert(digest, id);
    }
    let new: Vec<(&Vec<u8>, &Name)> =
        digests.iter().filter(|(digest, _)| !ids.contains_key(*digest)).collect();
    let until = needed + NAMES_LAST;
    if !new.is_empty() {
        let added = store::add_names(tx, &new, until).await?;
        ids.extend(added);
    }
    if !short.is_empty() {
        store::keep_names(tx, &short, until).await?;
    }
    for (digest, name) in digests {
        if let (Some(id), Some(place)) = (ids.get(&digest), names.get_mut(&name)) {
            *place = *id;
        }
    }
    Ok(())
}

fn digest(name: &Name) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    for text in [&name.name, &name.user, &name.command_line] {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text.as_bytes());
    }
    hasher.finalize().as_bytes()[..16].to_vec()
}

/// What cannot be read any more is not shown, and is not kept.
impl From<RawSample> for Sample {
    fn from(raw: RawSample) -> Self {
        let processes: Processes = serde_json::from_str(&raw.processes).unwrap_or_default();
        let sensors = raw.sensors.and_then(|text| serde_json::from_str(&text).ok());
        Self {
            t: raw.taken_at,
            cpu_percent: raw.cpu_percent,
            cpu_count: raw.cpu_count,
            memory_used_bytes: raw.memory_used_bytes,
            memory_total_bytes: raw.memory_total_bytes,
            swap_used_bytes: raw.swap_used_bytes,
            swap_total_bytes: raw.swap_total_bytes,
            load_1: raw.load_1,
            load_5: raw.load_5,
            load_15: raw.load_15,
            uptime_seconds: raw.uptime_seconds,
            boot_time: raw.boot_time,
            logged_in_user: raw.logged_in_user,
            user_idle_seconds: raw.user_idle_seconds,
            public_ip: raw.public_ip,
            rx_bytes: raw.rx_bytes,
            tx_bytes: raw.tx_bytes,
            interval_seconds: raw.interval_seconds,
            disks: serde_json::from_str(&raw.disks).unwrap_or_default(),
            top_cpu: processes.cpu,
            top_memory: processes.memory,
            process_count: raw.process_count,
            sensors: sensors.map(|sensors: gururmm_protocol::sensors::Sensors| sensors.into()),
        }
    }
}
