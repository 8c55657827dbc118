import type { Node, StorageKind, SystemStatus } from "../../api/types";
import { formatDuration, plural } from "../../lib/format";
import type { Tone } from "../../ui/badge";

/** What all servers do together. */
export interface Totals {
  connectedAgents: number;
  browsers: number;
  samplesPerMinute: number;
  queueDepth: number;
  /** Of the server where it is longest. */
  lagMs: number;
}

/** The figures of the servers that run; those of the one that answers as long as the others' are not known. */
export function totalsOf(status: SystemStatus, nodes: readonly Node[] | undefined): Totals {
  const running = nodes?.filter(({ status }) => status === "running") ?? [];
  // Its own figures are newer than what it wrote down of itself.
  const others = running.filter(({ is_this }) => !is_this);
  const sum = (own: number, of: (node: Node) => number) =>
    others.reduce((total, node) => total + of(node), own);
  return {
    connectedAgents: sum(status.connected_agents, (node) => node.connected_agents),
    browsers: sum(status.browsers, (node) => node.browsers),
    samplesPerMinute: sum(status.samples_per_minute, (node) => node.samples_per_minute),
    queueDepth: sum(status.ingest_queue_depth, (node) => node.ingest_queue_depth),
    lagMs: Math.max(status.ingest_lag_ms, ...others.map((node) => node.ingest_lag_ms)),
  };
}

export const NODE_STATUS: Record<Node["status"], { label: string; tone: Tone }> = {
  running: { label: "Running", tone: "ok" },
  stopped: { label: "Stopped", tone: "idle" },
  lost: { label: "Lost", tone: "crit" },
};

/** How a server stands to the others, where that is worth saying. */
export function busWords({ bus, status }: Pick<Node, "bus" | "status">): string | null {
  if (status !== "running") return null;
  switch (bus) {
    case "alone":
      return "works by itself";
    case "connected":
      return "connected to the others";
    case "away":
      return "NATS is away: it hears of the others late";
  }
}

export const STORAGE_NAMES: Record<StorageKind, string> = {
  samples: "Samples not packed yet",
  packed_history: "Packed history",
  rollups: "Averages",
  command_output: "Output of commands",
  agent_logs: "Logs of agents",
  audit_log: "Audit log",
  other: "Everything else",
};

/** Whether agents are let in, in a word or two. */
export function doorOf(arrivals: SystemStatus["arrivals"]): { tone: Tone; says: string } {
  if (arrivals.is_full) return { tone: "crit", says: "No room" };
  if (arrivals.is_holding_back) return { tone: "warn", says: "Held back" };
  return { tone: "ok", says: "Let in" };
}

/** Whether agents are let in, in a sentence. */
export function arrivalWords(arrivals: SystemStatus["arrivals"]): string {
  const { under_way, is_holding_back, is_full } = arrivals;
  if (is_full) {
    return "There is no room for more agents: who comes is told to come again in a minute, to this server or another one.";
  }
  if (is_holding_back) {
    return "Many come back at once: some are told to come again in a few seconds, and are let in then.";
  }
  return under_way > 0 ? "Everyone who comes is let in." : "Nobody waits to be let in.";
}

/** How far the packing of history is, in a sentence; a few hours wait at any time. */
export function historyWords(
  { looked_at, hours_waiting, oldest_waiting }: SystemStatus["history"],
  now: number,
): string {
  if (!looked_at) return "Nothing has been packed yet.";
  if (hours_waiting === 0) return "All hours that are over are packed.";
  const hours = plural(hours_waiting, "hour of a machine", "hours of machines");
  const verb = hours_waiting === 1 ? "waits" : "wait";
  if (!oldest_waiting) return `${hours} ${verb} to be packed.`;
  const age = formatDuration((now - Date.parse(oldest_waiting)) / 1000);
  return `${hours} ${verb} to be packed, the oldest from ${age} ago.`;
}
