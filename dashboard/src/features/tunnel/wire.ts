// What a session with a machine is made of, as bytes. The other end is `crates/protocol/src/tunnel`, whose golden files the
// tests read.
import { z } from "zod";

/** The channel of the session itself. */
export const SESSION_CHANNEL = 0;
/** Channels from here on are the server's own. */
export const SERVER_CHANNELS = 0x8000_0000;
/** Bytes that a terminal or a channel of requests may be ahead of what was dealt with. */
export const WINDOW_BYTES = 256 * 1024;
/** Bytes that a transfer may be ahead. */
export const BULK_WINDOW_BYTES = 1024 * 1024;
/** A transfer begins with so many. */
export const FIRST_TRANSFER_BYTES = 96 * 1024;
/** Bytes of a stream in one data frame. */
export const PIECE_BYTES = 32 * 1024;
/** The largest body of a frame. */
export const MAX_BODY_BYTES = 64 * 1024;
/** The largest file that is edited as text. */
export const MAX_TEXT_BYTES = 32 * 1024;
/** The largest value of the registry that is read or written. */
export const MAX_VALUE_BYTES = 16 * 1024;

const HEADER_BYTES = 8;
const OFFSET_BYTES = 8;

export const KIND = {
  open: 1,
  opened: 2,
  data: 3,
  message: 4,
  credit: 5,
  end: 6,
  attach: 7,
} as const;
export type Kind = (typeof KIND)[keyof typeof KIND];

export const FLAG = { bulk: 1, fin: 2 } as const;

export interface Frame {
  channel: number;
  kind: Kind;
  flags: number;
  body: Uint8Array;
}

/** The frame in these bytes; null when they are none, or one of a kind this page does not know. */
export function readFrame(bytes: Uint8Array): Frame | null {
  const body = bytes.subarray(HEADER_BYTES);
  const kind = bytes[4] ?? 0;
  if (bytes.length < HEADER_BYTES || body.length > MAX_BODY_BYTES) return null;
  if (kind < KIND.open || kind > KIND.attach) return null;
  if (kind === KIND.data && body.length < OFFSET_BYTES) return null;
  if (kind === KIND.credit && body.length < 4) return null;
  const channel = view(bytes).getUint32(0);
  return { channel, kind: kind as Kind, flags: bytes[5] ?? 0, body };
}

export function writeFrame({ channel, kind, flags, body }: Frame): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(HEADER_BYTES + body.length);
  view(bytes).setUint32(0, channel);
  bytes[4] = kind;
  bytes[5] = flags;
  bytes.set(body, HEADER_BYTES);
  return bytes;
}

/** Of a data frame: where its first byte stands in the stream, and its bytes. */
export function dataOf(body: Uint8Array): { offset: number; bytes: Uint8Array } {
  // Beyond 2^53 no stream comes.
  return { offset: Number(view(body).getBigUint64(0)), bytes: body.subarray(OFFSET_BYTES) };
}

export function dataFrame(channel: number, offset: number, bytes: Uint8Array, flags = 0) {
  const body = new Uint8Array(OFFSET_BYTES + bytes.length);
  view(body).setBigUint64(0, BigInt(offset));
  body.set(bytes, OFFSET_BYTES);
  return writeFrame({ channel, kind: KIND.data, flags, body });
}

export function creditOf(body: Uint8Array): number {
  return view(body).getUint32(0);
}

export function creditFrame(channel: number, bytes: number) {
  const body = new Uint8Array(4);
  view(body).setUint32(0, bytes);
  return writeFrame({ channel, kind: KIND.credit, flags: 0, body });
}

/** A frame whose body is JSON. One that no receiver would take is an error of the caller's. */
export function jsonFrame(channel: number, kind: Kind, value: unknown) {
  const body = new TextEncoder().encode(JSON.stringify(value));
  if (body.length > MAX_BODY_BYTES) throw new RangeError("too much for one frame");
  return writeFrame({ channel, kind, flags: 0, body });
}

/** The body of any other frame; null when it is not what it should be. */
export function jsonOf<T>(schema: z.ZodType<T>, body: Uint8Array): T | null {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(body));
  } catch {
    return null;
  }
  return schema.safeParse(value).data ?? null;
}

/** Bytes that a data frame with so many bytes takes of the credit of its channel. */
export const dataCost = (bytes: number) => OFFSET_BYTES + bytes;

