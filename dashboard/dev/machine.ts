// Stands in for a machine in a session: answers its channels from invented data, in whatever state the lists are wanted.
import type { WebSocketRoute } from "@playwright/test";
import {
  dataFrame,
  dataOf,
  type Entry,
  type FileAnswer,
  type FileRequest,
  fileRequest,
  jsonFrame,
  jsonOf,
  KIND,
  type LogEntry,
  open,
  type Process,
  type ProcessAnswer,
  type ProcessRequest,
  processRequest,
  type RegistryAnswer,
  type RegistryRequest,
  readFrame,
  registryRequest,
  request,
  type Service,
  type ServiceAnswer,
  type ServiceRequest,
  serviceRequest,
} from "../src/features/tunnel/wire";
import { agents, ago, id, NOW } from "./fixtures";
import type { Situation } from "./stand-in";

/** Sessions by what has become of them. */
export const SESSION = {
  ready: id(40, 1),
  windows: id(40, 2),
  waiting: id(40, 3),
  refused: id(40, 4),
  closed: id(40, 5),
  replaced: id(40, 6),
  forbidden: id(40, 7),
};
export const SERVER_MISTAKE = "the server made a mistake";
const MANY = 100_000;

/** Plays the machine at the other end of a page's socket. What is not answered while lists load is kept for later. */
export function playMachine(
  socket: WebSocketRoute,
  sessionId: string,
  situation: Situation,
  held: (() => void)[],
) {
  const say = (message: unknown) => socket.send(JSON.stringify(message));
  const send = (bytes: Uint8Array) => socket.send(Buffer.from(bytes));
  const isWindows = sessionId === SESSION.windows;
  const kinds = ["terminal", "files", "processes", "services", "events", "forward"];
  const allowed = sessionId === SESSION.forbidden ? ["terminal"] : [...kinds, "registry"];
  say({
    ...{ type: "session", session_id: sessionId, agent_id: agents[0]?.id },
    ...{ hostname: agents[0]?.hostname, tech: "Maya Lindqvist", opened_at: ago(754) },
    ...{ ends_at: ago(-28_046), idle_seconds: 900, channels: allowed, reason: null },
  });
  const ready = {
    type: "ready",
    channels: [],
    shells: isWindows
      ? [
          { name: "PowerShell", program: "powershell.exe" },
          { name: "Command Prompt", program: "cmd.exe" },
        ]
      : [
          { name: "bash", program: "/bin/bash" },
          { name: "sh", program: "/bin/sh" },
        ],
    kinds: isWindows ? [...kinds, "registry"] : kinds,
    path: "direct",
  };
  if (sessionId === SESSION.waiting) return say({ type: "waiting" });
  if (sessionId === SESSION.refused) {
    say({ type: "refused", reason: "consent_unavailable", detail: "" });
    return void socket.close({ code: 4000 });
  }
  say(ready);
  if (sessionId === SESSION.closed) {
    say({ type: "closed", reason: "idle" });
    return void socket.close({ code: 4000 });
  }
  if (sessionId === SESSION.replaced) return void socket.close({ code: 4001 });

  const asked = new Map<number, string>();
  socket.onMessage((message) => {
    if (typeof message === "string") return;
    const frame = readFrame(new Uint8Array(message));
    if (!frame) return;
    const { channel, kind, body } = frame;
    if (channel === 0) return send(new Uint8Array(message));
    if (kind === KIND.open) {
      const order = jsonOf(open, body);
      if (!order) return;
      asked.set(channel, order.channel.kind);
      const answer = () => {
        if (situation.state === "error" && order.channel.kind === "events") {
          return send(jsonFrame(channel, KIND.end, { error: MISTAKE }));
        }
        if (order.channel.kind === "upload" && order.channel.path.endsWith("report.pdf")) {
          const error = { code: "already_exists", detail: "there is a file of this name" };
          return send(jsonFrame(channel, KIND.end, { error }));
        }
        send(jsonFrame(channel, KIND.opened, { window: 262_144, from: 0, received: 0 }));
        if (order.channel.kind === "terminal") send(dataFrame(channel, 0, encode(SCREEN)));
        if (order.channel.kind === "events") sendEvents(channel);
      };
      // The other channels are asked for what they have, and say then how they are.
      if (order.channel.kind !== "events") answer();
      else if (situation.state === "loading") held.push(answer);
      else answer();
      return;
    }
    if (kind === KIND.data && asked.get(channel) === "terminal") {
      const { bytes } = dataOf(body);
      const before = echoed.get(channel) ?? encode(SCREEN).length;
      const echo = encode(new TextDecoder().decode(bytes).replaceAll("\r", `\r\n${PROMPT}`));
      echoed.set(channel, before + echo.length);
      return send(dataFrame(channel, before, echo));
    }
    if (kind !== KIND.message) return;
    const respond = () => answerRequest(channel, asked.get(channel) ?? "", body);
    if (situation.state === "loading") held.push(respond);
    else respond();
  });
  const echoed = new Map<number, number>();

  const answerRequest = (channel: number, kind: string, body: Uint8Array) => {
    const reply = (askedId: number, part: boolean, answer: unknown) =>
      send(jsonFrame(channel, KIND.message, { id: askedId, [part ? "part" : "reply"]: answer }));
    const answerWith = <R>(
      message: { id: number; request: R } | null,
      answers: (request: R, situation: Situation) => unknown[],
    ) => {
      if (!message) return;
      if (situation.state === "error") {
        send(jsonFrame(channel, KIND.message, { id: message.id, error: MISTAKE }));
        return;
      }
      const all = answers(message.request, situation);
      all.forEach((one, n) => {
        // The list that goes on and on has parts only.
        const isLast = n === all.length - 1 && kind !== "processes";
        reply(message.id, !isLast, one);
      });
    };
    if (kind === "files") answerWith(jsonOf(request(fileRequest), body), filesAnswers);
    if (kind === "processes") answerWith(jsonOf(request(processRequest), body), processAnswers);
    if (kind === "services") answerWith(jsonOf(request(serviceRequest), body), serviceAnswers);
    if (kind === "registry") answerWith(jsonOf(request(registryRequest), body), registryAnswers);
  };
  const sendEvents = (channel: number) => {
    const count =
      situation.state === "empty" ? 0 : situation.state === "many" ? 4_000 : EVENTS.length;
    const events = Array.from({ length: count }, (_, n): LogEntry => {
      const event = EVENTS[n % EVENTS.length] as LogEntry;
      return { ...event, time_ms: NOW - (count - n) * 41_000 };
    });
    for (let n = 0; n < count; n += 50) {
      send(jsonFrame(channel, KIND.message, { is: "events", events: events.slice(n, n + 50) }));
    }
    send(jsonFrame(channel, KIND.message, { is: "caught", more: false }));
  };
}

