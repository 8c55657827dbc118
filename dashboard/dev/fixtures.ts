// Invented answers of the server, for looking at pages. Nothing of this is in the shipped bundle.
import type {
  Agent,
  AgentCrash,
  AgentLog,
  AgentUninstall,
  AgentUpdate,
  Alert,
  AuditEntry,
  Command,
  CommandStatus,
  Connection,
  ConnectionEnd,
  Duplicate,
  EnrollmentKey,
  KeyOnce,
  Node,
  Package,
  PartnerUser,
  Permission,
  ProtocolCount,
  Published,
  Rollout,
  ServerInfo,
  SessionInfo,
  SystemStatus,
  UpdateState,
  VersionCount,
  WaitingMachine,
} from "../src/api/types";

export const NOW = new Date("2026-03-12T10:24:00Z").getTime();
export const ago = (seconds: number) => new Date(NOW - seconds * 1000).toISOString();
export const id = (kind: number, n: number) =>
  `0195${kind.toString(16).padStart(4, "0")}-0000-7000-8000-${n.toString(16).padStart(12, "0")}`;

let seed = 7;
export const random = () => {
  seed = (seed * 16807) % 2147483647;
  return seed / 2147483647;
};

const PERMISSIONS: Permission[] = [
  "read_fleet",
  "run_commands",
  "manage_alerts",
  "manage_agents",
  "manage_tenancy",
  "read_keys",
  "manage_keys",
  "manage_policies",
  "read_users",
  "manage_users",
  "read_audit",
  "manage_partner",
  "use_tunnel",
  "end_tunnels",
  "read_recordings",
  "read_agent_logs",
  "read_rollouts",
  "manage_rollouts",
  "manage_platform",
];

export const session: SessionInfo = {
  session_id: id(1, 1),
  user: {
    id: id(2, 1),
    email: "maya@example.com",
    name: "Maya Lindqvist",
    is_platform_admin: true,
    status: "active",
    role: "owner",
    partner_id: id(3, 1),
    partner_name: "Northwind IT",
    created_at: ago(9e6),
    last_sign_in_at: ago(4000),
  },
  partner: { id: id(3, 1), name: "Northwind IT" },
  partners: [
    { id: id(3, 1), name: "Northwind IT", role: "owner" },
    { id: id(3, 2), name: "Harbour Systems", role: "tech" },
  ],
  role: "owner",
  permissions: PERMISSIONS,
  confined: false,
  csrf_token: "csrf",
  expires_at: ago(-40000),
  server_version: "0.1.0",
};

export const CLIENTS = [
  ["Acme Manufacturing", ["Main works", "Warehouse north", "Sales office"]],
  ["Bakery Sonnenschein", ["Bakehouse", "Shop Lindenstrasse"]],
  ["City Library", ["Central", "Branch east"]],
  ["Dr. Okafor Dental", ["Practice"]],
  ["Everett and Sons Law", ["Chambers"]],
] as const;

export const sites = CLIENTS.flatMap(([client, names], c) =>
  names.map((name, s) => ({
    id: id(5, c * 10 + s),
    client_id: id(4, c),
    client_name: client,
    name,
    code: `${client.slice(0, 3).toUpperCase()}-${(4096 + c * 311 + s * 77).toString(16).toUpperCase()}`,
    approval_required: c === 2,
    created_at: ago(8e6),
  })),
);

const HOSTS = ["ws", "srv", "pos", "lap", "nas", "db", "web", "print"];
const SYSTEMS = [
  ["linux", "Debian GNU/Linux 12 (bookworm)", "x86_64"],
  ["linux", "Ubuntu 24.04.2 LTS", "x86_64"],
  ["windows", "Windows 11 Pro 24H2", "x86_64"],
  ["windows", "Windows Server 2022", "x86_64"],
  ["macos", "macOS 15.3", "aarch64"],
] as const;

