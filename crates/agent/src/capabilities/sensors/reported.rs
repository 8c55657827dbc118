//! From what WMI reports to sensors.

use super::{is_sane, limited};
use gururmm_protocol::sensors::{Sensor, SensorKind};

/// A device as LibreHardwareMonitor and OpenHardwareMonitor know it.
#[derive(Debug)]
pub(super) struct Hardware {
    pub identifier: String,
    pub name: String,
}

/// A sensor of theirs.
#[derive(Debug)]
pub(super) struct Reported {
    /// The device's identifier.
    pub parent: String,
    pub name: String,
    /// `Temperature`, `Fan`, and words for what is no sensor: loads, clocks, levels.
    pub kind: String,
    /// In degrees Celsius, revolutions per minute, volts, watts, amperes.
    pub value: f64,
}

/// A thermal zone of the firmware, in tenths of a kelvin.
#[derive(Debug)]
pub(super) struct Zone {
    pub name: String,
    pub deci_kelvin: f64,
    pub critical_deci_kelvin: Option<f64>,
}

/// Those that measure something, by device.
pub(super) fn sensors(hardware: &[Hardware], reported: Vec<Reported>) -> Vec<Sensor> {
    let device = |parent: &str| {
        let known = hardware.iter().find(|hardware| hardware.identifier == parent);
        known.map_or_else(|| parent.to_owned(), |hardware| hardware.name.clone())
    };
    let mut sensors: Vec<_> = reported
        .into_iter()
        .filter_map(|Reported { parent, name, kind, value }| {
            let kind = match kind.as_str() {
                "Temperature" => SensorKind::Temperature,
                "Fan" => SensorKind::Fan,
                "Voltage" => SensorKind::Voltage,
                "Power" => SensorKind::Power,
                "Current" => SensorKind::Current,
                _ => return None,
            };
            let value = value as f32;
            let sensor =
                Sensor { device: device(&parent), name, kind, value, low: None, high: None, critical: None };
            is_sane(kind, value).then_some(sensor)
        })
        .collect();
    sensors.sort_by(|a, b| (&a.device, a.kind, &a.name).cmp(&(&b.device, b.kind, &b.name)));
    sensors
}

/// A zone that shows something a machine can be at.
pub(super) fn zone(Zone { name, deci_kelvin, critical_deci_kelvin }: Zone) -> Option<Sensor> {
    let celsius = |deci_kelvin: f64| (deci_kelvin / 10.0 - 273.15) as f32;
    // `ACPI\ThermalZone\TZ00_0`.
    let name = name.rsplit('\\').next().unwrap_or_default().to_owned();
    let sensor = Sensor {
        device: "thermal zone".to_owned(),
        name: if name.is_empty() { "zone".to_owned() } else { name },
        kind: SensorKind::Temperature,
        value: celsius(deci_kelvin),
        low: None,
        high: None,
        critical: critical_deci_kelvin.map(celsius),
    };
    is_sane(sensor.kind, sensor.value).then(|| limited(sensor))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reported(parent: &str, name: &str, kind: &str, value: f64) -> Reported {
        Reported { parent: parent.into(), name: name.into(), kind: kind.into(), value }
    }

    #[test]
    fn what_a_monitor_measures_comes_by_device_and_the_rest_stays_there() {
        let hardware = [Hardware { identifier: "/intelcpu/0".into(), name: "ACME 9000".into() }];
        let found = sensors(
            &hardware,
            vec![
                reported("/lpc/nct6798d", "Fan #1", "Fan", 1_248.0),
                reported("/intelcpu/0", "CPU Package", "Power", 35.5),
                reported("/intelcpu/0", "CPU Package", "Temperature", 61.0),
                reported("/intelcpu/0", "CPU Total", "Load", 12.0),
                reported("/intelcpu/0", "Core #1", "Temperature", f64::NAN),
                reported("/intelcpu/0", "Core #2", "Temperature", 1e300),
            ],
        );
        let found: Vec<_> = found.iter().map(|s| (s.device.as_str(), s.name.as_str(), s.value)).collect();
        assert_eq!(
            found,
            [
                ("/lpc/nct6798d", "Fan #1", 1_248.0),
                ("ACME 9000", "CPU Package", 61.0),
                ("ACME 9000", "CPU Package", 35.5)
            ]
        );
    }

    #[test]
    fn a_zone_is_in_celsius_and_one_that_shows_nothing_is_left_out() {
        let of = |deci_kelvin, critical| {
            zone(Zone {
                name: r"ACPI\ThermalZone\TZ00_0".into(),
                deci_kelvin,
                critical_deci_kelvin: critical,
            })
        };
        let shown = of(3_010.0, Some(3_922.0)).unwrap();
        assert_eq!(
            (shown.name.as_str(), shown.value.round(), shown.critical.map(f32::round)),
            ("TZ00_0", 28.0, Some(119.0))
        );
        assert_eq!(of(0.0, None), None);
        // A limit that nobody set.
        assert_eq!(of(3_010.0, Some(0.0)).unwrap().critical, None);
    }
}
