//! Windows shows sensors to WMI alone.

use crate::os::Unsupported;
use gururmm_protocol::sensors::Sensors;

pub(super) fn read() -> Result<Sensors, Unsupported> {
    Err(Unsupported::here("the agent does not ask WMI for sensors"))
}
