//! Roll-ups: what many samples come to. Two of them come to what all their samples would, so an average of averages is
//! weighted by what it stands for, and a peak stays a peak in a chart of years.

use super::columns::{PackError, Reader, Writer};
use super::pack::Figures;
use std::collections::BTreeMap;

/// One figure of some samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stat {
    /// Samples that have the figure.
    pub count: u64,
    pub sum: f64,
    pub least: f32,
    pub most: f32,
}

impl Default for Stat {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, least: f32::INFINITY, most: f32::NEG_INFINITY }
    }
}

impl Stat {
    /// Of one value.
    pub fn of(value: f32) -> Self {
        Self { count: 1, sum: f64::from(value), least: value, most: value }
    }

    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.least = self.least.min(other.least);
        self.most = self.most.max(other.most);
    }

    /// `None` where no sample has it.
    pub fn average(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// Least and most.
    pub fn range(&self) -> Option<(f64, f64)> {
        (self.count > 0).then(|| (f64::from(self.least), f64::from(self.most)))
    }
}

/// How many figures a bucket has.
pub const STATS: usize = 6;
/// Where they stand.
pub const CPU: usize = 0;
pub const MEMORY: usize = 1;
pub const DISK: usize = 2;
pub const LOAD: usize = 3;
/// Of bytes a second: `sum` is of bytes, over [`Bucket::seconds`].
pub const RX: usize = 4;
pub const TX: usize = 5;

/// What some samples come to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bucket {
    pub samples: u64,
    /// The time that traffic was counted in.
    pub seconds: f64,
    pub stats: [Stat; STATS],
}

impl Bucket {
    /// Of one sample.
    pub fn of(figures: &Figures) -> Self {
        let seconds = f64::from(figures.interval_seconds);
        let memory = (figures.memory_total_bytes > 0)
            .then(|| 100.0 * figures.memory_used_bytes as f64 / figures.memory_total_bytes as f64);
        let percent = |value: Option<f32>| value.map(Stat::of).unwrap_or_default();
        // Without a length of time there is no rate.
        let rate = |bytes: i64| {
            let rate = (seconds > 0.0).then(|| Stat::of((bytes as f64 / seconds) as f32));
            Stat { sum: bytes as f64, ..rate.unwrap_or_default() }
        };
        let memory = memory.map(|share| Stat { sum: share, ..Stat::of(share as f32) }).unwrap_or_default();
        Self {
            samples: 1,
            seconds,
            stats: [
                Stat::of(figures.cpu_percent),
                memory,
                percent(figures.disk_percent),
                percent(figures.load_1),
                rate(figures.rx_bytes),
                rate(figures.tx_bytes),
            ],
        }
    }

    /// Adds what others come to.
    pub fn add(&mut self, other: &Self) {
        self.samples += other.samples;
        self.seconds += other.seconds;
        self.stats.iter_mut().zip(&other.stats).for_each(|(own, other)| own.add(*other));
    }

    /// Bytes a second, over all the time they were counted in.
    pub fn rate(&self, of: usize) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.stats[of].sum / self.seconds)
    }
}

/// Buckets by when they begin, in seconds since 1970.
pub type Buckets = BTreeMap<i64, Bucket>;

/// Adds samples to the buckets of `step` seconds that they fall into.
pub fn collect<'a>(into: &mut Buckets, figures: impl IntoIterator<Item = &'a Figures>, step: i64) {
    for figures in figures {
        put(into, figures.t.timestamp(), &Bucket::of(figures), step);
    }
}

/// Adds a smaller bucket to the one that it falls into.
pub fn put(into: &mut Buckets, at: i64, bucket: &Bucket, step: i64) {
    into.entry(floor(at, step)).or_default().add(bucket);
}

/// When the bucket begins that a second falls into.
pub fn floor(second: i64, step: i64) -> i64 {
    second.div_euclid(step) * step
}

/// Packs buckets.
pub fn pack(buckets: &Buckets) -> Result<Vec<u8>, PackError> {
    let mut to = Writer::default();
    to.count(buckets.len());
    to.even(buckets.keys().copied());
    to.deltas(buckets.values().map(|bucket| bucket.samples.cast_signed()));
    to.bits64(buckets.values().map(|bucket| bucket.seconds.to_bits()));
    for stat in 0..STATS {
        let of = || buckets.values().map(|bucket| bucket.stats[stat]);
        to.deltas(of().map(|stat| stat.count.cast_signed()));
        to.bits64(of().map(|stat| stat.sum.to_bits()));
        to.bits32(of().map(|stat| stat.least.to_bits()));
        to.bits32(of().map(|stat| stat.most.to_bits()));
    }
    to.finish()
}

/// Reads what [`pack`] wrote.
pub fn unpack(packed: &[u8]) -> Result<Buckets, PackError> {
    let mut from = Reader::new(packed)?;
    let count = from.count()?;
    let starts = from.even(count)?;
    let samples = from.deltas(count)?;
    let seconds = from.bits64(count)?;
    let mut buckets: Vec<Bucket> = samples
        .iter()
        .zip(&seconds)
        .map(|(samples, seconds)| Bucket {
            samples: samples.cast_unsigned(),
            seconds: f64::from_bits(*seconds),
            ..Bucket::default()
        })
        .collect();
    for stat in 0..STATS {
        let counts = from.deltas(count)?;
        let sums = from.bits64(count)?;
        let (least, most) = (from.bits32(count)?, from.bits32(count)?);
        for (at, bucket) in buckets.iter_mut().enumerate() {
            bucket.stats[stat] = Stat {
                count: counts[at].cast_unsigned(),
                sum: f64::from_bits(sums[at]),
                least: f32::from_bits(least[at]),
                most: f32::from_bits(most[at]),
            };
        }
    }
    Ok(starts.into_iter().zip(buckets).collect())
}