export const agents: Agent[] = Array.from({ length: 2400 }, (_, n) => {
  const site = sites[(n * 7) % sites.length] ?? sites[0];
  const [os_type, os_version, arch] = SYSTEMS[(n * 3) % SYSTEMS.length] ?? SYSTEMS[0];
  const status = n % 97 === 5 ? "pending" : n % 11 === 4 ? "offline" : "online";
  return {
    id: id(6, n),
    hostname: `${site?.code.slice(0, 3).toLowerCase()}-${HOSTS[n % HOSTS.length]}-${String(n + 1).padStart(3, "0")}`,
    os_type,
    os_version,
    arch,
    agent_version: "0.1.0",
    protocol_version: "1.0",
    status,
    last_seen: status === "online" ? ago(3) : ago(2000 + n * 90),
    is_connected: status === "online",
    site_id: site?.id ?? "",
    site_name: site?.name ?? "",
    client_id: site?.client_id ?? "",
    client_name: site?.client_name ?? "",
    enrolled_at: ago(86400 * (n % 40)),
    machine_uid_source: "smbios_uuid",
    machine_type: n % 5 === 1 ? "virtual_machine" : n % 13 === 7 ? null : "physical",
    public_ip: `203.0.113.${n % 250}`,
    logged_in_user: n % 3 === 0 ? "j.okafor" : null,
    uptime_seconds: 3600 * (n % 400) + 812,
    cpu_percent: status === "pending" ? null : random() ** 3 * 100,
    memory_percent: status === "pending" ? null : 25 + random() * 70,
    disk_percent: status === "pending" ? null : 20 + random() * 78,
    duplicate_hostname: n === 9,
    pending_reason: status === "pending" ? "identity_in_use" : null,
    key_fingerprint: status === "pending" ? "7F2A 90C1" : null,
    key_changes: n % 194 === 5 ? 1 : 0,
    asked_at: ago(86400 * (n % 40)),
    retired_at: null,
    open_alerts: n % 29 === 3 ? 1 : 0,
  };
});

const STATUSES: CommandStatus[] = [
  "running",
  "completed",
  "failed",
  "completed",
  "timeout",
  "cancelled",
  "queued",
  "interrupted",
  "completed",
];
const LINES = [
  "apt-get -y upgrade",
  "systemctl status nginx --no-pager",
  "df -h",
  "journalctl -u gururmm-agent -n 50",
  "ping -c 4 192.0.2.1",
  "uptime",
  "certbot renew --dry-run",
  "sha256sum /srv/backup/*.tar",
  "docker ps",
];

export const commands: Command[] = STATUSES.map((status, n) => ({
  id: id(7, n),
  agent_id: agents[n * 13]?.id ?? "",
  agent_hostname: agents[n * 13]?.hostname ?? "",
  command_type: "shell",
  command: LINES[n] ?? "",
  context: "system",
  interpreter: null,
  elevated: false,
  working_directory: n === 0 ? "/srv" : null,
  timeout_seconds: 300,
  status,
  exit_code: status === "completed" ? 0 : status === "failed" ? 3 : null,
  stdout: "",
  stderr: "",
  stdout_bytes: 48_212,
  stderr_bytes: status === "failed" ? 812 : 0,
  truncated: n === 3,
  error_code: null,
  error: null,
  created_by: id(2, 1),
  created_by_name: n % 2 ? "Jonas Reuter" : "Maya Lindqvist",
  created_at: ago(40 + n * 1300),
  sent_at: ago(39 + n * 1300),
  started_at: status === "queued" ? null : ago(39 + n * 1300),
  ended_at: ["running", "queued"].includes(status) ? null : ago(39 + n * 1300 - 4 - n),
  expires_at: ago(-86400),
  cancel_requested_at: null,
}));

export const OUTPUT = [
  "Reading package lists...\nBuilding dependency tree...\nReading state information...\n",
  "Calculating upgrade...\nThe following packages will be upgraded:\n  \u001b[1mlibssl3\u001b[0m openssl base-files\n",
  "3 upgraded, 0 newly installed, 0 to remove and 0 not upgraded.\n",
  "\u001b[32mGet:1\u001b[0m http://deb.example.com bookworm/main amd64 base-files [70.1 kB]\n",
  "\u001b[32mGet:2\u001b[0m http://deb.example.com bookworm-security/main amd64 libssl3 [2,034 kB]\n",
  "\u001b[33mW: Some index files are old. <img src=x onerror=alert(1)>\u001b[0m\n",
];

