//! Whether a machine is hardware, a virtual machine or a container, and what it hosts: as it says itself.

use crate::db::words;
use gururmm_protocol::virtualization::{
    self, ApplianceKind, Cloud, Container, HostKind, Hypervisor, Virtualization,
};
use serde::Serialize;
use utoipa::ToSchema;

words! {
    /// What a machine is.
    MachineType {
        Physical = "physical",
        VirtualMachine = "virtual_machine",
        /// The agent runs in a container, whatever that runs on.
        Container = "container",
    }
}

impl MachineType {
    /// By what the machine says.
    pub fn of(virtualization: &Virtualization) -> Self {
        match virtualization {
            Virtualization { container: Some(_), .. } => Self::Container,
            Virtualization { hypervisor: Some(_), .. } => Self::VirtualMachine,
            _ => Self::Physical,
        }
    }
}

/// What a machine runs on and what runs on it, as of its last connection.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentVirtualization {
    pub machine_type: MachineType,
    /// What it is a virtual machine of; of a container, what the machine beneath is one of.
    pub hypervisor: Option<Hypervisor>,
    pub cloud: Option<Cloud>,
    /// The id its hypervisor knows it by.
    pub vm_uuid: Option<String>,
    pub container: Option<Container>,
    pub host: Option<VmHost>,
    pub appliance: Option<Appliance>,
}

/// Virtual machines that a machine hosts.
#[derive(Debug, Serialize, ToSchema)]
pub struct VmHost {
    pub kind: HostKind,
    pub machines: Vec<HostedMachine>,
    /// How many there are, those beyond the list included; absent where they cannot be listed.
    pub total: Option<u32>,
    /// Why they cannot be listed.
    pub unlisted: Option<String>,
}

/// A virtual machine as its host knows it.
#[derive(Debug, Serialize, ToSchema)]
pub struct HostedMachine {
    pub name: String,
    pub uuid: Option<String>,
    pub running: Option<bool>,
}

/// A storage appliance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Appliance {
    pub kind: ApplianceKind,
    pub model: Option<String>,
    pub version: Option<String>,
}

impl From<Virtualization> for AgentVirtualization {
    fn from(said: Virtualization) -> Self {
        Self {
            machine_type: MachineType::of(&said),
            hypervisor: said.hypervisor,
            cloud: said.cloud,
            vm_uuid: said.vm_uuid,
            container: said.container,
            host: said.host.map(VmHost::from),
            appliance: said.appliance.map(|appliance| Appliance {
                kind: appliance.kind,
                model: appliance.model,
                version: appliance.version,
            }),
        }
    }
}

impl From<virtualization::VmHost> for VmHost {
    fn from(host: virtualization::VmHost) -> Self {
        let machines = host.machines.into_iter().map(|machine| HostedMachine {
            name: machine.name,
            uuid: machine.uuid,
            running: machine.running,
        });
        Self { kind: host.kind, machines: machines.collect(), total: host.total, unlisted: host.unlisted }
    }
}
