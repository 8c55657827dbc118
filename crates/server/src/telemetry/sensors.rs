//! What machines' sensors show, and how that stands to the limits their systems name.

use crate::db::words;
use gururmm_protocol::sensors::{self, SensorKind};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// All sensors of a machine at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sensors {
    /// By device, kind and name.
    pub readings: Vec<Sensor>,
    /// Sensors beyond those listed.
    pub omitted: u32,
    /// Why there are none to read. Absent where the system shows none.
    pub unavailable: Option<String>,
}

/// One sensor. Temperatures are degrees Celsius, fans revolutions per minute, the rest volts, watts and amperes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Sensor {
    pub device: String,
    pub name: String,
    pub kind: SensorKind,
    pub value: f32,
    /// The limits that the machine's system names.
    pub low: Option<f32>,
    pub high: Option<f32>,
    pub critical: Option<f32>,
    pub state: SensorState,
}

words! {
    /// How a value stands to its limits.
    SensorState {
        /// Within them, or there are none.
        Normal = "normal",
        Low = "low",
        High = "high",
        Critical = "critical",
    }
}

fn state(sensor: &sensors::Sensor) -> SensorState {
    let from = |limit: Option<f32>| limit.is_some_and(|limit| sensor.value >= limit);
    if from(sensor.critical) {
        SensorState::Critical
    } else if from(sensor.high) {
        SensorState::High
    } else if sensor.low.is_some_and(|low| sensor.value < low) {
        SensorState::Low
    } else {
        SensorState::Normal
    }
}

impl Sensors {
    /// As it is kept beside a sample: without what follows from the rest.
    pub(super) fn stored(&self) -> sensors::Sensors {
        let readings = self.readings.iter().map(|sensor| sensors::Sensor {
            device: sensor.device.clone(),
            name: sensor.name.clone(),
            kind: sensor.kind,
            value: sensor.value,
            low: sensor.low,
            high: sensor.high,
            critical: sensor.critical,
        });
        sensors::Sensors {
            readings: readings.collect(),
            omitted: self.omitted,
            unavailable: self.unavailable.clone(),
        }
    }
}

impl From<sensors::Sensors> for Sensors {
    fn from(sensors: sensors::Sensors) -> Self {
        let mut readings: Vec<_> = sensors.readings.into_iter().map(Sensor::from).collect();
        readings.sort_by(|a, b| (&a.device, a.kind, &a.name).cmp(&(&b.device, b.kind, &b.name)));
        Self { readings, omitted: sensors.omitted, unavailable: sensors.unavailable }
    }
}

impl From<sensors::Sensor> for Sensor {
    fn from(sensor: sensors::Sensor) -> Self {
        Self {
            state: state(&sensor),
            device: sensor.device,
            name: sensor.name,
            kind: sensor.kind,
            value: sensor.value,
            low: sensor.low,
            high: sensor.high,
            critical: sensor.critical,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_limit_that_is_reached_is_the_state() {
        let sensor = |value, low, high, critical| sensors::Sensor {
            device: "coretemp".to_owned(),
            name: "Core 0".to_owned(),
            kind: SensorKind::Temperature,
            value,
            low,
            high,
            critical,
        };
        for (value, low, high, critical, expected) in [
            (50.0, None, None, None, SensorState::Normal),
            (50.0, Some(10.0), Some(80.0), Some(100.0), SensorState::Normal),
            (80.0, None, Some(80.0), Some(100.0), SensorState::High),
            (100.0, None, Some(80.0), Some(100.0), SensorState::Critical),
            (100.0, None, None, Some(100.0), SensorState::Critical),
            (0.0, Some(300.0), None, None, SensorState::Low),
            (300.0, Some(300.0), None, None, SensorState::Normal),
        ] {
            assert_eq!(state(&sensor(value, low, high, critical)), expected, "{value}");
        }
    }
}