/** The first machine has many, the second waits for its first; the third is offline, and its last one failed. */
export const agentLogs: AgentLog[] = [
  ...Array.from({ length: 10 }, (_, n) => ({ agent: 0, n })),
  { agent: 1, n: 10 },
  { agent: 4, n: 11 },
  { agent: 4, n: 12 },
].map(({ agent, n }) => {
  const status = n === 10 ? "requested" : n === 2 || n === 11 ? "failed" : "complete";
  return {
    id: id(13, n),
    agent_id: id(6, agent),
    status,
    requested_at: n === 10 ? ago(14) : ago(312 + n * 93_000),
    requested_by_name: n % 3 === 2 ? "Jonas Reuter" : n === 7 ? null : "Maya Lindqvist",
    ended_at: status === "requested" ? null : ago(309 + n * 93_000),
    received_bytes: n === 2 ? 425_984 : n === 11 ? 0 : n === 10 ? 655_360 : 2_097_104 - n * 90_000,
    total_bytes:
      status === "complete" ? (n === 0 ? 2_097_152 + 911_000 : 2_097_104 - n * 90_000) : null,
    lost_lines: status === "complete" ? (n === 0 ? 3 : 0) : null,
    error: status === "failed" ? "the machine did not send it in time" : null,
  };
});

export const agentCrashes: AgentCrash[] = (
  [
    [
      "panic",
      "crates/agent/src/capabilities/metrics/disks.rs:214:37: index out of bounds: the len is 3 but the index is 3",
    ],
    ["killed", null],
    [
      "panic",
      "crates/agent/src/session.rs:88:9: <img src=x onerror=alert(1)> is no sequence number",
    ],
  ] as const
).map(([cause, message], n) => ({
  id: id(14, n),
  agent_id: id(6, 0),
  cause,
  crashed_at: ago(4_460 + n * 260_000),
  received_at: ago(4_412 + n * 260_000),
  agent_version: "0.1.0",
  message,
}));

const SAID = [
  "INFO gururmm_agent::supervisor: connected server=rmm.example.com protocol=1.0",
  "DEBUG gururmm_agent::session: metrics sent seq=4711 bytes=8122",
  "INFO gururmm_agent::capabilities::commands: command started command_id=01950007-0000-7000-8000-000000000000 interpreter=/bin/sh",
  "INFO gururmm_agent::capabilities::commands: command ended command_id=01950007-0000-7000-8000-000000000000 exit_code=0",
  "WARN gururmm_agent::supervisor::connect: the connection was lost error=Connection reset by peer (os error 104) retry_in=2.4s",
  "DEBUG gururmm_agent::session: heartbeat",
  "INFO gururmm_agent::capabilities::network: network state changed interfaces=2",
  "ERROR gururmm_agent::capabilities::metrics: a disk cannot be read mount=/srv/backup error=Input/output error (os error 5)",
  "INFO gururmm_agent::supervisor: <script>alert(1)</script> \\u{202e}txt.exe hostname=acm-ws-001",
];

/** A log of `count` lines that ends at `end`. */
export function logText(count: number, end: number): string {
  const lines = [
    `${new Date(end - count * 7_000).toISOString()}  INFO gururmm_agent::supervisor: agent started agent_id=${id(6, 0)} version=0.1.0`,
  ];
  for (let n = 1; n < count; n++) {
    const said = SAID[(n * 5 + (n % 7)) % SAID.length] ?? "";
    const time = new Date(end - (count - n) * 7_000).toISOString().replace("Z", "123Z");
    lines.push(`${time} ${said.startsWith("INFO") || said.startsWith("WARN") ? " " : ""}${said}`);
  }
  return `${lines.join("\n")}\n`;
}

export const alerts: Alert[] = [
  [
    "critical",
    "enrollment_collision",
    "Two live machines share one identity",
    "The machine acm-ws-006 enrolled with the hardware id of acm-ws-001, which is online. It waits as pending until someone decides.",
  ],
  [
    "warning",
    "enrollment_pending",
    "A machine waits for approval",
    "cit-lap-103 enrolled at City Library, Central.",
  ],
  ["warning", "agent.crashed", "The agent of acm-ws-001 crashed", ""],
  [
    "warning",
    "agent_offline",
    "srv-004 has been offline for a day",
    "Last seen on 11 March at 09:12.",
  ],
  [
    "info",
    "agent_enrolled",
    "New machine enrolled",
    "bak-pos-012 joined Bakery Sonnenschein, Bakehouse, with key v3 (7F2A).",
  ],
].map(([severity, kind, title, detail], n) => ({
  id: id(8, n),
  kind: kind ?? "",
  severity: severity as Alert["severity"],
  title: title ?? "",
  detail:
    n === 0
      ? { reason: "identity_in_use", collides_with: id(6, 0) }
      : kind === "agent.crashed"
        ? {
            crash_id: agentCrashes[0]?.id,
            cause: agentCrashes[0]?.cause,
            crashed_at: agentCrashes[0]?.crashed_at,
            agent_version: agentCrashes[0]?.agent_version,
            message: agentCrashes[0]?.message,
          }
        : { about: detail },
  status: "open",
  agent_id: agents[kind === "agent.crashed" ? 0 : n * 5 + 5]?.id ?? null,
  agent_hostname: agents[kind === "agent.crashed" ? 0 : n * 5 + 5]?.hostname ?? null,
  site_id: sites[0]?.id ?? null,
  client_id: sites[0]?.client_id ?? null,
  raised_at: ago(8000 * (n + 1)),
  last_raised_at: ago(500 * (n + 1)),
  count: n === 0 ? 4 : 1,
  acknowledged_at: null,
  acknowledged_by_name: null,
  resolved_at: null,
  resolved_by_name: null,
}));

