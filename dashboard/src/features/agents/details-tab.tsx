import { useSuspenseQuery } from "@tanstack/react-query";
import { useParams } from "@tanstack/react-router";
import type { AgentVirtualization, NetworkState } from "../../api/types";
import { formatBytes, formatClockOffset, formatOs, plural } from "../../lib/format";
import { Status } from "../../ui/badge";
import { Fact, Facts, Panel } from "../../ui/panel";
import { ScrollX } from "../../ui/scroll-x";
import { EmptyState } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { DateTime, RelativeTime } from "../../ui/time";
import { agentQuery } from "./queries";
import { describeAppliance, describeHost, describeMachine } from "./virtualization";

export function DetailsTab() {
  const { agentId } = useParams({ from: "/app/agents/$agentId/details" });
  const { agent, hardware, network, virtualization, ...detail } = useSuspenseQuery(
    agentQuery(agentId),
  ).data;
  return (
    <div className="grid gap-5">
      <div className="grid items-start gap-5 lg:grid-cols-2">
        <Panel title="Hardware">
          <Facts>
            <Fact label="Manufacturer">{hardware?.manufacturer}</Fact>
            <Fact label="Model">{hardware?.model}</Fact>
            <Fact label="Serial number" mono>
              {hardware?.serial}
            </Fact>
            {virtualization && <Fact label="Machine">{describeMachine(virtualization)}</Fact>}
            {virtualization?.vm_uuid && (
              <Fact label="Virtual machine id" mono>
                {virtualization.vm_uuid}
              </Fact>
            )}
            {virtualization?.appliance && (
              <Fact label="Appliance">{describeAppliance(virtualization.appliance)}</Fact>
            )}
            <Fact label="Processor">{hardware?.cpu_model}</Fact>
            <Fact label="Cores">{hardware?.cpu_cores}</Fact>
            <Fact label="Memory">
              {hardware?.memory_bytes != null ? formatBytes(hardware.memory_bytes) : null}
            </Fact>
            <Fact label="System">
              {formatOs(agent.os_type)}
              {agent.os_version && `, ${agent.os_version}`}
            </Fact>
            <Fact label="Kernel" mono>
              {hardware?.kernel}
            </Fact>
          </Facts>
        </Panel>
        <Panel title="Agent and identity">
          <Facts>
            <Fact label="Agent version" mono>
              {agent.agent_version}
            </Fact>
            <Fact label="Protocol" mono>
              {agent.protocol_version}
            </Fact>
            <Fact label="Enrolled">
              <DateTime time={agent.enrolled_at} />
            </Fact>
            <Fact label="Last seen">
              <RelativeTime time={agent.last_seen} />
            </Fact>
            <Fact label="Started">
              <DateTime time={detail.boot_time} />
            </Fact>
            <Fact label="Clock">{formatClockOffset(detail.clock_offset_ms)}</Fact>
            <Fact label="Agent id" mono>
              {agent.id}
            </Fact>
            <Fact label="Machine id" mono>
              {detail.machine_uid}
            </Fact>
            <Fact label="Machine id from">{uidSource(agent.machine_uid_source)}</Fact>
            <Fact label="Board serial" mono>
              {detail.board_serial}
            </Fact>
            <Fact label="Disk serial" mono>
              {detail.disk_serial}
            </Fact>
          </Facts>
        </Panel>
      </div>
      {virtualization?.host && <Hosted host={virtualization.host} />}
      <Network network={network} />
    </div>
  );
}

const UID_SOURCES: Record<string, string> = {
  smbios_uuid: "firmware (SMBIOS)",
  board_and_disk: "board and disk serial",
  os_id: "operating system (weak: changes with a new installation)",
};

function uidSource(source: string): string {
  return UID_SOURCES[source] ?? source;
}

function Hosted({ host }: { host: NonNullable<AgentVirtualization["host"]> }) {
  const missing = (host.total ?? 0) - host.machines.length;
  return (
    <Panel title={describeHost(host)} description="As of the last connection" flush>
      {host.unlisted !== null ? (
        <EmptyState title="They cannot be listed">{host.unlisted}</EmptyState>
      ) : host.machines.length === 0 ? (
        <EmptyState title="No virtual machine is set up on it" />
      ) : (
        <ScrollX label="Virtual machines">
          <Table>
            <thead>
              <tr>
                <Th>Virtual machine</Th>
                <Th>State</Th>
                <Th>Id</Th>
              </tr>
            </thead>
            <tbody>
              {host.machines.map((machine) => (
                <Tr key={machine.uuid ?? machine.name}>
                  <Td className="font-medium wrap-anywhere">{machine.name}</Td>
                  <Td>
                    {machine.running === null ? (
                      "–"
                    ) : (
                      <Status tone={machine.running ? "ok" : "idle"}>
                        {machine.running ? "Running" : "Off"}
                      </Status>
                    )}
                  </Td>
                  <Td className="font-mono text-sm">{machine.uuid ?? "–"}</Td>
                </Tr>
              ))}
            </tbody>
          </Table>
        </ScrollX>
      )}
      {missing > 0 && host.unlisted === null && (
        <p className="border-t px-4 py-3 text-ink-2 text-sm">
          {plural(missing, "further one is", "further ones are")} not listed.
        </p>
      )}
    </Panel>
  );
}

function Network({ network }: { network: NetworkState | null }) {
  if (!network) {
    return (
      <Panel title="Network">
        <EmptyState title="No network state yet">
          The machine reports it when it connects, and again whenever it changes.
        </EmptyState>
      </Panel>
    );
  }
  return (
    <Panel
      title="Network"
      flush
      actions={
        <span className="text-ink-3 text-sm">
          changed <RelativeTime time={network.received_at} />
        </span>
      }
    >
      <div className="border-b p-4">
        <Facts>
          <Fact label="Gateway" mono>
            {network.gateway}
          </Fact>
          <Fact label="Name servers" mono>
            {network.dns.join(", ") || null}
          </Fact>
        </Facts>
      </div>
      {network.interfaces.length === 0 ? (
        <EmptyState title="No interfaces reported" />
      ) : (
        <ScrollX label="Interfaces">
          <Table>
            <thead>
              <tr>
                <Th>Interface</Th>
                <Th>State</Th>
                <Th>Hardware address</Th>
                <Th>IPv4</Th>
                <Th>IPv6</Th>
                <Th>Subnets</Th>
              </tr>
            </thead>
            <tbody>
              {network.interfaces.map((entry) => (
                <Tr key={entry.name} className="align-top [&>td]:py-3">
                  <Td className="font-medium">{entry.name}</Td>
                  <Td>
                    <Status tone={entry.up ? "ok" : "idle"}>{entry.up ? "Up" : "Down"}</Status>
                  </Td>
                  <Td className="font-mono text-sm">{entry.mac ?? "–"}</Td>
                  <Addresses addresses={entry.ipv4} />
                  <Addresses addresses={entry.ipv6} />
                  <Addresses addresses={entry.subnets} />
                </Tr>
              ))}
            </tbody>
          </Table>
        </ScrollX>
      )}
    </Panel>
  );
}

function Addresses({ addresses }: { addresses: readonly string[] }) {
  return (
    <Td className="font-mono text-sm">
      {addresses.length === 0
        ? "–"
        : addresses.map((address) => (
            <span key={address} className="block whitespace-nowrap">
              {address}
            </span>
          ))}
    </Td>
  );
}