const MISTAKE = { code: "failed", detail: SERVER_MISTAKE };
const encode = (text: string) => new TextEncoder().encode(text);

const PROMPT = "\u001b[1;32mroot@acm-ws-001\u001b[0m:\u001b[1;34m/srv\u001b[0m# ";
const SCREEN = [
  `${PROMPT}systemctl --failed`,
  "  UNIT                LOAD   ACTIVE SUB    DESCRIPTION",
  "\u001b[1;31m● backup.service\u001b[0m      loaded \u001b[1;31mfailed failed\u001b[0m Nightly backup",
  "",
  "1 loaded units listed.",
  `${PROMPT}df -h /`,
  "Filesystem      Size  Used Avail Use% Mounted on",
  "/dev/nvme0n1p2  469G  431G   14G  \u001b[1;33m97%\u001b[0m /",
  `${PROMPT}ls --color`,
  "\u001b[1;34mbackup\u001b[0m  \u001b[1;34mweb\u001b[0m  \u001b[1;36mcurrent\u001b[0m -> web/4.2  \u001b[1;32mdeploy.sh\u001b[0m  notes.txt  \u001b[32mgrün\u001b[0m",
  PROMPT,
].join("\r\n");

const file = (name: string, size: number, more: Partial<Entry> = {}): Entry => ({
  ...{ name, kind: "file", size, modified_ms: NOW - (size % 1_000_000) * 977 - 60_000 },
  ...{ mode: 0o644, owner: "root", group: "root", is_hidden: name.startsWith(".") },
  ...{ is_unnameable: false, ...more },
});
const folder = (name: string) => file(name, 0, { kind: "folder", mode: 0o755 });
export const ENTRIES: readonly Entry[] = [
  folder("backup"),
  folder("web"),
  folder(".cache"),
  file("current", 7, { kind: "link", mode: 0o777, target: "web/4.2" }),
  file("deploy.sh", 1_482, { mode: 0o755 }),
  file("notes.txt", 412, { owner: "maya", group: "staff" }),
  file("report.pdf", 4_812_440),
  file("database-2026-03-11.dump", 18_482_233_344, { mode: 0o600 }),
  file("events.sock", 0, { kind: "other", mode: 0o660 }),
  file("caf\ufffd.txt", 20, { is_unnameable: true }),
  file("a name with spaces and a very long end that has to be cut somewhere.tar.gz", 88_213),
];
const TEXT = `#!/bin/bash
# Puts the newest release in its place.
set -euo pipefail

release=$(ls -1 web | sort -V | tail -n 1)
ln -sfn "web/$release" current
systemctl reload nginx
echo "now at $release"
`;

