//! The samples of an hour as two sets of packed columns: the figures that charts draw, and the details of a moment. Both are in
//! the order of time.

use super::columns::{PackError, Reader, Table, Writer};
use crate::telemetry::Disk;
use chrono::{DateTime, Utc};
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};

/// What charts draw of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub t: DateTime<Utc>,
    pub interval_seconds: f32,
    pub cpu_percent: f32,
    pub memory_used_bytes: i64,
    pub memory_total_bytes: i64,
    pub load_1: Option<f32>,
    /// Of the fullest disk.
    pub disk_percent: Option<f32>,
    pub rx_bytes: i64,
    pub tx_bytes: i64,
}

/// The rest of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Details {
    pub cpu_count: i32,
    pub swap_used_bytes: i64,
    pub swap_total_bytes: i64,
    pub load_5: Option<f32>,
    pub load_15: Option<f32>,
    pub uptime_seconds: i64,
    pub boot_time: Option<DateTime<Utc>>,
    pub logged_in_user: Option<String>,
    pub user_idle_seconds: Option<i64>,
    pub public_ip: Option<String>,
    pub process_count: i32,
    pub disks: Vec<Disk>,
    pub top_cpu: Vec<Seen>,
    pub top_memory: Vec<Seen>,
    pub sensors: Option<Sensors>,
}

/// A process in a sample.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    pub pid: i64,
    /// Id of what it is called.
    pub name: i64,
    pub cpu_percent: f32,
    pub memory_bytes: i64,
}

/// To the bit: -0 is not 0 here.
impl PartialEq for Seen {
    fn eq(&self, other: &Self) -> bool {
        let all = |seen: &Self| (seen.pid, seen.name, seen.cpu_percent.to_bits(), seen.memory_bytes);
        all(self) == all(other)
    }
}

/// Packs figures.
pub fn pack_figures(figures: &[Figures]) -> Result<Vec<u8>, PackError> {
    let mut to = Writer::default();
    to.count(figures.len());
    to.even(figures.iter().map(|f| f.t.timestamp_micros()));
    to.bits32(figures.iter().map(|f| f.interval_seconds.to_bits()));
    to.bits32(figures.iter().map(|f| f.cpu_percent.to_bits()));
    to.deltas(figures.iter().map(|f| f.memory_used_bytes));
    to.deltas(figures.iter().map(|f| f.memory_total_bytes));
    put_floats(&mut to, figures.iter().map(|f| f.load_1));
    put_floats(&mut to, figures.iter().map(|f| f.disk_percent));
    to.deltas(figures.iter().map(|f| f.rx_bytes));
    to.deltas(figures.iter().map(|f| f.tx_bytes));
    to.finish()
}

/// Reads what [`pack_figures`] wrote.
pub fn unpack_figures(packed: &[u8]) -> Result<Vec<Figures>, PackError> {
    let mut from = Reader::new(packed)?;
    let count = from.count()?;
    let times = from.even(count)?;
    let intervals = from.bits32(count)?;
    let cpu = from.bits32(count)?;
    let (used, total) = (from.deltas(count)?, from.deltas(count)?);
    let (load_1, disk) = (floats(&mut from, count)?, floats(&mut from, count)?);
    let (rx, tx) = (from.deltas(count)?, from.deltas(count)?);
    let at = |at: usize| {
        Ok(Figures {
            t: time(times[at])?,
            interval_seconds: f32::from_bits(intervals[at]),
            cpu_percent: f32::from_bits(cpu[at]),
            memory_used_bytes: used[at],
            memory_total_bytes: total[at],
            load_1: load_1[at],
            disk_percent: disk[at],
            rx_bytes: rx[at],
            tx_bytes: tx[at],
        })
    };
    (0..count).map(at).collect()
}

