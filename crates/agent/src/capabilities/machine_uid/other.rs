//! Reading hardware ids is not built for this platform yet, and that is said.

use super::{NoMachineUid, Sources};
use crate::os::Unsupported;

pub(super) fn read() -> Result<Sources, NoMachineUid> {
    Err(Unsupported::here("reading hardware ids is not built yet").into())
}
