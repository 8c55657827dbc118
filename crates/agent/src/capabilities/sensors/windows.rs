//! The zones that the firmware shows Windows, and what LibreHardwareMonitor or OpenHardwareMonitor shows where somebody runs
//! it. The agent brings no driver of its own: those that read sensors have been used to take machines over.

use super::reported::{Hardware, Reported, Zone, sensors, zone};
use super::unavailable;
use crate::os::Unsupported;
use crate::os::wmi::Namespace;
use gururmm_protocol::sensors::Sensors;
use std::io;

const MONITORS: [&str; 2] = [r"ROOT\LibreHardwareMonitor", r"ROOT\OpenHardwareMonitor"];

pub(super) fn read() -> Result<Sensors, Unsupported> {
    let mut found = Sensors::default();
    for path in MONITORS {
        match Namespace::open(path) {
            Ok(Some(monitor)) => {
                found = monitored(&monitor);
                break;
            }
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, path, "a monitor's namespace does not open"),
        }
    }
    match zones() {
        Ok(zones) => found.readings.extend(zones.into_iter().filter_map(zone)),
        Err(error) if found.readings.is_empty() => {
            return Ok(unavailable(format!("WMI does not answer: {error}")));
        }
        Err(error) => tracing::debug!(%error, "WMI does not answer"),
    }
    Ok(found)
}

/// The firmware's zones; by the system's own counters where its driver does not show them.
fn zones() -> io::Result<Vec<Zone>> {
    let query =
        "SELECT InstanceName, CurrentTemperature, CriticalTripPoint FROM MSAcpi_ThermalZoneTemperature";
    let zones = Namespace::open(r"ROOT\WMI")?.map(|firmware| {
        firmware.query(query, |object| {
            Some(Zone {
                name: object.text("InstanceName")?,
                deci_kelvin: object.number("CurrentTemperature")?,
                critical_deci_kelvin: object.number("CriticalTripPoint"),
            })
        })
    });
    if let Some(zones) = zones.filter(|zones| !zones.is_empty()) {
        return Ok(zones);
    }
    let query =
        "SELECT Name, HighPrecisionTemperature FROM Win32_PerfFormattedData_Counters_ThermalZoneInformation";
    let zones = Namespace::open(r"ROOT\CIMV2")?.map(|counters| {
        counters.query(query, |object| {
            Some(Zone {
                name: object.text("Name")?,
                deci_kelvin: object.number("HighPrecisionTemperature")?,
                critical_deci_kelvin: None,
            })
        })
    });
    Ok(zones.unwrap_or_default())
}

fn monitored(monitor: &Namespace) -> Sensors {
    let hardware = monitor.query("SELECT Identifier, Name FROM Hardware", |object| {
        Some(Hardware { identifier: object.text("Identifier")?, name: object.text("Name")? })
    });
    let reported = monitor.query("SELECT Name, Parent, SensorType, Value FROM Sensor", |object| {
        Some(Reported {
            parent: object.text("Parent").unwrap_or_default(),
            name: object.text("Name")?,
            kind: object.text("SensorType")?,
            value: object.number("Value")?,
        })
    });
    Sensors { readings: sensors(&hardware, reported), ..Sensors::default() }
}
