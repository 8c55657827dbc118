//! From `/sys`, `/proc` and the files that containers, hosts and appliances are known by.

mod appliance;
mod container;
mod hosts;

use super::cpu;
use super::verdict::{Evidence, Firmware, Kernel, judge};
use crate::capabilities::system_info::is_told;
use crate::os::linux_files::{read_at_most, read_trimmed};
use gururmm_protocol::virtualization::{Hypervisor, Virtualization};
use std::fs;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Files of a folder that are looked at.
const MAX_ENTRIES: usize = 4_096;
/// Longest file that is read here.
const MAX_BYTES: usize = 64 * 1024;

pub(super) fn read() -> Virtualization {
    read_below(Path::new("/"), cpu::read())
}

fn read_below(root: &Path, cpu: cpu::Cpu) -> Virtualization {
    let kernel = kernel(root);
    let is_hyper_v_root = cpu.is_hyper_v_root;
    let verdict = judge(&Evidence { cpu, firmware: firmware(root), kernel });
    let container = container::find(root);
    // In a container the ids that can be read are of the machine beneath, which has an agent of its own perhaps.
    let is_vm = verdict.hypervisor.is_some() && container.is_none();
    Virtualization {
        hypervisor: verdict.hypervisor,
        cloud: verdict.cloud,
        vm_uuid: if is_vm { vm_uuid(root, verdict.hypervisor) } else { None },
        container,
        host: hosts::find(root, kernel, is_hyper_v_root),
        appliance: appliance::find(root),
    }
}

fn firmware(root: &Path) -> Firmware {
    let dmi = |name: &str| {
        let text = read_trimmed(root.join("sys/class/dmi/id").join(name));
        text.filter(|text| is_told(text)).unwrap_or_default()
    };
    Firmware {
        bios_vendor: dmi("bios_vendor"),
        bios_version: dmi("bios_version"),
        system_vendor: dmi("sys_vendor"),
        product: dmi("product_name"),
        board_vendor: dmi("board_vendor"),
        chassis_tag: dmi("chassis_asset_tag"),
    }
}

fn kernel(root: &Path) -> Option<Kernel> {
    let text = |path: &str| read_trimmed(root.join(path)).unwrap_or_default();
    if text("sys/hypervisor/type") == "xen" || root.join("proc/xen/capabilities").exists() {
        let manages = text("proc/xen/capabilities").split(',').any(|right| right == "control_d");
        return Some(if manages { Kernel::XenDomain0 } else { Kernel::GuestOf(Hypervisor::Xen) });
    }
    // Where a device tree stands in for firmware. Its texts end with a NUL.
    let tree = text("proc/device-tree/hypervisor/compatible");
    match tree.trim_matches('\0') {
        "linux,kvm" => Some(Kernel::GuestOf(Hypervisor::Kvm)),
        tree if tree.contains("xen") => Some(Kernel::GuestOf(Hypervisor::Xen)),
        tree if tree.contains("vmware") => Some(Kernel::GuestOf(Hypervisor::Vmware)),
        _ if root.join("proc/device-tree/fw-cfg@9020000").exists() => Some(Kernel::GuestOf(Hypervisor::Qemu)),
        _ => None,
    }
}

/// The id a hypervisor knows a machine by: Hyper-V's own is not what it gives as the hardware's.
fn vm_uuid(root: &Path, hypervisor: Option<Hypervisor>) -> Option<String> {
    let hyper_v = (hypervisor == Some(Hypervisor::HyperV)).then(|| hyper_v_id(root)).flatten();
    hyper_v.or_else(|| {
        let files = ["sys/class/dmi/id/product_uuid", "sys/hypervisor/uuid", "proc/device-tree/vm,uuid"];
        files.iter().find_map(|file| uuid(read_trimmed(root.join(file))?.trim_matches('\0')))
    })
}

/// What the host tells a guest, as Linux' daemon for that keeps it: pairs of a name in 512 bytes and a value in 2048.
fn hyper_v_id(root: &Path) -> Option<String> {
    const NAME: usize = 512;
    const VALUE: usize = 2_048;
    let mut pool = Vec::new();
    read_at_most(root.join("var/lib/hyperv/.kvp_pool_3"), 64 * (NAME + VALUE), &mut pool).ok()?;
    let text = |bytes: &[u8]| {
        String::from_utf8_lossy(bytes.split(|byte| *byte == 0).next().unwrap_or_default()).into_owned()
    };
    pool.chunks_exact(NAME + VALUE).find_map(|pair| {
        let (name, value) = pair.split_at_checked(NAME)?;
        (text(name) == "VirtualMachineId").then(|| uuid(&text(value)))?
    })
}

/// A uuid that is one, in small letters.
fn uuid(text: &str) -> Option<String> {
    let uuid = Uuid::try_parse(text.trim()).ok()?;
    (!uuid.is_nil() && !uuid.is_max()).then(|| uuid.to_string())
}

/// The files of a folder with this ending, in order. `None` when there is no such folder or it may not be read.
fn files_with(folder: &Path, ending: &str) -> Option<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).ok()?;
    let paths = entries.take(MAX_ENTRIES).flatten().map(|entry| entry.path());
    let mut files: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == ending)).collect();
    files.sort();
    Some(files)
}

