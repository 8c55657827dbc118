//! Reading history: what is packed and what is not yet, as one. A sample may stand in both for a while, when its agent sent it
//! again; it counts once.

use super::pack::{self, Details, Figures, Seen};
use super::rollup::{self, Bucket, Buckets, floor};
use super::{Level, Name, Place, store};
use crate::db::Tx;
use crate::error::Error;
use crate::telemetry::{Process, Sample, Sensors};
use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Utc};
use std::collections::{BTreeSet, HashMap};

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;

/// What the machine measured from `from` up to `to`, in buckets of `step` seconds, which is a multiple of the level's. Hours
/// that have loose samples come from samples, whatever the level, so that what came late is there at once. At a roll-up's
/// level the first and the last of its buckets are whole.
pub async fn buckets<P>(
    tx: &mut Tx<P>,
    place: Place,
    level: Level,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    step: i64,
) -> Result<Buckets, Error> {
    let mut buckets = Buckets::new();
    if level == Level::Samples {
        rollup::collect(&mut buckets, &figures(tx, place, from, to).await?, step);
        return Ok(buckets);
    }
    let (from, to) = whole(level, from, to);
    let loose = store::loose_figures(tx, place, from, to).await?;
    let open: BTreeSet<i64> = loose.iter().map(|figures| floor(figures.t.timestamp(), HOUR)).collect();
    let mut put = |packed: Vec<Vec<u8>>, within: &dyn Fn(i64) -> bool| -> Result<(), Error> {
        for packed in packed {
            for (at, bucket) in rollup::unpack(&packed)? {
                if (from.timestamp()..to.timestamp()).contains(&at) && within(at) {
                    rollup::put(&mut buckets, at, &bucket, step);
                }
            }
        }
        Ok(())
    };
    let rollups = store::rollups(tx, place, level, row_start(level, from), to).await?;
    if level == Level::Days {
        let days: BTreeSet<i64> = open.iter().map(|hour| floor(*hour, DAY)).collect();
        put(rollups, &|day| !days.contains(&day))?;
        if let (Some(first), Some(last)) = (days.first(), days.last()) {
            let (first, last) = (time(*first), time(last + DAY));
            let hours = store::rollups(tx, place, Level::Hours, first, last).await?;
            put(hours, &|hour| days.contains(&floor(hour, DAY)) && !open.contains(&hour))?;
        }
    } else {
        put(rollups, &|at| !open.contains(&floor(at, HOUR)))?;
    }
    let packed = match (open.first(), open.last()) {
        (Some(first), Some(last)) => {
            store::packed_figures(tx, place, time(*first), time(last + HOUR)).await?
        }
        _ => Vec::new(),
    };
    let packed = packed.into_iter().filter(|(hour, _)| open.contains(&hour.timestamp()));
    rollup::collect(&mut buckets, &joined(packed, loose, from, to)?, step);
    Ok(buckets)
}

