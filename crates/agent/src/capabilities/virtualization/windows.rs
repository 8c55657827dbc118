//! From SMBIOS, the processor and the registry.

use super::cpu;
use super::verdict::{Evidence, Firmware, judge};
use crate::os::wmi::Namespace;
use crate::os::{hardware, registry};
use gururmm_protocol::virtualization::{
    Container, HostKind, HostedMachine, Hypervisor, Virtualization, VmHost,
};
use uuid::Uuid;

/// What Hyper-V's host tells its guest.
const GUEST: &str = r"SOFTWARE\Microsoft\Virtual Machine\Guest\Parameters";
const CONTROL: &str = r"SYSTEM\CurrentControlSet\Control";
const HYPER_V_SERVICE: &str = r"SYSTEM\CurrentControlSet\Services\vmms";

pub(super) fn read() -> Virtualization {
    let smbios = hardware::smbios();
    let cpu = cpu::read();
    let is_hyper_v_root = cpu.is_hyper_v_root;
    let firmware = Firmware {
        bios_vendor: smbios.bios_vendor.unwrap_or_default(),
        bios_version: smbios.bios_version.unwrap_or_default(),
        system_vendor: smbios.manufacturer.unwrap_or_default(),
        product: smbios.product.unwrap_or_default(),
        board_vendor: smbios.board_vendor.unwrap_or_default(),
        chassis_tag: smbios.chassis_tag.unwrap_or_default(),
    };
    let verdict = judge(&Evidence { cpu, firmware, kernel: None });
    let container = registry::read_number(CONTROL, "ContainerType").map(|_| Container::Windows);
    let is_hyper_v = verdict.hypervisor == Some(Hypervisor::HyperV);
    let hyper_v_id = || registry::read_text(GUEST, "VirtualMachineId").map(|id| id.to_ascii_lowercase());
    let is_vm = verdict.hypervisor.is_some() && container.is_none();
    Virtualization {
        hypervisor: verdict.hypervisor,
        cloud: verdict.cloud,
        vm_uuid: is_vm.then(|| is_hyper_v.then(hyper_v_id).flatten().or(smbios.uuid)).flatten(),
        container,
        // A root without the service is there for the sake of Windows' own protection, or of WSL.
        host: (is_hyper_v_root && registry::read_number(HYPER_V_SERVICE, "Start").is_some()).then(hosted),
        appliance: None,
    }
}

/// By Hyper-V's own service. The host itself is among what it answers with; only machines have an id for a name.
fn hosted() -> VmHost {
    /// `EnabledState` of a machine that runs (Msvm_ComputerSystem).
    const RUNNING: f64 = 2.0;
    let (kind, machines) = (HostKind::HyperV, Vec::new());
    let namespace = match Namespace::open(r"ROOT\virtualization\v2") {
        Ok(Some(namespace)) => namespace,
        Ok(None) => {
            let unlisted = Some("Hyper-V's service does not answer".to_owned());
            return VmHost { kind, machines, total: None, unlisted };
        }
        Err(error) => {
            let unlisted = Some(format!("WMI does not answer: {error}"));
            return VmHost { kind, machines, total: None, unlisted };
        }
    };
    let query = "SELECT Name, ElementName, EnabledState FROM Msvm_ComputerSystem";
    let mut machines = namespace.query(query, |object| {
        let uuid = Uuid::try_parse(&object.text("Name")?).ok()?;
        Some(HostedMachine {
            name: object.text("ElementName").unwrap_or_else(|| "unnamed".to_owned()),
            uuid: Some(uuid.to_string()),
            running: object.number("EnabledState").map(|state| state == RUNNING),
        })
    });
    machines.sort();
    VmHost { kind, total: u32::try_from(machines.len()).ok(), machines, unlisted: None }
}
