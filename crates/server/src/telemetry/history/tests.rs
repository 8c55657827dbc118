//! Packing loses nothing, and roll-ups of roll-ups come to what their samples do.

use super::Name;
use super::columns::{Reader, Writer};
use super::compact::{name_of, split};
use super::pack::{self, Details, Figures};
use super::read::{rolled_up, sample, time, total};
use super::rollup::{self, Bucket, Buckets};
use super::{LEVELS, Level};
use crate::telemetry::{Disk, Process, Sample, Sensors};
use chrono::{DateTime, Utc};
use gururmm_protocol::sensors as wire;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use std::collections::HashMap;

fn any_float() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0_f32), Just(-0.0), Just(f32::MIN_POSITIVE), 0.0..100.0_f32, any::<f32>()]
}

/// Few different texts, as in life, and any at all.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("postgres".to_owned()), Just(String::new()), ".{0,12}"]
}

fn any_time() -> impl Strategy<Value = DateTime<Utc>> {
    (-60_000_000_000_000_000_i64..250_000_000_000_000_000)
        .prop_map(|micros| DateTime::from_timestamp_micros(micros).unwrap())
}

prop_compose! {
    fn process()(
        pid in prop_oneof![0_i64..5, any::<i64>()], name in text(), user in text(), cpu_percent in any_float(),
        memory_bytes in any::<i64>(), command_line in text(),
    ) -> Process {
        Process { pid, name, user, cpu_percent, memory_bytes, command_line }
    }
}

prop_compose! {
    fn disk()(
        mount in text(), device in text(), file_system in text(), used_bytes in any::<i64>(),
        total_bytes in prop_oneof![Just(7_i64), any::<i64>()],
    ) -> Disk {
        Disk { mount, device, file_system, used_bytes, total_bytes }
    }
}

fn sensor() -> impl Strategy<Value = wire::Sensor> {
    let kind = prop_oneof![
        Just(wire::SensorKind::Temperature),
        Just(wire::SensorKind::Fan),
        Just(wire::SensorKind::Voltage),
        Just(wire::SensorKind::Power),
        Just(wire::SensorKind::Current)
    ];
    let limits = (option::of(any_float()), option::of(any_float()), option::of(any_float()));
    (text(), text(), kind, any_float(), limits).prop_map(
        |(device, name, kind, value, (low, high, critical))| wire::Sensor {
            device,
            name,
            kind,
            value,
            low,
            high,
            critical,
        },
    )
}

fn sensors() -> impl Strategy<Value = Sensors> {
    (vec(sensor(), 0..4), any::<u32>(), option::of(text())).prop_map(|(readings, omitted, unavailable)| {
        Sensors::from(wire::Sensors { readings, omitted, unavailable })
    })
}

prop_compose! {
    fn machine()(
        (cpu_percent, interval_seconds, load_1, load_5, load_15) in
            (any_float(), any_float(), option::of(any_float()), option::of(any_float()), option::of(any_float())),
        (memory_used_bytes, memory_total_bytes, swap_used_bytes, swap_total_bytes, uptime_seconds, rx_bytes, tx_bytes) in
            any::<(i64, i64, i64, i64, i64, i64, i64)>(),
        (cpu_count, process_count, user_idle_seconds) in any::<(i32, i32, Option<i64>)>(),
        (t, boot_time) in (any_time(), option::of(any_time())),
        (logged_in_user, public_ip) in (option::of(text()), option::of(text())),
        disks in vec(disk(), 0..4), top_cpu in vec(process(), 0..6), others in vec(process(), 0..4),
        shared in 0_usize..6, sensors in option::of(sensors()),
    ) -> Sample {
        // Most stand in both lists.
        let top_memory = top_cpu.iter().rev().take(shared).cloned().chain(others).collect();
        Sample {
            t, cpu_percent, cpu_count, memory_used_bytes, memory_total_bytes, swap_used_bytes, swap_total_bytes, load_1,
            load_5, load_15, uptime_seconds, boot_time, logged_in_user, user_idle_seconds, public_ip, rx_bytes, tx_bytes,
            interval_seconds, disks, top_cpu, top_memory, process_count, sensors,
        }
    }
}

/// As bits: a sample with NaN in it is to be itself, and 0 not to be -0. (The text of a float is one of it alone.)
fn exact(samples: &[Sample]) -> String {
    format!("{samples:?}")
}

fn packed_and_read(samples: &[Sample]) -> Vec<Sample> {
    let mut names: HashMap<Name, i64> = HashMap::new();
    for process in samples.iter().flat_map(|sample| sample.top_cpu.iter().chain(&sample.top_memory)) {
        let next = names.len() as i64 + 1;
        names.entry(name_of(process)).or_insert(next);
    }
    let (figures, details): (Vec<Figures>, Vec<Details>) =
        samples.iter().cloned().map(|sample| split(sample, None, &names)).unzip();
    let figures = pack::unpack_figures(&pack::pack_figures(&figures).unwrap()).unwrap();
    let details = pack::unpack_details(&pack::pack_details(&details).unwrap()).unwrap();
    let names = names.into_iter().map(|(name, id)| (id, name)).collect();
    figures.into_iter().zip(details).map(|(figures, details)| sample(figures, details, &names)).collect()
}