function* parts<T>(all: readonly T[], size: number): Generator<T[]> {
  for (let n = 0; n < all.length; n += size) yield all.slice(n, n + size);
}

function filesAnswers(asked: FileRequest, { state }: Situation): FileAnswer[] {
  if (asked.do === "places") {
    return [
      {
        is: "places",
        places: [
          { path: "/srv", label: "Data" },
          { path: "/", label: "Computer" },
          { path: "/root", label: "Home of root" },
        ],
      },
    ];
  }
  if (asked.do === "list") {
    const entries =
      state === "empty"
        ? []
        : state === "many"
          ? Array.from({ length: MANY }, (_, n) => file(`log-${n}.txt`, n))
          : ENTRIES;
    return [
      ...[...parts(entries, 200)].map((some): FileAnswer => ({ is: "entries", entries: some })),
      { is: "folder", path: asked.path, entries: entries.length },
    ];
  }
  if (asked.do === "read_text") return [{ is: "text", text: TEXT, version: "v1" }];
  return [{ is: "done" }];
}

const NAMES = ["sshd", "nginx", "postgres", "cron", "backup", "node", "python3", "systemd-logind"];
const processOf = (n: number): Process => ({
  ...{ pid: n === 0 ? 1 : 300 + n * 7, started_ms: NOW - 1_000_000 + n * 2_000 },
  ...(n > 0 && { parent: n % 3 === 0 || n < 3 ? 1 : 300 + (n - 1) * 7 }),
  ...{ name: n === 0 ? "systemd" : (NAMES[n % NAMES.length] ?? "sh") },
  command_line: n === 0 ? "/sbin/init" : `/usr/sbin/${NAMES[n % NAMES.length]} --worker ${n}`,
  ...{ user: n % 4 === 0 ? "root" : n % 4 === 1 ? "www-data" : "postgres" },
  ...{ cpu_percent: n % 5 === 0 ? (n * 13) % 90 : 0.3, memory_bytes: (n + 1) * 7_340_032 },
  ...{ priority: "normal", threads: 1 + (n % 9) },
});

function processAnswers(asked: ProcessRequest, { state }: Situation): ProcessAnswer[] {
  if (asked.do === "kill") return [{ is: "killed", processes: 1 }];
  if (asked.do === "set_priority") return [{ is: "done" }];
  const count = state === "empty" ? 0 : state === "many" ? 5_000 : 26;
  const all = Array.from({ length: count }, (_, n) => processOf(n));
  return [
    ...[...parts(all, 100)].map((some): ProcessAnswer => ({ is: "processes", processes: some })),
    {
      ...{ is: "figures", processes: count, cpu_percent: 23.4 },
      ...{ memory_used_bytes: 9_663_676_416, memory_bytes: 16_777_216_000 },
    },
  ];
}

const SERVICES: readonly Service[] = [
  {
    ...{ name: "ssh.service", display_name: "OpenBSD Secure Shell server", state: "running" },
    ...{ startup: "automatic", pid: 812, user: "root" },
  },
  {
    ...{ name: "nginx.service", display_name: "A high performance web server", state: "running" },
    ...{ startup: "automatic", pid: 1_044, user: "root" },
  },
  { name: "backup.service", display_name: "Nightly backup", state: "failed", startup: "manual" },
  { name: "cups.service", display_name: "Printing", state: "stopped", startup: "disabled" },
  { name: "dbus.service", display_name: "System message bus", state: "running", startup: "fixed" },
];

