import type { RecordedEvent } from "../../../api/types";
import { formatBytes } from "../../../lib/format";

type Fields = Record<string, unknown>;
const text = (value: unknown) => (typeof value === "string" ? value : "");
const number = (value: unknown) => (typeof value === "number" ? value : 0);
const fields = (value: unknown): Fields =>
  typeof value === "object" && value !== null ? (value as Fields) : {};

const KINDS: Record<string, string> = {
  terminal: "a terminal",
  files: "files",
  download: "a download",
  upload: "an upload",
  processes: "processes",
  services: "services",
  registry: "the registry",
  events: "the event log",
  forward: "a forwarded port",
};

/** What happened in a session, as a sentence. */
export function happened({ event }: RecordedEvent): string {
  const all = event as Fields;
  switch (text(all.what)) {
    case "ready":
      return "The machine was there.";
    case "refused":
      return `The machine refused the session: ${text(all.reason)}.`;
    case "agent_lost":
      return "The machine's link was lost.";
    case "tech_joined":
      return "The tech's page came.";
    case "tech_left":
      return "The tech's page went.";
    case "let_go":
      return "The server let the session go.";
    case "closed":
      return `The session was closed: ${text(all.reason).replaceAll("_", " ")}.`;
    case "opened":
      return `Opened ${opened(fields(all.channel), text(all.kind))}.`;
    case "accepted":
      return "The machine agreed.";
    case "attached":
      return "Went on with it after a lost link.";
    case "found":
      return `Found ${KINDS[text(all.kind)] ?? text(all.kind)} from before: ${text(all.label)}.`;
    case "resized":
      return `The terminal became ${number(all.columns)} by ${number(all.rows)}.`;
    case "entered":
      return typeof all.line === "string"
        ? `Typed: ${all.line}${all.is_exact === false ? " …" : ""}`
        : "Typed a line that was not shown.";
    case "gap":
      return `${formatBytes(number(all.to) - number(all.from))} are not in the recording.`;
    case "not_received":
      return "What was typed last did not arrive before the link was lost.";
    case "asked":
      return `Asked: ${asked(fields(all.request))}.`;
    case "answered":
      return all.error ? `Not done: ${text(fields(all.error).detail)}.` : "Done.";
    case "finished":
      return typeof all.sha256 === "string"
        ? `Sent whole, SHA-256 ${all.sha256}.`
        : "The upload was given up.";
    case "ended":
      return ended(all);
    default:
      return "Something that this page does not know.";
  }
}

function opened(channel: Fields, kind: string): string {
  const what = text(channel.kind) || kind;
  const name = KINDS[what] ?? what;
  if (what === "forward") return `${name} to ${text(channel.host)}:${number(channel.port)}`;
  const detail = text(channel.path) || text(channel.shell);
  return detail ? `${name}: ${detail}` : name;
}

function asked({ do: what, ...rest }: Fields): string {
  const details = Object.entries(rest).map(([name, value]) =>
    typeof value === "object" ? `${name} ${JSON.stringify(value)}` : `${name} ${value}`,
  );
  return [text(what).replaceAll("_", " "), ...details].join(", ");
}

function ended(all: Fields): string {
  const error = text(fields(all.error).detail);
  const passed = `${formatBytes(number(all.to_machine))} to it, ${formatBytes(number(all.from_machine))} from it`;
  if (error) return `Ended: ${error} (${passed}).`;
  const code = typeof all.exit_code === "number" ? ` with code ${all.exit_code}` : "";
  return `Ended${code} (${passed}).`;
}
