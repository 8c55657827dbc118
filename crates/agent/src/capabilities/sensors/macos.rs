//! macOS shows sensors to its own programs.

use crate::os::Unsupported;
use gururmm_protocol::sensors::Sensors;

pub(super) fn read() -> Result<Sensors, Unsupported> {
    Err(Unsupported::here("macOS has no documented way to read sensors"))
}
