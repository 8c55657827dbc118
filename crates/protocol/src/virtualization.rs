//! Whether a machine is a machine of its own, since protocol 1.1: virtual machine, container, host of virtual machines,
//! storage appliance. All of it is what the machine says of itself.

use crate::limits::{MAX_LIST_ITEMS, MAX_NAME_CHARS, MAX_TEXT_CHARS, clean, clean_optional};
use serde::{Deserialize, Serialize};

/// What a machine runs on and what runs on it. With nothing in it: hardware of its own that hosts nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Virtualization {
    /// What it is a virtual machine of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypervisor: Option<Hypervisor>,
    /// Whose virtual machine it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud: Option<Cloud>,
    /// The id its hypervisor knows it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vm_uuid: Option<String>,
    /// What the agent itself is confined in. `hypervisor` is then that of the machine beneath.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<Container>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<VmHost>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub appliance: Option<Appliance>,
}

/// A hypervisor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Hypervisor {
    Kvm,
    /// QEMU without KVM: an emulated processor.
    Qemu,
    Vmware,
    HyperV,
    Xen,
    Virtualbox,
    Parallels,
    Bhyve,
    /// Apple's Virtualization framework.
    Apple,
    /// One without a name here, or a word this build does not know.
    #[serde(other)]
    Other,
}

/// A provider of virtual machines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Cloud {
    Aws,
    Azure,
    GoogleCloud,
    DigitalOcean,
    Hetzner,
    OracleCloud,
    AlibabaCloud,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

/// What holds a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum Container {
    Docker,
    Podman,
    Kubernetes,
    Lxc,
    SystemdNspawn,
    Openvz,
    /// A container of Windows' own.
    Windows,
    /// One without a name here, or a word this build does not know.
    #[serde(other)]
    Other,
}

/// The virtual machines that a machine hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmHost {
    pub kind: HostKind,
    #[serde(default)]
    pub machines: Vec<HostedMachine>,
    /// How many there are, those that found no room in the list included. Absent where they cannot be listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<u32>,
    /// Why they cannot be listed, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlisted: Option<String>,
}

/// What runs the virtual machines of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum HostKind {
    Libvirt,
    Proxmox,
    HyperV,
    Xen,
    /// QEMU's processes, without a system that knows of them.
    Qemu,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

/// A virtual machine as its host knows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct HostedMachine {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<bool>,
}

/// A system that is sold or given away as a storage appliance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appliance {
    pub kind: ApplianceKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Whose appliance it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub enum ApplianceKind {
    Synology,
    Qnap,
    Truenas,
    Unraid,
    Openmediavault,
    /// A word this build does not know.
    #[serde(other)]
    Other,
}

impl Virtualization {
    /// Brings agent-supplied values within limits.
    pub fn clean(&mut self) {
        clean_optional(&mut self.vm_uuid, MAX_UUID_CHARS);
        if let Some(host) = &mut self.host {
            host.machines.truncate(MAX_LIST_ITEMS);
            for machine in &mut host.machines {
                clean(&mut machine.name, MAX_NAME_CHARS);
                clean_optional(&mut machine.uuid, MAX_UUID_CHARS);
            }
            clean_optional(&mut host.unlisted, MAX_TEXT_CHARS);
        }
        if let Some(appliance) = &mut self.appliance {
            clean_optional(&mut appliance.model, MAX_NAME_CHARS);
            clean_optional(&mut appliance.version, MAX_NAME_CHARS);
        }
    }
}

/// Longest id of a virtual machine.
const MAX_UUID_CHARS: usize = 64;
