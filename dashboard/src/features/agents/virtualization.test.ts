import { describe, expect, it } from "vitest";
import type { AgentVirtualization } from "../../api/types";
import {
  describeAppliance,
  describeHost,
  describeMachine,
  machineTypeLabel,
} from "./virtualization";

const machine = (change: Partial<AgentVirtualization>): AgentVirtualization => ({
  machine_type: "physical",
  hypervisor: null,
  cloud: null,
  vm_uuid: null,
  container: null,
  host: null,
  appliance: null,
  ...change,
});

describe("what a machine is", () => {
  it.each([
    [machine({}), "Hardware"],
    [machine({ cloud: "aws" }), "Hardware (AWS)"],
    [machine({ machine_type: "virtual_machine", hypervisor: "kvm" }), "Virtual machine on KVM"],
    [
      machine({ machine_type: "virtual_machine", hypervisor: "hyper_v", cloud: "azure" }),
      "Virtual machine on Hyper-V (Azure)",
    ],
    [machine({ machine_type: "container", container: "docker" }), "Container (Docker)"],
    [
      machine({ machine_type: "container", container: "lxc", hypervisor: "vmware" }),
      "Container (LXC) on VMware",
    ],
  ])("is said in one line", (said, expected) => {
    expect(describeMachine(said)).toBe(expected);
  });

  it("says what it hosts, and that it hosts what cannot be counted", () => {
    const host = { kind: "proxmox", machines: [], total: 3, unlisted: null } as const;
    expect(describeHost({ ...host, machines: [] })).toBe("Hosts 3 virtual machines (Proxmox VE)");
    expect(describeHost({ ...host, machines: [], kind: "xen", total: null })).toBe(
      "Hosts virtual machines (Xen)",
    );
  });

  it("says whose appliance it is", () => {
    const appliance = { kind: "synology", model: "DS920+", version: "DSM 7.2.1" } as const;
    expect(describeAppliance(appliance)).toBe("Synology DS920+, DSM 7.2.1");
    expect(describeAppliance({ kind: "unraid", model: null, version: null })).toBe("Unraid");
  });

  it("is not made up where the machine does not tell", () => {
    expect(machineTypeLabel(null)).toBe("–");
  });
});