/// Packs details.
pub fn pack_details(details: &[Details]) -> Result<Vec<u8>, PackError> {
    let mut to = Writer::default();
    to.count(details.len());
    to.deltas(details.iter().map(|d| i64::from(d.cpu_count)));
    to.deltas(details.iter().map(|d| d.swap_used_bytes));
    to.deltas(details.iter().map(|d| d.swap_total_bytes));
    put_floats(&mut to, details.iter().map(|d| d.load_5));
    put_floats(&mut to, details.iter().map(|d| d.load_15));
    to.even(details.iter().map(|d| d.uptime_seconds));
    let boots = to.present(details.iter().map(|d| d.boot_time));
    to.deltas(boots.into_iter().map(|boot| boot.timestamp_micros()));
    let users = to.present(details.iter().map(|d| d.logged_in_user.as_deref()));
    to.texts(users);
    let idle = to.present(details.iter().map(|d| d.user_idle_seconds));
    to.even(idle);
    let addresses = to.present(details.iter().map(|d| d.public_ip.as_deref()));
    to.texts(addresses);
    to.deltas(details.iter().map(|d| i64::from(d.process_count)));
    put_disks(&mut to, details);
    put_processes(&mut to, details);
    put_sensors(&mut to, details);
    to.finish()
}

/// Reads what [`pack_details`] wrote.
pub fn unpack_details(packed: &[u8]) -> Result<Vec<Details>, PackError> {
    let mut from = Reader::new(packed)?;
    let count = from.count()?;
    let cores = from.deltas(count)?;
    let (swap_used, swap_total) = (from.deltas(count)?, from.deltas(count)?);
    let (load_5, load_15) = (floats(&mut from, count)?, floats(&mut from, count)?);
    let uptime = from.even(count)?;
    let boots = from.present(count, Reader::deltas)?;
    let mut users = from.present(count, Reader::texts)?.into_iter();
    let idle = from.present(count, Reader::even)?;
    let mut addresses = from.present(count, Reader::texts)?.into_iter();
    let processes = from.deltas(count)?;
    let mut disks = disks(&mut from, count)?.into_iter();
    let mut tops = tops(&mut from, count)?.into_iter();
    let mut sensors = sensors(&mut from, count)?.into_iter();
    let at = |at: usize| {
        let (top_cpu, top_memory) = tops.next().ok_or(PackError)?;
        Ok(Details {
            cpu_count: i32::try_from(cores[at]).map_err(|_| PackError)?,
            swap_used_bytes: swap_used[at],
            swap_total_bytes: swap_total[at],
            load_5: load_5[at],
            load_15: load_15[at],
            uptime_seconds: uptime[at],
            boot_time: boots[at].map(time).transpose()?,
            logged_in_user: users.next().flatten(),
            user_idle_seconds: idle[at],
            public_ip: addresses.next().flatten(),
            process_count: i32::try_from(processes[at]).map_err(|_| PackError)?,
            disks: disks.next().ok_or(PackError)?,
            top_cpu,
            top_memory,
            sensors: sensors.next().flatten(),
        })
    };
    (0..count).map(at).collect()
}

fn time(micros: i64) -> Result<DateTime<Utc>, PackError> {
    DateTime::from_timestamp_micros(micros).ok_or(PackError)
}

fn put_floats(to: &mut Writer, values: impl IntoIterator<Item = Option<f32>>) {
    let there = to.present(values);
    to.bits32(there.into_iter().map(f32::to_bits));
}

fn floats(from: &mut Reader, count: usize) -> Result<Vec<Option<f32>>, PackError> {
    let bits = from.present(count, Reader::bits32)?;
    Ok(bits.into_iter().map(|bits| bits.map(f32::from_bits)).collect())
}

/// Disks are the same ones in almost every sample; what is used of them changes.
fn put_disks(to: &mut Writer, details: &[Details]) {
    let mut table = Table::default();
    let lists: Vec<Vec<usize>> = details
        .iter()
        .map(|d| {
            let place = |disk: &Disk| {
                table.place((
                    disk.mount.clone(),
                    disk.device.clone(),
                    disk.file_system.clone(),
                    disk.total_bytes,
                ))
            };
            d.disks.iter().map(place).collect()
        })
        .collect();
    to.count(table.all.len());
    to.texts(table.all.iter().map(|disk| disk.0.as_str()));
    to.texts(table.all.iter().map(|disk| disk.1.as_str()));
    to.texts(table.all.iter().map(|disk| disk.2.as_str()));
    to.deltas(table.all.iter().map(|disk| disk.3));
    to.lists(&lists);
    let used = details.iter().flat_map(|d| &d.disks).map(|disk| disk.used_bytes);
    to.keyed(lists.iter().flatten().zip(used));
}

