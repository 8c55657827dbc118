import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import type { Process, Sample } from "../../api/types";
import { formatBytes, formatDateTime, formatPercent, formatRate, plural } from "../../lib/format";
import { cn } from "../../ui/cn";
import { Sheet } from "../../ui/dialog";
import { Level } from "../../ui/level";
import { Segmented } from "../../ui/segmented";
import { EmptyState, ErrorState, SkeletonRows } from "../../ui/states";
import { Table, Td, Th, Tr } from "../../ui/table";
import { sampleAtQuery } from "./queries";
import { Sensors } from "./sensor-list";
import { memoryPercent, networkRate, share } from "./series";

export type DrillView = "cpu" | "memory" | "disks" | "sensors";

/** A moment to look into: a sample at hand, or a time whose sample is fetched. */
export type Moment = { view: DrillView } & ({ sample: Sample } | { time: string });

const VIEWS = [
  { value: "cpu", label: "By CPU" },
  { value: "memory", label: "By memory" },
  { value: "disks", label: "Disks" },
  { value: "sensors", label: "Sensors" },
] as const;

export function DrillDown({
  agentId,
  hostname,
  moment,
  onClose,
}: {
  agentId: string;
  hostname: string;
  moment: Moment | null;
  onClose: () => void;
}) {
  return (
    <Sheet
      open={moment !== null}
      onOpenChange={(open) => {
        if (!open) onClose();
      }}
      title={`What ${hostname} was doing`}
      description={
        moment && "sample" in moment ? (
          <Summary sample={moment.sample} />
        ) : (
          moment && <span>Around {formatDateTime(moment.time)}</span>
        )
      }
    >
      {moment &&
        ("sample" in moment ? (
          <SampleView key={moment.view} sample={moment.sample} initial={moment.view} />
        ) : (
          <SampleAt agentId={agentId} time={moment.time} initial={moment.view} />
        ))}
    </Sheet>
  );
}

function SampleAt({
  agentId,
  time,
  initial,
}: {
  agentId: string;
  time: string;
  initial: DrillView;
}) {
  const query = useQuery(sampleAtQuery(agentId, time));
  if (query.isPending) return <SkeletonRows />;
  if (query.isError && !query.data)
    return <ErrorState error={query.error} onRetry={() => query.refetch()} />;
  if (!query.data) {
    return <EmptyState title="No sample at or before this moment">Pick a later one.</EmptyState>;
  }
  return (
    <>
      <p className="px-5 pt-3 text-base text-ink-2">
        <Summary sample={query.data} />
      </p>
      <SampleView sample={query.data} initial={initial} />
    </>
  );
}

function Summary({ sample }: { sample: Sample }) {
  const { rx, tx } = networkRate(sample);
  return (
    <span>
      {formatDateTime(sample.t)}. CPU {formatPercent(sample.cpu_percent)}, memory{" "}
      {formatPercent(memoryPercent(sample))}, {formatRate(rx)} in, {formatRate(tx)} out,{" "}
      {plural(sample.process_count, "process", "processes")}.
    </span>
  );
}

function SampleView({ sample, initial }: { sample: Sample; initial: DrillView }) {
  const [view, setView] = useState<DrillView>(initial);
  return (
    <div>
      <div className="px-5 py-3">
        <Segmented label="Show" options={VIEWS} value={view} onChange={setView} />
      </div>
      <div className="[&_tr>:first-child]:pl-5 [&_tr>:last-child]:pr-5">
        {view === "disks" ? (
          <Disks disks={sample.disks} />
        ) : view === "sensors" ? (
          <Sensors sensors={sample.sensors} />
        ) : (
          <Processes
            by={view}
            processes={view === "cpu" ? sample.top_cpu : sample.top_memory}
            memoryTotal={sample.memory_total_bytes}
          />
        )}
      </div>
    </div>
  );
}

function Processes({
  processes,
  by,
  memoryTotal,
}: {
  processes: readonly Process[];
  by: "cpu" | "memory";
  memoryTotal: number;
}) {
  if (processes.length === 0) {
    return (
      <EmptyState title="No processes in this sample">
        The policy of this machine may leave the process list out.
      </EmptyState>
    );
  }
  return (
    <Table>
      <thead>
        <tr>
          <Th>Process</Th>
          <Th className={cn("text-right", by === "cpu" && "text-ink")}>CPU</Th>
          <Th className={cn("text-right", by === "memory" && "text-ink")}>Memory</Th>
        </tr>
      </thead>
      <tbody>
        {processes.map((process) => (
          <Tr key={process.pid}>
            <Td className="max-w-0 py-2">
              <p className="flex min-w-0 items-baseline gap-2">
                <span className="truncate font-medium">{process.name}</span>
                <span className="shrink-0 text-ink-3 text-sm">
                  {process.pid}
                  {process.user && `, ${process.user}`}
                </span>
              </p>
              {process.command_line && (
                <p
                  className="truncate font-mono text-ink-2 text-xs"
                  title={process.command_line.slice(0, 1000)}
                >
                  {process.command_line}
                </p>
              )}
            </Td>
            <Td className="w-20 text-right">{formatPercent(process.cpu_percent)}</Td>
            <Td className="w-28 whitespace-nowrap text-right">
              {formatBytes(process.memory_bytes)}
              <span className="block text-ink-3 text-xs">
                {formatPercent(share(process.memory_bytes, memoryTotal))}
              </span>
            </Td>
          </Tr>
        ))}
      </tbody>
    </Table>
  );
}

export function Disks({ disks }: { disks: Sample["disks"] }) {
  if (disks.length === 0) return <EmptyState title="No disks reported" />;
  return (
    <Table>
      <thead>
        <tr>
          <Th>Mounted at</Th>
          <Th className="text-right max-sm:hidden">Size</Th>
          <Th className="text-right">Free</Th>
          <Th>Used</Th>
        </tr>
      </thead>
      <tbody>
        {disks.map((disk) => (
          <Tr key={`${disk.mount}\u0000${disk.device}`}>
            <Td className="max-w-0">
              <p className="truncate font-mono text-sm">{disk.mount}</p>
              <p className="truncate text-ink-3 text-xs">
                {[disk.device, disk.file_system].filter(Boolean).join(", ")}
              </p>
            </Td>
            <Td className="w-24 whitespace-nowrap text-right max-sm:hidden">
              {formatBytes(disk.total_bytes)}
            </Td>
            <Td className="w-24 whitespace-nowrap text-right">
              {formatBytes(Math.max(0, disk.total_bytes - disk.used_bytes))}
            </Td>
            <Td className="w-36">
              <Level percent={share(disk.used_bytes, disk.total_bytes)} />
            </Td>
          </Tr>
        ))}
      </tbody>
    </Table>
  );
}
