//! SMBIOS tables and disks as `/sys` shows them. The kernel shows uuid and serials to root only.

use super::{NoMachineUid, Sources};
use crate::capabilities::system_info::is_told;
use crate::os::linux_files::read_trimmed;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) fn read() -> Result<Sources, NoMachineUid> {
    Ok(read_below(Path::new("/")))
}

fn read_below(root: &Path) -> Sources {
    let told = |path: PathBuf| read_trimmed(path).filter(|text| is_told(text));
    let dmi = root.join("sys/class/dmi/id");
    Sources {
        smbios_uuid: told(dmi.join("product_uuid")),
        board_serial: told(dmi.join("board_serial")),
        disk_serial: disk_serial(root),
        os_id: told(root.join("etc/machine-id")).or_else(|| told(root.join("var/lib/dbus/machine-id"))),
    }
}

/// The serial of the first fixed disk by name. Network and loop devices have no `device`.
fn disk_serial(root: &Path) -> Option<String> {
    let entries = fs::read_dir(root.join("sys/block")).ok()?;
    let mut disks: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    disks.sort();
    disks.into_iter().filter(|disk| is_fixed(disk)).find_map(|disk| {
        let plain = ["device/serial", "serial"].iter().find_map(|name| read_trimmed(disk.join(name)));
        plain.or_else(|| serial_page(&disk)).filter(|text| is_told(text))
    })
}

fn is_fixed(disk: &Path) -> bool {
    read_trimmed(disk.join("removable")).as_deref() == Some("0") && disk.join("device").exists()
}

/// SCSI and SATA disks: vital product data page 0x80, a four-byte header before the serial.
fn serial_page(disk: &Path) -> Option<String> {
    let page = fs::read(disk.join("device/vpd_pg80")).ok()?;
    let length = usize::from(*page.get(3)?);
    let serial = page.get(4..4 + length)?;
    Some(String::from_utf8_lossy(serial).trim_matches(['\0', ' ']).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, bytes: &[u8]) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn the_first_fixed_disk_with_a_serial_counts() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "sys/block/loop0/removable", b"0\n");
        write(root.path(), "sys/block/sda/removable", b"1\n");
        write(root.path(), "sys/block/sda/device/serial", b"STICK\n");
        write(root.path(), "sys/block/sdb/removable", b"0\n");
        write(root.path(), "sys/block/sdb/device/vpd_pg80", b"\0\x80\0\x08  DISK-9");
        write(root.path(), "sys/class/dmi/id/board_serial", b"Default string\n");
        write(root.path(), "etc/machine-id", b"abc\n");
        let sources = read_below(root.path());
        assert_eq!(sources.disk_serial.as_deref(), Some("DISK-9"));
        assert_eq!(sources.board_serial, None);
        assert_eq!(sources.os_id.as_deref(), Some("abc"));
    }
}
