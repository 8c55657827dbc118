//! What a machine's sensors show, since protocol 1.1. Temperatures are degrees Celsius, fans revolutions per minute, the
//! rest volts, watts and amperes.

use crate::limits::{MAX_LIST_ITEMS, MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional};
use serde::{Deserialize, Serialize};

/// All sensors of a machine at one moment. A list that is empty and does not say why is the whole truth: the system shows none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Sensors {
    #[serde(default)]
    pub readings: Vec<Sensor>,
    /// Sensors that are there and found no room in the list.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub omitted: u32,
    /// Why there are none to read, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unavailable: Option<String>,
}

/// One sensor and the limits that the system names for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensor {
    /// The chip or device it belongs to. Together with `kind` and `name` it tells the sensors of a machine apart.
    pub device: String,
    pub name: String,
    pub kind: SensorKind,
    pub value: f32,
    /// Below it something is wrong: a fan that stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub low: Option<f32>,
    /// From it on the value is high.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high: Option<f32>,
    /// From it on damage or a shutdown is near.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<f32>,
}

/// What a sensor measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum SensorKind {
    Temperature,
    Fan,
    Voltage,
    Power,
    Current,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

impl Sensors {
    /// Brings agent-supplied values within limits. What is no number, or of a kind this build cannot give a unit to, is left out.
    pub fn clean(&mut self) {
        self.readings.retain(|sensor| sensor.value.is_finite() && sensor.kind != SensorKind::Other);
        if let Some(excess) = self.readings.len().checked_sub(MAX_LIST_ITEMS) {
            self.readings.truncate(MAX_LIST_ITEMS);
            self.omitted = self.omitted.saturating_add(u32::try_from(excess).unwrap_or(u32::MAX));
        }
        for sensor in &mut self.readings {
            clean(&mut sensor.device, MAX_NAME_CHARS);
            clean(&mut sensor.name, MAX_NAME_CHARS);
            for limit in [&mut sensor.low, &mut sensor.high, &mut sensor.critical] {
                *limit = limit.filter(|limit| limit.is_finite());
            }
        }
        clean_optional(&mut self.unavailable, MAX_TEXT_CHARS);
    }
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor(kind: SensorKind, value: f32) -> Sensor {
        let (low, high, critical) = (Some(f32::NAN), Some(80.0), Some(f32::INFINITY));
        Sensor { device: "chip\0".into(), name: "n".repeat(300), kind, value, low, high, critical }
    }

    #[test]
    fn what_is_no_measurement_is_left_out_and_no_limit_is_made_up() {
        let readings =
            [(SensorKind::Temperature, f32::NAN), (SensorKind::Other, 1.0), (SensorKind::Fan, 1_200.0)];
        let readings = readings.map(|(kind, value)| sensor(kind, value)).to_vec();
        let mut sensors = Sensors { readings, omitted: 0, unavailable: Some(String::new()) };
        sensors.clean();
        let [fan] = &sensors.readings[..] else { unreachable!("{sensors:?}") };
        assert_eq!((fan.device.as_str(), fan.name.len()), ("chip", MAX_NAME_CHARS));
        assert_eq!((fan.low, fan.high, fan.critical), (None, Some(80.0), None));
        assert_eq!((sensors.omitted, sensors.unavailable), (0, None));
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let readings = vec![sensor(SensorKind::Power, 1.0); MAX_LIST_ITEMS + 300];
        let mut sensors = Sensors { readings, omitted: u32::MAX - 1, unavailable: None };
        sensors.clean();
        assert_eq!((sensors.readings.len(), sensors.omitted), (MAX_LIST_ITEMS, u32::MAX));
    }
}
