// Invented sessions with machines, open, over and recorded.
import type { RecordedEvent, Recording, RecordingDetail, TunnelSession } from "../src/api/types";
import { agents, ago, id, session, users } from "./fixtures";
import { SESSION } from "./machine";

const BEGIN_SECONDS = 7_200;
const REASONS = ["closed_by_tech", "idle", "closed_by_admin", "agent_lost"] as const;

export const sessionsWith: readonly TunnelSession[] = Array.from({ length: 9 }, (_, n) => {
  const agent = agents[n % 4];
  const user = n % 3 === 0 ? session.user : users[(n % 3) + 1];
  const isOpen = n < 2;
  return {
    ...{ session_id: n === 0 ? SESSION.ready : id(41, n), agent_id: agent?.id ?? id(6, n) },
    ...{ tech_id: user?.id ?? id(2, n), status: isOpen ? "active" : "closed" },
    ...{ opened_at: ago(754 + n * 9_100), last_activity: ago(n * 9_100) },
    closed_at: isOpen ? null : ago(n * 9_000),
    closed_reason: isOpen ? null : (REASONS[n % REASONS.length] ?? "idle"),
    reason: n % 2 ? "The disk is almost full" : null,
    ticket: n % 3 ? `T-${4_100 + n}` : null,
    ...{ ends_at: ago(-28_046), agent_hostname: agent?.hostname ?? null },
    ...{ tech_name: user?.name ?? null, bytes_to_machine: 4_812 * n * n },
    ...{ bytes_from_machine: 1_300_000 * n, client_id: id(4, 0), site_id: id(5, 0) },
  };
});

export const recording: Recording = {
  ...{ session_id: id(41, 2), agent_id: agents[0]?.id ?? "", hostname: "acm-ws-001" },
  ...{ client_id: id(4, 0), site_id: id(5, 0), tech_id: session.user.id },
  ...{ tech_name: "Maya Lindqvist", started_at: ago(BEGIN_SECONDS) },
  ...{ last_at: ago(BEGIN_SECONDS - 430), ended_at: ago(BEGIN_SECONDS - 430) },
  ...{ segments: 3, bytes: 18_442, kinds: ["terminal", "files"] },
  matches: [
    { channel: 1, at_ms: 9_400, line: "systemctl restart backup" },
    { channel: 1, at_ms: 122_000, line: "systemctl status backup" },
  ],
};

const LINES = [
  [4_200, "df -h /"],
  [9_400, "systemctl restart backup"],
  [31_000, null],
  [122_000, "systemctl status backup"],
  [180_000, "vim /etc/backup.conf"],
] as const;

export const recordingDetail: RecordingDetail = {
  ...recording,
  matches: [],
  channels: [
    {
      ...{ channel: 1, kind: "terminal", label: "bash", from_ms: 900, to_ms: 210_000 },
      has_cast: true,
    },
    { channel: 2, kind: "terminal", label: "sh", from_ms: 60_000, to_ms: null, has_cast: true },
    { channel: 3, kind: "files", label: "/srv", from_ms: 70_000, to_ms: null, has_cast: false },
  ],
  commands: LINES.map(([at_ms, line]) => ({
    ...{ channel: 1, at_ms, line, is_exact: line !== "vim /etc/backup.conf" },
  })),
  cut_offs: [{ at_ms: 122_500 }],
  gaps: [{ channel: 1, at_ms: 40_000, from_machine: true, bytes: 2_048 }],
  parts: [],
  is_cut: false,
};

const event = (at_ms: number, channel: number, what: Record<string, unknown>): RecordedEvent => ({
  ...{ at_ms, channel, event: what as RecordedEvent["event"] },
});
export const recordedEvents: readonly RecordedEvent[] = [
  event(0, 0, { what: "tech_joined" }),
  event(400, 0, { what: "ready" }),
  event(900, 1, {
    ...{ what: "opened", kind: "terminal", channel: { kind: "terminal", shell: "/bin/bash" } },
  }),
  event(4_200, 1, { what: "entered", line: "df -h /", is_exact: true }),
  event(31_000, 1, { what: "entered", is_exact: false }),
  event(70_500, 3, { what: "asked", id: 4, request: { do: "delete", path: "/srv/old" } }),
  event(70_800, 3, {
    ...{ what: "answered", id: 4, error: { code: "not_empty", detail: "the folder is not empty" } },
  }),
  event(430_000, 0, { what: "closed", reason: "closed_by_tech" }),
];

const PROMPT = "\u001b[1;32mroot@acm-ws-001\u001b[0m:\u001b[1;34m~\u001b[0m# ";
/** What a terminal showed, as an asciicast. */
export const CAST = [
  { version: 2, width: 100, height: 24, title: "bash" },
  [0.9, "o", PROMPT],
  ...LINES.flatMap(([at_ms, line]) => [
    [at_ms / 1000, "o", `${line ?? "sudo -i"}\r\n`],
    [at_ms / 1000, "m", line ?? "(typed without being shown)"],
    [at_ms / 1000 + 0.3, "o", `what ${line ?? "it"} said\r\n${PROMPT}`],
  ]),
]
  .map((line) => JSON.stringify(line))
  .join("\n");
