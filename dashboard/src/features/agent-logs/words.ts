import type { AgentCrash, AgentCrashCause, AgentLog, AgentLogStatus } from "../../api/types";
import { formatBytes, plural } from "../../lib/format";
import type { Tone } from "../../ui/badge";

const STATES: Record<AgentLogStatus, { label: string; tone: Tone }> = {
  requested: { label: "On its way", tone: "accent" },
  complete: { label: "Complete", tone: "ok" },
  failed: { label: "Failed", tone: "crit" },
};

/** A state that this page does not know (of a newer server) is shown by its name. */
export function logState(status: AgentLogStatus): { label: string; tone: Tone } {
  return STATES[status] ?? { label: status, tone: "idle" };
}

const CAUSES: Record<AgentCrashCause, string> = {
  panic: "A fault in the agent",
  killed: "Ended from outside: killed or out of memory",
  other: "Ended without saying why",
};

export function crashCause(cause: string): string {
  return CAUSES[cause as AgentCrashCause] ?? cause;
}

/** What the server or the machine said, as a sentence of its own. */
export function sentence(text: string): string {
  const said = text.trim();
  return said.charAt(0).toUpperCase() + said.slice(1) + (/[.!?]$/.test(said) ? "" : ".");
}

export function failure(log: Pick<AgentLog, "error">): string {
  return log.error ? sentence(log.error) : "It did not come, and nobody said why.";
}

/** What the reader would otherwise miss: that it is not all, and that lines are lacking in it. */
export function shortcomings(log: AgentLog): string[] {
  const { received_bytes: received, total_bytes: total, lost_lines: lost } = log;
  return [
    ...(total !== null && total > received
      ? [`Showing the newest ${formatBytes(received)} of ${formatBytes(total)} on the machine.`]
      : []),
    ...(lost !== null && lost > 0
      ? [`${plural(lost, "line")} could not be written since the agent started.`]
      : []),
  ];
}

/** Host name and time, and nothing that a file system or a shell would take for more than a name. */
export function fileName(
  hostname: string,
  of: Pick<AgentLog, "requested_at"> | Pick<AgentCrash, "crashed_at">,
): string {
  const host = hostname
    .replace(/[^\p{L}\p{N}._-]+/gu, "-")
    .replace(/^[.-]+|[.-]+$/g, "")
    .slice(0, 80);
  const [kind, time] =
    "crashed_at" in of ? (["crash", of.crashed_at] as const) : (["log", of.requested_at] as const);
  const at = new Date(time);
  const stamp = Number.isNaN(at.getTime())
    ? ""
    : at.toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
  return `${[host || "agent", kind === "crash" && kind, stamp].filter(Boolean).join("-")}.log`;
}
