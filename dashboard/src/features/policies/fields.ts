import type { PolicySettings } from "../../api/types";
import { formatDuration } from "../../lib/format";

export type PolicyField = keyof PolicySettings;

interface FieldInfo {
  name: PolicyField;
  label: string;
  hint: string;
  kind: "seconds" | "switch";
}

export const POLICY_FIELDS: readonly FieldInfo[] = [
  {
    name: "metrics_interval_seconds",
    label: "Metrics every",
    hint: "How often a machine measures itself, from 10 seconds to an hour. While its page is open it measures every 2 seconds.",
    kind: "seconds",
  },
  {
    name: "process_list",
    label: "Process list",
    hint: "The ten busiest processes with every sample.",
    kind: "switch",
  },
  {
    name: "public_ip",
    label: "Public address",
    hint: "Ask an outside service for the public address.",
    kind: "switch",
  },
];

export function fieldLabel(name: string): string {
  return POLICY_FIELDS.find((field) => field.name === name)?.label ?? name.replaceAll("_", " ");
}

export function formatPolicyValue(name: string, value: unknown): string {
  if (typeof value === "boolean") return value ? "On" : "Off";
  if (typeof value === "number") {
    return name.endsWith("_seconds") ? formatDuration(value) : String(value);
  }
  return value === null || value === undefined ? "not set" : String(value);
}
