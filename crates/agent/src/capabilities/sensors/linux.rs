//! The kernel's hwmon chips (`Documentation/hwmon/sysfs-interface`) and thermal zones (`driver-api/thermal/sysfs-api`).

use super::{is_sane, limited};
use crate::os::Unsupported;
use crate::os::linux_files::read_at_most;
use gururmm_protocol::limits::MAX_LIST_ITEMS;
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Chips, zones, and entries of one of them that are looked at.
const MAX_ENTRIES: usize = 1_024;
/// Longest file that is read; all of them hold one number or name.
const MAX_BYTES: usize = 256;
/// Trip points of a zone that are looked at.
const MAX_TRIPS: usize = 16;

pub(super) fn read() -> Result<Sensors, Unsupported> {
    Ok(read_below(Path::new("/sys/class")))
}

fn read_below(class: &Path) -> Sensors {
    let mut sensors = Sensors::default();
    for Chip { path, device } in chips(&class.join("hwmon")) {
        for input in inputs(&path) {
            take(&mut sensors, || input.read(&path, &device));
        }
    }
    for zone in entries(&class.join("thermal"), "thermal_zone") {
        // A zone that is a chip, too, was read as one.
        if entries(&zone, "hwmon").is_empty() {
            take(&mut sensors, || thermal_zone(&zone));
        }
    }
    sensors
}

/// What finds no room is counted, and not read any more.
fn take(sensors: &mut Sensors, read: impl FnOnce() -> Option<Sensor>) {
    if sensors.readings.len() >= MAX_LIST_ITEMS {
        sensors.omitted += 1;
    } else {
        sensors.readings.extend(read().map(limited));
    }
}

struct Chip {
    path: PathBuf,
    device: String,
}

/// All chips in an order that lasts: the numbers the kernel gives them change from start to start.
fn chips(hwmon: &Path) -> Vec<Chip> {
    let mut chips: Vec<_> = entries(hwmon, "hwmon")
        .into_iter()
        .map(|path| {
            let name = text(&path.join("name")).unwrap_or_else(|| "hwmon".to_owned());
            // Disks say which model they are.
            let device = match text(&path.join("device/model")) {
                Some(model) => format!("{name} {model}"),
                None => name,
            };
            let stands = fs::canonicalize(&path).unwrap_or_else(|_| path.clone());
            (stands, Chip { path, device })
        })
        .collect();
    chips.sort_by(|a, b| a.0.cmp(&b.0));
    let mut chips: Vec<_> = chips.into_iter().map(|(_, chip)| chip).collect();
    let mut alike: HashMap<String, (u32, u32)> = HashMap::new();
    for chip in &chips {
        alike.entry(chip.device.clone()).or_default().0 += 1;
    }
    for chip in &mut chips {
        if let Some((count, number)) = alike.get_mut(&chip.device)
            && *count > 1
        {
            *number += 1;
            chip.device = format!("{} #{number}", chip.device);
        }
    }
    chips
}

/// One channel of a chip: `temp1`, `fan2`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Input {
    kind: SensorKind,
    number: u32,
    /// Power comes as a mean over a while from chips that have no momentary one.
    is_average: bool,
}

/// The channels of a chip that can be read.
fn inputs(chip: &Path) -> BTreeSet<Input> {
    let mut inputs = BTreeSet::new();
    for path in entries(chip, "") {
        inputs.extend(path.file_name().and_then(|name| name.to_str()).and_then(Input::parse));
    }
    let doubled: Vec<u32> = inputs
        .iter()
        .filter(|input| input.kind == SensorKind::Power && !input.is_average)
        .map(|input| input.number)
        .collect();
    inputs.retain(|input| !(input.is_average && doubled.contains(&input.number)));
    inputs
}

impl Input {
    /// From the name of a file: `temp1_input`, `power1_average`.
    fn parse(file: &str) -> Option<Self> {
        let (channel, what) = file.split_once('_')?;
        let digits = channel.find(|c: char| c.is_ascii_digit())?;
        let (kind, number) = channel.split_at(digits);
        let kind = match kind {
            "temp" => SensorKind::Temperature,
            "fan" => SensorKind::Fan,
            "in" => SensorKind::Voltage,
            "power" => SensorKind::Power,
            "curr" => SensorKind::Current,
            _ => return None,
        };
        let is_average = match what {
            "input" => false,
            "average" if kind == SensorKind::Power => true,
            _ => return None,
        };
        Some(Self { kind, number: number.parse().ok()?, is_average })
    }

    fn channel(&self) -> String {
        let kind = match self.kind {
            SensorKind::Temperature => "temp",
            SensorKind::Fan => "fan",
            SensorKind::Voltage => "in",
            SensorKind::Power => "power",
            SensorKind::Current => "curr",
            SensorKind::Other => "",
        };
        format!("{kind}{}", self.number)
    }

    /// Temperatures, volts and amperes come in thousandths, watts in millionths.
    fn unit(&self) -> f64 {
        match self.kind {
            SensorKind::Temperature | SensorKind::Voltage | SensorKind::Current => 1e-3,
            SensorKind::Power => 1e-6,
            SensorKind::Fan | SensorKind::Other => 1.0,
        }
    }