fn disks(from: &mut Reader, count: usize) -> Result<Vec<Vec<Disk>>, PackError> {
    let different = from.count()?;
    let (mounts, devices) = (from.texts(different)?, from.texts(different)?);
    let (systems, totals) = (from.texts(different)?, from.deltas(different)?);
    let lists = from.lists(count, different)?;
    let mut used = from.keyed(lists.iter().flatten())?.into_iter();
    let mut disk = |at: &usize| {
        Ok(Disk {
            mount: mounts[*at].clone(),
            device: devices[*at].clone(),
            file_system: systems[*at].clone(),
            used_bytes: used.next().ok_or(PackError)?,
            total_bytes: totals[*at],
        })
    };
    lists.iter().map(|list| list.iter().map(&mut disk).collect()).collect()
}

/// Most processes stand in both lists of a sample: each is written once, and then where the lists name it.
fn put_processes(to: &mut Writer, details: &[Details]) {
    let mut table = Table::default();
    let (mut kinds, mut busy, mut large) = (Vec::new(), Vec::new(), Vec::new());
    let mut all = Vec::new();
    for d in details {
        let mut own: Vec<Seen> = Vec::new();
        let mut place = |seen: &Seen| {
            own.iter().position(|other| other == seen).unwrap_or_else(|| {
                own.push(*seen);
                own.len() - 1
            })
        };
        busy.push(d.top_cpu.iter().map(&mut place).collect::<Vec<_>>());
        large.push(d.top_memory.iter().map(&mut place).collect::<Vec<_>>());
        kinds.push(own.iter().map(|seen| table.place((seen.pid, seen.name))).collect::<Vec<_>>());
        all.extend(own);
    }
    to.count(table.all.len());
    to.deltas(table.all.iter().map(|(pid, _)| *pid));
    to.deltas(table.all.iter().map(|(_, name)| *name));
    to.lists(&kinds);
    to.lists(&busy);
    to.lists(&large);
    to.keyed_bits32(kinds.iter().flatten().copied().zip(all.iter().map(|seen| seen.cpu_percent.to_bits())));
    to.keyed(kinds.iter().flatten().zip(all.iter().map(|seen| seen.memory_bytes)));
}

type Tops = (Vec<Seen>, Vec<Seen>);

fn tops(from: &mut Reader, count: usize) -> Result<Vec<Tops>, PackError> {
    let different = from.count()?;
    let (pids, names) = (from.deltas(different)?, from.deltas(different)?);
    let kinds = from.lists(count, different)?;
    let (busy, large) = (from.lists(count, usize::MAX)?, from.lists(count, usize::MAX)?);
    let flat: Vec<usize> = kinds.iter().flatten().copied().collect();
    let mut cpu = from.keyed_bits32(&flat)?.into_iter();
    let mut memory = from.keyed(&flat)?.into_iter();
    let mut tops = Vec::with_capacity(count);
    for (kinds, (busy, large)) in kinds.iter().zip(busy.iter().zip(&large)) {
        let seen = |at: &usize| {
            Ok(Seen {
                pid: pids[*at],
                name: names[*at],
                cpu_percent: f32::from_bits(cpu.next().ok_or(PackError)?),
                memory_bytes: memory.next().ok_or(PackError)?,
            })
        };
        let own: Vec<Seen> = kinds.iter().map(seen).collect::<Result<_, _>>()?;
        let named = |places: &[usize]| {
            places.iter().map(|at| own.get(*at).copied().ok_or(PackError)).collect::<Result<Vec<_>, _>>()
        };
        tops.push((named(busy)?, named(large)?));
    }
    Ok(tops)
}

