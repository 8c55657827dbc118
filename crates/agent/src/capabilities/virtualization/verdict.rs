//! From what hardware and kernel say to what a machine is.

use super::cpu::Cpu;
use gururmm_protocol::virtualization::{Cloud, Hypervisor};

/// What firmware, processor and kernel tell. Texts that nobody told are empty.
#[derive(Debug, Clone, Default)]
pub(super) struct Evidence {
    pub cpu: Cpu,
    pub firmware: Firmware,
    /// What the kernel says of itself.
    pub kernel: Option<Kernel>,
}

/// From the SMBIOS tables, or what stands in for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Firmware {
    pub bios_vendor: String,
    pub bios_version: String,
    pub system_vendor: String,
    pub product: String,
    pub board_vendor: String,
    pub chassis_tag: String,
}

/// What a kernel knows of its hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux tells these"))]
pub(super) enum Kernel {
    /// It is a guest of this one.
    GuestOf(Hypervisor),
    /// It manages Xen's virtual machines, on its own hardware.
    XenDomain0,
}

/// What follows from the evidence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub hypervisor: Option<Hypervisor>,
    pub cloud: Option<Cloud>,
}

/// Firmware that names a hypervisor is believed first: hypervisors imitate one another to the processor's instructions, for
/// the sake of guests that know few of them, and do so less to people.
pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let Evidence { cpu, firmware, kernel } = evidence;
    let by_firmware = firmware.hypervisor(cpu);
    let is_managing = cpu.is_hyper_v_root || *kernel == Some(Kernel::XenDomain0);
    let hypervisor = match kernel {
        // Above the hypervisor, unless the firmware says that there is another one beneath.
        _ if is_managing => by_firmware,
        Some(Kernel::GuestOf(hypervisor)) => by_firmware.or_else(|| by_processor(cpu)).or(Some(*hypervisor)),
        _ => by_firmware.or_else(|| by_processor(cpu)),
    };
    Verdict { hypervisor, cloud: firmware.cloud() }
}

fn by_processor(cpu: &Cpu) -> Option<Hypervisor> {
    if cpu.is_virtual != Some(true) {
        return None;
    }
    let mut found: Vec<_> = cpu.vendors.iter().map(|vendor| named(vendor)).collect();
    // Many imitate Hyper-V beside being themselves.
    found.sort_by_key(|hypervisor| match hypervisor {
        Hypervisor::Other => 2,
        Hypervisor::HyperV => 1,
        _ => 0,
    });
    Some(found.first().copied().unwrap_or(Hypervisor::Other))
}

/// The hypervisor that calls itself so in CPUID.
fn named(vendor: &str) -> Hypervisor {
    match vendor {
        "KVMKVMKVM" | "Linux KVM Hv" => Hypervisor::Kvm,
        "TCGTCGTCGTCG" | "HAXMHAXMHAXM" => Hypervisor::Qemu,
        "VMwareVMware" => Hypervisor::Vmware,
        "Microsoft Hv" => Hypervisor::HyperV,
        "XenVMMXenVMM" => Hypervisor::Xen,
        "VBoxVBoxVBox" => Hypervisor::Virtualbox,
        // Its four-letter groups come in the wrong order.
        "lrpepyh  vr" | "prl hyperv" => Hypervisor::Parallels,
        "bhyve bhyve" => Hypervisor::Bhyve,
        _ => Hypervisor::Other,
    }
}