    fn read(&self, chip: &Path, device: &str) -> Option<Sensor> {
        let channel = self.channel();
        let file = |what: &str| chip.join(format!("{channel}_{what}"));
        let figure = |what: &str| number(&file(what)).map(|number| (number as f64 * self.unit()) as f32);
        // The chip itself says that nothing useful is connected.
        if number(&file("fault")) == Some(1) || number(&file("enable")) == Some(0) {
            return None;
        }
        let value = figure(if self.is_average { "average" } else { "input" })?;
        if !is_sane(self.kind, value) {
            return None;
        }
        // Many boards leave the lower and upper limits of voltages as the chip was made; critical ones are set on purpose.
        let (low, high, critical) = match self.kind {
            SensorKind::Temperature => (None, figure("max"), figure("crit").or_else(|| figure("emergency"))),
            SensorKind::Fan => (figure("min"), None, None),
            SensorKind::Voltage => (figure("lcrit"), None, figure("crit")),
            SensorKind::Power | SensorKind::Current => (None, figure("max"), figure("crit")),
            SensorKind::Other => (None, None, None),
        };
        let name = text(&file("label")).unwrap_or(channel);
        Some(Sensor { device: device.to_owned(), name, kind: self.kind, value, low, high, critical })
    }
}

fn thermal_zone(zone: &Path) -> Option<Sensor> {
    let degrees = |file: &str| number(&zone.join(file)).map(|number| (number as f64 * 1e-3) as f32);
    let kind = SensorKind::Temperature;
    let value = degrees("temp").filter(|value| is_sane(kind, *value))?;
    let trip = |kind: &str| {
        let is_kind = |n: &usize| text(&zone.join(format!("trip_point_{n}_type"))).as_deref() == Some(kind);
        (0..MAX_TRIPS).find(is_kind).and_then(|n| degrees(&format!("trip_point_{n}_temp")))
    };
    let name = text(&zone.join("type")).unwrap_or_else(|| "zone".to_owned());
    let device = "thermal zone".to_owned();
    Some(Sensor { device, name, kind, value, low: None, high: trip("hot"), critical: trip("critical") })
}

/// The entries of a folder whose names begin so, in the order of the numbers behind that.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(found) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> = found
        .take(MAX_ENTRIES)
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(prefix)?.parse::<u32>();
            Some((number.unwrap_or(u32::MAX), name.clone(), entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, _, path)| path).collect()
}

fn text(path: &Path) -> Option<String> {
    let mut buffer = Vec::new();
    read_at_most(path, MAX_BYTES, &mut buffer).ok()?;
    let text = String::from_utf8_lossy(&buffer);
    // A name is shown in one line.
    let text: String = text.trim().chars().filter(|c| !c.is_control()).collect();
    Some(text).filter(|text| !text.is_empty())
}

