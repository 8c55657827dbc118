//! What the processor says of a hypervisor. Only x86 has instructions to ask that with.

/// What CPUID tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cpu {
    /// A hypervisor stands between this system and the hardware. Absent where the processor cannot be asked.
    pub is_virtual: Option<bool>,
    /// The names of hypervisors, each of twelve letters. One that imitates another gives both.
    pub vendors: Vec<String>,
    /// This system is the one that manages Hyper-V's virtual machines: it runs above the hypervisor, on its own hardware.
    pub is_hyper_v_root: bool,
}

/// Asks the processor.
#[cfg(target_arch = "x86_64")]
pub(super) fn read() -> Cpu {
    read_by(|leaf| {
        let answer = core::arch::x86_64::__cpuid(leaf);
        [answer.eax, answer.ebx, answer.ecx, answer.edx]
    })
}

/// Nothing to ask here.
#[cfg(not(target_arch = "x86_64"))]
pub(super) fn read() -> Cpu {
    Cpu::default()
}

/// Leaf 1 says in bit 31 of ECX that there is a hypervisor; from 0x40000000 on, in steps of 0x100, hypervisors name
/// themselves (TLFS 2.4, KVM's `cpuid.rst`, Xen's `cpuid.h`).
#[cfg(any(target_arch = "x86_64", test))]
fn read_by(cpuid: impl Fn(u32) -> [u32; 4]) -> Cpu {
    const HYPERVISOR_BIT: u32 = 1 << 31;
    const FIRST_LEAF: u32 = 0x4000_0000;
    /// Of a Hyper-V partition's rights: may manage processors (TLFS 4.2.2).
    const CPU_MANAGEMENT: u32 = 1 << 12;
    let [_, _, features, _] = cpuid(1);
    if features & HYPERVISOR_BIT == 0 {
        return Cpu { is_virtual: Some(false), ..Cpu::default() };
    }
    let mut vendors: Vec<String> = Vec::new();
    for leaf in (0..4).map(|step| FIRST_LEAF + step * 0x100) {
        let [_, b, c, d] = cpuid(leaf);
        let bytes: Vec<u8> = [b, c, d].into_iter().flat_map(u32::to_le_bytes).collect();
        let is_name = bytes.iter().all(|byte| *byte == 0 || byte.is_ascii_graphic() || *byte == b' ');
        let name = String::from_utf8_lossy(&bytes).trim_matches(['\0', ' ']).to_owned();
        if is_name && !name.is_empty() && !vendors.contains(&name) {
            vendors.push(name);
        }
    }
    let is_hyper_v = vendors.first().is_some_and(|vendor| vendor == "Microsoft Hv");
    let is_hyper_v_root = is_hyper_v && {
        let [_, rights, ..] = cpuid(FIRST_LEAF + 3);
        rights & CPU_MANAGEMENT != 0
    };
    Cpu { is_virtual: Some(true), vendors, is_hyper_v_root }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> [u32; 4] {
        let mut bytes = name.as_bytes().to_vec();
        bytes.resize(12, 0);
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        [0x4000_0001, word(0), word(4), word(8)]
    }

    #[test]
    fn the_bit_of_a_hypervisor_decides_whether_names_are_read() {
        let bare = read_by(|leaf| if leaf == 1 { [0; 4] } else { named("KVMKVMKVM") });
        assert_eq!(bare, Cpu { is_virtual: Some(false), ..Cpu::default() });
        let hidden = read_by(|leaf| if leaf == 1 { [0, 0, 1 << 31, 0] } else { [u32::MAX; 4] });
        assert_eq!(hidden, Cpu { is_virtual: Some(true), ..Cpu::default() });
    }

    #[test]
    fn a_hypervisor_that_imitates_another_gives_both_names() {
        let cpu = read_by(|leaf| match leaf {
            1 => [0, 0, 1 << 31, 0],
            0x4000_0000 => named("Microsoft Hv"),
            0x4000_0100 => named("KVMKVMKVM"),
            _ => [0; 4],
        });
        assert_eq!(cpu.vendors, ["Microsoft Hv", "KVMKVMKVM"]);
        assert!(!cpu.is_hyper_v_root);
    }

    #[test]
    fn a_partition_that_manages_processors_is_the_root() {
        let cpu = |rights: u32| {
            read_by(|leaf| match leaf {
                1 => [0, 0, 1 << 31, 0],
                0x4000_0000 => named("Microsoft Hv"),
                0x4000_0003 => [0, rights, 0, 0],
                _ => [0; 4],
            })
        };
        assert!(cpu(0x2bb9_3fff).is_hyper_v_root);
        assert!(!cpu(0x0000_0030).is_hyper_v_root);
    }

    #[test]
    fn this_processor_answers() {
        assert_eq!(read().is_virtual.is_some(), cfg!(target_arch = "x86_64"));
    }
}