export const users: PartnerUser[] = [
  ["Maya Lindqvist", "maya@example.com", "owner", "active"],
  ["Jonas Reuter", "jonas@example.com", "admin", "active"],
  ["Amara Osei", "amara@example.com", "tech", "active"],
  ["Priya Natarajan", "priya@example.com", "tech", "invited"],
  ["Tom Beck", "tom@example.com", "read_only", "suspended"],
].map(([name, email, role, status], n) => ({
  id: id(2, n + 1),
  email: email ?? "",
  name: name ?? "",
  role: role as PartnerUser["role"],
  status: status as PartnerUser["status"],
  client_ids: n === 2 ? [id(4, 1)] : [],
  site_ids: n === 2 ? [id(5, 20)] : [],
  created_at: ago(7e6),
  last_sign_in_at: n === 3 ? null : ago(4000 * (n + 1)),
  locked_until: null,
}));

export const audit: AuditEntry[] = Array.from({ length: 30 }, (_, n) => ({
  id: id(9, n),
  seq: 812 - n,
  at: ago(n * 1700 + 20),
  actor_kind: n % 6 === 4 ? "system" : "user",
  actor_id: id(2, 1),
  actor_name: n % 6 === 4 ? null : n % 2 ? "Jonas Reuter" : "Maya Lindqvist",
  action:
    [
      "command.created",
      "session.created",
      "enrollment_key.rotated",
      "agent.moved",
      "agent.enrolled",
      "policy.changed",
      "user.invited",
    ][n % 7] ?? "",
  target_kind: "agent",
  target_id: id(6, n),
  target_name: agents[n]?.hostname ?? null,
  detail: { command_type: "shell", timeout_seconds: 300, note: "<script>alert(1)</script>" },
  ip: "198.51.100.23",
  request_id: id(10, n),
}));

const keyOf = (
  n: number,
  kind: EnrollmentKey["kind"],
  status: EnrollmentKey["status"],
): EnrollmentKey => ({
  id: id(11, n),
  site_id: sites[0]?.id ?? "",
  kind,
  version: n,
  fingerprint: (0x7f2a + n * 4111).toString(16).toUpperCase().slice(-4),
  label: `v${n} (${(0x7f2a + n * 4111).toString(16).toUpperCase().slice(-4)})`,
  note: kind === "deployment" ? "Rollout Main works" : null,
  created_at: ago(86400 * (9 - n) * 6),
  created_by_name: "Maya Lindqvist",
  expires_at: kind === "deployment" ? ago(-86400) : null,
  max_uses: kind === "deployment" ? 25 : null,
  use_count: n * 4,
  last_used_at: n === 4 ? ago(5400) : null,
  revoked_at: null,
  status,
});
export const keys = [
  keyOf(4, "deployment", "active"),
  keyOf(3, "standing", "active"),
  keyOf(2, "standing", "revoked"),
];
export const keyOnce: KeyOnce = {
  key: keyOf(3, "standing", "active"),
  secret: "gek_3_k7Qm2vXw9Zr4Tn8Lb6Hs1Yd5Fc3Gj0Pa",
  install: {
    linux:
      "curl -fsSL https://rmm.example.com/install/linux.sh | sudo sh -s -- --server https://rmm.example.com --site ACM-1000 --key gek_3_k7Qm2vXw9Zr4Tn8Lb6Hs1Yd5Fc3Gj0Pa",
    reason: null,
    server: "https://rmm.example.com",
    site_key: "7K3MPQ2X.gek_3_k7Qm2vXw9Zr4Tn8Lb6Hs1Yd5Fc3Gj0Pa",
  },
};

