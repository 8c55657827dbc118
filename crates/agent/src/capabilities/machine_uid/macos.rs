//! The ids that the machine's maker wrote into it. Every Mac has them, so nothing else is looked for. Built here, not run.

use super::{NoMachineUid, Sources};
use crate::capabilities::system_info::is_told;
use crate::os::ioreg;

pub(super) fn read() -> Result<Sources, NoMachineUid> {
    let printed = ioreg::class("IOPlatformExpertDevice").unwrap_or_default();
    let told = |name| ioreg::text(&printed, name).filter(|text| is_told(text));
    Ok(Sources {
        smbios_uuid: told("IOPlatformUUID"),
        board_serial: told("IOPlatformSerialNumber"),
        disk_serial: None,
        os_id: None,
    })
}