prop_compose! {
    fn figures()(
        second in 0_i64..86_400, interval_seconds in prop_oneof![Just(0.0_f32), Just(60.0), 1.0..100.0_f32],
        cpu_percent in 0.0..100.0_f32, memory_used_bytes in 0_i64..100, memory_total_bytes in 0_i64..200,
        load_1 in option::of(0.0..9.0_f32), disk_percent in option::of(0.0..100.0_f32), rx_bytes in 0_i64..1_000_000,
        tx_bytes in 0_i64..1_000_000,
    ) -> Figures {
        let t = time(1_790_000_000 + second);
        Figures {
            t, interval_seconds, cpu_percent, memory_used_bytes, memory_total_bytes, load_1, disk_percent, rx_bytes, tx_bytes,
        }
    }
}

fn same(one: &Bucket, other: &Bucket) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0);
    let stats = one.stats.iter().zip(&other.stats);
    (one.samples == other.samples && near(one.seconds, other.seconds))
        && stats.into_iter().all(|(a, b)| {
            (a.count, a.least.to_bits(), a.most.to_bits()) == (b.count, b.least.to_bits(), b.most.to_bits())
                && near(a.sum, b.sum)
        })
}

proptest! {
    #[test]
    fn whatever_a_machine_measures_comes_back_to_the_bit(samples in vec(machine(), 0..20)) {
        prop_assert_eq!(exact(&packed_and_read(&samples)), exact(&samples));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(mut bytes in vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(),
        samples in vec(machine(), 1..4)) {
        let _refused = (pack::unpack_figures(&bytes).is_err(), pack::unpack_details(&bytes).is_err());
        // What was packed, with one byte of it wrong, in the clear: behind the compression, which has its own checks.
        let details: Vec<Details> = samples.into_iter().map(|sample| split(sample, None, &HashMap::new()).1).collect();
        let mut clear = zstd::bulk::decompress(&pack::pack_details(&details).unwrap()[1..], 1 << 24).unwrap();
        let place = at.index(clear.len());
        clear[place] ^= bytes.pop().unwrap_or(0x80) | 1;
        let mut packed = vec![1];
        packed.extend(zstd::bulk::compress(&clear, 1).unwrap());
        let _read = pack::unpack_details(&packed);
    }

    #[test]
    fn roll_ups_of_roll_ups_come_to_what_their_samples_do(all in vec(figures(), 1..200)) {
        let mut whole = Bucket::default();
        all.iter().for_each(|figures| whole.add(&Bucket::of(figures)));
        for level in LEVELS {
            let buckets = rolled_up(&all, level);
            prop_assert!(same(&total(&buckets), &whole), "{level:?}");
            let packed = rollup::unpack(&rollup::pack(&buckets).unwrap()).unwrap();
            prop_assert_eq!(&packed, &buckets);
            // Finer ones, put together to this level, are this level's own.
            let mut coarser = Buckets::new();
            for (at, bucket) in rolled_up(&all, Level::FiveMinutes) {
                rollup::put(&mut coarser, at, &bucket, level.seconds().max(300));
            }
            if level != Level::Samples {
                prop_assert!(coarser.keys().eq(buckets.keys()));
                prop_assert!(coarser.values().zip(buckets.values()).all(|(one, other)| same(one, other)));
            }
        }
    }
}

#[test]
fn columns_hold_the_ends_of_their_types() {
    let numbers = [i64::MIN, i64::MAX, 0, -1, i64::MIN, i64::MAX];
    let mut to = Writer::default();
    to.deltas(numbers);
    to.even(numbers);
    to.keyed(numbers.into_iter().map(|number| (number % 2, number)));
    to.bits64([u64::MAX, 0, 1]);
    let mut from = Reader::new(&to.finish().unwrap()).unwrap();
    assert_eq!(from.deltas(6).unwrap(), numbers);
    assert_eq!(from.even(6).unwrap(), numbers);
    assert_eq!(from.keyed(numbers.map(|number| number % 2)).unwrap(), numbers);
    assert_eq!(from.bits64(3).unwrap(), [u64::MAX, 0, 1]);
    assert!(from.deltas(1).is_err(), "there is nothing behind the end");
}

#[test]
fn a_version_that_is_not_known_is_refused() {
    let mut packed = pack::pack_figures(&[]).unwrap();
    packed[0] = 2;
    assert!(pack::unpack_figures(&packed).is_err());
}