/** Of those that wait, each for another reason. */
const REASONS = [
  "approval_required",
  "identity_in_use",
  "retired_before",
  "hardware_differs",
  "rejected_before",
] as const;
export const waiting: WaitingMachine[] = agents
  .filter(({ status }) => status === "pending")
  .slice(0, 12)
  .map((agent, n) => {
    const reason = REASONS[n % REASONS.length] ?? "approval_required";
    const known = agents[n];
    const collides = reason === "approval_required" || reason === "rejected_before" ? null : known;
    return {
      agent: {
        ...agent,
        pending_reason: reason,
        key_fingerprint: `0a1b2c${(16 + n).toString(16)}`,
        key_changes: n === 3 ? 1 : 0,
      },
      asked_from: "198.51.100.44",
      asked_at: ago(600 * (n + 1)),
      mac_addresses: ["02:00:5e:10:00:17"],
      board_serial: n % 2 ? "PF3XA91L" : null,
      disk_serial: n % 2 ? "S64DNX0R512" : null,
      key_label: "v4 (BF6E)",
      key_note: n % 3 ? null : "Rollout Main works",
      collides_with: collides
        ? {
            id: collides.id,
            hostname: collides.hostname,
            is_connected: reason === "identity_in_use",
            is_retired: reason === "retired_before",
            last_seen: collides.last_seen,
          }
        : null,
    };
  });

export const retiredAgent: Agent = {
  ...(agents[3] as Agent),
  id: id(6, 90_001),
  hostname: "acm-old-009",
  status: "retired",
  is_connected: false,
  retired_at: ago(9 * 86_400),
};

/** Machines whose agents are to go, by how far that is. */
export const uninstalls = new Map<string, AgentUninstall>(
  (
    [
      [8, "ordered"],
      [9, "uninstalling"],
      [10, "failed"],
      [11, "unconfirmed"],
      [12, "expired"],
      [null, "uninstalled"],
    ] as const
  ).map(([at, status]) => [
    (at === null ? retiredAgent : (agents[at] as Agent)).id,
    {
      id: id(23, at ?? 0),
      status,
      ordered_by_name: "Jonas Reuter",
      ordered_at: ago(2 * 86_400),
      changed_at: ago(1_200),
      valid_until: ago(-28 * 86_400),
      ended_at: status === "ordered" || status === "uninstalling" ? null : ago(1_200),
      error_code: status === "failed" ? "PACKAGE_MANAGER" : null,
      error: status === "failed" ? "dpkg --purge gururmm-agent failed: no space left" : null,
    },
  ]),
);

export const duplicates: Duplicate[] = [
  { agent: agents[7] as Agent, reasons: ["board_serial", "hostname"] },
  { agent: retiredAgent, reasons: ["mac_address"] },
];

export const DIGEST = "5f0c0c6d3b1e4a7d9a2b8c4e6f1a3d5b7c9e0f2a4b6c8d0e1f3a5b7c9d1e3f50";
const packageOf = (file: string, kind: Package["kind"], os: Package["os"]): Package => ({
  file,
  kind,
  os,
  arch: "x86_64",
  version: "0.1.0",
  sha256: DIGEST,
  size: 6_412_288,
  signed: kind === "msi",
});
export const server: ServerInfo = {
  version: "0.1.0",
  public_url: "https://rmm.example.com",
  ca_fingerprint: null,
  agent_available: true,
  packages: [
    packageOf("GuruRMM.msi", "msi", "windows"),
    packageOf("gururmm-agent_0.1.0_amd64.deb", "deb", "linux"),
    packageOf("gururmm-agent-0.1.0.x86_64.rpm", "rpm", "linux"),
  ],
  missing_packages: [
    {
      os: "macos",
      kind: "pkg",
      reason:
        "this server has no macOS package; its operator makes it on a Mac from what ./dev dist builds",
    },
  ],
};