impl Firmware {
    fn hypervisor(&self, cpu: &Cpu) -> Option<Hypervisor> {
        let texts = [&self.system_vendor, &self.product, &self.board_vendor, &self.bios_vendor];
        let begins = |start: &str| texts.iter().any(|text| text.starts_with(start));
        if self.system_vendor == "Microsoft Corporation" && self.product == "Virtual Machine" {
            return Some(Hypervisor::HyperV);
        }
        let strong = [
            ("VMware", Hypervisor::Vmware),
            ("VirtualBox", Hypervisor::Virtualbox),
            ("innotek GmbH", Hypervisor::Virtualbox),
            ("Parallels", Hypervisor::Parallels),
            ("HVM domU", Hypervisor::Xen),
            ("BHYVE", Hypervisor::Bhyve),
            ("Apple Virtualization", Hypervisor::Apple),
            ("VirtualMac", Hypervisor::Apple),
        ];
        if let Some((_, hypervisor)) = strong.iter().find(|(start, _)| begins(start)) {
            return Some(*hypervisor);
        }
        // KVM's own, or of those who rent it out; their hardware without a hypervisor bears the same names.
        let kvm = [
            "QEMU",
            "KVM",
            "Bochs",
            "Google Compute Engine",
            "Amazon EC2",
            "DigitalOcean",
            "vServer",
            "OpenStack",
            "Alibaba Cloud",
            "oVirt",
            "AHV",
            "RHEV",
        ];
        if !kvm.iter().any(|start| begins(start)) || self.is_bare_metal(cpu) {
            return None;
        }
        match by_processor(cpu) {
            // Imitated for Windows' sake: the firmware says what it is.
            None | Some(Hypervisor::HyperV | Hypervisor::Other) if cpu.is_virtual.is_some() => {
                Some(Hypervisor::Kvm)
            }
            None if begins("QEMU") => Some(Hypervisor::Qemu),
            None => Some(Hypervisor::Kvm),
            found => found,
        }
    }

    /// Whether it is a whole machine, rented out.
    fn is_bare_metal(&self, cpu: &Cpu) -> bool {
        let is_named_so = self.product.contains(".metal") || self.product.contains("metal-");
        let is_rented = ["Amazon EC2", "Alibaba Cloud", "Google"].contains(&self.system_vendor.as_str());
        is_rented && (is_named_so || cpu.is_virtual == Some(false))
    }

