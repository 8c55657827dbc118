import type { Alert } from "../../api/types";
import { formatDateTime } from "../../lib/format";
import { crashCause } from "../agent-logs/words";
import { pendingReason } from "../agents/pending-reasons";

const CRASH = "agent.crashed";

/** The facts of an alert as names and values to show. What they are depends on its kind. */
export function alertFacts(alert: Pick<Alert, "kind" | "detail">): {
  name: string;
  value: string;
}[] {
  return Object.entries(alert.detail).flatMap(([name, value]) =>
    value === null ||
    value === undefined ||
    value === "" ||
    (alert.kind === CRASH && name === "crash_id")
      ? []
      : [{ name: label(name), value: text(name, value) }],
  );
}

/** The crash that an alert tells of, to be read in the machine's log; null for other alerts. */
export function alertCrash(alert: Pick<Alert, "kind" | "detail">): string | null {
  const { crash_id } = alert.detail;
  return alert.kind === CRASH && typeof crash_id === "string" ? crash_id : null;
}

/** One line under the title in a list. */
export function alertLine(alert: Pick<Alert, "kind" | "detail">): string {
  const { reason, cause, message } = alert.detail;
  if (alert.kind === CRASH && typeof cause === "string") {
    return typeof message === "string" && message !== ""
      ? `${crashCause(cause)}: ${message}`
      : crashCause(cause);
  }
  if (typeof reason === "string") return pendingReason(reason);
  return Object.entries(alert.detail)
    .filter(([name, value]) => typeof value === "string" && !name.endsWith("_id"))
    .map(([, value]) => value)
    .join(", ");
}

const LABELS: Record<string, string> = {
  reason: "Why",
  collides_with: "Known machine",
  hostname: "Host name",
  asked_at_site_id: "Asked at site",
  enrolled_at_site_id: "Enrolled at site",
  agent_version: "Version",
  copy_id: "Waits as",
  machines: "Taking turns",
};

function label(name: string): string {
  const words = name.replaceAll("_", " ");
  return LABELS[name] ?? words.charAt(0).toUpperCase() + words.slice(1);
}

function text(name: string, value: unknown): string {
  if (name === "machines" && Array.isArray(value)) return value.map(machine).join("; ");
  if (typeof value !== "string") return JSON.stringify(value);
  if (name === "reason") return pendingReason(value);
  if (name === "cause") return crashCause(value);
  return name.endsWith("_at") ? formatDateTime(value) : value;
}

/** A machine that shares its key with another one. */
function machine(value: Record<string, unknown>): string {
  const { hostname, address, boot_time } = value;
  const started = typeof boot_time === "string" ? `, started ${formatDateTime(boot_time)}` : "";
  return `${hostname} at ${address ?? "an unknown address"}${started}`;
}