/// Figures of all samples from `from` up to `to`, in the order of time.
async fn figures<P>(
    tx: &mut Tx<P>,
    place: Place,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Figures>, Error> {
    let loose = store::loose_figures(tx, place, from, to).await?;
    let packed = store::packed_figures(tx, place, time(floor(from.timestamp(), HOUR)), to).await?;
    joined(packed, loose, from, to)
}

/// Of two samples of one moment the packed one counts: it was there first.
fn joined(
    packed: impl IntoIterator<Item = (DateTime<Utc>, Vec<u8>)>,
    loose: Vec<Figures>,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Figures>, Error> {
    let mut all = Vec::new();
    for (_, packed) in packed {
        all.extend(pack::unpack_figures(&packed)?.into_iter().filter(|f| f.t >= from && f.t < to));
    }
    all.extend(loose);
    all.sort_by_key(|figures| figures.t);
    all.dedup_by_key(|figures| figures.t);
    Ok(all)
}

/// The newest sample at or before a time.
pub async fn sample_at<P>(
    tx: &mut Tx<P>,
    place: Place,
    time: DateTime<Utc>,
) -> Result<Option<Sample>, Error> {
    // Before the packed ones: what is packed in between is found there then, and not the other way round.
    let loose = super::super::store::loose_sample_at(tx, place, time).await?;
    let mut newest: Option<(Figures, Details)> = None;
    for (figures, details) in store::hours_before(tx, place, time).await? {
        let all = pack::unpack_figures(&figures)?;
        let Some(at) = all.iter().rposition(|figures| figures.t <= time) else { continue };
        if newest.as_ref().is_none_or(|(before, _)| before.t < all[at].t)
            && let Some(details) = pack::unpack_details(&details)?.into_iter().nth(at)
        {
            newest = Some((all[at], details));
        }
    }
    match (loose, newest) {
        (Some(loose), Some((figures, _))) if figures.t < loose.t => Ok(Some(loose)),
        (loose, None) => Ok(loose),
        (_, Some((figures, details))) => {
            let ids = pack::names(std::slice::from_ref(&details));
            let names = store::names(tx, place.tenant_id, &ids).await?.into_iter().collect();
            Ok(Some(sample(figures, details, &names)))
        }
    }
}

/// A sample as it was before it was packed.
pub(super) fn sample(figures: Figures, details: Details, names: &HashMap<i64, Name>) -> Sample {
    let process = |seen: Seen| {
        let unknown = Name { name: String::new(), user: String::new(), command_line: String::new() };
        let Name { name, user, command_line } = names.get(&seen.name).cloned().unwrap_or(unknown);
        Process {
            pid: seen.pid,
            name,
            user,
            cpu_percent: seen.cpu_percent,
            memory_bytes: seen.memory_bytes,
            command_line,
        }
    };
    Sample {
        t: figures.t,
        cpu_percent: figures.cpu_percent,
        cpu_count: details.cpu_count,
        memory_used_bytes: figures.memory_used_bytes,
        memory_total_bytes: figures.memory_total_bytes,
        swap_used_bytes: details.swap_used_bytes,
        swap_total_bytes: details.swap_total_bytes,
        load_1: figures.load_1,
        load_5: details.load_5,
        load_15: details.load_15,
        uptime_seconds: details.uptime_seconds,
        boot_time: details.boot_time,
        logged_in_user: details.logged_in_user,
        user_idle_seconds: details.user_idle_seconds,
        public_ip: details.public_ip,
        rx_bytes: figures.rx_bytes,
        tx_bytes: figures.tx_bytes,
        interval_seconds: figures.interval_seconds,
        disks: details.disks,
        top_cpu: details.top_cpu.into_iter().map(process).collect(),
        top_memory: details.top_memory.into_iter().map(process).collect(),
        process_count: details.process_count,
        sensors: details.sensors.map(Sensors::from),
    }
}

/// Mean use of the processors of machines in the two hours before and after a moment of each; `None` where there are no
/// samples on either side. The ten minutes after the moment count for neither.
pub async fn cpu_around<P>(
    tx: &mut Tx<P>,
    machines: &[(i64, DateTime<Utc>)],
) -> Result<Option<(f64, f64)>, Error> {
    let (nums, moments): (Vec<i64>, Vec<DateTime<Utc>>) = machines.iter().copied().unzip();
    let [mut before, mut after] = store::loose_cpu_around(tx, &nums, &moments).await?;
    for (place, packed) in store::packed_around(tx, &nums, &moments).await? {
        let Some(moment) = moments.get(place).copied() else { continue };
        for figures in pack::unpack_figures(&packed)? {
            let since = figures.t - moment;
            if since.abs() > TimeDelta::hours(2) {
                continue;
            }
            let side = match since {
                since if since < TimeDelta::zero() => &mut before,
                since if since > TimeDelta::minutes(10) => &mut after,
                _ => continue,
            };
            *side = (side.0 + 1, side.1 + f64::from(figures.cpu_percent));
        }
    }
    let mean = |(count, sum): (i64, f64)| (count > 0).then(|| sum / count as f64);
    Ok(mean(before).zip(mean(after)))
}

/// The whole buckets of a level that a span touches.
fn whole(level: Level, from: DateTime<Utc>, to: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    let step = level.seconds();
    let end = to.timestamp() + i64::from(to.timestamp_subsec_nanos() > 0);
    (time(floor(from.timestamp(), step)), time(floor(end + step - 1, step)))
}

/// When the row of a level begins that a time falls into.
pub(super) fn row_start(level: Level, at: DateTime<Utc>) -> DateTime<Utc> {
    match level {
        Level::Samples | Level::FiveMinutes => time(floor(at.timestamp(), HOUR)),
        Level::Hours => time(floor(at.timestamp(), DAY)),
        Level::Days => {
            Utc.with_ymd_and_hms(at.year(), at.month(), 1, 0, 0, 0).single().unwrap_or_else(|| {
                // A month has a first day.
                time(floor(at.timestamp(), DAY))
            })
        }
    }
}

pub(super) fn time(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(second, 0).unwrap_or_default()
}

/// What the samples of an hour come to at a level.
pub(super) fn rolled_up(figures: &[Figures], level: Level) -> Buckets {
    let mut buckets = Buckets::new();
    rollup::collect(&mut buckets, figures, level.seconds());
    buckets
}

/// All buckets together.
pub(super) fn total(buckets: &Buckets) -> Bucket {
    let mut all = Bucket::default();
    buckets.values().for_each(|bucket| all.add(bucket));
    all
}
