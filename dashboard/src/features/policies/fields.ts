import { formatBytes, formatDuration } from "../../lib/format";
import { formatWindow, parseWindow } from "./window";

interface FieldInfo {
  name: string;
  label: string;
  hint: string;
  /** How a value is chosen: a number within bounds, one of some sizes, or on and off. */
  input:
    | { kind: "seconds" | "minutes" | "hours" | "count"; min: number; max: number }
    | { kind: "bytes" }
    | { kind: "switch" }
    | { kind: "choice"; options: readonly string[] }
    | { kind: "window" }
    /** One in a line; the word `none` for a list with nothing in it. */
    | { kind: "list"; example: string };
}

const SWITCH = { kind: "switch" } as const;
/** A list with nothing in it, as a form holds it: an empty text inherits. */
const NOTHING = "none";

const CHANNELS = { kind: "list", example: "terminal" } as const;
const CHANNELS_HINT =
  "terminal, files, processes, services, registry, events, forward; one in a line, none for nothing.";

/** The list that a text holds, one item in a line. */
function toList(text: string): string[] {
  if (text === NOTHING) return [];
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "");
}

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
  {
    name: "command_when_offline",
    label: "Commands while it is away",
    hint: "Wait until the machine is back, or are refused. Whoever runs one can choose otherwise.",
    input: { kind: "choice", options: ["queue", "refuse"] },
  },
  {
    name: "command_expiry_seconds",
    label: "Commands wait at most",
    hint: "Seconds, 10 to 604800. Whoever runs one can choose otherwise.",
    input: { kind: "seconds", min: 10, max: 604_800 },
  },
  {
    name: "update_enabled",
    label: "Update by itself",
    hint: "New versions of the agent are ordered by rollouts. Update now works either way.",
    input: SWITCH,
  },
  {
    name: "update_channel",
    label: "Update channel",
    hint: "Current takes stable releases too, beta takes all.",
    input: { kind: "choice", options: ["stable", "current", "beta"] },
  },
  {
    name: "update_defer_hours",
    label: "Defer updates by",
    hint: "Hours a release has to be out before it is taken, 0 to 2160.",
    input: { kind: "hours", min: 0, max: 2_160 },
  },
  {
    name: "update_window",
    label: "Maintenance window",
    hint: "When updates may begin; without one at any time.",
    input: { kind: "window" },
  },
  {
    name: "tunnel_channels_tech",
    label: "Sessions: what techs may use",
    hint: CHANNELS_HINT,
    input: CHANNELS,
  },
  {
    name: "tunnel_channels_admin",
    label: "Sessions: what admins may use",
    hint: CHANNELS_HINT,
    input: CHANNELS,
  },
  {
    name: "tunnel_channels_owner",
    label: "Sessions: what owners may use",
    hint: CHANNELS_HINT,
    input: CHANNELS,
  },
  {
    name: "tunnel_paths",
    label: "Sessions: folders",
    hint: "Folders that files may be reached in, one in a line. Without any, all.",
    input: { kind: "list", example: "/srv" },
  },
  {
    name: "tunnel_forwards",
    label: "Sessions: addresses behind the machine",
    hint: "host:port, one in a line; * for any, hosts also as networks: 192.0.2.0/24:443.",
    input: { kind: "list", example: "localhost:3389" },
  },
  {
    name: "tunnel_consent",
    label: "Sessions: ask the user",
    hint: "Until there is a program that can ask, a session that would have to is refused.",
    input: { kind: "choice", options: ["never", "when_signed_in", "always"] },
  },
  {
    name: "tunnel_reason",
    label: "Sessions: ask why",
    hint: "What a tech has to say when a session is opened.",
    input: { kind: "choice", options: ["none", "optional", "required", "ticket"] },
  },
  {
    name: "tunnel_idle_minutes",
    label: "Sessions end when idle for",
    hint: "Minutes without input or transfer, 1 to 480.",
    input: { kind: "minutes", min: 1, max: 480 },
  },
  {
    name: "tunnel_max_minutes",
    label: "Sessions last at most",
    hint: "Minutes, 5 to 1440.",
    input: { kind: "minutes", min: 5, max: 1_440 },
  },
  {
    name: "tunnel_sessions_per_tech",
    label: "Sessions of one person",
    hint: "How many may be open when one is opened with the machine, 1 to 100.",
    input: { kind: "count", min: 1, max: 100 },
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
  const text = (value: unknown) =>
    Array.isArray(value)
      ? value.join("\n") || NOTHING
      : typeof value === "object" && value !== null
        ? JSON.stringify(value)
        : String(value ?? "");
  return Object.fromEntries(POLICY_FIELDS.map(({ name }) => [name, text(settings[name])]));
}

/** Every field is sent: null clears it, so that it is inherited again. */
export function toSettings(draft: Draft): Record<string, unknown> {
  return Object.fromEntries(
    POLICY_FIELDS.map(({ name, input }) => {
      const text = (draft[name] ?? "").trim();
      if (text === "") return [name, null];
      switch (input.kind) {
        case "switch":
          return [name, text === "true"];
        case "choice":
          return [name, text];
        case "window":
          return [name, parseWindow(text)];
        case "list":
          return [name, toList(text)];
        default:
          return [name, Number(text)];
      }
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
    if (name.endsWith("_hours")) return `${value} h`;
    if (name.endsWith("_minutes")) return formatDuration(value * 60);
  }
  if (Array.isArray(value)) return value.join(", ") || "nothing";
  if (name === "tunnel_paths" && (value === null || value === undefined)) return "all folders";
  if (name === "update_window") {
    return value === null || value === undefined ? "at any time" : formatWindow(value);
  }
  return value === null || value === undefined ? "not set" : String(value);
}