const updateOf = (
  n: number,
  status: AgentUpdate["status"],
  from: string,
  to: string,
  more: Partial<AgentUpdate> = {},
): AgentUpdate => ({
  id: id(20, n),
  agent_id: agents[0]?.id ?? "",
  action: "install",
  origin: "rollout",
  status,
  from_version: from,
  to_version: to,
  channel: "stable",
  ordered_by_name: null,
  rollout_id: id(21, 0),
  ring: 0,
  ordered_at: ago(n * 200_000 + 900),
  changed_at: ago(n * 200_000 + 300),
  valid_until: ago(n * 200_000 - 80_000),
  ended_at: ["downloading", "trying", "ordered"].includes(status) ? null : ago(n * 200_000 + 300),
  error_code: null,
  error: null,
  ...more,
});
export const agentUpdates: AgentUpdate[] = [
  updateOf(0, "downloading", "0.4.2", "0.5.0"),
  updateOf(1, "confirmed", "0.4.1", "0.4.2"),
  updateOf(2, "rolled_back", "0.4.0", "0.4.1", {
    error_code: "DID_NOT_STAY",
    error: "it did not connect within 180 seconds, so 0.4.0 runs again",
  }),
  updateOf(3, "confirmed", "0.4.1", "0.4.0", {
    action: "roll_back",
    origin: "person",
    ordered_by_name: "Maya Lindqvist",
  }),
];
export const updateState: UpdateState = {
  agent_version: "0.4.2",
  supported: true,
  reason: null,
  previous_version: "0.4.1",
  available_version: "0.5.0",
  channel: "stable",
  open: agentUpdates[0] ?? null,
};

const releaseOf = (
  version: string,
  os: string,
  channels: Published["releases"][number]["channels"],
): Published["releases"][number] => ({
  version,
  os,
  arch: "x86_64",
  channels,
  released_at: ago(version === "0.5.0" ? 40_000 : 900_000),
  size: 6_412_288,
  sha256: DIGEST,
});
export const published: Published = {
  releases: [
    releaseOf("0.6.0-beta.1", "linux", ["beta"]),
    releaseOf("0.5.0", "linux", ["stable", "current"]),
    releaseOf("0.5.0", "windows", ["stable", "current"]),
    releaseOf("0.4.2", "linux", ["stable"]),
  ],
  roles: [
    { role: "root", version: 2, expires_at: ago(-3e7) },
    { role: "targets", version: 9, expires_at: ago(-9e6) },
    { role: "snapshot", version: 9, expires_at: ago(-9e6) },
    { role: "timestamp", version: 31, expires_at: ago(-1_500_000) },
  ],
  verified_at: ago(50),
  refusal: null,
  is_expired: false,
};

const ringOf = (ring: number, machines: number, confirmed: number, back = 0, open = 0) => ({
  ring,
  machines,
  open,
  confirmed,
  rolled_back: back,
  lost: 0,
  failed: 0,
  pending: machines - confirmed - back - open,
  crashed: 0,
  away: 0,
});
export const rollouts: Rollout[] = [
  {
    id: id(21, 0),
    version: "0.5.0",
    state: "running",
    ring: 1,
    ring_since: ago(5400),
    next_ring_at: ago(-9000),
    reason: null,
    started_at: ago(12_000),
    changed_at: ago(5400),
    rings: [ringOf(0, 10, 10), ringOf(1, 230, 141, 1, 25), ringOf(2, 960, 0), ringOf(3, 1200, 0)],
  },
  {
    id: id(21, 1),
    version: "0.4.3",
    state: "rolling_back",
    ring: 0,
    ring_since: ago(500_000),
    next_ring_at: null,
    reason: "3 of 10 machines that tried it went back or were not heard of since",
    started_at: ago(500_000),
    changed_at: ago(498_000),
    rings: [ringOf(0, 10, 7, 3), ringOf(1, 230, 0), ringOf(2, 960, 0), ringOf(3, 1200, 0)],
  },
];
export const versions: VersionCount[] = [
  {
    agent_version: "0.4.2",
    protocol_version: "1.1",
    agents: 2249,
    connected: 2051,
    last_seen: ago(5),
  },
  {
    agent_version: "0.5.0",
    protocol_version: "1.1",
    agents: 151,
    connected: 150,
    last_seen: ago(3),
  },
];
export const protocols: ProtocolCount[] = [
  { version: "1.0", agents: 0, connected: 0, last_seen: null, retired_at: null, can_retire: true },
  {
    version: "1.1",
    agents: 2400,
    connected: 2201,
    last_seen: ago(3),
    retired_at: null,
    can_retire: false,
  },
];