    fn cloud(&self) -> Option<Cloud> {
        /// Microsoft's mark on Azure's machines.
        const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";
        let vendor = self.system_vendor.as_str();
        match (vendor, self.chassis_tag.as_str()) {
            (_, AZURE) => Some(Cloud::Azure),
            (_, "OracleCloud.com") => Some(Cloud::OracleCloud),
            ("Amazon EC2", _) => Some(Cloud::Aws),
            ("Xen", _) if self.bios_version.contains("amazon") => Some(Cloud::Aws),
            ("Google", _) if self.product == "Google Compute Engine" => Some(Cloud::GoogleCloud),
            ("DigitalOcean", _) => Some(Cloud::DigitalOcean),
            ("Hetzner", _) if self.product == "vServer" => Some(Cloud::Hetzner),
            ("Alibaba Cloud", _) => Some(Cloud::AlibabaCloud),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Hypervisor::{Apple, Bhyve, HyperV, Kvm, Other, Parallels, Qemu, Virtualbox, Vmware, Xen};

    /// A processor with a hypervisor of these names.
    fn virtual_by(vendors: &[&str]) -> Cpu {
        let vendors = vendors.iter().map(|vendor| (*vendor).to_owned()).collect();
        Cpu { is_virtual: Some(true), vendors, is_hyper_v_root: false }
    }

    fn bare() -> Cpu {
        Cpu { is_virtual: Some(false), ..Cpu::default() }
    }

    /// Not an x86.
    fn mute() -> Cpu {
        Cpu::default()
    }

    /// Vendor and product of the system, vendor and version of the BIOS, tag of the chassis.
    fn firmware([system_vendor, product, bios_vendor, bios_version, chassis_tag]: [&str; 5]) -> Firmware {
        Firmware {
            bios_vendor: bios_vendor.into(),
            bios_version: bios_version.into(),
            system_vendor: system_vendor.into(),
            product: product.into(),
            board_vendor: String::new(),
            chassis_tag: chassis_tag.into(),
        }
    }

    #[test]
    fn machines_are_what_they_are_known_to_be() {
        const AZURE: &str = "7783-7084-3265-9085-8269-3286-77";
        let kvm = || virtual_by(&["KVMKVMKVM"]);
        let hv = || virtual_by(&["Microsoft Hv"]);
        let q35 = ["QEMU", "Standard PC (Q35 + ICH9, 2009)", "SeaBIOS", "1.16.2", ""];
        for (what, cpu, said, hypervisor, cloud) in [
            ("QEMU with KVM", kvm(), q35, Some(Kvm), None),
            (
                "KVM with Hyper-V's interface beside its own",
                virtual_by(&["Microsoft Hv", "KVMKVMKVM"]),
                q35,
                Some(Kvm),
                None,
            ),
            ("KVM that only shows Hyper-V's interface", hv(), q35, Some(Kvm), None),
            ("KVM that hides itself", virtual_by(&[]), q35, Some(Kvm), None),
            ("QEMU without KVM", virtual_by(&["TCGTCGTCGTCG"]), q35, Some(Qemu), None),
            ("QEMU on ARM", mute(), ["QEMU", "QEMU Virtual Machine", "EDK II", "", ""], Some(Qemu), None),
            ("libvirt's KVM product", kvm(), ["Red Hat", "KVM", "SeaBIOS", "", ""], Some(Kvm), None),
            ("a hypervisor without any firmware", kvm(), [""; 5], Some(Kvm), None),
            (
                "VMware",
                virtual_by(&["VMwareVMware"]),
                [
                    "VMware, Inc.",
                    "VMware Virtual Platform",
                    "Phoenix Technologies LTD",
                    "6.00",
                    "No Asset Tag",
                ],
                Some(Vmware),
                None,
            ),
            (
                "VMware with Hyper-V's interface",
                hv(),
                ["VMware, Inc.", "VMware7,1", "VMware, Inc.", "", ""],
                Some(Vmware),
                None,
            ),
            (
                "Hyper-V",
                hv(),
                [
                    "Microsoft Corporation",
                    "Virtual Machine",
                    "American Megatrends Inc.",
                    "090008",
                    "1234-5678-9012-3456-7890-1234-56",
                ],
                Some(HyperV),
                None,
            ),
            (
                "Azure",
                hv(),
                [
                    "Microsoft Corporation",
                    "Virtual Machine",
                    "Microsoft Corporation",
                    "Hyper-V UEFI Release v4.1",
                    AZURE,
                ],
                Some(HyperV),
                Some(Cloud::Azure),
            ),
            ("WSL, which has no firmware", hv(), [""; 5], Some(HyperV), None),
            ("Xen", virtual_by(&["XenVMMXenVMM"]), ["Xen", "HVM domU", "Xen", "4.17", ""], Some(Xen), None),
            (
                "Xen with Hyper-V's interface",
                virtual_by(&["Microsoft Hv", "XenVMMXenVMM"]),
                [""; 5],
                Some(Xen),
                None,
            ),
            (
                "AWS on Xen",
                virtual_by(&["XenVMMXenVMM"]),
                ["Xen", "HVM domU", "Xen", "4.11.amazon", ""],
                Some(Xen),
                Some(Cloud::Aws),
            ),
            (
                "AWS Nitro",
                kvm(),
                ["Amazon EC2", "t3.micro", "Amazon EC2", "1.0", "Amazon EC2"],
                Some(Kvm),
                Some(Cloud::Aws),
            ),
            (
                "AWS Nitro on ARM",
                mute(),
                ["Amazon EC2", "t4g.small", "Amazon EC2", "1.0", "Amazon EC2"],
                Some(Kvm),
                Some(Cloud::Aws),
            ),
            (
                "AWS without a hypervisor",
                bare(),
                ["Amazon EC2", "c5.metal", "Amazon EC2", "1.0", ""],
                None,
                Some(Cloud::Aws),
            ),
            (
                "AWS without a hypervisor on ARM",
                mute(),
                ["Amazon EC2", "c7g.metal", "Amazon EC2", "1.0", ""],
                None,
                Some(Cloud::Aws),
            ),
            (
                "Google Cloud",
                kvm(),
                ["Google", "Google Compute Engine", "Google", "Google", ""],
                Some(Kvm),
                Some(Cloud::GoogleCloud),
            ),
            ("a Chromebook", bare(), ["Google", "Pixelbook", "coreboot", "", ""], None, None),
            (
                "DigitalOcean",
                kvm(),
                ["DigitalOcean", "Droplet", "DigitalOcean", "20171212", ""],
                Some(Kvm),
                Some(Cloud::DigitalOcean),
            ),
            (
                "Hetzner Cloud",
                kvm(),
                ["Hetzner", "vServer", "Hetzner", "20171111", ""],
                Some(Kvm),
                Some(Cloud::Hetzner),
            ),
            (
                "Oracle Cloud",
                kvm(),
                ["QEMU", "Standard PC (i440FX + PIIX, 1996)", "SeaBIOS", "", "OracleCloud.com"],
                Some(Kvm),
                Some(Cloud::OracleCloud),
            ),
            (
                "Alibaba Cloud",
                kvm(),
                ["Alibaba Cloud", "Alibaba Cloud ECS", "SeaBIOS", "", ""],
                Some(Kvm),
                Some(Cloud::AlibabaCloud),
            ),
            (
                "VirtualBox",
                virtual_by(&["VBoxVBoxVBox"]),
                ["innotek GmbH", "VirtualBox", "innotek GmbH", "VirtualBox", ""],
                Some(Virtualbox),
                None,
            ),
            (
                "VirtualBox over KVM's interface",
                kvm(),
                ["innotek GmbH", "VirtualBox", "innotek GmbH", "", ""],
                Some(Virtualbox),
                None,
            ),
            (
                "Oracle's own hardware",
                bare(),
                ["Oracle Corporation", "SUN SERVER X9-2", "American Megatrends", "", ""],
                None,
                None,
            ),
            (
                "Parallels",
                virtual_by(&["prl hyperv"]),
                ["Parallels Software International Inc.", "Parallels Virtual Platform", "Parallels", "", ""],
                Some(Parallels),
                None,
            ),
            (
                "Parallels on ARM",
                mute(),
                ["Parallels International GmbH.", "Parallels ARM Virtual Machine", "", "", ""],
                Some(Parallels),
                None,
            ),
            ("bhyve", virtual_by(&["bhyve bhyve"]), ["", "BHYVE", "BHYVE", "1.00", ""], Some(Bhyve), None),
            (
                "Apple's virtual machine",
                mute(),
                ["Apple Inc.", "Apple Virtualization Generic Platform", "", "", ""],
                Some(Apple),
                None,
            ),
            (
                "a Mac in a virtual machine",
                mute(),
                ["Apple Inc.", "VirtualMac2,1", "", "", ""],
                Some(Apple),
                None,
            ),
            ("a Mac", mute(), ["Apple Inc.", "Mac14,2", "", "", ""], None, None),
            ("a server", bare(), ["Dell Inc.", "PowerEdge R750", "Dell Inc.", "1.9.2", ""], None, None),
            (
                "a Surface",
                bare(),
                ["Microsoft Corporation", "Surface Pro 9", "Microsoft Corporation", "", ""],
                None,
                None,
            ),
            ("a hypervisor nobody knows", virtual_by(&["ACRNACRNACRN"]), [""; 5], Some(Other), None),
            ("nothing told at all", mute(), [""; 5], None, None),
        ] {
            let evidence = Evidence { cpu, firmware: firmware(said), kernel: None };
            assert_eq!(judge(&evidence), Verdict { hypervisor, cloud }, "{what}");
        }
    }

    #[test]
    fn who_manages_a_hypervisor_is_no_virtual_machine_of_it() {
        let dell = ["Dell Inc.", "PowerEdge R750", "Dell Inc.", "1.9.2", ""];
        let nested = ["Microsoft Corporation", "Virtual Machine", "Microsoft Corporation", "", ""];
        let root = Cpu { is_hyper_v_root: true, ..virtual_by(&["Microsoft Hv"]) };
        let verdict = |cpu: &Cpu, said, kernel| {
            judge(&Evidence { cpu: cpu.clone(), firmware: firmware(said), kernel }).hypervisor
        };
        assert_eq!(verdict(&root, dell, None), None);
        assert_eq!(verdict(&root, nested, None), Some(HyperV), "a host within a virtual machine");
        let xen = virtual_by(&["XenVMMXenVMM"]);
        assert_eq!(verdict(&xen, dell, Some(Kernel::XenDomain0)), None);
        assert_eq!(verdict(&mute(), [""; 5], Some(Kernel::GuestOf(Xen))), Some(Xen));
        assert_eq!(verdict(&mute(), [""; 5], Some(Kernel::GuestOf(Kvm))), Some(Kvm));
    }
}
