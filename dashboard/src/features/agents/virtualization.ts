import type { Agent, AgentVirtualization } from "../../api/types";
import { plural } from "../../lib/format";

type Of<Key extends keyof AgentVirtualization> = NonNullable<AgentVirtualization[Key]>;

const HYPERVISORS: Record<Of<"hypervisor">, string> = {
  kvm: "KVM",
  qemu: "QEMU",
  vmware: "VMware",
  hyper_v: "Hyper-V",
  xen: "Xen",
  virtualbox: "VirtualBox",
  parallels: "Parallels",
  bhyve: "bhyve",
  apple: "Apple Virtualization",
  other: "an unknown hypervisor",
};

const CLOUDS: Record<Of<"cloud">, string> = {
  aws: "AWS",
  azure: "Azure",
  google_cloud: "Google Cloud",
  digital_ocean: "DigitalOcean",
  hetzner: "Hetzner",
  oracle_cloud: "Oracle Cloud",
  alibaba_cloud: "Alibaba Cloud",
  other: "cloud",
};

const CONTAINERS: Record<Of<"container">, string> = {
  docker: "Docker",
  podman: "Podman",
  kubernetes: "Kubernetes",
  lxc: "LXC",
  systemd_nspawn: "systemd-nspawn",
  openvz: "OpenVZ",
  windows: "Windows",
  other: "of an unknown kind",
};

const HOSTS: Record<Of<"host">["kind"], string> = {
  libvirt: "libvirt",
  proxmox: "Proxmox VE",
  hyper_v: "Hyper-V",
  xen: "Xen",
  qemu: "QEMU",
  other: "unknown",
};

const APPLIANCES: Record<Of<"appliance">["kind"], string> = {
  synology: "Synology",
  qnap: "QNAP",
  truenas: "TrueNAS",
  unraid: "Unraid",
  openmediavault: "openmediavault",
  other: "unknown",
};

export const MACHINE_TYPES: readonly {
  value: NonNullable<Agent["machine_type"]>;
  label: string;
}[] = [
  { value: "physical", label: "Hardware" },
  { value: "virtual_machine", label: "Virtual machine" },
  { value: "container", label: "Container" },
];

export function machineTypeLabel(type: Agent["machine_type"]): string {
  return MACHINE_TYPES.find(({ value }) => value === type)?.label ?? "–";
}

/** `Virtual machine on KVM (AWS)`, `Container (Docker) on KVM`, `Hardware of its own`. */
export function describeMachine({
  machine_type,
  hypervisor,
  cloud,
  container,
}: AgentVirtualization): string {
  const on = hypervisor ? ` on ${HYPERVISORS[hypervisor]}` : "";
  const at = cloud ? ` (${CLOUDS[cloud]})` : "";
  if (machine_type === "container") {
    return `Container (${CONTAINERS[container ?? "other"]})${on}${at}`;
  }
  return machine_type === "virtual_machine" ? `Virtual machine${on}${at}` : `Hardware${at}`;
}

/** `Hosts 3 virtual machines (Proxmox VE)`; as a host of machines that cannot be listed otherwise. */
export function describeHost({ kind, total }: Of<"host">): string {
  return total === null
    ? `Hosts virtual machines (${HOSTS[kind]})`
    : `Hosts ${plural(total, "virtual machine")} (${HOSTS[kind]})`;
}

/** `Synology DS920+, DSM 7.2.1`. */
export function describeAppliance({ kind, model, version }: Of<"appliance">): string {
  const name = [APPLIANCES[kind], model].filter(Boolean).join(" ");
  return [name, version].filter(Boolean).join(", ");
}