const visit = (
  number: number,
  from: number,
  to: number | null,
  reason: ConnectionEnd | null,
  more: Partial<Connection> = {},
): Connection => ({
  number,
  connected_at: ago(from),
  disconnected_at: to === null ? null : ago(to),
  reason,
  agent_version: "0.2.0",
  address: "203.0.113.0",
  restarted_before: false,
  ...more,
});

/** One of each way to go, the newest first. */
export const connections: Connection[] = [
  visit(41, 9_000, null, null, { restarted_before: true }),
  visit(40, 61_000, 9_240, "agent_stopped"),
  visit(39, 140_000, 61_004, "link_lost"),
  visit(38, 141_000, 139_500, "replaced", { address: "198.51.100.44" }),
  visit(37, 320_000, 141_020, "server_stopping"),
  visit(36, 405_000, 320_006, "agent_stopped", { agent_version: "0.1.0" }),
  visit(35, 700_000, 408_600, "silent", {
    agent_version: "0.1.0",
    address: "2001:db8:4f1a:22:5eff:fe10:17ab:9c21",
  }),
  visit(34, 900_000, 702_000, "server_lost", { agent_version: "0.1.0", restarted_before: null }),
  visit(33, 1_100_000, 960_000, "protocol_error", { agent_version: "0.1.0", address: null }),
];

const node = (n: number, name: string, more: Partial<Node> = {}): Node => ({
  id: id(21, n),
  name,
  version: "0.2.0",
  status: "running",
  bus: "connected",
  is_this: false,
  started_at: ago(812_000),
  last_seen: ago(3),
  stopped_at: null,
  connected_agents: 1_091,
  browsers: 3,
  samples_per_minute: 2_182,
  ingest_queue_depth: 0,
  ingest_lag_ms: 180,
  ...more,
});

/** Two that run, one of them without NATS, one that was stopped and one that fell silent. */
export const nodes: Node[] = [
  node(1, "rmm-1.northwind.example.com", { is_this: true }),
  node(2, "rmm-2.northwind.example.com", { bus: "away", ingest_queue_depth: 412 }),
  node(3, "rmm-3.northwind.example.com", { status: "lost", last_seen: ago(5_400) }),
  node(4, "rmm-old", { status: "stopped", last_seen: ago(9e5), version: "0.1.0" }),
];

const kept = (days: number) => [
  { level: "samples" as const, days },
  { level: "five_minutes" as const, days: Math.max(days, 90) },
  { level: "hours" as const, days: Math.max(days, 365) },
  { level: "days" as const, days: 1_095 },
];

export const status: SystemStatus = {
  version: "0.2.0",
  started_at: ago(812_000),
  uptime_seconds: 812_000,
  connected_agents: 1_091,
  browsers: 3,
  database_bytes: 8.1e9,
  samples_per_minute: 2_182,
  ingest_queue_depth: 0,
  ingest_lag_ms: 180,
  arrivals: {
    under_way: 512,
    at_most: 512,
    turned_away: 1_688,
    is_holding_back: true,
    room: 17_696,
    is_full: false,
  },
  storage: [
    { kind: "packed_history", bytes: 4.6e9 },
    { kind: "samples", bytes: 1.9e9 },
    { kind: "rollups", bytes: 8.2e8 },
    { kind: "command_output", bytes: 4.1e8 },
    { kind: "audit_log", bytes: 2.4e8 },
    { kind: "other", bytes: 9e7 },
    { kind: "agent_logs", bytes: 4e7 },
  ],
  largest_tables: [
    { name: "metric_hours_365_20260201", kind: "packed_history", bytes: 1.4e9 },
    { name: "metric_samples_90_20260309", kind: "samples", bytes: 1.1e9 },
    { name: "command_output", kind: "command_output", bytes: 4.1e8 },
    { name: "audit_log", kind: "audit_log", bytes: 2.4e8 },
  ],
  retention: [
    { days: 90, partners: 1, kept: kept(90) },
    { days: 365, partners: 1, kept: kept(365) },
  ],
  history: { looked_at: ago(140), hours_waiting: 2_182, oldest_waiting: ago(8_400) },
  pools: [
    { name: "operators", size: 10, idle: 8 },
    { name: "agents", size: 6, idle: 4 },
    { name: "background", size: 4, idle: 4 },
  ],
};