/// A text file, as much of it as counts.
fn text(path: &Path) -> Option<String> {
    let mut buffer = Vec::new();
    read_at_most(path, MAX_BYTES, &mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer).into_owned())
}

/// The value of the first line `name="value"` or `name=value`.
fn setting(text: &str, name: &str) -> Option<String> {
    let value =
        text.lines().find_map(|line| line.trim().strip_prefix(name)?.trim_start().strip_prefix('='))?;
    let value = value.trim().trim_matches(['"', '\'']).trim();
    (!value.is_empty()).then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    pub(super) struct Root(tempfile::TempDir);

    impl Root {
        pub(super) fn new(files: &[(&str, &str)]) -> Self {
            let root = Self(tempfile::tempdir().unwrap());
            files.iter().for_each(|(path, text)| root.write(path, text.as_bytes()));
            root
        }

        pub(super) fn write(&self, path: &str, bytes: &[u8]) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }

        pub(super) fn path(&self) -> &Path {
            self.0.path()
        }
    }

    fn found(files: &[(&str, &str)]) -> Virtualization {
        read_below(Root::new(files).path(), cpu::Cpu::default())
    }

    #[test]
    fn a_virtual_machine_has_the_id_its_hypervisor_gave_it() {
        const KVM: &[(&str, &str)] = &[
            ("sys/class/dmi/id/sys_vendor", "QEMU\n"),
            ("sys/class/dmi/id/product_uuid", "4C4C4544-0042-3510-8052-B4C04F313233\n"),
            ("proc/device-tree/hypervisor/compatible", "linux,kvm\0"),
        ];
        let vm = found(KVM);
        assert_eq!(vm.hypervisor, Some(Hypervisor::Qemu), "not an x86: the firmware is believed");
        assert_eq!(vm.vm_uuid.as_deref(), Some("4c4c4544-0042-3510-8052-b4c04f313233"));
        let in_container = found(&[KVM, &[(".dockerenv", "")]].concat());
        assert_eq!((in_container.hypervisor, in_container.vm_uuid), (vm.hypervisor, None));
        let bare = found(&[("sys/class/dmi/id/product_uuid", "4C4C4544-0042-3510-8052-B4C04F313233\n")]);
        assert_eq!(bare, Virtualization::default());
    }

    #[test]
    fn a_kernel_that_knows_its_hypervisor_is_believed_where_firmware_says_nothing() {
        let kvm = found(&[("proc/device-tree/hypervisor/compatible", "linux,kvm\0")]);
        assert_eq!(kvm.hypervisor, Some(Hypervisor::Kvm));
        let xen = found(&[
            ("sys/hypervisor/type", "xen\n"),
            ("sys/hypervisor/uuid", "ec2e1916-9099-7caf-fd21-012345abcdef\n"),
            ("proc/xen/capabilities", "\n"),
        ]);
        assert_eq!(xen.hypervisor, Some(Hypervisor::Xen));
        assert_eq!(xen.vm_uuid.as_deref(), Some("ec2e1916-9099-7caf-fd21-012345abcdef"));
        let host = found(&[("sys/hypervisor/type", "xen\n"), ("proc/xen/capabilities", "control_d\n")]);
        assert_eq!((host.hypervisor, host.host.is_some()), (None, true));
    }

    #[test]
    fn hyper_v_tells_its_own_id() {
        let mut pool = vec![0u8; 2 * 2_560];
        pool[..8].copy_from_slice(b"HostName");
        pool[2_560..2_576].copy_from_slice(b"VirtualMachineId");
        pool[3_072..3_108].copy_from_slice(b"0E8EDE6A-DB2F-4BC4-8A5B-7A3F0D3A9A11");
        let root = Root::new(&[
            ("sys/class/dmi/id/sys_vendor", "Microsoft Corporation\n"),
            ("sys/class/dmi/id/product_name", "Virtual Machine\n"),
            ("sys/class/dmi/id/product_uuid", "11111111-2222-3333-4444-555555555555\n"),
        ]);
        let id = || read_below(root.path(), cpu::Cpu::default()).vm_uuid;
        assert_eq!(id().as_deref(), Some("11111111-2222-3333-4444-555555555555"));
        root.write("var/lib/hyperv/.kvp_pool_3", &pool);
        assert_eq!(id().as_deref(), Some("0e8ede6a-db2f-4bc4-8a5b-7a3f0d3a9a11"));
        root.write("var/lib/hyperv/.kvp_pool_3", &pool[..3_000]);
        assert_eq!(id().as_deref(), Some("11111111-2222-3333-4444-555555555555"));
    }

    #[test]
    fn what_may_not_be_read_is_not_there() {
        let root = Root::new(&[("etc/libvirt/qemu/dc-01.xml", "<name>dc-01</name>")]);
        fs::set_permissions(root.path().join("etc/libvirt/qemu"), fs::Permissions::from_mode(0o000)).unwrap();
        let is_root = fs::read_dir(root.path().join("etc/libvirt/qemu")).is_ok();
        let host = read_below(root.path(), cpu::Cpu::default()).host.unwrap();
        assert_eq!(host.unlisted.is_none(), is_root);
    }
}