function serviceAnswers(asked: ServiceRequest, { state }: Situation): ServiceAnswer[] {
  if (asked.do === "log") {
    return [{ is: "log", lines: Array.from({ length: 40 }, (_, n) => `line ${n}: backup failed`) }];
  }
  if (asked.do !== "list") {
    const service = SERVICES.find(({ name }) => name === asked.name) ?? (SERVICES[0] as Service);
    return [{ is: "service", service: { ...service, state: "running" } }];
  }
  const count = state === "empty" ? 0 : state === "many" ? 3_000 : SERVICES.length;
  const all = Array.from({ length: count }, (_, n): Service => {
    const service = SERVICES[n % SERVICES.length] as Service;
    return n < SERVICES.length ? service : { ...service, name: `unit-${n}.service` };
  });
  return [
    ...[...parts(all, 100)].map((some): ServiceAnswer => ({ is: "services", services: some })),
    { is: "count", services: count, manager: "systemd" },
  ];
}

const ROOTS = ["HKEY_CLASSES_ROOT", "HKEY_CURRENT_USER", "HKEY_LOCAL_MACHINE", "HKEY_USERS"];
const KEYS: Record<string, string[]> = {
  "": ROOTS,
  HKEY_LOCAL_MACHINE: ["HARDWARE", "SAM", "SOFTWARE", "SYSTEM"],
  "HKEY_LOCAL_MACHINE\\SOFTWARE": ["Example", "Microsoft", "Northwind"],
};

function registryAnswers(asked: RegistryRequest, { state }: Situation): RegistryAnswer[] {
  if (asked.do === "export") {
    return [{ is: "text", text: "Windows Registry Editor Version 5.00\r\n" }, { is: "done" }];
  }
  if (asked.do !== "list") return [{ is: "done" }];
  const found = KEYS[asked.key] ?? [];
  const values =
    asked.key.split("\\").length < 3 || state === "empty"
      ? []
      : state === "many"
        ? Array.from({ length: 2_000 }, (_, n) => ({
            ...{ name: `Value ${n}`, value: { type: "dword" as const, data: n }, is_cut: false },
          }))
        : VALUES;
  return [
    { is: "keys", keys: found },
    ...[...parts(values, 200)].map((some): RegistryAnswer => ({ is: "values", values: some })),
    { is: "count", keys: found.length, values: values.length },
  ];
}

const VALUES: Extract<RegistryAnswer, { is: "values" }>["values"] = [
  { name: "", value: { type: "string", data: "" }, is_cut: false },
  { name: "Enabled", value: { type: "dword", data: 1 }, is_cut: false },
  {
    ...{ name: "Folder", value: { type: "expand_string", data: "%ProgramData%\\Example" } },
    is_cut: false,
  },
  { name: "Key", value: { type: "binary", data: "00ff1a2b3c4d5e6f" }, is_cut: false },
  { name: "Last", value: { type: "qword", data: "133867584000000000" }, is_cut: false },
  { name: "Servers", value: { type: "multi_string", data: ["a", "b", "c"] }, is_cut: false },
  { name: "Resource", value: { type: "other", data: { number: 8, hex: "0001" } }, is_cut: true },
];

const event = (level: LogEntry["level"], source: string, text: string): LogEntry => ({
  ...{ time_ms: NOW, level, source, text, pid: 812 },
});
const EVENTS: readonly LogEntry[] = [
  event("info", "sshd", "Accepted publickey for maya from 192.0.2.40 port 51812 ssh2"),
  event("warning", "kernel", "nvme0n1: filesystem almost full"),
  event("error", "backup", 'rsync: write failed on "/backup/db.dump": No space left on device'),
  event(
    "critical",
    "systemd",
    "backup.service: Failed with result 'exit-code'.\nTriggered by timer.",
  ),
  event("debug", "cron", "(root) CMD (run-parts /etc/cron.hourly)"),
  event("info", "nginx", '203.0.113.7 - "GET /index.html HTTP/1.1" 200'),
];
