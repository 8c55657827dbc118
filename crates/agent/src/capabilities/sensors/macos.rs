//! Temperatures, by the `sysinfo` library: of Apple's own processors by the events of their sensors, of Intel's by the system
//! management controller. Neither is documented by Apple, and both are what everybody reads. Built here, not run.

use super::{is_sane, limited};
use crate::os::Unsupported;
use gururmm_protocol::sensors::{Sensor, SensorKind, Sensors};
use sysinfo::Components;

pub(super) fn read() -> Result<Sensors, Unsupported> {
    let components =
        Components::new_with_refreshed_list().map_err(|_| Unsupported::here("this Mac shows no sensors"))?;
    let kind = SensorKind::Temperature;
    let readings = components.iter().filter_map(|component| {
        let value = component.temperature().filter(|value| is_sane(kind, *value))?;
        let (device, name) = ("Mac".to_owned(), component.label().to_owned());
        let critical = component.critical();
        Some(limited(Sensor { device, name, kind, value, low: None, high: None, critical }))
    });
    let mut readings: Vec<_> = readings.collect();
    readings.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Sensors { readings, ..Sensors::default() })
}
