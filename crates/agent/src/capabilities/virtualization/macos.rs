//! From the kernel's own words. Built here, not run.

use super::cpu;
use super::verdict::{Evidence, Firmware, judge};
use crate::os::{ioreg, sysctl};
use gururmm_protocol::virtualization::{Hypervisor, Virtualization};

pub(super) fn read() -> Virtualization {
    let printed = ioreg::class("IOPlatformExpertDevice").unwrap_or_default();
    let firmware = Firmware {
        system_vendor: ioreg::text(&printed, "manufacturer").unwrap_or_default(),
        product: sysctl("hw.model").unwrap_or_default(),
        ..Firmware::default()
    };
    let verdict = judge(&Evidence { cpu: cpu::read(), firmware, kernel: None });
    // Whatever the model is called, the kernel knows that it is one.
    let is_virtual = sysctl("kern.hv_vmm_present").as_deref() == Some("1");
    let hypervisor = verdict.hypervisor.or(is_virtual.then_some(Hypervisor::Other));
    let uuid = || ioreg::text(&printed, "IOPlatformUUID").map(|uuid| uuid.to_ascii_lowercase());
    Virtualization { hypervisor, vm_uuid: hypervisor.and_then(|_| uuid()), ..Virtualization::default() }
}
