//! SMBIOS tables as the firmware hands them to Windows, the first fixed disk, and the id of the installation.

use super::{NoMachineUid, Sources};
use crate::capabilities::system_info::is_told;
use crate::os::{hardware, registry};

pub(super) fn read() -> Result<Sources, NoMachineUid> {
    let smbios = hardware::smbios();
    let told = |text: Option<String>| text.filter(|text| is_told(text));
    Ok(Sources {
        smbios_uuid: told(smbios.uuid),
        board_serial: told(smbios.board_serial),
        disk_serial: hardware::disk_serial(is_told),
        os_id: told(registry::read_text(r"SOFTWARE\Microsoft\Cryptography", "MachineGuid")),
    })
}