fn number(path: &Path) -> Option<i64> {
    text(path)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Files below a class folder: each line is a path and its text.
    fn tree(files: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for line in files.lines() {
            let (path, text) = line.trim().split_once(' ').unwrap();
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{text}\n")).unwrap();
        }
        root
    }

    fn shown(sensors: &Sensors) -> Vec<String> {
        let limit = |limit: Option<f32>| limit.map_or("-".to_owned(), |limit| limit.to_string());
        sensors
            .readings
            .iter()
            .map(|s| {
                let (low, high, critical) = (limit(s.low), limit(s.high), limit(s.critical));
                format!("{} | {} | {} {low} {high} {critical}", s.device, s.name, s.value)
            })
            .collect()
    }

    /// Of a desktop board with a disk, as `grep . /sys/class/hwmon/*/*` printed it.
    const DESKTOP: &str = "hwmon/hwmon0/name acpitz
        hwmon/hwmon0/temp1_input 27800
        hwmon/hwmon0/temp1_crit 119000
        hwmon/hwmon1/name coretemp
        hwmon/hwmon1/temp1_input 61000
        hwmon/hwmon1/temp1_label Package id 0
        hwmon/hwmon1/temp1_max 84000
        hwmon/hwmon1/temp1_crit 100000
        hwmon/hwmon1/temp1_crit_alarm 0
        hwmon/hwmon1/temp10_input 59000
        hwmon/hwmon1/temp10_label Core 8
        hwmon/hwmon1/temp10_max 100000
        hwmon/hwmon1/temp10_crit 100000
        hwmon/hwmon1/temp2_input 57500
        hwmon/hwmon1/temp2_label Core 0
        hwmon/hwmon2/name nct6798
        hwmon/hwmon2/in0_input 1248
        hwmon/hwmon2/in0_min 0
        hwmon/hwmon2/in0_max 1744
        hwmon/hwmon2/fan1_input 1248
        hwmon/hwmon2/fan1_min 300
        hwmon/hwmon2/fan2_input 0
        hwmon/hwmon2/fan2_min 0
        hwmon/hwmon2/temp7_input 127500000
        hwmon/hwmon2/temp8_input 22000
        hwmon/hwmon2/temp8_fault 1
        hwmon/hwmon2/pwm1 120
        hwmon/hwmon2/power1_average 12500000
        hwmon/hwmon2/curr1_input 750
        hwmon/hwmon2/curr1_crit 9500
        hwmon/hwmon3/name nvme
        hwmon/hwmon3/device/model ACME SSD 980 1TB
        hwmon/hwmon3/temp1_input 38850
        hwmon/hwmon3/temp1_label Composite
        hwmon/hwmon3/temp1_max 65261850
        hwmon/hwmon3/temp1_crit 84850
        thermal/thermal_zone0/type acpitz
        thermal/thermal_zone0/temp 27800
        thermal/thermal_zone0/hwmon0/name acpitz
        thermal/thermal_zone1/type cpu-thermal
        thermal/thermal_zone1/temp 48250
        thermal/thermal_zone1/trip_point_0_type passive
        thermal/thermal_zone1/trip_point_0_temp 70000
        thermal/thermal_zone1/trip_point_1_type critical
        thermal/thermal_zone1/trip_point_1_temp 110000
        thermal/cooling_device0/type Processor";

    #[test]
    fn a_boards_sensors_come_with_labels_and_the_limits_somebody_set() {
        let sensors = read_below(tree(DESKTOP).path());
        assert_eq!(
            shown(&sensors),
            [
                "acpitz | temp1 | 27.8 - - 119",
                "coretemp | Package id 0 | 61 - 84 100",
                "coretemp | Core 0 | 57.5 - - -",
                // High and critical are one: then it is critical.
                "coretemp | Core 8 | 59 - - 100",
                "nct6798 | fan1 | 1248 300 - -",
                "nct6798 | fan2 | 0 - - -",
                "nct6798 | in0 | 1.248 - - -",
                "nct6798 | power1 | 12.5 - - -",
                "nct6798 | curr1 | 0.75 - - 9.5",
                "nvme ACME SSD 980 1TB | Composite | 38.85 - - 84.85",
                "thermal zone | cpu-thermal | 48.25 - - 110",
            ]
        );
        assert_eq!((sensors.omitted, sensors.unavailable), (0, None));
    }

    #[test]
    fn a_machine_without_sensors_has_an_empty_list() {
        assert_eq!(read_below(Path::new("/nonexistent")), Sensors::default());
        assert_eq!(read_below(tree("hwmon/hwmon0/name empty").path()), Sensors::default());
    }

    #[test]
    fn chips_of_one_name_are_numbered_by_where_they_stand() {
        let root = tree(
            "devices/b/hwmon/hwmon0/name coretemp
             devices/b/hwmon/hwmon0/temp1_input 2000
             devices/a/hwmon/hwmon1/name coretemp
             devices/a/hwmon/hwmon1/temp1_input 1000",
        );
        fs::create_dir(root.path().join("hwmon")).unwrap();
        for (link, to) in [("hwmon0", "b"), ("hwmon1", "a")] {
            let to = format!("../devices/{to}/hwmon/{link}");
            std::os::unix::fs::symlink(to, root.path().join("hwmon").join(link)).unwrap();
        }
        let shown = shown(&read_below(root.path()));
        assert_eq!(shown, ["coretemp #1 | temp1 | 1 - - -", "coretemp #2 | temp1 | 2 - - -"]);
    }

    #[test]
    fn what_is_no_measurement_is_left_out() {
        let long = "9".repeat(1_000);
        let root = tree(&format!(
            "hwmon/hwmon0/temp1_input nan
             hwmon/hwmon0/temp2_input {long}
             hwmon/hwmon0/temp3_input -273150
             hwmon/hwmon0/temp99999999999_input 20000
             hwmon/hwmon0/tempx_input 20000
             hwmon/hwmon0/in1_enable 0
             hwmon/hwmon0/in1_input 1000
             hwmon/hwmon0/fan1_input -1
             hwmon/hwmon0/energy1_input 5
             hwmon/hwmon0/power1_average 7000000
             hwmon/hwmon0/power1_input 8000000
             hwmon/hwmon0/temp5_input 30000
             hwmon/hwmon0/temp5_crit soon
             hwmon/hwmon0/temp5_label {long}\u{1b}[2J"
        ));
        // A file that is no file.
        fs::create_dir_all(root.path().join("hwmon/hwmon0/temp4_input")).unwrap();
        let sensors = read_below(root.path());
        let values: Vec<_> =
            sensors.readings.iter().map(|sensor| (sensor.value, sensor.name.len())).collect();
        assert_eq!(values, [(30.0, MAX_BYTES), (8.0, 6)]);
        assert_eq!(sensors.readings[1].device, "hwmon");
    }

    #[test]
    fn hundreds_of_sensors_are_counted_and_not_all_read() {
        let mut files = String::new();
        for chip in 0..10 {
            for channel in 1..=50 {
                writeln!(files, "hwmon/hwmon{chip}/temp{channel}_input 20000").unwrap();
            }
        }
        let sensors = read_below(tree(files.trim()).path());
        assert_eq!((sensors.readings.len(), sensors.omitted), (MAX_LIST_ITEMS, 500 - MAX_LIST_ITEMS as u32));
    }
}
