import { columnVisibilityFeature, createColumnHelper, tableFeatures } from "@tanstack/react-table";
import type { Agent, AgentSort } from "../../api/types";
import { formatDuration, formatOs, formatSystem } from "../../lib/format";
import { readPreference, writePreference } from "../../lib/storage";
import { Badge } from "../../ui/badge";
import { Level } from "../../ui/level";
import { RelativeTime } from "../../ui/time";
import { AgentStatusLabel } from "./agent-status";
import { machineTypeLabel } from "./virtualization";

export const features = tableFeatures({ columnVisibilityFeature });
const column = createColumnHelper<typeof features, Agent>();

export interface AgentColumn {
  id: string;
  label: string;
  sort?: AgentSort;
  /** In pixels, at least; what is left is shared in proportion. */
  width: number;
  shown: boolean;
}

/** What the list can show, in order. The host name is always there. */
export const AGENT_COLUMNS: readonly AgentColumn[] = [
  { id: "hostname", label: "Host name", width: 186, sort: "hostname", shown: true },
  { id: "status", label: "Status", width: 92, sort: "status", shown: true },
  { id: "client", label: "Client", width: 150, sort: "client", shown: true },
  { id: "site", label: "Site", width: 124, sort: "site", shown: true },
  { id: "os", label: "System", width: 168, sort: "os", shown: true },
  { id: "cpu", label: "CPU", width: 100, sort: "cpu", shown: true },
  { id: "memory", label: "Memory", width: 100, sort: "memory", shown: true },
  { id: "disk", label: "Disk", width: 100, sort: "disk", shown: true },
  { id: "last_seen", label: "Last seen", width: 104, sort: "last_seen", shown: true },
  { id: "alerts", label: "Alerts", width: 90, shown: false },
  { id: "type", label: "Type", width: 120, shown: false },
  { id: "user", label: "Signed-in user", width: 120, shown: false },
  { id: "public_ip", label: "Public IP", width: 135, shown: false },
  { id: "uptime", label: "Uptime", width: 110, shown: false },
  { id: "version", label: "Agent version", width: 115, shown: false },
];

export const columns = column.columns([
  column.display({ id: "hostname", cell: () => null }),
  column.display({
    id: "status",
    cell: ({ row }) => <AgentStatusLabel agent={row.original} />,
  }),
  column.display({
    id: "client",
    cell: ({ row }) => <span title={row.original.client_name}>{row.original.client_name}</span>,
  }),
  column.display({
    id: "site",
    cell: ({ row }) => <span title={row.original.site_name}>{row.original.site_name}</span>,
  }),
  column.display({
    id: "os",
    cell: ({ row }) => (
      <span title={row.original.os_version}>
        {formatSystem(row.original.os_version) || formatOs(row.original.os_type)}
      </span>
    ),
  }),
  column.display({
    id: "cpu",
    cell: ({ row }) => (
      <Level percent={row.original.cpu_percent} stale={!row.original.is_connected} />
    ),
  }),
  column.display({
    id: "memory",
    cell: ({ row }) => (
      <Level percent={row.original.memory_percent} stale={!row.original.is_connected} />
    ),
  }),
  column.display({
    id: "disk",
    cell: ({ row }) => (
      <Level percent={row.original.disk_percent} stale={!row.original.is_connected} />
    ),
  }),
  column.display({
    id: "last_seen",
    cell: ({ row }) =>
      row.original.is_connected ? (
        <span className="text-ink-2">now</span>
      ) : (
        <RelativeTime time={row.original.last_seen} />
      ),
  }),
  column.display({
    id: "alerts",
    cell: ({ row }) =>
      row.original.open_alerts > 0 ? (
        <Badge tone="warn">{row.original.open_alerts} open</Badge>
      ) : (
        <span className="text-ink-3">none</span>
      ),
  }),
  column.display({
    id: "type",
    cell: ({ row }) => machineTypeLabel(row.original.machine_type),
  }),
  column.display({ id: "user", cell: ({ row }) => row.original.logged_in_user ?? "–" }),
  column.display({
    id: "public_ip",
    cell: ({ row }) => <span className="font-mono text-sm">{row.original.public_ip ?? "–"}</span>,
  }),
  column.display({ id: "uptime", cell: ({ row }) => formatDuration(row.original.uptime_seconds) }),
  column.display({
    id: "version",
    cell: ({ row }) => <span className="font-mono text-sm">{row.original.agent_version}</span>,
  }),
]);

const PREFERENCE = "gururmm.agents.columns";

export type Visibility = Record<string, boolean>;

export function readVisibility(): Visibility {
  const stored = readPreference(
    PREFERENCE,
    (value): value is Visibility => typeof value === "object" && value !== null,
  );
  return Object.fromEntries(
    AGENT_COLUMNS.map(({ id, shown }) => {
      const choice = stored?.[id];
      return [id, id === "hostname" || (typeof choice === "boolean" ? choice : shown)];
    }),
  );
}

export function writeVisibility(visibility: Visibility) {
  writePreference(PREFERENCE, visibility);
}