function view(bytes: Uint8Array) {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// The bodies. What a later machine says beyond them is left out; a word it has that this page does not know becomes one that
// it does.

const count = z.number().int().nonnegative();
const milliseconds = z.number().int();

export const channelKind = z.enum([
  "terminal",
  "files",
  "processes",
  "services",
  "registry",
  "events",
  "forward",
]);
export type ChannelKind = z.infer<typeof channelKind>;

export const liveChannel = z.object({
  channel: count,
  kind: channelKind.or(z.literal("unknown")).catch("unknown"),
  label: z.string().default(""),
});
export type LiveChannel = z.infer<typeof liveChannel>;

export const shell = z.object({ name: z.string(), program: z.string() });
export type Shell = z.infer<typeof shell>;

export const runContext = z.enum(["system", "user_session"]);
export type RunContext = z.infer<typeof runContext>;

export const openChannel = z.discriminatedUnion("kind", [
  z.object({
    kind: z.literal("terminal"),
    shell: z.string().optional(),
    context: runContext,
    columns: count,
    rows: count,
  }),
  z.object({ kind: z.literal("files") }),
  z.object({
    kind: z.literal("download"),
    path: z.string(),
    offset: count,
    modified_ms: milliseconds.optional(),
    archive: z.boolean(),
  }),
  z.object({
    kind: z.literal("upload"),
    path: z.string(),
    size: count,
    replace: z.boolean(),
    resume_key: z.string(),
  }),
  z.object({ kind: z.literal("processes") }),
  z.object({ kind: z.literal("services") }),
  z.object({ kind: z.literal("registry") }),
  z.object({
    kind: z.literal("events"),
    log: z.string().optional(),
    level: z.enum(["critical", "error", "warning", "info", "debug"]).optional(),
    since_ms: milliseconds.optional(),
    until_ms: milliseconds.optional(),
    text: z.string().optional(),
    limit: count,
    follow: z.boolean(),
  }),
  z.object({ kind: z.literal("forward"), host: z.string(), port: count }),
]);
export type OpenChannel = z.infer<typeof openChannel>;

export const open = z.object({ window: count, channel: openChannel });

export const opened = z.object({
  window: count.default(0),
  from: count.default(0),
  received: count.default(0),
  size: count.optional(),
  modified_ms: milliseconds.optional(),
  terminal: z.enum(["lines", "unknown"]).optional().catch("unknown"),
});
export type Opened = z.infer<typeof opened>;

export const attach = z.object({ have: count, window: count });

export const errorCode = z
  .enum([
    "not_allowed",
    "permission_denied",
    "not_found",
    "already_exists",
    "conflict",
    "not_a_folder",
    "is_a_folder",
    "not_empty",
    "no_space",
    "too_large",
    "unsupported",
    "no_user_session",
    "invalid",
    "checksum_mismatch",
    "too_many",
    "unreachable",
    "closed",
    "failed",
    "other",
  ])
  .catch("other");
export type ErrorCode = z.infer<typeof errorCode>;

export const channelError = z.object({ code: errorCode, detail: z.string().default("") });

export const channelEnd = z.object({
  error: channelError.optional(),
  exit_code: z.number().int().optional(),
  sha256: z.string().optional(),
  size: count.optional(),
});
export type ChannelEnd = z.infer<typeof channelEnd>;

export const ping = z.object({ ping: count });

/** From the server to the machine: no page hears it. */
export const presence = z.object({ tech: z.enum(["away", "unknown"]).catch("unknown") });

export const terminalMessage = z.object({
  type: z.literal("resize"),
  columns: count,
  rows: count,
});

export const uploadMessage = z.discriminatedUnion("type", [
  z.object({ type: z.literal("finish"), sha256: z.string() }),
  z.object({ type: z.literal("discard") }),
]);
export type UploadMessage = z.infer<typeof uploadMessage>;

const path = z.string();

export const fileRequest = z.discriminatedUnion("do", [
  z.object({ do: z.literal("places") }),
  z.object({ do: z.literal("list"), path }),
  z.object({ do: z.literal("stat"), path }),
  z.object({ do: z.literal("make_folder"), path }),
  z.object({ do: z.literal("rename"), from: path, to: path }),
  z.object({ do: z.literal("copy"), from: path, to: path }),
  z.object({ do: z.literal("delete"), path, recursive: z.boolean() }),
  z.object({ do: z.literal("set_mode"), path, mode: count }),
  z.object({
    do: z.literal("set_owner"),
    path,
    owner: z.string().optional(),
    group: z.string().optional(),
  }),
  z.object({ do: z.literal("read_text"), path }),
  z.object({
    do: z.literal("write_text"),
    path,
    text: z.string(),
    version: z.string().optional(),
  }),
]);
export type FileRequest = z.infer<typeof fileRequest>;

export const entry = z.object({
  name: z.string(),
  kind: z.enum(["file", "folder", "link", "other"]).catch("other"),
  size: count,
  modified_ms: milliseconds.optional(),
  mode: count.optional(),
  owner: z.string().optional(),
  group: z.string().optional(),
  target: z.string().optional(),
  is_hidden: z.boolean().default(false),
  is_unnameable: z.boolean().default(false),
});
export type Entry = z.infer<typeof entry>;

export const place = z.object({ path: z.string(), label: z.string() });
export type Place = z.infer<typeof place>;

export const fileAnswer = z.discriminatedUnion("is", [
  z.object({ is: z.literal("places"), places: z.array(place) }),
  z.object({ is: z.literal("entries"), entries: z.array(entry) }),
  z.object({ is: z.literal("folder"), path, entries: count }),
  z.object({ is: z.literal("entry"), entry }),
  z.object({ is: z.literal("text"), text: z.string(), version: z.string() }),
  z.object({ is: z.literal("done") }),
]);
export type FileAnswer = z.infer<typeof fileAnswer>;

export const processKey = z.object({ pid: count, started_ms: milliseconds });
export type ProcessKey = z.infer<typeof processKey>;

export const priority = z.enum(["lowest", "low", "normal", "high", "highest"]);
export type Priority = z.infer<typeof priority>;

export const processRequest = z.discriminatedUnion("do", [
  z.object({ do: z.literal("list") }),
  z.object({ do: z.literal("watch"), interval_ms: count }),
  z.object({ do: z.literal("kill"), process: processKey, tree: z.boolean(), force: z.boolean() }),
  z.object({ do: z.literal("set_priority"), process: processKey, priority }),
]);
export type ProcessRequest = z.infer<typeof processRequest>;

export const process = processKey.extend({
  parent: count.optional(),
  name: z.string(),
  command_line: z.string().optional(),
  user: z.string().optional(),
  cpu_percent: z.number().optional(),
  memory_bytes: count,
  priority: priority.optional().catch(undefined),
  threads: count.optional(),
});
export type Process = z.infer<typeof process>;

const figures = z.object({
  is: z.literal("figures"),
  processes: count,
  cpu_percent: z.number(),
  memory_used_bytes: count,
  memory_bytes: count,
});
export type ProcessFigures = z.infer<typeof figures>;

export const processAnswer = z.discriminatedUnion("is", [
  z.object({ is: z.literal("processes"), processes: z.array(process) }),
  figures,
  z.object({ is: z.literal("killed"), processes: count }),
  z.object({ is: z.literal("done") }),
]);
export type ProcessAnswer = z.infer<typeof processAnswer>;

export const startup = z.enum(["automatic", "delayed", "manual", "disabled", "fixed"]);
export type Startup = z.infer<typeof startup>;

export const serviceRequest = z.discriminatedUnion("do", [
  z.object({ do: z.literal("list") }),
  z.object({ do: z.literal("start"), name: z.string() }),
  z.object({ do: z.literal("stop"), name: z.string() }),
  z.object({ do: z.literal("restart"), name: z.string() }),
  z.object({ do: z.literal("set_startup"), name: z.string(), startup }),
  z.object({ do: z.literal("log"), name: z.string(), lines: count }),
]);
export type ServiceRequest = z.infer<typeof serviceRequest>;

export const serviceState = z
  .enum(["running", "stopped", "starting", "stopping", "paused", "failed", "unknown"])
  .catch("unknown");
export type ServiceState = z.infer<typeof serviceState>;

export const service = z.object({
  name: z.string(),
  display_name: z.string(),
  state: serviceState,
  startup: startup.catch("fixed").optional(),
  pid: count.optional(),
  user: z.string().optional(),
});
export type Service = z.infer<typeof service>;

export const serviceAnswer = z.discriminatedUnion("is", [
  z.object({ is: z.literal("services"), services: z.array(service) }),
  z.object({ is: z.literal("count"), services: count, manager: z.string() }),
  z.object({ is: z.literal("service"), service }),
  z.object({ is: z.literal("log"), lines: z.array(z.string()) }),
]);
export type ServiceAnswer = z.infer<typeof serviceAnswer>;

export const registryData = z.discriminatedUnion("type", [
  z.object({ type: z.literal("string"), data: z.string() }),
  z.object({ type: z.literal("expand_string"), data: z.string() }),
  z.object({ type: z.literal("multi_string"), data: z.array(z.string()) }),
  z.object({ type: z.literal("dword"), data: count }),
  z.object({ type: z.literal("qword"), data: z.string() }),
  z.object({ type: z.literal("binary"), data: z.string() }),
  z.object({ type: z.literal("other"), data: z.object({ number: count, hex: z.string() }) }),
]);
export type RegistryData = z.infer<typeof registryData>;

const key = z.string();
const name = z.string();

export const registryRequest = z.discriminatedUnion("do", [
  z.object({ do: z.literal("list"), key }),
  z.object({ do: z.literal("set_value"), key, name, value: registryData }),
  z.object({ do: z.literal("delete_value"), key, name }),
  z.object({ do: z.literal("create_key"), key }),
  z.object({ do: z.literal("delete_key"), key, recursive: z.boolean() }),
  z.object({ do: z.literal("export"), key }),
]);
export type RegistryRequest = z.infer<typeof registryRequest>;

export const registryValue = z.object({
  name: z.string(),
  value: registryData,
  is_cut: z.boolean().default(false),
});
export type RegistryValue = z.infer<typeof registryValue>;

export const registryAnswer = z.discriminatedUnion("is", [
  z.object({ is: z.literal("keys"), keys: z.array(z.string()) }),
  z.object({ is: z.literal("values"), values: z.array(registryValue) }),
  z.object({ is: z.literal("count"), keys: count, values: count }),
  z.object({ is: z.literal("text"), text: z.string() }),
  z.object({ is: z.literal("done") }),
]);
export type RegistryAnswer = z.infer<typeof registryAnswer>;

export const level = z.enum(["critical", "error", "warning", "info", "debug"]);
export type Level = z.infer<typeof level>;

export const logEntry = z.object({
  time_ms: milliseconds,
  level,
  source: z.string(),
  log: z.string().optional(),
  event_id: count.optional(),
  pid: count.optional(),
  text: z.string(),
});
export type LogEntry = z.infer<typeof logEntry>;

export const eventsMessage = z.discriminatedUnion("is", [
  z.object({ is: z.literal("events"), events: z.array(logEntry) }),
  z.object({ is: z.literal("caught"), more: z.boolean().default(false) }),
]);

/** One thing asked in a channel of requests. */
export const request = <R>(schema: z.ZodType<R>) => z.object({ id: count, request: schema });

/** What comes back: parts, and then the reply or why not. */
export const response = <A>(schema: z.ZodType<A>) =>
  z.union([
    z.object({ id: count, part: schema }),
    z.object({ id: count, reply: schema }),
    z.object({ id: count, error: channelError }),
  ]);

// What the server says on the same socket, as text.

const closeReason = z
  .enum([
    "closed_by_tech",
    "closed_by_admin",
    "idle",
    "too_long",
    "agent_lost",
    "right_lost",
    "recording_failed",
    "protocol_error",
    "unused",
    "server_stopping",
    "replaced",
    "other",
  ])
  .catch("other");
export type CloseReason = z.infer<typeof closeReason>;

const sessionFacts = z.object({
  type: z.literal("session"),
  session_id: z.string(),
  agent_id: z.string(),
  hostname: z.string(),
  tech: z.string(),
  opened_at: z.string(),
  ends_at: z.string(),
  idle_seconds: z.number(),
  channels: z.array(channelKind.or(z.literal("unknown")).catch("unknown")),
  reason: z.string().nullish(),
});
export type SessionFacts = z.infer<typeof sessionFacts>;

const ready = z.object({
  type: z.literal("ready"),
  channels: z.array(liveChannel),
  shells: z.array(shell),
  kinds: z.array(channelKind.or(z.literal("unknown")).catch("unknown")),
  path: z.enum(["direct", "relayed"]).catch("direct"),
});
export type Ready = z.infer<typeof ready>;

export const serverMessage = z.discriminatedUnion("type", [
  sessionFacts,
  z.object({ type: z.literal("waiting") }),
  ready,
  z.object({
    type: z.literal("refused"),
    reason: z.string(),
    detail: z.string().default(""),
  }),
  z.object({ type: z.literal("closed"), reason: closeReason }),
]);
