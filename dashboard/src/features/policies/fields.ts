import { formatBytes, formatDuration } from "../../lib/format";

interface FieldInfo {
  name: string;
  label: string;
  hint: string;
  /** How a value is chosen: a number within bounds, one of some sizes, or on and off. */
  input: { kind: "seconds"; min: number; max: number } | { kind: "bytes" } | { kind: "switch" };
}

const SWITCH = { kind: "switch" } as const;

/** What can be set, in the order of the form. */
export const POLICY_FIELDS: readonly FieldInfo[] = [
  {
    name: "metrics_interval_seconds",
    label: "Metrics every",
    hint: "Seconds between two measurements, 10 to 3600. While its page is open a machine measures every 2 seconds.",
    input: { kind: "seconds", min: 10, max: 3_600 },
  },
  {
    name: "process_list",
    label: "Process list",
    hint: "The ten busiest processes with every sample.",
    input: SWITCH,
  },
  {
    name: "network_state",
    label: "Network state",
    hint: "Interfaces and addresses, whenever they change.",
    input: SWITCH,
  },
  {
    name: "user_activity",
    label: "User activity",
    hint: "Who is signed in, and for how long idle.",
    input: SWITCH,
  },
  {
    name: "public_ip",
    label: "Public address",
    hint: "As the server sees it; where that is no public one, an outside service is asked.",
    input: SWITCH,
  },
  {
    name: "output_limit_bytes",
    label: "Output kept per command",
    hint: "What a command writes beyond it is dropped, and the command says so.",
    input: { kind: "bytes" },
  },
];

const SIZES = [64 * 1024, 256 * 1024, 2 ** 20, 4 * 2 ** 20, 16 * 2 ** 20];

/** The sizes to choose from; a value set by other means stays among them. */
export function sizeChoices(current: string): number[] {
  const value = Number(current);
  return current === "" || SIZES.includes(value) ? SIZES : [...SIZES, value].sort((a, b) => a - b);
}

export type Draft = Record<string, string>;

/** The settings as a form holds them: as text, empty where the value is inherited. */
export function toDraft(settings: Record<string, unknown>): Draft {
  return Object.fromEntries(POLICY_FIELDS.map(({ name }) => [name, String(settings[name] ?? "")]));
}

/** Every field is sent: null clears it, so that it is inherited again. */
export function toSettings(draft: Draft): Record<string, boolean | number | null> {
  return Object.fromEntries(
    POLICY_FIELDS.map(({ name, input }) => {
      const text = (draft[name] ?? "").trim();
      if (text === "") return [name, null];
      return [name, input.kind === "switch" ? text === "true" : Number(text)];
    }),
  );
}

export function fieldLabel(name: string): string {
  return POLICY_FIELDS.find((field) => field.name === name)?.label ?? name.replaceAll("_", " ");
}

export function formatPolicyValue(name: string, value: unknown): string {
  if (typeof value === "boolean") return value ? "On" : "Off";
  if (typeof value === "number") {
    if (name.endsWith("_seconds")) return formatDuration(value);
    if (name.endsWith("_bytes")) return formatBytes(value);
  }
  return value === null || value === undefined ? "not set" : String(value);
}