/// A sensor and its limits, as bits.
type SensorKey = (String, String, SensorKind, [Option<u32>; 3]);

/// Sensors and their limits are the same ones in almost every sample; their values change.
fn put_sensors(to: &mut Writer, details: &[Details]) {
    let there = to.present(details.iter().map(|d| d.sensors.as_ref()));
    let mut table = Table::<SensorKey>::default();
    let lists: Vec<Vec<usize>> = there
        .iter()
        .map(|sensors| {
            let place = |sensor: &Sensor| {
                let limits = [sensor.low, sensor.high, sensor.critical].map(|limit| limit.map(f32::to_bits));
                table.place((sensor.device.clone(), sensor.name.clone(), sensor.kind, limits))
            };
            sensors.readings.iter().map(place).collect()
        })
        .collect();
    to.count(table.all.len());
    to.texts(table.all.iter().map(|sensor| sensor.0.as_str()));
    to.texts(table.all.iter().map(|sensor| sensor.1.as_str()));
    to.texts(table.all.iter().map(|sensor| kind_word(sensor.2)));
    for limit in 0..3 {
        put_floats(to, table.all.iter().map(|sensor| sensor.3[limit].map(f32::from_bits)));
    }
    to.lists(&lists);
    let values = there.iter().flat_map(|sensors| &sensors.readings).map(|sensor| sensor.value.to_bits());
    to.keyed_bits32(lists.iter().flatten().copied().zip(values));
    to.deltas(there.iter().map(|sensors| i64::from(sensors.omitted)));
    let reasons = to.present(there.iter().map(|sensors| sensors.unavailable.as_deref()));
    to.texts(reasons);
}

fn sensors(from: &mut Reader, count: usize) -> Result<Vec<Option<Sensors>>, PackError> {
    from.present(count, |from, count| {
        let different = from.count()?;
        let (devices, names) = (from.texts(different)?, from.texts(different)?);
        let kinds: Vec<SensorKind> = from.texts(different)?.iter().map(|word| kind(word)).collect();
        let (low, high) = (floats(from, different)?, floats(from, different)?);
        let critical = floats(from, different)?;
        let lists = from.lists(count, different)?;
        let flat: Vec<usize> = lists.iter().flatten().copied().collect();
        let mut values = from.keyed_bits32(&flat)?.into_iter();
        let omitted = from.deltas(count)?;
        let mut reasons = from.present(count, Reader::texts)?.into_iter();
        let mut sensor = |at: &usize| {
            Ok(Sensor {
                device: devices[*at].clone(),
                name: names[*at].clone(),
                kind: kinds[*at],
                value: f32::from_bits(values.next().ok_or(PackError)?),
                low: low[*at],
                high: high[*at],
                critical: critical[*at],
            })
        };
        let of = |(list, omitted): (&Vec<usize>, i64)| {
            Ok(Sensors {
                readings: list.iter().map(&mut sensor).collect::<Result<_, _>>()?,
                omitted: u32::try_from(omitted).map_err(|_| PackError)?,
                unavailable: reasons.next().flatten(),
            })
        };
        lists.iter().zip(omitted).map(of).collect()
    })
}

const KINDS: &[(SensorKind, &str)] = &[
    (SensorKind::Temperature, "temperature"),
    (SensorKind::Fan, "fan"),
    (SensorKind::Voltage, "voltage"),
    (SensorKind::Power, "power"),
    (SensorKind::Current, "current"),
];

fn kind_word(kind: SensorKind) -> &'static str {
    KINDS.iter().find(|(known, _)| *known == kind).map_or("other", |(_, word)| word)
}

fn kind(word: &str) -> SensorKind {
    KINDS.iter().find(|(_, known)| *known == word).map_or(SensorKind::Other, |(kind, _)| *kind)
}

/// Ids of all names in details.
pub fn names(details: &[Details]) -> Vec<i64> {
    let mut ids: Vec<i64> =
        details.iter().flat_map(|d| d.top_cpu.iter().chain(&d.top_memory)).map(|seen| seen.name).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}
